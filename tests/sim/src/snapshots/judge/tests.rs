//! Each rule is broken once by hand.

mod own;

use broker::broker::Produced;
use bytes::BytesMut;
use protocol::record_batch::BatchBuilder;
use raft::effect::Role;
use raft::types::Term;
use snapshot::chunk::{Config, Writer};
use snapshot::manifest::{EpochStart, FORMAT};
use snapshot::source::Incarnation;
use snapshot::store::{Condition, Store};
use uuid::Uuid;

use super::*;
use crate::client::{Kind as ClientKind, Operation, record_value};
use crate::history::Sent;

const GROUP: GroupId = GroupId(1);
const NODE: NodeId = NodeId(1);
const KEEP: usize = 1;

fn source() -> Source {
    Source {
        cluster_id: "simulated".to_owned(),
        topic_id: Uuid::from_u128(7),
        partition: 0,
    }
}

/// A store and what clients know: batch number n, of one record, is acknowledged at offset n - 1.
struct Bench {
    memory: Memory,
    history: History,
    judge: Judge,
}

impl Bench {
    fn new(acked: u64) -> Self {
        let mut history = History::default();
        for value in 1..=acked {
            let sent = Sent {
                begun_at: 0,
                group: GROUP,
                client: 0,
                kind: ClientKind::Plain,
                count: 1,
            };
            history.sent.insert(value, sent);
            let operation = Operation {
                value,
                count: 1,
                sequence: 0,
                deadline: 0,
                sent: true,
            };
            let produced = Ok(Produced {
                base_offset: offset(value),
                log_append_time_ms: -1,
                log_start_offset: 0,
            });
            history.produced(GROUP, &operation, &produced).unwrap();
        }
        Self {
            memory: Memory::default(),
            history,
            judge: Judge::default(),
        }
    }

    /// A chunk of these batches, from an offset on.
    fn chunk(&self, index: u64, first_offset: i64, values: &[u64]) -> Chunk {
        let incarnation = Incarnation(1);
        let mut writer = Writer::new(Config::default(), source(), incarnation, first_offset);
        for (at, value) in (first_offset..).zip(values) {
            let mut builder = BatchBuilder::new().base_offset(at, 1);
            builder.value(1, &record_value(*value, 0).to_be_bytes());
            writer.push(&builder.build()).unwrap();
        }
        let mut bytes = BytesMut::from(&writer.take()[..]);
        let end = writer.next_offset();
        let finished = writer.finish(end);
        bytes.extend_from_slice(&finished.rest);
        let key = key::chunk(&source(), incarnation, first_offset, 1, index);
        at_once(self.memory.put(&key, bytes.freeze(), Condition::None)).unwrap();
        Chunk {
            key,
            chunk: finished.summary,
        }
    }

    fn manifest(&self, index: u64, chunks: Vec<Chunk>) -> Stored {
        let next_offset = chunks.last().map_or(0, |chunk| chunk.chunk.next_offset);
        let empty = PartitionState::restore(Index(0), &[]).unwrap();
        let manifest = Manifest {
            format: FORMAT,
            source: source(),
            topic: "t".to_owned(),
            incarnation: Incarnation(1),
            leader_epoch: 1,
            index,
            term: 1,
            created_ms: 0,
            log_start: 0,
            next_offset,
            leader_epochs: vec![EpochStart {
                epoch: 1,
                start_offset: 0,
            }],
            configs: BTreeMap::new(),
            voters: vec![1],
            state: empty.encode(next_offset),
            aborted_transactions: Vec::new(),
            chunks,
        };
        let (key, bytes) = (manifest.key(), manifest.encode());
        let put = self.memory.put(&key, bytes, Condition::None);
        at_once(put).unwrap();
        Stored {
            incarnation: 1,
            leader_epoch: 1,
            index,
            next_offset,
            identity: None,
        }
    }

    /// Two snapshots, of which the second one makes the last chunk of the first anew.
    fn two(&self) -> [Stored; 2] {
        let first = self.chunk(2, 0, &[1, 2]);
        let small = self.chunk(3, 2, &[3]);
        let older = self.manifest(3, vec![first.clone(), small]);
        let anew = self.chunk(4, 2, &[3, 4]);
        [older, self.manifest(4, vec![first, anew])]
    }

    fn observe(&mut self, stored: Option<Stored>, local_start: i64, log_start: i64) -> Held {
        let status = status(stored, local_start, log_start);
        let (memory, history) = (&self.memory, &mut self.history);
        self.judge
            .observe(NODE, &status, &source(), memory, history)
    }

    fn remove(&mut self, key: &Key) -> Held {
        self.memory.tamper(key, None);
        let sources = Sources::from([(GROUP, source())]);
        let removed = [key.clone()];
        self.judge.removed(&removed, &sources, &self.memory, KEEP)
    }
}

fn offset(value: u64) -> i64 {
    i64::try_from(value).unwrap() - 1
}

fn status(stored: Option<Stored>, local_start: i64, log_start: i64) -> GroupStatus {
    GroupStatus {
        differs: false,
        lacks_copies: false,
        group: GROUP,
        replica: ReplicaId(1),
        role: Role::Leader,
        term: Term(1),
        leader: Some(NODE),
        commit: Index(9),
        applied: Index(9),
        last_index: Index(9),
        base_index: Index(0),
        offsets: (log_start, 9, 9),
        local_start,
        stored,
        changed: Index(0),
        unstored_ms: 0,
        in_sync: Vec::new(),
        members: Vec::new(),
        quiesced: false,
        joint: false,
        acked_unsynced_bytes: 0,
        damaged: false,
        counts: broker::shard::Counts::default(),
    }
}

fn says(outcome: &Held, what: &str) {
    assert!(
        matches!(outcome, Err(why) if why.contains(what)),
        "{outcome:?} where {what:?} was due"
    );
}

#[test]
fn snapshots_that_are_whole_are_good() {
    let mut bench = Bench::new(4);
    let [older, newer] = bench.two();
    assert_eq!(bench.observe(Some(older), 0, 0), Ok(()));
    assert_eq!(bench.observe(Some(newer), 4, 0), Ok(()));
    let name = name_of(&source(), &older).key();
    assert_eq!(bench.remove(&name), Ok(()));
    let small = key::chunk(&source(), Incarnation(1), 2, 1, 3);
    assert_eq!(bench.remove(&small), Ok(()));
}

#[test]
fn a_manifest_that_is_not_there() {
    let mut bench = Bench::new(4);
    let [older, newer] = bench.two();
    bench.memory.tamper(&name_of(&source(), &newer).key(), None);
    assert_eq!(bench.observe(Some(older), 0, 0), Ok(()));
    says(&bench.observe(Some(newer), 0, 0), "is not there");
}

#[test]
fn a_chunk_that_is_not_there() {
    let mut bench = Bench::new(4);
    let [_, newer] = bench.two();
    let chunk = key::chunk(&source(), Incarnation(1), 0, 1, 2);
    bench.memory.tamper(&chunk, None);
    says(&bench.observe(Some(newer), 0, 0), "is not there");
}

#[test]
fn a_chunk_with_another_record() {
    let mut bench = Bench::new(4);
    let chunk = bench.chunk(2, 0, &[1, 4, 3]);
    let stored = bench.manifest(2, vec![chunk]);
    says(&bench.observe(Some(stored), 0, 0), "offset 1");
}

#[test]
fn a_manifest_that_ends_elsewhere() {
    let mut bench = Bench::new(4);
    let [older, _] = bench.two();
    let said = Stored {
        next_offset: 4,
        ..older
    };
    says(&bench.observe(Some(said), 0, 0), "committed is");
}

#[test]
fn a_log_that_lacks_what_is_not_stored() {
    let mut bench = Bench::new(4);
    let [older, _] = bench.two();
    says(&bench.observe(None, 1, 0), "its log begins at 1");
    says(&bench.observe(Some(older), 4, 0), "its log begins at 4");
    assert_eq!(bench.observe(Some(older), 4, 4), Ok(()), "deleted");
}

#[test]
fn a_snapshot_that_goes_back() {
    let mut bench = Bench::new(4);
    let [older, newer] = bench.two();
    assert_eq!(bench.observe(Some(newer), 0, 0), Ok(()));
    says(&bench.observe(Some(older), 0, 0), "went back");
    bench.judge.crashed(NODE);
    assert_eq!(bench.observe(Some(older), 0, 0), Ok(()), "another life");
}

#[test]
fn removals_of_what_is_needed() {
    let mut bench = Bench::new(4);
    let [older, newer] = bench.two();
    assert_eq!(bench.observe(Some(older), 0, 0), Ok(()));
    says(
        &bench.remove(&key::chunk(&source(), Incarnation(1), 2, 1, 4)),
        "reaches it",
    );
    bench.two();
    let name = name_of(&source(), &older).key();
    says(&bench.remove(&name), "was removed");
    bench.two();
    assert_eq!(bench.observe(Some(newer), 0, 0), Ok(()));
    let small = key::chunk(&source(), Incarnation(1), 2, 1, 3);
    says(&bench.remove(&small), "reaches it");
    says(&bench.remove(&key::owner()), "was removed");
}

#[test]
fn too_few_of_the_newest() {
    let mut bench = Bench::new(4);
    let [older, newer] = bench.two();
    assert_eq!(bench.observe(Some(newer), 0, 0), Ok(()));
    let name = name_of(&source(), &older).key();
    bench.memory.tamper(&name, None);
    let sources = Sources::from([(GROUP, source())]);
    let outcome = bench.judge.removed(&[name], &sources, &bench.memory, 2);
    says(&outcome, "1 newer ones");
}

#[test]
fn what_cannot_be_read() {
    let mut bench = Bench::new(4);
    let [older, newer] = bench.two();
    assert_eq!(bench.observe(Some(newer), 0, 0), Ok(()));
    let key = name_of(&source(), &newer).key();
    let missing = archive::Error::Missing { key };
    assert_eq!(bench.judge.unreadable(GROUP, &older, &missing), Ok(()));
    says(
        &bench.judge.unreadable(GROUP, &newer, &missing),
        "cannot be read",
    );
}
