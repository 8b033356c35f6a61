//! When a partition is put into the snapshot store, and what its replicas then drop from their logs.
//!
//! A leader takes the snapshots of what it leads: a while after the first change that the store lacks, or at once when
//! that is much. What was taken becomes true by a command in the partition's own log; nothing is dropped before that is
//! committed. Each replica then drops by itself, by the topic's `local.retention`, at most what the store holds.

use std::collections::{BTreeMap, BTreeSet};

use protocol::error_code::ErrorCode;
use raft::types::{EntryKind, GroupId, Index, Member, ReplicaId, Term, Tick};

use super::captures::Captures;
use super::group::Group;
use super::output::Order;
use super::timers::Timers;
use super::{Io, Shard};
use crate::broker::Rejection;
use crate::partition::command::PartitionCommand;
use crate::partition::state::PartitionState;
use crate::partition::stored::Stored;

/// When snapshots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A change is in the store about so long after it, in ms.
    pub lag_max_ms: u64,
    /// So many bytes that the store lacks do not wait for that.
    pub bytes: u64,
    /// What of a partition is at most so many bytes goes into the store together with others, as a tail; 0 for none.
    pub tail_bytes: u64,
    /// Partitions at once.
    pub at_once: usize,
    /// After a failure a partition rests for so long, in ms.
    pub rest_ms: u64,
    /// What no manifest reaches any longer is looked for with the first snapshot after so long, in ms.
    pub collect_ms: u64,
    /// Each replica has its own copies, and drops from its log what these hold (`copies`).
    pub own_copies: bool,
}

/// Why a snapshot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// Something in it waits for long enough.
    Time,
    /// It lacks many bytes.
    Size,
    /// An operator asked.
    Manual,
    /// A cut of the whole cluster needs it.
    Cut,
    /// The last one is damaged, and only another one can take its place.
    Heal,
    /// The log takes more of its disk than it should, and much of it is this partition's.
    Space,
}

impl Trigger {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Time,
        Self::Size,
        Self::Manual,
        Self::Cut,
        Self::Heal,
        Self::Space,
    ];

    /// In metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Size => "size",
            Self::Manual => "manual",
            Self::Cut => "cut",
            Self::Heal => "heal",
            Self::Space => "space",
        }
    }
}

/// What a snapshot is to be made of. Everything in it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of this group.
    pub group: GroupId,
    /// Its replica here, whose log is read.
    pub replica: ReplicaId,
    /// The leader's term.
    pub term: Term,
    /// The last index that it sums up, and the term there.
    pub index: Index,
    /// The term of the entry there.
    pub index_term: Term,
    /// First offset that is not deleted.
    pub log_start: i64,
    /// First offset of this replica's log.
    pub local_start: i64,
    /// First offset that it does not hold.
    pub next_offset: i64,
    /// The state machine.
    pub state: bytes::Bytes,
    /// Leader epochs, each with its first offset.
    pub epochs: Vec<(i32, i64)>,
    /// Bytes that the store lacks, as far as is known: at least so many.
    pub bytes: u64,
    /// The snapshot that it continues.
    pub before: Option<Stored>,
    /// Why.
    pub trigger: Trigger,
}

/// Which partitions have what the store lacks.
#[derive(Default)]
pub(super) struct Snapshots {
    /// When a partition's turn comes.
    due: Timers,
    /// Whose turn it is.
    queue: BTreeMap<GroupId, Trigger>,
    /// Being taken, or cleaned up after.
    running: BTreeSet<GroupId>,
    /// As of the last cut.
    pub(super) captures: Captures,
}

impl Snapshots {
    pub(super) fn is_running(&self, id: GroupId) -> bool {
        self.running.contains(&id)
    }

    /// Whether its turn comes when there is room.
    pub(super) fn is_next(&self, id: GroupId) -> bool {
        self.queue.contains_key(&id)
    }

    pub(super) fn running_count(&self) -> usize {
        self.running.len()
    }

    pub(super) fn begin(&mut self, id: GroupId) {
        self.running.insert(id);
    }

    /// Takes one of a partition at that time.
    pub(super) fn schedule(&mut self, id: GroupId, at: Tick) {
        self.due.schedule(id, at);
    }

    /// Takes one of a partition when there is room.
    pub(super) fn want(&mut self, id: GroupId, trigger: Trigger) {
        self.queue.entry(id).or_insert(trigger);
    }
}

impl Io {
    /// Asks what may go from a log because this snapshot holds it.
    pub(super) fn order_local_retention(&mut self, group: &Group, stored: Option<Stored>) {
        let config = &group.config;
        let keep = (config.local_retention_ms, config.local_retention_bytes);
        self.order_local_cut(group, stored, keep);
    }

    /// The same, whatever the topic asks to keep.
    pub(super) fn order_local_cut(
        &mut self,
        group: &Group,
        stored: Option<Stored>,
        (ms, bytes): (Option<u64>, Option<u64>),
    ) {
        let stored = stored.filter(|stored| stored.next_offset > group.local_start());
        if let Some(stored) = stored.filter(|_| ms.is_some() || bytes.is_some()) {
            self.orders.push(Order::CheckLocalRetention {
                group: group.id,
                replica: group.me.replica,
                ms,
                bytes,
                stored,
            });
        }
    }

    /// A partition has something new for the store.
    pub(super) fn note_unstored(&mut self, group: &mut Group, bytes: usize) {
        group.unstored_bytes = group.unstored_bytes.saturating_add(bytes as u64);
        let is_much = group.unstored_bytes >= self.unstored_bytes_max;
        // NB: also when a snapshot is due that an earlier change waited for, and that another one's has overtaken.
        group.unstored_since.get_or_insert(self.now);
        if !group.is_noted || is_much {
            group.is_noted = true;
            self.unstored.insert(group.id);
        }
    }

    /// There is a newer snapshot.
    pub(super) fn note_stored(&mut self, group: &mut Group) {
        // What it lacks has come since it was begun, or since a later tail.
        let changed = group.partition().map(PartitionState::changed);
        let lacks = changed > Some(group.covered());
        let since = group.unstored_since.unwrap_or(group.planned_at);
        group.unstored_since = lacks.then_some(since.max(group.planned_at));
        self.stored.insert(group.id);
        if group.is_leader() {
            self.collectable.insert(group.id);
        }
    }
}

impl Group {
    /// What a snapshot is made of that is taken now; None when the store lacks nothing, unless it is to be healed.
    pub(super) fn wanted_now(&self, trigger: Trigger) -> Option<Wanted> {
        let (is_lost, is_healed) = (self.copies.is_lost, trigger == Trigger::Heal);
        let state = self.partition();
        let state = state.filter(|state| state.is_unstored() || is_lost || is_healed)?;
        let index = state.applied();
        Some(Wanted {
            group: self.id,
            replica: self.me.replica,
            term: self.node.term(),
            index,
            index_term: self.node.term_at(index)?,
            log_start: state.log_start(),
            local_start: self.local_start(),
            next_offset: state.high_watermark(),
            state: state.encode(state.high_watermark()),
            epochs: state.epochs().starts_below(state.high_watermark()),
            bytes: self.unstored_bytes,
            before: state.stored(),
            trigger,
        })
    }
}

impl Shard {
    /// Begins with what is due, as far as there is room.
    pub(super) fn plan_snapshots(&mut self, now: Tick) {
        let Some(policy) = self.config.snapshots else {
            return;
        };
        for id in std::mem::take(&mut self.io.unstored) {
            let Some(group) = self.groups.get(&id).filter(|group| group.is_leader()) else {
                continue;
            };
            if group.unstored_bytes >= policy.bytes {
                self.snapshots.queue.insert(id, Trigger::Size);
            } else if policy.tail_bytes > 0 {
                // NB: half the time is left for writing it.
                self.wait_for_tail(id, Tick(now.0 + policy.lag_max_ms / 2));
            } else {
                let at = Tick(now.0 + policy.lag_max_ms);
                self.snapshots.due.schedule(id, at);
            }
        }
        self.plan_tail(now, policy);
        self.plan_captures();
        while let Some(id) = self.snapshots.due.due(now) {
            self.snapshots.want(id, Trigger::Time);
        }
        // NB: what is being taken waits for its end, which looks at the queue again.
        let copies_rest = |id: &GroupId| {
            let group = self.groups.get(id);
            group.is_none_or(|group| !self.copies.is_busy(group))
        };
        let idle = |id: &GroupId| !self.snapshots.running.contains(id) && copies_rest(id);
        let next: Vec<(GroupId, Trigger)> = {
            let room = policy.at_once.saturating_sub(self.snapshots.running.len());
            let queue = self.snapshots.queue.iter();
            let queue = queue.filter(|(id, _)| idle(id));
            let queue = queue.map(|(id, why)| (*id, *why));
            if room == 0 {
                Vec::new()
            } else {
                queue.collect()
            }
        };
        for (id, trigger) in next {
            if self.snapshots.running.len() >= policy.at_once {
                return;
            }
            self.snapshots.queue.remove(&id);
            if let Some(wanted) = self.wanted(now, id, trigger) {
                self.snapshots.running.insert(id);
                self.io.orders.push(Order::TakeSnapshot(Box::new(wanted)));
            }
        }
    }

    /// What to take now; None when there is nothing, or it is somebody else's business.
    fn wanted(&mut self, now: Tick, id: GroupId, trigger: Trigger) -> Option<Wanted> {
        let group = self.groups.get_mut(&id).filter(|group| group.is_leader())?;
        if !group.node.is_leader_established() {
            let rest_ms = self.config.snapshot_rest_ms();
            self.snapshots.due.schedule(id, Tick(now.0 + rest_ms));
            return None;
        }
        let mut wanted = group.wanted_now(trigger);
        if self.config.has_own_copies() {
            if !group.is_whole() {
                // It lacks what the next snapshot would have to continue.
                let rest_ms = self.config.snapshot_rest_ms();
                self.snapshots.due.schedule(id, Tick(now.0 + rest_ms));
                return None;
            }
            if let Some(wanted) = &mut wanted {
                wanted.before = group.goes_on_from();
            }
        }
        group.is_noted = false;
        group.unstored_bytes = 0;
        group.planned_at = now;
        wanted
    }

    /// The answer to [`Order::TakeSnapshot`]: what is in the store now, whole and durable; None when it did not get
    /// there.
    pub fn snapshot_taken(&mut self, now: Tick, id: GroupId, term: Term, taken: Option<Stored>) {
        self.snapshots.running.remove(&id);
        self.snapshots.captures.taken(id, taken.is_some());
        self.plan_captures();
        let leads = |group: &&Group| group.is_leader() && group.node.term() == term;
        if self.groups.get(&id).filter(leads).is_none() {
            // NB: the next leader begins with what is committed. What nobody refers to is collected.
            return;
        }
        let proposed = taken.map(|taken| {
            let command = PartitionCommand::Stored(taken).encode();
            self.propose(now, id, EntryKind::Command, command)
        });
        if let (Some(Ok(_)), _) | (_, None) = (&proposed, self.config.snapshots) {
            return;
        }
        if let Some(Err(why)) = proposed {
            tracing::debug!(target: "snapshot", group = id.0, code = ?why.code, "taken, and not committed");
        }
        let rest_ms = self.config.snapshot_rest_ms();
        self.snapshots.due.schedule(id, Tick(now.0 + rest_ms));
    }

    /// Takes a snapshot of a partition that is led here as soon as it can be.
    ///
    /// # Errors
    /// When it is not led here, or there is no store.
    pub fn ask_for_snapshot(&mut self, id: GroupId) -> Result<(), Rejection> {
        let group = self.groups.get(&id).ok_or_else(|| self.io.not_here(id))?;
        if self.config.snapshots.is_none() {
            return Err(Rejection {
                code: ErrorCode::InvalidConfig,
                message: "there is no snapshot store: set snapshot.store on every broker"
                    .to_owned(),
                leader: None,
            });
        }
        if !group.node.is_leader_established() {
            return Err(self.io.rejection(group, ErrorCode::NotLeaderOrFollower));
        }
        self.snapshots.queue.insert(id, Trigger::Manual);
        Ok(())
    }

    /// Takes one of a partition that is led here, whether it has changed or not: the last one is damaged.
    pub fn ask_to_heal(&mut self, id: GroupId) {
        self.snapshots.queue.insert(id, Trigger::Heal);
    }

    /// Asks, for replicas whose snapshots are newer than before, what may go from their logs; and, where they are led
    /// here, what may go from the store.
    pub(super) fn order_after_snapshots(&mut self, now: Tick) {
        for id in std::mem::take(&mut self.io.collectable) {
            self.order_collection(now, id);
        }
        if self.config.has_own_copies() {
            return self.order_copies();
        }
        for id in std::mem::take(&mut self.io.stored) {
            let Some(group) = self.groups.get(&id) else {
                continue;
            };
            let stored = group.partition().and_then(PartitionState::stored);
            // Who cannot read the store keeps everything.
            if self.config.snapshots.is_some() {
                self.io.order_local_retention(group, stored);
            }
        }
    }

    /// Nothing goes while a first replica of a restored partition has not begun: it needs what the group began with.
    ///
    /// NB: the commit has just proven that this is the leader and that this snapshot is the newest. None is taken
    /// meanwhile: it could name what is being removed.
    fn order_collection(&mut self, now: Tick, id: GroupId) {
        let partition = self.image().and_then(|image| image.partition(id));
        let is_restored = partition.is_some_and(|partition| partition.origin.is_some());
        // Each copy is collected by whoever has it.
        let policy = self.config.snapshots.filter(|policy| !policy.own_copies);
        let (Some(policy), Some(group)) = (policy, self.groups.get_mut(&id)) else {
            return;
        };
        let stored = group.partition().and_then(PartitionState::stored);
        let begun = |m: &Member| {
            m.replica == group.me.replica || group.node.matched(m.replica) > Some(Index(0))
        };
        let all_begun = !is_restored || group.node.membership().voters.iter().all(begun);
        let is_due = group.is_leader() && now >= group.collect_due && all_begun;
        let Some(stored) = stored.filter(|_| is_due) else {
            return;
        };
        if i64::from(stored.leader_epoch) != i64::try_from(group.node.term().0).unwrap_or(-1)
            || !self.snapshots.running.insert(id)
        {
            return;
        }
        group.collect_due = Tick(now.0 + policy.collect_ms);
        self.io
            .orders
            .push(Order::CollectSnapshots { group: id, stored });
    }

    /// The answer to [`Order::CollectSnapshots`], however it ended.
    pub fn snapshots_collected(&mut self, id: GroupId) {
        self.snapshots.running.remove(&id);
    }

    /// The answer to [`Order::CheckLocalRetention`]: below this offset the log may go.
    pub fn local_cut(&mut self, id: GroupId, offset: i64) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let Some(stored) = group.readable(self.config.has_own_copies()) else {
            return;
        };
        if group.copies.is_damaged {
            return;
        }
        let cut = offset.min(stored.next_offset);
        if cut > group.local_cut {
            group.local_cut = cut;
            self.io.trims.insert(id);
        }
    }
}
