mod damage;
mod gated;
mod sharing;

use std::sync::Arc;

use bytes::Bytes;
use protocol::record_batch::BatchHeader;

use super::{Archive, Config, Error, Figures};
use crate::manifest::Manifest;
use crate::store::memory::Memory;
use crate::testing::{batches, empty_manifest, put_chunk, put_manifest, snapshot, source};

const ALL: u64 = u64::MAX;

fn archive(store: &Memory, config: Config) -> Archive {
    Archive::new(Arc::new(store.clone()), config)
}

/// A cold archive over a snapshot, and the batches that are in it.
async fn cold(chunks: usize, batches_each: usize) -> (Memory, Manifest, Vec<Bytes>, Archive) {
    let store = Memory::default();
    let manifest = snapshot(&store, &source(1), chunks, batches_each).await;
    store.fail(usize::MAX, crate::store::memory::Fault::Refused);
    let archive = archive(&store, Config::default());
    let written = batches(0, chunks * batches_each, 1);
    (store, manifest, written, archive)
}

fn last_offset(batches: &[Bytes]) -> i64 {
    let last = batches.last().expect("at least one");
    BatchHeader::parse(last).expect("a batch").last_offset()
}

/// From an offset to the end, as a consumer reads.
async fn read_on(
    archive: &Archive,
    manifest: &Manifest,
    mut offset: i64,
    max_bytes: u64,
) -> Result<Vec<Bytes>, Error> {
    let mut all = Vec::new();
    while offset < manifest.next_offset {
        let read = archive.batches(manifest, offset, max_bytes).await?;
        if read.is_empty() {
            break;
        }
        offset = last_offset(&read) + 1;
        all.extend(read);
    }
    Ok(all)
}

#[tokio::test]
async fn from_every_offset_what_was_written_is_read() {
    let (_, manifest, written, archive) = cold(3, 12).await;
    for offset in 0..manifest.next_offset {
        let from = usize::try_from(offset).expect("small") / 10;
        let read = read_on(&archive, &manifest, offset, ALL).await;
        assert_eq!(read.expect("read"), written[from..], "from {offset}");
    }
}

#[tokio::test]
async fn no_more_bytes_than_wanted_and_at_least_one_batch() {
    let (_, manifest, written, archive) = cold(2, 12).await;
    let one = written[0].len() as u64;
    for max_bytes in [0, 1, one - 1, one, 2 * one, 3 * one + 7, 8 * one, 40 * one] {
        for offset in 0..manifest.next_offset {
            let read = archive.batches(&manifest, offset, max_bytes).await;
            let read = read.expect("read");
            let bytes: u64 = read.iter().map(|batch| batch.len() as u64).sum();
            assert!(
                bytes <= max_bytes || read.len() == 1,
                "{bytes} of {max_bytes}"
            );
            let first = BatchHeader::parse(&read[0]).expect("a batch");
            assert_eq!(first.base_offset, offset / 10 * 10);
        }
        let all = read_on(&archive, &manifest, 0, max_bytes).await;
        assert_eq!(all.expect("read"), written);
    }
    // With everything held, as much as there is room for.
    let read = archive.batches(&manifest, 0, 7 * one + 20).await;
    let read = read.expect("read");
    let bytes: u64 = read.iter().map(|batch| batch.len() as u64).sum();
    assert!(bytes > 6 * one, "{bytes}");
    let all = archive.batches(&manifest, 0, ALL).await.expect("read");
    assert_eq!(all, written, "over the end of a chunk too");
}

#[tokio::test]
async fn what_the_manifest_does_not_hold_is_out_of_range() {
    let store = Memory::default();
    let mut manifest = empty_manifest(&source(1));
    (manifest.log_start, manifest.next_offset) = (105, 100);
    put_chunk(&store, &mut manifest, &batches(100, 3, 1), 130).await;
    let archive = archive(&store, Config::default());
    for offset in [i64::MIN, -1, 0, 99, 130, i64::MAX] {
        let error = archive.batches(&manifest, offset, 10).await;
        let error = error.expect_err("not there");
        assert!(
            matches!(
                error,
                Error::OutOfRange { offset: asked, first_offset: 100, next_offset: 130, .. }
                    if asked == offset
            ),
            "{error}"
        );
        assert!(!error.retriable());
    }
    archive.batches(&manifest, 100, 10).await.expect("there");
    archive.batches(&manifest, 129, 10).await.expect("there");
    assert_eq!(archive.figures().misses, 3, "the index and two members");
    let nothing = empty_manifest(&source(1));
    archive.batches(&nothing, 0, 10).await.expect_err("empty");
}

/// Compaction leaves holes: inside of a chunk, at its beginning, and at its end.
#[tokio::test]
async fn over_a_hole_the_next_batch_is_read() {
    let store = Memory::default();
    let mut manifest = empty_manifest(&source(1));
    let first = [batches(20, 4, 1), batches(100, 4, 1)].concat();
    put_chunk(&store, &mut manifest, &first, 200).await;
    let second = batches(250, 2, 1);
    put_chunk(&store, &mut manifest, &second, 400).await;
    put_manifest(&store, &manifest).await;
    let archive = archive(&store, Config::default());
    let cases = [
        (0, 20),
        (25, 20),
        (60, 100),
        (99, 100),
        (139, 130),
        (140, 250),
        (199, 250),
        (200, 250),
        (269, 260),
    ];
    for (offset, found) in cases {
        let read = archive.batches(&manifest, offset, 1).await.expect("read");
        let header = BatchHeader::parse(&read[0]).expect("a batch");
        assert_eq!(header.base_offset, found, "from {offset}");
    }
    for offset in [270, 399] {
        let read = archive.batches(&manifest, offset, 1).await.expect("read");
        assert!(read.is_empty(), "nothing is left from {offset} on");
    }
    let all = read_on(&archive, &manifest, 0, ALL).await.expect("read");
    assert_eq!(all, [first, second].concat());
}

/// A record's time is its offset and a second.
#[tokio::test]
async fn the_first_record_of_a_time_is_among_what_is_found() {
    let (_, manifest, written, archive) = cold(2, 12).await;
    for offset in 0..manifest.next_offset {
        let at = usize::try_from(offset).expect("small") / 10;
        let found = archive.at_time(&manifest, 1_000 + offset, 0).await;
        let (batches, next) = found.expect("read").expect("promised");
        assert_eq!(batches[0], written[at]);
        assert_eq!(last_offset(&batches) + 1, next);
        // From there on, the first that is not earlier; the time is reached by all of them.
        let found = archive.at_time(&manifest, 0, offset).await;
        assert_eq!(found.expect("read").expect("promised").0[0], written[at]);
    }
    let late = archive
        .at_time(&manifest, 1_000 + manifest.next_offset, 0)
        .await;
    assert_eq!(late.expect("read"), None);
    let beyond = archive.at_time(&manifest, 0, manifest.next_offset).await;
    assert_eq!(beyond.expect("read"), None);
}

/// Whoever goes on where he is told to sees every batch that promises the time, once.
#[tokio::test]
async fn a_search_by_time_can_be_gone_on_with() {
    let (_, manifest, written, archive) = cold(2, 12).await;
    let (mut from, mut seen) = (0, Vec::new());
    while let Some((batches, next)) = archive.at_time(&manifest, 1_055, from).await.expect("read") {
        assert!(next > from);
        from = next;
        seen.extend(batches);
    }
    assert_eq!(seen, written[5..]);
}

#[tokio::test]
async fn what_is_held_is_not_asked_for_again() {
    let (store, manifest, written, archive) = cold(2, 12).await;
    let read_manifest = archive.manifest(&manifest.name()).await.expect("read");
    assert_eq!(*read_manifest, manifest);
    archive.batches(&manifest, 0, 1).await.expect("read");
    // The manifest, the index, and one member: nobody reads on yet.
    assert_eq!(store.requests().len(), 3);
    let before = archive.figures();
    let held = Figures {
        hits: 0,
        misses: 3,
        joined: 0,
        requests: 3,
        ..before
    };
    assert_eq!(before, held);
    for _ in 0..3 {
        archive.manifest(&manifest.name()).await.expect("held");
        archive.batches(&manifest, 0, 1).await.expect("held");
    }
    let after = Figures { hits: 9, ..before };
    assert_eq!(archive.figures(), after);
    let all = read_on(&archive, &manifest, 0, 1).await.expect("read");
    assert_eq!(all, written);
    assert_eq!(archive.figures().requests, store.requests().len() as u64);
}

/// Twelve batches are six members.
#[tokio::test]
async fn who_reads_on_gets_several_members_with_one_request() {
    let (store, manifest, _, archive) = cold(3, 12).await;
    read_on(&archive, &manifest, 0, 1).await.expect("read");
    let sequential = store.requests().len();
    // Of the first chunk the index, a member, four more, and the last; of the others the index, four, two.
    assert_eq!(sequential, 4 + 3 + 3);
    let one_by_one = Config {
        readahead_members: 0,
        ..Config::default()
    };
    let archive = super::Archive::new(Arc::new(store.clone()), one_by_one);
    read_on(&archive, &manifest, 0, 1).await.expect("read");
    assert_eq!(store.requests().len() - sequential, 3 * (1 + 6));
}

#[tokio::test]
async fn who_wants_much_gets_several_members_with_one_request() {
    let (store, manifest, written, archive) = cold(1, 12).await;
    let read = archive.batches(&manifest, 0, ALL).await.expect("read");
    assert_eq!(store.requests().len(), 2);
    assert_eq!(read, written[..8], "four members of two batches");
}

#[tokio::test]
async fn the_cache_keeps_its_bound() {
    for cache_bytes in [0, 600, 3_000, 6_000, 12_000] {
        let (store, manifest, written, _) = cold(3, 12).await;
        let config = Config {
            cache_bytes,
            readahead_members: 4,
        };
        let archive = archive(&store, config);
        for step in [1, 7, 11] {
            for at in 0..manifest.next_offset {
                let offset = at * step % manifest.next_offset;
                let from = usize::try_from(offset).expect("small") / 10;
                let read = archive.batches(&manifest, offset, 1).await.expect("read");
                assert_eq!(read, written[from..=from]);
                archive.manifest(&manifest.name()).await.expect("read");
                let held = archive.figures().held_bytes;
                assert!(held <= cache_bytes, "{held} of {cache_bytes}");
            }
        }
        let figures = archive.figures();
        assert!(cache_bytes < 3_000 || figures.held_bytes > cache_bytes / 3);
        assert!(figures.misses > 100, "something was evicted: {figures:?}");
        assert_eq!(figures.hits > 0, cache_bytes >= 6_000, "{figures:?}");
    }
}

/// What was used goes last.
#[tokio::test]
async fn what_was_used_the_longest_ago_goes_first() {
    let (store, manifest, _, _) = cold(1, 12).await;
    // The index and about three members.
    let config = Config {
        cache_bytes: 8_000,
        readahead_members: 1,
    };
    let archive = archive(&store, config);
    for offset in [0, 20, 0, 40, 0, 60, 0, 80, 0, 100, 0] {
        archive.batches(&manifest, offset, 1).await.expect("read");
    }
    let figures = archive.figures();
    assert!(figures.held_bytes > 4_000, "{figures:?}");
    // The index and six members, each once.
    assert_eq!((figures.misses, figures.requests), (7, 7));
    archive.batches(&manifest, 20, 1).await.expect("read");
    assert_eq!(archive.figures().requests, 8, "evicted meanwhile");
}
