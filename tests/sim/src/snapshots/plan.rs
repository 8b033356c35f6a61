//! Which runs have a snapshot store, and how well it works.

use broker::shard::SnapshotPolicy;
use snapshot::collect;
use snapshot::source::Incarnation;

use crate::random::Random;

/// Runs with a store, by the seed's remainder. (The seeds that once failed for other reasons have none, and stay what they
/// were. So do those with consumer groups.)
const WITH_STORE: [u64; 2] = [5, 6];
const OF: u64 = 7;
/// Of the others, those in which each broker has copies of its own. (The same is true of these.)
const WITH_OWN: [u64; 4] = [3, 5, 7, 9];
const OWN_OF: u64 = 11;

/// The parameters of the store, and of those who use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When snapshots are taken.
    pub policy: SnapshotPolicy,
    /// A chunk ends with the batch that brings it to so many bytes.
    pub chunk_bytes: u64,
    /// What stays in the store.
    pub collection: collect::Policy,
    /// What each broker holds of it in memory.
    pub cache_bytes: u64,
    /// How long a request takes at most to reach the store, and its answer to come back, in ms.
    pub delay_max_ms: u64,
    /// How often what goes wrong does.
    pub faults: Faults,
}

/// What goes wrong, each in a thousand requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Nothing happens.
    pub refused: u64,
    /// It happens, and nobody hears of it.
    pub lost: u64,
    /// It fails, and happens long after.
    pub late: u64,
    /// The broker dies with it.
    pub died: u64,
    /// How often the store cannot be asked at all for a while: every so many ms on average, 0 for never.
    pub outage_every_ms: u64,
}

impl Plan {
    /// The store of a seed, or the stores; None where there is none.
    #[must_use]
    pub fn of(seed: u64) -> Option<Self> {
        if WITH_STORE.contains(&(seed % OF)) {
            return Some(Self::shared(seed));
        }
        WITH_OWN
            .contains(&(seed % OWN_OF))
            .then(|| Self::shared(seed).own())
    }

    /// A folder on each disk instead: it is not away, does nothing after it has failed, and there are no tails.
    fn own(mut self) -> Self {
        self.policy.own_copies = true;
        self.policy.tail_bytes = 0;
        self.faults.late = 0;
        self.faults.outage_every_ms = 0;
        self
    }

    fn shared(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5707E);
        let mut sometimes = |per_mille: u64, low: u64, high: u64| {
            let (on, value) = (random.chance(per_mille), random.between(low, high));
            if on { value } else { 0 }
        };
        let mut policy = SnapshotPolicy {
            tail_bytes: 0,
            lag_max_ms: 40 + sometimes(800, 0, 500),
            bytes: 500 + sometimes(700, 0, 20_000),
            at_once: usize::try_from(1 + sometimes(700, 0, 3)).expect("small"),
            rest_ms: 30 + sometimes(500, 0, 300),
            collect_ms: 20 + sometimes(700, 0, 800),
            own_copies: false,
        };
        let collection = collect::Policy {
            incarnation: Incarnation(1),
            keep_manifests: usize::try_from(1 + sometimes(600, 0, 3)).expect("small"),
            // Longer than a message is on its way.
            grace_ms: i64::try_from(150 + sometimes(600, 0, 1500)).expect("small"),
            keep_cuts: 3,
            dry_run: false,
            unattended: false,
        };
        let chunk_bytes = 300 + sometimes(800, 0, 20_000);
        let cache_bytes = sometimes(700, 0, 64 << 10);
        let delay_max_ms = 1 + sometimes(800, 1, 60);
        let faults = Faults {
            refused: sometimes(600, 1, 100),
            lost: sometimes(600, 1, 100),
            late: sometimes(600, 1, 60),
            died: sometimes(500, 1, 12),
            outage_every_ms: sometimes(400, 500, 5000),
        };
        policy.tail_bytes = sometimes(600, 100, 8000);
        Self {
            policy,
            chunk_bytes,
            collection,
            cache_bytes,
            delay_max_ms,
            faults,
        }
    }
}
