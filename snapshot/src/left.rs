//! Topics that a restore has left where they were.
//!
//! A restore need not take up all topics ([`crate::owner::Begun::left`]). What is left was not deleted: it stays until the
//! cluster takes it up, and then it is a topic like any other.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::inventory::{Aged, Objects};
use crate::manifest::{self, Manifest};
use crate::owner;
use crate::source::{Incarnation, Source};
use crate::store::{self, Store};

/// Those that a life has left and does not have, going by what partitions have in the store. A life has a topic when one
/// of its leaders has written a manifest of it; one that a restore has written may be of a restore that did not end.
///
/// # Errors
/// See [`owner::Error`].
pub async fn left(
    store: &dyn Store,
    life: Incarnation,
    objects: &BTreeMap<(Uuid, i32), Objects>,
) -> Result<BTreeSet<Uuid>, owner::Error> {
    let mut left = owner::left(store, life).await?;
    if left.is_empty() {
        return Ok(left);
    }
    let store_id = owner::latest(store).await?.store_id;
    for ((topic_id, partition), of) in objects {
        let own = of
            .manifests
            .iter()
            .filter(|(age, _)| age.incarnation == life);
        let newest = own.max_by_key(|(age, _)| *age);
        let Some(newest) = newest.filter(|_| left.contains(topic_id)) else {
            continue;
        };
        let source = Source {
            cluster_id: store_id.clone(),
            topic_id: *topic_id,
            partition: *partition,
        };
        if is_of_leader(store, newest, &source).await? {
            left.remove(topic_id);
        }
    }
    Ok(left)
}

/// What cannot be read says nothing.
async fn is_of_leader(
    store: &dyn Store,
    (_, listed): &Aged,
    source: &Source,
) -> Result<bool, store::Error> {
    match store.get(&listed.key, manifest::BYTES_MAX).await {
        Err(store::Error::NotFound(_)) => Ok(false),
        read => {
            let manifest = Manifest::decode(&read?.0, &listed.key, source);
            Ok(manifest.is_ok_and(|manifest| !manifest.voters.is_empty()))
        }
    }
}
