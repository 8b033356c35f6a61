//! The states of all replicas of the internal partitions: the same commands make the same state, whether they were
//! applied one by one, or the state came from a record in the log, or from a leader.

use std::collections::BTreeMap;

use broker::coordinator::state::Groups;
use broker::shard::GroupStatus;
use bytes::BytesMut;
use raft::types::{GroupId, Index, NodeId, ReplicaId};

use crate::report::Counts;
use crate::synced::digest_of;

/// See the module.
#[derive(Debug, Default)]
pub struct States {
    /// The state's digest by what is applied, whoever showed it first.
    known: BTreeMap<(GroupId, Index), u64>,
    /// What each replica was seen at last: applied, base.
    seen: BTreeMap<(NodeId, GroupId), (u64, ReplicaId, Index, Index)>,
}

impl States {
    /// A replica in this life of its broker.
    ///
    /// # Errors
    /// When another one had another state.
    pub fn observe(
        &mut self,
        (node, life): (NodeId, u64),
        status: &GroupStatus,
        groups: Option<&Groups>,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let group = status.group;
        let now = (life, status.replica, status.applied, status.base_index);
        let before = self.seen.insert((node, group), now);
        if before == Some(now) {
            return Ok(());
        }
        let same_life = before.filter(|b| (b.0, b.1) == (life, status.replica));
        let is_trimmed = same_life.is_some_and(|b| b.3 < status.base_index);
        counts.group_trims += u64::from(is_trimmed);
        let Some(groups) = groups else {
            return Err(format!(
                "{node} {group}: an internal partition without groups"
            ));
        };
        let mut bytes = BytesMut::new();
        groups.encode(&mut bytes);
        let digest = digest_of(0, &bytes);
        let known = self.known.entry((group, status.applied)).or_insert(digest);
        if *known != digest {
            let applied = status.applied;
            return Err(format!(
                "{node} {group}: as of {applied} another state of its groups than elsewhere: {groups:?}"
            ));
        }
        Ok(())
    }
}
