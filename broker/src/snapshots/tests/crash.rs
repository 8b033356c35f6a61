//! A process dies, or an answer is lost, at every request of a partition's life in the store, and of a restore. Whatever
//! goes on afterwards, a new process or the same one: what was committed is whole, and in the end nothing else is left.

use snapshot::cluster::{self, Cluster, Topic};
use snapshot::key::{self, Key};
use snapshot::manifest::Manifest;
use snapshot::store::memory::Request;
use snapshot::store::{Condition, Store};

use super::*;
use crate::coordinator::rebirth::Rebirth;
use crate::partition::state::PartitionState;
use crate::restore::{Plan, Reborn, Selection};

/// Everything of the steps before is older.
const GRACE_MS: i64 = 1_000;
const STEP_MS: i64 = 10_000;
const KEEP: usize = 2;

/// What happens to a partition, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    Claim,
    /// The controller writes the metadata of this index, and removes old ones.
    Metadata(u64),
    /// A snapshot of the log up to this index, from which so many batches are deleted by then.
    Take(u64, u64),
    /// What the store holds goes from the log, up to this index.
    Trim(u64),
    Collect,
    /// What is left of deleted topics goes.
    Topics,
}

use Step::{Claim, Collect, Metadata, Take as Snapshot, Topics, Trim};

const LIFE: [Step; 16] = [
    Claim,
    Metadata(1),
    Snapshot(6, 0),
    Collect,
    Metadata(2),
    Snapshot(17, 0),
    Trim(13),
    Snapshot(18, 0),
    Collect,
    Metadata(3),
    Snapshot(26, 8),
    Trim(26),
    Snapshot(27, 20),
    Collect,
    Topics,
    Collect,
];

/// What fails, and who goes on.
#[derive(Clone, Copy, Debug)]
struct Accident {
    number: usize,
    fault: Fault,
    /// The same leader tries again; else the next one, which knows what is committed and nothing more.
    survives: bool,
}

const ACCIDENTS: [(Fault, bool); 4] = [
    (Fault::Refused, true),
    (Fault::AnswerLost, true),
    (Fault::AnswerLost, false),
    (Fault::Dead, false),
];

/// A snapshot that was committed: of the log up to an index, without the first batches.
#[derive(Clone, Copy)]
struct Committed {
    stored: Stored,
    batches: u64,
    deleted: u64,
}

struct World {
    store: Memory,
    archive: Archive,
    partition: Partition,
    trimmed: u64,
    term: u64,
    committed: Vec<Committed>,
}

impl World {
    async fn new() -> Self {
        let store = Memory::default();
        let archive = cold(&store);
        let world = Self {
            store,
            archive,
            partition: Partition::new(0),
            trimmed: 0,
            term: 1,
            committed: Vec::new(),
        };
        let gone = world.dead_manifest();
        let name = gone.key();
        let put = world.store.put(&name, gone.encode(), Condition::Absent);
        put.await.expect("put");
        let stray = key::chunk(&gone.source, Incarnation(1), 0, 1, 3);
        let put = world.store.put(&stray, "stray".into(), Condition::Absent);
        put.await.expect("put");
        world
    }

    /// Of a topic that was deleted.
    fn dead_manifest(&self) -> Manifest {
        Manifest {
            format: snapshot::manifest::FORMAT,
            source: Source {
                topic_id: Uuid::from_u128(99),
                ..subject().source
            },
            topic: "gone".to_owned(),
            incarnation: Incarnation(1),
            leader_epoch: 1,
            index: 3,
            term: 1,
            created_ms: 0,
            log_start: 0,
            next_offset: 0,
            leader_epochs: Vec::new(),
            configs: BTreeMap::new(),
            voters: vec![1],
            state: Bytes::new(),
            aborted_transactions: Vec::new(),
            chunks: Vec::new(),
        }
    }

    async fn step(&mut self, at: usize) -> Result<(), String> {
        let now_ms = STEP_MS * (1 + i64::try_from(at).expect("few"));
        self.store.set_clock(now_ms);
        let failed = |why: &dyn std::error::Error| why.to_string();
        match LIFE[at] {
            Claim => {
                let claimed = owner::claim(&self.store, "cluster").await;
                claimed.map(drop).map_err(|why| failed(&why))
            }
            Metadata(index) => {
                let put = metadata(index, now_ms).put(&self.store).await;
                put.map_err(|why| failed(&why))?;
                let collected = collect::metadata(&self.store, &policy(), now_ms).await;
                collected.map(drop).map_err(|why| failed(&why))
            }
            Snapshot(batches, deleted) => {
                while self.partition.last < batches {
                    self.partition.append(1);
                }
                let taken = self.take(deleted, now_ms).await;
                let stored = taken.map_err(|why| failed(&why))?.stored;
                self.committed.push(Committed {
                    stored,
                    batches,
                    deleted,
                });
                Ok(())
            }
            Trim(index) => {
                self.trim(index);
                Ok(())
            }
            Collect => self.collect(now_ms).await,
            Topics => {
                let alive = [subject().source.topic_id].into();
                let collected =
                    collect::deleted_topics(&self.store, "cluster", &alive, &policy(), now_ms)
                        .await;
                collected.map(drop).map_err(|why| failed(&why))
            }
        }
    }

    async fn take(&self, deleted: u64, now_ms: i64) -> Result<Taken, Error> {
        let end = self.partition.end();
        let log_start = offset(deleted);
        let wanted = Wanted {
            group: GROUP,
            replica: REPLICA,
            term: Term(self.term),
            index: Index(self.partition.last),
            index_term: Term(1),
            log_start,
            local_start: offset(self.trimmed),
            next_offset: end,
            state: PartitionState::default().encode(end),
            epochs: vec![(1, 0)],
            bytes: 0,
            before: self.committed.last().map(|committed| committed.stored),
            trigger: Trigger::Time,
        };
        let take = Take {
            archive: &self.archive,
            reader: self.partition.log.reader(),
            subject: subject(),
            incarnation: Incarnation(1),
            chunk_bytes: CHUNK_BYTES,
            wanted,
            now_ms,
            place: Place::Here,
            is_own: false,
            mend: Mend::default(),
        };
        take.run().await
    }

    fn trim(&mut self, index: u64) {
        let base = Base {
            index: Index(index),
            term: Term(1),
            ..Base::default()
        };
        let (group, replica) = (GROUP, REPLICA);
        let trimmed = self.partition.log.write(vec![Record::Base {
            group,
            replica,
            base,
        }]);
        trimmed.expect("written");
        self.trimmed = index;
    }

    async fn collect(&self, now_ms: i64) -> Result<(), String> {
        let committed = self.committed.last().expect("one was taken").stored;
        let (source, policy) = (subject().source, policy());
        let name = name_of(&source, &committed);
        let collected = collect::partition(&self.store, &source, &name, &policy, now_ms).await;
        collected.map(drop).map_err(|why| why.to_string())
    }

    /// Lives, with an accident, and for every second one with another one soon after. How often something failed.
    async fn live(&mut self, accident: Accident) -> usize {
        self.store.fail(accident.number, accident.fault);
        let mut failures = 0;
        for (at, step) in LIFE.iter().enumerate() {
            while let Err(why) = self.step(at).await {
                failures += 1;
                assert!(failures <= 2, "{accident:?}, {step:?}: {why}");
                if !accident.survives {
                    self.term += 1;
                    self.archive = cold(&self.store);
                }
                if failures == 1 && accident.number % 2 == 1 {
                    self.store.fail(accident.number % 5, Fault::Dead);
                } else {
                    self.store.heal();
                }
                self.judge(&format!("{accident:?}, {step:?}")).await;
            }
        }
        failures
    }

    /// Looks at a copy, so that no request is counted.
    async fn judge(&self, when: &str) {
        let copy = Memory::default();
        for (key, bytes) in self.store.objects() {
            copy.tamper(&key, Some(bytes));
        }
        if !copy.objects().contains_key(&key::owner()) {
            assert!(self.committed.is_empty(), "{when}: whose it is is lost");
            return;
        }
        let report = verify::store(&copy).await.expect("readable");
        assert!(report.is_sound(), "{when}: {report:?}");
        let archive = cold(&copy);
        let newest = self.committed.iter().rev();
        for (age, of) in newest.enumerate() {
            let name = name_of(&subject().source, &of.stored);
            if age > 0 && !copy.objects().contains_key(&name.key()) {
                continue;
            }
            let expected: Vec<Bytes> = (of.deleted + 1..=of.batches).map(stored_batch).collect();
            assert_eq!(read_all(&archive, &of.stored).await, expected, "{when}");
        }
        let kept = self.committed.len().min(KEEP);
        assert!(manifests(&copy) >= kept, "{when}: of {kept}");
        let end = self.committed.last().map_or(0, |of| of.batches);
        assert!(
            self.trimmed <= end,
            "{when}: what was trimmed is in the store"
        );
    }
}

fn offset(batches: u64) -> i64 {
    i64::try_from(batches).expect("few") * RECORDS
}

/// A process that has just begun.
fn cold(store: &Memory) -> Archive {
    Archive::new(Arc::new(store.clone()), archive::Config::default())
}

fn policy() -> collect::Policy {
    collect::Policy {
        keep_manifests: KEEP,
        grace_ms: GRACE_MS,
        ..collect::Policy::default()
    }
}

fn metadata(index: u64, created_ms: i64) -> Cluster {
    Cluster {
        format: cluster::FORMAT,
        cluster_id: "cluster".to_owned(),
        incarnation: Incarnation(1),
        epoch: 1,
        index,
        created_ms,
        next_producer_id: 1,
        configs: BTreeMap::new(),
        topics: vec![Topic {
            name: subject().topic,
            id: subject().source.topic_id,
            partitions: 2,
            replicas: 3,
            configs: BTreeMap::new(),
        }],
    }
}

/// Manifests of the partition.
fn manifests(store: &Memory) -> usize {
    let prefix = key::manifests_prefix(&subject().source);
    let keys = store.objects().into_keys();
    keys.filter(|key| key.as_str().starts_with(&prefix)).count()
}

/// Requests of a life without accidents, by kind: what the accidents are to meet.
fn kinds(requests: &[Request]) -> [usize; 5] {
    let mut kinds = [0; 5];
    for request in requests {
        kinds[match request {
            Request::Put(_) => 0,
            Request::Upload(_) => 1,
            Request::Get(_) => 2,
            Request::List(_) => 3,
            Request::Delete(_) => 4,
        }] += 1;
    }
    kinds
}

/// C1, C4: taking, committing, trimming and collecting, over and over.
#[tokio::test]
async fn c1_c4_at_every_request_of_a_partition_s_life() {
    let never = Accident {
        number: usize::MAX,
        fault: Fault::Dead,
        survives: true,
    };
    let mut whole = World::new().await;
    assert_eq!(whole.live(never).await, 0);
    let requests = whole.store.requests();
    let kinds = kinds(&requests);
    assert!(kinds.iter().all(|count| *count >= 5), "{kinds:?}");
    let mut visited = 0;
    for (fault, survives) in ACCIDENTS {
        for number in 0..requests.len() {
            let accident = Accident {
                number,
                fault,
                survives,
            };
            let mut world = World::new().await;
            let failures = world.live(accident).await;
            assert!(failures > 0, "{accident:?}: nothing has failed");
            visited += failures;
            world.judge(&format!("{accident:?}, after all")).await;
            // Nothing is left that nobody needs, however it came there.
            let report = verify::store(&world.store).await.expect("readable");
            assert_eq!(report.findings, [], "{accident:?}");
            assert_eq!(manifests(&world.store), KEEP, "{accident:?}");
            let gone = world.dead_manifest().key();
            assert!(!world.store.objects().contains_key(&gone), "{accident:?}");
        }
    }
    let points = ACCIDENTS.len() * requests.len();
    assert!(
        points > 300 && visited > points * 5 / 4,
        "{visited} of {points}"
    );
}

/// What a restore makes of the store.
async fn restore(store: &Memory) -> Result<Vec<Reborn>, String> {
    let source: Arc<dyn Store> = Arc::new(store.clone());
    let into = Some("new".to_owned());
    let plan = Plan::read(
        &source,
        &Selection {
            into,
            ..Selection::default()
        },
    )
    .await;
    let plan = plan.map_err(|why| why.to_string())?;
    let life = owner::begin(store, &plan.life, "new", 5, [].into()).await;
    let life = life.map_err(|why| why.to_string())?;
    let rebirth = Rebirth {
        now_ms: 77,
        ..Rebirth::default()
    };
    let mut all = Vec::new();
    for topic in plan.in_order() {
        for partition in &topic.partitions {
            let reborn = Reborn::new(topic, partition, life.incarnation, &rebirth);
            let reborn = reborn.map_err(|why| why.to_string())?;
            reborn.put(store).await.map_err(|why| why.to_string())?;
            all.push(reborn);
        }
    }
    let checked = plan.check_chunks(store).await;
    checked.map_err(|why| why.to_string())?;
    Ok(all)
}

/// Objects that a function has added to a store.
fn added(store: &Memory, before: &BTreeMap<Key, Bytes>) -> BTreeMap<Key, Bytes> {
    let mut objects = store.objects();
    objects.retain(|key, bytes| before.get(key) != Some(bytes));
    objects
}

/// A copy of a store, as old as it is.
fn fork(store: &BTreeMap<Key, Bytes>) -> Memory {
    let copy = Memory::default();
    for (key, bytes) in store {
        copy.tamper(key, Some(bytes.clone()));
    }
    copy
}

/// C9: whoever begins a restore again ends it, once, with the same; the cluster that was collects in between.
#[tokio::test]
async fn c9_at_every_request_of_a_restore() {
    let never = Accident {
        number: usize::MAX,
        fault: Fault::Dead,
        survives: true,
    };
    let mut world = World::new().await;
    world.live(never).await;
    let before = world.store.objects();
    let clean = fork(&before);
    clean.fail(usize::MAX, Fault::Dead);
    let reborn = restore(&clean).await.expect("sound");
    assert_eq!(reborn.len(), 2, "a partition with records, and one without");
    let (requests, wanted) = (clean.requests().len(), added(&clean, &before));
    assert_eq!(wanted.len(), 3, "the life and two manifests");
    let last = *world.committed.last().expect("one");
    let expected: Vec<Bytes> = (last.deleted + 1..=last.batches)
        .map(stored_batch)
        .collect();
    let mut visited = 0;
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Dead] {
        for number in 0..requests {
            let when = format!("{fault:?} at {number}");
            world.store = fork(&before);
            let store = &world.store;
            store.fail(number, fault);
            restore(store).await.expect_err(&when);
            visited += 1;
            store.fail(number % 7, Fault::Dead);
            restore(store).await.expect_err(&when);
            store.heal();
            // The old cluster is alive, and does not know yet.
            let late_ms = STEP_MS * 100;
            let collected = world.collect(late_ms).await;
            let is_begun = store
                .objects()
                .contains_key(&key::incarnation(Incarnation(2)));
            assert_eq!(collected.is_err(), is_begun, "{when}: {collected:?}");
            let again = restore(store)
                .await
                .unwrap_or_else(|why| panic!("{when}: {why}"));
            assert_eq!(added(store, &before), wanted, "{when}");
            assert!(
                before.keys().all(|key| store.objects().contains_key(key)),
                "{when}"
            );
            let archive = cold(store);
            let read = read_all(&archive, &again[0].origin).await;
            assert_eq!(read, expected, "{when}");
            // Once more changes nothing, and the cluster that was is fenced.
            restore(store).await.expect("done already");
            assert_eq!(added(store, &before), wanted, "{when}");
            owner::claim(store, "cluster").await.expect_err("fenced");
        }
    }
    assert!(visited >= 3 * 12, "{visited}");
}
