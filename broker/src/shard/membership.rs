//! The leader's care for its group: who is in sync, who should be a member, who should lead.

use protocol::peer::LeaderInfo;
use raft::input::{Change, Input};
use raft::types::{EntryKind, GroupId, Index, Member, Membership, NodeId, ReplicaId, Tick};

use super::group::Group;
use super::output::Order;
use super::{Io, Shard};
use crate::metadata::{Command, Partition};
use crate::partition::command::PartitionCommand;

impl Io {
    /// Recomputes which voters are in sync, and announces it when it changed.
    pub(super) fn refresh_in_sync(&mut self, group: &mut Group, now: Tick, lag_max_ms: u64) {
        if !group.is_leader() {
            return;
        }
        let [old, new] = group.lag_marks;
        if lag_max_ms > 0 && now.0 >= new.0.0 + lag_max_ms {
            group.lag_marks = [new, (now, group.node.last_index())];
        }
        let floor = old.1.min(group.node.last_index());
        let in_sync: Vec<NodeId> = group
            .node
            .membership()
            .voters
            .iter()
            .filter(|m| {
                m.replica == group.me.replica
                    || (self.liveness.is_up_with(m.node, m.directory)
                        && group
                            .node
                            .matched(m.replica)
                            .is_none_or(|matched| matched >= floor))
            })
            .map(|m| m.node)
            .collect();
        group.in_sync = in_sync;
        self.leaders.lead(LeaderInfo {
            group: group.id,
            term: group.node.term(),
            leader: self.node,
            in_sync: group.in_sync.clone(),
        });
    }
}

impl Shard {
    pub(super) fn refresh_in_sync(&mut self, now: Tick, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id) {
            self.io
                .refresh_in_sync(group, now, self.config.replica_lag_max_ms);
        }
    }

    /// Takes one step from the membership that is to the one that the metadata wants, and reports when it is reached.
    pub(super) fn reconcile_membership(&mut self, now: Tick, id: GroupId) {
        let Some(group) = self.groups.get(&id).filter(|g| g.is_leader()) else {
            return;
        };
        let Some(image) = self.image() else { return };
        let Some(desired) = image.desired_membership(id) else {
            return;
        };
        let Some(partition) = image.partition(id) else {
            return;
        };
        let (moving, version) = (is_unfinished(partition), partition.version);
        let is_settled = group.node.is_membership_committed();
        let change = next_change(group.node.membership(), &desired);
        if (moving || change.is_some()) && !self.acts_on(now, id, version) {
            return;
        }
        match change {
            Some(Change::SetVoters(voters)) if self.has_copies_to_ask_for(now, id, &voters) => {}
            Some(change) => self.step(now, id, Input::ChangeMembership(change)),
            None if moving && is_settled => {
                self.io.orders.push(Order::ReportReassignment(id));
            }
            None => {}
        }
    }

    /// Whether this leader may act on a version of its group's assignment: the group's own log says, committed, that
    /// it is the one to act on. Where the log says so of none that is as new, it is proposed first.
    ///
    /// NB: an image may be old. A replica that a finished move has removed may still be there, and know as little, so it
    /// could be made a voter once more, and then drop what it has. But a move is finished only by a leader that acts on
    /// it, every later leader has that in its log, and waits for an image as new.
    fn acts_on(&mut self, now: Tick, id: GroupId, version: Index) -> bool {
        // Whoever leads the metadata group has the newest image of all.
        let Some(state) = self.groups.get(&id).and_then(Group::partition) else {
            return id == GroupId::METADATA;
        };
        if state.assigned_at_end() < version {
            let command = PartitionCommand::Assigned(version).encode();
            if let Err(why) = self.propose(now, id, EntryKind::Command, command) {
                tracing::debug!(target: "raft", group = id.0, code = ?why.code, "a move waits");
            }
            return false;
        }
        state.assigned() == version && state.assigned_at_end() == version
    }

    /// Goes on with the moves of groups that may be silent since: their leader has nothing to send, and would not be
    /// looked at.
    pub(super) fn finish_moves(&mut self, now: Tick) {
        let moving = std::mem::take(&mut self.moving);
        let unfinished = |id: &GroupId| {
            let partition = self.image().and_then(|image| image.partition(*id));
            partition.is_some_and(is_unfinished)
        };
        self.moving = moving.into_iter().filter(unfinished).collect();
        for id in self.moving.clone() {
            self.reconcile_membership(now, id);
        }
    }

    /// Hands a group's leadership to the voter on this node because somebody asks for it. False when this broker does not
    /// lead or knows no such voter, or is to take the place of a snapshot that nobody has: it may have been given the
    /// leadership for that, and whoever is preferred may lack what it takes.
    pub fn transfer(&mut self, now: Tick, id: GroupId, to: NodeId) -> bool {
        let group = self.groups.get(&id);
        !group.is_some_and(Group::replaces_lost) && self.give(now, id, to)
    }

    /// The same, whatever is to be done here.
    pub(super) fn give(&mut self, now: Tick, id: GroupId, to: NodeId) -> bool {
        let Some(group) = self.groups.get(&id).filter(|g| g.is_leader()) else {
            return false;
        };
        let voter = group
            .node
            .membership()
            .voters
            .iter()
            .find(|m| m.node == to)
            .copied();
        let Some(voter) = voter else { return false };
        self.step(now, id, Input::Transfer(voter.replica));
        true
    }

    /// Makes the local replica campaign, over a living leader's head when `forced`.
    #[cfg(test)]
    pub(super) fn campaign(&mut self, now: Tick, id: GroupId, forced: bool) {
        self.step(now, id, Input::Campaign { forced });
    }

    /// Hands every group over to a voter that is in sync; again what was asked for before and did not succeed. The
    /// number of groups that are still led here and could be led elsewhere.
    pub fn resign_all(&mut self, now: Tick) -> usize {
        let led = self.led_elsewhere_possible();
        for id in &led {
            let group = &self.groups[id];
            let heir = self.heir(group);
            if let (Some(heir), None) = (heir, group.node.transferring_to()) {
                self.give(now, *id, heir);
            }
        }
        led.len()
    }

    /// A voter in sync on another node that is heard.
    fn heir(&self, group: &Group) -> Option<NodeId> {
        let (me, liveness) = (self.config.node, &self.io.liveness);
        let ready = |node: &NodeId| *node != me && liveness.is_up(*node);
        group.in_sync.iter().copied().find(ready)
    }

    /// Groups led here that a voter in sync elsewhere could lead.
    #[must_use]
    pub fn led_elsewhere_possible(&self) -> Vec<GroupId> {
        self.groups
            .values()
            .filter(|g| g.is_leader() && self.heir(g).is_some())
            .map(|g| g.id)
            .collect()
    }

    /// The command that ends a reassignment, when its target is the committed membership here.
    #[must_use]
    pub fn finished_reassignment(&self, id: GroupId) -> Option<Command> {
        let group = self.groups.get(&id).filter(|g| g.is_leader())?;
        let partition = self.image()?.partition(id)?;
        let membership = group.node.membership();
        let settled = membership.outgoing.is_empty() && group.node.is_membership_committed();
        let voters = membership.voters.iter().map(|m| m.replica).collect();
        let as_of = partition.version;
        let state = group.partition();
        let acts_on_it = state.is_none_or(|state| state.assigned() == as_of);
        (settled && acts_on_it).then_some(Command::FinishReassignment {
            group: id,
            voters,
            as_of,
        })
    }
}

/// Whether the members are not yet those that the metadata wants.
pub(super) fn is_unfinished(partition: &Partition) -> bool {
    partition.is_moving() || !partition.leaving.is_empty()
}

/// The next single change on the way from one membership to another. Additions come first, then the switch of the
/// voter set, then what is left over.
pub(super) fn next_change(now: &Membership, desired: &Membership) -> Option<Change> {
    if !now.outgoing.is_empty() {
        return None;
    }
    let has = |set: &[Member], replica: ReplicaId| set.iter().any(|m| m.replica == replica);
    let member = |m: &Member| has(&now.voters, m.replica) || has(&now.learners, m.replica);
    let newcomer = desired
        .voters
        .iter()
        .chain(&desired.learners)
        .find(|m| !member(m));
    if let Some(newcomer) = newcomer {
        return Some(Change::AddLearner(*newcomer));
    }
    let same = now.voters.len() == desired.voters.len()
        && desired.voters.iter().all(|m| has(&now.voters, m.replica));
    if !same {
        return Some(Change::SetVoters(desired.voters.clone()));
    }
    let extra = now
        .learners
        .iter()
        .find(|m| !has(&desired.learners, m.replica));
    extra.map(|m| Change::RemoveLearner(m.replica))
}
