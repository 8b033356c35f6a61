use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::record_batch::{BatchBuilder, BatchHeader, NewRecord, patch};
use raft::types::Index;
use snapshot::archive::{self, Archive};
use snapshot::chunk::Summary;
use snapshot::cluster::{self, Cluster, Topic};
use snapshot::digest::Digest;
use snapshot::key::{self, Key};
use snapshot::manifest::{self, Chunk, Manifest};
use snapshot::owner;
use snapshot::source::{Incarnation, Source};
use snapshot::store::memory::Memory;
use snapshot::store::{Condition, Store};
use snapshot::tail::{Entry, RECORDS, Writer};
use uuid::Uuid;

use super::{Error, Plan, Reborn, Selection};
use crate::coordinator::OFFSETS_TOPIC;
use crate::coordinator::rebirth::Rebirth;
use crate::partition::command::PartitionCommand;
use crate::partition::state::PartitionState;

mod some;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn topic(name: &str, number: u128, partitions: i32) -> Topic {
    Topic {
        name: name.to_owned(),
        id: id(number),
        partitions,
        replicas: 3,
        configs: BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]),
    }
}

struct Bucket {
    memory: Memory,
    store: Arc<dyn Store>,
}

impl Bucket {
    async fn new() -> Self {
        let memory = Memory::default();
        owner::claim(&memory, "old").await.expect("nobody's yet");
        let store = Arc::new(memory.clone());
        Self { memory, store }
    }

    async fn metadata(&self, index: u64, created_ms: i64, topics: &[Topic]) {
        let cluster = metadata(index, created_ms, topics);
        cluster.put(&*self.store).await.expect("put");
    }

    /// The metadata of another life, younger than everything.
    async fn of_life(&self, life: u32, topics: &[Topic]) -> Key {
        let cluster = Cluster {
            incarnation: Incarnation(life),
            ..metadata(1, 100_000, topics)
        };
        cluster.put(&*self.store).await.expect("put");
        cluster.key()
    }

    /// A partition that was deleted up to its end: it has no chunks.
    async fn partition(
        &self,
        of: &Topic,
        partition: i32,
        (epoch, index): (i32, u64),
        end: i64,
    ) -> Manifest {
        let manifest = manifest(of, partition, (epoch, index), end);
        self.put(&manifest).await;
        manifest
    }

    async fn put(&self, manifest: &Manifest) {
        let (key, body) = (manifest.key(), manifest.encode());
        let put = self.store.put(&key, body, Condition::Absent);
        put.await.expect("put");
    }

    async fn plan(&self) -> Result<Plan, Error> {
        Plan::read(&self.store, &Selection::default()).await
    }
}

fn metadata(index: u64, created_ms: i64, topics: &[Topic]) -> Cluster {
    Cluster {
        format: cluster::FORMAT,
        cluster_id: "old".to_owned(),
        incarnation: Incarnation::FIRST,
        epoch: 1,
        index,
        created_ms,
        next_producer_id: 1000,
        configs: BTreeMap::new(),
        topics: topics.to_vec(),
    }
}

/// Taken at ten times its index.
fn manifest(of: &Topic, partition: i32, (epoch, index): (i32, u64), end: i64) -> Manifest {
    Manifest {
        format: manifest::FORMAT,
        source: Source {
            cluster_id: "old".to_owned(),
            topic_id: of.id,
            partition,
        },
        topic: of.name.clone(),
        incarnation: Incarnation::FIRST,
        leader_epoch: epoch,
        index,
        term: u64::from(epoch.unsigned_abs()),
        created_ms: i64::try_from(index).expect("small") * 10,
        log_start: end,
        next_offset: end,
        leader_epochs: Vec::new(),
        configs: of.configs.clone(),
        voters: vec![1, 2, 3],
        state: PartitionState::default().encode(end),
        aborted_transactions: Vec::new(),
        chunks: Vec::new(),
    }
}

/// Puts a tail with these entries of a partition, of this time.
async fn tail(bucket: &Bucket, of: &Topic, created_ms: i64, entries: &[Entry]) -> Key {
    let mut writer = Writer::new("old".to_owned(), Incarnation::FIRST, 1, created_ms);
    writer.push(of.id, 0, entries);
    let (key, object) = writer.finish();
    let put = bucket.store.put(&key, object, Condition::Absent);
    put.await.expect("put");
    key
}

/// An entry with a batch of this producer, which are its only ones.
fn produced(index: u64, offset: i64, (producer, sequence): (i64, i32)) -> Entry {
    let mut batch = BatchBuilder::new().producer(producer, 0, sequence);
    for _ in 0..3 {
        batch.push(NewRecord {
            timestamp: 7,
            key: None,
            value: Some(b"value"),
            headers: &[],
        });
    }
    let mut payload = bytes::BytesMut::from(&batch.build()[..]);
    patch(&mut payload, offset, 4);
    Entry {
        index,
        term: 4,
        kind: RECORDS,
        payload: payload.freeze(),
    }
}

fn command(index: u64, command: &PartitionCommand) -> Entry {
    Entry {
        index,
        term: 4,
        kind: 3,
        payload: command.encode(),
    }
}

/// What a restore of the only partition writes, and the records that it finds in its chunks.
async fn reborn(bucket: &Bucket, plan: &Plan) -> (Manifest, Vec<i64>) {
    let topic = &plan.topics[0];
    let reborn = Reborn::new(
        topic,
        &topic.partitions[0],
        Incarnation(2),
        &plan.rebirth(0, 9),
    );
    let reborn = reborn.expect("a state");
    reborn.put(&*bucket.store).await.expect("put");
    // Doing it again finds the same.
    reborn.put(&*bucket.store).await.expect("put");
    let archive = Archive::new(bucket.store.clone(), archive::Config::default());
    let manifest = archive.manifest(&reborn.manifest.name()).await;
    let manifest = manifest.expect("it is there, and whole");
    let (mut at, mut offsets) = (manifest.log_start, Vec::new());
    while at < manifest.next_offset {
        for batch in archive.batches(&manifest, at, 1).await.expect("there") {
            let header = BatchHeader::parse(&batch).expect("a batch");
            offsets.push(header.base_offset);
            at = header.last_offset() + 1;
        }
    }
    ((*manifest).clone(), offsets)
}

#[tokio::test]
async fn tails_continue_the_newest_snapshot() {
    let bucket = Bucket::new().await;
    let a = topic("a", 1, 1);
    bucket.metadata(6, 110, std::slice::from_ref(&a)).await;
    let of = bucket.partition(&a, 0, (4, 50), 7).await;
    // A small one, a larger one that holds it, one that is in the snapshot, and one behind a gap.
    let seen = [produced(51, 7, (900, 0)), produced(52, 10, (900, 3))];
    tail(&bucket, &a, 600, &seen[..1]).await;
    let more = command(53, &PartitionCommand::AdvanceLogStart(10));
    let larger = [seen.as_slice(), &[more, produced(54, 13, (900, 6))]].concat();
    let last = tail(&bucket, &a, 700, &larger).await;
    tail(&bucket, &a, 400, &[produced(48, 1, (901, 0))]).await;
    tail(&bucket, &a, 900, &[produced(56, 19, (900, 9))]).await;
    let plan = bucket.plan().await.expect("sound");
    assert_eq!(ends(&plan), [("a", vec![16])]);
    assert_eq!(plan.topics[0].partitions[0].created_ms(), Some(700));
    let (manifest, offsets) = reborn(&bucket, &plan).await;
    assert_eq!(offsets, [10, 13], "7 is deleted");
    assert_eq!((manifest.log_start, manifest.next_offset), (10, 16));
    assert_eq!(
        (manifest.index, manifest.chunks.len()),
        (54, of.chunks.len() + 1)
    );
    let state = PartitionState::restore(Index(54), &manifest.state).expect("a state");
    assert_eq!((state.log_start(), state.high_watermark()), (10, 16));
    let producers: Vec<i64> = state.last_batches().map(|last| last.producer_id).collect();
    assert_eq!(producers, [900]);
    let epochs: Vec<(i32, i64)> = manifest
        .leader_epochs
        .iter()
        .map(|e| (e.epoch, e.start_offset))
        .collect();
    assert_eq!(epochs, [(4, 10)]);

    // As it was before the last tail that matters.
    let selection = Selection {
        at_ms: Some(650),
        ..Selection::default()
    };
    let plan = Plan::read(&bucket.store, &selection).await.expect("sound");
    assert_eq!(ends(&plan), [("a", vec![10])]);

    let mut bytes = bucket.memory.objects()[&last].to_vec();
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    let put = bucket.store.put(&last, bytes.into(), Condition::None);
    put.await.expect("put");
    let damaged = bucket.plan().await;
    assert!(matches!(damaged, Err(Error::Unreadable(_))), "{damaged:?}");
}

#[tokio::test]
async fn without_a_snapshot_a_partition_is_what_its_tails_say() {
    let bucket = Bucket::new().await;
    let a = topic("a", 1, 1);
    bucket.metadata(6, 110, std::slice::from_ref(&a)).await;
    let noop = Entry {
        index: 1,
        term: 4,
        kind: 0,
        payload: Bytes::new(),
    };
    tail(&bucket, &a, 600, &[noop, produced(2, 0, (900, 0))]).await;
    tail(&bucket, &a, 700, &[produced(3, 3, (900, 3))]).await;
    let plan = bucket.plan().await.expect("sound");
    assert_eq!(ends(&plan), [("a", vec![6])]);
    let (manifest, offsets) = reborn(&bucket, &plan).await;
    assert_eq!((offsets, manifest.index), (vec![0, 3], 3));

    // A log that does not begin where the tail says is no log.
    tail(&bucket, &a, 800, &[produced(4, 9, (900, 6))]).await;
    let wrong = bucket.plan().await;
    assert!(matches!(wrong, Err(Error::Tail { .. })), "{wrong:?}");
}

fn ends(plan: &Plan) -> Vec<(&str, Vec<i64>)> {
    let topics = plan.topics.iter();
    let ends = topics.map(|topic| {
        let ends = topic
            .partitions
            .iter()
            .map(super::PartitionPlan::next_offset);
        (topic.topic.name.as_str(), ends.collect())
    });
    ends.collect()
}

#[tokio::test]
async fn the_newest_of_everything_is_restored() {
    let bucket = Bucket::new().await;
    let (a, groups) = (topic("a", 1, 3), topic(OFFSETS_TOPIC, 2, 1));
    bucket.metadata(5, 100, std::slice::from_ref(&groups)).await;
    bucket.metadata(6, 110, &[groups.clone(), a.clone()]).await;
    bucket.partition(&a, 0, (3, 50), 7).await;
    // A later leader had not heard yet how far it was committed.
    bucket.partition(&a, 0, (4, 49), 6).await;
    bucket.partition(&a, 2, (1, 9), 1).await;
    bucket.partition(&groups, 0, (1, 9), 0).await;
    let plan = bucket.plan().await.expect("sound");
    assert_eq!(
        ends(&plan),
        [(OFFSETS_TOPIC, vec![0]), ("a", vec![7, 0, 1])]
    );
    let order: Vec<&str> = plan
        .in_order()
        .map(|topic| topic.topic.name.as_str())
        .collect();
    assert_eq!(order, ["a", OFFSETS_TOPIC], "the groups come last");
    let epochs: Vec<i32> = plan.topics[1].partitions.iter().map(|p| p.epoch).collect();
    assert_eq!(epochs, [65_540, 65_536, 65_537]);
}

#[tokio::test]
async fn what_was_deleted_stays_deleted_and_what_is_younger_than_the_metadata_comes_too() {
    let bucket = Bucket::new().await;
    let (a, gone, young) = (topic("a", 1, 1), topic("gone", 2, 1), topic("young", 3, 2));
    bucket.metadata(6, 110, std::slice::from_ref(&a)).await;
    bucket.partition(&gone, 0, (1, 11), 4).await;
    bucket.partition(&young, 1, (1, 12), 5).await;
    let plan = bucket.plan().await.expect("sound");
    assert_eq!(ends(&plan), [("a", vec![0]), ("young", vec![0, 5])]);
    assert_eq!(plan.deleted, 1);
    assert_eq!(plan.topics[1].topic, young);

    // Made anew under its name, and with more partitions than the metadata knows.
    let (anew, grown) = (topic("a", 4, 1), topic("young", 3, 4));
    bucket.partition(&anew, 0, (1, 12), 9).await;
    bucket.partition(&grown, 3, (1, 12), 8).await;
    let plan = bucket.plan().await.expect("sound");
    let found = [("a", vec![9]), ("young", vec![0, 5, 0, 8])];
    assert_eq!(ends(&plan), found);
    assert_eq!((plan.deleted, plan.topics[0].topic.id), (2, id(4)));
}

#[tokio::test]
async fn as_it_was_at_a_time() {
    let bucket = Bucket::new().await;
    let (a, b) = (topic("a", 1, 1), topic("b", 2, 1));
    bucket.metadata(6, 110, std::slice::from_ref(&a)).await;
    bucket.metadata(7, 500, &[a.clone(), b.clone()]).await;
    for (index, end) in [(10, 1), (20, 2), (60, 3)] {
        bucket.partition(&a, 0, (1, index), end).await;
    }
    // A partition that came later is none at an earlier time.
    bucket.partition(&a, 1, (1, 60), 9).await;
    let at = async |at_ms| {
        let selection = Selection {
            at_ms: Some(at_ms),
            ..Selection::default()
        };
        Plan::read(&bucket.store, &selection).await
    };
    assert_eq!(ends(&at(200).await.expect("sound")), [("a", vec![2])]);
    assert_eq!(
        ends(&at(600).await.expect("sound")),
        [("a", vec![3]), ("b", vec![0])]
    );
    let early = at(109).await;
    assert!(matches!(early, Err(Error::NoMetadata(true))), "{early:?}");
    // Metadata is there, and no snapshot as old.
    bucket.metadata(5, 50, std::slice::from_ref(&a)).await;
    let early = at(60).await;
    assert!(
        matches!(early, Err(Error::TooOld { oldest_ms: 100, .. })),
        "{early:?}"
    );
}

#[tokio::test]
async fn damage_is_found_before_anything_is_written() {
    let bucket = Bucket::new().await;
    let a = topic("a", 1, 1);
    assert!(matches!(bucket.plan().await, Err(Error::NoMetadata(false))));
    bucket.metadata(6, 110, std::slice::from_ref(&a)).await;
    let mut newest = manifest(&a, 0, (1, 9), 5);
    let chunk = key::chunk(&newest.source, Incarnation::FIRST, 0, 1, 9);
    newest.log_start = 0;
    newest.chunks = vec![Chunk {
        key: chunk.clone(),
        chunk: Summary {
            first_offset: 0,
            next_offset: 5,
            max_timestamp: -1,
            raw_bytes: 9,
            raw_sha256: Digest::of(b""),
            index_position: 4,
            stored_bytes: 8,
            stored_crc32: 0,
        },
    }];
    bucket.put(&newest).await;
    let is_missing = |plan: Result<Plan, Error>| match plan {
        Err(Error::Chunk { chunk: named, .. }) => named == chunk,
        _ => false,
    };
    assert!(is_missing(bucket.plan().await), "not there");
    bucket
        .memory
        .tamper(&chunk, Some(Bytes::from_static(b"1234567")));
    assert!(is_missing(bucket.plan().await), "not as long");
    bucket
        .memory
        .tamper(&chunk, Some(Bytes::from_static(b"12345678")));
    let plan = bucket.plan().await.expect("there, as far as lengths tell");
    plan.check_chunks(&*bucket.store).await.expect("still");
    bucket.memory.tamper(&chunk, None);
    let gone = plan.check_chunks(&*bucket.store).await;
    assert!(matches!(gone, Err(Error::Chunk { .. })), "{gone:?}");

    let name: Key = newest.key();
    bucket
        .memory
        .tamper(&name, Some(Bytes::from_static(b"{}\n{}\n")));
    let damaged = bucket.plan().await;
    assert!(
        matches!(damaged, Err(Error::Manifest { .. })),
        "{damaged:?}"
    );
}

#[tokio::test]
async fn a_partition_begins_beyond_everything_that_was() {
    let bucket = Bucket::new().await;
    let a = topic("a", 1, 2);
    bucket.metadata(6, 110, std::slice::from_ref(&a)).await;
    let before = bucket.partition(&a, 0, (3, 50), 7).await;
    let plan = bucket.plan().await.expect("sound");
    let life = owner::begin(&*bucket.store, &plan.life, "new", 1, [].into())
        .await
        .expect("begun");
    let rebirth = Rebirth {
        now_ms: 77,
        ..Rebirth::default()
    };
    for (at, (index, end)) in [(before.index, 7), (1, 0)].into_iter().enumerate() {
        let partition = &plan.topics[0].partitions[at];
        let reborn = Reborn::new(&plan.topics[0], partition, life.incarnation, &rebirth);
        let reborn = reborn.expect("a state that is known");
        reborn.put(&*bucket.store).await.expect("put");
        reborn
            .put(&*bucket.store)
            .await
            .expect("there, and the same");
        let manifest = &reborn.manifest;
        assert_eq!((manifest.index, manifest.next_offset), (index, end));
        assert_eq!(manifest.term, u64::from(partition.epoch.unsigned_abs()));
        let state = PartitionState::restore(Index(index), &manifest.state).expect("a state");
        assert_eq!(state.stored(), Some(reborn.origin));
        assert_eq!((state.high_watermark(), state.is_unstored()), (end, false));
        let key = manifest.key();
        Manifest::decode(&manifest.encode(), &key, &partition.source).expect("whole");
    }

    // Doing it again reads the same; somebody else finds the new life.
    let into = Some("new".to_owned());
    let again = Plan::read(
        &bucket.store,
        &Selection {
            into,
            ..Selection::default()
        },
    )
    .await;
    assert_eq!(again.expect("sound").topics[0].partitions[0].epoch, 65_539);
    let next = bucket.plan().await.expect("sound");
    assert_eq!(next.life.incarnation, Incarnation(2));
    assert_eq!(next.topics[0].partitions[0].epoch, 65_539 + 65_536);
}
