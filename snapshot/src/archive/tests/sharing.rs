//! Many readers at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::gated::Gated;
use super::{ALL, cold, read_on};
use crate::archive::{Archive, Config, Error};
use crate::manifest::Manifest;
use crate::store::memory::Fault;

/// An archive behind a gate, with the index of the first chunk read.
async fn gated() -> (Gated, Manifest, Vec<bytes::Bytes>, Arc<Archive>) {
    let (store, manifest, written, _) = cold(1, 12).await;
    let gated = Gated::new(store);
    let archive = Arc::new(Archive::new(Arc::new(gated.clone()), Config::default()));
    gated.let_through(2);
    archive.batches(&manifest, 0, 1).await.expect("read");
    (gated, manifest, written, archive)
}

/// Polls once, without anybody to wake.
fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn many_readers_of_one_member_make_one_request() {
    let (gated, manifest, written, archive) = gated().await;
    let mut readers: Vec<_> = (0..10)
        .map(|_| Box::pin(archive.batches(&manifest, 65, 1)))
        .collect();
    for reader in &mut readers {
        assert!(poll(reader).is_pending());
    }
    gated.until_asked(3).await;
    gated.let_through(100);
    // The first one began it, and is the last one to be polled again.
    for reader in readers.into_iter().rev() {
        assert_eq!(reader.await.expect("read"), written[6..7]);
    }
    assert_eq!((gated.asked(), archive.figures().joined), (3, 9));
}

#[tokio::test]
async fn who_wants_what_is_read_ahead_waits_for_it() {
    let (gated, manifest, written, archive) = gated().await;
    // The first member is held, so this reads the second one to the fifth.
    let mut ahead = Box::pin(archive.batches(&manifest, 20, 1));
    assert!(poll(&mut ahead).is_pending());
    let mut joins = Box::pin(archive.batches(&manifest, 99, 1));
    assert!(poll(&mut joins).is_pending());
    gated.until_asked(3).await;
    gated.let_through(100);
    assert_eq!(joins.await.expect("read"), written[9..10]);
    assert_eq!(ahead.await.expect("read"), written[2..3]);
    assert_eq!((gated.asked(), archive.figures().joined), (3, 1));
}

#[tokio::test]
async fn when_a_reader_gives_up_what_he_began_goes_on() {
    let (gated, manifest, written, archive) = gated().await;
    let mut gives_up = Box::pin(archive.batches(&manifest, 20, 1));
    assert!(poll(&mut gives_up).is_pending());
    let mut joins = Box::pin(archive.batches(&manifest, 40, 1));
    assert!(poll(&mut joins).is_pending());
    gated.until_asked(3).await;
    drop(gives_up);
    gated.let_through(100);
    assert_eq!(joins.await.expect("read"), written[4..5]);
    let read = archive.batches(&manifest, 20, 1).await.expect("held");
    assert_eq!(read, written[2..3]);
    assert_eq!(gated.asked(), 3);
}

#[test]
fn without_a_runtime_another_reader_takes_over() {
    let making = tokio::runtime::Builder::new_current_thread().build();
    let (gated, manifest, written, archive) = making.expect("a runtime").block_on(gated());
    let mut gives_up = Box::pin(archive.batches(&manifest, 20, 1));
    assert!(poll(&mut gives_up).is_pending());
    let mut joins = Box::pin(archive.batches(&manifest, 40, 1));
    assert!(poll(&mut joins).is_pending());
    assert_eq!(gated.asked(), 3);
    drop(gives_up);
    assert!(poll(&mut joins).is_pending());
    assert_eq!(gated.asked(), 4);
    gated.let_through(2);
    let Poll::Ready(read) = poll(&mut joins) else {
        panic!("it was let through");
    };
    assert_eq!(read.expect("read"), written[4..5]);
}

#[tokio::test]
async fn an_error_is_told_to_all_who_wait_and_not_held() {
    let (gated, manifest, written, archive) = gated().await;
    let mut readers: Vec<_> = (0..4)
        .map(|_| Box::pin(archive.batches(&manifest, 65, 1)))
        .collect();
    for reader in &mut readers {
        assert!(poll(reader).is_pending());
    }
    gated.until_asked(3).await;
    gated.store.fail(0, Fault::Refused);
    gated.let_through(1);
    for reader in readers {
        let why = reader.await.expect_err("refused");
        assert!(matches!(why, Error::Unavailable { .. }) && why.retriable());
    }
    gated.let_through(100);
    let read = archive.batches(&manifest, 65, 1).await.expect("healed");
    assert_eq!(read, written[6..7]);
}

#[test]
fn without_a_runtime_it_reads_at_once() {
    let making = tokio::runtime::Builder::new_current_thread().build();
    let (_, manifest, written, archive) = making.expect("a runtime").block_on(cold(2, 12));
    let mut reading = Box::pin(read_on(&archive, &manifest, 0, ALL));
    let Poll::Ready(read) = poll(&mut reading) else {
        panic!("there is nothing to wait for");
    };
    assert_eq!(read.expect("read"), written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_on_many_threads_read_what_was_written() {
    let (store, manifest, written, _) = cold(3, 12).await;
    let config = Config {
        cache_bytes: 6_000,
        ..Config::default()
    };
    let archive = Arc::new(Archive::new(Arc::new(store), config));
    let shared = Arc::new((manifest, written));
    let readers = (0..16).map(|number: i64| {
        let (archive, shared) = (archive.clone(), shared.clone());
        tokio::spawn(async move {
            let (manifest, written) = &*shared;
            let read = read_on(&archive, manifest, number * 20, 500).await;
            let from = usize::try_from(number * 2).expect("small");
            assert_eq!(read.expect("read"), written[from..]);
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.expect("no panic");
    }
    assert!(archive.figures().held_bytes <= 6_000);
}
