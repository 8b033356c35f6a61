use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use uuid::Uuid;

use super::{BATCH, Collected, Error, Policy, deleted_topics, partition};
use crate::key::{self, Key};
use crate::manifest::{Manifest, Name};
use crate::source::{Incarnation, Source};
use crate::store::memory::{Fault, Memory, Request};
use crate::store::{Condition, Folder, Listed, Store};
use crate::testing::{batches, empty_manifest, put_chunk, put_manifest, source};

/// Whose store it is.
const STORE: &str = "cluster-of-tests";
const HOUR: i64 = 3_600_000;
/// Everything is older than an hour.
const LATE: i64 = 100 * HOUR;

/// Six manifests of one partition, one an hour, each over the chunk of its hour and the one before; the fifth one is
/// committed. And a chunk that none of them names.
struct History {
    store: Memory,
    source: Source,
    manifests: Vec<Manifest>,
    stray: Key,
}

impl History {
    async fn of(store: &Memory, source: Source) -> Self {
        let mut manifest = empty_manifest(&source);
        let mut manifests = Vec::new();
        for hour in 1..=6_i64 {
            store.set_clock(hour * HOUR);
            manifest.index = 100 * hour.unsigned_abs();
            let next_offset = manifest.next_offset + 20;
            let records = batches(manifest.next_offset, 2, 1);
            put_chunk(store, &mut manifest, &records, next_offset).await;
            if manifest.chunks.len() > 2 {
                manifest.chunks.remove(0);
                manifest.log_start = manifest.chunks[0].chunk.first_offset;
            }
            put_manifest(store, &manifest).await;
            manifests.push(manifest.clone());
        }
        store.set_clock(HOUR);
        let stray = key::chunk(&source, Incarnation(1), 0, 1, 55);
        let put = store.put(&stray, "given up".into(), Condition::Absent);
        put.await.expect("stored");
        Self {
            store: store.clone(),
            source,
            manifests,
            stray,
        }
    }

    async fn new() -> Self {
        Self::of(&Memory::default(), source(1)).await
    }

    fn committed(&self) -> Name {
        self.manifests[4].name()
    }

    async fn collect(&self, policy: &Policy, now_ms: i64) -> Result<Collected, Error> {
        partition(&self.store, &self.source, &self.committed(), policy, now_ms).await
    }

    fn is_there(&self, key: &Key) -> bool {
        self.store.objects().contains_key(key)
    }

    /// The numbers of the manifests that are there, and of the chunks.
    fn left(&self) -> (Vec<usize>, Vec<usize>) {
        let there = |key: &dyn Fn(usize) -> Key| -> Vec<usize> {
            let found = (0..6).filter(|at| self.is_there(&key(*at)));
            found.map(|at| at + 1).collect()
        };
        let chunk = |at: usize| self.manifests[at].chunks.last().expect("one").key.clone();
        (there(&|at| self.manifests[at].key()), there(&chunk))
    }

    fn assert_untouched(&self) {
        let all = vec![1, 2, 3, 4, 5, 6];
        assert_eq!(self.left(), (all.clone(), all));
        assert!(self.is_there(&self.stray));
    }

    /// No manifest that is there lacks a chunk.
    fn assert_closed(&self, when: &str) {
        for manifest in &self.manifests {
            if !self.is_there(&manifest.key()) {
                continue;
            }
            for named in &manifest.chunks {
                let index = manifest.index;
                assert!(
                    self.is_there(&named.key),
                    "{when}: {index} lacks {}",
                    named.key
                );
            }
        }
    }
}

fn policy() -> Policy {
    Policy::default()
}

#[tokio::test]
async fn the_newest_at_or_below_the_committed_one_stay_with_what_they_reach() {
    let history = History::new().await;
    let before: BTreeMap<Key, Bytes> = history.store.objects();
    let collected = history.collect(&policy(), LATE).await.expect("collected");
    assert_eq!(history.left(), (vec![3, 4, 5, 6], vec![2, 3, 4, 5, 6]));
    assert!(!history.is_there(&history.stray));
    let kept = (collected.kept_manifests, collected.kept_chunks);
    assert_eq!((kept, collected.young, collected.unknown), ((4, 5), 0, 0));
    let after = history.store.objects();
    let gone: BTreeSet<&Key> = before.keys().filter(|k| !after.contains_key(*k)).collect();
    assert_eq!(collected.deleted.iter().collect::<BTreeSet<_>>(), gone);
    assert_eq!(collected.deleted.len(), 4);
    let bytes: usize = gone.iter().map(|key| before[*key].len()).sum();
    assert_eq!(collected.bytes, bytes as u64);
    // Manifests first.
    let is_manifest = |key: &Key| key.as_str().contains("/manifests/");
    assert!(collected.deleted[..2].iter().all(is_manifest));
    assert!(!collected.deleted[2..].iter().any(is_manifest));

    let again = history.collect(&policy(), LATE).await.expect("collected");
    let nothing = Collected {
        kept_manifests: 4,
        kept_chunks: 5,
        ..Collected::default()
    };
    assert_eq!(again, nothing);
}

#[tokio::test]
async fn the_committed_one_stays_however_few_are_wanted() {
    for keep_manifests in [0, 1] {
        let history = History::new().await;
        let policy = Policy {
            keep_manifests,
            ..policy()
        };
        history.collect(&policy, LATE).await.expect("collected");
        assert_eq!(history.left(), (vec![5, 6], vec![4, 5, 6]));
    }
    let history = History::new().await;
    let policy = Policy {
        keep_manifests: 100,
        ..policy()
    };
    history.collect(&policy, LATE).await.expect("collected");
    assert_eq!(history.left().0, [1, 2, 3, 4, 5, 6]);
}

/// X13: a leader was deposed after its manifest was in the store, before it was committed. Or it is the collector that
/// was deposed, and the manifest its successor's.
#[tokio::test]
async fn x13_a_newer_manifest_stays_with_what_it_reaches_until_a_newer_one_is_committed() {
    let history = History::new().await;
    let collected = history.collect(&policy(), LATE).await.expect("collected");
    assert_eq!(collected.kept_manifests, 4);
    assert_eq!(history.left(), (vec![3, 4, 5, 6], vec![2, 3, 4, 5, 6]));
    let mut next = history.manifests[5].clone();
    for _ in 0..3 {
        next.leader_epoch += 1;
        put_manifest(&history.store, &next).await;
    }
    let outcome = partition(
        &history.store,
        &history.source,
        &next.name(),
        &policy(),
        LATE,
    )
    .await;
    outcome.expect("collected");
    assert_eq!(
        history.left(),
        (vec![], vec![5, 6]),
        "it is none of the newest"
    );
}

#[tokio::test]
async fn what_is_young_stays() {
    let history = History::new().await;
    let grace_ms = 5 * HOUR;
    let patient = Policy {
        grace_ms,
        keep_manifests: 1,
        ..policy()
    };
    // At half past seven, what was written from half past two on is young; the stray chunk is of one.
    let collected = history.collect(&patient, 7 * HOUR + HOUR / 2).await;
    let collected = collected.expect("collected");
    assert_eq!(history.left(), (vec![3, 4, 5, 6], vec![2, 3, 4, 5, 6]));
    assert!(!history.is_there(&history.stray));
    assert_eq!(collected.young, 0);
    // A chunk whose manifest is still to come.
    let history = History::new().await;
    history.store.set_clock(LATE - 1);
    let coming = key::chunk(&history.source, Incarnation(1), 120, 1, 700);
    let put = history.store.put(&coming, "x".into(), Condition::Absent);
    put.await.expect("stored");
    let collected = history.collect(&policy(), LATE).await.expect("collected");
    assert!(history.is_there(&coming));
    assert_eq!(collected.young, 1);
    // A clock that went back makes nothing old, and neither does one at its end.
    let history = History::new().await;
    let collected = history
        .collect(&policy(), i64::MIN)
        .await
        .expect("collected");
    assert_eq!(collected.deleted, []);
    history.assert_untouched();
}

#[tokio::test]
async fn what_has_to_stay_and_cannot_be_read_stops_the_collection() {
    let kept = [2, 3, 4, 5];
    for at in kept {
        let history = History::new().await;
        let manifest = &history.manifests[at];
        let mut bent = manifest.encode().to_vec();
        bent[30] ^= 1;
        let foreign = Manifest {
            source: source(9),
            ..manifest.clone()
        };
        for bytes in [Bytes::from(bent), Bytes::new(), foreign.encode()] {
            history.store.tamper(&manifest.key(), Some(bytes));
            let why = history
                .collect(&policy(), LATE)
                .await
                .expect_err("unreadable");
            assert!(matches!(&why, Error::Unreadable { key, .. } if *key == manifest.key()));
            assert!(!why.retriable());
            history.assert_untouched();
        }
    }
    // What goes needs no reading.
    let history = History::new().await;
    for at in [0, 1] {
        let key = history.manifests[at].key();
        history.store.tamper(&key, Some("damaged".into()));
    }
    history.collect(&policy(), LATE).await.expect("collected");
    assert_eq!(history.left(), (vec![3, 4, 5, 6], vec![2, 3, 4, 5, 6]));
}

#[tokio::test]
async fn what_has_to_be_there_and_is_not_stops_the_collection() {
    let history = History::new().await;
    let committed = &history.manifests[4];
    let gone = [committed.key(), committed.chunks[0].key.clone()];
    for key in gone {
        let bytes = history.store.objects()[&key].clone();
        history.store.tamper(&key, None);
        let why = history.collect(&policy(), LATE).await.expect_err("gone");
        assert!(
            matches!(&why, Error::Missing(missing) if *missing == key),
            "{why}"
        );
        history.store.tamper(&key, Some(bytes));
        history.assert_untouched();
    }
}

#[tokio::test]
async fn a_dry_run_says_what_would_go_and_removes_nothing() {
    let history = History::new().await;
    let dry = Policy {
        dry_run: true,
        ..policy()
    };
    let said = history.collect(&dry, LATE).await.expect("looked at");
    history.assert_untouched();
    let done = history.collect(&policy(), LATE).await.expect("collected");
    assert_eq!(said, done);
    assert_eq!(done.deleted.len(), 4);
}

#[tokio::test]
async fn objects_of_others_are_not_touched() {
    let store = Memory::default();
    let history = History::of(&store, source(1)).await;
    let neighbour = Source {
        partition: 33,
        ..source(1)
    };
    let neighbour = History::of(&store, neighbour).await;
    let strange = "topics/00000000-0000-0000-0000-000000000001/3/chunks/notes.txt";
    let strange = Key::parse(strange).expect("a name");
    store.tamper(&strange, Some("mine".into()));
    let collected = history.collect(&policy(), LATE).await.expect("collected");
    assert_eq!((collected.unknown, collected.deleted.len()), (1, 4));
    assert!(history.is_there(&strange));
    neighbour.assert_untouched();
}

/// X7: the bucket was restored elsewhere, and the old cluster is still alive.
#[tokio::test]
async fn x7_where_a_later_life_was_begun_the_earlier_one_removes_nothing() {
    let second = key::incarnation(Incarnation(2));
    let history = History::new().await;
    history.store.tamper(&second, Some("begun".into()));
    let why = history
        .collect(&policy(), LATE)
        .await
        .expect_err("superseded");
    assert!(matches!(why, Error::Superseded(key) if key == second));
    let why = deleted_topics(&history.store, STORE, &alive(9), &policy(), LATE).await;
    assert!(matches!(why, Err(Error::Superseded(key)) if key == second));
    history.assert_untouched();
    // What it inherited is its own to collect.
    let own = Policy {
        incarnation: Incarnation(2),
        ..policy()
    };
    history.collect(&own, LATE).await.expect("collected");
    assert_eq!(history.left().0, [3, 4, 5, 6]);

    // A manifest says it as well.
    let history = History::new().await;
    let mut manifest = history.manifests[5].clone();
    manifest.incarnation = Incarnation(2);
    put_manifest(&history.store, &manifest).await;
    let why = history
        .collect(&policy(), LATE)
        .await
        .expect_err("superseded");
    assert!(matches!(why, Error::Superseded(key) if key == manifest.key()));
    history.assert_untouched();
}

fn alive(number: u128) -> BTreeSet<Uuid> {
    BTreeSet::from([source(number).topic_id])
}

#[tokio::test]
async fn of_a_deleted_topic_everything_goes_after_the_grace() {
    let store = Memory::default();
    let dead = History::of(&store, source(1)).await;
    let living = History::of(&store, source(2)).await;
    let before = store.objects();
    // While a manifest is young, what it reaches stays.
    let young = deleted_topics(&store, STORE, &alive(2), &policy(), 7 * HOUR - 1).await;
    let young = young.expect("collected");
    assert_eq!((young.young, young.deleted.len()), (13, 0));
    let dry = Policy {
        dry_run: true,
        ..policy()
    };
    let said = deleted_topics(&store, STORE, &alive(2), &dry, 7 * HOUR).await;
    dead.assert_untouched();
    let done = deleted_topics(&store, STORE, &alive(2), &policy(), 7 * HOUR).await;
    let done = done.expect("collected");
    assert_eq!(said.expect("looked at"), done);
    assert_eq!((dead.left(), done.deleted.len()), ((vec![], vec![]), 13));
    living.assert_untouched();
    let bytes: usize = done.deleted.iter().map(|key| before[key].len()).sum();
    assert_eq!(done.bytes, bytes as u64);
    let again = deleted_topics(&store, STORE, &alive(2), &policy(), LATE).await;
    assert_eq!(again.expect("collected"), Collected::default());
}

/// Missing metadata deletes nothing.
#[tokio::test]
async fn without_any_topic_nothing_is_removed() {
    let history = History::new().await;
    let none = BTreeSet::new();
    let why = deleted_topics(&history.store, STORE, &none, &policy(), LATE).await;
    assert!(matches!(why, Err(Error::NothingAlive)));
    history.assert_untouched();
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Partition,
    Topic,
}

async fn run(what: What, history: &History) -> Result<Collected, Error> {
    match what {
        What::Partition => history.collect(&policy(), LATE).await,
        What::Topic => deleted_topics(&history.store, STORE, &alive(2), &policy(), LATE).await,
    }
}

/// Whichever request is the last one, or fails, or is not answered.
#[tokio::test]
async fn wherever_it_ends_no_manifest_lacks_a_chunk_and_the_next_run_finishes() {
    for what in [What::Partition, What::Topic] {
        let clean = History::new().await;
        clean.store.fail(usize::MAX, Fault::Dead);
        run(what, &clean).await.expect("collected");
        let requests = clean.store.requests();
        let is_delete = |request: &&Request| matches!(request, Request::Delete(_));
        let deletes = requests.iter().filter(is_delete).count();
        assert_eq!(deletes, if what == What::Partition { 4 } else { 13 });
        let mut partly = 0;
        for number in 0..requests.len() {
            for fault in [Fault::Refused, Fault::AnswerLost, Fault::Dead] {
                let when = format!("request {number}, {fault:?}");
                let history = History::new().await;
                history.store.fail(number, fault);
                let why = run(what, &history).await.expect_err("it failed");
                assert!(why.retriable(), "{when}: {why}");
                history.assert_closed(&when);
                if what == What::Partition {
                    let kept = [2, 3, 4].map(|at| history.manifests[at].key());
                    assert!(kept.iter().all(|key| history.is_there(key)), "{when}");
                }
                partly += usize::from(history.store.objects().len() < 13);
                history.store.heal();
                run(what, &history).await.expect("it finishes");
                assert_eq!(history.store.objects(), clean.store.objects(), "{when}");
            }
        }
        assert!(
            partly > 2 * deletes,
            "{partly}: it never ended in the middle"
        );
    }
}

/// Another life of the cluster may begin at any time.
#[tokio::test]
async fn before_every_batch_it_is_looked_for_a_later_life() {
    let history = History::new().await;
    for index in 0..250 {
        let key = key::chunk(&history.source, Incarnation(1), 0, 0, index);
        history.store.tamper(&key, Some("x".into()));
    }
    history.store.fail(usize::MAX, Fault::Dead);
    let collected = history.collect(&policy(), LATE).await.expect("collected");
    assert_eq!(collected.deleted.len(), 254);
    let requests = history.store.requests();
    let looks = Request::List("incarnations/".to_owned());
    let batches: Vec<usize> = requests
        .split(|request| *request == looks)
        .map(|between| {
            between
                .iter()
                .filter(|r| matches!(r, Request::Delete(_)))
                .count()
        })
        .filter(|deletes| *deletes > 0)
        .collect();
    assert_eq!(batches, [2, BATCH, BATCH, 52]);
}

/// More than a page, with the times of a file system.
#[tokio::test]
async fn in_a_folder_with_many_objects() {
    let memory = Memory::default();
    let history = History::of(&memory, source(1)).await;
    let root = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(root.path()).expect("a store");
    for (key, bytes) in memory.objects() {
        let put = folder.put(&key, bytes, Condition::Absent);
        put.await.expect("stored");
    }
    let strays = (0..1_100).map(|index| key::chunk(&history.source, Incarnation(1), 0, 0, index));
    let strays: Vec<_> = strays.map(|key| root.path().join(key.as_str())).collect();
    for path in &strays {
        std::fs::write(path, "x").expect("written");
    }
    let listed: Vec<Listed> = folder.list("", None, 1).await.expect("a list");
    let written_ms = listed[0].modified_ms;
    let collect = async |now_ms, dry_run| {
        let committed = history.committed();
        let policy = Policy {
            dry_run,
            ..policy()
        };
        let done = partition(&folder, &history.source, &committed, &policy, now_ms).await;
        done.expect("collected")
    };
    let young = collect(written_ms, false).await;
    assert_eq!((young.deleted.len(), young.kept_manifests), (0, 6));
    assert_eq!(young.young, 1_101);
    let all = collect(written_ms + LATE, true).await;
    assert_eq!((all.deleted.len(), all.kept_chunks), (1_104, 5));
    // The folder syncs every removal: a few will do.
    for path in &strays {
        std::fs::remove_file(path).expect("removed");
    }
    let done = collect(written_ms + LATE, false).await;
    assert_eq!(done.deleted.len(), 4);
    let left = folder.list("", None, 100).await.expect("a list");
    assert_eq!(left.len(), 9);
}
