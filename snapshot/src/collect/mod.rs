//! Removes what nobody needs any more.
//!
//! - The committed manifest, the newest ones at or below it, and every chunk that one of them reaches stay.
//! - What is younger than the grace, by the store's clock, stays, and so does what a young manifest reaches: a leader
//!   may be about to commit it.
//! - A manifest newer than the committed one stays, and what it reaches: whoever collects may have been deposed without
//!   knowing it, and then it is the next leader's. One that was never committed goes when a committed one is newer.
//! - Manifests go before the chunks: whatever ends the work in between, no manifest that is there lacks a chunk by it.
//! - What has to stay and cannot be read ends the work before anything was removed. What cannot be read and would go
//!   needs no reading.
//! - A tail goes when each of its parts is in a newer manifest, in another tail, or of a topic that is no more.
//! - Topics of earlier lives that this one has [`left`] where they were stay.
//! - Objects that this format does not name are not touched.
//! - A manifest stays that a cut needs, and a deleted topic that is in one. Of whole cuts the newest ones stay, of open ones
//!   the young.
//! - Where a later life of the cluster was begun, nothing is removed: looked at before every [`BATCH`] objects.
//!
//! Doing it again goes on where it ended. What it cannot know is left to whoever calls: that the committed manifest
//! was committed, and that meanwhile the same leader makes no snapshot of the partition: it could name a chunk that an
//! earlier try left longer ago than the grace. Who is not the leader collects [`Policy::unattended`]: then a chunk goes
//! only where its name says that nobody writes it, or names it, any more. Snapshots that are still to come continue the
//! committed one or a later one: they name its chunks and new ones, of later indexes.

mod cuts;
mod error;
mod tails;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::cluster;
use crate::cut::Known;
use crate::inventory::{self, Objects};
use crate::key::{self, Key};
use crate::left::left;
use crate::manifest::{self, Age, Manifest, Name};
use crate::owner;
use crate::source::{Incarnation, Source};
use crate::store::{self, Listed, Store};

pub use cuts::cuts;
pub use error::Error;
pub use tails::tails;

/// Objects that are removed before it is looked again whether a later life of the cluster was begun.
pub const BATCH: usize = 100;

/// What stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The life of the cluster that collects. Only the last one may.
    pub incarnation: Incarnation,
    /// So many of the newest manifests at or below the committed one stay; it does in any case. More of them are more
    /// points to go back to, and more chunks.
    pub keep_manifests: usize,
    /// So many of the newest whole cuts stay.
    pub keep_cuts: usize,
    /// What is younger stays. It has to be longer than any snapshot takes, and than any read of a manifest that has
    /// been replaced.
    pub grace_ms: i64,
    /// Everything is looked at and nothing removed.
    pub dry_run: bool,
    /// Who collects does not lead the partition, and somebody else may: what a leader may be writing stays, however old
    /// it looks, and so does what replicas of a restored partition may still have to begin with.
    pub unattended: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            incarnation: Incarnation(1),
            keep_manifests: 3,
            keep_cuts: 3,
            grace_ms: 3_600_000,
            dry_run: false,
            unattended: false,
        }
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests that stay, the young ones among them.
    pub kept_manifests: u64,
    /// Chunks that stay because a manifest that stays reaches them.
    pub kept_chunks: u64,
    /// Objects that nobody needs and that stay only because they, or their topic's manifests, are young, or may be in the
    /// making.
    pub young: u64,
    /// Objects that this format does not name.
    pub unknown: u64,
    /// What was removed, in that order; with [`Policy::dry_run`], what would be.
    pub deleted: Vec<Key>,
    /// Their bytes.
    pub bytes: u64,
}

/// Collects one partition, whose committed manifest this is.
///
/// # Errors
/// See [`Error`]. What was removed until then is removed.
///
/// # Panics
/// When the manifest is another partition's.
pub async fn partition(
    store: &dyn Store,
    source: &Source,
    committed: &Name,
    policy: &Policy,
    now_ms: i64,
) -> Result<Collected, Error> {
    assert_eq!(committed.source, *source, "it is this partition's manifest");
    let mut collector = Collector::new(store, policy, now_ms);
    collector.is_the_last_life().await?;
    let prefix = key::partition_prefix(source.topic_id, source.partition);
    let objects = Objects::list(store, &prefix).await?;
    if let Some((_, later)) = objects
        .manifests
        .iter()
        .find(|(age, _)| age.incarnation > policy.incarnation)
    {
        return Err(Error::Superseded(later.key.clone()));
    }
    // NB: a cut that is made from here on rests upon the committed manifest, or upon one that is still to be taken.
    let cuts = Known::read(store, &source.cluster_id).await?;
    let ages: Vec<Age> = objects.manifests.iter().map(|(age, _)| *age).collect();
    let needed = cuts.needed((source.topic_id, source.partition), &ages);
    let (mut kept, mut dropped) = collector.divide(objects.manifests, committed, &needed)?;
    if policy.unattended {
        collector
            .keep_origin(source, &mut kept, &mut dropped)
            .await?;
    }
    let reached = collector
        .reached(&kept, source, committed, &objects.chunks)
        .await?;
    collector.collected.kept_manifests = kept.len() as u64;
    collector.collected.unknown = objects.unknown;
    let (kept, mut orphans): (Vec<Listed>, Vec<Listed>) = objects
        .chunks
        .into_iter()
        .partition(|listed| reached.contains(&listed.key));
    collector.collected.kept_chunks = kept.len() as u64;
    if policy.unattended {
        let all = orphans.len();
        let committed = (committed.incarnation, committed.index);
        orphans.retain(|l| key::chunk_written(&l.key).is_some_and(|at| at <= committed));
        collector.collected.young += (all - orphans.len()) as u64;
    }
    let orphans = collector.old_ones(orphans);
    if !cuts.is_all(store).await? {
        return Err(Error::CutMeanwhile);
    }
    collector.remove(&dropped).await?;
    collector.remove(&orphans).await?;
    Ok(collector.collected)
}

/// Collects the cluster's metadata: as with manifests, the newest ones stay, and what is young. An earlier life has no
/// say in it, and the last one's newest is never old.
///
/// # Errors
/// See [`Error`]. What was removed until then is removed.
pub async fn metadata(store: &dyn Store, policy: &Policy, now_ms: i64) -> Result<Collected, Error> {
    let mut collector = Collector::new(store, policy, now_ms);
    let mut old = cluster::list(store).await?;
    old.truncate(old.len().saturating_sub(policy.keep_manifests.max(1)));
    if !owner::left(store, policy.incarnation).await?.is_empty() {
        // Nothing else says what these topics were.
        let is_earlier = |listed: &Listed| {
            key::metadata_age(&listed.key).is_some_and(|age| age.incarnation < policy.incarnation)
        };
        if let Some(last) = old.iter().rposition(is_earlier) {
            old.remove(last);
        }
    }
    let old = collector.old_ones(old);
    collector.remove(&old).await?;
    Ok(collector.collected)
}

/// Collects all topics but these and those of cuts. NB: the topics have to be as the metadata group knows them now, and the deletions
/// among them committed: a topic that is missing by mistake is a topic that was deleted.
///
/// # Errors
/// [`Error::NothingAlive`] without any topic; else see [`Error`]. What was removed until then is removed.
pub async fn deleted_topics(
    store: &dyn Store,
    store_id: &str,
    alive: &BTreeSet<Uuid>,
    policy: &Policy,
    now_ms: i64,
) -> Result<Collected, Error> {
    let mut collector = Collector::among(store, alive, policy, now_ms).await?;
    let cuts = Known::read(store, store_id).await?;
    let alive: BTreeSet<Uuid> = alive.iter().copied().chain(cuts.topics()).collect();
    let mut dead: BTreeMap<(Uuid, i32), Objects> = BTreeMap::new();
    inventory::each(store, key::TOPICS_PREFIX, |listed| {
        match key::object(&listed.key) {
            Some(object) if alive.contains(&object.topic_id) => {}
            Some(object) => {
                let of = dead.entry((object.topic_id, object.partition)).or_default();
                of.add(object.kind, listed);
            }
            None => collector.collected.unknown += 1,
        }
    })
    .await?;
    let left = left(store, policy.incarnation, &dead).await?;
    for ((topic_id, _), objects) in dead {
        if !left.contains(&topic_id) {
            collector.dead_partition(objects).await?;
        }
    }
    Ok(collector.collected)
}

/// Removes all that a store has of a partition, the manifests first. NB: whoever calls knows that nobody needs any of it.
/// Bytes that were freed.
///
/// # Errors
/// When the store cannot do it: done again, it goes on.
pub async fn all_of(
    store: &dyn Store,
    topic_id: Uuid,
    partition: i32,
) -> Result<u64, store::Error> {
    let objects = Objects::list(store, &key::partition_prefix(topic_id, partition)).await?;
    let manifests = objects.manifests.into_iter().map(|(_, listed)| listed);
    let mut bytes = 0;
    for listed in manifests.chain(objects.chunks) {
        store.delete(&listed.key).await?;
        bytes += listed.bytes;
    }
    Ok(bytes)
}

struct Collector<'a> {
    store: &'a dyn Store,
    policy: &'a Policy,
    now_ms: i64,
    collected: Collected,
}

impl<'a> Collector<'a> {
    fn new(store: &'a dyn Store, policy: &'a Policy, now_ms: i64) -> Self {
        assert!(policy.grace_ms >= 0, "a grace is no debt");
        Self {
            store,
            policy,
            now_ms,
            collected: Collected::default(),
        }
    }

    /// For what depends on which topics are alive. None alive is what missing metadata looks like.
    async fn among(
        store: &'a dyn Store,
        alive: &BTreeSet<Uuid>,
        policy: &'a Policy,
        now_ms: i64,
    ) -> Result<Self, Error> {
        if alive.is_empty() {
            return Err(Error::NothingAlive);
        }
        let collector = Self::new(store, policy, now_ms);
        collector.is_the_last_life().await?;
        Ok(collector)
    }

    /// Whether no later life of the cluster was begun. What it inherited is its own to collect.
    async fn is_the_last_life(&self) -> Result<(), Error> {
        let own = key::incarnation(self.policy.incarnation);
        let later = self
            .store
            .list(key::INCARNATIONS_PREFIX, Some(&own), 1)
            .await?;
        match later.into_iter().next() {
            Some(later) => Err(Error::Superseded(later.key)),
            None => Ok(()),
        }
    }

    /// What was written in the future is young.
    fn is_young(&self, listed: &Listed) -> bool {
        self.now_ms.saturating_sub(listed.modified_ms) < self.policy.grace_ms
    }

    /// The manifests that stay, and those that go.
    fn divide(
        &self,
        mut manifests: Vec<inventory::Aged>,
        committed: &Name,
        needed: &BTreeSet<Age>,
    ) -> Result<(Vec<Listed>, Vec<Listed>), Error> {
        let committed = (committed.age(), committed.key());
        manifests.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
        if !manifests.iter().any(|(age, _)| *age == committed.0) {
            return Err(Error::Missing(committed.1));
        }
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        // The first one at or below the committed manifest is itself.
        let mut room = self.policy.keep_manifests.max(1);
        for (age, listed) in manifests {
            let is_of_the_newest = age <= committed.0 && room > 0;
            room -= usize::from(is_of_the_newest);
            let is_wanted = is_of_the_newest || age > committed.0 || needed.contains(&age);
            if is_wanted || self.is_young(&listed) {
                kept.push(listed);
            } else {
                dropped.push(listed);
            }
        }
        Ok((kept, dropped))
    }

    /// A restore's first manifest of a life says of no voters. Whether all replicas have begun with it only their leader
    /// knows.
    async fn keep_origin(
        &self,
        source: &Source,
        kept: &mut Vec<Listed>,
        dropped: &mut Vec<Listed>,
    ) -> Result<(), Error> {
        let is_own = |listed: &Listed| match key::object(&listed.key).map(|object| object.kind) {
            Some(key::Kind::Manifest(age)) => age.incarnation == self.policy.incarnation,
            Some(key::Kind::Chunk) | None => false,
        };
        // They are sorted, the newest first.
        let Some(oldest) = dropped.iter().rposition(is_own) else {
            return Ok(());
        };
        let manifest = self.manifest(&dropped[oldest].key, source).await?;
        if manifest.voters.is_empty() {
            kept.push(dropped.remove(oldest));
        }
        Ok(())
    }

    async fn manifest(&self, key: &Key, source: &Source) -> Result<Manifest, Error> {
        let (bytes, _) = match self.store.get(key, manifest::BYTES_MAX).await {
            Err(store::Error::NotFound(key)) => return Err(Error::Missing(key)),
            read => read?,
        };
        Manifest::decode(&bytes, key, source).map_err(|why| Error::Unreadable {
            key: key.clone(),
            why,
        })
    }

    /// Every chunk that one of the manifests names. Those of the committed one are there.
    async fn reached(
        &self,
        kept: &[Listed],
        source: &Source,
        committed: &Name,
        chunks: &[Listed],
    ) -> Result<BTreeSet<Key>, Error> {
        let there: BTreeSet<&Key> = chunks.iter().map(|listed| &listed.key).collect();
        let committed = committed.key();
        let mut reached = BTreeSet::new();
        for Listed { key, .. } in kept {
            let manifest = self.manifest(key, source).await?;
            for named in manifest.chunks {
                if *key == committed && !there.contains(&named.key) {
                    return Err(Error::Missing(named.key));
                }
                reached.insert(named.key);
            }
        }
        Ok(reached)
    }

    /// Those that are not young.
    fn old_ones(&mut self, objects: Vec<Listed>) -> Vec<Listed> {
        let before = objects.len();
        let (_, old): (Vec<Listed>, Vec<Listed>) = objects
            .into_iter()
            .partition(|listed| self.is_young(listed));
        self.collected.young += (before - old.len()) as u64;
        old
    }

    /// A partition of a topic that is no more. While one of its manifests is young, what it reaches has to stay: all.
    async fn dead_partition(&mut self, objects: Objects) -> Result<(), Error> {
        let manifests: Vec<Listed> = objects.manifests.into_iter().map(|(_, l)| l).collect();
        if manifests.iter().any(|listed| self.is_young(listed)) {
            self.collected.young += (manifests.len() + objects.chunks.len()) as u64;
            return Ok(());
        }
        let chunks = self.old_ones(objects.chunks);
        self.remove(&manifests).await?;
        self.remove(&chunks).await
    }

    async fn remove(&mut self, objects: &[Listed]) -> Result<(), Error> {
        for batch in objects.chunks(BATCH) {
            self.is_the_last_life().await?;
            for listed in batch {
                if !self.policy.dry_run {
                    self.store.delete(&listed.key).await?;
                }
                self.collected.deleted.push(listed.key.clone());
                self.collected.bytes += listed.bytes;
            }
        }
        Ok(())
    }
}
