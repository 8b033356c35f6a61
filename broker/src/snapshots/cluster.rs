//! The cluster's own metadata in the store, written by the controller whenever it changes: without it nobody knows which
//! topics there were.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use raft::types::GroupId;
use snapshot::cluster::{self, Cluster, Topic};
use snapshot::collect;
use snapshot::owner::Life;
use uuid::Uuid;

use super::Snapshots;
use crate::broker::Broker;
use crate::metadata::{ConfigScope, Image};

/// What could not be written is tried again after so long; and who does not know whose the store is asks again.
const RETRY: Duration = Duration::from_secs(2);

/// Changes that come one after the other are written together, at most so late.
const BETWEEN_MAX: Duration = Duration::from_secs(1);

/// What this broker, as controller, has done.
#[derive(Default)]
struct Done {
    written: Option<Cluster>,
    collected: Option<Instant>,
}

impl Broker {
    /// Keeps the cluster's metadata in the store, and removes from there what is of deleted topics, while this broker is
    /// the controller.
    pub(crate) async fn keep_cluster_stored(self: Rc<Self>, snapshots: Rc<Snapshots>) {
        let mut done = Done::default();
        let lag = Duration::from_millis(self.config.node.snapshot_lag_max_ms / 2);
        let between = lag.min(BETWEEN_MAX);
        loop {
            let moved = self.progress(&[GroupId::METADATA]);
            let wait = match self.store_cluster(&snapshots, &mut done).await {
                Ok(()) => snapshots.collect_every(),
                Err(why) => {
                    tracing::warn!(target: "snapshot", %why, "the cluster's metadata is not in the store");
                    RETRY
                }
            };
            // However it ends, it is looked at again.
            let _ = tokio::time::timeout(wait, moved).await;
            tokio::time::sleep(between).await;
        }
    }

    async fn store_cluster(&self, snapshots: &Snapshots, done: &mut Done) -> Result<(), Error> {
        // NB: what is written or collected from here on is as of this moment, however long it takes.
        let now_ms = self.wall_ms();
        let Some(epoch) = self.controller_epoch() else {
            *done = Done::default();
            return Ok(());
        };
        let life = snapshots.life().ok_or(Error::NotOwn)?;
        let is_same = |written: &Cluster, wanted: &Cluster| {
            let (index, created_ms) = (written.index, written.created_ms);
            *written
                == Cluster {
                    index,
                    created_ms,
                    ..wanted.clone()
                }
        };
        let wanted = {
            let image = self.image();
            if !image.is_complete(life.incarnation.0) {
                return Ok(());
            }
            cluster_of(&image, &life, epoch, now_ms)
        };
        let (store, policy) = (&**snapshots.archive().store(), snapshots.collection(&life));
        if !done
            .written
            .as_ref()
            .is_some_and(|written| is_same(written, &wanted))
        {
            wanted.put(store).await?;
            let body = snapshot::sealed::encode(&wanted);
            snapshots.mending.note_written(wanted.key(), body);
            let outcome = collect::metadata(store, &policy, now_ms).await;
            self.note_collection(snapshots, "metadata", outcome);
            done.written = Some(wanted.clone());
        }
        let is_due = |at: Instant| at.elapsed() >= snapshots.collect_every();
        let alive: BTreeSet<Uuid> = wanted.topics.iter().map(|topic| topic.id).collect();
        if !alive.is_empty() && done.collected.is_none_or(is_due) {
            done.collected = Some(Instant::now());
            let id = &life.store_id;
            // NB: tails first: a deleted topic's manifests say that it was not left by a restore.
            let outcome = collect::tails(store, id, &alive, &policy, now_ms).await;
            self.note_collection(snapshots, "tails", outcome);
            let outcome = collect::deleted_topics(store, id, &alive, &policy, now_ms).await;
            self.note_collection(snapshots, "deleted topics", outcome);
            let outcome = collect::cuts(store, &policy, now_ms).await;
            self.note_collection(snapshots, "cuts", outcome);
        }
        Ok(())
    }

    /// What ends a collection for good is damage, as far as anybody knows.
    fn note_collection(
        &self,
        snapshots: &Snapshots,
        what: &str,
        outcome: Result<collect::Collected, collect::Error>,
    ) {
        if outcome.as_ref().is_err_and(|why| !why.retriable()) {
            snapshots.note_damage(GroupId::METADATA, &snapshot::key::owner());
        }
        snapshots.note_collected(what, outcome);
    }

    /// The term of this controller; None for every other broker.
    pub(super) fn controller_epoch(&self) -> Option<i32> {
        let shard = self.shard.borrow();
        let leader = shard.leader(GroupId::METADATA)?;
        (shard.is_controller() && leader.node == self.node).then_some(())?;
        i32::try_from(leader.term.0).ok()
    }
}

/// Why the metadata is not in the store.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error("it is not known whose the store is")]
    NotOwn,
}

/// The metadata as it goes into the store.
pub(super) fn cluster_of(image: &Image, life: &Life, epoch: i32, now_ms: i64) -> Cluster {
    Cluster {
        format: cluster::FORMAT,
        cluster_id: life.store_id.clone(),
        incarnation: life.incarnation,
        epoch,
        created_ms: now_ms,
        ..contents(image)
    }
}

/// What there is to say of the image.
fn contents(image: &Image) -> Cluster {
    let replicas = |group: &GroupId| image.partition(*group).map_or(1, |p| p.desired().len());
    let topic = |topic: &crate::metadata::Topic| Topic {
        name: topic.name.clone(),
        id: Uuid::from_u128(topic.id.0),
        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replicas: i16::try_from(topic.partitions.first().map_or(1, replicas)).unwrap_or(i16::MAX),
        configs: topic.configs.clone(),
    };
    let mut topics: Vec<Topic> = image.topics().map(topic).collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Cluster {
        format: cluster::FORMAT,
        cluster_id: String::new(),
        incarnation: snapshot::source::Incarnation::FIRST,
        epoch: 0,
        index: image.applied().0,
        created_ms: 0,
        next_producer_id: image.next_producer_id(),
        configs: image.broker_configs(ConfigScope::Cluster).clone(),
        topics,
    }
}

impl Snapshots {
    /// What is of deleted topics is looked for so often: nothing goes that is younger.
    fn collect_every(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.collection.grace_ms).unwrap_or(0)).max(RETRY)
    }
}
