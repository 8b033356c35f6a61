//! Copies of each replica's own: made from the own log, fetched where that no longer has the records, and never half.

use std::collections::BTreeSet;

use snapshot::copy::{Donor, NoPiece, Piece};
use snapshot::key::Key;
use snapshot::manifest::Manifest;
use snapshot::store::Store as _;

use super::*;
use crate::shard::Holding;
use crate::snapshots::own::bring::{Bring, Brought, Error as NotBrought};
use crate::snapshots::own::peer::{Asked, decode_piece, encode_piece};

/// Another replica: its own copies are in this store.
struct Other(Memory);

impl Donor for Other {
    fn name(&self) -> String {
        "the leader".to_owned()
    }

    /// Over the wire, as it were.
    async fn piece(&self, key: &Key, position: u64, length: usize) -> Result<Piece, NoPiece> {
        let asked = Asked {
            group: GROUP,
            position,
            length,
            key: key.clone(),
        };
        let asked = Asked::decode(&asked.encode()).expect("it is bounded");
        let objects = self.0.objects();
        let piece = objects.get(&asked.key).map(|all| {
            let start = usize::try_from(asked.position)
                .expect("small")
                .min(all.len());
            let end = (start + asked.length).min(all.len());
            Piece {
                total: all.len() as u64,
                bytes: all.slice(start..end),
            }
        });
        decode_piece(&encode_piece(piece.as_ref()))
    }
}

/// A leader with so many batches that has taken a snapshot of them.
async fn led(batches: u64) -> (Partition, Memory, Stored) {
    let (mut leader, store) = (Partition::new(batches), Memory::default());
    leader.is_own = true;
    let taken = leader.take(&archive(&store).await, None).await;
    let stored = taken.expect("taken").stored;
    assert!(stored.identity.is_some());
    (leader, store, stored)
}

fn holding(stored: Stored, before: Option<Stored>, local_start: i64) -> Holding {
    Holding {
        group: GROUP,
        replica: REPLICA,
        stored,
        before,
        local_start,
    }
}

async fn bring(
    follower: &Partition,
    archive: &Archive,
    donors: &[Other],
    holding: &Holding,
    suspects: &BTreeSet<Key>,
) -> Result<Brought, NotBrought> {
    let source = subject().source;
    let bring = Bring {
        archive,
        reader: follower.log.reader(),
        source: &source,
        incarnation: Incarnation(1),
        holding,
        suspects,
        donors,
        place: Place::Here,
        has_room: &|| true,
    };
    bring.run().await
}

fn cold(store: &Memory) -> Archive {
    Archive::new(Arc::new(store.clone()), archive::Config::default())
}

/// The chunks in a store.
fn chunks(store: &Memory) -> Vec<Key> {
    let keys = store.objects().into_keys();
    keys.filter(|key| key.as_str().ends_with(".gz")).collect()
}

#[tokio::test]
async fn a_follower_makes_the_same_from_its_own_log() {
    let (mut leader, theirs, first) = led(20).await;
    let (mut follower, own) = (Partition::new(20), Memory::default());
    let donors = [Other(theirs.clone())];
    let archive = archive(&own).await;
    let none = BTreeSet::new();
    let brought = bring(
        &follower,
        &archive,
        &donors,
        &holding(first, None, 0),
        &none,
    )
    .await;
    assert_eq!(
        brought.expect("made"),
        Brought::default(),
        "nothing came from elsewhere"
    );
    assert_eq!(own.objects(), theirs.objects(), "by the same compressor");
    assert_eq!(read_all(&archive, &first).await, expected(&follower));

    leader.append(13);
    follower.append(13);
    let second = leader.take(&cold(&theirs), Some(first)).await;
    let second = second.expect("taken").stored;
    let next = holding(second, Some(first), 0);
    let brought = bring(&follower, &archive, &donors, &next, &none).await;
    assert_eq!(brought.expect("made"), Brought::default());
    assert_eq!(read_all(&archive, &second).await, expected(&follower));
    // Again, as after a start: nothing is written.
    own.fail(usize::MAX, Fault::Refused);
    let again = bring(
        &follower,
        &cold(&own),
        &[],
        &holding(second, None, 0),
        &none,
    )
    .await;
    assert_eq!(again.expect("it is here"), Brought::default());
    let is_write = |request: &_| !matches!(request, snapshot::store::memory::Request::Get(_));
    assert!(!own.requests().iter().any(is_write), "{:?}", own.requests());
}

#[tokio::test]
async fn what_the_log_has_no_longer_comes_from_another_replica() {
    let (_, theirs, stored) = led(20).await;
    // Its log begins behind everything.
    let (follower, own) = (Partition::new(0), Memory::default());
    let archive = archive(&own).await;
    let none = BTreeSet::new();
    let wanted = holding(stored, None, stored.next_offset);
    let alone = bring(&follower, &archive, &[], &wanted, &none).await;
    assert!(matches!(alone, Err(NotBrought::Lost { .. })), "{alone:?}");
    let empty = [Other(Memory::default())];
    let nowhere = bring(&follower, &archive, &empty, &wanted, &none).await;
    assert!(
        matches!(nowhere, Err(NotBrought::Lost { .. })),
        "{nowhere:?}"
    );

    let donors = [Other(Memory::default()), Other(theirs.clone())];
    let brought = bring(&follower, &archive, &donors, &wanted, &none)
        .await
        .expect("fetched");
    assert_eq!(brought.fetched, chunks(&theirs).len() as u64);
    assert_eq!(own.objects(), theirs.objects());
    let all: Vec<Bytes> = (1..=20).map(stored_batch).collect();
    assert_eq!(read_all(&archive, &stored).await, all);
}

/// A log that says something else is told by the chunk, and nothing is written over anything.
#[tokio::test]
async fn a_log_that_differs_is_found_and_touches_nothing() {
    let (leader, theirs, stored) = led(20).await;
    let own = Memory::default();
    let archive = archive(&own).await;
    let mut follower = Partition::new(19);
    // One record of the last batch is another one; its checksum is right.
    let mut builder = BatchBuilder::new();
    for number in 0..RECORDS {
        builder.value(200 + number, b"something else");
    }
    let mut bytes = BytesMut::from(&builder.build()[..]);
    patch(&mut bytes, 19 * RECORDS, 1);
    let entry = Entry {
        index: Index(20),
        term: Term(1),
        kind: EntryKind::Records,
        payload: bytes.freeze(),
    };
    let (group, replica, entries) = (GROUP, REPLICA, vec![entry]);
    let written = follower.log.write(vec![Record::Entries {
        group,
        replica,
        entries,
    }]);
    written.expect("written");
    let before = own.objects();
    let donors = [Other(theirs.clone())];
    let outcome = bring(
        &follower,
        &archive,
        &donors,
        &holding(stored, None, 0),
        &BTreeSet::new(),
    )
    .await;
    let why = outcome.expect_err("it differs");
    let NotBrought::Differs { next_offset, .. } = &why else {
        panic!("{why}");
    };
    assert_eq!(*next_offset, leader.end());
    let manifest = name_of(&subject().source, &stored).key();
    assert!(!own.objects().contains_key(&manifest), "it is not held");
    let last = chunks(&theirs).pop().expect("several");
    assert!(
        !own.objects().contains_key(&last),
        "what differs has no name"
    );
    assert!(before.keys().all(|key| own.objects().contains_key(key)));
}

#[tokio::test]
async fn what_the_disk_did_not_keep_is_brought_back() {
    let (_, theirs, stored) = led(20).await;
    let (follower, own) = (Partition::new(20), Memory::default());
    let donors = [Other(theirs.clone())];
    let none = BTreeSet::new();
    let made = bring(
        &follower,
        &archive(&own).await,
        &donors,
        &holding(stored, None, 0),
        &none,
    )
    .await;
    made.expect("made");
    let victim = chunks(&own)[1].clone();
    let whole = own.objects()[&victim].clone();
    // From the log, and where that is gone from the other one.
    for (local_start, fetched) in [(0, 0), (stored.next_offset, 1)] {
        let wanted = holding(stored, Some(stored), local_start);
        own.tamper(&victim, None);
        let brought = bring(&follower, &cold(&own), &donors, &wanted, &none).await;
        let brought = brought.expect("brought back");
        assert_eq!((brought.damaged, brought.fetched), (1, fetched));
        assert_eq!(own.objects()[&victim], whole);
        // A bit within a member is found by who reads it, and then looked for.
        let mut flipped = whole.to_vec();
        flipped[20] ^= 1;
        own.tamper(&victim, Some(flipped.into()));
        let suspects = BTreeSet::from([victim.clone()]);
        let brought = bring(&follower, &cold(&own), &donors, &wanted, &suspects).await;
        let brought = brought.expect("brought back");
        assert_eq!((brought.damaged, brought.fetched), (1, fetched));
        assert_eq!(own.objects()[&victim], whole);
        let brought = bring(&follower, &cold(&own), &donors, &wanted, &suspects).await;
        assert_eq!(brought.expect("nothing was wrong"), Brought::default());
    }
    // A manifest that is damaged is fetched, and the chunks that are here stay.
    let name = name_of(&subject().source, &stored).key();
    own.tamper(&name, Some("{}".into()));
    let gone = holding(stored, None, stored.next_offset);
    let brought = bring(&follower, &cold(&own), &donors, &gone, &none).await;
    assert_eq!(brought.expect("brought back"), Brought::default());
    assert_eq!(own.objects(), theirs.objects());
}

/// Whatever fails when: a manifest that is here speaks of what is here, and the next try succeeds.
#[tokio::test]
async fn a_fault_at_any_request_leaves_nothing_that_looks_whole() {
    let (mut leader, theirs, first) = led(12).await;
    leader.append(9);
    let second = leader.take(&cold(&theirs), Some(first)).await;
    let second = second.expect("taken").stored;
    let donors = [Other(theirs.clone())];
    let none = BTreeSet::new();
    let mut tried = 0;
    for (fault, local_start) in [
        (Fault::Refused, 0),
        (Fault::AnswerLost, 0),
        (Fault::Dead, 0),
        (Fault::Dead, second.next_offset),
    ] {
        for number in 0.. {
            let (mut follower, own) = (Partition::new(12), Memory::default());
            let archive = archive(&own).await;
            let begun = bring(
                &follower,
                &archive,
                &donors,
                &holding(first, None, 0),
                &none,
            )
            .await;
            begun.expect("made");
            follower.append(9);
            own.fail(number, fault);
            let wanted = holding(second, Some(first), local_start);
            let outcome = bring(&follower, &cold(&own), &donors, &wanted, &none).await;
            let is_over = own.requests().len() <= number;
            own.heal();

            let report = verify::store(&own).await.expect("readable");
            let bad: Vec<_> = report
                .findings
                .iter()
                .filter(|finding| finding.kind != Kind::Orphan)
                .collect();
            assert!(bad.is_empty(), "{fault:?} at {number}: {bad:?}");
            let former = read_all(&cold(&own), &first).await;
            assert_eq!(former, expected(&follower)[..12], "{fault:?} at {number}");
            // A new process knows of nothing that is held.
            let wanted = holding(second, None, local_start);
            let again = bring(&follower, &cold(&own), &donors, &wanted, &none).await;
            again.unwrap_or_else(|why| panic!("{fault:?} at {number}: {why}"));
            let read = read_all(&cold(&own), &second).await;
            assert_eq!(read, expected(&follower), "{fault:?} at {number}");
            if is_over {
                outcome.expect("without a fault it is brought");
                break;
            }
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn what_is_asked_and_answered_comes_back_and_nothing_else_does() {
    let (mut leader, of) = (Partition::new(0), subject().source);
    leader.append(1);
    let asked = Asked {
        group: GROUP,
        position: 1 << 40,
        length: 1 << 20,
        key: snapshot::key::chunk(&of, Incarnation(1), 0, 1, 1),
    };
    assert_eq!(Asked::decode(&asked.encode()), Some(asked.clone()));
    let too_long = Asked {
        length: (1 << 20) + 1,
        ..asked.clone()
    };
    assert_eq!(Asked::decode(&too_long.encode()), None, "more than a piece");
    let mut elsewhere = asked.encode()[..20].to_vec();
    elsewhere.extend_from_slice(b"../../log/segment");
    assert_eq!(
        Asked::decode(&elsewhere),
        None,
        "no name leads out of the folder"
    );

    let piece = Piece {
        total: 9,
        bytes: "bytes".into(),
    };
    let body = encode_piece(Some(&piece));
    assert_eq!(decode_piece(&body), Ok(piece));
    assert_eq!(decode_piece(&encode_piece(None)), Err(NoPiece::NotThere));
    for bit in 0..body.len() * 8 {
        let mut flipped = body.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            decode_piece(&flipped.into()),
            Err(NoPiece::NoAnswer),
            "bit {bit}"
        );
    }
}

/// What each copy is of is the same for all: the identity of what was taken is that of what is here.
#[tokio::test]
async fn the_committed_identity_is_the_manifests() {
    let (_, theirs, stored) = led(5).await;
    let name = name_of(&subject().source, &stored);
    let (bytes, _) = theirs.get(&name.key(), 1 << 20).await.expect("it is there");
    let manifest = Manifest::decode(&bytes, &name.key(), &subject().source).expect("whole");
    assert_eq!(Some(manifest.identity()), stored.identity);
}
