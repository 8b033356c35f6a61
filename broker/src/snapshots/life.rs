//! Whose the store is, asked again and again: a cluster that was restored elsewhere must not write any more.

use std::rc::Rc;
use std::time::Duration;

use raft::types::GroupId;
use serde::{Deserialize, Serialize};
use snapshot::collect;
use snapshot::owner::{self, Life};
use snapshot::source::Incarnation;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::Snapshots;
use crate::shard::Shard;

/// Before the store is asked again whose it is, where it is not known to be this cluster's and nobody waits for it.
const CLAIM_PAUSE: Duration = Duration::from_millis(500);
/// Not sooner, whoever waits.
const CLAIM_LEAST: Duration = Duration::from_millis(20);
/// And where it was.
const CLAIM_CHECK: Duration = Duration::from_secs(30);

/// What is known of it.
pub(super) enum Standing {
    /// It is this cluster's.
    Own(Life),
    /// It is not, or not known to be, because of this.
    Unknown(String),
}

/// The question whose the store is.
#[derive(Default)]
pub(super) struct Claims {
    /// It is to be asked now.
    wanted: Notify,
    /// There was another answer.
    told: Notify,
}

/// The store, as `/status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Where it is, as `snapshot.store` says it.
    #[serde(default)]
    pub address: String,
    /// Each broker has copies of its own: this is no store that can be read from elsewhere.
    #[serde(default)]
    pub is_own: bool,
    /// `snapshot.keep`.
    #[serde(default)]
    pub keep: u32,
    /// `snapshot.grace`, in ms.
    #[serde(default)]
    pub grace_ms: i64,
    /// As what the store knows this cluster.
    pub cluster_id: String,
    /// To what the store's objects are bound: the id of its first cluster. None while it is not known to be this one's.
    pub store_id: Option<String>,
    /// Which life of the cluster this is.
    pub incarnation: Option<u32>,
    /// Why nothing, or not everything, is written to it, if so.
    pub problem: Option<String>,
    /// Replicas here that wait for the snapshot that they begin with.
    pub waiting_replicas: usize,
}

impl Snapshots {
    /// Makes sure that the store is this cluster's: before that nothing is written to it, and not when it is no longer.
    pub(crate) async fn keep_claimed(self: Rc<Self>) {
        loop {
            let outcome = owner::claim(&**self.archive.store(), &self.cluster_id).await;
            let pause = self.note_claim(outcome);
            self.claims.told.notify_waiters();
            tokio::time::sleep(CLAIM_LEAST).await;
            let _ = tokio::time::timeout(pause, self.claims.wanted.notified()).await;
        }
    }

    /// Waits until the store is known to be this cluster's in this life, or a later one. It is asked at once, and then
    /// as often as ever.
    pub(crate) async fn await_life(&self, incarnation: Incarnation) {
        let is_known = || {
            self.life()
                .is_some_and(|life| life.incarnation >= incarnation)
        };
        if is_known() {
            return;
        }
        self.claims.wanted.notify_one();
        loop {
            let told = self.claims.told.notified();
            if is_known() {
                return;
            }
            told.await;
        }
    }

    /// Just after the start nobody has asked yet whose the store is: waits a little until somebody has.
    pub(crate) async fn await_claim(&self) {
        // Later a store that fails is not asked more often for those who read.
        if Instant::now() >= self.settled_at {
            return;
        }
        let _ = timeout_at(self.settled_at, self.await_life(Incarnation::FIRST)).await;
    }

    fn note_claim(&self, outcome: Result<Life, owner::Error>) -> Duration {
        if let Err(owner::Error::Sealed { key, .. }) = &outcome {
            self.note_damage(GroupId::METADATA, key);
        }
        let mut standing = self.standing.borrow_mut();
        match outcome {
            Ok(life) => {
                if !matches!(&*standing, Standing::Own(held) if *held == life) {
                    let incarnation = life.incarnation.0;
                    tracing::info!(target: "snapshot", incarnation, "the snapshot store is this cluster's");
                }
                self.mending.note_life(&life.store_id);
                *standing = Standing::Own(life);
                CLAIM_CHECK
            }
            // A store that cannot be asked now is nobody else's for that.
            Err(owner::Error::Store(_)) if matches!(*standing, Standing::Own(_)) => CLAIM_CHECK,
            Err(why) => {
                let why = why.to_string();
                if !matches!(&*standing, Standing::Unknown(said) if *said == why) {
                    tracing::error!(target: "snapshot", %why, "no snapshots are taken");
                }
                *standing = Standing::Unknown(why);
                CLAIM_PAUSE
            }
        }
    }

    /// The cluster's life in the store; None while the store is not known to be its own.
    pub(super) fn life(&self) -> Option<Life> {
        match &*self.standing.borrow() {
            Standing::Own(life) => Some(life.clone()),
            Standing::Unknown(_) => None,
        }
    }

    /// What stays in the store.
    pub(super) fn collection(&self, life: &Life) -> collect::Policy {
        collect::Policy {
            incarnation: life.incarnation,
            ..self.collection
        }
    }

    /// What `/status` shows.
    pub(crate) fn status(&self, shard: &Shard) -> StoreStatus {
        let image = shard.image_or_empty();
        let life = self.life();
        let unfinished =
            || "the restore into this cluster has not ended: run `walser restore` again".to_owned();
        let problem = match &*self.standing.borrow() {
            Standing::Own(life) if !image.is_complete(life.incarnation.0) => Some(unfinished()),
            Standing::Own(_) => None,
            Standing::Unknown(why) => Some(why.clone()),
        };
        StoreStatus {
            address: self.address.clone(),
            is_own: self.is_own(),
            keep: u32::try_from(self.collection.keep_manifests).unwrap_or(u32::MAX),
            grace_ms: self.collection.grace_ms,
            cluster_id: self.cluster_id.clone(),
            store_id: life.as_ref().map(|life| life.store_id.clone()),
            incarnation: life.map(|life| life.incarnation.0),
            problem,
            waiting_replicas: shard.waiting_for_origins(),
        }
    }
}
