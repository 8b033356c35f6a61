//! The configs of topics and brokers.

pub mod alter;
pub mod describe;

use std::collections::BTreeMap;

use raft::types::NodeId;

use crate::config::Config;
use crate::dispatch::Context;
use crate::metadata::{ConfigScope, Image};
use crate::topic_config::Layers;

/// Kafka's numbers for kinds of resources.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// What is set below the topics, as this broker sees it.
pub fn layers<'a>(cx: &'a Context, image: &'a Image) -> Layers<'a> {
    Layers {
        node: image.broker_configs(ConfigScope::Node(cx.broker.node_id())),
        cluster: image.broker_configs(ConfigScope::Cluster),
        fixed: &cx.fixed,
    }
}

/// What this broker's configuration says, under the names that Kafka has: what was set, or has no default.
pub fn fixed(config: &Config) -> BTreeMap<String, String> {
    let node = &config.node;
    let advertised = node
        .advertised_kafka
        .as_ref()
        .unwrap_or(&node.listener_kafka);
    let mut fixed: BTreeMap<String, String> = [
        ("broker.id", node.node_id.to_string()),
        ("node.id", node.node_id.to_string()),
        ("listeners", format!("PLAINTEXT://{}", node.listener_kafka)),
        ("advertised.listeners", format!("PLAINTEXT://{advertised}")),
        ("log.dirs", node.data_dir.display().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let settings = [
        (
            "auto.create.topics.enable",
            "auto.create.topics.enable",
            node.auto_create_topics.to_string(),
        ),
        (
            "num.partitions",
            "num.partitions",
            node.num_partitions.to_string(),
        ),
        (
            "default.replication.factor",
            "default.replication.factor",
            node.default_replication_factor.to_string(),
        ),
        (
            "min.insync.replicas",
            "min.insync.replicas",
            node.min_insync_replicas.to_string(),
        ),
        (
            "message.max.bytes",
            "message.max.bytes",
            node.message_max_bytes.to_string(),
        ),
        (
            "retention.ms",
            "log.retention.ms",
            node.retention_ms.to_string(),
        ),
        (
            "retention.bytes",
            "log.retention.bytes",
            node.retention_bytes.to_string(),
        ),
        (
            "fetch.max.bytes",
            "fetch.max.bytes",
            node.fetch_max_bytes.to_string(),
        ),
        (
            "socket.request.max.bytes",
            "socket.request.max.bytes",
            node.request_max_bytes.to_string(),
        ),
        (
            "connections.total.max",
            "max.connections",
            node.connections_max.to_string(),
        ),
        (
            "connections.per.ip.max",
            "max.connections.per.ip",
            node.connections_per_ip_max.to_string(),
        ),
        (
            "group.consumer.assignors",
            "group.consumer.assignors",
            node.group_consumer_assignors.to_string().replace(", ", ","),
        ),
        (
            "offsets.topic.num.partitions",
            "offsets.topic.num.partitions",
            node.offsets_topic_partitions.to_string(),
        ),
        (
            "offsets.topic.replication.factor",
            "offsets.topic.replication.factor",
            node.offsets_topic_replication_factor.to_string(),
        ),
        (
            "replica.lag.max",
            "replica.lag.time.max.ms",
            node.replica_lag_max_ms.to_string(),
        ),
    ];
    for (own, kafka, value) in settings {
        let is_set = config
            .explain(own)
            .is_ok_and(|explained| explained.source != "default");
        if is_set {
            fixed.insert(kafka.to_owned(), value);
        }
    }
    fixed
}

/// A broker resource's name: empty for all brokers, else a broker's id.
fn scope(name: &str) -> Option<ConfigScope> {
    if name.is_empty() {
        return Some(ConfigScope::Cluster);
    }
    name.parse()
        .ok()
        .filter(|id| *id > 0)
        .map(|id| ConfigScope::Node(NodeId(id)))
}
