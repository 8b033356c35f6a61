//! What waits for the log: appends under way, and what may be said or done when they are synced.

use std::collections::VecDeque;

use raft::message::Message;
use raft::types::{GroupId, NodeId, PersistSeq};
use wal::Record;

/// The number of an append of a shard to the log: 1, 2, 3, ... in this process life. Appends are synced in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AppendId(pub u64);

#[derive(Default)]
struct Pending {
    persists: Vec<(GroupId, PersistSeq)>,
    sends: Vec<(NodeId, GroupId, Message)>,
}

/// What a synced append sets free.
#[derive(Default)]
pub(super) struct Finished {
    pub(super) persists: Vec<(GroupId, PersistSeq)>,
    pub(super) sends: Vec<(NodeId, GroupId, Message)>,
}

/// The appends from `first` on: handed out and not yet synced, and the one that is being gathered.
#[derive(Default)]
pub(super) struct Pipeline {
    synced: AppendId,
    pending: VecDeque<Pending>,
    gathering: Vec<Record>,
    /// Of synced appends: what belongs to groups whose records wait for room on the disk.
    waiting: Finished,
}

impl Pipeline {
    /// The append that is being gathered.
    pub(super) fn current(&mut self) -> AppendId {
        let handed_out = if self.gathering.is_empty() {
            self.pending.len()
        } else {
            self.pending.len() - 1
        };
        AppendId(self.synced.0 + handed_out as u64 + 1)
    }

    /// Adds a record to the append that is being gathered.
    pub(super) fn append(&mut self, record: Record) -> AppendId {
        if self.gathering.is_empty() {
            self.pending.push_back(Pending::default());
        }
        self.gathering.push(record);
        AppendId(self.synced.0 + self.pending.len() as u64)
    }

    /// Notes that this persist of a group is part of what is being gathered.
    pub(super) fn persist(
        &mut self,
        group: GroupId,
        seq: PersistSeq,
        record: Vec<Record>,
    ) -> AppendId {
        assert!(!record.is_empty(), "a persist writes something");
        let mut id = AppendId::default();
        for record in record {
            id = self.append(record);
        }
        let pending = self.pending.back_mut().expect("just appended");
        pending.persists.push((group, seq));
        id
    }

    /// Sends when that append is synced. Gives the message back when it is synced already.
    pub(super) fn send_after(
        &mut self,
        append: AppendId,
        send: (NodeId, GroupId, Message),
    ) -> Option<(NodeId, GroupId, Message)> {
        let Some(ahead) = append.0.checked_sub(self.synced.0 + 1) else {
            if self
                .waiting
                .persists
                .iter()
                .any(|(group, _)| *group == send.1)
            {
                self.waiting.sends.push(send);
                return None;
            }
            return Some(send);
        };
        let ahead = usize::try_from(ahead).expect("fits");
        self.pending[ahead].sends.push(send);
        None
    }

    /// Takes what was gathered, to be written.
    pub(super) fn take(&mut self) -> Option<(AppendId, Vec<Record>)> {
        if self.gathering.is_empty() {
            return None;
        }
        let id = AppendId(self.synced.0 + self.pending.len() as u64);
        Some((id, std::mem::take(&mut self.gathering)))
    }

    /// Everything up to `through` is synced, but for what the full disk keeps waiting of the groups `held`.
    pub(super) fn finish(&mut self, through: AppendId, held: &[GroupId]) -> Finished {
        let handed_out = self.current().0 - 1;
        assert!(
            through.0 <= handed_out,
            "only what was handed out can be synced"
        );
        let mut finished = std::mem::take(&mut self.waiting);
        while self.synced < through {
            let pending = self
                .pending
                .pop_front()
                .expect("handed out appends are pending");
            finished.persists.extend(pending.persists);
            finished.sends.extend(pending.sends);
            self.synced.0 += 1;
        }
        if !held.is_empty() {
            let waits = |group: &GroupId| held.contains(group);
            let persists = finished.persists.extract_if(.., |(group, _)| waits(group));
            self.waiting.persists = persists.collect();
            let sends = finished.sends.extract_if(.., |(_, group, _)| waits(group));
            self.waiting.sends = sends.collect();
        }
        finished
    }

    /// The group is closed: what it wrote proves nothing to a later replica, whose persists begin at 1 again. And nothing
    /// is said that rests on it: what a full disk kept waiting of it is never written.
    pub(super) fn forget(&mut self, group: GroupId) {
        for pending in &mut self.pending {
            pending.persists.retain(|&(of, _)| of != group);
            pending.sends.retain(|&(_, of, _)| of != group);
        }
        self.waiting.persists.retain(|&(of, _)| of != group);
        self.waiting.sends.retain(|&(_, of, _)| of != group);
    }

    pub(super) fn is_synced(&self, append: AppendId) -> bool {
        append <= self.synced
    }
}
