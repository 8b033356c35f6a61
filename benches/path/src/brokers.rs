//! Three brokers' shards and one partition of three replicas: everything of a produce but sockets and disks, which sync
//! at once here. Moved by hand, so that what the leader does can be told from the rest.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;

use broker::broker::Acks;
use broker::metadata::{Command, Image, Registration, TopicId};
use broker::shard::{Answer, AppendId, Config, LogDone, PeerBatch, Shard, Ticket};
use bytes::Bytes;
use protocol::api::ApiKey;
use protocol::header::{RequestHeader, RequestStart, request_frame, response_frame};
use protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use protocol::messages::{AnyRequest, ProduceRequest};
use protocol::peer::{Batch, Frame, VERSIONS};
use protocol::record_batch::{BatchBuilder, Limits, validate_timed};
use protocol::wire::Reader;
use raft::types::{DirectoryId, GroupId, Member, NodeId, ReplicaId, Tick};

const TOPIC: &str = "bench";
/// Of the first topic's only partition.
const GROUP: GroupId = GroupId(1);
const LEADER: NodeId = NodeId(1);
const NODES: i32 = 3;
const STEP_MS: u64 = 5;
/// Any that counts: nothing here waits for a wall clock.
const WALL_MS: i64 = 1_700_000_000_000;
const DEADLINE: Tick = Tick(u64::MAX);
const VERSION: i16 = 9;

/// A batch of one record with so many bytes that do not compress.
#[must_use]
pub fn batch(size: usize) -> Bytes {
    let value: Vec<u8> = (0..size as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut batch = BatchBuilder::new();
    batch.value(WALL_MS, &value);
    batch.build()
}

/// A whole produce request for the partition, without its length.
#[must_use]
pub fn request(batch: Bytes) -> Bytes {
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(batch),
            }],
        }],
        ..ProduceRequest::default()
    };
    let chain = request_frame(&request, VERSION, 7, Some("bench".into()));
    Bytes::from(chain.expect("a short name").concat()).slice(4..)
}

/// What a request's frame holds.
#[must_use]
pub fn decode(frame: Bytes) -> ProduceRequest {
    let mut reader = Reader::new(frame);
    let start = RequestStart::decode(&mut reader).expect("a start");
    let header = RequestHeader::decode_rest(ApiKey::Produce, start, &mut reader).expect("a header");
    match AnyRequest::decode(ApiKey::Produce, &mut reader, header.version) {
        Ok(AnyRequest::Produce(request)) => request,
        other => panic!("no produce: {other:?}"),
    }
}

/// The answer to one request.
#[must_use]
pub fn encode(base_offset: i64) -> Vec<Bytes> {
    let row = PartitionProduceResponse {
        index: 0,
        base_offset,
        log_append_time_ms: -1,
        log_start_offset: 0,
        ..Default::default()
    };
    let answer = ProduceResponse {
        responses: vec![TopicProduceResponse {
            name: TOPIC.into(),
            partition_responses: vec![row],
        }],
        ..Default::default()
    };
    response_frame(&answer.into(), VERSION, 7).expect("a short name")
}

/// The cluster.
pub struct Brokers {
    now: Tick,
    shards: Vec<Shard>,
    wire: VecDeque<(NodeId, NodeId, PeerBatch)>,
    answers: Vec<Answer>,
    tickets: u64,
    /// Of the leader, not synced yet.
    append: Option<AppendId>,
    /// What followers have said, as it comes off their sockets.
    heard: Vec<(NodeId, Bytes)>,
}

impl Brokers {
    /// A cluster whose broker 1 leads the partition, established.
    #[must_use]
    pub fn new() -> Self {
        let now = Tick(1_000);
        let image = Image::bootstrap(7, (1..=NODES).map(member).collect());
        let shard = |node: i32| {
            let config = Config {
                node: NodeId(node),
                directory: member(node).directory,
                seed: node.unsigned_abs().into(),
                // Nothing of an earlier request weighs upon a later one for long.
                tail_bytes_max: 8 << 20,
                ..Config::default()
            };
            let mut shard = Shard::new(config, now);
            shard.bootstrap(now, member(node).replica, &image);
            shard
        };
        let mut brokers = Self {
            now,
            shards: (1..=NODES).map(shard).collect(),
            wire: VecDeque::new(),
            answers: Vec::new(),
            tickets: 0,
            append: None,
            heard: Vec::new(),
        };
        brokers.meet();
        brokers.run_until(|b| b.shards.iter().any(Shard::is_controller));
        for node in 1..=NODES {
            brokers.command(&Command::RegisterBroker(registration(node)));
        }
        brokers.command(&Command::CreateTopic {
            topic: TopicId(77),
            name: TOPIC.into(),
            assignments: vec![(1..=NODES).map(NodeId).collect()],
            configs: BTreeMap::new(),
        });
        brokers.lead();
        brokers
    }

    fn meet(&mut self) {
        let now = self.now;
        for node in 1..=NODES {
            for peer in (1..=NODES).filter(|peer| *peer != node) {
                self.at(NodeId(node))
                    .peer_up(now, NodeId(peer), member(peer).directory);
            }
        }
    }

    fn at(&mut self, node: NodeId) -> &mut Shard {
        &mut self.shards[node.0.unsigned_abs() as usize - 1]
    }

    /// The leader's shard.
    #[must_use]
    pub fn leader(&self) -> &Shard {
        &self.shards[LEADER.0.unsigned_abs() as usize - 1]
    }

    /// The partition.
    #[must_use]
    pub fn group(&self) -> GroupId {
        GROUP
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn command(&mut self, command: &Command) {
        let (now, ticket) = (self.now, self.ticket());
        let controller = self.shards.iter_mut().find(|shard| shard.is_controller());
        let controller = controller.expect("there was one, and nobody is lost");
        controller.propose_metadata(now, command, DEADLINE, ticket);
        self.run_until(|b| {
            b.answers
                .iter()
                .any(|answer| matches!(answer, Answer::Applied(t, Ok(Ok(_))) if *t == ticket))
        });
        self.answers.clear();
        self.run(100);
    }

    fn lead(&mut self) {
        self.run_until(|b| b.shards.iter().any(|shard| shard.offsets(GROUP).is_ok()));
        let now = self.now;
        for shard in &mut self.shards {
            if shard.node() != LEADER && shard.offsets(GROUP).is_ok() {
                shard.transfer(now, GROUP, LEADER);
            }
        }
        self.run_until(|b| b.leader().offsets(GROUP).is_ok());
        self.run(200);
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if done(self) {
                return;
            }
            self.run(STEP_MS);
        }
        panic!("the cluster does not get there");
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(STEP_MS) {
            self.now.0 += STEP_MS;
            let now = self.now;
            self.shards.iter_mut().for_each(|shard| shard.tick(now));
            self.settle();
        }
    }

    /// Everything moves until nothing does.
    fn settle(&mut self) {
        loop {
            for node in 1..=NODES {
                self.flush(NodeId(node));
            }
            if self.wire.is_empty() {
                return;
            }
            let now = self.now;
            for (from, to, frame) in std::mem::take(&mut self.wire) {
                self.at(to).peer_frame(now, from, frame);
            }
        }
    }

    /// A broker's disk syncs at once, and what waited for it goes out.
    fn flush(&mut self, node: NodeId) {
        let now = self.now;
        loop {
            let out = self.at(node).flush(now);
            self.answers.extend(out.answers);
            let frames = out.frames.into_iter();
            self.wire
                .extend(frames.map(|(to, batch)| (node, to, batch)));
            let Some((through, _)) = out.append else {
                return;
            };
            self.at(node).log_done(now, &done(through));
        }
    }

    /// A tick of the leader: requests off their sockets, then frames to the followers and an append for the disk.
    #[inline(never)]
    pub fn produce_at_leader(&mut self, requests: &[Bytes]) {
        let now = self.now;
        for request in requests {
            let request = decode(request.clone());
            let ticket = self.ticket();
            for data in request
                .topic_data
                .into_iter()
                .flat_map(|t| t.partition_data)
            {
                let batch = data.records.expect("a batch");
                validate_timed(&batch, &Limits::default()).expect("a batch as any client makes");
                let shard = self.at(LEADER);
                shard.produce(now, WALL_MS, GROUP, batch, Acks::All, DEADLINE, ticket);
            }
        }
        let out = self.at(LEADER).flush(now);
        for (to, batch) in out.frames {
            black_box(on_the_wire(&batch));
            self.wire.push_back((LEADER, to, batch));
        }
        self.append = out.append.map(|(through, _)| through);
    }

    /// The followers sync, and say so.
    pub fn follow(&mut self) {
        let now = self.now;
        for (from, to, frame) in std::mem::take(&mut self.wire) {
            self.at(to).peer_frame(now, from, frame);
            self.flush(to);
        }
        for (from, to, frame) in std::mem::take(&mut self.wire) {
            if to == LEADER {
                let bytes = Bytes::from(on_the_wire(&frame).concat()).slice(4..);
                self.heard.push((from, bytes));
            }
        }
    }

    /// Another tick of the leader: its disk has synced, the followers are heard, the answers go out: how many.
    #[inline(never)]
    pub fn acknowledge_at_leader(&mut self) -> usize {
        let now = self.now;
        if let Some(through) = self.append.take() {
            self.at(LEADER).log_done(now, &done(through));
        }
        for (from, bytes) in std::mem::take(&mut self.heard) {
            let Ok(Frame::Batch(batch)) = Frame::decode(bytes) else {
                panic!("a follower says something else");
            };
            let Batch { messages, soft, .. } = batch;
            self.at(LEADER)
                .peer_frame(now, from, PeerBatch { messages, soft });
        }
        let out = self.at(LEADER).flush(now);
        let mut acknowledged = 0;
        for answer in out.answers {
            if let Answer::Produced(_, Ok(produced)) = answer {
                black_box(encode(produced.base_offset));
                acknowledged += 1;
            }
        }
        let frames = out.frames.into_iter();
        self.wire
            .extend(frames.map(|(to, batch)| (LEADER, to, batch)));
        acknowledged
    }

    /// What the requests leave behind: commit indexes for followers.
    pub fn rest(&mut self) {
        self.settle();
        self.answers.clear();
    }
}

impl Default for Brokers {
    fn default() -> Self {
        Self::new()
    }
}

fn done(through: AppendId) -> LogDone {
    LogDone {
        through,
        ..LogDone::default()
    }
}

fn on_the_wire(batch: &PeerBatch) -> Vec<Bytes> {
    let batch = Batch {
        messages: batch.messages.clone(),
        soft: batch.soft.clone(),
        ..Batch::default()
    };
    Frame::Batch(batch).encode(VERSIONS.max).expect("it fits")
}

fn member(node: i32) -> Member {
    Member {
        replica: ReplicaId(node.unsigned_abs().into()),
        node: NodeId(node),
        directory: DirectoryId(100 + u128::from(node.unsigned_abs())),
    }
}

fn registration(node: i32) -> Registration {
    Registration {
        node: NodeId(node),
        directory: member(node).directory,
        host: "127.0.0.1".into(),
        port: 9092,
        peer: "127.0.0.1:9193".into(),
        rack: None,
        boot: 1,
    }
}
