//! A snapshot that continues a damaged one, with a fault at every request of it: what is whole stays, and the next try is.

use snapshot::key::Key;
use snapshot::mend::{Donor, Later};
use snapshot::{key, tail};

use super::*;

/// The log itself.
struct Own(Arc<wal::Reader>);

impl Donor for Own {
    fn batches<'a>(&'a self, _: &'a Source, first: i64, below: i64) -> Later<'a, Vec<Bytes>> {
        let index = self.0.index_of_offset(GROUP, REPLICA, first);
        let Ok(Some(index)) = index else {
            return Box::pin(std::future::ready(Vec::new()));
        };
        let until = Index(u64::try_from(below / RECORDS).expect("small"));
        let entries = self.0.entries(GROUP, REPLICA, index, until, 2_000);
        let found = entries.into_iter().flatten().map(|entry| entry.payload);
        Box::pin(std::future::ready(found.collect()))
    }

    fn entries<'a>(&'a self, _: (Uuid, i32), _: u64, _: u64) -> Later<'a, Vec<tail::Entry>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn objects(&self) -> BTreeMap<Key, Bytes> {
        BTreeMap::new()
    }
}

struct World {
    store: Memory,
    partition: Partition,
    /// The snapshots that were committed.
    stored: Vec<Stored>,
    /// So many batches are not in the log any more.
    trimmed: u64,
}

impl World {
    /// Two snapshots, with more than one chunk each, and something new.
    async fn new(trimmed: u64) -> Self {
        let store = Memory::default();
        let mut partition = Partition::new(14);
        let first = partition.take(&archive(&store).await, None).await;
        let first = first.expect("taken").stored;
        partition.append(9);
        let second = partition.take(&archive(&store).await, Some(first)).await;
        let second = second.expect("taken").stored;
        if trimmed > 0 {
            let base = Base {
                index: Index(trimmed),
                term: Term(1),
                ..Base::default()
            };
            let (group, replica) = (GROUP, REPLICA);
            let base = Record::Base {
                group,
                replica,
                base,
            };
            partition.log.write(vec![base]).expect("written");
        }
        partition.append(1);
        Self {
            store,
            partition,
            stored: vec![first, second],
            trimmed,
        }
    }

    /// A new process takes a snapshot that continues the last one.
    async fn take(&self, anew: &[Key]) -> Result<Stored, Error> {
        let archive = Archive::new(Arc::new(self.store.clone()), archive::Config::default());
        let own = Own(self.partition.log.reader());
        let take = Take {
            archive: &archive,
            reader: self.partition.log.reader(),
            subject: subject(),
            incarnation: Incarnation(1),
            chunk_bytes: CHUNK_BYTES,
            wanted: Wanted {
                group: GROUP,
                replica: REPLICA,
                term: Term(2),
                index: Index(self.partition.last),
                index_term: Term(1),
                log_start: 0,
                local_start: i64::try_from(self.trimmed).expect("small") * RECORDS,
                next_offset: self.partition.end(),
                state: Bytes::from_static(b"state"),
                epochs: vec![(1, 0)],
                bytes: 0,
                before: self.stored.last().copied(),
                trigger: Trigger::Heal,
            },
            now_ms: 7,
            place: Place::Here,
            is_own: false,
            mend: Mend {
                donor: &own,
                anew: anew.iter().cloned().collect(),
            },
        };
        Ok(take.run().await?.stored)
    }

    fn manifest(&self, at: usize) -> Key {
        name_of(&subject().source, &self.stored[at]).key()
    }

    async fn chunks(&self, at: usize) -> Vec<Key> {
        let archive = archive(&self.store).await;
        let name = name_of(&subject().source, &self.stored[at]);
        let manifest = archive.manifest(&name).await.expect("it is whole");
        manifest
            .chunks
            .iter()
            .map(|named| named.key.clone())
            .collect()
    }
}

/// Fails every request of a snapshot in turn. How often.
async fn at_every_request(world: &World, anew: &[Key]) -> usize {
    let before = world.store.objects();
    let mut visited = 0;
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Dead] {
        for number in 0.. {
            let when = format!("{fault:?} at {number}");
            for key in world.store.objects().into_keys() {
                world.store.tamper(&key, before.get(&key).cloned());
            }
            world.store.fail(number, fault);
            let outcome = world.take(anew).await;
            let is_over = world.store.requests().len() <= number;
            world.store.heal();
            let there = world.store.objects();
            assert!(
                before.iter().all(|(key, was)| there.get(key) == Some(was)),
                "{when}"
            );
            let again = world.take(anew).await;
            let again = again.unwrap_or_else(|why| panic!("{when}: {why}"));
            let read = read_all(&archive(&world.store).await, &again).await;
            assert_eq!(read, expected(&world.partition), "{when}");
            if is_over {
                outcome.expect("without a fault it is taken");
                break;
            }
            visited += 1;
        }
    }
    visited
}

#[tokio::test]
async fn at_every_request_of_a_snapshot_that_continues_a_lost_one() {
    // With all of the log, and where only the store has what is old.
    for trimmed in [0, 20] {
        let world = World::new(trimmed).await;
        world.store.tamper(&world.manifest(1), None);
        let visited = at_every_request(&world, &[]).await;
        assert!(visited > 40, "{visited}");
        // Nor is there an older one.
        let world = World::new(trimmed).await;
        world.store.tamper(&world.manifest(0), None);
        world
            .store
            .tamper(&world.manifest(1), Some("nothing".into()));
        let visited = at_every_request(&world, &[]).await;
        assert!(visited > 40, "{visited}");
    }
}

#[tokio::test]
async fn what_neither_the_log_nor_a_chunk_has_makes_no_snapshot() {
    let world = World::new(20).await;
    let chunks = world.chunks(1).await;
    world.store.tamper(&world.manifest(0), None);
    world.store.tamper(&world.manifest(1), None);
    world.store.tamper(&chunks[1], None);
    let before = world.store.objects();
    let failed = world.take(&[]).await.expect_err("a chunk is lacking");
    assert!(matches!(failed, Error::Build(_)), "{failed}");
    assert_eq!(world.store.objects(), before);
}

#[tokio::test]
async fn at_every_request_of_a_snapshot_with_a_chunk_under_another_name() {
    let world = World::new(0).await;
    let damaged = world.chunks(1).await[0].clone();
    let whole = world.store.objects()[&damaged].clone();
    let bent: Vec<u8> = whole.iter().map(|byte| byte ^ 0x10).collect();
    world.store.tamper(&damaged, Some(bent.into()));
    let anew = [damaged.clone()];
    let visited = at_every_request(&world, &anew).await;
    assert!(visited > 30, "{visited}");
    // Nobody names the damaged one any more.
    let again = world.take(&anew).await.expect("taken");
    let archive = archive(&world.store).await;
    let manifest = archive.manifest(&name_of(&subject().source, &again)).await;
    let manifest = manifest.expect("it is whole");
    assert!(manifest.chunks.iter().all(|named| named.key != damaged));
    assert_eq!(
        key::chunk_written(&manifest.chunks[0].key),
        Some((Incarnation(1), again.index))
    );
}
