//! Replicas that cannot read a part of their own log.
//!
//! Such a replica has promised nothing that it cannot keep: its newest entries and its vote are as they were, so it goes
//! on voting and following. But it should not lead, because nobody gets from it what it cannot read.

use std::collections::BTreeSet;

use raft::types::{GroupId, Index, NodeId, ReplicaId, Tick};

use super::Shard;

/// How long it leads on when the others have given the leadership back: where each of them lacks something else, each
/// leads for a while, and everything is read from somebody.
pub(super) const PAUSE_MS: u64 = 30_000;

/// A replica here with damage in its log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreadable {
    replica: ReplicaId,
    /// Before this it hands nothing over again.
    rests_until: Tick,
}

/// Who is asked for what is damaged here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Donors {
    /// Known to be committed up to here, so that the index alone says which entry it is.
    pub until: Index,
    /// The nodes of the other members, the leader first.
    pub nodes: Vec<NodeId>,
}

impl Shard {
    /// A read of this replica's log has met damage: whoever asked has heard so. Counts it, and makes the replica give the
    /// leadership to one that is in sync, now and whenever it should have it again.
    pub fn note_unreadable(&mut self, now: Tick, id: GroupId) {
        self.io.measures.corruptions_detected += 1;
        let Some(group) = self.groups.get(&id) else {
            return;
        };
        let replica = group.me.replica;
        let new = Unreadable {
            replica,
            rests_until: now,
        };
        let found = self.unreadable.entry(id).or_insert(new);
        if found.replica != replica {
            *found = new;
        }
        self.hand_over_unreadable(now);
    }

    /// Which groups have damage in their logs here: the log has read all that anybody had met damage in. The others can
    /// be read again.
    pub fn note_damaged(&mut self, now: Tick, damaged: &BTreeSet<GroupId>) {
        self.unreadable.retain(|id, _| damaged.contains(id));
        for id in damaged {
            if self.groups.contains_key(id) && !self.unreadable.contains_key(id) {
                self.note_unreadable(now, *id);
            }
        }
    }

    /// Whether any replica here is one that cannot read all of its log.
    #[must_use]
    pub fn any_unreadable(&self) -> bool {
        !self.unreadable.is_empty()
    }

    /// Whether a replica here is one that cannot read all of its log.
    #[must_use]
    pub fn is_unreadable(&self, id: GroupId) -> bool {
        self.unreadable.contains_key(&id)
    }

    /// Who may have what this replica lacks, if it is the one here.
    #[must_use]
    pub fn donors(&self, id: GroupId, replica: ReplicaId) -> Option<Donors> {
        let group = self.groups.get(&id).filter(|g| g.me.replica == replica)?;
        let leader = self.leader(id).map(|leader| leader.node);
        let members = group.node.membership().all_members();
        let mut nodes: Vec<NodeId> = members.into_iter().map(|member| member.node).collect();
        nodes.retain(|node| *node != group.me.node);
        nodes.sort_by_key(|node| (Some(*node) != leader, *node));
        nodes.dedup();
        let until = group.applied();
        Some(Donors { until, nodes })
    }

    /// Looks at all replicas with damage; cheap where there are none.
    pub(super) fn hand_over_unreadable(&mut self, now: Tick) {
        let here = |id: &GroupId, found: &mut Unreadable| {
            let group = self.groups.get(id);
            group.is_some_and(|group| group.me.replica == found.replica)
        };
        self.unreadable.retain(here);
        let due = |(id, found): (&GroupId, &Unreadable)| (found.rests_until <= now).then_some(*id);
        let due: Vec<GroupId> = self.unreadable.iter().filter_map(due).collect();
        for id in due {
            if self.hand_over(now, id, "whose log is damaged here")
                && let Some(found) = self.unreadable.get_mut(&id)
            {
                found.rests_until = Tick(now.0 + PAUSE_MS);
            }
        }
    }

    /// Gives a group that is led here to whom it is better with. False when there is nobody.
    pub(super) fn hand_over(&mut self, now: Tick, id: GroupId, what: &str) -> bool {
        let Some(to) = self.successor(id) else {
            return false;
        };
        tracing::warn!(target: "raft", group = id.0, to = to.0, "hands over a group {what}");
        self.give(now, id, to)
    }

    /// Of a group that is led here: the voter in sync that has most of the log.
    fn successor(&self, id: GroupId) -> Option<NodeId> {
        let group = self.groups.get(&id).filter(|group| group.is_leader())?;
        let voters = group.node.membership().voters.iter();
        let others = voters.filter(|voter| voter.replica != group.me.replica);
        let in_sync = others.filter(|voter| group.in_sync.contains(&voter.node));
        let best = in_sync.max_by_key(|voter| group.node.matched(voter.replica));
        best.map(|voter| voter.node)
    }
}
