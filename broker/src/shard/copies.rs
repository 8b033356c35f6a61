//! Copies of each replica's own (`snapshot.store = "local"`): what is held here, what is brought here, who is whole.
//!
//! - A committed snapshot says what every copy has to be. Each replica brings its own up to it ([`Order::HoldSnapshot`]),
//!   from its own log where that still has the records, else from another replica.
//! - A replica drops from its log only what its own copies hold, whole, durable and read back.
//! - A replica whose log is not what was committed keeps all of it.
//! - A learner becomes a voter, and an old voter goes, only when the learner's copies and log together hold everything.

use std::collections::BTreeSet;

use raft::input::{Change, Input};
use raft::types::{GroupId, Index, Member, ReplicaId, Term, Tick};

use super::Shard;
use super::group::Group;
use super::membership::next_change;
use super::output::Order;
use super::snapshots::Trigger;
use super::timers::Timers;
use super::unreadable;
use crate::partition::state::PartitionState;
use crate::partition::stored::Stored;

/// Partitions whose copies are brought here at once: one that fetches much must not hold up the others.
const AT_ONCE: usize = 4;
/// Before newcomers are asked again whether they are whole, in ms.
const ASK_PAUSE_MS: u64 = 500;
/// Before a snapshot is taken that frees what was deleted, in ms.
const FREE_AFTER_MS: u64 = 10_000;

/// What a replica's own copies hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnCopies {
    /// All of this committed snapshot.
    pub(super) held: Option<Stored>,
    /// A part of it is damaged, or gone.
    pub(super) is_damaged: bool,
    /// The log here is not what this snapshot says.
    pub(super) differs: Option<Stored>,
    /// Nobody has the manifest of the committed snapshot: as leader, another one is to be taken.
    pub(super) is_lost: bool,
    /// As leader: when newcomers were asked last.
    pub(super) asked_at: Option<Tick>,
    /// When the leadership was last given to one that may be whole.
    handed_at: Option<Tick>,
}

/// Whose turn it is to be brought up.
#[derive(Default)]
pub(super) struct Copies {
    due: Timers,
    queue: BTreeSet<GroupId>,
    running: BTreeSet<GroupId>,
}

impl Copies {
    /// Whether copies are being brought up, or will be: a snapshot that is taken now would rest upon older ones, which the
    /// other replicas may have dropped for those that are committed. What is only looked at again, what nobody has, and what
    /// the log has as well, waits for the snapshot.
    pub(super) fn is_busy(&self, group: &Group) -> bool {
        let id = group.id;
        let rests_on_them = group.rests_on_copies() && !group.copies.is_lost;
        let comes_again = self.due.is_scheduled(id) && rests_on_them;
        let will_be = self.queue.contains(&id) || comes_again;
        self.running.contains(&id) || will_be && !group.has_newest_copies()
    }
}

/// Copies to be brought up to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Of this group.
    pub group: GroupId,
    /// Its replica here, whose log is read.
    pub replica: ReplicaId,
    /// The committed snapshot.
    pub stored: Stored,
    /// The one that is held already.
    pub before: Option<Stored>,
    /// First offset of this replica's log.
    pub local_start: i64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Everything is here, durable and read back.
    Whole,
    /// Not yet.
    Failed,
    /// The log here holds other records than were committed.
    Differs,
    /// All other replicas say that they do not have its manifest. All of this former one is here, if of any.
    Lost(Option<Stored>),
}

impl Group {
    /// The snapshot that can be read here.
    pub(super) fn readable(&self, own_copies: bool) -> Option<Stored> {
        match own_copies {
            true => self.copies.held,
            false => self.partition().and_then(PartitionState::stored),
        }
    }

    /// Whether own copies are those of the committed snapshot, as far as is known.
    fn has_newest_copies(&self) -> bool {
        let stored = self.partition().and_then(PartitionState::stored);
        self.copies.held == stored && !self.copies.is_damaged
    }

    /// Whether a part of what follows the log start is in copies only.
    fn rests_on_copies(&self) -> bool {
        let log_start = self.partition().map(PartitionState::log_start);
        log_start.is_some_and(|log_start| self.local_start() > log_start)
    }

    /// What the next snapshot goes on from: not from copies that are older than the committed one, if it can be made of the
    /// log alone.
    pub(super) fn goes_on_from(&self) -> Option<Stored> {
        let is_needed = self.has_newest_copies() || self.rests_on_copies();
        self.copies.held.filter(|_| is_needed)
    }

    /// Whether log and own copies together hold everything from the log start on.
    pub(super) fn is_whole(&self) -> bool {
        let reaches = |held: Stored| held.next_offset >= self.local_start();
        let has_copies = !self.copies.is_damaged && self.copies.held.is_some_and(reaches);
        !self.rests_on_copies() || has_copies
    }

    /// Whether nobody has the newest snapshot, and another one is made of what is here, when this replica leads.
    pub(super) fn replaces_lost(&self) -> bool {
        self.copies.is_lost && self.is_whole()
    }
}

impl Shard {
    /// Begins with what is due; a partition of which a snapshot is being taken waits for its end.
    pub(super) fn plan_copies(&mut self, now: Tick) {
        let advanced = std::mem::take(&mut self.io.advanced);
        if !self.config.has_own_copies() {
            return;
        }
        self.queue_copies();
        while let Some(id) = self.copies.due.due(now) {
            self.copies.queue.insert(id);
        }
        for id in advanced {
            let group = self.groups.get(&id).filter(|group| group.is_leader());
            if group.is_some_and(|group| group.copies.held.is_some()) {
                self.snapshots.schedule(id, Tick(now.0 + FREE_AFTER_MS));
            }
        }
    }

    /// What a committed snapshot, or somebody's look, says since the last call. NB: before snapshots are planned, which rest
    /// upon copies, and again before copies are ordered.
    fn queue_copies(&mut self) {
        let stored = std::mem::take(&mut self.io.stored);
        self.copies.queue.extend(stored);
    }

    /// Has copies brought up where a snapshot is newer than they are, or they are to be looked at again.
    pub(super) fn order_copies(&mut self) {
        self.queue_copies();
        let waits = |id: &GroupId| {
            let newest = self.groups.get(id).is_some_and(Group::has_newest_copies);
            newest && self.snapshots.is_next(*id)
        };
        let is_taken = |id: &GroupId| self.snapshots.is_running(*id) || waits(id);
        let idle = |id: &GroupId| !self.copies.running.contains(id) && !is_taken(id);
        let next: Vec<GroupId> = self.copies.queue.iter().copied().filter(idle).collect();
        for id in next {
            if self.copies.running.len() >= AT_ONCE {
                return;
            }
            self.copies.queue.remove(&id);
            let Some(group) = self.groups.get(&id) else {
                continue;
            };
            let stored = group.partition().and_then(PartitionState::stored);
            // What was once in a store that all share is not brought here.
            let is_wanted = |stored: &Stored| {
                stored.identity.is_some() && group.copies.differs != Some(*stored)
            };
            let Some(stored) = stored.filter(is_wanted) else {
                continue;
            };
            self.copies.running.insert(id);
            self.io.orders.push(Order::HoldSnapshot(Box::new(Holding {
                group: id,
                replica: group.me.replica,
                stored,
                before: group.copies.held,
                local_start: group.local_start(),
            })));
        }
    }

    /// The answer to [`Order::HoldSnapshot`].
    pub fn copied(&mut self, now: Tick, of: &Holding, copied: Copied) {
        let id = of.group;
        self.copies.running.remove(&id);
        let here = |group: &&mut Group| group.me.replica == of.replica;
        let Some(group) = self.groups.get_mut(&id).filter(here) else {
            return;
        };
        let is_newest = group.partition().and_then(PartitionState::stored) == Some(of.stored);
        let copies = &mut group.copies;
        copies.is_lost = matches!(copied, Copied::Lost(_)) && is_newest;
        if let Copied::Lost(former) = copied {
            // What is held is forgotten by a restart, but what was dropped for it is not.
            copies.held = copies.held.or(former);
        }
        match copied {
            Copied::Whole => {
                copies.held = Some(of.stored);
                (copies.is_damaged, copies.differs) = (false, None);
                self.io.order_local_retention(group, Some(of.stored));
                self.io.progress.insert(id);
            }
            // NB: not tried again with this snapshot. Nothing is dropped for it, and the next one is compared anew.
            Copied::Differs => copies.differs = Some(of.stored),
            Copied::Lost(_) if is_newest && group.is_leader() => {
                let is_whole = group.is_whole();
                self.snapshots.want(id, Trigger::Time);
                if !is_whole {
                    self.hand_over_lacking(now, id);
                }
            }
            Copied::Failed | Copied::Lost(_) => {
                let rest_ms = self.config.snapshot_rest_ms();
                self.copies.due.schedule(id, Tick(now.0 + rest_ms));
            }
        }
        if !is_newest {
            self.io.stored.insert(id);
        }
    }

    /// A leader that lacks a part of its own copies cannot take the snapshot in whose place there is none: another one
    /// may be whole.
    fn hand_over_lacking(&mut self, now: Tick, id: GroupId) {
        let handed_at = self.groups.get(&id).and_then(|g| g.copies.handed_at);
        let rests = handed_at.is_some_and(|at| now.0 < at.0 + unreadable::PAUSE_MS);
        if !rests
            && self.hand_over(now, id, "of whose own copies some are damaged here")
            && let Some(group) = self.groups.get_mut(&id)
        {
            group.copies.handed_at = Some(now);
        }
    }

    /// A part of this replica's own copies is damaged or gone: nothing more is dropped from the log until it is back.
    pub fn note_copies_damaged(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.copies.is_damaged = true;
            self.io.stored.insert(id);
        }
    }

    /// Whether the replica here has applied so much and holds everything from the log start on.
    #[must_use]
    pub fn is_whole(&self, id: GroupId, replica: ReplicaId, index: Index) -> bool {
        let group = self.groups.get(&id);
        let group = group.filter(|group| group.me.replica == replica && group.applied() >= index);
        group.is_some_and(Group::is_whole)
    }

    /// Whether these voters have to wait because some of them are new: those are asked, now and then, whether they hold
    /// everything.
    pub(super) fn has_copies_to_ask_for(
        &mut self,
        now: Tick,
        id: GroupId,
        voters: &[Member],
    ) -> bool {
        if !self.config.has_own_copies() || id == GroupId::METADATA {
            return false;
        }
        let Some(group) = self.groups.get_mut(&id) else {
            return false;
        };
        let newcomers = newcomers(group, voters);
        if newcomers.is_empty() {
            return false;
        }
        let rests = |at: Tick| now.0 < at.0 + ASK_PAUSE_MS;
        if !group.copies.asked_at.is_some_and(rests) {
            group.copies.asked_at = Some(now);
            self.io.orders.push(Order::AskWhole {
                group: id,
                term: group.node.term(),
                index: group.node.base().index,
                newcomers,
            });
        }
        true
    }

    /// The answer to [`Order::AskWhole`]: all of them hold everything, each as of that index. Those whose logs have not
    /// begun anew since become voters.
    ///
    /// NB: who has the log from the base on is sent no other base, so what was true when it answered still is.
    pub fn newcomers_are_whole(&mut self, now: Tick, id: GroupId, term: Term, asked: &[Member]) {
        let Some(group) = self.groups.get(&id).filter(|group| group.is_leader()) else {
            return;
        };
        let desired = self.image().and_then(|image| image.desired_membership(id));
        let Some(desired) = desired.filter(|_| group.node.term() == term) else {
            return;
        };
        let Some(Change::SetVoters(voters)) = next_change(group.node.membership(), &desired) else {
            return;
        };
        let base = group.node.base().index;
        let is_ready = |member: &Member| {
            asked.contains(member) && group.node.matched(member.replica) >= Some(base)
        };
        if newcomers(group, &voters).iter().all(is_ready) {
            self.step(now, id, Input::ChangeMembership(Change::SetVoters(voters)));
        }
    }
}

/// Those that do not vote yet.
fn newcomers(group: &Group, voters: &[Member]) -> Vec<Member> {
    let votes = |member: &&Member| {
        let membership = group.node.membership();
        !membership
            .voters
            .iter()
            .any(|voter| voter.replica == member.replica)
    };
    voters.iter().filter(votes).copied().collect()
}
