//! What a seed makes of a run: sizes, and which faults are on at which rate.

use crate::consumer_groups;
use crate::random::Random;
use crate::snapshots;

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
    /// Producers that ask for acks=all.
    pub clients: u64,
    /// Producers that ask for less.
    pub weak_clients: u64,
    /// Virtual milliseconds with faults.
    pub chaos_ms: u64,
    /// How often each kind of fault comes.
    pub every: Every,
    /// Of single crashes, so many in a thousand come in the middle of a write.
    pub torn_per_mille: u64,
    /// Of restarts, so many in a thousand lose power again while they recover.
    pub recovery_cut_per_mille: u64,
    /// Messages lost, in a thousand.
    pub loss_per_mille: u64,
    /// Messages delivered twice, in a thousand.
    pub duplicate_per_mille: u64,
    /// Longest delay of a message in ms.
    pub delay_max_ms: u64,
    /// Longest time that a sync takes in ms.
    pub sync_max_ms: u64,
    /// Longest time that a background job of the log waits in ms.
    pub job_max_ms: u64,
    /// Bytes of entries that a broker keeps in memory.
    pub tail_bytes: u64,
    /// Longest padding of a record in bytes.
    pub padding_max: u64,
    /// Consumer groups.
    pub consumer_groups: consumer_groups::plan::Plan,
    /// The snapshot store, where there is one, or one for each broker.
    pub snapshots: Option<snapshots::plan::Plan>,
}

/// Mean times between faults of one kind in ms; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Every {
    /// A broker crashes.
    pub crash: u64,
    /// All brokers crash at once.
    pub blackout: u64,
    /// The network is cut.
    pub cut: u64,
    /// A leader is asked to hand over.
    pub transfer: u64,
    /// A partition is reassigned.
    pub reassign: u64,
    /// Records are deleted.
    pub delete: u64,
    /// A disk is replaced by an empty one.
    pub wipe: u64,
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
        let every = Every {
            crash: sometimes(800, 300, 4000),
            blackout: sometimes(300, 1500, 8000),
            cut: sometimes(700, 300, 4000),
            transfer: sometimes(500, 300, 3000),
            reassign: sometimes(400, 1000, 6000),
            delete: sometimes(400, 300, 4000),
            wipe: sometimes(300, 1000, 6000),
        };
        let consumer_groups = consumer_groups::plan::Plan::of(seed);
        let snapshots = snapshots::plan::Plan::of(seed);
        let snapshots = snapshots.filter(|_| consumer_groups.groups.is_empty());
        Self {
            seed,
            nodes,
            every,
            torn_per_mille: sometimes(800, 100, 1000),
            recovery_cut_per_mille: sometimes(400, 100, 600),
            loss_per_mille: sometimes(500, 1, 150),
            duplicate_per_mille: sometimes(500, 1, 200),
            delay_max_ms: 1 + sometimes(800, 1, 60),
            sync_max_ms: 1 + sometimes(800, 1, 40),
            job_max_ms: sometimes(700, 1, 60),
            tail_bytes: 1 + sometimes(700, 200, 20_000),
            padding_max: sometimes(600, 1, 1500),
            chaos_ms: 3000 + sometimes(1000, 0, 9000),
            partitions: i32::try_from(1 + sometimes(900, 0, 3)).expect("small"),
            clients: 1 + sometimes(900, 0, 3),
            weak_clients: sometimes(500, 1, 2),
            replication: 3,
            consumer_groups,
            snapshots,
        }
    }
}
