//! When each group wants a tick. Deadlines that move away are left where they are and looked at again when due:
//! a follower's election timeout moves with every append.

use std::collections::{BTreeMap, BTreeSet};

use raft::types::{GroupId, Tick};

#[derive(Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Tick, GroupId)>,
    scheduled: BTreeMap<GroupId, Tick>,
}

impl Timers {
    /// Wants a tick at this time or earlier.
    pub(super) fn schedule(&mut self, group: GroupId, at: Tick) {
        match self.scheduled.get(&group) {
            Some(&earlier) if earlier <= at => return,
            Some(&later) => {
                self.by_time.remove(&(later, group));
            }
            None => {}
        }
        self.by_time.insert((at, group));
        self.scheduled.insert(group, at);
    }

    /// Takes one group whose time has come.
    pub(super) fn due(&mut self, now: Tick) -> Option<GroupId> {
        let &(at, group) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.scheduled.remove(&group);
        Some(group)
    }

    /// Whether a tick is wanted.
    pub(super) fn is_scheduled(&self, group: GroupId) -> bool {
        self.scheduled.contains_key(&group)
    }

    pub(super) fn next(&self) -> Option<Tick> {
        self.by_time.first().map(|&(at, _)| at)
    }
}
