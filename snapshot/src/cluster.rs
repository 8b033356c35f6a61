//! The metadata of a whole cluster: which topics there are. A partition's manifest says what the partition is; only this
//! says that it exists, also where nothing was ever written to it, and that a topic was deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::inventory;
use crate::key::{self, Key};
use crate::manifest::Age;
use crate::sealed::{self, ObjectError};
use crate::source::Incarnation;
use crate::store::{self, Store};

/// The version of the format that is written.
pub const FORMAT: u32 = 1;
/// Objects longer than this are not believed to be metadata.
pub const BYTES_MAX: usize = 256 << 20;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose store it is.
    pub cluster_id: String,
    /// The life of the cluster that wrote it.
    pub incarnation: Incarnation,
    /// The epoch of the controller that wrote it.
    pub epoch: i32,
    /// The index of the metadata group's log that it is of.
    pub index: u64,
    /// When it was written, by the controller's clock, in ms.
    pub created_ms: i64,
    /// Producer ids from here on were given to nobody.
    pub next_producer_id: i64,
    /// Dynamic configs of all brokers.
    pub configs: BTreeMap<String, String>,
    /// By name.
    pub topics: Vec<Topic>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Never used again.
    pub id: Uuid,
    /// How many it has.
    pub partitions: i32,
    /// Replicas of each.
    pub replicas: i16,
    /// Its configs that are set.
    pub configs: BTreeMap<String, String>,
}

/// Why an object is not the cluster's metadata.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It is not the one that its name says.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl Cluster {
    /// Its place among the others.
    #[must_use]
    pub fn age(&self) -> Age {
        Age {
            incarnation: self.incarnation,
            leader_epoch: self.epoch,
            index: self.index,
        }
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> Key {
        key::metadata(self.age())
    }

    /// Reads the object of this name.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8], name: &Key, store_id: &str) -> Result<Self, Error> {
        let read: Self = sealed::decode(bytes).map_err(|why| ObjectError::Sealed {
            key: name.clone(),
            why,
        })?;
        if read.format != FORMAT {
            return Err(ObjectError::Format(name.clone(), read.format).into());
        }
        if read.key() != *name || read.cluster_id != store_id {
            return Err(ObjectError::Foreign(name.clone()).into());
        }
        Ok(read)
    }

    /// Puts it into the store. Where it is already, by an earlier try, nothing is done.
    ///
    /// # Errors
    /// [`ObjectError::Taken`] when what is there says something else; else see [`Error`].
    pub async fn put(&self, store: &dyn Store) -> Result<(), Error> {
        let key = self.key();
        let body = sealed::encode(self);
        let Some(found) = store::put_once(store, &key, body, BYTES_MAX).await? else {
            return Ok(());
        };
        let mut found = Self::decode(&found, &key, &self.cluster_id)?;
        found.created_ms = self.created_ms;
        if found == *self {
            Ok(())
        } else {
            Err(ObjectError::Taken(key).into())
        }
    }
}

/// The object of this name.
///
/// # Errors
/// See [`Error`].
pub async fn read(store: &dyn Store, name: &Key, store_id: &str) -> Result<Cluster, Error> {
    let (bytes, _) = store.get(name, BYTES_MAX).await?;
    Cluster::decode(&bytes, name, store_id)
}

/// The names of all, the oldest first.
///
/// # Errors
/// When the store cannot be asked.
pub async fn list(store: &dyn Store) -> Result<Vec<store::Listed>, store::Error> {
    let mut all: Vec<store::Listed> = Vec::new();
    inventory::each(store, key::METADATA_PREFIX, |listed| all.push(listed)).await?;
    all.retain(|listed| key::metadata_age(&listed.key).is_some());
    all.sort_by_key(|listed| key::metadata_age(&listed.key));
    Ok(all)
}

/// The newest metadata of the incarnations before one, at the latest of a time (ms) where one is given; None when there is
/// none.
///
/// # Errors
/// See [`Error`].
pub async fn newest(
    store: &dyn Store,
    store_id: &str,
    before: Incarnation,
    at_ms: Option<i64>,
) -> Result<Option<Cluster>, Error> {
    for listed in list(store).await?.iter().rev() {
        if key::metadata_age(&listed.key).is_none_or(|age| age.incarnation >= before) {
            continue;
        }
        let cluster = read(store, &listed.key, store_id).await?;
        if at_ms.is_none_or(|at_ms| cluster.created_ms <= at_ms) {
            return Ok(Some(cluster));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::{Fault, Memory};

    fn cluster(index: u64) -> Cluster {
        let topic = Topic {
            name: "t".to_owned(),
            id: Uuid::from_u128(9),
            partitions: 3,
            replicas: 3,
            configs: BTreeMap::from([("retention.ms".to_owned(), "7".to_owned())]),
        };
        Cluster {
            format: FORMAT,
            cluster_id: "a".to_owned(),
            incarnation: Incarnation::FIRST,
            epoch: 4,
            index,
            created_ms: i64::try_from(index).expect("small") * 10,
            next_producer_id: 5000,
            configs: BTreeMap::new(),
            topics: vec![topic],
        }
    }

    #[tokio::test]
    async fn the_newest_is_found_and_the_newest_of_a_time() {
        let store = Memory::default();
        let next = Incarnation(2);
        let none = newest(&store, "a", next, None).await;
        assert_eq!(none.expect("asked"), None);
        for index in [7, 9, 100] {
            cluster(index).put(&store).await.expect("put");
        }
        let found = |at| newest(&store, "a", next, at);
        assert_eq!(found(None).await.expect("read"), Some(cluster(100)));
        assert_eq!(found(Some(999)).await.expect("read"), Some(cluster(9)));
        assert_eq!(found(Some(69)).await.expect("read"), None);
        let own = newest(&store, "a", Incarnation::FIRST, None).await;
        assert_eq!(own.expect("asked"), None, "not before the first");
        let foreign = newest(&store, "b", next, None).await;
        assert!(
            matches!(foreign, Err(Error::Object(ObjectError::Foreign(_)))),
            "{foreign:?}"
        );
    }

    #[tokio::test]
    async fn who_tries_again_has_written_it_and_who_says_something_else_has_not() {
        let store = Memory::default();
        store.fail(0, Fault::AnswerLost);
        cluster(7).put(&store).await.expect_err("not known");
        store.heal();
        let later = Cluster {
            created_ms: 1,
            ..cluster(7)
        };
        later.put(&store).await.expect("it was there");
        let other = Cluster {
            topics: Vec::new(),
            ..cluster(7)
        };
        let taken = other.put(&store).await;
        assert!(
            matches!(taken, Err(Error::Object(ObjectError::Taken(_)))),
            "{taken:?}"
        );
    }

    #[test]
    fn flipped_bits_are_found() {
        let (bytes, key) = (sealed::encode(&cluster(7)), cluster(7).key());
        Cluster::decode(&bytes, &key, "a").expect("sound");
        let mut flipped = bytes.to_vec();
        for bit in 0..flipped.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            Cluster::decode(&flipped, &key, "a").expect_err("damaged");
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
