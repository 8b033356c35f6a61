//! What a seed makes of a run: sizes, and which faults are on at which rate.

use crate::random::Random;

/// The parameters of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed of everything.
    pub seed: u64,
    /// Brokers, 3 to 5.
    pub nodes: i32,
    /// Partitions of the one topic.
    pub partitions: i32,
    /// Replicas of each.
    pub replication: usize,
    /// Producers.
    pub clients: u64,
    /// Virtual milliseconds with faults.
    pub chaos_ms: u64,
    /// A crash of some node every so many ms on average; 0 for none.
    pub crash_every_ms: u64,
    /// Of crashes, so many in a thousand take down every node at once.
    pub crash_all_per_mille: u64,
    /// A cut in the network every so many ms on average; 0 for none.
    pub cut_every_ms: u64,
    /// Messages lost, in a thousand.
    pub loss_per_mille: u64,
    /// Messages delivered twice, in a thousand.
    pub duplicate_per_mille: u64,
    /// Longest delay of a message in ms.
    pub delay_max_ms: u64,
    /// Longest time that a sync takes in ms.
    pub sync_max_ms: u64,
    /// A planned leadership transfer every so many ms on average; 0 for none.
    pub transfer_every_ms: u64,
    /// A reassignment every so many ms on average; 0 for none.
    pub move_every_ms: u64,
    /// A `DeleteRecords` every so many ms on average; 0 for none.
    pub delete_every_ms: u64,
    /// Bytes of entries that a broker keeps in memory.
    pub tail_bytes: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5EED);
        let nodes = i32::try_from(random.between(3, 5)).expect("small");
        let mut sometimes = |per_mille: u64, low: u64, high: u64| {
            let (on, value) = (random.chance(per_mille), random.between(low, high));
            if on { value } else { 0 }
        };
        Self {
            seed,
            nodes,
            crash_every_ms: sometimes(800, 300, 4000),
            crash_all_per_mille: sometimes(300, 50, 500),
            cut_every_ms: sometimes(700, 300, 4000),
            loss_per_mille: sometimes(500, 1, 150),
            duplicate_per_mille: sometimes(500, 1, 200),
            delay_max_ms: 1 + sometimes(800, 1, 60),
            sync_max_ms: 1 + sometimes(800, 1, 40),
            transfer_every_ms: sometimes(500, 300, 3000),
            move_every_ms: sometimes(400, 1000, 6000),
            delete_every_ms: sometimes(400, 500, 4000),
            tail_bytes: 1 + sometimes(700, 200, 20_000),
            chaos_ms: 3000 + sometimes(1000, 0, 9000),
            partitions: i32::try_from(1 + sometimes(900, 0, 3)).expect("small"),
            clients: 1 + sometimes(900, 0, 4),
            replication: 3,
        }
    }
}
