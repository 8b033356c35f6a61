//! What nobody needs any more in a store, found and removed without the brokers, by their rules: the same collector, and
//! what only they know taken from what they have written.
//!
//! - Which snapshot of a partition is committed the state in its newest manifest says: that state is committed, so that
//!   one is, or an earlier one than the last. It stays, with as many before it as are wanted, and so does all after it.
//! - Which topics there are the newest metadata says. A topic that it does not list was deleted, unless everything of it,
//!   or what a tail has of it, is about as young as the metadata.
//! - The partitions may be led meanwhile, and somebody may take snapshots of them: [`Policy::unattended`].
//! - In a store where a restore has not ended nothing is removed: nothing says yet what belongs to the new life.
//!
//! So it makes no difference whether the cluster runs. Two that do it at once remove the same.

use std::collections::{BTreeMap, BTreeSet};

use raft::types::Index;
use snapshot::cluster::{self, Cluster};
use snapshot::collect::{self, Collected, Policy};
use snapshot::inventory::{self, Objects};
use snapshot::manifest::{self, Manifest, Name};
use snapshot::owner::{self, Life};
use snapshot::source::{Incarnation, Source};
use snapshot::store::{self, Store};
use snapshot::tail::{self, Directory};
use uuid::Uuid;

use super::name_of;
use crate::partition::state::PartitionState;

/// Metadata is in the store at most so long after it was true, in ms. Usually it is a second.
const METADATA_LATE_MS: i64 = 600_000;

/// What stays.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// So many of the newest committed manifests of each partition.
    pub keep: usize,
    /// What is younger, in ms.
    pub grace_ms: i64,
    /// Everything is looked at and nothing removed.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug)]
pub struct Swept {
    /// Whose the store is.
    pub life: Life,
    /// What was removed, or would be.
    pub collected: Vec<(What, Collected)>,
    /// Partitions of which nothing was removed, for nobody knows what of them has to stay.
    pub problems: Vec<Problem>,
}

/// Of what something was removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Of a topic's partition: what later snapshots have replaced.
    Partition(String, i32),
    /// Of the cluster's metadata: what later ones have replaced.
    Metadata,
    /// All of deleted topics.
    DeletedTopics,
    /// Tails whose contents are elsewhere, or of deleted topics.
    Tails,
}

/// Why nothing was removed of a partition.
#[derive(Debug)]
pub struct Problem {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Why.
    pub why: Error,
}

/// Why nothing more is removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It is not known whose it is.
    #[error(transparent)]
    Owner(#[from] owner::Error),
    /// The metadata cannot be read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// Nothing says which topics there are.
    #[error(
        "nothing is removed: the store has no metadata of cluster {} (incarnation {}) yet; a restore into it may not have ended",
        _0.cluster_id, _0.incarnation.0
    )]
    NoMetadata(Life),
    /// See [`collect::Error`].
    #[error(transparent)]
    Collect(#[from] collect::Error),
    /// A state that this version does not know.
    #[error("{0}: this version cannot read the state that it holds")]
    State(snapshot::key::Key),
}

impl Error {
    /// Whether it is about one partition only: the others can be swept.
    fn is_of_partition(&self) -> bool {
        match self {
            Self::Collect(collect::Error::Unreadable { .. } | collect::Error::Missing(_))
            | Self::State(_) => true,
            Self::Collect(_)
            | Self::Store(_)
            | Self::Owner(_)
            | Self::Cluster(_)
            | Self::NoMetadata(_) => false,
        }
    }
}

/// Sweeps a store.
///
/// # Errors
/// See [`Error`]. What was removed until then is removed. What concerns one partition only is told in the end.
pub async fn sweep(store: &dyn Store, wanted: Wanted, now_ms: i64) -> Result<Swept, Error> {
    let life = owner::latest(store).await?;
    let next = Incarnation(life.incarnation.0 + 1);
    let cluster = cluster::newest(store, &life.store_id, next, None).await?;
    let cluster = cluster.filter(|cluster| cluster.incarnation == life.incarnation);
    let cluster = cluster.ok_or_else(|| Error::NoMetadata(life.clone()))?;
    let mut sweep = Sweep {
        store,
        policy: Policy {
            incarnation: life.incarnation,
            keep_manifests: wanted.keep,
            // How many are wanted only the cluster knows.
            keep_cuts: usize::MAX,
            grace_ms: wanted.grace_ms,
            dry_run: wanted.dry_run,
            unattended: true,
        },
        now_ms,
        swept: Swept {
            life,
            collected: Vec::new(),
            problems: Vec::new(),
        },
    };
    let objects = inventory::topics(store).await?;
    let alive = sweep.alive(&cluster, &objects).await?;
    sweep.partitions(&cluster, objects).await?;
    sweep.whole(&alive).await?;
    Ok(sweep.swept)
}

struct Sweep<'a> {
    store: &'a dyn Store,
    policy: Policy,
    now_ms: i64,
    swept: Swept,
}

type Inventory = BTreeMap<(Uuid, i32), Objects>;

impl Sweep<'_> {
    /// The topics of the metadata, and those that may be younger.
    async fn alive(&self, cluster: &Cluster, objects: &Inventory) -> Result<BTreeSet<Uuid>, Error> {
        let key = cluster.key();
        let listed = cluster::list(self.store).await?;
        let listed = listed.into_iter().find(|listed| listed.key == key);
        let listed = listed.ok_or(store::Error::NotFound(key))?;
        // All times are the store's.
        let late_ms = METADATA_LATE_MS.min(self.policy.grace_ms);
        let known_ms = listed.modified_ms.saturating_sub(late_ms);
        let mut alive: BTreeSet<Uuid> = cluster.topics.iter().map(|topic| topic.id).collect();
        let mut oldest: BTreeMap<Uuid, i64> = BTreeMap::new();
        for ((topic, _), of) in objects {
            let manifests = of.manifests.iter().map(|(_, listed)| listed);
            for object in manifests.chain(&of.chunks) {
                let oldest = oldest.entry(*topic).or_insert(i64::MAX);
                *oldest = (*oldest).min(object.modified_ms);
            }
        }
        let young = oldest.into_iter().filter(|(_, at_ms)| *at_ms >= known_ms);
        alive.extend(young.map(|(topic, _)| topic));
        let life = &self.swept.life;
        for (name, listed) in tail::list(self.store).await? {
            if name.incarnation != life.incarnation || listed.modified_ms < known_ms {
                continue;
            }
            match Directory::read(self.store, &name, &life.store_id).await {
                Ok(directory) => alive.extend(directory.parts.iter().map(|part| part.topic_id)),
                // Somebody else collects.
                Err(tail::Error::Store(store::Error::NotFound(_))) => {}
                Err(why) => return Err(collect::Error::from(why).into()),
            }
        }
        Ok(alive)
    }

    async fn partitions(&mut self, cluster: &Cluster, mut objects: Inventory) -> Result<(), Error> {
        for topic in &cluster.topics {
            for partition in 0..topic.partitions {
                let Some(of) = objects.remove(&(topic.id, partition)) else {
                    continue;
                };
                let source = Source {
                    cluster_id: self.swept.life.store_id.clone(),
                    topic_id: topic.id,
                    partition,
                };
                match self.partition(&source, &of).await {
                    Ok(None) => {}
                    Ok(Some(collected)) => {
                        let what = What::Partition(topic.name.clone(), partition);
                        self.swept.collected.push((what, collected));
                    }
                    Err(why) if why.is_of_partition() => self.swept.problems.push(Problem {
                        topic: topic.name.clone(),
                        partition,
                        why,
                    }),
                    Err(why) => return Err(why),
                }
            }
        }
        Ok(())
    }

    /// None where nothing is known to be committed.
    async fn partition(&self, source: &Source, of: &Objects) -> Result<Option<Collected>, Error> {
        let Some(committed) = self.committed(source, of).await? else {
            return Ok(None);
        };
        let (store, policy) = (self.store, &self.policy);
        let collected = collect::partition(store, source, &committed, policy, self.now_ms).await?;
        Ok(Some(collected))
    }

    /// The newest snapshot that is known to be committed.
    async fn committed(&self, source: &Source, of: &Objects) -> Result<Option<Name>, Error> {
        let Some((age, listed)) = of.manifests.iter().max_by_key(|(age, _)| *age) else {
            return Ok(None);
        };
        let key = &listed.key;
        let (bytes, _) = match self.store.get(key, manifest::BYTES_MAX).await {
            // Somebody else collects.
            Err(store::Error::NotFound(_)) => return Ok(None),
            read => read?,
        };
        let read = Manifest::decode(&bytes, key, source);
        let manifest = read.map_err(|why| collect::Error::Unreadable {
            key: key.clone(),
            why,
        })?;
        let state = PartitionState::restore(Index(age.index), &manifest.state);
        let state = state.ok_or_else(|| Error::State(key.clone()))?;
        let is_own = |name: &Name| name.incarnation == self.policy.incarnation;
        let stored = state.stored().map(|stored| name_of(source, &stored));
        Ok(stored.filter(is_own))
    }

    /// What is not a partition's alone.
    async fn whole(&mut self, alive: &BTreeSet<Uuid>) -> Result<(), Error> {
        let (store, policy, now_ms) = (self.store, &self.policy, self.now_ms);
        let metadata = collect::metadata(store, policy, now_ms).await?;
        self.swept.collected.push((What::Metadata, metadata));
        if alive.is_empty() {
            return Ok(());
        }
        let store_id = &self.swept.life.store_id;
        // NB: tails first: a deleted topic's manifests say that it was not left by a restore.
        let tails = collect::tails(store, store_id, alive, policy, now_ms).await?;
        let deleted = collect::deleted_topics(store, store_id, alive, policy, now_ms).await?;
        self.swept.collected.push((What::DeletedTopics, deleted));
        self.swept.collected.push((What::Tails, tails));
        Ok(())
    }
}
