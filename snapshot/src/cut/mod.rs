//! Cuts: one point of the whole cluster at which no effect is without its cause.
//!
//! A cut says of every partition up to which index of its log it goes. It holds no records: a partition's manifest that
//! sums up the log to just there does. Whoever makes a cut writes it down as [`Standing::Open`] before the snapshots are
//! taken that it needs, so that none of them is collected, and as [`Standing::Whole`] when all are there. Only the
//! latter can be restored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::inventory::{self, Objects};
use crate::key;
use crate::manifest::Age;
use crate::sealed::{self, ObjectError};
use crate::source::Incarnation;
use crate::store::{self, Listed, Store};

/// The version of the format that is written.
pub const FORMAT: u32 = 1;
/// Objects longer than this are not believed to be cuts.
pub const BYTES_MAX: usize = 256 << 20;

/// Which cut. A number is never used again, whatever life of the cluster it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The life of the cluster that made it.
    pub incarnation: Incarnation,
    /// Its number.
    pub number: u64,
}

/// Whether everything that a cut needs is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Not yet, or it was given up.
    Open,
    /// It was, when this was written.
    Whole,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// [`FORMAT`].
    pub format: u32,
    /// Its number.
    pub number: u64,
    /// Which topics there were.
    pub cluster: Cluster,
    /// One for every partition, by topic and number.
    pub partitions: Vec<Position>,
}

/// Where a partition is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The last index of the partition's Raft log that belongs to it.
    pub index: u64,
    /// The last one up to there that a snapshot has to hold; 0 when there is none.
    pub changed: u64,
    /// First offset that does not belong to it.
    pub next_offset: i64,
}

impl Position {
    /// Whether a snapshot as of this index is the partition as it was then.
    #[must_use]
    pub fn is_met_by(&self, index: u64) -> bool {
        (self.changed..=self.index).contains(&index)
    }

    fn place(&self) -> (Uuid, i32) {
        (self.topic_id, self.partition)
    }
}

/// Why an object is not a cut.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It is not the one that its name says.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A partition's manifest that it needs is not there.
    #[error(
        "cut {number}: partition {partition} of topic {topic_id} has no snapshot as of index {index}"
    )]
    NotWhole {
        /// Of this cut.
        number: u64,
        /// Of this topic.
        topic_id: Uuid,
        /// This partition.
        partition: i32,
        /// As of here.
        index: u64,
    },
}

impl Cut {
    /// Which one.
    #[must_use]
    pub fn name(&self) -> Name {
        Name {
            incarnation: self.cluster.incarnation,
            number: self.number,
        }
    }

    /// Puts it into the store. Where it is already, by an earlier try, nothing is done.
    ///
    /// # Errors
    /// [`ObjectError::Taken`] when another one of this name is there; else see [`Error`].
    pub async fn put(&self, store: &dyn Store, standing: Standing) -> Result<(), Error> {
        let key = key::cut(self.name(), standing);
        let body = sealed::encode(self);
        match store::put_once(store, &key, body.clone(), BYTES_MAX).await? {
            Some(found) if found != body => Err(ObjectError::Taken(key).into()),
            _ => Ok(()),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn read(
        store: &dyn Store,
        name: Name,
        standing: Standing,
        store_id: &str,
    ) -> Result<Self, Error> {
        let key = key::cut(name, standing);
        let (bytes, _) = store.get(&key, BYTES_MAX).await?;
        let read: Self = sealed::decode(&bytes).map_err(|why| ObjectError::Sealed {
            key: key.clone(),
            why,
        })?;
        if read.format != FORMAT {
            return Err(ObjectError::Format(key, read.format).into());
        }
        if read.name() != name || read.cluster.cluster_id != store_id {
            return Err(ObjectError::Foreign(key).into());
        }
        Ok(read)
    }

    /// Where a partition is cut.
    #[must_use]
    pub fn position(&self, topic_id: Uuid, partition: i32) -> Option<&Position> {
        let wanted = (topic_id, partition);
        self.partitions
            .iter()
            .find(|position| position.place() == wanted)
    }

    /// Whether every manifest is there that it needs, among these objects.
    ///
    /// # Errors
    /// [`Error::NotWhole`] with the first partition that lacks its own.
    pub fn check(&self, objects: &BTreeMap<(Uuid, i32), Objects>) -> Result<(), Error> {
        for position in &self.partitions {
            let of = objects.get(&position.place());
            let mut ages = of.into_iter().flat_map(|of| &of.manifests);
            let is_met = |(age, _): &(Age, Listed)| self.is_met_at(position, *age);
            if position.changed > 0 && !ages.any(is_met) {
                return Err(Error::NotWhole {
                    number: self.number,
                    topic_id: position.topic_id,
                    partition: position.partition,
                    index: position.index,
                });
            }
        }
        Ok(())
    }

    /// Whether the manifest of this age is the partition as it was at the cut.
    #[must_use]
    pub fn is_met_at(&self, position: &Position, age: Age) -> bool {
        age.incarnation == self.cluster.incarnation && position.is_met_by(age.index)
    }
}

/// The names of all, the oldest first.
///
/// # Errors
/// When the store cannot be asked.
pub async fn list(store: &dyn Store) -> Result<Vec<(Name, Standing, Listed)>, store::Error> {
    let mut all = Vec::new();
    inventory::each(store, key::CUTS_PREFIX, |listed| {
        if let Some((name, standing)) = key::cut_name(&listed.key) {
            all.push((name, standing, listed));
        }
    })
    .await?;
    all.sort_by_key(|(name, standing, _)| (*name, *standing));
    Ok(all)
}

/// All cuts of a store. What they need is not collected.
#[derive(Clone, Debug, Default)]
pub struct Known {
    cuts: BTreeMap<(Name, Standing), Cut>,
}

impl Known {
    /// Reads which there are now.
    ///
    /// # Errors
    /// See [`Error`]: who cannot read a cut does not know what it needs.
    pub async fn read(store: &dyn Store, store_id: &str) -> Result<Self, Error> {
        let mut cuts = BTreeMap::new();
        for (name, standing, _) in list(store).await? {
            match Cut::read(store, name, standing, store_id).await {
                Ok(cut) => {
                    cuts.insert((name, standing), cut);
                }
                // An open one goes when the whole one is there.
                Err(Error::Store(store::Error::NotFound(_))) => {}
                Err(why) => return Err(why),
            }
        }
        Ok(Self { cuts })
    }

    /// Whether these are all.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn is_all(&self, store: &dyn Store) -> Result<bool, store::Error> {
        let there = list(store).await?;
        let is_known = |(name, standing, _): &(Name, Standing, Listed)| {
            self.cuts.contains_key(&(*name, *standing))
        };
        Ok(there.iter().all(is_known))
    }

    /// The topics that one of them needs.
    pub fn topics(&self) -> impl Iterator<Item = Uuid> {
        let cuts = self.cuts.values();
        cuts.flat_map(|cut| cut.partitions.iter().map(|position| position.topic_id))
    }

    /// Of these manifests of a partition those that one of them needs: the newest one that is not beyond it, which is
    /// also what the one may rest upon that is to be taken.
    #[must_use]
    pub fn needed(&self, place: (Uuid, i32), manifests: &[Age]) -> BTreeSet<Age> {
        let mut needed = BTreeSet::new();
        for cut in self.cuts.values() {
            let Some(position) = cut.position(place.0, place.1) else {
                continue;
            };
            let is_of_life = |age: &&Age| age.incarnation == cut.cluster.incarnation;
            let own = || manifests.iter().filter(is_of_life);
            let below = own().filter(|age| age.index <= position.index);
            if let Some(newest) = below.map(|age| age.index).max() {
                needed.extend(own().filter(|age| age.index == newest));
            }
        }
        needed
    }
}

#[cfg(test)]
mod tests;
