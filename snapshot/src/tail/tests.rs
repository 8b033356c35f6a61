use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::collect::{self, Policy};
use crate::manifest::Manifest;
use crate::owner;
use crate::store::Condition;
use crate::store::memory::Memory;
use crate::testing::{batch, empty_manifest, put_manifest, source};
use crate::verify;

const STORE: &str = "cluster-of-tests";
/// Everything is older than the grace.
const LATE: i64 = 1 << 50;

/// Entries with these indexes: every third one a batch.
fn entries(indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    let entry = |index: u64| {
        let is_batch = index.is_multiple_of(3);
        let offset = i64::try_from(index * 10).expect("small");
        let payload = if is_batch {
            batch(offset, 1, 10, 40)
        } else {
            Bytes::from(format!("command {index}"))
        };
        Entry {
            index,
            term: index / 50,
            kind: if is_batch { RECORDS } else { 3 },
            payload,
        }
    };
    indexes.map(entry).collect()
}

/// Puts a tail with these parts.
async fn put(
    store: &Memory,
    (life, created_ms): (u32, i64),
    parts: &[(u128, std::ops::RangeInclusive<u64>)],
) -> Name {
    let mut writer = Writer::new(STORE.to_owned(), Incarnation(life), 7, created_ms);
    for (topic, indexes) in parts {
        writer.push(Uuid::from_u128(*topic), 3, &entries(indexes.clone()));
    }
    let (key, object) = writer.finish();
    let put = store.put(&key, object, Condition::Absent);
    put.await.expect("stored");
    key::tail_name(&key).expect("a tail's name")
}

async fn parts(store: &Memory) -> Parts {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let read = Parts::read(&store, STORE, |_| true).await;
    read.expect("sound")
}

async fn chain(store: &Memory, base: Option<(u32, u64)>) -> Vec<(u64, u64)> {
    let parts = parts(store).await;
    let base = base.map(|(life, index)| (Incarnation(life), index));
    let chain = parts.chain((Uuid::from_u128(1), 3), base);
    let part = |found: &&Found| (found.part.first_index, found.part.last_index);
    chain.iter().map(part).collect()
}

#[tokio::test]
async fn what_is_written_is_read() {
    let store = Memory::default();
    let name = put(&store, (1, 9), &[(1, 5..=9), (2, 1..=1), (3, 100..=300)]).await;
    assert_eq!(list(&store).await.expect("listed")[0].0, name);
    let directory = Directory::read(&store, &name, STORE).await.expect("sound");
    let there = store.objects().get(&name.key()).map(Bytes::len);
    assert_eq!(there, usize::try_from(directory.object_bytes(&name)).ok());
    for (part, wanted) in directory.parts.iter().zip([5..=9, 1..=1, 100..=300]) {
        let found = read(&store, &name, part).await.expect("sound");
        assert_eq!(found, entries(wanted));
    }
    let foreign = Directory::read(&store, &name, "another").await;
    assert!(
        matches!(foreign, Err(Error::Directory { .. })),
        "{foreign:?}"
    );
}

#[tokio::test]
async fn every_flipped_bit_is_found_and_named() {
    let store = Memory::default();
    store
        .put(
            &key::owner(),
            sealed::encode(&serde_json::json!({"format": 1, "cluster_id": STORE})),
            Condition::Absent,
        )
        .await
        .expect("stored");
    let name = put(&store, (1, 9), &[(1, 5..=9), (2, 1..=4)]).await;
    let sound = verify::store(&store).await.expect("read");
    assert!(sound.is_sound() && sound.tails == 1, "{sound:?}");
    let key = name.key();
    let whole = store.objects()[&key].clone();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let put = store.put(&key, flipped.into(), Condition::None);
        put.await.expect("stored");
        let report = verify::store(&store).await.expect("read");
        let named = |found: &verify::Finding| {
            let is_in_directory = (bit as u64 / 8) < name.directory_bytes;
            found.key == key && found.source.is_none() == is_in_directory
        };
        assert!(report.findings.iter().any(named), "bit {bit}: {report:?}");
    }
}

#[tokio::test]
async fn parts_continue_what_they_follow_and_nothing_else() {
    let store = Memory::default();
    for (at, indexes) in [(1, 11..=20), (2, 21..=30), (3, 15..=25), (4, 40..=50)] {
        put(&store, (1, at), &[(1, indexes)]).await;
    }
    // Another partition, and another life, have nothing to do with it.
    put(&store, (1, 5), &[(2, 31..=39)]).await;
    put(&store, (2, 6), &[(1, 31..=39)]).await;
    let chained = chain(&store, Some((1, 10))).await;
    assert_eq!(chained, [(11, 20), (21, 30)]);
    assert_eq!(chain(&store, Some((1, 17))).await, [(15, 25), (21, 30)]);
    assert_eq!(chain(&store, Some((1, 20))).await, [(21, 30)]);
    assert_eq!(chain(&store, Some((1, 30))).await, [], "a gap follows");
    assert_eq!(chain(&store, Some((1, 45))).await, [(40, 50)]);
    assert_eq!(chain(&store, Some((1, 9))).await, []);
    assert_eq!(chain(&store, Some((2, 30))).await, [(31, 39)]);
    assert_eq!(chain(&store, None).await, [], "not from the beginning");
    put(&store, (2, 7), &[(1, 1..=31)]).await;
    assert_eq!(chain(&store, None).await, [(1, 31), (31, 39)]);
}

/// What is left of three tails: of one that nothing replaces, of one that is in another, and of one that is in both a
/// manifest and another tail.
#[tokio::test]
async fn only_what_is_elsewhere_goes() {
    let store = Memory::default();
    let of = source(1);
    let manifest = Manifest {
        index: 20,
        ..empty_manifest(&of)
    };
    put_manifest(&store, &manifest).await;
    let names = [
        put(&store, (1, 1), &[(1, 15..=20), (2, 1..=5)]).await,
        put(&store, (1, 2), &[(2, 1..=9)]).await,
        put(&store, (1, 3), &[(2, 5..=9)]).await,
        put(&store, (1, 4), &[(1, 15..=21)]).await,
        put(&store, (1, 5), &[(9, 1..=5)]).await,
    ];
    let alive: BTreeSet<Uuid> = [1, 2].map(Uuid::from_u128).into();
    let policy = Policy::default();
    let young = collect::tails(&store, STORE, &alive, &policy, 0).await;
    let young = young.expect("done");
    assert_eq!((young.deleted.len(), young.young), (0, 3));
    let done = collect::tails(&store, STORE, &alive, &policy, LATE).await;
    let gone = [names[0], names[2], names[4]].map(|name| name.key());
    assert_eq!(done.expect("done").deleted, gone);

    // Two of the same content: one of them stays.
    let same = put(&store, (1, 6), &[(2, 1..=9)]).await;
    let done = collect::tails(&store, STORE, &alive, &policy, LATE).await;
    assert_eq!(done.expect("done").deleted, [names[1].key()]);
    assert!(store.objects().contains_key(&same.key()));

    // In the next life the manifests hold everything; what a later one wrote is not touched.
    let first = owner::claim(&store, STORE).await.expect("nobody's yet");
    let begun = owner::begin(&store, &first, "next", 0, BTreeSet::new()).await;
    begun.expect("the first try");
    let second = Policy {
        incarnation: Incarnation(2),
        ..policy
    };
    put(&store, (3, 7), &[(9, 1..=5)]).await;
    let done = collect::tails(&store, STORE, &alive, &second, LATE).await;
    assert_eq!(
        done.expect("done").deleted,
        [names[3], same].map(|n| n.key())
    );
}

#[tokio::test]
async fn without_topics_or_with_damage_nothing_goes() {
    let store = Memory::default();
    let name = put(&store, (1, 1), &[(1, 15..=20)]).await;
    let policy = Policy::default();
    let none = collect::tails(&store, STORE, &BTreeSet::new(), &policy, LATE).await;
    assert!(
        matches!(none, Err(collect::Error::NothingAlive)),
        "{none:?}"
    );
    let mut bytes = store.objects()[&name.key()].to_vec();
    bytes[20] ^= 1;
    let damaged = Name {
        created_ms: 2,
        ..name
    };
    let key = damaged.key();
    let put = store.put(&key, bytes.into(), Condition::Absent);
    put.await.expect("stored");
    let alive: BTreeSet<Uuid> = [Uuid::from_u128(9)].into();
    let refused = collect::tails(&store, STORE, &alive, &policy, LATE).await;
    assert!(
        matches!(refused, Err(collect::Error::Tail(_))),
        "{refused:?}"
    );
    assert_eq!(store.objects().len(), 2);
}
