//! Every decision of a broker about its groups, without I/O, clock or randomness of its own.
//!
//! A shard owns the replicas of one broker: their Raft members and state machines, what they wait for, who is heard,
//! who leads what. Events go in with the time ([`Shard::log_done`], [`Shard::peer_frame`], [`Shard::produce`], ...);
//! [`Shard::flush`] hands out what they caused, once per tick: one append to the log for all groups, one frame per
//! peer, answers. The driver executes it; the simulator does the same with a model disk and network.
//!
//! Order is data: what may only be said when something is synced waits in `pipeline::Pipeline` under the number of
//! the append that it rests on.

mod captures;
mod confirm;
mod coordinate;
mod copies;
mod execute;
mod figures;
mod group;
mod hold;
mod leaders;
mod liveness;
pub(crate) mod measures;
mod membership;
mod memory;
mod metadata;
mod output;
mod pipeline;
mod produce;
mod read;
mod restore;
mod retention;
mod snapshots;
mod space;
mod status;
mod tails;
mod timers;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::effect::Effect;
use raft::input::Input;
use raft::message::{Body, Message};
use raft::types::{Base, DirectoryId, Entry, GroupId, Member, NodeId, ReplicaId, Tick};

use copies::Copies;
use group::Group;
use hold::Hold;
use leaders::Leaders;
use liveness::Liveness;
use measures::Measures;
use memory::Memory;
use pipeline::Pipeline;
use snapshots::Snapshots;
use tails::Tails;
use timers::Timers;

use crate::coordinator;
use crate::metadata::Image;
use crate::topic_config::TopicConfig;

pub use captures::Captured;
pub use copies::{Copied, Holding};
pub use figures::{AllCoordinated, Committed, Coordinated};
pub use group::Counts;
pub use hold::{HOLD_MS, NotHeld, Position};
pub use metadata::MetadataState;
pub use output::{Answer, Halt, LogDone, Order, Output, PeerBatch, Ticket};
pub use pipeline::AppendId;
pub use read::Plan;
pub use restore::{RestoreError, Restored};
pub use snapshots::{Policy as SnapshotPolicy, Trigger, Wanted};
pub use status::{GroupStatus, MemberStatus};
pub use tails::{EVERY, TailFate, TailPart, TailWanted};
pub use unreadable::Donors;

/// What a shard needs to know about itself; the same for its whole life.
#[derive(Clone, Debug)]
pub struct Config {
    /// This broker.
    pub node: NodeId,
    /// Its disk.
    pub directory: DirectoryId,
    /// Raft's timing and limits.
    pub raft: raft::Config,
    /// The number of this life, under which it registers.
    pub boot: u64,
    /// Seed of every random choice (election timeouts).
    pub seed: u64,
    /// A frame to every peer at least this often, in ms.
    pub heartbeat_ms: u64,
    /// A peer that is not heard for so long is down, in ms.
    pub peer_timeout_ms: u64,
    /// Payload bytes that the in-memory tails of all groups may hold together.
    pub tail_bytes_max: u64,
    /// Entries of the metadata group between two state records.
    pub metadata_trim_entries: u64,
    /// A voter that has not caught up for so long is not in sync, in ms.
    pub replica_lag_max_ms: u64,
    /// How often retention looks at a partition, in ms.
    pub retention_interval_ms: u64,
    /// A producer that has appended nothing for so long is forgotten, in ms.
    pub producer_expiration_ms: u64,
    /// Largest payload of an entry: nothing above it is proposed, because no log would take it.
    pub entry_bytes_max: u64,
    /// What holds where a topic says nothing.
    pub topic_defaults: TopicConfig,
    /// For the coordinators of consumer groups.
    pub groups: coordinator::core::Config,
    /// When partitions are put into the snapshot store; None: there is none.
    pub snapshots: Option<SnapshotPolicy>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: NodeId(1),
            directory: DirectoryId(1),
            raft: raft::Config::default(),
            boot: 0,
            seed: 1,
            heartbeat_ms: 100,
            peer_timeout_ms: 1000,
            tail_bytes_max: 256 << 20,
            metadata_trim_entries: 10_000,
            replica_lag_max_ms: 10_000,
            retention_interval_ms: 300_000,
            producer_expiration_ms: 86_400_000,
            entry_bytes_max: 32 << 20,
            topic_defaults: TopicConfig::default(),
            groups: coordinator::core::Config::default(),
            snapshots: None,
        }
    }
}

impl Config {
    /// Whether each replica has its own copies of snapshots.
    pub(super) fn has_own_copies(&self) -> bool {
        self.snapshots.is_some_and(|policy| policy.own_copies)
    }

    /// For how long nothing is tried again that has to do with the store, in ms.
    pub(super) fn snapshot_rest_ms(&self) -> u64 {
        self.snapshots.map_or(0, |policy| policy.rest_ms)
    }
}

/// See the module.
pub struct Shard {
    config: Config,
    groups: BTreeMap<GroupId, Group>,
    io: Io,
    /// Groups with proposals since the last flush.
    proposed: BTreeSet<GroupId>,
    /// Metadata changes that were applied and not yet acted upon.
    changes: VecDeque<crate::metadata::Change>,
    effects: Vec<Effect>,
    /// Messages for groups that this broker has not opened yet (its metadata is behind the sender's).
    early: VecDeque<(NodeId, GroupId, Message)>,
    /// Bytes of entries and states that came early since the last housekeeping.
    early_bytes: usize,
    next_housekeeping: Tick,
    /// When all partitions are looked at for what did not happen.
    look_due: Tick,
    /// Replicas that were closed here, and the append that says so.
    removed: BTreeMap<ReplicaId, AppendId>,
    /// The newest replica of each group that this disk has dropped, in this life or an earlier one.
    dropped: BTreeMap<GroupId, ReplicaId>,
    /// Replicas whose log is damaged, so that they are not open.
    damaged: BTreeSet<(GroupId, ReplicaId)>,
    /// Open replicas that cannot read a part of their log.
    unreadable: BTreeMap<GroupId, unreadable::Unreadable>,
    /// Replicas that are not open because what they begin with is in the store, and not read yet.
    origins: BTreeMap<(GroupId, ReplicaId), Option<Base>>,
    /// Groups whose move may not be finished: looked at also when they are silent.
    moving: BTreeSet<GroupId>,
    snapshots: Snapshots,
    tails: Tails,
    copies: Copies,
    /// When coordinators want to be told the time.
    coordinator_timers: Timers,
    /// The wall clock as of the last word of the driver.
    wall_ms: i64,
    /// Stands in before formation.
    no_image: Image,
}

/// What all groups share: where their effects go. Apart from the groups, so that a group and this can be borrowed
/// together.
struct Io {
    node: NodeId,
    pipeline: Pipeline,
    /// Of what the pipeline gathers: see [`Output::others_commit`].
    others_commit: bool,
    liveness: Liveness,
    leaders: Leaders,
    memory: Memory,
    timers: Timers,
    outbox: BTreeMap<NodeId, Vec<(GroupId, Message)>>,
    answers: Vec<Answer>,
    orders: Vec<Order>,
    /// Questions to majorities so far: each has its number.
    reads: u64,
    /// For coordinators, to be told with the flush.
    signals: Vec<(GroupId, coordinate::Signal)>,
    /// Groups whose high watermark or leadership moved since the last flush.
    progress: BTreeSet<GroupId>,
    /// Groups whose tails may now be evicted up to an index, or whose log start moved.
    trims: BTreeSet<GroupId>,
    /// Groups that have something that the store lacks, since the last housekeeping.
    unstored: BTreeSet<GroupId>,
    /// Of how many bytes on that is told again.
    unstored_bytes_max: u64,
    /// Groups whose logs may be trimmed below a snapshot: with a newer one since the last flush, or to be looked at again.
    stored: BTreeSet<GroupId>,
    /// Groups whose log start moved since the last housekeeping.
    advanced: BTreeSet<GroupId>,
    /// Groups led here whose newer snapshot was committed since the last flush.
    collectable: BTreeSet<GroupId>,
    /// Partitions without records that have applied something since the last housekeeping.
    command_logs: BTreeSet<GroupId>,
    disk_full: bool,
    /// Nothing of partitions is shown while it goes on.
    hold: Option<Hold>,
    /// The metadata came whole, not change by change.
    image_replaced: bool,
    /// As of the last event.
    now: Tick,
    measures: Measures,
}

/// Messages for groups that are not open yet, kept until the next housekeeping.
const EARLY_MAX: usize = 10_000;
/// Bytes of them.
const EARLY_BYTES_MAX: usize = 64 << 20;
/// Entries that one flush drops from memory at most.
const EVICTIONS_MAX: usize = 100_000;

impl Shard {
    /// A shard without groups. Follow with [`Shard::restore`] for each group that the log recovered, then
    /// [`Shard::start`].
    #[must_use]
    pub fn new(config: Config, now: Tick) -> Self {
        let nobody = Member {
            replica: ReplicaId(1),
            node: config.node,
            directory: config.directory,
        };
        let io = Io {
            node: config.node,
            pipeline: Pipeline::default(),
            others_commit: false,
            liveness: Liveness::new(config.heartbeat_ms, config.peer_timeout_ms),
            leaders: Leaders::default(),
            memory: Memory::new(config.tail_bytes_max),
            timers: Timers::default(),
            outbox: BTreeMap::new(),
            answers: Vec::new(),
            orders: Vec::new(),
            reads: 0,
            signals: Vec::new(),
            progress: BTreeSet::new(),
            trims: BTreeSet::new(),
            unstored: BTreeSet::new(),
            unstored_bytes_max: config.snapshots.map_or(u64::MAX, |policy| policy.bytes),
            stored: BTreeSet::new(),
            advanced: BTreeSet::new(),
            collectable: BTreeSet::new(),
            command_logs: BTreeSet::new(),
            disk_full: false,
            hold: None,
            image_replaced: false,
            now,
            measures: Measures::default(),
        };
        Self {
            config,
            groups: BTreeMap::new(),
            io,
            proposed: BTreeSet::new(),
            changes: VecDeque::new(),
            effects: Vec::new(),
            early: VecDeque::new(),
            early_bytes: 0,
            next_housekeeping: now,
            look_due: now,
            removed: BTreeMap::new(),
            dropped: BTreeMap::new(),
            damaged: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            origins: BTreeMap::new(),
            moving: BTreeSet::new(),
            snapshots: Snapshots::default(),
            tails: Tails::default(),
            copies: Copies::default(),
            coordinator_timers: Timers::default(),
            wall_ms: 0,
            no_image: Image::bootstrap(u128::MAX, vec![nobody]),
        }
    }

    /// Everything up to this append is synced.
    pub fn log_done(&mut self, now: Tick, done: &LogDone) {
        let finished = self.io.pipeline.finish(done.through, &done.held);
        for (node, group, message) in finished.sends {
            self.io
                .outbox
                .entry(node)
                .or_default()
                .push((group, message));
        }
        for (id, seq) in finished.persists {
            if let Some(group) = self.groups.get_mut(&id) {
                group.persisted(seq);
            }
            self.step(now, id, Input::Persisted(seq));
        }
        if done.disk_full != self.io.disk_full {
            self.io.disk_full = done.disk_full;
            let groups: Vec<GroupId> = self.groups.keys().copied().collect();
            for group in groups {
                self.step(now, group, Input::DiskFull(done.disk_full));
            }
        }
        for group in &done.sealed {
            self.save_derived(*group);
        }
    }

    /// A connection to a peer stands (in its present process life).
    pub fn peer_up(&mut self, now: Tick, node: NodeId, directory: DirectoryId) {
        self.io.liveness.up(now, node, directory);
        self.io.leaders.announce_all_to(node);
        self.each_group_with(now, node, Input::NodeUp(node));
    }

    /// The connection to a peer broke, or the driver gave it up.
    pub fn peer_down(&mut self, now: Tick, node: NodeId) {
        if self.io.liveness.down(node) {
            self.lose_peer(now, node);
        }
    }

    fn lose_peer(&mut self, now: Tick, node: NodeId) {
        self.io.outbox.remove(&node);
        for group in self.io.leaders.forget_node(node) {
            self.io.progress.insert(group);
        }
        self.each_group_with(now, node, Input::NodeDown(node));
    }

    fn each_group_with(&mut self, now: Tick, node: NodeId, input: Input) {
        let has = |g: &&Group| {
            g.node
                .membership()
                .all_members()
                .iter()
                .any(|m| m.node == node)
        };
        let groups: Vec<GroupId> = self.groups.values().filter(has).map(|g| g.id).collect();
        for id in groups {
            self.step(now, id, input.clone());
            self.refresh_in_sync(now, id);
        }
    }

    /// What one frame of a peer brought.
    pub fn peer_frame(&mut self, now: Tick, node: NodeId, batch: PeerBatch) {
        self.io.liveness.heard(now, node);
        for info in batch.soft {
            if let Some(group) = self.io.leaders.learn(info) {
                self.io.progress.insert(group);
            }
        }
        for (id, message) in batch.messages {
            if let Some(group) = self.groups.get_mut(&id) {
                self.io.measure_message(group, &message);
                self.step(now, id, Input::Message { node, message });
            } else {
                self.keep_early(node, id, message);
            }
        }
    }

    /// Keeps what came too early, as far as there is room: Raft sends again what is lost.
    fn keep_early(&mut self, node: NodeId, group: GroupId, message: Message) {
        let bytes = match &message.body {
            Body::Append(append) => append.entries.iter().map(|e| e.payload.len()).sum(),
            Body::Install { base, .. } => base.state.len(),
            _ => 0,
        };
        if self.early.len() < EARLY_MAX && self.early_bytes + bytes <= EARLY_BYTES_MAX {
            self.early_bytes += bytes;
            self.early.push_back((node, group, message));
        }
    }

    /// Time has passed: due at [`Shard::deadline`], harmless at any other time.
    pub fn tick(&mut self, now: Tick) {
        for node in self.io.liveness.expired(now) {
            self.io.orders.push(Order::Disconnect(node));
            self.lose_peer(now, node);
        }
        while let Some(group) = self.io.timers.due(now) {
            let deadline = self.groups.get(&group).and_then(|g| g.node.deadline());
            match deadline {
                Some(at) if at <= now => self.step(now, group, Input::Tick),
                Some(at) => self.io.timers.schedule(group, at),
                None => {}
            }
        }
        self.end_late_hold(now);
        self.tick_coordinators(now);
        if now >= self.next_housekeeping {
            self.next_housekeeping = Tick(now.0 + self.config.heartbeat_ms);
            self.housekeeping(now);
        }
    }

    /// When [`Shard::tick`] is wanted next.
    #[must_use]
    pub fn deadline(&self) -> Tick {
        let timers = [
            self.io.timers.next(),
            self.coordinator_timers.next(),
            self.hold_deadline(),
        ];
        let timers = timers.into_iter().flatten();
        timers.fold(self.next_housekeeping, Tick::min)
    }

    fn housekeeping(&mut self, now: Tick) {
        self.expire_answers(now);
        let leading: Vec<GroupId> = self
            .groups
            .values()
            .filter(|g| g.is_leader() && !g.node.quiesced())
            .map(|g| g.id)
            .collect();
        for group in leading {
            self.refresh_in_sync(now, group);
            self.measure_lags(now, group);
            self.reconcile_membership(now, group);
        }
        self.finish_moves(now);
        self.begin_coordinators(now);
        self.trim_command_logs(now);
        self.early.clear();
        self.early_bytes = 0;
        self.check_retention(now);
        self.look_at_all(now);
        self.plan_copies(now);
        self.plan_snapshots(now);
        self.hand_over_unreadable(now);
        self.drop_removed();
    }

    /// Hands an input to a group and carries out what follows.
    fn step(&mut self, now: Tick, id: GroupId, input: Input) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let mut effects = std::mem::take(&mut self.effects);
        group.node.step(now, input, &mut effects);
        self.execute(now, id, &mut effects);
        self.effects = effects;
    }

    /// Hands out everything that the events since the last flush caused.
    pub fn flush(&mut self, now: Tick) -> Output {
        self.io.now = now;
        self.flush_proposed(now);
        self.act_on_changes(now);
        self.flush_proposed(now);
        while self.signal_coordinators(now) {
            self.flush_proposed(now);
        }
        self.order_after_snapshots(now);
        self.order_trims();
        self.evict();
        self.io.leaders.drain_into(&mut self.io.liveness);
        let frames = self.io.liveness.frames(now, &mut self.io.outbox);
        Output {
            frames,
            append: self.io.pipeline.take(),
            others_commit: std::mem::take(&mut self.io.others_commit),
            answers: std::mem::take(&mut self.io.answers),
            orders: std::mem::take(&mut self.io.orders),
            progress: std::mem::take(&mut self.io.progress),
        }
    }

    fn flush_proposed(&mut self, now: Tick) {
        while let Some(id) = self.proposed.pop_first() {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            let mut effects = std::mem::take(&mut self.effects);
            group.node.flush(now, &mut effects);
            self.execute(now, id, &mut effects);
            self.effects = effects;
        }
    }

    fn evict(&mut self) {
        // Each entry is looked at once: those that are still needed come back to the end of the queue.
        for _ in 0..EVICTIONS_MAX.min(self.io.memory.entries()) {
            let Some((id, index)) = self.io.memory.surplus() else {
                return;
            };
            let gone = self
                .groups
                .get_mut(&id)
                .is_none_or(|group| group.evict(index));
            if gone {
                self.io.memory.drop_front();
            } else {
                self.io.memory.defer_front();
            }
        }
    }

    /// The answer to [`Order::ReadEntries`]; None when they cannot be read.
    pub fn entries_read(
        &mut self,
        now: Tick,
        id: GroupId,
        to: ReplicaId,
        session: u64,
        entries: Option<Vec<Entry>>,
    ) {
        let input = match entries {
            Some(entries) => Input::Read {
                to,
                session,
                entries,
            },
            None => Input::ReadFailed { to, session },
        };
        self.step(now, id, input);
    }

    /// This broker.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// Its disk.
    #[must_use]
    pub fn directory(&self) -> DirectoryId {
        self.config.directory
    }

    fn member_here(&self, replica: ReplicaId) -> Member {
        Member {
            replica,
            node: self.config.node,
            directory: self.config.directory,
        }
    }
}

#[cfg(test)]
mod tests;
