//! Objects that are not what was written, and stores that do not answer.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{ALL, archive, cold, read_on};
use crate::archive::{Config, Error};
use crate::chunk::Reader;
use crate::store::memory::Fault;
use crate::testing::{snapshot, source};

/// A store in memory, without a runtime, has nothing to wait for: a hundred times faster than threads.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match Box::pin(future)
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

/// What gzip does not need to inflate the index, such as the time in its header, has no digest of its own: whoever reads
/// the whole object (`verify`) notices. Here it has to be without consequence.
#[test]
fn every_flipped_bit_is_an_error_and_never_other_records() {
    let (store, manifest, written, _) = at_once(cold(1, 6));
    let named = &manifest.chunks[0];
    let whole = store.objects()[&named.key].clone();
    let index = usize::try_from(named.chunk.index_position).expect("small");
    let mut flipped = whole.to_vec();
    let (mut errors, mut without) = (0, 0);
    for bit in 0..whole.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        store.tamper(&named.key, Some(Bytes::copy_from_slice(&flipped)));
        flipped[bit / 8] ^= 1 << (bit % 8);
        let archive = archive(&store, Config::default());
        let mut offset = 0;
        let mut read = Vec::new();
        let end = loop {
            match at_once(archive.batches(&manifest, offset, ALL)) {
                Ok(more) => {
                    offset = super::last_offset(&more) + 1;
                    read.extend(more);
                }
                Err(why) => break why,
            }
        };
        assert!(written.starts_with(&read), "bit {bit}: other records");
        match end {
            Error::Damaged { key, .. } => {
                assert_eq!(key, named.key);
                assert!(read.len() < written.len());
                let again = at_once(archive.batches(&manifest, offset, ALL));
                assert!(matches!(again, Err(Error::Damaged { .. })), "bit {bit}");
                errors += 1;
            }
            Error::OutOfRange { .. } => {
                assert_eq!(read, written, "bit {bit}");
                assert!(bit / 8 >= index, "bit {bit} is one of the records'");
                without += 1;
            }
            other => panic!("bit {bit}: {other}"),
        }
    }
    assert!(errors > 5_000 && without < 100, "{errors}, {without}");
}

#[tokio::test]
async fn a_damaged_member_is_not_held_and_spares_the_others() {
    let (store, manifest, written, archive) = cold(1, 12).await;
    let named = &manifest.chunks[0];
    let whole = store.objects()[&named.key].clone();
    let index = usize::try_from(named.chunk.index_position).expect("small");
    let reader = Reader::open(&whole[index..], &named.chunk, &manifest.source).expect("sound");
    let third = usize::try_from(reader.members()[2].position).expect("small");
    let mut damaged = whole.to_vec();
    damaged[third + 20] ^= 4;
    store.tamper(&named.key, Some(damaged.into()));
    // It would fit, and comes with the same request.
    let read = archive.batches(&manifest, 0, ALL).await.expect("read");
    assert_eq!(read, written[..4]);
    let why = archive.batches(&manifest, 45, ALL).await;
    let why = why.expect_err("damaged");
    assert!(
        matches!(&why, Error::Damaged { key, .. } if *key == named.key),
        "{why}"
    );
    assert!(why.to_string().contains("offsets 40 to 60"), "{why}");
    assert!(!why.retriable());
    let read = read_on(&archive, &manifest, 60, ALL).await.expect("read");
    assert_eq!(read, written[6..]);
    store.tamper(&named.key, Some(whole));
    let read = read_on(&archive, &manifest, 0, ALL)
        .await
        .expect("repaired");
    assert_eq!(read, written);
}

#[tokio::test]
async fn what_is_cut_off_spares_what_is_before() {
    let (store, manifest, written, archive) = cold(1, 12).await;
    archive.batches(&manifest, 0, 1).await.expect("read");
    let named = &manifest.chunks[0];
    let whole = store.objects()[&named.key].clone();
    let index = usize::try_from(named.chunk.index_position).expect("small");
    // Within the fourth of six members.
    store.tamper(&named.key, Some(whole.slice(..index * 7 / 12)));
    let read = archive.batches(&manifest, 20, 1).await.expect("read alone");
    assert_eq!(read, written[2..3]);
    let why = archive.batches(&manifest, 80, 1).await.expect_err("cut");
    assert!(matches!(why, Error::Damaged { .. }), "{why}");
}

#[tokio::test]
async fn what_is_gone_is_missing() {
    let (store, manifest, _, archive) = cold(1, 4).await;
    store.tamper(&manifest.chunks[0].key, None);
    let why = archive.batches(&manifest, 0, 1).await.expect_err("gone");
    assert!(matches!(&why, Error::Missing { key } if *key == manifest.chunks[0].key));
    store.tamper(&manifest.key(), None);
    let why = archive.manifest(&manifest.name()).await.expect_err("gone");
    assert!(matches!(&why, Error::Missing { key } if *key == manifest.key()));
    assert!(!why.retriable());
}

#[tokio::test]
async fn a_manifest_that_is_not_its_own_is_damaged() {
    let (store, manifest, _, archive) = cold(1, 4).await;
    let other = snapshot(&store, &source(2), 1, 4).await;
    let mut bent = manifest.encode().to_vec();
    bent[40] ^= 1;
    for bytes in [bent.into(), other.encode(), Bytes::new()] {
        store.tamper(&manifest.key(), Some(bytes));
        let why = archive.manifest(&manifest.name()).await;
        let why = why.expect_err("damaged");
        assert!(matches!(&why, Error::Damaged { key, .. } if *key == manifest.key()));
    }
    store.tamper(&manifest.key(), Some(manifest.encode()));
    archive.manifest(&manifest.name()).await.expect("repaired");
}

/// A chunk that is held for one partition is not answered to another that names the same object.
#[tokio::test]
async fn another_partition_does_not_get_what_is_held() {
    let (_, manifest, _, archive) = cold(1, 4).await;
    archive.batches(&manifest, 0, ALL).await.expect("read");
    let mut foreign = manifest.clone();
    foreign.source.cluster_id = "another".to_owned();
    let why = archive.batches(&foreign, 0, ALL).await;
    assert!(matches!(why, Err(Error::Damaged { .. })));
    let mut changed = manifest.clone();
    changed.chunks[0].chunk.raw_sha256.0[0] ^= 1;
    let why = archive.batches(&changed, 0, ALL).await;
    assert!(matches!(why, Err(Error::Damaged { .. })));
}

/// Whatever a manifest declares, nothing of that size is asked for or reserved.
#[tokio::test]
async fn absurd_lengths_are_refused_before_they_are_believed() {
    let (store, manifest, _, archive) = cold(1, 4).await;
    let absurd = |change: fn(&mut crate::chunk::Summary)| {
        let mut manifest = manifest.clone();
        change(&mut manifest.chunks[0].chunk);
        manifest
    };
    let refused = [
        absurd(|chunk| chunk.stored_bytes = u64::MAX),
        absurd(|chunk| chunk.index_position = u64::MAX),
        absurd(|chunk| chunk.index_position = chunk.stored_bytes),
        absurd(|chunk| chunk.stored_bytes = chunk.index_position + (32 << 20) + 1),
    ];
    for manifest in &refused {
        let why = archive.batches(manifest, 0, 1).await.expect_err("absurd");
        assert!(matches!(why, Error::Damaged { .. }), "{why}");
    }
    assert_eq!(store.requests(), [], "nobody was asked");
    let raw = absurd(|chunk| chunk.raw_bytes = u64::MAX);
    let why = archive.batches(&raw, 0, 1).await.expect_err("absurd");
    assert!(matches!(why, Error::Damaged { .. }), "{why}");
}

/// X24: a store that is down is no reason to go anywhere else.
#[tokio::test]
async fn x24_while_the_store_is_down_a_read_can_be_tried_again() {
    let (store, manifest, written, archive) = cold(2, 6).await;
    store.fail(0, Fault::Dead);
    let why = archive.manifest(&manifest.name()).await.expect_err("down");
    assert!(matches!(why, Error::Unavailable { .. }) && why.retriable());
    for offset in [0, 30, 119] {
        let why = archive.batches(&manifest, offset, 1).await;
        let why = why.expect_err("down");
        assert!(matches!(why, Error::Unavailable { .. }) && why.retriable());
        let why = archive.at_time(&manifest, 1_000, offset).await;
        assert!(why.expect_err("down").retriable());
    }
    store.heal();
    let read = read_on(&archive, &manifest, 0, ALL).await.expect("healed");
    assert_eq!(read, written);
    // What is held needs no store.
    store.fail(0, Fault::Dead);
    let read = read_on(&archive, &manifest, 0, ALL).await.expect("held");
    assert_eq!(read, written);
}

/// Whichever request fails, trying again reads what was written.
#[tokio::test]
async fn whichever_request_fails_the_next_try_succeeds() {
    let (store, manifest, written, first) = cold(2, 12).await;
    read_on(&first, &manifest, 0, 1).await.expect("read");
    let requests = store.requests().len();
    assert!(requests > 5);
    for number in 0..requests {
        store.fail(number, Fault::Refused);
        let archive = archive(&store, Config::default());
        let why = read_on(&archive, &manifest, 0, 1).await;
        assert!(why.expect_err("refused").retriable());
        let read = read_on(&archive, &manifest, 0, 1).await.expect("read");
        assert_eq!(read, written);
    }
}
