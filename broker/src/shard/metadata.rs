//! The metadata group's state machine, and what its changes mean for this broker's groups.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::effect::Role;
use raft::input::Input;
use raft::types::{
    Base, Entry, EntryKind, GroupId, HardState, Index, Member, Membership, NodeId, ReplicaId, Tick,
};
use wal::Record;

use super::Shard;
use super::copies::OwnCopies;
use super::group::{Counts, Group, Machine, Waiting, Wanted};
use super::measures::GroupMeasures;
use super::membership::is_unfinished;
use super::output::{Answer, Order, Ticket};
use crate::metadata::{Change, Command, ConfigScope, Image, Rejected, StateError, TopicId};
use crate::partition::state::PartitionState;
use crate::topic_config::TopicConfig;

/// The image, and the commands that are appended but not committed.
#[derive(Debug)]
pub struct MetadataState {
    image: Image,
    applied: Index,
    pending: VecDeque<Entry>,
}

impl MetadataState {
    /// The state as of an index.
    pub fn restore(index: Index, bytes: &[u8]) -> Result<Self, StateError> {
        let image = Image::decode(bytes)?;
        Ok(Self {
            image,
            applied: index,
            pending: VecDeque::new(),
        })
    }

    pub(super) fn install(&mut self, index: Index, bytes: &[u8]) -> Result<(), StateError> {
        *self = Self::restore(index, bytes)?;
        Ok(())
    }

    /// What is applied.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    pub(super) fn applied(&self) -> Index {
        self.applied
    }

    pub(super) fn encode(&self) -> Bytes {
        Bytes::from(self.image.encode())
    }

    pub(super) fn appended(&mut self, entry: &Entry) {
        self.pending.push_back(entry.clone());
    }

    pub(super) fn truncated(&mut self, from: Index) {
        assert!(from > self.applied, "nothing applied is ever truncated");
        while self.pending.back().is_some_and(|e| e.index >= from) {
            self.pending.pop_back();
        }
    }

    /// Applies what is committed; tells each entry's outcome.
    pub(super) fn committed(
        &mut self,
        index: Index,
        mut told: impl FnMut(Index, Result<Vec<Change>, Rejected>),
    ) {
        while self.pending.front().is_some_and(|e| e.index <= index) {
            let entry = self.pending.pop_front().expect("just seen");
            let outcome = if entry.kind == EntryKind::Command {
                let command = Command::decode(&entry.payload)
                    .expect("a committed command was written by a broker of a known level");
                self.image.apply(entry.index, &command)
            } else {
                self.image.skip(entry.index);
                Ok(Vec::new())
            };
            self.applied = entry.index;
            told(entry.index, outcome);
        }
        self.applied = self.applied.max(index);
    }
}

impl Shard {
    /// The metadata as applied here; None before formation.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        match &self.groups.get(&GroupId::METADATA)?.machine {
            Machine::Metadata(state) => Some(state.image()),
            Machine::Partition(_) => None,
        }
    }

    /// The same, and before formation an image of nothing.
    #[must_use]
    pub fn image_or_empty(&self) -> &Image {
        self.image().unwrap_or(&self.no_image)
    }

    /// Whether this broker leads the metadata group and has applied everything that earlier leaders committed.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.groups
            .get(&GroupId::METADATA)
            .is_some_and(|g| g.node.is_leader_established())
    }

    /// Opens the metadata group on an empty log: `me` is this broker's replica; the image is the bootstrap record's.
    pub fn bootstrap(&mut self, now: Tick, me: ReplicaId, image: &Image) {
        let partition = image.partition(GroupId::METADATA);
        let mut voters = partition.map(|p| p.replicas.clone()).unwrap_or_default();
        voters.sort_by_key(|m| m.replica);
        let is_voter = voters.iter().any(|m| m.replica == me);
        let membership = if is_voter { voters } else { Vec::new() };
        let membership = Membership {
            voters: membership,
            ..Membership::default()
        };
        let state = Bytes::from(image.encode());
        let base = Base {
            membership,
            state,
            ..Base::default()
        };
        if !self.was_dropped(GroupId::METADATA, me) {
            self.open(now, GroupId::METADATA, me, base);
        }
    }

    /// Proposes a metadata command; the answer comes when it is applied here.
    pub fn propose_metadata(
        &mut self,
        now: Tick,
        command: &Command,
        deadline: Tick,
        ticket: Ticket,
    ) {
        let payload = Bytes::from(command.encode());
        match self.propose(now, GroupId::METADATA, EntryKind::Command, payload) {
            Err(mut why) => {
                why.code = match why.code {
                    ErrorCode::NotLeaderOrFollower => ErrorCode::NotController,
                    ErrorCode::MessageTooLarge => ErrorCode::PolicyViolation,
                    other => other,
                };
                self.io.answers.push(Answer::Applied(ticket, Err(why)));
            }
            Ok(index) => {
                let waiting = Waiting {
                    index,
                    ticket,
                    deadline,
                    wanted: Wanted::Command,
                };
                let group = self
                    .groups
                    .get_mut(&GroupId::METADATA)
                    .expect("it took a command");
                group.for_commit.push_back(waiting);
            }
        }
    }

    /// Acts on what the metadata group has applied since the last flush.
    pub(super) fn act_on_changes(&mut self, now: Tick) {
        if std::mem::take(&mut self.io.image_replaced) {
            self.reconcile_image(now);
        }
        while let Some(change) = self.changes.pop_front() {
            match change {
                Change::PartitionCreated { group } => self.open_assigned(now, group, true),
                Change::TargetChanged { group } => {
                    self.moving.insert(group);
                    self.open_assigned(now, group, false);
                    self.reconcile_membership(now, group);
                }
                Change::PartitionRemoved { group, .. } => {
                    self.io.leaders.forget_group(group);
                    self.drop_removed();
                }
                Change::ReassignmentFinished { .. } => self.drop_removed(),
                Change::RemovalsConfirmed { .. } => self.forget_confirmed(),
                // NB: its groups can be open already: a restart applies old changes again.
                Change::TopicCreated { topic } | Change::ConfigChanged { topic } => {
                    self.reload_config(topic);
                }
                Change::BrokerChanged { node } => {
                    self.io.measures.registered(node);
                    self.order_peers();
                    self.reconcile_membership(now, GroupId::METADATA);
                }
                Change::BrokerRemoved { node } => {
                    self.io.measures.unregistered(node);
                    self.order_peers();
                    self.reconcile_membership(now, GroupId::METADATA);
                }
                Change::TopicRemoved { .. } => self.topics_changed(now),
                Change::BrokerConfigChanged { .. } => self.reload_all_configs(),
                Change::ProducerIdsRaised => self.io.orders.push(Order::ForgetProducerIds),
                Change::ProducerIdsAllocated { .. }
                | Change::PreferenceChanged { .. }
                | Change::Restored
                | Change::MetadataVersionChanged { .. } => {}
            }
        }
        self.trim_metadata(now);
    }

    /// Opens every group that the image gives to this disk and that is not open, drops what it says is removed.
    /// Needed where changes were not seen one by one: at start, and after an install.
    pub(super) fn reconcile_image(&mut self, now: Tick) {
        // First what is to go: a removed replica may have a successor in the same group.
        self.drop_removed();
        let Some(image) = self.image() else { return };
        let node = self.config.node;
        let here: Vec<(GroupId, bool)> = image
            .groups_on(node)
            .map(|p| (p.group, !p.is_moving()))
            .collect();
        for (group, settled) in here {
            if group != GroupId::METADATA {
                self.open_assigned(now, group, settled);
            }
        }
        let image = self.image_or_empty();
        let here = image.groups_on(node);
        self.moving = here.filter(|p| is_unfinished(p)).map(|p| p.group).collect();
        let known = self.image_or_empty().brokers();
        let known: Vec<NodeId> = known.map(|broker| broker.node()).collect();
        self.io.measures.knows_nodes(known.into_iter());
        self.order_peers();
        self.reload_all_configs();
        self.topics_changed(now);
    }

    fn reload_all_configs(&mut self) {
        let topics: Vec<TopicId> = self.image_or_empty().topics().map(|t| t.id).collect();
        for topic in topics {
            self.reload_config(topic);
        }
    }

    /// Opens this disk's replica of a group, if it has one and it is not open.
    ///
    /// A settled assignment's replicas begin with that assignment as their membership: a replica that holds nothing
    /// of a settled group was one of its first voters, since all others are promoted only when they hold the log.
    /// A replica that a move brings begins without a membership and waits for the leader.
    fn open_assigned(&mut self, now: Tick, id: GroupId, settled: bool) {
        let (node, directory) = (self.config.node, self.config.directory);
        let Some(partition) = self.image().and_then(|i| i.partition(id)) else {
            return;
        };
        let is_here = |m: &Member| m.node == node && m.directory == directory;
        let Some(me) = partition.holders().into_iter().find(is_here) else {
            return;
        };
        if self.groups.contains_key(&id) {
            // NB: a restart applies old changes again; what it opened before them knew less.
            let config = self.config_of(id);
            if let Some(group) = self.groups.get_mut(&id) {
                group.configure(config);
            }
            return;
        }
        if self.was_dropped(id, me.replica) || self.damaged.contains(&(id, me.replica)) {
            return;
        }
        let first = settled || partition.replicas.iter().any(|m| m.replica == me.replica);
        let mut voters = if first {
            partition.replicas.clone()
        } else {
            Vec::new()
        };
        voters.sort_by_key(|m| m.replica);
        let origin = partition.origin.filter(|_| first);
        let preferred = first && partition.preferred().replica == me.replica;
        let membership = Membership {
            voters,
            ..Membership::default()
        };
        let base = match origin {
            None => Base::default(),
            Some(origin) => match self.origins.remove(&(id, me.replica)) {
                Some(Some(base)) => base,
                awaited => {
                    self.origins.insert((id, me.replica), None);
                    if awaited.is_none() {
                        self.io.orders.push(Order::ReadOrigin {
                            group: id,
                            replica: me.replica,
                            origin,
                        });
                    }
                    return;
                }
            },
        };
        self.open(now, id, me.replica, Base { membership, ..base });
        if preferred {
            self.step(now, id, Input::Campaign { forced: false });
        }
        self.replay_early(now, id);
    }

    /// Whether a replica here is not open because the snapshot that it begins with was not read.
    #[must_use]
    pub fn waits_for_origin(&self, id: GroupId, replica: ReplicaId) -> bool {
        self.origins.contains_key(&(id, replica))
    }

    /// Replicas that are not open because the snapshots that they begin with were not read.
    #[must_use]
    pub fn waiting_for_origins(&self) -> usize {
        self.origins.len()
    }

    /// The answer to [`Order::ReadOrigin`]. Every first replica of the group begins with the same.
    pub fn origin_read(&mut self, now: Tick, id: GroupId, replica: ReplicaId, base: Base) {
        if !self.waits_for_origin(id, replica) {
            return;
        }
        self.origins.insert((id, replica), Some(base));
        let settled = self.image().and_then(|image| image.partition(id));
        let settled = settled.is_some_and(|partition| !partition.is_moving());
        self.open_assigned(now, id, settled);
        self.origins.remove(&(id, replica));
    }

    /// Opens a group on an empty log.
    fn open(&mut self, now: Tick, id: GroupId, replica: ReplicaId, base: Base) {
        let machine = if id == GroupId::METADATA {
            let state = MetadataState::restore(base.index, &base.state);
            Machine::Metadata(Box::new(state.expect("an image that was just encoded")))
        } else {
            let state = PartitionState::restore(base.index, &base.state);
            Machine::Partition(Box::new(state.expect("a state that was checked")))
        };
        self.io.pipeline.append(Record::Base {
            group: id,
            replica,
            base: base.clone(),
        });
        let start = raft::Start {
            me: self.member_here(replica),
            hard_state: HardState {
                term: base.term,
                ..HardState::default()
            },
            last_index: base.index,
            base,
            terms: Vec::new(),
            memberships: Vec::new(),
            seed: self.seed_of(id),
            priority: 0,
        };
        self.insert_group(now, id, start, machine);
    }

    pub(super) fn insert_group(
        &mut self,
        now: Tick,
        id: GroupId,
        start: raft::Start,
        machine: Machine,
    ) {
        let (me, derived) = (start.me, start.base.index);
        let base_state = start.base.state.clone();
        // Every broker serves metadata from its own copy: it is told of commits at once.
        let announce_commit = id == GroupId::METADATA;
        let config = raft::Config {
            announce_commit,
            ..self.config.raft
        };
        let node = raft::Node::new(config, start, now);
        if let Some(at) = node.deadline() {
            self.io.timers.schedule(id, at);
        }
        let config = self.config_of(id);
        let mut group = Group {
            id,
            me,
            node,
            machine,
            config: Rc::default(),
            for_commit: VecDeque::new(),
            for_receipt: VecDeque::new(),
            for_sync: VecDeque::new(),
            acked_early: Index(0),
            unconfirmed: Vec::new(),
            coordinator: None,
            persists: VecDeque::new(),
            in_sync: Vec::new(),
            lag_marks: [(now, Index(0)); 2],
            derived,
            base_state,
            trimming: None,
            local_cut: 0,
            copies: OwnCopies::default(),
            is_noted: false,
            unstored_bytes: 0,
            tailed: [Index(0); 2],
            unstored_since: None,
            planned_at: now,
            collect_due: now,
            silence_mark: None,
            retention_due: Tick(now.0 + self.config.retention_interval_ms),
            shown: derived,
            counts: Counts::default(),
            measures: GroupMeasures::default(),
            was: Role::Follower,
        };
        group.configure(config);
        self.groups.insert(id, group);
        if self.io.disk_full {
            self.step(now, id, Input::DiskFull(true));
        }
    }

    pub(super) fn seed_of(&self, id: GroupId) -> u64 {
        self.config.seed ^ id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn replay_early(&mut self, now: Tick, id: GroupId) {
        let early = std::mem::take(&mut self.early);
        let (mine, rest) = early.into_iter().partition(|(_, group, _)| *group == id);
        self.early = rest;
        let mine: VecDeque<_> = mine;
        for (node, group, message) in mine {
            self.step(now, group, Input::Message { node, message });
        }
    }

    /// Closes the replicas whose removal is committed, and confirms those that are gone.
    pub(super) fn drop_removed(&mut self) {
        let Some(image) = self.image() else { return };
        let removals: Vec<(ReplicaId, GroupId)> = image.removals(self.config.directory).collect();
        let mut gone = Vec::new();
        for (replica, id) in removals {
            if self
                .groups
                .get(&id)
                .is_some_and(|g| g.me.replica == replica)
            {
                self.close(id);
            }
            self.origins.remove(&(id, replica));
            if self.damaged.remove(&(id, replica)) {
                self.remove_from_log(id, replica);
            }
            match self.removed.get(&replica) {
                Some(append) if self.io.pipeline.is_synced(*append) => gone.push(replica),
                Some(_) => {}
                None => {
                    // Not open and not dropped in this life: nothing of it is here.
                    gone.push(replica);
                }
            }
        }
        if !gone.is_empty() {
            self.io.orders.push(Order::ConfirmRemovals(gone));
        }
    }

    /// Nobody asks any longer for what is confirmed.
    fn forget_confirmed(&mut self) {
        let Some(image) = self.image() else { return };
        let open: BTreeSet<ReplicaId> = image
            .removals(self.config.directory)
            .map(|(replica, _)| replica)
            .collect();
        self.removed.retain(|replica, _| open.contains(replica));
    }

    fn close(&mut self, id: GroupId) {
        let Some(mut group) = self.groups.remove(&id) else {
            return;
        };
        self.io.pipeline.forget(id);
        self.remove_from_log(id, group.me.replica);
        self.io.leaders.forget_group(id);
        self.io.progress.insert(id);
        self.io.resign_coordinator(&mut group);
        self.io.give_up(&mut group, Tick(u64::MAX));
        for waiting in group.take_waiting_from(Index(0)) {
            let why = self.io.not_here(id);
            self.io.refuse(&waiting, why);
        }
    }

    fn remove_from_log(&mut self, id: GroupId, replica: ReplicaId) {
        let remove = Record::Remove { group: id, replica };
        let append = self.io.pipeline.append(remove);
        self.removed.insert(replica, append);
        self.note_dropped(id, replica);
    }

    pub(super) fn note_dropped(&mut self, id: GroupId, replica: ReplicaId) {
        let newest = self.dropped.entry(id).or_insert(replica);
        *newest = replica.max(*newest);
    }

    /// Whether this disk has dropped the replica. The image may not know it (again) yet: after a crash it can be older
    /// than what was acted upon. A dropped replica never comes back; an empty one in its place would vote anew.
    fn was_dropped(&self, id: GroupId, replica: ReplicaId) -> bool {
        self.dropped
            .get(&id)
            .is_some_and(|&newest| replica <= newest)
    }

    fn order_peers(&mut self) {
        let Some(image) = self.image() else { return };
        let me = self.config.node;
        let others = image.brokers().filter(|b| b.node() != me);
        let peers: Vec<(NodeId, String)> = others
            .map(|b| (b.node(), b.registration.peer.clone()))
            .collect();
        self.io.orders.push(Order::Peers(peers));
    }

    /// Whether the metadata here is at least as new as this life of the broker: it shows its registration. After a
    /// restart the image is older, until the log's committed entries are known and applied again.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let own = self.image().and_then(|i| i.broker(self.config.node));
        own.is_some_and(|b| b.registration.boot == self.config.boot)
    }

    fn config_of(&self, id: GroupId) -> Rc<TopicConfig> {
        let topic = self.image().and_then(|i| i.topic(i.partition(id)?.topic));
        // Of a topic that the metadata here does not know (yet) nothing is deleted.
        let unknown = || TopicConfig {
            retention_ms: None,
            retention_bytes: None,
            ..self.topic_defaults()
        };
        Rc::new(topic.map_or_else(unknown, |t| self.topic_defaults().with(&t.configs)))
    }

    /// This broker's own defaults, under those that were set for all brokers and for this one.
    fn topic_defaults(&self) -> TopicConfig {
        let image = self.image_or_empty();
        let own = ConfigScope::Node(self.config.node);
        let all = self
            .config
            .topic_defaults
            .with_broker(image.broker_configs(ConfigScope::Cluster));
        all.with_broker(image.broker_configs(own))
    }

    fn reload_config(&mut self, topic: TopicId) {
        let Some(topic) = self.image().and_then(|i| i.topic(topic)) else {
            return;
        };
        let config = Rc::new(self.topic_defaults().with(&topic.configs));
        for id in topic.partitions.clone() {
            if let Some(group) = self.groups.get_mut(&id) {
                group.configure(config.clone());
            }
        }
    }

    /// Sums the metadata log up in a state record when it has grown enough.
    fn trim_metadata(&mut self, now: Tick) {
        let Some(group) = self.groups.get_mut(&GroupId::METADATA) else {
            return;
        };
        let applied = group.applied();
        if applied.0 < group.node.base().index.0 + self.config.metadata_trim_entries {
            return;
        }
        let state = group.derived_state();
        self.trim(now, GroupId::METADATA, applied, state);
    }
}
