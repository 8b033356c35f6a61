//! What happens to groups, measured for operators. Decides nothing: times are the shard's own, in ms.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::effect::Role;
use raft::message::{Body, Message};
use raft::types::{GroupId, Index, Membership, NodeId, ReplicaId, Tick};

use super::group::{Counts, Group};
use super::{Io, Shard};
use crate::metrics::histogram::{BATCH_COUNTS, ELECTION_SECONDS, Histogram};

/// Of all groups of one kind.
#[derive(Debug)]
pub struct KindMeasures {
    /// Entries per advance of the commit index.
    pub commit_entries: Histogram,
    /// Seconds from an election's start to its end.
    pub election_seconds: Histogram,
    /// Seconds from the last word of a lost leader to the first commit of the next one, at that one.
    pub unavailable_seconds: Histogram,
}

impl Default for KindMeasures {
    fn default() -> Self {
        Self {
            commit_entries: Histogram::new(BATCH_COUNTS),
            election_seconds: Histogram::new(ELECTION_SECONDS),
            unavailable_seconds: Histogram::new(ELECTION_SECONDS),
        }
    }
}

/// Of a shard.
#[derive(Debug, Default)]
pub struct Measures {
    /// The metadata group.
    pub metadata: KindMeasures,
    /// All partitions together.
    pub partition: KindMeasures,
    /// Appends refused for their old term.
    pub stale_appends: u64,
    /// Nodes that joined the cluster in this life.
    pub nodes_joined: u64,
    /// Reads of a log that met damage.
    pub corruptions_detected: u64,
    nodes: BTreeSet<NodeId>,
}

impl Measures {
    fn of(&self, group: GroupId) -> &KindMeasures {
        if group == GroupId::METADATA {
            &self.metadata
        } else {
            &self.partition
        }
    }

    /// The commit index has advanced by so many entries.
    pub(super) fn committed(&self, group: &mut Group, now: Tick, entries: u64) {
        let of_kind = self.of(group.id);
        #[allow(clippy::cast_precision_loss, reason = "Prometheus knows f64 only")]
        of_kind.commit_entries.observe(entries as f64);
        if group.node.is_leader_established()
            && let Some(since) = group.measures.leaderless.take()
        {
            of_kind.unavailable_seconds.observe(seconds(since, now));
        }
        let known = group.measures.membership.as_ref();
        if group.node.is_membership_committed() && known != Some(group.node.membership()) {
            let new = group.node.membership().clone();
            count_membership(group, new);
        }
    }

    /// These nodes were there before.
    pub(super) fn knows_nodes(&mut self, nodes: impl Iterator<Item = NodeId>) {
        self.nodes.extend(nodes);
    }

    /// A node is registered, perhaps again.
    pub(super) fn registered(&mut self, node: NodeId) {
        self.nodes_joined += u64::from(self.nodes.insert(node));
    }

    /// A node is gone for good.
    pub(super) fn unregistered(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }
}

/// Of one replica.
#[derive(Debug, Default)]
pub(super) struct GroupMeasures {
    /// When the election began that is under way here.
    campaign_since: Option<Tick>,
    /// Nobody leads as far as this replica knows, since then.
    leaderless: Option<Tick>,
    /// Who led last.
    led_by: Option<NodeId>,
    /// The last committed membership.
    membership: Option<Membership>,
    lags: Lags,
}

impl GroupMeasures {
    /// For how long a follower has lacked something; None when it lacks nothing.
    pub(super) fn lag_ms(&self, now: Tick, follower: ReplicaId) -> Option<u64> {
        let since = self.lags.behind.get(&follower)?;
        Some(now.0.saturating_sub(since.0))
    }
}

/// How long followers have been behind, to a second.
#[derive(Debug, Default)]
struct Lags {
    /// The last index at a time, rising.
    marks: VecDeque<(Tick, Index)>,
    /// Followers that lack something, and when each had everything last.
    behind: BTreeMap<ReplicaId, Tick>,
}

/// Between two marks, in ms, and how many there are.
const MARK_MS: u64 = 1000;
const MARKS_MAX: usize = 16;

impl Lags {
    fn look(
        &mut self,
        now: Tick,
        last: Index,
        followers: impl Iterator<Item = (ReplicaId, Index)>,
    ) {
        if self
            .marks
            .back()
            .is_some_and(|(at, _)| now.0 < at.0 + MARK_MS)
        {
            return;
        }
        let before = std::mem::take(&mut self.behind);
        for (follower, matched) in followers.filter(|(_, matched)| *matched < last) {
            let held = self.marks.iter().rev().find(|(_, index)| *index <= matched);
            let oldest = self.marks.front().map_or(now, |(at, _)| *at);
            let since = match (held, before.get(&follower)) {
                (Some((at, _)), _) => *at,
                (None, Some(before)) => *before,
                (None, None) => oldest,
            };
            self.behind.insert(follower, since);
        }
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back((now, last));
    }
}

impl Io {
    /// A role, term or leader is new. Before `group.was` says so.
    pub(super) fn measure_role(&self, group: &mut Group, role: Role, leader: Option<ReplicaId>) {
        let (now, was) = (self.now, group.was);
        if role == Role::Candidate && was != role {
            group.counts.votes_received = 1;
        }
        if was == Role::Candidate && role == Role::PreCandidate {
            group.counts.elections_timed_out += 1;
        }
        let measures = &mut group.measures;
        match role {
            Role::PreCandidate | Role::Candidate => {
                measures.campaign_since.get_or_insert(now);
            }
            Role::Leader | Role::Follower | Role::Learner => {
                let alone = (role == Role::Leader && was != role).then_some(now);
                if let Some(since) = measures.campaign_since.take().or(alone) {
                    let of_kind = self.measures.of(group.id);
                    of_kind.election_seconds.observe(seconds(since, now));
                    group.counts.last_election = Some(now);
                }
            }
        }
        if role == Role::Leader {
            measures.led_by = Some(self.node);
            return;
        }
        measures.lags = Lags::default();
        let leader = leader.and_then(|leader| group.node.membership().member(leader));
        match (leader, measures.led_by) {
            (Some(leader), _) => {
                measures.led_by = Some(leader.node);
                measures.leaderless = None;
            }
            (None, Some(lost)) => {
                let heard = self.liveness.last_heard(lost).filter(|_| lost != self.node);
                measures.leaderless.get_or_insert(heard.unwrap_or(now));
            }
            (None, None) => {}
        }
    }

    /// What a message from a peer means for the figures.
    pub(super) fn measure_message(&mut self, group: &mut Group, message: &Message) {
        let term = group.node.term();
        match message.body {
            Body::Append(_) if message.term < term => self.measures.stale_appends += 1,
            Body::VoteResponse { granted: true }
                if message.term == term && group.node.role() == Role::Candidate =>
            {
                group.counts.votes_received += 1;
            }
            _ => {}
        }
    }
}

impl Shard {
    /// Looks at how far the followers of a group led here are behind.
    pub(super) fn measure_lags(&mut self, now: Tick, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id).filter(|g| g.is_leader()) else {
            return;
        };
        let node = &group.node;
        let members = node.membership().all_members();
        let others = members
            .iter()
            .filter(|member| member.replica != group.me.replica)
            .map(|member| {
                (
                    member.replica,
                    node.matched(member.replica).unwrap_or_default(),
                )
            });
        group.measures.lags.look(now, node.last_index(), others);
    }

    /// Everything measured.
    #[must_use]
    pub fn measures(&self) -> &Measures {
        &self.io.measures
    }

    /// When a node was heard last.
    #[must_use]
    pub fn last_heard(&self, node: NodeId) -> Option<Tick> {
        self.io.liveness.last_heard(node)
    }
}

/// A membership is committed: the leader counts what it changed.
fn count_membership(group: &mut Group, new: Membership) {
    let old = group.measures.membership.take();
    if let (true, Some(old)) = (group.is_leader(), old) {
        count_changes(&mut group.counts, &old, &new);
    }
    group.measures.membership = Some(new);
}

fn count_changes(counts: &mut Counts, old: &Membership, new: &Membership) {
    let (before, after) = (old.all_members(), new.all_members());
    for member in &after {
        let was = old.member(member.replica).is_some();
        let voted = old.voters.contains(member);
        if new.learners.contains(member) && !was {
            counts.learners_added += 1;
        }
        if new.voters.contains(member) && !voted {
            counts.promotions += 1;
        }
    }
    for gone in before.iter().filter(|m| new.member(m.replica).is_none()) {
        if after.iter().any(|member| member.node == gone.node) {
            counts.replacements += 1;
        } else {
            counts.removals += 1;
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus knows f64 only")]
fn seconds(since: Tick, now: Tick) -> f64 {
    now.0.saturating_sub(since.0) as f64 / 1000.0
}

#[cfg(test)]
mod tests;
