//! Copies of this broker's own (`snapshot.store = "local"`): a folder in the data directory with the objects of a store.
//!
//! - A leader takes its snapshots into its own folder. What it then commits says what every replica's copies have to be:
//!   the manifest's identity. Each replica brings its own up to that (`bring`), as `shard::copies` decides.
//! - A manifest is written when each of its chunks was read back. So what a manifest here says was once true; what the disk
//!   has not kept since is found by who reads it, fetched from another replica (`peer`) and written again.
//! - What nobody needs is collected as in any store, by this broker alone; of a partition that is not here all goes (`sweep`).

pub mod bring;
pub mod peer;
mod sweep;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use raft::types::{GroupId, Member, Tick};
use snapshot::archive::Archive;
use snapshot::collect::{self, Collected};
use snapshot::copy::Donor;
use snapshot::key::Key;
use snapshot::source::{Incarnation, Source};
use tokio::sync::Notify;
use tokio::time::timeout_at;
use uuid::Uuid;

use super::{NOT_OWN, Snapshots, name_of, take};
use crate::broker::Broker;
use crate::metrics::node::OwnCopiesMetrics;
use crate::shard::{Copied, Holding, Shard};
use bring::{Bring, Brought, Error};
pub use sweep::is_gone;

/// The folder in the data directory.
pub(crate) const FOLDER: &str = "snapshots";
/// What was replaced stays for so long, in ms: a read of it may have begun.
const GRACE_MS: i64 = 60_000;
/// Nothing is copied where less of the disk is free: a fiftieth, at most this. The log stops before.
const FREE_BYTES_MAX: u64 = 128 << 20;

/// Which partition: topic and number.
pub type Place = (Uuid, i32);

/// What a broker knows of its own copies, besides what the shard does.
pub struct Own {
    /// Whether the disk has room for more.
    has_room: Box<dyn Fn() -> bool>,
    /// Chunks that could not be read.
    suspects: RefCell<BTreeMap<GroupId, BTreeSet<Key>>>,
    /// Partitions whose objects are being written, or removed.
    busy: RefCell<BTreeSet<Place>>,
    /// Somebody has looked at those of a partition.
    looked: Notify,
    /// What the folder takes, as of the last look.
    bytes: Cell<u64>,
    differences: Cell<u64>,
    failures: Cell<u64>,
    damaged: Cell<u64>,
    fetched: Cell<u64>,
    fetched_bytes: Cell<u64>,
}

/// Copies to be brought up to a committed snapshot, and out of what.
pub struct Bringing<'a, D> {
    /// The own store.
    pub archive: &'a Archive,
    /// The own log.
    pub reader: Arc<wal::Reader>,
    /// The partition.
    pub source: &'a Source,
    /// The life of the cluster.
    pub incarnation: Incarnation,
    /// Up to what.
    pub holding: &'a Holding,
    /// The other replicas, the leader first.
    pub donors: &'a [D],
    /// Where chunks are made.
    pub place: take::Place,
    /// By this broker's clock.
    pub now_ms: i64,
    /// What was replaced stays for so long, in ms.
    pub grace_ms: i64,
}

/// A partition's objects are written by one at a time.
struct Turn<'a>(&'a Own, Place);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.borrow_mut().remove(&self.1);
    }
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

impl Own {
    /// Of a broker that has just started.
    #[must_use]
    pub fn new(has_room: impl Fn() -> bool + 'static) -> Self {
        Self {
            has_room: Box::new(has_room),
            suspects: RefCell::default(),
            busy: RefCell::default(),
            looked: Notify::new(),
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
        match (self.has_room)() {
            true => Ok(()),
            false => Err(take::Error::NotNow("the disk is nearly full")),
        }
    }
}

/// Whether the disk of a folder has room for more copies.
pub(super) fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|fs| {
        let all = fs.f_blocks.saturating_mul(fs.f_frsize);
        let free = fs.f_bavail.saturating_mul(fs.f_frsize);
        free >= FREE_BYTES_MAX.min(all / 50)
    })
}

fn add(figure: &Cell<u64>, number: u64) {
    figure.set(figure.get() + number);
}

impl Snapshots {
    /// Waits until somebody has looked at a partition's own copies. False when it is no longer just after the start.
    pub(crate) async fn await_look(&self) -> bool {
        let Some(own) = &self.own else { return false };
        let looked = own.looked.notified();
        timeout_at(self.settled_at, looked).await.is_ok()
    }
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
            let outcome = broker.bring(&snapshots, own, &holding).await;
            let now = broker.now();
            own.brought(&mut broker.shard.borrow_mut(), now, &holding, outcome);
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
        snapshots.await_claim().await;
        let source = snapshots.source(&self.image(), group);
        let (source, life) = source.zip(snapshots.life()).ok_or(NOT_OWN)?;
        let donor = |node| peer::Peer {
            broker: self.clone(),
            node,
            group,
        };
        let others = self.other_members(group);
        let donors: Vec<_> = others.into_iter().map(donor).collect();
        let bringing = Bringing {
            archive: &snapshots.archive,
            reader: Arc::clone(&self.reader),
            source: &source,
            incarnation: life.incarnation,
            holding,
            donors: &donors,
            place: take::Place::Thread,
            now_ms: self.wall_ms(),
            grace_ms: GRACE_MS,
        };
        let collected = own.bring(bringing).await?;
        snapshots.note_collected("own copies", collected);
        Ok(())
    }

    /// A part of own copies could not be read: it is looked at, and brought back from elsewhere.
    pub(crate) fn suspect_copy(&self, group: GroupId, key: &Key) {
        let own = self.snapshots.as_ref().and_then(|s| s.own.as_ref());
        let Some(own) = own else { return };
        own.suspect(&mut self.shard.borrow_mut(), group, key);
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
    /// Brings copies up to a committed snapshot, and then removes what it has replaced; says what became of that. Dropped in the
    /// middle, or ended by an error, it leaves those of the former snapshot as they were.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn bring<D: Donor>(
        &self,
        of: Bringing<'_, D>,
    ) -> Result<Result<Collected, collect::Error>, Error> {
        let (group, source) = (of.holding.group, of.source);
        let turn = self.turn((source.topic_id, source.partition));
        let _turn = turn.ok_or(take::Error::NotNow("its objects are being removed"))?;
        let suspects = self
            .suspects
            .borrow_mut()
            .remove(&group)
            .unwrap_or_default();
        let bring = Bring {
            archive: of.archive,
            reader: of.reader,
            source,
            incarnation: of.incarnation,
            holding: of.holding,
            suspects: &suspects,
            donors: of.donors,
            place: of.place,
            has_room: &*self.has_room,
        };
        let outcome = bring.run().await;
        if outcome.is_err() && !suspects.is_empty() {
            // They are looked at again with the next try.
            let mut noted = self.suspects.borrow_mut();
            noted.entry(group).or_default().extend(suspects);
        }
        self.count(group, outcome?);
        let policy = collect::Policy {
            incarnation: of.incarnation,
            keep_manifests: 1,
            grace_ms: of.grace_ms,
            ..collect::Policy::default()
        };
        let store = &**of.archive.store();
        let held = name_of(source, &of.holding.stored);
        Ok(collect::partition(store, source, &held, &policy, of.now_ms).await)
    }

    fn count(&self, group: GroupId, brought: Brought) {
        add(&self.damaged, brought.damaged);
        add(&self.fetched, brought.fetched);
        add(&self.fetched_bytes, brought.fetched_bytes);
        if brought.fetched > 0 {
            let (chunks, bytes) = (brought.fetched, brought.fetched_bytes);
            tracing::info!(target: "snapshot", group = group.0, chunks, bytes, "fetched from other replicas");
        }
    }

    /// Tells the shard how it ended.
    pub fn brought(
        &self,
        shard: &mut Shard,
        now: Tick,
        holding: &Holding,
        outcome: Result<(), Error>,
    ) {
        let copied = match outcome {
            Ok(()) => Copied::Whole,
            Err(why) => self.note_failure(holding.group, &why),
        };
        shard.copied(now, holding, copied);
        // Met since it was begun.
        let is_met = self.suspects.borrow().contains_key(&holding.group);
        if is_met && copied == Copied::Whole {
            shard.note_copies_damaged(holding.group);
        }
        self.looked.notify_waiters();
    }

    /// A part of own copies could not be read.
    pub fn suspect(&self, shard: &mut Shard, group: GroupId, key: &Key) {
        let mut suspects = self.suspects.borrow_mut();
        suspects.entry(group).or_default().insert(key.clone());
        shard.note_copies_damaged(group);
    }

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
            Error::Lost { former, .. } => {
                tracing::warn!(target: "snapshot", group = group.0, %why, "the leader takes another snapshot");
                Copied::Lost(*former)
            }
            _ => {
                add(&self.failures, 1);
                tracing::warn!(target: "snapshot", group = group.0, %why, "own copies are not up to date, and tried again later");
                Copied::Failed
            }
        }
    }
}
