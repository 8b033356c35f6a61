//! A small store with every kind of object, damaged in every way, with and without copies.

use std::sync::Arc;

use super::*;
use crate::archive;
use crate::cluster::Cluster;
use crate::cut::{self, Cut, Position, Standing};
use crate::owner;
use crate::source::Incarnation;
use crate::store::memory::{Fault, Memory, Request};
use crate::tail::{RECORDS, Writer};
use crate::testing::{SMALL, batches, put_chunk, put_manifest, snapshot, source};
use crate::verify::{self, Kind};

const STORE: &str = "cluster-of-tests";
/// All bits are flipped, not only some: `WALSER_EVERY_BIT=1 cargo test -p snapshot --lib every_`.
const EVERY: &str = "WALSER_EVERY_BIT";

/// The logs of partitions: their batches, all of the same length in offsets, from one on.
#[derive(Clone, Default)]
struct Logs {
    batches: BTreeMap<Source, Vec<Bytes>>,
    /// Below this offset they are trimmed.
    from: i64,
}

/// Batches have ten records each.
fn base_of(at: usize) -> i64 {
    10 * i64::try_from(at).expect("few")
}

/// The entries of a log: each index holds the batch of its number, and the first is no batch.
fn entry(index: u64) -> Entry {
    let at = usize::try_from(index).expect("small");
    Entry {
        index,
        term: 1,
        kind: if index == 0 { 0 } else { RECORDS },
        payload: batches(base_of(at), 1, 1).remove(0),
    }
}

impl Donor for Logs {
    fn batches<'a>(&'a self, source: &'a Source, first: i64, below: i64) -> Later<'a, Vec<Bytes>> {
        let of = self.batches.get(source).map_or(&[][..], Vec::as_slice);
        let wanted = of.iter().enumerate().filter(|(at, _)| {
            (first.max(self.from)..below).contains(&base_of(*at)) && first >= self.from
        });
        // Never all at once.
        let found = wanted.map(|(_, batch)| batch.clone()).take(3).collect();
        Box::pin(std::future::ready(found))
    }

    fn entries<'a>(&'a self, place: (Uuid, i32), first: u64, last: u64) -> Later<'a, Vec<Entry>> {
        let is_of = |of: &&Source| (of.topic_id, of.partition) == place;
        let has = self.batches.keys().any(|of| is_of(&of));
        let found = (first..=last).filter(|_| has).map(entry).take(2).collect();
        Box::pin(std::future::ready(found))
    }

    fn objects(&self) -> BTreeMap<Key, Bytes> {
        BTreeMap::new()
    }
}

struct World {
    store: Memory,
    archive: Archive,
    logs: Logs,
    manifests: Vec<Manifest>,
    whole: BTreeMap<Key, Bytes>,
}

impl World {
    async fn new() -> Self {
        let store = Memory::default();
        let life = owner::claim(&store, STORE).await.expect("nobody's yet");
        owner::begin(&store, &life, "b", 5, [].into())
            .await
            .expect("the first try");
        let cluster = |index| Cluster {
            format: crate::cluster::FORMAT,
            cluster_id: STORE.to_owned(),
            incarnation: Incarnation(1),
            epoch: 3,
            index,
            created_ms: 8,
            next_producer_id: 1000,
            configs: BTreeMap::new(),
            topics: Vec::new(),
        };
        cluster(70).put(&store).await.expect("stored");
        cluster(71).put(&store).await.expect("stored");
        let mut first = snapshot(&store, &source(1), 2, 6).await;
        let position = Position {
            topic_id: source(1).topic_id,
            partition: source(1).partition,
            index: first.index,
            changed: 1,
            next_offset: first.next_offset,
        };
        let cut = |number| Cut {
            format: cut::FORMAT,
            number,
            cluster: cluster(71),
            partitions: vec![position],
        };
        cut(1).put(&store, Standing::Whole).await.expect("stored");
        cut(2).put(&store, Standing::Open).await.expect("stored");
        let older = first.clone();
        first.index += 10;
        let next_offset = first.next_offset + 30;
        let records = batches(first.next_offset, 3, 1);
        put_chunk(&store, &mut first, &records, next_offset).await;
        put_manifest(&store, &first).await;
        let other = snapshot(&store, &source(2), 1, 4).await;
        let mut tail = Writer::new(STORE.to_owned(), Incarnation(1), 7, 9);
        for of in [source(1), source(2)] {
            let entries: Vec<Entry> = (4..=9).map(entry).collect();
            tail.push(of.topic_id, of.partition, &entries);
        }
        let (key, object) = tail.finish();
        store
            .put(&key, object, Condition::Absent)
            .await
            .expect("stored");
        let logs = Logs {
            batches: [
                (source(1), batches(0, 15, 1)),
                (source(2), batches(0, 4, 1)),
            ]
            .into(),
            from: 0,
        };
        let whole = store.objects();
        Self {
            archive: cold(&store),
            store,
            logs,
            manifests: vec![older, first, other],
            whole,
        }
    }

    /// Everything is looked at.
    async fn mend(&self, donor: &dyn Donor) -> Result<Fates, store::Error> {
        let mender = Mender {
            archive: &self.archive,
            store_id: STORE,
            donor,
            chunks: SMALL,
        };
        let mut fates = mender.cluster().await?;
        for number in [1, 2] {
            let of = source(number);
            let newest = self.manifests.iter().rfind(|m| m.source == of);
            let newest = newest.expect("one of each").name();
            fates.extend(mender.partition(&of, Some(&newest), |_| true).await?);
        }
        Ok(fates)
    }

    /// Objects that are not kept aside.
    fn objects(&self) -> BTreeMap<Key, Bytes> {
        let mut objects = self.store.objects();
        objects.retain(|key, _| !is_aside(key));
        objects
    }

    async fn findings(&self) -> Vec<verify::Finding> {
        verify::store(&self.store).await.expect("read").findings
    }

    /// As it was, with nothing aside.
    fn restore(&self) {
        for key in self.store.objects().into_keys() {
            self.store.tamper(&key, self.whole.get(&key).cloned());
        }
        for (key, bytes) in &self.whole {
            self.store.tamper(key, Some(bytes.clone()));
        }
    }

    /// The chunk with this number of the newest manifest of the first partition.
    fn chunk(&self, at: usize) -> &Key {
        &self.manifests[1].chunks[at].key
    }
}

fn is_aside(key: &Key) -> bool {
    key.as_str().starts_with(key::QUARANTINE_PREFIX)
}

fn cold(store: &Memory) -> Archive {
    Archive::new(Arc::new(store.clone()), archive::Config::default())
}

fn bent(whole: &Bytes, bits: impl IntoIterator<Item = usize>) -> Bytes {
    let mut bytes = whole.to_vec();
    for bit in bits {
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes.into()
}

/// Where damage is: bits at a stride that meets every place of a byte, or all.
fn bits(of: &Bytes, stride: usize) -> impl Iterator<Item = usize> + use<> {
    let stride = if std::env::var_os(EVERY).is_some() {
        1
    } else {
        stride
    };
    (0..of.len() * 8).step_by(stride)
}

#[tokio::test]
async fn every_bit_of_every_kind_of_object_is_found_and_named() {
    let world = World::new().await;
    assert_eq!(world.findings().await, []);
    let bytes: usize = world.whole.values().map(Bytes::len).sum();
    assert!(world.whole.len() == 14 && bytes < 64 << 10, "{bytes}");
    let mut flipped = 0;
    for (key, whole) in &world.whole {
        for bit in bits(whole, 23) {
            world.store.tamper(key, Some(bent(whole, [bit])));
            let findings = world.findings().await;
            let named = findings.iter().find(|found| found.key == *key);
            let named = named.unwrap_or_else(|| panic!("bit {bit} of {key}: {findings:?}"));
            assert_eq!(named.kind, Kind::Damaged, "bit {bit} of {key}");
            let (of, is_chunk) = match key::object(key) {
                Some(object) => (Some(object.topic_id), object.kind == key::Kind::Chunk),
                None => (None, false),
            };
            assert_eq!(
                named
                    .source
                    .as_ref()
                    .map(|s| s.topic_id)
                    .filter(|_| of.is_some()),
                of
            );
            assert_eq!(named.offsets.is_some(), is_chunk, "bit {bit} of {key}");
            flipped += 1;
        }
        world.store.tamper(key, Some(whole.clone()));
    }
    assert!(flipped > 4_000, "{flipped} of {} bits", bytes * 8);
}

#[tokio::test]
async fn every_bit_is_mended_from_copies_or_without_any() {
    let world = World::new().await;
    let (mut mended, nobody) = (0, Nobody);
    for (key, whole) in &world.whole {
        for (number, bit) in bits(whole, 211).enumerate() {
            let damaged = bent(whole, [bit]);
            world.store.tamper(key, Some(damaged.clone()));
            let donor: &dyn Donor = if number % 2 == 0 {
                &nobody
            } else {
                &world.logs
            };
            let fates = world.mend(donor).await.expect("a store that works");
            assert_eq!(fates, [(key.clone(), Fate::Mended)], "bit {bit}");
            assert_eq!(world.objects(), world.whole, "bit {bit} of {key}");
            let aside = world.store.objects()[&key::quarantined(key)].clone();
            assert_eq!(aside, damaged);
            mended += 1;
        }
        assert_eq!(world.findings().await, [], "what is kept aside is nobody's");
        world.restore();
    }
    assert!(mended > 300, "{mended}");
}

/// Several bits in several places: only copies help.
fn spoilt(whole: &Bytes, at: usize) -> Bytes {
    let middle = whole.len() * 8 * at / 10;
    bent(whole, (0..40).map(|n| middle + n))
}

#[tokio::test]
async fn a_chunk_is_made_again_from_whoever_has_its_records() {
    let world = World::new().await;
    let everywhere = world.logs.clone();
    let key = world.chunk(1).clone();
    let whole = &world.whole[&key];
    // In a member, in several, at the end, where the index is, cut off, empty, gone.
    let cuts = [1, 5, 8, 9].map(|at| Some(spoilt(whole, at)));
    let both = spoilt(&spoilt(whole, 1), 9);
    let more: Bytes = [&whole[..], b"more"].concat().into();
    let short = whole.slice(..whole.len() / 2);
    let cases = cuts
        .into_iter()
        .chain([both, short, more, Bytes::new()].map(Some));
    for (number, damage) in cases.chain([None]).enumerate() {
        world.store.tamper(&key, damage.clone());
        assert_ne!(world.findings().await, [], "{number}");
        let fates = world.mend(&everywhere).await.expect("a store that works");
        assert_eq!(fates, [(key.clone(), Fate::Mended)], "{number}");
        assert_eq!(world.objects(), world.whole, "{number}");
        let aside = world.store.objects().get(&key::quarantined(&key)).cloned();
        assert_eq!(aside, damage, "{number}");
        world.restore();
    }
}

#[tokio::test]
async fn what_nobody_has_stays_and_is_named() {
    let world = World::new().await;
    let (nobody, partly) = (
        Nobody,
        Logs {
            from: 80,
            ..world.logs.clone()
        },
    );
    let mut left = 0;
    for key in world.whole.keys() {
        let damaged = spoilt(&world.whole[key], 6);
        world.store.tamper(key, Some(damaged.clone()));
        for donor in [&nobody as &dyn Donor, &partly] {
            let fates = world.mend(donor).await.expect("a store that works");
            // A tail has some offsets of chunks, and the logs have the entries of a tail.
            if let [] | [(_, Fate::Mended)] = &fates[..] {
                continue;
            }
            left += 1;
            let [(named, Fate::Left(_))] = &fates[..] else {
                panic!("{key}: {fates:?}");
            };
            assert_eq!((named, &world.store.objects()[key]), (key, &damaged));
            assert!(!world.store.objects().keys().any(is_aside), "{key}");
        }
        world.restore();
    }
    assert!(left > 15, "{left}");
    // Offsets 60 to 119 are in that chunk. The tail has them up to 99, the log from 110 on.
    let key = world.chunk(1);
    world.store.tamper(key, None);
    let donor = Logs {
        from: 110,
        ..world.logs.clone()
    };
    let fates = world.mend(&donor).await.expect("a store that works");
    let [(_, Fate::Left(why))] = &fates[..] else {
        panic!("{fates:?}");
    };
    assert!(
        why.contains("nobody has a copy of offsets 100 to 119"),
        "{why}"
    );
    assert_eq!(world.findings().await.len(), 1);
}

/// A part is in the log, another one in a chunk that was merged since, another one in a tail.
#[tokio::test]
async fn copies_are_put_together() {
    let world = World::new().await;
    let of = source(1);
    // An older manifest with one chunk over the offsets 60 to 89.
    let mut merged = world.manifests[0].clone();
    (merged.index, merged.leader_epoch) = (60, 0);
    merged.next_offset = 60;
    merged.chunks.truncate(1);
    put_chunk(&world.store, &mut merged, &batches(60, 3, 1), 90).await;
    put_manifest(&world.store, &merged).await;
    let key = world.chunk(1);
    world.store.tamper(key, None);
    // The tail has the indexes 4 to 9: offsets 40 to 99. The log begins at 100.
    let donor = Logs {
        from: 100,
        ..world.logs.clone()
    };
    let fates = world.mend(&donor).await.expect("a store that works");
    assert_eq!(fates, [(key.clone(), Fate::Mended)]);
    assert_eq!(world.objects()[key], world.whole[key]);
    // Without the tail there is a hole from 90 on.
    let tail = world.whole.keys().find(|key| key::tail_name(key).is_some());
    world.store.tamper(tail.expect("one"), None);
    world.store.tamper(key, None);
    let fates = world.mend(&donor).await.expect("a store that works");
    let [(_, Fate::Left(why))] = &fates[..] else {
        panic!("{fates:?}");
    };
    assert!(why.contains("nobody has a copy of offsets 90 to "), "{why}");
    assert_eq!(of, merged.source);
}

#[tokio::test]
async fn what_is_held_in_memory_is_a_copy() {
    let world = World::new().await;
    let manifest = &world.manifests[1];
    let archive = &world.archive;
    archive.manifest(&manifest.name()).await.expect("sound");
    let mut next = 0;
    while next < manifest.next_offset {
        let read = archive
            .batches(manifest, next, 1 << 20)
            .await
            .expect("sound");
        next += base_of(read.len());
    }
    let keys = [
        manifest.key(),
        world.chunk(0).clone(),
        world.chunk(1).clone(),
    ];
    for damage in [None, Some(3), Some(9)] {
        for key in &keys {
            world
                .store
                .tamper(key, damage.map(|at| spoilt(&world.whole[key], at)));
        }
        let fates = world.mend(&Nobody).await.expect("a store that works");
        assert!(
            fates.len() == 3 && fates.iter().all(|(_, fate)| *fate == Fate::Mended),
            "{fates:?}"
        );
        assert_eq!(world.objects(), world.whole);
    }
}

/// Bytes that were stored by another compressor cannot be made again; the records can, under another name.
#[tokio::test]
async fn another_compressor_makes_another_object() {
    let world = World::new().await;
    let key = world.chunk(1).clone();
    world
        .store
        .tamper(&key, Some(spoilt(&world.whole[&key], 4)));
    let before = world.store.objects();
    let mender = Mender {
        archive: &world.archive,
        store_id: STORE,
        donor: &world.logs,
        chunks: Config { level: 9, ..SMALL },
    };
    let manifest = &world.manifests[1];
    let (named, epochs) = (&manifest.chunks[1], &manifest.leader_epochs);
    let fate = mender.chunk(&manifest.source, named, epochs).await;
    assert_eq!(fate.expect("a store that works"), Fate::OtherBytes);
    assert_eq!(world.store.objects(), before, "nothing was written");
    let new = key::chunk(
        &manifest.source,
        Incarnation(1),
        named.chunk.first_offset,
        5,
        99,
    );
    let made = mender.chunk_anew(
        &manifest.source,
        named,
        epochs,
        (new.clone(), Incarnation(1)),
    );
    let made = made.await.expect("copies of all");
    assert_eq!(made.key, new);
    assert_ne!(made.chunk, named.chunk);
    assert_eq!(made.chunk.raw_sha256, named.chunk.raw_sha256);
    // Other members are another chunk.
    let mender = Mender {
        chunks: Config {
            member_bytes: 5000,
            ..SMALL
        },
        ..mender
    };
    let other = mender
        .chunk_anew(&manifest.source, named, epochs, (new, Incarnation(1)))
        .await;
    assert!(matches!(other, Err(Error::Differs(_))), "{other:?}");
}

#[tokio::test]
async fn what_a_lost_manifest_named_says_itself_what_it_is() {
    let world = World::new().await;
    let lost = &world.manifests[1];
    let wanted = &lost.chunks;
    let mender = Mender {
        archive: &world.archive,
        store_id: STORE,
        donor: &Nobody,
        chunks: SMALL,
    };
    let find = async |log_start| {
        let found = mender.chunks_of_lost(&lost.name(), log_start).await;
        found.expect("a store that works")
    };
    // The older one names the first two; no manifest at all names any.
    for gone in [
        vec![&world.manifests[1]],
        vec![&world.manifests[0], &world.manifests[1]],
    ] {
        for manifest in gone {
            world.store.tamper(&manifest.key(), None);
        }
        assert_eq!(find(0).await, *wanted);
        assert_eq!(find(70).await, wanted[1..]);
    }
    // A restore may have left behind what an earlier life wrote.
    let later = Name {
        incarnation: Incarnation(2),
        ..lost.name()
    };
    let found = mender.chunks_of_lost(&later, 0).await;
    assert_eq!(found.expect("a store that works"), []);
    // What is damaged is not believed.
    world.store.tamper(
        world.chunk(1),
        Some(bent(&world.whole[world.chunk(1)], [70])),
    );
    assert_eq!(find(0).await, wanted[..1]);
    assert_eq!(find(500).await, []);
}

/// Whatever ends it, the object is the damaged one or the whole one, and the next one mends it.
#[tokio::test]
async fn at_every_request_of_a_mend() {
    let mut visited = 0;
    let world = World::new().await;
    for key in world.whole.keys() {
        let is_sealed = key.as_str().ends_with(".json");
        let damaged = match is_sealed {
            true => bent(&world.whole[key], [100]),
            false => spoilt(&world.whole[key], 9),
        };
        for fault in [Fault::Refused, Fault::AnswerLost, Fault::Dead] {
            for number in 0.. {
                world.restore();
                world.store.tamper(key, Some(damaged.clone()));
                world.store.fail(number, fault);
                let outcome = world.mend(&world.logs).await;
                let is_over = world.store.requests().len() <= number;
                world.store.heal();
                let objects = world.objects();
                let there = &objects[key];
                assert!(
                    *there == damaged || *there == world.whole[key],
                    "{fault:?} at {number}"
                );
                let others = objects.iter().filter(|(other, _)| *other != key);
                assert!(
                    others
                        .clone()
                        .all(|(other, bytes)| world.whole[other] == *bytes)
                );
                assert_eq!(others.count() + 1, world.whole.len());
                if there == &world.whole[key] {
                    let aside = world.store.objects().remove(&key::quarantined(key));
                    assert_eq!(aside.as_ref(), Some(&damaged), "{fault:?} at {number}");
                }
                let again = world.mend(&world.logs).await.expect("a store that works");
                assert!(
                    again.iter().all(|(_, fate)| *fate == Fate::Mended),
                    "{again:?}"
                );
                assert_eq!(
                    world.objects(),
                    world.whole,
                    "{fault:?} at {number} of {key}"
                );
                if is_over {
                    let fates = outcome.expect("without a fault it is mended");
                    assert_eq!(fates, [(key.clone(), Fate::Mended)]);
                    break;
                }
                visited += 1;
            }
        }
    }
    assert!(visited > 1_000, "{visited}");
}

#[tokio::test]
async fn what_is_kept_aside_does_not_add_up() {
    let store = Memory::default();
    for number in 0..100_i64 {
        store.set_clock(number);
        let key = Key::parse(&format!("some/object-{number}")).expect("a name");
        store.tamper(&key, Some("damaged".into()));
        quarantine::keep_aside(&store, &key).await.expect("kept");
        quarantine::keep_aside(&store, &key)
            .await
            .expect("once more");
    }
    let aside: Vec<Key> = store.objects().into_keys().filter(is_aside).collect();
    assert_eq!(aside.len(), quarantine::OBJECTS_MAX);
    assert!(aside.iter().any(|key| key.as_str().ends_with("object-99")));
    assert!(aside.iter().all(|key| !key.as_str().ends_with("object-60")));
    let gone = Key::parse("some/thing-else").expect("a name");
    store.fail(usize::MAX, Fault::Dead);
    quarantine::keep_aside(&store, &gone)
        .await
        .expect("nothing to do");
    let puts = |request: &Request| matches!(request, Request::Put(_) | Request::Upload(_));
    assert!(!store.requests().iter().any(puts));
}
