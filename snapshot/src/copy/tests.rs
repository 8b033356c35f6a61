use std::cell::RefCell;

use super::*;
use crate::chunk::{Config, Writer};
use crate::key;
use crate::source::Incarnation;
use crate::store::memory::Memory;
use crate::testing::{batches, chunk_of, empty_manifest, put_manifest, snapshot, source};

/// A donor that reads a store, in pieces as small as they may be.
struct Other {
    store: Memory,
    /// Bit that it flips in the piece with this number.
    flip: RefCell<Option<(usize, usize)>>,
}

impl Other {
    fn of(store: &Memory) -> Self {
        Self {
            store: store.clone(),
            flip: RefCell::default(),
        }
    }
}

impl Donor for Other {
    fn name(&self) -> String {
        "broker 2".to_owned()
    }

    async fn piece(&self, key: &Key, position: u64, length: usize) -> Result<Piece, NoPiece> {
        let objects = self.store.objects();
        let all = objects.get(key).ok_or(NoPiece::NotThere)?;
        let start = usize::try_from(position).expect("small").min(all.len());
        let end = start.saturating_add(length).min(all.len());
        let mut bytes = all[start..end].to_vec();
        if let Some((number, bit)) = &mut *self.flip.borrow_mut() {
            if *number == 0 {
                let bit = *bit % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            *number = number.wrapping_sub(1);
        }
        Ok(Piece {
            total: all.len() as u64,
            bytes: bytes.into(),
        })
    }
}

async fn fetch(donor: &Other, own: &Memory, of: &Manifest) -> Result<(), Error> {
    let identity = of.identity();
    let found = manifest(donor, &of.name(), identity).await?;
    assert_eq!(found, *of);
    for named in &found.chunks {
        chunk(donor, own, &of.source, named, &of.leader_epochs).await?;
    }
    Ok(())
}

#[tokio::test]
async fn everything_that_a_manifest_names_comes_over() {
    let (theirs, own) = (Memory::default(), Memory::default());
    let manifest = snapshot(&theirs, &source(1), 3, 8).await;
    fetch(&Other::of(&theirs), &own, &manifest)
        .await
        .expect("all of it");
    put_manifest(&own, &manifest).await;
    assert_eq!(own.objects(), theirs.objects());
    for named in &manifest.chunks {
        assert!(
            is_as_written(&own, &named.key, &named.chunk)
                .await
                .expect("readable")
        );
        assert!(
            has_index(&own, &manifest.source, named)
                .await
                .expect("readable")
        );
    }
}

/// Whatever a donor, or the way, does to a piece: nothing else gets the name of a chunk.
#[tokio::test]
async fn a_piece_that_is_not_what_was_committed_is_not_taken() {
    let theirs = Memory::default();
    let manifest = snapshot(&theirs, &source(1), 1, 8).await;
    let (mut refused, mut number) = (0, 0);
    loop {
        let mut is_over = false;
        for bit in [0, 77, 1001, 100_003] {
            let (own, donor) = (Memory::default(), Other::of(&theirs));
            *donor.flip.borrow_mut() = Some((number, bit));
            let outcome = fetch(&donor, &own, &manifest).await;
            is_over = donor
                .flip
                .borrow()
                .is_some_and(|(left, _)| left < usize::MAX / 2);
            if is_over {
                outcome.expect("nothing was flipped");
                break;
            }
            let why = outcome.expect_err("a bit was flipped");
            assert!(matches!(why, Error::Wrong { .. }), "{number} {bit}: {why}");
            assert!(own.objects().is_empty(), "{number} {bit}");
            refused += 1;
        }
        if is_over {
            break;
        }
        number += 1;
    }
    assert!(refused >= 20, "manifest, index and members: {refused}");
}

#[tokio::test]
async fn a_donor_without_it_says_so() {
    let (theirs, own) = (Memory::default(), Memory::default());
    let manifest = snapshot(&theirs, &source(1), 2, 4).await;
    theirs.tamper(&manifest.chunks[1].key, None);
    let why = fetch(&Other::of(&theirs), &own, &manifest).await;
    assert!(matches!(why, Err(Error::NotThere { .. })), "{why:?}");
    theirs.tamper(&manifest.key(), None);
    let why = fetch(&Other::of(&theirs), &own, &manifest).await;
    assert!(matches!(why, Err(Error::NotThere { .. })), "{why:?}");
}

/// X17: two compressors, one chunk. Each copy has its own length and checksum, and both manifests are the committed one.
#[tokio::test]
async fn copies_of_two_compressors_are_the_same_and_come_over_as_they_are() {
    let of = source(1);
    let batches = batches(0, 40, 1);
    let with = |level| {
        let config = Config {
            member_bytes: 1000,
            level,
        };
        let (finished, stored) = chunk_of(config, &of, &batches);
        let named = Chunk {
            key: key::chunk(&of, Incarnation(1), 0, 1, 77),
            chunk: finished.summary,
        };
        let mut manifest = empty_manifest(&of);
        manifest.next_offset = named.chunk.next_offset;
        manifest.chunks.push(named);
        (manifest, stored)
    };
    let (fast, fast_bytes) = with(1);
    let (small, small_bytes) = with(9);
    assert_ne!(fast_bytes, small_bytes, "the compressors differ");
    assert_ne!(fast, small);
    assert_eq!(fast.identity(), small.identity());

    let theirs = Memory::default();
    theirs.tamper(&small.chunks[0].key, Some(small_bytes.clone()));
    put_manifest(&theirs, &small).await;
    let own = Memory::default();
    let found = manifest(&Other::of(&theirs), &fast.name(), fast.identity()).await;
    let found = found.expect("it is the same");
    let named = &found.chunks[0];
    let came = chunk(&Other::of(&theirs), &own, &of, named, &found.leader_epochs).await;
    came.expect("verified by what it inflates to");
    assert_eq!(own.objects()[&named.key], small_bytes);

    // And what is not the same has another identity, whatever the difference is.
    let (mut other, _) = with(1);
    other.chunks[0].chunk.raw_sha256 = Digest::of(b"other records");
    assert_ne!(other.identity(), fast.identity());
    let (mut other, _) = with(1);
    other.state = "another state".into();
    assert_ne!(other.identity(), fast.identity());
}

#[tokio::test]
async fn a_copy_that_the_disk_did_not_keep_is_seen() {
    let store = Memory::default();
    let manifest = snapshot(&store, &source(1), 1, 8).await;
    let named = &manifest.chunks[0];
    let whole = store.objects()[&named.key].clone();
    let written = || async {
        let read = is_as_written(&store, &named.key, &named.chunk).await;
        read.expect("readable")
    };
    for bit in [0, 1001, whole.len() * 8 - 1] {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        store.tamper(&named.key, Some(bytes.into()));
        assert!(!written().await, "bit {bit}");
    }
    store.tamper(&named.key, Some(whole.slice(..whole.len() - 1)));
    assert!(!written().await, "cut off");
    store.tamper(&named.key, Some([&whole[..], b"x"].concat().into()));
    assert!(!written().await, "longer");
    store.tamper(&named.key, None);
    assert!(!written().await, "gone");
    assert!(
        !has_index(&store, &manifest.source, named)
            .await
            .expect("readable")
    );
    store.tamper(&named.key, Some(whole));
    assert!(written().await, "as it was");
}

#[test]
fn a_writer_of_another_level_makes_the_same_members() {
    let of = source(1);
    let raw = |level| {
        let config = Config {
            member_bytes: 1000,
            level,
        };
        let mut writer = Writer::new(config, of.clone(), Incarnation(1), 0);
        for batch in batches(0, 9, 1) {
            writer.push(&batch).expect("it continues");
        }
        writer.finish(90).summary
    };
    assert_eq!(raw(1).as_of_any(), raw(6).as_of_any());
}
