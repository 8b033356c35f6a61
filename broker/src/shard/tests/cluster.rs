//! Brokers, their disks and the wire between them, moved by hand or until nothing moves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft::effect::Role;
use raft::types::{DirectoryId, GroupId, Index, Member, NodeId, ReplicaId, Tick};
use wal::Record;

use super::disk::Disk;
use super::{Answer, GROUP};
use crate::broker::{Acks, Produced, Rejection};
use crate::metadata::tests::{member, registration};
use crate::metadata::{Command, Image, TopicId};
use crate::shard::{
    AppendId, Config, GroupStatus, LogDone, Order, PeerBatch, RestoreError, Shard, Ticket,
};

pub(super) const TOPIC: TopicId = TopicId(77);
const STEP_MS: u64 = 5;

pub(super) struct Broker {
    pub(super) shard: Shard,
    pub(super) disk: Disk,
    pub(super) unsynced: VecDeque<(AppendId, Vec<Record>)>,
    pub(super) answers: Vec<Answer>,
    pub(super) orders: Vec<Order>,
    pub(super) disk_full: bool,
    synced: AppendId,
}

/// What one flush handed out, for a closer look.
pub(super) struct Flushed {
    pub(super) frames: Vec<(NodeId, PeerBatch)>,
    pub(super) append: Option<(AppendId, Vec<Record>)>,
    pub(super) answers: usize,
}

impl Flushed {
    pub(super) fn entries(&self, id: GroupId) -> usize {
        let records = self.append.iter().flat_map(|(_, records)| records);
        let entries = records.map(|record| match record {
            Record::Entries { group, entries, .. } if *group == id => entries.len(),
            _ => 0,
        });
        entries.sum()
    }
}

pub(super) struct Cluster {
    pub(super) now: Tick,
    pub(super) config: Config,
    brokers: Vec<Broker>,
    pub(super) wire: VecDeque<(NodeId, NodeId, PeerBatch)>,
    /// Nodes that nobody hears and that hear nobody.
    pub(super) cut: BTreeSet<NodeId>,
    /// Nodes that hear nothing of the metadata group.
    pub(super) unaware: BTreeSet<NodeId>,
    next_ticket: u64,
}

/// Who has found damage at a start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundBy {
    Log,
    Replay,
}

impl Cluster {
    /// Brokers 1 to `brokers` with one topic of one partition that broker 1 leads.
    pub(super) fn of(brokers: i32) -> Self {
        Self::with(brokers, |_| {}, &[])
    }

    pub(super) fn with(
        brokers: i32,
        change: impl FnOnce(&mut Config),
        topic: &[(&str, &str)],
    ) -> Self {
        let mut cluster = Self::without_topic(brokers, change);
        let nodes: Vec<i32> = (1..=brokers).collect();
        cluster.create_topic(&nodes, topic);
        cluster.lead(NodeId(1));
        cluster
    }

    pub(super) fn without_topic(brokers: i32, change: impl FnOnce(&mut Config)) -> Self {
        let mut cluster = Self::founded(brokers, change);
        cluster.run_until("a controller", |c| c.controller().is_some());
        for n in 1..=brokers {
            let registration = registration(n, directory(NodeId(n)).0);
            cluster.command(Command::RegisterBroker(registration));
        }
        cluster
    }

    /// They have just come to hear each other.
    pub(super) fn founded(brokers: i32, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            raft: raft::Config::tiny(),
            heartbeat_ms: 20,
            peer_timeout_ms: 200,
            replica_lag_max_ms: 100,
            retention_interval_ms: 1000,
            ..Config::default()
        };
        change(&mut config);
        let now = Tick(1000);
        let voters: Vec<Member> = (1..=brokers)
            .map(|n| member(u64::try_from(n).unwrap(), n, directory(NodeId(n)).0))
            .collect();
        let image = Image::bootstrap(7, voters);
        let broker = |n: i32| {
            let mut shard = Shard::new(config_of(&config, NodeId(n)), now);
            shard.bootstrap(now, ReplicaId(u64::try_from(n).unwrap()), &image);
            Broker::new(shard)
        };
        let mut cluster = Self {
            now,
            config: config.clone(),
            brokers: (1..=brokers).map(broker).collect(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            unaware: BTreeSet::new(),
            next_ticket: 1,
        };
        cluster.heal();
        cluster
    }

    pub(super) fn create_topic(&mut self, nodes: &[i32], configs: &[(&str, &str)]) {
        let pair = |&(k, v): &(&str, &str)| (k.to_owned(), v.to_owned());
        self.command(Command::CreateTopic {
            topic: TOPIC,
            name: "topic".to_owned(),
            assignments: vec![nodes.iter().copied().map(NodeId).collect()],
            configs: configs.iter().map(pair).collect::<BTreeMap<_, _>>(),
        });
        self.run(100);
    }

    pub(super) fn at(&mut self, node: NodeId) -> &mut Broker {
        &mut self.brokers[usize::try_from(node.0).unwrap() - 1]
    }

    pub(super) fn broker(&self, node: NodeId) -> &Broker {
        &self.brokers[usize::try_from(node.0).unwrap() - 1]
    }

    pub(super) fn shard(&self, node: NodeId) -> &Shard {
        &self.broker(node).shard
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        (1..).map(NodeId).take(self.brokers.len()).collect()
    }

    pub(super) fn status(&self, node: NodeId, group: GroupId) -> Option<GroupStatus> {
        self.shard(node).status().find(|s| s.group == group)
    }

    pub(super) fn controller(&self) -> Option<NodeId> {
        self.nodes()
            .into_iter()
            .find(|&n| self.shard(n).is_controller())
    }

    /// Proposes a command at the controller and waits until everybody has applied it.
    pub(super) fn command(&mut self, command: Command) {
        let (node, ticket, now) = (self.controller().unwrap(), self.ticket(), self.now);
        let deadline = Tick(now.0 + 10_000);
        self.at(node)
            .shard
            .propose_metadata(now, &command, deadline, ticket);
        self.settle();
        let applied = self
            .at(node)
            .answers
            .iter()
            .any(|answer| matches!(answer, Answer::Applied(t, Ok(Ok(_))) if *t == ticket));
        assert!(applied, "{command:?}: {:?}", self.at(node).answers);
        self.run(50);
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub(super) fn produce(&mut self, node: NodeId, batch: Bytes, acks: Acks) -> Ticket {
        self.produce_within(node, batch, acks, 100_000)
    }

    pub(super) fn produce_within(
        &mut self,
        node: NodeId,
        batch: Bytes,
        acks: Acks,
        timeout_ms: u64,
    ) -> Ticket {
        let (ticket, now) = (self.ticket(), self.now);
        let deadline = Tick(now.0 + timeout_ms);
        let shard = &mut self.at(node).shard;
        shard.produce(now, 5000, GROUP, batch, acks, deadline, ticket);
        ticket
    }

    pub(super) fn delete_records(&mut self, node: NodeId, before: i64) -> Ticket {
        let (ticket, now) = (self.ticket(), self.now);
        let deadline = Tick(now.0 + 100_000);
        let shard = &mut self.at(node).shard;
        shard.advance_log_start(now, GROUP, before, deadline, Some(ticket));
        ticket
    }

    /// The answer to a produce, which comes once.
    pub(super) fn answer(&self, node: NodeId, of: Ticket) -> Option<&Result<Produced, Rejection>> {
        let answers = self
            .broker(node)
            .answers
            .iter()
            .filter_map(|answer| match answer {
                Answer::Produced(ticket, result) if *ticket == of => Some(result),
                _ => None,
            });
        let answers: Vec<_> = answers.collect();
        assert!(answers.len() <= 1, "answered more than once: {answers:?}");
        answers.first().copied()
    }

    /// The answer to a log start advance, which comes once.
    pub(super) fn log_start(&self, node: NodeId, of: Ticket) -> Option<&Result<i64, Rejection>> {
        let answers = self
            .broker(node)
            .answers
            .iter()
            .filter_map(|answer| match answer {
                Answer::LogStart(ticket, result) if *ticket == of => Some(result),
                _ => None,
            });
        let answers: Vec<_> = answers.collect();
        assert!(answers.len() <= 1, "answered more than once: {answers:?}");
        answers.first().copied()
    }

    /// Asks a broker whether it leads.
    pub(super) fn confirm_leader(&mut self, node: NodeId) -> Ticket {
        let ticket = self.ticket();
        let (now, deadline) = (self.now, Tick(self.now.0 + 5_000));
        let shard = &mut self.at(node).shard;
        shard.confirm_leader(now, GROUP, deadline, ticket);
        ticket
    }

    /// The answer to that, which comes once.
    pub(super) fn confirmed(&self, node: NodeId, of: Ticket) -> Option<&Result<(), Rejection>> {
        let answers = self.broker(node).answers.iter();
        let mut answers = answers.filter_map(|answer| match answer {
            Answer::Confirmed(ticket, result) if *ticket == of => Some(result),
            _ => None,
        });
        let first = answers.next();
        assert_eq!(answers.next(), None, "answered more than once");
        first
    }

    /// One flush: frames onto the wire, the append to the disk's queue.
    pub(super) fn flush(&mut self, node: NodeId) -> Flushed {
        let now = self.now;
        let broker = self.at(node);
        let out = broker.shard.flush(now);
        broker.unsynced.extend(out.append.clone());
        let flushed = Flushed {
            frames: out.frames.clone(),
            append: out.append,
            answers: out.answers.len(),
        };
        broker.answers.extend(out.answers);
        broker.orders.extend(out.orders);
        for order in &broker.orders {
            assert!(!matches!(order, Order::Halt(_)), "{order:?}");
        }
        self.wire
            .extend(out.frames.into_iter().map(|(to, batch)| (node, to, batch)));
        flushed
    }

    /// The disk syncs everything that was handed out. False when there was nothing.
    pub(super) fn sync(&mut self, node: NodeId) -> bool {
        let now = self.now;
        let broker = self.at(node);
        let mut through = None;
        for (id, records) in broker.unsynced.drain(..) {
            through = Some(id);
            records
                .into_iter()
                .for_each(|record| broker.disk.write(record));
        }
        let Some(through) = through else { return false };
        broker.synced = through;
        let disk_full = broker.disk_full;
        let done = LogDone {
            through,
            disk_full,
            ..LogDone::default()
        };
        broker.shard.log_done(now, &done);
        true
    }

    /// The log says that its disk is full, or has room again, without having written anything.
    pub(super) fn set_full(&mut self, node: NodeId, disk_full: bool) {
        let now = self.now;
        let broker = self.at(node);
        broker.disk_full = disk_full;
        let done = LogDone {
            through: broker.synced,
            disk_full,
            ..LogDone::default()
        };
        broker.shard.log_done(now, &done);
    }

    /// Hands over what is on the wire to this node.
    pub(super) fn deliver_to(&mut self, node: NodeId) -> bool {
        let (mine, rest): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|(_, to, _)| *to == node);
        self.wire = rest;
        let now = self.now;
        let mut any = false;
        for (from, _, mut batch) in mine {
            if self.unaware.contains(&node) {
                let messages = &mut batch.messages;
                messages.retain(|(group, _)| *group != GroupId::METADATA);
            }
            if self.cut.contains(&from) || self.cut.contains(&node) {
                continue;
            }
            any = true;
            self.at(node).shard.peer_frame(now, from, batch);
        }
        any
    }

    /// Everything moves until nothing does.
    pub(super) fn settle(&mut self) {
        for _ in 0..1000 {
            let mut moved = false;
            for node in self.nodes() {
                moved |= self.flush(node).append.is_some();
                moved |= self.sync(node);
                moved |= self.serve_reads(node);
                self.flush(node);
            }
            for node in self.nodes() {
                moved |= self.deliver_to(node);
            }
            if !moved {
                return;
            }
        }
        panic!("the cluster never comes to rest");
    }

    /// Answers the reads for followers from the disk.
    fn serve_reads(&mut self, node: NodeId) -> bool {
        let now = self.now;
        let broker = self.at(node);
        let (reads, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut broker.orders)
            .into_iter()
            .partition(|order| matches!(order, Order::ReadEntries { .. }));
        broker.orders = rest;
        for read in &reads {
            let Order::ReadEntries {
                group,
                to,
                session,
                from,
                until,
                ..
            } = *read
            else {
                unreachable!("just chosen")
            };
            let entries = broker.disk.entries(group, from, until);
            broker
                .shard
                .entries_read(now, group, to, session, Some(entries));
        }
        !reads.is_empty()
    }

    /// Time passes, everything moves.
    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(STEP_MS) {
            self.now.0 += STEP_MS;
            let now = self.now;
            for broker in &mut self.brokers {
                broker.shard.tick(now);
            }
            self.settle();
        }
    }

    pub(super) fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if done(self) {
                return;
            }
            self.run(STEP_MS);
        }
        panic!("{what}: not in 10 s");
    }

    /// Everybody hears everybody again.
    pub(super) fn heal(&mut self) {
        self.cut.clear();
        let now = self.now;
        for node in self.nodes() {
            for peer in self.nodes() {
                if node != peer && !self.shard(node).is_alive(peer) {
                    self.at(node).shard.peer_up(now, peer, directory(peer));
                }
            }
        }
    }

    /// Makes a node the established leader of the partition.
    pub(super) fn lead(&mut self, node: NodeId) {
        self.run_until("a replica", |c| c.status(node, GROUP).is_some());
        let now = self.now;
        self.at(node).shard.campaign(now, GROUP, true);
        self.settle();
        self.run_until("a leader", |c| c.shard(node).offsets(GROUP).is_ok());
        self.run(150);
        assert!(self.shard(node).offsets(GROUP).is_ok(), "it stays leader");
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        let leads = |n: &NodeId| {
            self.status(*n, GROUP)
                .is_some_and(|s| s.role == Role::Leader)
        };
        let leaders = self.nodes().into_iter().filter(leads);
        leaders.max_by_key(|&n| self.status(n, GROUP).map(|s| s.term))
    }

    /// The process dies with what is not synced, and starts again.
    pub(super) fn restart(&mut self, node: NodeId) {
        self.restart_without(node, None);
    }

    /// The same with one group's log found damaged, by the log itself or when it is to be replayed.
    pub(super) fn restart_without(&mut self, node: NodeId, damaged: Option<(GroupId, FoundBy)>) {
        let (now, config) = (self.now, config_of(&self.config, node));
        let disk = self.at(node).disk.clone();
        let mut shard = Shard::new(config, now);
        shard.recall_dropped(disk.removed());
        for group in disk.groups() {
            let restored = disk.restored(group);
            let replica = restored.replica;
            if damaged == Some((group, FoundBy::Log)) {
                shard.keep_closed(group, replica);
                continue;
            }
            if damaged == Some((group, FoundBy::Replay)) {
                let failed = shard.restore(now, restored, |_, _| Err("damaged".to_owned()));
                assert!(matches!(failed, Err(RestoreError::Log(..))), "{failed:?}");
                shard.give_up(group, replica);
                continue;
            }
            shard
                .restore(now, restored, |from, until| {
                    Ok(disk.entries(group, from, until))
                })
                .unwrap();
        }
        shard.start(now);
        *self.at(node) = Broker {
            disk,
            ..Broker::new(shard)
        };
        self.wire
            .retain(|(from, to, _)| *from != node && *to != node);
        for peer in self.nodes().into_iter().filter(|&n| n != node) {
            self.at(peer).shard.peer_down(now, node);
        }
        self.heal();
    }

    /// Carries out the trims that were ordered; the offsets asked for.
    pub(super) fn locate_trims(&mut self, node: NodeId) -> Vec<i64> {
        let now = self.now;
        let broker = self.at(node);
        let mut offsets = Vec::new();
        for order in std::mem::take(&mut broker.orders) {
            if let Order::LocateTrim { group, offset, .. } = order {
                offsets.push(offset);
                let found = broker.disk.locate(group, offset);
                broker.shard.trim_at(now, group, found);
            }
        }
        offsets
    }

    pub(super) fn entries_in_memory(&self, node: NodeId) -> usize {
        let all = (Index(0), Index(u64::MAX));
        self.shard(node)
            .entries_in_memory(GROUP, all.0, all.1)
            .len()
    }
}

impl Broker {
    fn new(shard: Shard) -> Self {
        Self {
            shard,
            disk: Disk::default(),
            unsynced: VecDeque::new(),
            answers: Vec::new(),
            orders: Vec::new(),
            disk_full: false,
            synced: AppendId(0),
        }
    }
}

pub(super) fn directory(node: NodeId) -> DirectoryId {
    DirectoryId(100 + u128::from(node.0.unsigned_abs()))
}

fn config_of(config: &Config, node: NodeId) -> Config {
    Config {
        node,
        directory: directory(node),
        boot: config.boot.max(u64::try_from(directory(node).0).unwrap()),
        seed: u64::from(node.0.unsigned_abs()),
        ..config.clone()
    }
}
