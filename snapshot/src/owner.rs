//! Whose store it is: one cluster's, and with each restore the next one's.
//!
//! The first cluster that writes to a store names it for ever: its id is in every object ([`Owner`]). A cluster that is
//! restored from the store goes on in it under a new incarnation, which one object tells ([`Begun`]). Only the cluster
//! of the last incarnation may write: every earlier one is refused by name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::inventory;
use crate::key::{self, Key};
use crate::manifest;
use crate::sealed;
use crate::source::Incarnation;
use crate::store::{self, Condition, Listed, Store};

/// The version of the format that is written.
pub const FORMAT: u32 = 1;
const BYTES_MAX: usize = 64 << 10;

/// The object `owner.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// [`FORMAT`].
    pub format: u32,
    /// The first cluster; every object of the store is bound to this id.
    pub cluster_id: String,
}

/// An object `incarnations/IIIIIIII.json`. The first incarnation has none: it is the owner's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// [`FORMAT`].
    pub format: u32,
    /// Which one.
    pub incarnation: Incarnation,
    /// The cluster that lives it.
    pub cluster_id: String,
    /// When it was begun, by the clock of who began it, in ms. For people: nothing is decided by it.
    pub begun_ms: i64,
    /// Topics of earlier lives that are not part of this one, and were not deleted: what they have in the store stays, as
    /// long as this life writes nothing of them itself.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left: BTreeSet<Uuid>,
}

/// The last life of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// To what every object of the store is bound: the first cluster's id.
    pub store_id: String,
    /// Which one.
    pub incarnation: Incarnation,
    /// The cluster that lives it.
    pub cluster_id: String,
}

/// Why a store is not this cluster's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What says whose it is is damaged.
    #[error("{key}, which says whose this store is: {why}")]
    Sealed {
        /// Which.
        key: Key,
        /// What is wrong.
        why: sealed::Error,
    },
    /// Written by a version that this one does not know.
    #[error("{0} has format {1}, which this version does not know")]
    Format(Key, u32),
    /// It says of itself that it is another one.
    #[error("{0} is of another incarnation than its name says")]
    Name(Key),
    /// It is somebody else's.
    #[error(
        "this store belongs to cluster {owner} (incarnation {}), not to {cluster_id}: give this cluster a prefix or folder \
         of its own, or restore what the store holds into it with `walser restore`", incarnation.0
    )]
    Other {
        /// Whose.
        owner: String,
        /// In which incarnation.
        incarnation: Incarnation,
        /// Who asked.
        cluster_id: String,
    },
    /// It holds this, and nothing in it says to whom it belongs.
    #[error(
        "owner.json is missing, though the store holds {0}, and no manifest says whose it is: give this cluster a prefix or \
         folder of its own"
    )]
    Ownerless(Key),
    /// Somebody else began the next incarnation first.
    #[error("another restore has begun {0}: only one of them goes on")]
    Outrun(Key),
}

impl Error {
    /// The object that it is about.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Sealed { key, .. } => key.clone(),
            Self::Format(key, _) | Self::Name(key) | Self::Outrun(key) => key.clone(),
            Self::Store(_) | Self::Other { .. } | Self::Ownerless(_) => key::owner(),
        }
    }
}

/// The last life of a store.
///
/// # Errors
/// [`store::Error::NotFound`] for a store without an owner; else see [`Error`].
pub async fn latest(store: &dyn Store) -> Result<Life, Error> {
    let owner: Owner = object(store, &key::owner()).await?;
    if owner.format != FORMAT {
        return Err(Error::Format(key::owner(), owner.format));
    }
    let store_id = owner.cluster_id;
    let mut last = None;
    let newest = |listed: Listed| last = Some(listed.key);
    inventory::each(store, key::INCARNATIONS_PREFIX, newest).await?;
    let Some(name) = last else {
        let (incarnation, cluster_id) = (Incarnation::FIRST, store_id.clone());
        return Ok(Life {
            store_id,
            incarnation,
            cluster_id,
        });
    };
    let begun = begun(store, &name).await?;
    Ok(Life {
        store_id,
        incarnation: begun.incarnation,
        cluster_id: begun.cluster_id,
    })
}

/// Topics of earlier lives that a life has left where they were ([`Begun::left`]).
///
/// # Errors
/// See [`Error`].
pub async fn left(store: &dyn Store, life: Incarnation) -> Result<BTreeSet<Uuid>, Error> {
    if life == Incarnation::FIRST {
        return Ok(BTreeSet::new());
    }
    Ok(begun(store, &key::incarnation(life)).await?.left)
}

/// Makes a new store this cluster's. Of two clusters at once one succeeds. A store that has lost its owner gets the one
/// back that what is in it names. The cluster's life in the store, unless it is another one's.
///
/// # Errors
/// See [`Error`].
pub async fn claim(store: &dyn Store, cluster_id: &str) -> Result<Life, Error> {
    let life = match latest(store).await {
        Err(Error::Store(store::Error::NotFound(_))) => {
            let named = named_inside(store).await?;
            let owner = Owner {
                format: FORMAT,
                cluster_id: named.unwrap_or_else(|| cluster_id.to_owned()),
            };
            let (name, body) = (key::owner(), sealed::encode(&owner));
            match store.put(&name, body, Condition::Absent).await {
                Ok(_) | Err(store::Error::Conflict(_)) => latest(store).await?,
                Err(why) => return Err(why.into()),
            }
        }
        life => life?,
    };
    if life.cluster_id == cluster_id {
        return Ok(life);
    }
    Err(Error::Other {
        owner: life.cluster_id,
        incarnation: life.incarnation,
        cluster_id: cluster_id.to_owned(),
    })
}

/// What metadata and cuts say of the store that they are in.
#[derive(Deserialize)]
struct Bound {
    cluster_id: String,
}

/// The same, or what a manifest says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Whole(Bound),
    Partition { source: Bound },
}

/// To whose id the objects of a store are bound. None for an empty store.
async fn named_inside(store: &dyn Store) -> Result<Option<String>, Error> {
    let (mut bound, mut any) = (Vec::new(), None);
    for prefix in key::PREFIXES {
        let sort = |listed: Listed| {
            any.get_or_insert_with(|| listed.key.clone());
            if key::names_cluster(&listed.key) {
                bound.push(listed.key);
            }
        };
        inventory::each(store, prefix, sort).await?;
    }
    for key in bound {
        let (bytes, _) = match store.get(&key, manifest::BYTES_MAX).await {
            Err(store::Error::NotFound(_) | store::Error::Length { .. }) => continue,
            read => read?,
        };
        // Another one may be sound.
        if let Ok(Named::Whole(bound) | Named::Partition { source: bound }) = sealed::decode(&bytes)
        {
            return Ok(Some(bound.cluster_id));
        }
    }
    any.map_or(Ok(None), |key| Err(Error::Ownerless(key)))
}

/// Begins the life after this one, for a cluster that is to be restored: from then on every other cluster is refused.
/// Of two at once one succeeds. Where the cluster lives in the store already, nothing is begun. Topics that are left are
/// not collected.
///
/// # Errors
/// [`Error::Outrun`] when somebody else was faster; else see [`Error`].
pub async fn begin(
    store: &dyn Store,
    after: &Life,
    cluster_id: &str,
    now_ms: i64,
    left: BTreeSet<Uuid>,
) -> Result<Life, Error> {
    if after.cluster_id == cluster_id {
        return Ok(after.clone());
    }
    let incarnation = Incarnation(after.incarnation.0 + 1);
    let begun = Begun {
        format: FORMAT,
        incarnation,
        cluster_id: cluster_id.to_owned(),
        begun_ms: now_ms,
        left,
    };
    let name = key::incarnation(incarnation);
    let put = store.put(&name, sealed::encode(&begun), Condition::Absent);
    match put.await {
        Ok(_) | Err(store::Error::Conflict(_)) => {}
        Err(why) => return Err(why.into()),
    }
    // NB: a conflict may be with an earlier try of this very cluster, whose answer was lost.
    let life = latest(store).await?;
    if life.incarnation == incarnation && life.cluster_id == cluster_id {
        Ok(life)
    } else {
        Err(Error::Outrun(name))
    }
}

async fn begun(store: &dyn Store, name: &Key) -> Result<Begun, Error> {
    let begun: Begun = object(store, name).await?;
    if begun.format != FORMAT {
        return Err(Error::Format(name.clone(), begun.format));
    }
    if key::incarnation(begun.incarnation) != *name {
        return Err(Error::Name(name.clone()));
    }
    Ok(begun)
}

async fn object<T: serde::de::DeserializeOwned>(store: &dyn Store, key: &Key) -> Result<T, Error> {
    let (bytes, _) = store.get(key, BYTES_MAX).await?;
    sealed::decode(&bytes).map_err(|why| Error::Sealed {
        key: key.clone(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::store::memory::Memory;
    use crate::testing::{empty_manifest, put_manifest, source};

    #[tokio::test]
    async fn the_first_cluster_owns_it_and_the_next_life_fences_it() {
        let store = Memory::default();
        let first = claim(&store, "a").await.expect("nobody's yet");
        assert_eq!(first.incarnation, Incarnation::FIRST);
        assert!(matches!(claim(&store, "b").await, Err(Error::Other { .. })));

        let second = begin(&store, &first, "b", 5, BTreeSet::new())
            .await
            .expect("the first try");
        assert_eq!(second.incarnation, Incarnation(2));
        assert_eq!((&*second.store_id, &*second.cluster_id), ("a", "b"));
        assert_eq!(claim(&store, "b").await.expect("its own"), second);
        let fenced = claim(&store, "a").await.expect_err("of an earlier life");
        assert!(
            fenced
                .to_string()
                .contains("belongs to cluster b (incarnation 2), not to a"),
            "{fenced}"
        );
    }

    #[tokio::test]
    async fn a_lost_owner_is_the_one_that_the_objects_name() {
        let store = Memory::default();
        let first = claim(&store, "a").await.expect("nobody's yet");
        let second = begin(&store, &first, "b", 5, BTreeSet::new()).await;
        let second = second.expect("the first try");
        let lose = async || {
            let name = key::owner();
            store.delete(&name).await.expect("deleted");
        };
        lose().await;
        let refused = claim(&store, "b")
            .await
            .expect_err("nothing names the owner");
        assert!(matches!(refused, Error::Ownerless(_)), "{refused}");
        let of = Source {
            cluster_id: "a".to_owned(),
            ..source(1)
        };
        put_manifest(&store, &empty_manifest(&of)).await;
        assert_eq!(claim(&store, "b").await.expect("its own"), second);
        let owner: Owner = object(&store, &key::owner()).await.expect("written anew");
        assert_eq!(owner.cluster_id, "a");
        lose().await;
        let foreign = claim(&store, "c").await.expect_err("somebody else's");
        assert!(matches!(foreign, Error::Other { .. }), "{foreign}");
    }

    #[tokio::test]
    async fn what_a_life_leaves_is_written_down() {
        let store = Memory::default();
        let first = claim(&store, "a").await.expect("nobody's yet");
        let topics = BTreeSet::from([Uuid::from_u128(7)]);
        let life = begin(&store, &first, "b", 5, topics.clone()).await;
        let life = life.expect("the first try").incarnation;
        assert_eq!(left(&store, life).await.expect("read"), topics);
        let none = left(&store, Incarnation::FIRST).await;
        assert_eq!(none.expect("nothing was before it"), BTreeSet::new());
        // Without them the object is what it was before there were any.
        let next = latest(&store).await.expect("a life");
        let next = begin(&store, &next, "c", 5, BTreeSet::new()).await;
        let name = key::incarnation(next.expect("the first try").incarnation);
        let (bytes, _) = store.get(&name, BYTES_MAX).await.expect("it is there");
        assert!(!String::from_utf8_lossy(&bytes).contains("left"));
    }

    #[tokio::test]
    async fn of_two_restores_one_goes_on() {
        let store = Memory::default();
        let first = claim(&store, "a").await.expect("nobody's yet");
        let won = begin(&store, &first, "b", 5, BTreeSet::new())
            .await
            .expect("the first try");
        let lost = begin(&store, &first, "c", 5, BTreeSet::new()).await;
        assert!(matches!(lost, Err(Error::Outrun(_))), "{lost:?}");
        let again = begin(&store, &first, "b", 6, BTreeSet::new()).await;
        assert_eq!(again.expect("its answer was lost"), won);
        let there = begin(&store, &won, "b", 6, BTreeSet::new())
            .await
            .expect("nothing to begin");
        assert_eq!(there, won);
    }

    #[tokio::test]
    async fn an_incarnation_under_another_name_is_no_incarnation() {
        let store = Memory::default();
        let first = claim(&store, "a").await.expect("nobody's yet");
        begin(&store, &first, "b", 5, BTreeSet::new())
            .await
            .expect("the first try");
        let (bytes, _) = store
            .get(&key::incarnation(Incarnation(2)), BYTES_MAX)
            .await
            .expect("it is there");
        let name = key::incarnation(Incarnation(3));
        let put = store.put(&name, bytes, Condition::Absent);
        put.await.expect("memory takes it");
        assert!(matches!(latest(&store).await, Err(Error::Name(n)) if n == name));
    }
}
