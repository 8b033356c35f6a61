use uuid::Uuid;

use super::*;
use crate::collect::{self, Collected, Policy};
use crate::manifest::Manifest;
use crate::owner;
use crate::source::Source;
use crate::store::memory::{Fault, Memory};
use crate::testing::{batches, empty_manifest, put_chunk, put_manifest, source};
use crate::verify;

const HOUR: i64 = 3_600_000;
const LATE: i64 = 100 * HOUR;

fn position(of: &Source, changed: u64, index: u64) -> Position {
    Position {
        topic_id: of.topic_id,
        partition: of.partition,
        index,
        changed,
        next_offset: 20,
    }
}

fn cut(number: u64, partitions: Vec<Position>) -> Cut {
    Cut {
        format: FORMAT,
        number,
        cluster: Cluster {
            format: crate::cluster::FORMAT,
            cluster_id: source(1).cluster_id,
            incarnation: Incarnation(1),
            epoch: 3,
            index: 70,
            created_ms: 8,
            next_producer_id: 1000,
            configs: BTreeMap::new(),
            topics: Vec::new(),
        },
        partitions,
    }
}

/// A partition with manifests as of these indexes, an hour between them, each with a chunk of its own.
async fn partition_with(store: &Memory, indexes: &[u64]) -> Vec<Manifest> {
    let mut manifest = empty_manifest(&source(1));
    let mut all = Vec::new();
    for (hour, index) in (1..).zip(indexes) {
        store.set_clock(hour * HOUR);
        manifest.index = *index;
        let next_offset = manifest.next_offset + 20;
        let records = batches(manifest.next_offset, 2, 1);
        put_chunk(store, &mut manifest, &records, next_offset).await;
        put_manifest(store, &manifest).await;
        all.push(manifest.clone());
    }
    all
}

fn indexes_left(store: &Memory, manifests: &[Manifest]) -> Vec<u64> {
    let objects = store.objects();
    let there = manifests.iter().filter(|m| objects.contains_key(&m.key()));
    there.map(|manifest| manifest.index).collect()
}

async fn collect_after(store: &Memory, newest: &Manifest) -> Result<Collected, collect::Error> {
    let policy = Policy {
        keep_manifests: 1,
        ..Policy::default()
    };
    collect::partition(store, &newest.source, &newest.name(), &policy, LATE).await
}

#[tokio::test]
async fn it_is_read_as_it_was_written_and_under_no_other_name() {
    let store = Memory::default();
    let own = cut(4, vec![position(&source(1), 7, 9)]);
    own.put(&store, Standing::Open).await.expect("put");
    own.put(&store, Standing::Open).await.expect("the same one");
    let other = cut(4, Vec::new()).put(&store, Standing::Open).await;
    assert!(
        matches!(other, Err(Error::Object(ObjectError::Taken(_)))),
        "{other:?}"
    );
    let id = &source(1).cluster_id;
    let read = Cut::read(&store, own.name(), Standing::Open, id).await;
    assert_eq!(read.expect("read"), own);
    let foreign = Cut::read(&store, own.name(), Standing::Open, "another").await;
    assert!(
        matches!(foreign, Err(Error::Object(ObjectError::Foreign(_)))),
        "{foreign:?}"
    );
    let key = key::cut(own.name(), Standing::Open);
    let bytes = store.objects()[&key].clone();
    let misplaced = Name {
        number: 5,
        ..own.name()
    };
    store.tamper(&key::cut(misplaced, Standing::Whole), Some(bytes.clone()));
    let misnamed = Cut::read(&store, misplaced, Standing::Whole, id).await;
    assert!(
        matches!(misnamed, Err(Error::Object(ObjectError::Foreign(_)))),
        "{misnamed:?}"
    );
    let mut flipped = bytes.to_vec();
    for bit in 0..flipped.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        store.tamper(&key, Some(flipped.clone().into()));
        let read = Cut::read(&store, own.name(), Standing::Open, id).await;
        assert!(
            matches!(read, Err(Error::Object(ObjectError::Sealed { .. }))),
            "bit {bit}"
        );
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
}

#[tokio::test]
async fn what_it_needs_stays_as_long_as_it_does() {
    let store = Memory::default();
    let manifests = partition_with(&store, &[100, 200, 300, 400]).await;
    // Nothing changed between 200 and 250.
    let cut = cut(1, vec![position(&source(1), 200, 250)]);
    cut.put(&store, Standing::Whole).await.expect("put");
    collect_after(&store, &manifests[3]).await.expect("done");
    assert_eq!(indexes_left(&store, &manifests), [200, 400]);
    let objects = inventory::topics(&store).await.expect("listed");
    cut.check(&objects).expect("it is whole");
    let none = Policy {
        keep_cuts: 0,
        ..Policy::default()
    };
    let gone = collect::cuts(&store, &none, LATE).await.expect("collected");
    assert_eq!(gone.deleted, [key::cut(cut.name(), Standing::Whole)]);
    collect_after(&store, &manifests[3]).await.expect("done");
    assert_eq!(indexes_left(&store, &manifests), [400]);
    let objects = inventory::topics(&store).await.expect("listed");
    let lacking = cut.check(&objects);
    assert!(matches!(lacking, Err(Error::NotWhole { index: 250, .. })));
}

/// The snapshot as of the cut is still to be taken: the one before it stays meanwhile, for the one to come may name its
/// chunks.
#[tokio::test]
async fn an_open_one_keeps_what_the_coming_snapshot_rests_upon() {
    let store = Memory::default();
    let manifests = partition_with(&store, &[100, 200, 300]).await;
    let cut = cut(1, vec![position(&source(1), 230, 250)]);
    cut.put(&store, Standing::Open).await.expect("put");
    collect_after(&store, &manifests[2]).await.expect("done");
    assert_eq!(indexes_left(&store, &manifests), [200, 300]);
    let objects = inventory::topics(&store).await.expect("listed");
    cut.check(&objects).expect_err("200 lacks what changed");
}

#[tokio::test]
async fn a_deleted_topic_stays_that_is_in_a_cut() {
    let store = Memory::default();
    let manifests = partition_with(&store, &[100]).await;
    let cut = cut(1, vec![position(&source(1), 100, 100)]);
    cut.put(&store, Standing::Whole).await.expect("put");
    let (id, others) = (&source(1).cluster_id, BTreeSet::from([Uuid::from_u128(9)]));
    let policy = Policy::default();
    let collected = collect::deleted_topics(&store, id, &others, &policy, LATE).await;
    assert_eq!(collected.expect("collected").deleted, []);
    let none = Policy {
        keep_cuts: 0,
        ..policy
    };
    collect::cuts(&store, &none, LATE).await.expect("collected");
    let collected = collect::deleted_topics(&store, id, &others, &policy, LATE).await;
    assert_eq!(collected.expect("collected").deleted.len(), 2);
    assert!(indexes_left(&store, &manifests).is_empty());
}

#[tokio::test]
async fn the_newest_whole_ones_stay_and_the_young_open_ones() {
    let store = Memory::default();
    for number in 1..=5 {
        let cut = cut(number, Vec::new());
        cut.put(&store, Standing::Whole).await.expect("put");
    }
    store.set_clock(LATE - 1);
    cut(6, Vec::new())
        .put(&store, Standing::Open)
        .await
        .expect("put");
    let policy = Policy::default();
    let gone = collect::cuts(&store, &policy, LATE).await.expect("done");
    assert_eq!((gone.deleted.len(), gone.young), (2, 1));
    let left = list(&store).await.expect("listed");
    let numbers: Vec<u64> = left.iter().map(|(name, _, _)| name.number).collect();
    assert_eq!(numbers, [3, 4, 5, 6]);
    let gone = collect::cuts(&store, &policy, LATE + HOUR).await;
    assert_eq!(gone.expect("done").deleted.len(), 1);
}

/// Whoever cannot know what has to stay removes nothing.
#[tokio::test]
async fn a_cut_that_cannot_be_read_and_one_that_comes_meanwhile_end_the_collection() {
    let store = Memory::default();
    let manifests = partition_with(&store, &[100, 200, 300]).await;
    let name = cut(1, Vec::new()).name();
    let key = key::cut(name, Standing::Whole);
    store.tamper(&key, Some("damaged".into()));
    let refused = collect_after(&store, &manifests[2]).await;
    assert!(matches!(refused, Err(collect::Error::Cut(_))));
    assert_eq!(indexes_left(&store, &manifests), [100, 200, 300]);
    store.tamper(&key, None);
    // What is listed last before the removal is the cuts.
    let known = Known::read(&store, &source(1).cluster_id).await;
    let known = known.expect("read");
    assert!(known.is_all(&store).await.expect("listed"));
    let late = cut(2, Vec::new());
    late.put(&store, Standing::Open).await.expect("put");
    assert!(!known.is_all(&store).await.expect("listed"));
}

#[tokio::test]
async fn verify_counts_cuts_and_names_those_that_are_damaged_or_lack_something() {
    let store = Memory::default();
    let id = &source(1).cluster_id;
    owner::claim(&store, id).await.expect("claimed");
    partition_with(&store, &[100]).await;
    let sound = cut(1, vec![position(&source(1), 90, 100)]);
    sound.put(&store, Standing::Whole).await.expect("put");
    let open = cut(2, vec![position(&source(1), 150, 150)]);
    open.put(&store, Standing::Open).await.expect("put");
    let report = verify::store(&store).await.expect("read");
    assert_eq!((report.cuts, &report.findings[..]), (2, &[][..]));
    open.put(&store, Standing::Whole).await.expect("put");
    let report = verify::store(&store).await.expect("read");
    let [found] = &report.findings[..] else {
        panic!("{:?}", report.findings)
    };
    assert_eq!(found.kind, verify::Kind::Missing);
    assert_eq!(found.key, key::cut(open.name(), Standing::Whole));
    store.fail(usize::MAX, Fault::Dead);
    store.tamper(&found.key.clone(), Some("bent".into()));
    let report = verify::store(&store).await.expect("read");
    assert_eq!(report.findings[0].kind, verify::Kind::Damaged);
}
