//! The log takes more of its disk than it should: what a snapshot holds goes from whoever has most in it, although topics
//! ask to keep more here. Where too little is in a snapshot, one is taken.

use raft::types::{GroupId, ReplicaId, Tick};

use super::Shard;
use super::snapshots::Trigger;

/// For so long one snapshot after another of a partition gains little, unless there is much, in ms.
const REST_MS: u64 = 10_000;

impl Shard {
    /// Whether the log takes no records.
    #[must_use]
    pub fn has_no_room(&self) -> bool {
        self.io.disk_full
    }

    /// Replicas with more than `most` of these bytes in the log here keep so many, if a snapshot holds the rest.
    pub fn free_log(&mut self, now: Tick, most: u64, sizes: &[(GroupId, u64)]) {
        let has_own = self.config.has_own_copies();
        for (id, _) in sizes.iter().filter(|(_, bytes)| *bytes > most) {
            let group = self.groups.get(id);
            let Some((group, partition)) = group.and_then(|g| Some((g, g.partition()?))) else {
                continue;
            };
            let config = &group.config;
            let bytes = config
                .local_retention_bytes
                .map_or(most, |own| own.min(most));
            let keep = (config.local_retention_ms, Some(bytes));
            let held = group.readable(has_own);
            self.io.order_local_cut(group, held, keep);
            let is_rested = now.0 >= group.planned_at.0.saturating_add(REST_MS);
            let is_much = group.unstored_bytes >= most.max(1);
            if group.is_leader() && partition.is_unstored() && (is_much || is_rested) {
                self.snapshots.want(group.id, Trigger::Space);
            }
        }
    }

    /// The replicas of partitions here.
    pub fn replicas_here(&self) -> impl Iterator<Item = (GroupId, ReplicaId)> {
        let has_log = |group: &&super::group::Group| group.partition().is_some();
        let groups = self.groups.values().filter(has_log);
        groups.map(|group| (group.id, group.me.replica))
    }
}
