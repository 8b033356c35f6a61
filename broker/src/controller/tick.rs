//! What the controller does by itself, a bounded number at a time.

use raft::types::{GroupId, Index, Member, NodeId, Tick};
use std::collections::BTreeMap;

use super::placement::Placer;
use super::reassign::nodes;
use super::{Action, Policy, Soft, View};
use crate::metadata::{Command, Image, Partition};

/// The controller's own memory: only what keeps it from asking twice. Forgotten when it has not ticked for a while,
/// because another broker was the controller.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    policy: Policy,
    last: Tick,
    /// Since when each live node is heard without a gap.
    alive_since: BTreeMap<NodeId, Tick>,
    /// When something was last asked about a group, and about which version of it.
    asked: BTreeMap<GroupId, (Index, Tick)>,
}

impl Controller {
    /// A controller that has asked nothing yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// The limits.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Looks at everything and says what is to be done now. Call it about once a second.
    pub fn tick(&mut self, now: Tick, image: &Image, soft: &dyn Soft) -> Vec<Action> {
        if now.0.saturating_sub(self.last.0) > self.policy.leader_stable_ms {
            self.alive_since.clear();
            self.asked.clear();
        }
        self.last = now;
        self.note_liveness(now, image, soft);
        let retry = self.policy.retry_ms;
        self.asked
            .retain(|_, (_, when)| now.0.saturating_sub(when.0) < retry);
        let policy = self.policy.clone();
        let view = View {
            image,
            soft,
            policy: &policy,
        };
        let mut actions = Vec::new();
        let moving = image.partitions().filter(|p| p.is_moving()).count();
        let mut room = policy.moves_max.saturating_sub(moving);
        if policy.replace_wiped {
            self.replace_wiped(now, view, &mut room, &mut actions);
        }
        self.drain(now, view, &mut room, &mut actions);
        self.move_leaders(now, view, &mut actions);
        actions
    }

    fn note_liveness(&mut self, now: Tick, image: &Image, soft: &dyn Soft) {
        let alive = |node: &NodeId| image.broker(*node).is_some() && soft.alive(*node);
        self.alive_since.retain(|node, _| alive(node));
        for broker in image.brokers().filter(|b| alive(&b.node())) {
            self.alive_since.entry(broker.node()).or_insert(now);
        }
    }

    /// Whether the group may be asked about now; notes that it is.
    fn may_ask(&mut self, now: Tick, partition: &Partition) -> bool {
        let asked = self.asked.get(&partition.group);
        if asked.is_some_and(|(version, _)| *version == partition.version) {
            return false;
        }
        self.asked.insert(partition.group, (partition.version, now));
        true
    }

    /// Replaces replicas whose disk is gone, where the rest of the group has its quorum.
    fn replace_wiped(
        &mut self,
        now: Tick,
        view: View<'_>,
        room: &mut usize,
        actions: &mut Vec<Action>,
    ) {
        let metadata = view.image.partition(GroupId::METADATA);
        for partition in metadata.into_iter().chain(view.image.partitions()) {
            let Some(dead) = partition.desired().iter().find(|m| is_wiped(view, m)) else {
                continue;
            };
            // The metadata group goes first and does not wait for room.
            let is_data = partition.group != GroupId::METADATA;
            if is_data && *room == 0 && !partition.is_moving() {
                continue;
            }
            if !has_quorum(view, partition) || !self.may_ask(now, partition) {
                continue;
            }
            *room = room.saturating_sub(usize::from(is_data && !partition.is_moving()));
            let (group, replica, as_of) = (partition.group, dead.replica, partition.version);
            actions.push(Action::Propose(Command::ReplaceReplica {
                group,
                replica,
                as_of,
            }));
        }
    }

    /// Moves replicas off brokers that are to be emptied, to live ones, where there are any.
    fn drain(&mut self, now: Tick, view: View<'_>, room: &mut usize, actions: &mut Vec<Action>) {
        let mut draining = view.image.brokers().filter(|b| b.draining).peekable();
        if draining.peek().is_none() {
            return;
        }
        let mut placer = Placer::new(view);
        for broker in draining {
            let node = broker.node();
            for partition in view.image.groups_on(node) {
                if *room == 0 {
                    return;
                }
                let mut target = nodes(partition.desired());
                let Some(place) = target.iter().position(|n| *n == node) else {
                    continue;
                };
                if partition.is_moving() || !has_quorum(view, partition) {
                    continue;
                }
                let Some(other) = placer.place_another(&target) else {
                    continue;
                };
                if !self.may_ask(now, partition) {
                    continue;
                }
                target[place] = other;
                *room -= 1;
                let (group, as_of) = (partition.group, partition.version);
                let command = Command::SetTarget {
                    group,
                    nodes: target,
                    as_of,
                };
                actions.push(Action::Propose(command));
            }
        }
    }

    /// Gives leadership to preferred leaders, and takes it from brokers that are to be emptied.
    fn move_leaders(&mut self, now: Tick, view: View<'_>, actions: &mut Vec<Action>) {
        let mut room = self.policy.transfers_per_tick;
        for partition in view.image.partitions() {
            if room == 0 {
                return;
            }
            let Some(leader) = view.soft.leader_of(partition.group) else {
                continue;
            };
            let from_draining = is_draining(view, leader);
            if partition.is_moving() || !(self.policy.rebalance_leaders || from_draining) {
                continue;
            }
            let candidates = partition
                .desired()
                .iter()
                .filter(|m| !is_draining(view, m.node));
            // Off a draining broker anybody in sync will do; otherwise only the preferred one is worth a transfer.
            let considered = if from_draining { usize::MAX } else { 1 };
            let best = candidates
                .take(considered)
                .find(|m| self.could_lead(now, view, partition, m));
            let Some(best) = best.filter(|m| m.node != leader) else {
                continue;
            };
            if self.may_ask(now, partition) {
                room -= 1;
                let (group, to) = (partition.group, best.replica);
                actions.push(Action::AskTransfer { group, leader, to });
            }
        }
    }

    fn could_lead(
        &self,
        now: Tick,
        view: View<'_>,
        partition: &Partition,
        member: &Member,
    ) -> bool {
        let stable = self.policy.leader_stable_ms;
        let since = self.alive_since.get(&member.node);
        since.is_some_and(|since| now.0.saturating_sub(since.0) >= stable)
            && !is_wiped(view, member)
            && view.soft.in_sync(partition.group, member.node)
    }
}

/// Whether the member's node is back with another disk.
fn is_wiped(view: View<'_>, member: &Member) -> bool {
    view.image
        .broker(member.node)
        .is_some_and(|b| b.directory() != member.directory)
}

fn is_draining(view: View<'_>, node: NodeId) -> bool {
    view.image.broker(node).is_some_and(|b| b.draining)
}

/// Whether a majority is alive on its own disks, of the assignment that was reached and of the one to be reached:
/// which of the two the group is in is not known here.
fn has_quorum(view: View<'_>, partition: &Partition) -> bool {
    let is_well = |m: &&Member| {
        let has_disk = view
            .image
            .broker(m.node)
            .is_some_and(|b| b.directory() == m.directory);
        has_disk && view.soft.alive(m.node)
    };
    let majority = |members: &[Member]| members.iter().filter(is_well).count() * 2 > members.len();
    majority(&partition.replicas) && majority(partition.desired())
}
