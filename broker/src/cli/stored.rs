//! A cluster's snapshot store, found through one of its brokers and read from here.

use std::sync::Arc;
use std::time::Duration;

use snapshot::manifest;
use snapshot::source::{Incarnation, Source};
use snapshot::store::Store;
use snapshot::store::location::Location;
use uuid::Uuid;

use super::client::Cluster;
use super::exit::{Exit, Failure, Result};
use super::output::Format;
use super::{Target, admin, bucket};
use crate::http::Status;
use crate::http::status::GroupStatus;
use crate::snapshots::StoreStatus;

/// See the module.
pub struct ClusterStore {
    /// What the broker says of the cluster.
    pub status: Status,
    /// And of the store.
    pub there: StoreStatus,
    /// To what its objects are bound.
    pub store_id: String,
    /// The store.
    pub store: Arc<dyn Store>,
}

impl ClusterStore {
    /// Asks the broker with this admin listener.
    pub async fn open(admin: &str, wait: Duration) -> Result<Self> {
        let status = admin::status(admin, wait).await?;
        let there = status.snapshot_store.clone().ok_or_else(|| {
            let why = format!("broker {} has no snapshot store", status.node_id);
            Failure::new(why).next("set snapshot.store on every broker")
        })?;
        if there.is_own {
            let (node, folder) = (status.node_id, status.data_dir);
            return Err(Failure::new(format!(
                "broker {node} has snapshot.store = \"local\": each broker keeps copies of its own, there is no store that all share"
            ))
            .next(format!(
                "on that broker's machine, `walser bucket verify {folder}/snapshots` reads its copies"
            )));
        }
        let Some(store_id) = there.store_id.clone() else {
            let why = there.problem.unwrap_or_else(|| "no answer".to_owned());
            return Err(Failure::with(Exit::Unreachable, why));
        };
        let location: Location = there.address.parse().map_err(|why| {
            let node = status.node_id;
            Failure::new(format!("broker {node} has another store: {why}"))
        })?;
        bucket::expect_there(&location).map_err(|why| {
            why.next(
                "the store is read from here: where it is a folder, run this on a broker's machine",
            )
        })?;
        let store = location.open().await.map_err(bucket::refused)?;
        Ok(Self {
            status,
            there,
            store_id,
            store,
        })
    }

    /// A Kafka client of the cluster.
    pub fn kafka(&self, wait: Duration) -> Cluster {
        Cluster::new(&Target {
            bootstrap: self.status.kafka.clone(),
            timeout: wait.as_secs(),
            format: Format::Text,
        })
    }

    /// Whose objects those of a partition are.
    pub fn source(&self, topic_id: u128, partition: i32) -> Source {
        Source {
            cluster_id: self.store_id.clone(),
            topic_id: Uuid::from_u128(topic_id),
            partition,
        }
    }

    /// The committed snapshot of a partition, where the broker that was asked knows it.
    pub fn committed(&self, topic: &str, source: &Source) -> Option<manifest::Name> {
        let is_it =
            |group: &&GroupStatus| group.topic == topic && group.partition == source.partition;
        let group = self.status.groups.iter().find(is_it)?;
        group.snapshot.as_ref().map(|committed| manifest::Name {
            source: source.clone(),
            incarnation: Incarnation(committed.incarnation),
            leader_epoch: committed.leader_epoch,
            index: committed.index,
        })
    }
}
