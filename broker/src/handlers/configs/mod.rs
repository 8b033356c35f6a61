//! The configs of topics and brokers.

pub mod alter;
pub mod describe;
mod fixed;

use raft::types::NodeId;

use crate::dispatch::Context;
use crate::metadata::{ConfigScope, Image};
use crate::topic_config::Layers;

pub use fixed::fixed;

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
