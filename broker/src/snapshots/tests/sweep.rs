//! What goes from a store when nobody but the store can be asked.

use std::collections::BTreeSet;

use snapshot::chunk::Summary;
use snapshot::cluster::{self, Cluster, Topic};
use snapshot::digest::Digest;
use snapshot::key::{self, Key};
use snapshot::manifest::{self, Chunk, Manifest};
use snapshot::store::{Condition, Store};
use snapshot::tail::{Entry as TailEntry, RECORDS as TAIL_RECORDS, Writer};

use super::*;
use crate::partition::state::PartitionState;
use crate::partition::stored::Stored;
use crate::snapshots::sweep::{Error as SweepError, Swept, Wanted as Stays, What, sweep};

const HOUR: i64 = 3_600_000;
/// Everything is older than the grace.
const LATE: i64 = 100 * HOUR;
const STAYS: Stays = Stays {
    keep: 2,
    grace_ms: HOUR,
    dry_run: false,
};

struct Bucket(Memory);

impl Bucket {
    /// Of a cluster with this topic, written at the seventh hour.
    async fn new(topics: &[u128]) -> Self {
        let bucket = Self(Memory::default());
        let claimed = owner::claim(&bucket.0, "cluster").await;
        claimed.expect("nobody's yet");
        bucket.0.set_clock(7 * HOUR);
        bucket.metadata(1, topics).await;
        bucket
    }

    async fn metadata(&self, index: u64, topics: &[u128]) {
        let topic = |number: &u128| Topic {
            name: format!("t{number}"),
            id: Uuid::from_u128(*number),
            partitions: 2,
            replicas: 3,
            configs: BTreeMap::new(),
        };
        let cluster = Cluster {
            format: cluster::FORMAT,
            cluster_id: "cluster".to_owned(),
            incarnation: Incarnation::FIRST,
            epoch: 1,
            index,
            created_ms: 0,
            next_producer_id: 0,
            configs: BTreeMap::new(),
            topics: topics.iter().map(topic).collect(),
        };
        cluster.put(&self.0).await.expect("put");
    }

    async fn put(&self, key: &Key, body: Bytes) {
        let put = self.0.put(key, body, Condition::Absent);
        put.await.expect("put");
    }

    /// Six snapshots, one an hour, each of the hour's records and those of the hour before; each was taken when the one
    /// before it was committed.
    async fn history(&self, topic: u128) -> Vec<Manifest> {
        let source = source(topic);
        let mut all: Vec<Manifest> = Vec::new();
        for hour in 1..=6_u64 {
            self.0.set_clock(hour as i64 * HOUR);
            let before = all.last();
            let added = self.chunk(&source, hour).await;
            let kept = before.and_then(|before| before.chunks.last().cloned());
            let chunks: Vec<Chunk> = kept.into_iter().chain([added]).collect();
            let manifest = Manifest {
                format: manifest::FORMAT,
                source: source.clone(),
                topic: "t".to_owned(),
                incarnation: Incarnation::FIRST,
                leader_epoch: 1,
                index: 100 * hour,
                term: 1,
                created_ms: 0,
                log_start: chunks[0].chunk.first_offset,
                next_offset: hour as i64 * 10,
                leader_epochs: Vec::new(),
                configs: BTreeMap::new(),
                voters: vec![1, 2, 3],
                state: state(before),
                aborted_transactions: Vec::new(),
                chunks,
            };
            self.put(&manifest.key(), manifest.encode()).await;
            all.push(manifest);
        }
        all
    }

    async fn chunk(&self, source: &Source, hour: u64) -> Chunk {
        let first_offset = (hour as i64 - 1) * 10;
        let key = key::chunk(source, Incarnation::FIRST, first_offset, 1, 100 * hour);
        self.put(&key, "records".into()).await;
        let chunk = Summary {
            first_offset,
            next_offset: first_offset + 10,
            max_timestamp: -1,
            raw_bytes: 9,
            raw_sha256: Digest::of(b""),
            index_position: 4,
            stored_bytes: 7,
            stored_crc32: 0,
        };
        Chunk { key, chunk }
    }

    async fn sweep(&self, stays: Stays, now_ms: i64) -> Result<Swept, SweepError> {
        sweep(&self.0, stays, now_ms).await
    }

    fn keys(&self) -> BTreeSet<Key> {
        self.0.objects().into_keys().collect()
    }
}

fn source(topic: u128) -> Source {
    Source {
        cluster_id: "cluster".to_owned(),
        topic_id: Uuid::from_u128(topic),
        partition: 1,
    }
}

/// The state of a partition when this was its newest committed snapshot.
fn state(committed: Option<&Manifest>) -> Bytes {
    let state = PartitionState::default();
    let stored = |manifest: &Manifest| Stored {
        incarnation: manifest.incarnation.0,
        leader_epoch: manifest.leader_epoch,
        index: manifest.index,
        next_offset: manifest.next_offset,
        identity: None,
    };
    match committed {
        None => state.encode(0),
        Some(manifest) => state.reborn(stored(manifest), |_| {}),
    }
}

fn gone(swept: &Swept) -> BTreeSet<Key> {
    let all = swept.collected.iter();
    all.flat_map(|(_, collected)| collected.deleted.clone())
        .collect()
}

#[tokio::test]
async fn what_is_not_known_to_be_committed_stays_and_what_is_and_as_many_before_it() {
    let bucket = Bucket::new(&[1]).await;
    let history = bucket.history(1).await;
    // Given up by the leader long ago, and in the making: their names tell.
    bucket.0.set_clock(HOUR);
    let stray = |index| key::chunk(&source(1), Incarnation::FIRST, 0, 1, index);
    for index in [499, 500, 501, 601] {
        bucket.put(&stray(index), "x".into()).await;
    }
    let before = bucket.keys();
    let dry = Stays {
        dry_run: true,
        ..STAYS
    };
    let said = bucket.sweep(dry, LATE).await.expect("swept");
    assert_eq!(bucket.keys(), before);

    let swept = bucket.sweep(STAYS, LATE).await.expect("swept");
    let chunk = |at: usize| history[at].chunks.last().expect("one").key.clone();
    // The fifth is committed, says the sixth. The fourth stays with it, and with it the third one's records.
    let manifests = (0..3).map(|at| history[at].key());
    let expected: BTreeSet<Key> = manifests
        .chain([0, 1].map(chunk))
        .chain([499, 500].map(stray))
        .collect();
    // The chunk of index 500 that is not a stray one begins at another offset.
    assert_eq!(gone(&swept), expected);
    assert_eq!(gone(&said), expected);
    let left: BTreeSet<Key> = before.difference(&expected).cloned().collect();
    assert_eq!(bucket.keys(), left);
    let (what, collected) = &swept.collected[0];
    assert_eq!(*what, What::Partition("t1".to_owned(), 1));
    assert_eq!(collected.young, 2);
    assert_eq!(swept.problems.len(), 0);
    let again = bucket.sweep(STAYS, LATE).await.expect("swept");
    assert_eq!(gone(&again), BTreeSet::new());
}

/// A later manifest stays with what it names, even if it is all that is old.
#[tokio::test]
async fn before_anything_is_committed_nothing_goes() {
    let bucket = Bucket::new(&[1]).await;
    let history = bucket.history(1).await;
    for manifest in &history[1..] {
        bucket.0.tamper(&manifest.key(), None);
    }
    let before = bucket.keys();
    bucket.sweep(STAYS, LATE).await.expect("swept");
    assert_eq!(bucket.keys(), before);
}

#[tokio::test]
async fn young_things_stay() {
    let bucket = Bucket::new(&[1]).await;
    bucket.history(1).await;
    let before = bucket.keys();
    bucket.sweep(STAYS, 2 * HOUR - 1).await.expect("swept");
    assert_eq!(bucket.keys(), before);
    bucket.sweep(STAYS, 2 * HOUR).await.expect("swept");
    let gone: Vec<Key> = before.difference(&bucket.keys()).cloned().collect();
    assert_eq!(
        gone.len(),
        1,
        "its chunk is named by the next one: {gone:?}"
    );
}

#[tokio::test]
async fn of_deleted_topics_everything_goes_and_of_young_ones_nothing() {
    let bucket = Bucket::new(&[1]).await;
    bucket.history(2).await;
    bucket.0.set_clock(7 * HOUR);
    // Younger than the metadata, as far as anybody knows: a snapshot, and what is in a tail only.
    let young = bucket.chunk(&source(3), 1).await.key;
    let mut writer = Writer::new("cluster".to_owned(), Incarnation::FIRST, 1, 1);
    let entry = TailEntry {
        index: 1,
        term: 1,
        kind: TAIL_RECORDS,
        payload: stored_batch(1),
    };
    writer.push(Uuid::from_u128(4), 0, &[entry]);
    let (tail, object) = writer.finish();
    bucket.put(&tail, object).await;
    let before = bucket.keys();
    let swept = bucket.sweep(STAYS, LATE).await.expect("swept");
    let kept = bucket.keys();
    assert!(kept.contains(&young) && kept.contains(&tail), "{kept:?}");
    assert_eq!(gone(&swept).len(), 12, "six snapshots, six chunks");
    assert_eq!(before.len() - kept.len(), 12);

    // The metadata that is newer than they are does not list them.
    bucket.0.set_clock(9 * HOUR);
    bucket.metadata(2, &[1]).await;
    let swept = bucket.sweep(STAYS, LATE).await.expect("swept");
    assert_eq!(gone(&swept), [young, tail].into());
}

#[tokio::test]
async fn where_a_restore_has_not_ended_nothing_goes() {
    let bucket = Bucket::new(&[1]).await;
    bucket.history(1).await;
    let life = owner::latest(&bucket.0).await.expect("a life");
    let begun = owner::begin(&bucket.0, &life, "next", 0, BTreeSet::new()).await;
    begun.expect("the first one");
    let before = bucket.keys();
    let refused = bucket.sweep(STAYS, LATE).await;
    assert!(
        matches!(&refused, Err(SweepError::NoMetadata(life)) if life.cluster_id == "next"),
        "{refused:?}"
    );
    assert_eq!(bucket.keys(), before);
}

#[tokio::test]
async fn a_partition_that_cannot_be_read_is_named_and_the_others_are_swept() {
    let bucket = Bucket::new(&[1, 2]).await;
    let history = bucket.history(1).await;
    bucket.history(2).await;
    for at in [4, 5] {
        let key = history[at].key();
        let sound = bucket.0.objects()[&key].clone();
        let mut bent = sound.to_vec();
        bent[30] ^= 1;
        bucket.0.tamper(&key, Some(bent.into()));
        let dry = Stays {
            dry_run: true,
            ..STAYS
        };
        let swept = bucket.sweep(dry, LATE).await.expect("swept");
        assert_eq!(swept.problems.len(), 1);
        let problem = &swept.problems[0];
        assert_eq!((&*problem.topic, problem.partition), ("t1", 1));
        assert!(
            problem.why.to_string().contains(key.as_str()),
            "{problem:?}"
        );
        assert_eq!(gone(&swept).len(), 5, "of the other one");
        bucket.0.tamper(&key, Some(sound));
    }
}

/// Its replicas begin with it, and whether they have only the brokers know.
#[tokio::test]
async fn what_a_restore_has_made_stays() {
    let bucket = Bucket::new(&[1]).await;
    let history = bucket.history(1).await;
    let mut origin = history[0].clone();
    bucket.0.tamper(&origin.key(), None);
    origin.voters.clear();
    bucket.0.set_clock(HOUR);
    bucket.put(&origin.key(), origin.encode()).await;
    bucket.sweep(STAYS, LATE).await.expect("swept");
    let kept = bucket.keys();
    assert!(kept.contains(&origin.key()), "{kept:?}");
    assert!(kept.contains(&origin.chunks[0].key), "{kept:?}");
    assert!(!kept.contains(&history[1].key()), "{kept:?}");
}
