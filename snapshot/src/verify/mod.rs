//! Is what a store holds what was written? Reads everything and believes nothing.
//!
//! Checked are: seals and names of what is the cluster's; seals, names, cluster, topic and partition of manifests; that every chunk of a manifest is there, as long
//! as declared, with its CRC-32; each member's CRC-32 and SHA-256; each record batch's CRC-32C; offsets and leader epochs
//! across chunks; directories and parts of tails, with the CRC-32C of their batches; cuts, and
//! whether what they need is there; and which objects nothing refers to.

mod cuts;
mod partition;
mod report;
mod tails;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::cluster;
use crate::inventory;
use crate::key::Key;
use crate::owner;
use crate::source::Source;
use crate::store::{self, Listed, Store};

pub(crate) use partition::chunk;
pub use partition::newest;
pub use report::{Finding, Kind, Report};

/// Verifies everything that a cluster has in a store.
///
/// # Errors
/// When the store cannot be read to the end: nothing is known then. Damage is not an error but a [`Finding`].
pub async fn store(store: &dyn Store) -> Result<Report, store::Error> {
    let mut report = Report::default();
    let cluster_id = match owner::latest(store).await {
        Ok(life) => life.store_id,
        Err(owner::Error::Store(why)) if !matches!(why, store::Error::NotFound(_)) => {
            return Err(why);
        }
        Err(why) => {
            report.find(Kind::Damaged, &why.key(), None, why.to_string());
            return Ok(report);
        }
    };
    metadata(store, &cluster_id, &mut report).await?;
    tails::verify(store, &cluster_id, &mut report).await?;
    let topics = inventory::topics(store).await?;
    cuts::verify(store, &cluster_id, &topics, &mut report).await?;
    for ((topic_id, partition), objects) in by_partition(store, &mut report).await? {
        let source = Source {
            cluster_id: cluster_id.clone(),
            topic_id,
            partition,
        };
        partition::verify(store, &source, &objects, &mut report).await?;
    }
    Ok(report)
}

async fn metadata(
    store: &dyn Store,
    cluster_id: &str,
    report: &mut Report,
) -> Result<(), store::Error> {
    for listed in cluster::list(store).await? {
        match cluster::read(store, &listed.key, cluster_id).await {
            Ok(_) | Err(cluster::Error::Store(store::Error::NotFound(_))) => {}
            Err(cluster::Error::Store(why)) => return Err(why),
            Err(why) => report.find(Kind::Damaged, &listed.key, None, why.to_string()),
        }
    }
    Ok(())
}

type ByPartition = BTreeMap<(Uuid, i32), Vec<Listed>>;

async fn by_partition(store: &dyn Store, report: &mut Report) -> Result<ByPartition, store::Error> {
    let mut found = ByPartition::new();
    inventory::each(store, "", |listed| match partition_of(&listed.key) {
        Some(partition) => found.entry(partition).or_default().push(listed),
        None if is_of_the_cluster(&listed.key) => {}
        None => {
            let why = "no object of this format has such a name".to_owned();
            report.find(Kind::Orphan, &listed.key, None, why);
        }
    })
    .await?;
    Ok(found)
}

fn is_of_the_cluster(key: &Key) -> bool {
    let is_incarnation = || key.as_str().starts_with(crate::key::INCARNATIONS_PREFIX);
    let is_metadata = || crate::key::metadata_age(key).is_some();
    let is_tail = || crate::key::tail_name(key).is_some();
    let is_cut = || crate::key::cut_name(key).is_some();
    let is_aside = || key.as_str().starts_with(crate::key::QUARANTINE_PREFIX);
    let is_json = || is_metadata() || is_cut() || is_incarnation();
    *key == crate::key::owner() || is_json() || is_tail() || is_aside()
}

fn partition_of(key: &Key) -> Option<(Uuid, i32)> {
    let mut parts = key.as_str().strip_prefix("topics/")?.splitn(3, '/');
    let topic_id = parts.next()?.parse().ok()?;
    Some((topic_id, parts.next()?.parse().ok()?))
}
