//! Snapshots as the broker takes and reads them: from its log into a store (`take`, `build`, `plan`; `tail`), what older reads need
//! from there, whose the store is (`life`), the cluster's own metadata in it (`cluster`), what nobody needs any more (`clean`; `sweep`
//! without brokers), what a restored replica begins with (`origin`), a log whose disk gets full (`space`), copies of this broker's own (`own`), and what is done about
//! damage (`mend`, with copies from `logs`). What a snapshot is, crate `snapshot` knows; when one is taken, `shard::snapshots`
//! decides.

mod build;
mod clean;
mod cluster;
pub(crate) mod cut;
mod life;
mod logs;
pub(crate) mod mend;
mod origin;
pub mod own;
mod plan;
mod space;
pub mod sweep;
pub mod tail;
pub mod take;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::error_code::ErrorCode;
use raft::types::GroupId;
use snapshot::archive::{self, Archive};
use snapshot::collect;
use snapshot::manifest::Name;
use snapshot::source::{Incarnation, Source};
use snapshot::store::Error::Refused;
use snapshot::store::{Folder, Store};
use uuid::Uuid;

use crate::broker::{Broker, Rejection};
use crate::config::store::StoreAddress;
use crate::controller::Failure;
use crate::driver::control::kind;
use crate::handlers::lookup;
use crate::metadata::Image;
use crate::metrics::histogram::Histogram;
use crate::metrics::node::SnapshotMetrics;
use crate::partition::stored::Stored;
use crate::shard::{TailFate, TailPart, TailWanted, Trigger, Wanted};
pub use life::StoreStatus;
use life::{Claims, Standing};
pub(crate) use own::FOLDER as OWN_FOLDER;
use take::{Subject, Take, Taken};

/// Manifests that are read at once when replicas begin with them.
const ORIGIN_READS: usize = 16;
/// So long after the start who reads waits until it is known whose the store is, and what own copies hold.
const SETTLING: Duration = Duration::from_secs(5);
/// Seconds that a snapshot takes.
const TAKE_SECONDS: &[f64] = &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];

/// The store of this broker's cluster.
pub(crate) struct Snapshots {
    archive: Archive,
    /// Where it is, as it was written.
    address: String,
    /// Whose it has to be.
    cluster_id: String,
    standing: RefCell<Standing>,
    claims: Claims,
    chunk_bytes: u64,
    /// The store is a folder of this broker alone.
    own: Option<own::Own>,
    /// From when on what is not known is not waited for.
    settled_at: tokio::time::Instant,
    collection: collect::Policy,
    /// Origins are read a few at a time.
    origin_reads: tokio::sync::Semaphore,
    /// Another snapshot has ended.
    taken: tokio::sync::Notify,
    /// What is damaged.
    mending: mend::Mending,
    figures: Figures,
}

/// What snapshots did since the start.
struct Figures {
    /// Taken and in the store.
    taken: RefCell<BTreeMap<Trigger, u64>>,
    failed: Cell<u64>,
    /// Cuts that are whole, those that were given up, and for how long the last one held everything, in ms.
    cuts: Cell<u64>,
    cuts_failed: Cell<u64>,
    cut_hold_ms: Cell<u64>,
    /// Tails that are in the store, and their bytes.
    tails: Cell<u64>,
    tail_bytes: Cell<u64>,
    /// Objects that were removed, and their bytes.
    collected: Cell<u64>,
    collected_bytes: Cell<u64>,
    /// Bytes of records that were written into chunks.
    raw_bytes: Cell<u64>,
    /// What these chunks take in the store.
    stored_bytes: Cell<u64>,
    seconds: Histogram,
}

impl Snapshots {
    /// Opens the store. It is not asked for anything yet.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub(crate) async fn open(
        config: &crate::config::Config,
        cluster: u128,
    ) -> Result<Option<Rc<Self>>, snapshot::store::Error> {
        let Some(address) = &config.node.snapshot_store else {
            return Ok(None);
        };
        let (store, own) = match address {
            StoreAddress::Shared { location, .. } => (location.open().await?, None),
            StoreAddress::Local => {
                let folder = config.node.data_dir.join(own::FOLDER);
                let opened = Folder::open_own(&folder).map_err(|why| Refused {
                    key: folder.display().to_string(),
                    why: why.to_string(),
                })?;
                let store: Arc<dyn Store> = Arc::new(opened);
                (store, Some(own::Own::new(move || own::has_room(&folder))))
            }
        };
        let cache = archive::Config {
            cache_bytes: config.node.snapshot_cache_bytes,
            ..archive::Config::default()
        };
        Ok(Some(Rc::new(Self {
            archive: Archive::new(store, cache),
            address: address.text().to_owned(),
            cluster_id: Uuid::from_u128(cluster).to_string(),
            standing: RefCell::new(Standing::Unknown(String::new())),
            claims: Claims::default(),
            chunk_bytes: config.node.snapshot_bytes,
            own,
            settled_at: tokio::time::Instant::now() + SETTLING,
            collection: collect::Policy {
                incarnation: Incarnation::FIRST,
                keep_manifests: config.node.snapshot_keep as usize,
                keep_cuts: config.node.snapshot_cuts_kept as usize,
                grace_ms: i64::try_from(config.node.snapshot_grace_ms).unwrap_or(i64::MAX),
                dry_run: false,
                unattended: false,
            },
            origin_reads: tokio::sync::Semaphore::new(ORIGIN_READS),
            taken: tokio::sync::Notify::new(),
            mending: mend::Mending::default(),
            figures: Figures {
                taken: RefCell::default(),
                failed: Cell::new(0),
                cuts: Cell::new(0),
                cuts_failed: Cell::new(0),
                cut_hold_ms: Cell::new(0),
                tails: Cell::new(0),
                tail_bytes: Cell::new(0),
                collected: Cell::new(0),
                collected_bytes: Cell::new(0),
                raw_bytes: Cell::new(0),
                stored_bytes: Cell::new(0),
                seconds: Histogram::new(TAKE_SECONDS),
            },
        })))
    }

    /// What a scrape shows.
    pub(crate) fn metrics(&self) -> SnapshotMetrics {
        let figures = &self.figures;
        let taken = figures.taken.borrow();
        let (healed, damaged) = self.mending.figures();
        let count = |trigger: Trigger| (trigger.name(), taken.get(&trigger).copied().unwrap_or(0));
        SnapshotMetrics {
            claimed: self.life().is_some(),
            healed,
            damaged,
            taken: Trigger::ALL.map(count).to_vec(),
            failed: figures.failed.get(),
            cuts: figures.cuts.get(),
            cuts_failed: figures.cuts_failed.get(),
            cut_hold_ms: figures.cut_hold_ms.get(),
            tails: figures.tails.get(),
            tail_bytes: figures.tail_bytes.get(),
            collected: figures.collected.get(),
            collected_bytes: figures.collected_bytes.get(),
            seconds: figures.seconds.read(),
            raw_bytes: figures.raw_bytes.get(),
            stored_bytes: figures.stored_bytes.get(),
            reads: self.archive.figures(),
            own: self.own.as_ref().map(own::Own::metrics),
        }
    }

    /// Whether it is this broker's alone: what takes a store that all share is refused then.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// What reads the store.
    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Whose objects a partition's are; None when there is no such partition, or nobody knows yet whose the store is.
    pub(crate) fn source(&self, image: &Image, group: GroupId) -> Option<Source> {
        let partition = image.partition(group)?;
        Some(Source {
            cluster_id: self.life()?.store_id,
            topic_id: Uuid::from_u128(partition.topic.0),
            partition: partition.partition,
        })
    }

    fn subject(&self, image: &Image, group: GroupId) -> Option<Subject> {
        let partition = image.partition(group)?;
        let topic = image.topic(partition.topic)?;
        Some(Subject {
            source: self.source(image, group)?,
            topic: topic.name.clone(),
            configs: topic.configs.clone(),
            voters: partition.replicas.iter().map(|m| m.node.0).collect(),
        })
    }

    /// Puts what partitions have changed into the store.
    async fn write_tail(
        &self,
        broker: &Broker,
        wanted: TailWanted,
    ) -> Result<Vec<TailFate>, take::Error> {
        let life = self.life().ok_or(NOT_OWN)?;
        let parts = {
            let image = broker.image();
            let place = |part: TailPart| {
                let partition = image.partition(part.group);
                let place = partition.map(|partition| tail::Place {
                    topic_id: Uuid::from_u128(partition.topic.0),
                    partition: partition.partition,
                });
                (part, place)
            };
            wanted.parts.into_iter().map(place).collect()
        };
        let tail = tail::Tail {
            reader: Arc::clone(&broker.reader),
            store_id: life.store_id,
            incarnation: life.incarnation,
            broker: broker.node.0,
            now_ms: broker.wall_ms(),
            parts,
            part_bytes: wanted.part_bytes,
        };
        let made = tail.make_aside().await?;
        let (fates, bytes) = made.put(&**self.archive.store()).await?;
        if bytes > 0 {
            let figures = &self.figures;
            figures.tails.set(figures.tails.get() + 1);
            figures.tail_bytes.set(figures.tail_bytes.get() + bytes);
        }
        Ok(fates)
    }

    async fn take(&self, broker: &Broker, wanted: Wanted) -> Result<Taken, take::Error> {
        let life = self.life().ok_or(NOT_OWN)?;
        let subject = self.subject(&broker.image(), wanted.group);
        if let Some(own) = &self.own {
            own.look_for_room()?;
        }
        let logs = logs::Logs::new(broker, BTreeMap::new());
        let take = Take {
            archive: &self.archive,
            reader: Arc::clone(&broker.reader),
            subject: subject.ok_or(take::Error::NotNow("the topic is deleted"))?,
            incarnation: life.incarnation,
            chunk_bytes: self.chunk_bytes,
            now_ms: broker.wall_ms(),
            place: take::Place::Thread,
            is_own: self.is_own(),
            mend: take::Mend {
                donor: &logs,
                anew: self.mending.anew(wanted.group),
            },
            wanted,
        };
        take.run().await
    }
}

impl Figures {
    fn count(&self, trigger: Trigger, taken: &Taken, seconds: f64) {
        *self.taken.borrow_mut().entry(trigger).or_default() += 1;
        self.raw_bytes.set(self.raw_bytes.get() + taken.raw_bytes);
        self.stored_bytes
            .set(self.stored_bytes.get() + taken.stored_bytes);
        self.seconds.observe(seconds);
    }
}

const NOT_OWN: take::Error = take::Error::NotNow("it is not known yet whose the store is");

pub(crate) fn no_such_partition(code: ErrorCode) -> Failure {
    Failure::new(code, "there is no such partition")
}

/// The name of a partition's manifest.
#[must_use]
pub fn name_of(source: &Source, stored: &Stored) -> Name {
    Name {
        source: source.clone(),
        incarnation: Incarnation(stored.incarnation),
        leader_epoch: stored.leader_epoch,
        index: stored.index,
    }
}

/// How long a leader may take to begin.
const ASK_WAIT: Duration = Duration::from_secs(5);

impl Broker {
    /// Has a partition put into the store by its leader, wherever that is, as soon as it can be.
    pub(crate) async fn snapshot_now(&self, topic: &str, partition: i32) -> Result<(), Failure> {
        let group = lookup::group_named(&self.image(), topic, partition);
        let group = group.map_err(no_such_partition)?;
        let leader = self.leading_node(group)?;
        if leader == self.node {
            return Ok(self.ask_for_snapshot(group)?);
        }
        let body = bytes::Bytes::copy_from_slice(&group.0.to_be_bytes());
        let asked = self.network.request(leader, kind::SNAPSHOT, body, ASK_WAIT);
        let refused = |why| {
            let message = format!("its leader, broker {leader}, has not begun: {why}");
            Failure::new(ErrorCode::NotLeaderOrFollower, message)
        };
        asked.await.map(|_| ()).map_err(refused)
    }

    /// The same of a partition that is led here.
    pub(crate) fn ask_for_snapshot(&self, group: GroupId) -> Result<(), Rejection> {
        let asked = self.shard.borrow_mut().ask_for_snapshot(group);
        self.work.notify_one();
        asked
    }

    /// Begins to put a partition into the store; the shard is told how it ended.
    pub(crate) fn take_snapshot(self: &Rc<Self>, wanted: Wanted) {
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            let (group, term, trigger) = (wanted.group, wanted.term, wanted.trigger);
            let began = Instant::now();
            let snapshots = broker.snapshots.clone();
            let snapshots = snapshots.expect("who has no store takes no snapshots");
            let stored = match snapshots.take(&broker, wanted).await {
                Ok(taken) => {
                    let seconds = began.elapsed().as_secs_f64();
                    snapshots.figures.count(trigger, &taken, seconds);
                    snapshots.mending.taken(group);
                    tracing::debug!(target: "snapshot", group = group.0, ?taken, seconds, "taken");
                    Some(taken.stored)
                }
                Err(why) => {
                    let failed = &snapshots.figures.failed;
                    failed.set(failed.get() + 1);
                    tracing::warn!(target: "snapshot", group = group.0, %why, "not taken, and tried again later");
                    None
                }
            };
            let now = broker.now();
            let mut shard = broker.shard.borrow_mut();
            shard.snapshot_taken(now, group, term, stored);
            drop(shard);
            snapshots.taken.notify_waiters();
            broker.work.notify_one();
        });
    }

    /// Begins to write a tail; the shard is told how it ended.
    pub(crate) fn write_tail(self: &Rc<Self>, wanted: TailWanted) {
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            let snapshots = broker.snapshots.clone();
            let snapshots = snapshots.expect("who has no store writes no tails");
            let parts = wanted.parts.len();
            let fates = match snapshots.write_tail(&broker, wanted).await {
                Ok(fates) => {
                    tracing::debug!(target: "snapshot", parts, "a tail is in the store");
                    Some(fates)
                }
                Err(why) => {
                    let failed = &snapshots.figures.failed;
                    failed.set(failed.get() + 1);
                    tracing::warn!(target: "snapshot", parts, %why, "a tail is not in the store, and tried again later");
                    None
                }
            };
            let now = broker.now();
            broker.shard.borrow_mut().tail_written(now, fates);
            broker.work.notify_one();
        });
    }
}

#[cfg(test)]
mod tests;
