//! Snapshots of a log on a model disk, into a store that fails at every request in turn.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use protocol::record_batch::{BatchBuilder, patch};
use raft::types::{Base, Entry, EntryKind, GroupId, Index, ReplicaId, Term};
use snapshot::archive;
use snapshot::owner;
use snapshot::store::memory::{Fault, Memory};
use snapshot::verify::{self, Kind};
use wal::model::ModelDisk;
use wal::{Log, Record};

use super::take::{Error, Mend, Place};
use super::*;

mod crash;
mod heal;
mod life;
mod own;
mod sweep;

const GROUP: GroupId = GroupId(1);
const REPLICA: ReplicaId = ReplicaId(1);
const RECORDS: i64 = 5;
/// So that there are several.
const CHUNK_BYTES: u64 = 1500;

/// The batch of an index, as the broker stores it: offsets follow from the index.
fn stored_batch(index: u64) -> Bytes {
    let mut builder = BatchBuilder::new();
    for number in 0..RECORDS {
        builder.value(
            index as i64 * 10 + number,
            format!("{index}:{number} ").repeat(9).as_bytes(),
        );
    }
    let mut bytes = BytesMut::from(&builder.build()[..]);
    patch(&mut bytes, (index as i64 - 1) * RECORDS, 1);
    bytes.freeze()
}

struct Partition {
    log: Log,
    last: u64,
    /// Its store is its broker's alone.
    is_own: bool,
}

impl Partition {
    fn new(batches: u64) -> Self {
        let opened = Log::open(
            ModelDisk::new(1),
            wal::Config::tiny(),
            wal::Identity::default(),
        );
        let mut log = opened.expect("a new log").0;
        let (group, replica, base) = (GROUP, REPLICA, Base::default());
        log.write(vec![Record::Base {
            group,
            replica,
            base,
        }])
        .expect("written");
        let mut partition = Self {
            log,
            last: 0,
            is_own: false,
        };
        partition.append(batches);
        partition
    }

    fn append(&mut self, batches: u64) {
        for _ in 0..batches {
            self.last += 1;
            let entry = Entry {
                index: Index(self.last),
                term: Term(1),
                kind: EntryKind::Records,
                payload: stored_batch(self.last),
            };
            let (group, replica, entries) = (GROUP, REPLICA, vec![entry]);
            self.log
                .write(vec![Record::Entries {
                    group,
                    replica,
                    entries,
                }])
                .expect("written");
        }
    }

    fn end(&self) -> i64 {
        self.last as i64 * RECORDS
    }

    /// Takes a snapshot of everything.
    async fn take(&self, archive: &Archive, before: Option<Stored>) -> Result<Taken, Error> {
        let wanted = Wanted {
            group: GROUP,
            replica: REPLICA,
            term: Term(1),
            index: Index(self.last),
            index_term: Term(1),
            log_start: 0,
            local_start: 0,
            next_offset: self.end(),
            state: Bytes::from_static(b"state"),
            epochs: vec![(1, 0)],
            bytes: 0,
            before,
            trigger: Trigger::Time,
        };
        let take = Take {
            archive,
            reader: self.log.reader(),
            subject: subject(),
            incarnation: Incarnation(1),
            chunk_bytes: CHUNK_BYTES,
            wanted,
            now_ms: 7,
            place: Place::Thread,
            is_own: self.is_own,
            mend: Mend::default(),
        };
        take.run().await
    }
}

fn subject() -> Subject {
    Subject {
        source: Source {
            cluster_id: "cluster".to_owned(),
            topic_id: Uuid::from_u128(7),
            partition: 0,
        },
        topic: "topic".to_owned(),
        configs: BTreeMap::new(),
        voters: vec![1, 2, 3],
    }
}

async fn archive(store: &Memory) -> Archive {
    owner::claim(store, "cluster").await.expect("it is new");
    Archive::new(Arc::new(store.clone()), archive::Config::default())
}

/// Everything that a snapshot holds, batch by batch, read as consumers do.
async fn read_all(archive: &Archive, stored: &Stored) -> Vec<Bytes> {
    let name = name_of(&subject().source, stored);
    let manifest = archive.manifest(&name).await.expect("the manifest");
    let mut all = Vec::new();
    let mut next = manifest.log_start;
    while next < stored.next_offset {
        let batches = archive
            .batches(&manifest, next, 1000)
            .await
            .expect("batches");
        next += RECORDS * batches.len() as i64;
        all.extend(batches);
    }
    all
}

fn expected(partition: &Partition) -> Vec<Bytes> {
    (1..=partition.last).map(stored_batch).collect()
}

#[tokio::test]
async fn a_snapshot_holds_what_the_log_holds() {
    let store = Memory::default();
    let archive = archive(&store).await;
    let mut partition = Partition::new(20);
    let first = partition.take(&archive, None).await.expect("taken");
    assert_eq!(
        read_all(&archive, &first.stored).await,
        expected(&partition)
    );
    let chunks = store.objects().len() - 2;
    assert!(chunks >= 3, "{chunks}");

    partition.append(13);
    let second = partition
        .take(&archive, Some(first.stored))
        .await
        .expect("taken");
    assert_eq!(
        read_all(&archive, &second.stored).await,
        expected(&partition)
    );
    assert!(
        second.raw_bytes < first.raw_bytes,
        "only what is new, about"
    );
    // The first one is as it was.
    assert_eq!(
        read_all(&archive, &first.stored).await,
        expected(&partition)[..20]
    );
    let report = verify::store(&store).await.expect("readable");
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test]
async fn a_log_that_lacks_a_part_makes_no_snapshot() {
    let store = Memory::default();
    let archive = archive(&store).await;
    let mut partition = Partition::new(9);
    let base = Base {
        index: Index(4),
        term: Term(1),
        ..Base::default()
    };
    let (group, replica) = (GROUP, REPLICA);
    partition
        .log
        .write(vec![Record::Base {
            group,
            replica,
            base,
        }])
        .expect("written");
    let failed = partition
        .take(&archive, None)
        .await
        .expect_err("it lacks offset 0");
    assert!(matches!(failed, Error::Build(_)), "{failed}");
    let manifests = store
        .objects()
        .into_keys()
        .filter(|key| key.as_str().ends_with(".json"));
    assert_eq!(manifests.count(), 1, "only the owner's object");
}

/// The last snapshot holds whatever happens, and the next try succeeds.
#[tokio::test]
async fn c1_a_fault_at_any_request_leaves_no_half_snapshot() {
    let mut tried = 0;
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Dead] {
        for number in 0.. {
            let store = Memory::default();
            let mut partition = Partition::new(6);
            let first = partition.take(&archive(&store).await, None).await;
            let first = first.expect("taken").stored;
            partition.append(9);
            store.fail(number, fault);
            // A new one has nothing in its memory.
            let cold = Archive::new(Arc::new(store.clone()), archive::Config::default());
            let outcome = partition.take(&cold, Some(first)).await;
            let is_over = store.requests().len() <= number;
            store.heal();

            let report = verify::store(&store).await.expect("readable");
            let harmless = |kind: &Kind| matches!(kind, Kind::Orphan);
            let findings = report.findings.iter();
            let bad: Vec<_> = findings
                .filter(|finding| !harmless(&finding.kind))
                .collect();
            assert!(bad.is_empty(), "{fault:?} at {number}: {bad:?}");
            assert_eq!(
                read_all(&archive(&store).await, &first).await,
                expected(&partition)[..6]
            );
            let again = partition.take(&archive(&store).await, Some(first)).await;
            let again = again.unwrap_or_else(|why| panic!("{fault:?} at {number}: {why}"));
            let read = read_all(&archive(&store).await, &again.stored).await;
            assert_eq!(read, expected(&partition), "{fault:?} at {number}");
            if is_over {
                outcome.expect("without a fault it is taken");
                break;
            }
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}
