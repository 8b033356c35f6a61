use bytes::Bytes;

use super::Kind;
use crate::key::Key;
use crate::manifest::Manifest;
use crate::owner;
use crate::store::memory::Memory;
use crate::store::{Condition, Store};
use crate::testing::{snapshot, source};

async fn bucket(chunks: usize, batches_each: usize) -> (Memory, Manifest) {
    let store = Memory::default();
    let of = source(1);
    owner::claim(&store, &of.cluster_id)
        .await
        .expect("nobody's yet");
    let manifest = snapshot(&store, &of, chunks, batches_each).await;
    (store, manifest)
}

#[tokio::test]
async fn a_sound_bucket_has_no_findings() {
    let (store, manifest) = bucket(3, 8).await;
    snapshot(&store, &source(2), 1, 8).await;
    let report = super::store(&store).await.expect("read");
    assert_eq!(report.findings, []);
    assert_eq!((report.manifests, report.chunks), (2, 4));
    assert!(report.raw_bytes > 2 * report.stored_bytes / 3);
    assert_eq!(manifest.chunk_at(85).expect("there").chunk.first_offset, 80);
}

/// Every bit of every object: 16 chunks of some 2 KiB would take half a minute, so a few here.
#[tokio::test]
async fn every_flipped_bit_is_found_and_named() {
    let (store, manifest) = bucket(2, 6).await;
    let mut bits = 0;
    for (name, whole) in store.objects() {
        let mut flipped = whole.to_vec();
        for bit in 0..whole.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            store.tamper(&name, Some(Bytes::copy_from_slice(&flipped)));
            let report = super::store(&store).await.expect("read");
            assert!(!report.is_sound(), "bit {bit} of {name}");
            let found = &report.findings[0];
            assert_eq!((&found.key, found.kind), (&name, Kind::Damaged));
            if let Some(chunk) = manifest.chunks.iter().find(|chunk| chunk.key == name) {
                assert_eq!(found.source.as_ref(), Some(&manifest.source));
                let (first, next) = found.offsets.expect("told");
                let of = &chunk.chunk;
                assert!(of.first_offset <= first && next <= of.next_offset && first < next);
            }
            flipped[bit / 8] ^= 1 << (bit % 8);
            bits += 1;
        }
        store.tamper(&name, Some(whole));
    }
    assert!(bits > 20_000, "{bits}");
    assert_eq!(super::store(&store).await.expect("read").findings, []);
}

#[tokio::test]
async fn a_flipped_bit_names_the_member_it_is_in() {
    let (store, manifest) = bucket(1, 40).await;
    let name = &manifest.chunks[0].key;
    let mut bytes = store.objects()[name].to_vec();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    store.tamper(name, Some(bytes.into()));
    let report = super::store(&store).await.expect("read");
    let [found] = &report.findings[..] else {
        panic!("{:?}", report.findings);
    };
    let (first, next) = found.offsets.expect("told");
    assert!(
        next - first < 100,
        "a member is a small part of 400 records"
    );
    let said = found.to_string();
    assert!(
        said.contains(name.as_str()) && said.contains("partition 3"),
        "{said}"
    );
    assert!(
        said.contains(&format!("offsets {first} to {}", next - 1)),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_missing_cut_off_or_too_long_is_found() {
    let (store, manifest) = bucket(2, 8).await;
    let name = &manifest.chunks[1].key;
    let whole = store.objects()[name].clone();
    let cases = [
        (None, Kind::Missing),
        (Some(whole.slice(..whole.len() - 1)), Kind::Damaged),
        (Some(whole.slice(..40)), Kind::Damaged),
        (Some(Bytes::new()), Kind::Damaged),
        (Some([&whole[..], b"more"].concat().into()), Kind::Damaged),
    ];
    for (bytes, kind) in cases {
        store.tamper(name, bytes);
        let report = super::store(&store).await.expect("read");
        let found = &report.findings[0];
        assert_eq!((found.kind, &found.key), (kind, name), "{found}");
        assert!(!report.is_sound());
    }
}

#[tokio::test]
async fn chunks_that_changed_places_are_found() {
    let (store, manifest) = bucket(2, 8).await;
    let objects = store.objects();
    let (a, b) = (&manifest.chunks[0].key, &manifest.chunks[1].key);
    store.tamper(a, Some(objects[b].clone()));
    store.tamper(b, Some(objects[a].clone()));
    let report = super::store(&store).await.expect("read");
    assert_eq!(report.findings.len(), 2, "{:?}", report.findings);
}

#[tokio::test]
async fn what_nothing_names_is_an_orphan_and_no_damage() {
    let (store, _) = bucket(1, 8).await;
    let stray = [
        "topics/00000000-0000-0000-0000-000000000001/3/chunks/left.gz",
        "something/else",
    ];
    for name in stray {
        let key = Key::parse(name).expect("a name");
        store
            .put(&key, "x".into(), Condition::None)
            .await
            .expect("stored");
    }
    let report = super::store(&store).await.expect("read");
    assert_eq!(report.findings.len(), 2);
    assert!(
        report
            .findings
            .iter()
            .all(|found| found.kind == Kind::Orphan)
    );
    assert!(report.is_sound());
}

#[tokio::test]
async fn a_store_of_nobody_is_not_sound() {
    let report = super::store(&Memory::default()).await.expect("read");
    assert!(!report.is_sound());
}

#[tokio::test]
async fn a_store_that_fails_is_not_called_sound() {
    let (store, _) = bucket(2, 8).await;
    store.fail(0, crate::store::memory::Fault::Refused);
    super::store(&store).await.expect_err("the first request");
    let count = {
        store.fail(usize::MAX, crate::store::memory::Fault::Refused);
        super::store(&store).await.expect("read");
        store.requests().len()
    };
    for number in 0..count {
        store.fail(number, crate::store::memory::Fault::Refused);
        super::store(&store).await.expect_err("request failed");
    }
}

#[tokio::test]
async fn a_second_cluster_is_refused_by_name() {
    let store = Memory::default();
    owner::claim(&store, "first").await.expect("nobody's yet");
    owner::claim(&store, "first").await.expect("its own");
    let why = owner::claim(&store, "second").await.expect_err("taken");
    let said = why.to_string();
    assert!(said.contains("first") && said.contains("second"), "{said}");
    // An answer that was lost is no other cluster.
    let store = Memory::default();
    store.fail(1, crate::store::memory::Fault::AnswerLost);
    owner::claim(&store, "first")
        .await
        .expect_err("not known yet");
    store.heal();
    owner::claim(&store, "first")
        .await
        .expect("it was its own doing");
}

/// What only older snapshots need is not looked at.
#[tokio::test]
async fn of_one_partition_the_newest_is_verified() {
    let (store, manifest) = bucket(2, 6).await;
    let of = &manifest.source;
    let stray = crate::key::chunk(of, manifest.incarnation, 0, 1, 1);
    store.tamper(&stray, Some("nothing".into()));
    let verify = async |known: Option<crate::manifest::Name>| {
        let (mut report, mut told) = (super::Report::default(), Vec::new());
        let found = super::newest(&store, of, known.as_ref(), &mut report, |done, total| {
            told.push((done, total));
        });
        let found = found.await.expect("read");
        (found, report, told)
    };
    let (found, report, told) = verify(Some(manifest.name())).await;
    assert_eq!(
        (found.as_ref(), &report.findings[..]),
        (Some(&manifest), &[][..])
    );
    assert_eq!((report.manifests, report.chunks), (1, 2));
    let sizes = [0, 1].map(|at| manifest.chunks[at].chunk.stored_bytes);
    let total = sizes[0] + sizes[1];
    assert_eq!(told, [(sizes[0], total), (total, total)]);

    // A later one, which the store does not have.
    let mut later = manifest.name();
    later.index += 1;
    let (_, report, _) = verify(Some(later.clone())).await;
    let found = &report.findings[0];
    assert_eq!((found.kind, &found.key), (Kind::Missing, &later.key()));

    for (name, kind) in [
        (manifest.key(), Kind::Damaged),
        (manifest.chunks[1].key.clone(), Kind::Damaged),
        (manifest.chunks[0].key.clone(), Kind::Missing),
    ] {
        let whole = store.objects()[&name].clone();
        let mut bent = whole.to_vec();
        bent[40] ^= 1;
        let bent = (kind == Kind::Damaged).then(|| bent.into());
        store.tamper(&name, bent);
        let (_, report, _) = verify(None).await;
        let found = &report.findings[0];
        assert_eq!((found.kind, &found.key), (kind, &name));
        assert_eq!(found.source.as_ref(), Some(of));
        store.tamper(&name, Some(whole));
    }
}
