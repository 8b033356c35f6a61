//! Copies of this broker's own (`snapshot.store = "local"`): a folder in the data directory with the objects of a store.
//!
//! - A leader takes its snapshots into its own folder. What it then commits says what every replica's copies have to be:
//!   the manifest's identity. Each replica brings its own up to that (`bring`), as `shard::copies` decides.
//! - A manifest is written when each of its chunks was read back. So what a manifest here says was once true; what the disk
//!   has not kept since is found by who reads it, fetched from another replica (`peer`) and written again.
//! - What nobody needs is collected as in any store, by this broker alone; of a partition that is not here all goes (`sweep`).

pub(super) mod bring;
pub(super) mod peer;
mod sweep;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use raft::types::{GroupId, Member};
use snapshot::collect;
use snapshot::key::Key;
use uuid::Uuid;

use super::{NOT_OWN, Snapshots, name_of, take};
use crate::broker::Broker;
use crate::metrics::node::OwnCopiesMetrics;
use crate::shard::{Copied, Holding};
use bring::{Bring, Error};

/// The folder in the data directory.
pub(crate) const FOLDER: &str = "snapshots";
/// What was replaced stays for so long, in ms: a read of it may have begun.
const GRACE_MS: i64 = 60_000;
/// Nothing is copied where less of the disk is free: a fiftieth, at most this. The log stops before.
const FREE_BYTES_MAX: u64 = 128 << 20;

/// Which partition: topic and number.
type Place = (Uuid, i32);

/// See the module.
pub(super) struct Own {
    folder: PathBuf,
    /// Chunks that could not be read.
    suspects: RefCell<BTreeMap<GroupId, BTreeSet<Key>>>,
    /// Partitions whose objects are being written, or removed.
    busy: RefCell<BTreeSet<Place>>,
    /// What the folder takes, as of the last look.
    bytes: Cell<u64>,
    differences: Cell<u64>,
    failures: Cell<u64>,
    damaged: Cell<u64>,
    fetched: Cell<u64>,
    fetched_bytes: Cell<u64>,
}

/// A partition's objects are written by one at a time.
struct Turn<'a>(&'a Own, Place);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.borrow_mut().remove(&self.1);
    }
}

impl Own {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            suspects: RefCell::default(),
            busy: RefCell::default(),
            bytes: Cell::new(0),
            differences: Cell::new(0),
            failures: Cell::new(0),
            damaged: Cell::new(0),
            fetched: Cell::new(0),
            fetched_bytes: Cell::new(0),
        }
    }

    fn turn(&self, place: Place) -> Option<Turn<'_>> {
        let is_free = self.busy.borrow_mut().insert(place);
        is_free.then(|| Turn(self, place))
    }

    /// What a scrape shows, besides what the replicas know.
    pub(super) fn metrics(&self) -> OwnCopiesMetrics {
        OwnCopiesMetrics {
            bytes: self.bytes.get(),
            differences: self.differences.get(),
            failures: self.failures.get(),
            damaged: self.damaged.get(),
            fetched: self.fetched.get(),
            fetched_bytes: self.fetched_bytes.get(),
            ..OwnCopiesMetrics::default()
        }
    }

    /// Refuses where the log is about to need the room.
    pub(super) fn look_for_room(&self) -> Result<(), take::Error> {
        match has_room(&self.folder) {
            true => Ok(()),
            false => Err(take::Error::NotNow("the disk is nearly full")),
        }
    }
}

fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|fs| {
        let all = fs.f_blocks.saturating_mul(fs.f_frsize);
        let free = fs.f_bavail.saturating_mul(fs.f_frsize);
        free >= FREE_BYTES_MAX.min(all / 50)
    })
}

fn add(figure: &Cell<u64>, number: u64) {
    figure.set(figure.get() + number);
}

impl Broker {
    /// Begins to bring own copies up to a committed snapshot; the shard is told how it ended.
    pub(crate) fn hold_snapshot(self: &Rc<Self>, holding: Holding) {
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            let snapshots = broker.snapshots.clone();
            let snapshots = snapshots.expect("who has no store holds nothing");
            let own = snapshots.own.as_ref();
            let own = own.expect("who shares a store has no copies of its own");
            let copied = match broker.bring(&snapshots, own, &holding).await {
                Ok(()) => Copied::Whole,
                Err(why) => own.note_failure(holding.group, &why),
            };
            let now = broker.now();
            let mut shard = broker.shard.borrow_mut();
            shard.copied(now, &holding, copied);
            // Met since it was begun.
            let is_met = own.suspects.borrow().contains_key(&holding.group);
            if is_met && copied == Copied::Whole {
                shard.note_copies_damaged(holding.group);
            }
            drop(shard);
            broker.work.notify_one();
        });
    }

    async fn bring(
        self: &Rc<Self>,
        snapshots: &Snapshots,
        own: &Own,
        holding: &Holding,
    ) -> Result<(), Error> {
        let group = holding.group;
        let source = snapshots.source(&self.image(), group);
        let (source, life) = source.zip(snapshots.life()).ok_or(NOT_OWN)?;
        let turn = own.turn((source.topic_id, source.partition));
        let _turn = turn.ok_or(take::Error::NotNow("its objects are being removed"))?;
        let suspects = own.suspects.borrow_mut().remove(&group).unwrap_or_default();
        let donor = |node| peer::Peer {
            broker: self.clone(),
            node,
            group,
        };
        let others = self.other_members(group);
        let donors: Vec<_> = others.into_iter().map(donor).collect();
        let bring = Bring {
            archive: &snapshots.archive,
            reader: Arc::clone(&self.reader),
            source: &source,
            incarnation: life.incarnation,
            holding,
            suspects: &suspects,
            donors: &donors,
            place: take::Place::Thread,
            has_room: &|| has_room(&own.folder),
        };
        let outcome = bring.run().await;
        if outcome.is_err() && !suspects.is_empty() {
            // They are looked at again with the next try.
            let mut noted = own.suspects.borrow_mut();
            noted.entry(group).or_default().extend(suspects);
        }
        let brought = outcome?;
        add(&own.damaged, brought.damaged);
        add(&own.fetched, brought.fetched);
        add(&own.fetched_bytes, brought.fetched_bytes);
        if brought.fetched > 0 {
            let (chunks, bytes) = (brought.fetched, brought.fetched_bytes);
            tracing::info!(target: "snapshot", group = group.0, chunks, bytes, "fetched from other replicas");
        }
        let policy = collect::Policy {
            incarnation: life.incarnation,
            keep_manifests: 1,
            grace_ms: GRACE_MS,
            ..collect::Policy::default()
        };
        let store = &**snapshots.archive.store();
        let held = name_of(&source, &holding.stored);
        let now_ms = self.wall_ms();
        let collected = collect::partition(store, &source, &held, &policy, now_ms).await;
        snapshots.note_collected("own copies", collected);
        Ok(())
    }

    /// A part of own copies could not be read: it is looked at, and brought back from elsewhere.
    pub(crate) fn suspect_copy(&self, group: GroupId, key: &Key) {
        let own = self.snapshots.as_ref().and_then(|s| s.own.as_ref());
        let Some(own) = own else { return };
        let mut suspects = own.suspects.borrow_mut();
        suspects.entry(group).or_default().insert(key.clone());
        self.shard.borrow_mut().note_copies_damaged(group);
        self.work.notify_one();
    }

    /// Asks learners that are to vote whether they hold everything; the shard is told when all do.
    pub(crate) fn ask_whole(
        self: &Rc<Self>,
        (group, term): (GroupId, raft::types::Term),
        index: raft::types::Index,
        newcomers: Vec<Member>,
    ) {
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            for member in &newcomers {
                if !peer::is_whole(&broker, group, member, index).await {
                    tracing::debug!(target: "snapshot", group = group.0, node = member.node.0, "not whole yet");
                    return;
                }
            }
            let now = broker.now();
            let mut shard = broker.shard.borrow_mut();
            shard.newcomers_are_whole(now, group, term, &newcomers);
            drop(shard);
            broker.work.notify_one();
        });
    }
}

impl Own {
    fn note_failure(&self, group: GroupId, why: &Error) -> Copied {
        match why {
            Error::Differs { .. } => {
                add(&self.differences, 1);
                tracing::error!(
                    target: "snapshot", group = group.0, %why,
                    "this replica's log differs from what was committed: it keeps its whole log, find out which one is right"
                );
                Copied::Differs
            }
            Error::Lost(_) => {
                tracing::warn!(target: "snapshot", group = group.0, %why, "the leader takes another snapshot");
                Copied::Lost
            }
            _ => {
                add(&self.failures, 1);
                tracing::warn!(target: "snapshot", group = group.0, %why, "own copies are not up to date, and tried again later");
                Copied::Failed
            }
        }
    }
}
