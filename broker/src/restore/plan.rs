//! What there is to restore.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use snapshot::archive;
use snapshot::chunk;
use snapshot::cluster::{self, Cluster, Topic};
use snapshot::cut::{self, Cut, Standing};
use snapshot::inventory::{self, Objects};
use snapshot::key::Key;
use snapshot::left;
use snapshot::manifest::{self, Age, Manifest};
use snapshot::owner::{self, Life};
use snapshot::source::{Incarnation, Source};
use snapshot::store::{self, Listed, Store};
use snapshot::tail::{self, Parts};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::added::Added;
use crate::coordinator::OFFSETS_TOPIC;

/// Manifests that are read at once.
const READS: usize = 16;
/// So far beyond every leader epoch of the cluster that was the new one begins: it may have gone on for a while.
const EPOCH_JUMP: i32 = 1 << 16;

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// As it was at this time, in wall-clock ms; None for as it was last.
    pub at_ms: Option<i64>,
    /// As of this cut; None for as it was last.
    pub cut: Option<u64>,
    /// The cluster to restore into: what it has written itself already is no source.
    pub into: Option<String>,
    /// Only these topics, and with them the topic of the groups; none for all.
    pub topics: BTreeSet<String>,
}

/// Everything that is restored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose the store is until then.
    pub life: Life,
    /// The cluster that was.
    pub cluster: Cluster,
    /// Its topics, by name.
    pub topics: Vec<TopicPlan>,
    /// Topics that are left where they are, by name.
    pub left: Vec<Topic>,
    /// Topics that an earlier restore has left, and this one does.
    pub left_before: BTreeSet<Uuid>,
    /// Topics of which there is something in the store, and which were deleted.
    pub deleted: usize,
}

/// One topic.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    /// Which.
    pub topic: Topic,
    /// Its partitions, from 0.
    pub partitions: Vec<PartitionPlan>,
}

/// One partition.
#[derive(Clone, Debug)]
pub struct PartitionPlan {
    /// Which.
    pub source: Source,
    /// The snapshot that it is restored from. None of a partition that nothing was ever written to, as far as the store knows.
    pub manifest: Option<Arc<Manifest>>,
    /// What tails add to it.
    pub added: Option<Arc<Added>>,
    /// The leader epoch that it begins with.
    pub epoch: i32,
}

impl PartitionPlan {
    /// First offset that is not there.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        let manifest = self.manifest.as_ref();
        let stored = || manifest.map_or(0, |manifest| manifest.next_offset);
        let added = self.added.as_ref();
        added.map_or_else(stored, |added| added.state.high_watermark())
    }

    /// First offset that is there.
    #[must_use]
    pub fn log_start(&self) -> i64 {
        let manifest = self.manifest.as_ref();
        let stored = || manifest.map_or(0, |manifest| manifest.log_start);
        let added = self.added.as_ref();
        added.map_or_else(stored, |added| added.state.log_start())
    }

    /// Bytes of the records that are in chunks.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        let chunks = self.manifest.iter().flat_map(|manifest| &manifest.chunks);
        chunks.map(|named| named.chunk.raw_bytes).sum()
    }

    /// When the last of it was written; None of a partition of which there is nothing.
    #[must_use]
    pub fn created_ms(&self) -> Option<i64> {
        let added = self.added.as_ref().map(|added| added.created_ms);
        added.or_else(|| Some(self.manifest.as_ref()?.created_ms))
    }
}

/// Why a cluster cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It is not known whose it is, or it is somebody else's.
    #[error(transparent)]
    Owner(#[from] owner::Error),
    /// The metadata cannot be read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// Nothing says which topics there are.
    #[error("the store holds no metadata of the cluster{}: nothing says which topics there were",
        if *_0 { " that is as old" } else { "" })]
    NoMetadata(bool),
    /// A cut cannot be read, or lacks something.
    #[error(transparent)]
    Cut(#[from] cut::Error),
    /// A cut is wanted that there is not.
    #[error("the store has no cut {number}{}", cuts_there(there))]
    NoCut {
        /// Which.
        number: u64,
        /// Those that there are.
        there: Vec<u64>,
    },
    /// A topic is wanted that there was not.
    #[error("the store knows no topic {0}")]
    NoTopic(String),
    /// A partition's newest manifest is damaged.
    #[error("{topic}/{partition}: {key}: {why}")]
    Manifest {
        /// Of this topic.
        topic: String,
        /// And partition.
        partition: i32,
        /// Which.
        key: Key,
        /// What is wrong.
        why: manifest::Error,
    },
    /// A partition has manifests, and none as old as wanted.
    #[error(
        "{topic}/{partition}: the store has no snapshot of that time: the oldest one is of {oldest_ms} (ms)"
    )]
    TooOld {
        /// Of this topic.
        topic: String,
        /// And partition.
        partition: i32,
        /// When the oldest one was taken.
        oldest_ms: i64,
    },
    /// A chunk that the newest manifest names is not there as it was written.
    #[error(
        "{topic}/{partition}: {manifest} names {chunk}, which is not there, or not as long as it was"
    )]
    Chunk {
        /// Of this topic.
        topic: String,
        /// And partition.
        partition: i32,
        /// The manifest.
        manifest: Key,
        /// The chunk.
        chunk: Key,
    },
    /// A state that this version does not know.
    #[error("{0}: this version cannot read the state that it holds")]
    State(Key),
    /// A tail cannot be read.
    #[error(transparent)]
    Unreadable(#[from] tail::Error),
    /// A tail holds what no log holds.
    #[error("{key}: {why}")]
    Tail {
        /// Which.
        key: Key,
        /// What is wrong.
        why: String,
    },
    /// Records cannot be read.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// What a chunk holds makes no chunk.
    #[error("{0} cannot be copied: {1}")]
    Copy(Key, chunk::Error),
    /// There is no leader epoch beyond those that were.
    #[error("{0}: its leader epochs are used up")]
    Epochs(Source),
    /// A manifest of the new life is there, and says something else.
    #[error("{0} is of another restore")]
    Taken(Key),
}

impl Plan {
    /// Reads it from a store.
    ///
    /// # Errors
    /// See [`Error`]: nothing is restored by halves.
    pub async fn read(store: &Arc<dyn Store>, selection: &Selection) -> Result<Self, Error> {
        let life = owner::latest(&**store).await?;
        let is_own = selection.into.as_ref() == Some(&life.cluster_id);
        // What is of the new life already is no source of it.
        let before = Incarnation(life.incarnation.0 + u32::from(!is_own));
        let at_ms = selection.at_ms;
        let cut = match selection.cut {
            Some(number) => Some(find_cut(&**store, &life.store_id, before, number).await?),
            None => None,
        };
        let cluster = match &cut {
            Some(cut) => Some(cut.cluster.clone()),
            None => cluster::newest(&**store, &life.store_id, before, at_ms).await?,
        };
        let cluster = cluster.ok_or(Error::NoMetadata(at_ms.is_some()))?;
        let mut objects = inventory::topics(&**store).await?;
        for of in objects.values_mut() {
            of.manifests.retain(|(age, _)| age.incarnation < before);
            of.manifests.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
        }
        if let Some(cut) = &cut {
            cut.check(&objects)?;
        }
        let is_old = |ms: i64| at_ms.is_none_or(|at_ms| ms <= at_ms);
        let is_wanted = |name: &tail::Name| {
            cut.is_none() && name.incarnation < before && is_old(name.created_ms)
        };
        let tails = Parts::read(store, &life.store_id, is_wanted).await?;
        let reader = Reader {
            tails: Arc::new(tails),
            store: store.clone(),
            store_id: life.store_id.clone(),
            at_ms,
            cut: cut.map(Arc::new),
        };
        let life_before = Incarnation(before.0 - 1);
        let mut left_before = left::left(&**store, life_before, &objects).await?;
        let mut unlisted = reader.unlisted(&objects, &cluster).await?;
        left_before.retain(|id| match unlisted.get_mut(id) {
            Some(of) if selection.topics.contains(&of.topic.name) => {
                of.is_old = false;
                false
            }
            Some(_) => unlisted.remove(id).is_some(),
            None => true,
        });
        let is_last = at_ms.is_none() && selection.cut.is_none();
        let (wanted, deleted) = wanted(&cluster, unlisted, &objects, is_last);
        let (wanted, left) = selection.divide(wanted)?;
        let mut topics = reader.topics(wanted, objects).await?;
        topics.sort_by(|a, b| a.topic.name.cmp(&b.topic.name));
        Ok(Self {
            life,
            cluster,
            topics,
            left,
            left_before,
            deleted,
        })
    }

    /// All topics that are left where they are.
    #[must_use]
    pub fn all_left(&self) -> BTreeSet<Uuid> {
        let left = self.left.iter().map(|topic| topic.id);
        left.chain(self.left_before.iter().copied()).collect()
    }
}

impl Selection {
    /// What is wanted of these topics, and the rest.
    fn divide(&self, topics: Vec<Topic>) -> Result<(Vec<Topic>, Vec<Topic>), Error> {
        if self.topics.is_empty() {
            return Ok((topics, Vec::new()));
        }
        let is_there = |name: &&String| topics.iter().any(|topic| topic.name == **name);
        if let Some(missing) = self.topics.iter().find(|name| !is_there(name)) {
            return Err(Error::NoTopic(missing.clone()));
        }
        let is_wanted =
            |topic: &Topic| topic.name == OFFSETS_TOPIC || self.topics.contains(&topic.name);
        Ok(topics.into_iter().partition(is_wanted))
    }
}

impl Plan {
    /// Looks again whether every chunk is there. The cluster that was may have been collecting when the next life was
    /// begun; from then on it does not.
    ///
    /// # Errors
    /// [`Error::Chunk`], or the store cannot be read.
    pub async fn check_chunks(&self, store: &dyn Store) -> Result<(), Error> {
        let objects = inventory::topics(store).await?;
        for TopicPlan { topic, partitions } in &self.topics {
            for PartitionPlan {
                source, manifest, ..
            } in partitions
            {
                let of = objects.get(&(source.topic_id, source.partition));
                let chunks = of.map_or(&[][..], |of| &of.chunks);
                if let Some(manifest) = manifest {
                    check_chunks(&topic.name, manifest, chunks)?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Reader {
    store: Arc<dyn Store>,
    tails: Arc<Parts>,
    store_id: String,
    at_ms: Option<i64>,
    cut: Option<Arc<Cut>>,
}

/// A cut that can be restored.
async fn find_cut(
    store: &dyn Store,
    store_id: &str,
    before: Incarnation,
    number: u64,
) -> Result<Cut, Error> {
    let mut there = cut::list(store).await?;
    there.retain(|(name, standing, _)| *standing == Standing::Whole && name.incarnation < before);
    let found = there.iter().find(|(name, _, _)| name.number == number);
    let Some((name, standing, _)) = found else {
        let there = there.iter().map(|(name, _, _)| name.number).collect();
        return Err(Error::NoCut { number, there });
    };
    Ok(Cut::read(store, *name, *standing, store_id).await?)
}

fn cuts_there(numbers: &[u64]) -> String {
    if numbers.is_empty() {
        return ": it has none".to_owned();
    }
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    format!("; it has {}", numbers.join(", "))
}

impl Reader {
    fn source(&self, topic_id: Uuid, partition: i32) -> Source {
        Source {
            cluster_id: self.store_id.clone(),
            topic_id,
            partition,
        }
    }

    /// What is known of topics that the metadata does not list, by their oldest manifest.
    async fn unlisted(
        &self,
        objects: &BTreeMap<(Uuid, i32), Objects>,
        cluster: &Cluster,
    ) -> Result<BTreeMap<Uuid, Unlisted>, Error> {
        let listed: BTreeSet<Uuid> = cluster.topics.iter().map(|topic| topic.id).collect();
        let mut unlisted: BTreeMap<Uuid, Unlisted> = BTreeMap::new();
        for ((id, partition), of) in objects {
            let oldest = of.manifests.last().filter(|_| !listed.contains(id));
            let Some((_, oldest)) = oldest else { continue };
            let source = self.source(*id, *partition);
            let manifest = self.manifest(&id.to_string(), &source, &oldest.key).await?;
            let is_back = self.at_ms.is_some() || self.cut.is_some();
            let is_old = manifest.created_ms <= cluster.created_ms || is_back;
            let topic = unlisted.entry(*id).or_insert_with(|| Unlisted {
                topic: Topic {
                    name: manifest.topic.clone(),
                    id: *id,
                    partitions: 0,
                    replicas: i16::try_from(manifest.voters.len().max(1)).unwrap_or(i16::MAX),
                    configs: manifest.configs.clone(),
                },
                since_ms: manifest.created_ms,
                is_old: false,
            });
            topic.is_old |= is_old;
            topic.since_ms = topic.since_ms.min(manifest.created_ms);
        }
        Ok(unlisted)
    }

    async fn topics(
        &self,
        wanted: Vec<Topic>,
        mut objects: BTreeMap<(Uuid, i32), Objects>,
    ) -> Result<Vec<TopicPlan>, Error> {
        let turns = Arc::new(tokio::sync::Semaphore::new(READS));
        let mut reads = JoinSet::new();
        let mut topics: Vec<TopicPlan> = Vec::new();
        for (at, topic) in wanted.into_iter().enumerate() {
            for partition in 0..topic.partitions {
                let of = objects.remove(&(topic.id, partition)).unwrap_or_default();
                let (reader, name, turns) = (self.clone(), topic.name.clone(), turns.clone());
                let source = self.source(topic.id, partition);
                reads.spawn(async move {
                    let _turn = turns.acquire().await.expect("it is never closed");
                    (at, reader.partition(&name, source, of).await)
                });
            }
            topics.push(TopicPlan {
                topic,
                partitions: Vec::new(),
            });
        }
        while let Some(read) = reads.join_next().await {
            let (at, partition) = read.expect("a read does not panic, and nobody cancels it");
            topics[at].partitions.push(partition?);
        }
        for topic in &mut topics {
            topic.partitions.sort_by_key(|p| p.source.partition);
        }
        Ok(topics)
    }

    async fn partition(
        &self,
        topic: &str,
        source: Source,
        mut of: Objects,
    ) -> Result<PartitionPlan, Error> {
        let newest = of.manifests.iter().map(|(age, _)| age.leader_epoch).max();
        let epoch = newest.unwrap_or(0).checked_add(EPOCH_JUMP);
        let epoch = epoch.ok_or_else(|| Error::Epochs(source.clone()))?;
        if let Some(cut) = &self.cut {
            let position = cut.position(source.topic_id, source.partition);
            of.manifests
                .retain(|(age, _)| position.is_some_and(|at| cut.is_met_at(at, *age)));
        }
        let manifest = self.newest(topic, &source, &of.manifests).await?;
        if let Some(manifest) = &manifest {
            check_chunks(topic, manifest, &of.chunks)?;
        }
        let added = Added::read(&*self.store, &source, manifest.as_ref(), &self.tails).await?;
        Ok(PartitionPlan {
            source,
            manifest: manifest.map(Arc::new),
            added: added.map(Arc::new),
            epoch,
        })
    }

    /// The manifest of the last life at the time from which the store reaches farthest. All of one life hold what was
    /// committed, so that none contradicts another, whoever wrote it.
    async fn newest(
        &self,
        topic: &str,
        source: &Source,
        manifests: &[(Age, Listed)],
    ) -> Result<Option<Manifest>, Error> {
        let place = (source.topic_id, source.partition);
        let mut oldest_ms = None;
        let mut best: Option<(Incarnation, u64, &Key)> = None;
        for (age, listed) in manifests {
            if best.is_some_and(|(life, _, _)| age.incarnation < life) {
                break;
            }
            if let Some(at_ms) = self.at_ms {
                let created_ms = self.manifest(topic, source, &listed.key).await?.created_ms;
                if created_ms > at_ms {
                    oldest_ms = Some(created_ms);
                    continue;
                }
            }
            let reach = self.tails.reach(place, (age.incarnation, age.index));
            if best.is_none_or(|(_, farthest, _)| reach > farthest) {
                best = Some((age.incarnation, reach, &listed.key));
            }
        }
        if let Some((_, _, key)) = best {
            return self.manifest(topic, source, key).await.map(Some);
        }
        match oldest_ms.filter(|_| self.tails.chain(place, None).is_empty()) {
            None => Ok(None),
            Some(oldest_ms) => Err(Error::TooOld {
                topic: topic.to_owned(),
                partition: source.partition,
                oldest_ms,
            }),
        }
    }

    async fn manifest(&self, topic: &str, source: &Source, key: &Key) -> Result<Manifest, Error> {
        let (bytes, _) = self.store.get(key, manifest::BYTES_MAX).await?;
        Manifest::decode(&bytes, key, source).map_err(|why| Error::Manifest {
            topic: topic.to_owned(),
            partition: source.partition,
            key: key.clone(),
            why,
        })
    }
}

/// A topic that has objects, and that the metadata does not list.
struct Unlisted {
    topic: Topic,
    /// When its oldest manifest was taken.
    since_ms: i64,
    /// That is before the metadata, which would list it were it not deleted.
    is_old: bool,
}

/// The topics to restore: those of the metadata and, as the cluster was last, younger ones; and how many others were
/// deleted.
fn wanted(
    cluster: &Cluster,
    unlisted: BTreeMap<Uuid, Unlisted>,
    objects: &BTreeMap<(Uuid, i32), Objects>,
    is_last: bool,
) -> (Vec<Topic>, usize) {
    let mut deleted = unlisted.values().filter(|topic| topic.is_old).count();
    let mut young: Vec<Unlisted> = unlisted.into_values().filter(|t| !t.is_old).collect();
    young.sort_by_key(|topic| topic.since_ms);
    let listed = cluster.topics.iter().cloned();
    let mut wanted: BTreeMap<String, Topic> = BTreeMap::new();
    for mut topic in listed.chain(young.into_iter().map(|young| young.topic)) {
        // More partitions than the metadata knew, and a topic that was made anew under its name, are younger than it.
        let last = objects
            .range((topic.id, 0)..=(topic.id, i32::MAX))
            .next_back();
        let count = last.map_or(0, |((_, partition), _)| partition.saturating_add(1));
        if is_last {
            topic.partitions = topic.partitions.max(count);
        }
        deleted += usize::from(wanted.insert(topic.name.clone(), topic).is_some());
    }
    (wanted.into_values().collect(), deleted)
}

fn check_chunks(topic: &str, manifest: &Manifest, there: &[Listed]) -> Result<(), Error> {
    let lengths: BTreeMap<&Key, u64> = there.iter().map(|l| (&l.key, l.bytes)).collect();
    let is_missing =
        |chunk: &&manifest::Chunk| lengths.get(&chunk.key) != Some(&chunk.chunk.stored_bytes);
    match manifest.chunks.iter().find(is_missing) {
        None => Ok(()),
        Some(missing) => Err(Error::Chunk {
            topic: topic.to_owned(),
            partition: manifest.source.partition,
            manifest: manifest.key(),
            chunk: missing.key.clone(),
        }),
    }
}
