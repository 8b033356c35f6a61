//! Which parts of all tails continue what.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Directory, Error, Name, Part, list};
use crate::source::Incarnation;
use crate::store::{self, Store};

/// Directories that are read at once.
const READS: usize = 16;

/// A part, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The tail.
    pub name: Name,
    /// The part.
    pub part: Part,
}

/// The parts of many tails, by partition.
#[derive(Debug, Default)]
pub struct Parts(BTreeMap<(Uuid, i32), Vec<Found>>);

impl Parts {
    /// Those of the tails that are wanted. One that is removed meanwhile is not among them.
    ///
    /// # Errors
    /// See [`Error`]: where a directory cannot be read, nobody knows what it would say.
    pub async fn read(
        store: &Arc<dyn Store>,
        store_id: &str,
        is_wanted: impl Fn(&Name) -> bool,
    ) -> Result<Self, Error> {
        let mut tails = list(&**store).await?;
        tails.retain(|(name, _)| is_wanted(name));
        let turns = Arc::new(tokio::sync::Semaphore::new(READS));
        let mut reads = JoinSet::new();
        for (name, _) in &tails {
            let (store, turns, name) = (store.clone(), turns.clone(), *name);
            let store_id = store_id.to_owned();
            reads.spawn(async move {
                let _turn = turns.acquire().await.expect("it is never closed");
                (name, Directory::read(&*store, &name, &store_id).await)
            });
        }
        let mut parts = Self::default();
        while let Some(read) = reads.join_next().await {
            match read.expect("a read does not panic, and nobody cancels it") {
                (_, Err(Error::Store(store::Error::NotFound(_)))) => {}
                (name, read) => parts.add(name, read?),
            }
        }
        Ok(parts)
    }

    /// Adds those of one tail.
    pub fn add(&mut self, name: Name, directory: Directory) {
        for part in directory.parts {
            let of = self.0.entry((part.topic_id, part.partition)).or_default();
            of.push(Found { name, part });
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Found> {
        self.0.values().flatten()
    }

    /// Those of one partition.
    #[must_use]
    pub fn of(&self, topic_id: Uuid, partition: i32) -> &[Found] {
        self.0
            .get(&(topic_id, partition))
            .map_or(&[], Vec::as_slice)
    }

    /// How far a partition reaches from a manifest on: the last index that it or a part that continues it holds.
    #[must_use]
    pub fn reach(&self, place: (Uuid, i32), (incarnation, index): (Incarnation, u64)) -> u64 {
        let chain = self.chain(place, Some((incarnation, index)));
        chain.last().map_or(index, |found| found.part.last_index)
    }

    /// The parts that continue a log from behind an index on, as far as they reach, each beyond the one before it. Without
    /// a base it is the log of the last life that wrote of the partition, from its beginning.
    #[must_use]
    pub fn chain(
        &self,
        (topic_id, partition): (Uuid, i32),
        base: Option<(Incarnation, u64)>,
    ) -> Vec<&Found> {
        let of = self.of(topic_id, partition);
        let last = of.iter().map(|found| found.name.incarnation).max();
        let Some((life, mut reached)) = base.or_else(|| last.map(|life| (life, 0))) else {
            return Vec::new();
        };
        let of_life = of.iter().filter(|found| found.name.incarnation == life);
        let mut left: Vec<&Found> = of_life.collect();
        left.sort_by_key(|found| found.part.first_index);
        let mut chain: Vec<&Found> = Vec::new();
        loop {
            // Of those that begin early enough, the one that reaches farthest.
            let near = left
                .iter()
                .take_while(|found| found.part.first_index <= reached + 1);
            let Some(next) = near.max_by_key(|found| found.part.last_index) else {
                return chain;
            };
            if next.part.last_index <= reached {
                return chain;
            }
            reached = next.part.last_index;
            chain.push(next);
        }
    }
}
