//! The pieces of a record's way, one at a time: `cargo bench -p benches`. Each on one thread, in memory but for the log,
//! whose disk is the temporary folder's: `TMPDIR` moves it.

#![allow(clippy::unwrap_used, missing_docs)]

use broker::broker::FetchAt;
use broker::shard::Plan;
use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use produce_path::{Brokers, RaftGroup, batch, decode, encode, request};
use protocol::header::response_frame;
use protocol::messages::FetchResponse;
use protocol::messages::fetch::{FetchableTopicResponse, PartitionData};
use protocol::record_batch::{Limits, crc32c, validate};
use protocol::wire::Slices;
use raft::types::{
    Base, DirectoryId, Entry, EntryKind, GroupId, Index, Member, Membership, NodeId, ReplicaId,
    Term,
};
use wal::{Config, Identity, Log, RealDisk, Record};

const SIZES: [usize; 2] = [1 << 10, 64 << 10];
const FETCH_VERSION: i16 = 12;

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn produce_request_decode(bencher: Bencher<'_, '_>, size: usize) {
    let frame = request(batch(size));
    bencher.bench(|| decode(black_box(frame.clone())));
}

#[divan::bench]
fn produce_response_encode() -> Vec<Bytes> {
    encode(black_box(1 << 40))
}

#[divan::bench(args = SIZES)]
fn fetch_response_encode(bencher: Bencher<'_, '_>, size: usize) {
    let batches: Vec<Bytes> = vec![batch(size); 16];
    bencher.bench(|| fetch_response(0, black_box(batches.clone())));
}

#[divan::bench(args = SIZES)]
fn crc_32c(bencher: Bencher<'_, '_>, size: usize) {
    let whole = batch(size);
    bencher
        .counter(BytesCount::new(size))
        .bench(|| crc32c(black_box(&whole)));
}

#[divan::bench(args = SIZES)]
fn batch_validation(bencher: Bencher<'_, '_>, size: usize) {
    let (whole, limits) = (batch(size), Limits::default());
    bencher
        .counter(BytesCount::new(size))
        .bench(|| validate(black_box(&whole), &limits).unwrap());
}

/// One round: a write and a sync. Background jobs run when the log wants them, as on the log thread.
#[divan::bench(args = SIZES, max_time = 3)]
fn wal_append_and_sync(bencher: Bencher<'_, '_>, size: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut log = OneGroup::open(folder.path());
    let payload = batch(size);
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| log.append(payload.clone()));
}

/// Proposed at the leader, appended by both followers, committed and made known.
#[divan::bench(args = [1, 64])]
fn raft_propose_to_commit(bencher: Bencher<'_, '_>, together: usize) {
    let mut group = RaftGroup::new();
    let payload = batch(1 << 10);
    bencher
        .counter(ItemsCount::new(together))
        .bench_local(|| group.commit(&payload, together));
}

/// From the requests' bytes to those of the answers, at the leader and both followers.
#[divan::bench(args = [1, 64])]
fn produce_through_three_shards(bencher: Bencher<'_, '_>, together: usize) {
    let mut brokers = Brokers::new();
    let request = request(batch(1 << 10));
    bencher.counter(ItemsCount::new(together)).bench_local(|| {
        let frames: Vec<Bytes> = (0..together)
            .map(|_| Bytes::copy_from_slice(&request))
            .collect();
        brokers.produce_at_leader(&frames);
        brokers.follow();
        assert_eq!(brokers.acknowledge_at_leader(), together);
        brokers.rest();
    });
}

/// A consumer's read of what is in memory, from plan to the answer's bytes, 64 batches of 1 KiB.
#[divan::bench]
fn fetch_assembly(bencher: Bencher<'_, '_>) {
    let mut brokers = Brokers::new();
    let frames = vec![request(batch(1 << 10)); 64];
    brokers.produce_at_leader(&frames);
    brokers.follow();
    assert_eq!(brokers.acknowledge_at_leader(), frames.len());
    let at = FetchAt {
        group: brokers.group(),
        offset: 0,
        max_bytes: 1 << 20,
        current_leader_epoch: -1,
        read_committed: false,
    };
    bencher
        .counter(ItemsCount::new(frames.len()))
        .bench_local(|| {
            let Ok(Plan::Ready(found)) = brokers.leader().plan_read(&at) else {
                panic!("it is all in memory");
            };
            assert_eq!(found.batches.len(), 64);
            fetch_response(found.offsets.high_watermark, found.batches)
        });
}

fn fetch_response(high_watermark: i64, batches: Vec<Bytes>) -> Vec<Bytes> {
    let partition = PartitionData {
        high_watermark,
        last_stable_offset: high_watermark,
        records: Some(Slices::from(batches)),
        ..Default::default()
    };
    let answer = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "bench".into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    response_frame(&answer.into(), FETCH_VERSION, 7).unwrap()
}

/// A log with one group in it.
struct OneGroup {
    log: Log,
    next: Index,
}

impl OneGroup {
    const GROUP: GroupId = GroupId(1);
    const REPLICA: ReplicaId = ReplicaId(1);

    fn open(folder: &std::path::Path) -> Self {
        let identity = Identity {
            cluster: 1,
            node: NodeId(1),
            directory: DirectoryId(1),
        };
        let config = Config {
            segment_bytes: 16 << 20,
            spares: 4,
            ..Config::default()
        };
        let disk = RealDisk::open(folder).unwrap();
        let (mut log, _) = Log::open(disk, config, identity).unwrap();
        let me = Member {
            replica: Self::REPLICA,
            node: NodeId(1),
            directory: DirectoryId(1),
        };
        let base = Base {
            membership: Membership {
                voters: vec![me],
                ..Membership::default()
            },
            ..Base::default()
        };
        let (group, replica) = (Self::GROUP, Self::REPLICA);
        log.write(vec![Record::Base {
            group,
            replica,
            base,
        }])
        .unwrap();
        Self {
            log,
            next: Index(1),
        }
    }

    fn append(&mut self, payload: Bytes) {
        let entry = Entry {
            index: self.next,
            term: Term(1),
            kind: EntryKind::Records,
            payload,
        };
        self.next = self.next.next();
        let (group, replica) = (Self::GROUP, Self::REPLICA);
        let record = Record::Entries {
            group,
            replica,
            entries: vec![entry],
        };
        self.log.write(vec![record]).unwrap();
        while let Some(job) = self.log.next_job().unwrap() {
            self.log.finish(job.run()).unwrap();
        }
    }
}
