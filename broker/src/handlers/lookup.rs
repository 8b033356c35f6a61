//! From what a request names to what the broker has: groups, leaders, addresses.

use protocol::error_code::ErrorCode;
use protocol::wire::{Str, Uuid};
use raft::types::{GroupId, NodeId};

use crate::broker::{Broker, LeaderView, Rejection};
use crate::controller::validate_topic_name;
use crate::coordinator::OFFSETS_TOPIC;
use crate::metadata::{Image, Topic, TopicId};

/// Where a broker can be reached by clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub node: NodeId,
    /// Its advertised host.
    pub host: String,
    /// Its advertised port.
    pub port: i32,
    /// Where it stands.
    pub rack: Option<String>,
}

/// A not-leader hint that is right in both halves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The leader's id.
    pub leader_id: i32,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// Where it is.
    pub endpoint: Endpoint,
}

/// Raft's term as Kafka's leader epoch.
pub fn leader_epoch(leader: &LeaderView) -> i32 {
    i32::try_from(leader.term.0).expect("terms stay within Kafka's leader epochs")
}

/// The group of a topic's partition, or the code to answer with.
pub fn group_of(topic: &Topic, partition: i32) -> Result<GroupId, ErrorCode> {
    usize::try_from(partition)
        .ok()
        .and_then(|at| topic.partitions.get(at).copied())
        .ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// The topic of this name, or the code to answer with.
pub fn topic_named<'a>(image: &'a Image, name: &str) -> Result<&'a Topic, ErrorCode> {
    image
        .topic_named(name)
        .ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// The topic of this id, or the code to answer with.
pub fn topic_of_id(image: &Image, id: Uuid) -> Result<&Topic, ErrorCode> {
    image.topic(TopicId(id.0)).ok_or(ErrorCode::UnknownTopicId)
}

/// The group of a named topic's partition.
pub fn group_named(image: &Image, name: &str, partition: i32) -> Result<GroupId, ErrorCode> {
    group_of(topic_named(image, name)?, partition)
}

/// Where a registered broker can be reached.
pub fn endpoint(image: &Image, node: NodeId) -> Option<Endpoint> {
    let registration = &image.broker(node)?.registration;
    Some(Endpoint {
        node,
        host: registration.host.clone(),
        port: i32::from(registration.port),
        rack: registration.rack.clone(),
    })
}

/// The hint that goes with a rejection: both who leads and where, or nothing.
pub fn hint(broker: &Broker, rejection: &Rejection) -> Option<Hint> {
    let leader = rejection.leader.as_ref()?;
    let stale = matches!(
        rejection.code,
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
    );
    if !stale || leader.node == broker.node_id() || !broker.is_alive(leader.node) {
        return None;
    }
    let endpoint = endpoint(&broker.image(), leader.node)?;
    Some(Hint {
        leader_id: leader.node.0,
        leader_epoch: leader_epoch(leader),
        endpoint,
    })
}

/// A code as a rejection without more to say.
pub fn rejected(code: ErrorCode) -> Rejection {
    Rejection {
        code,
        message: String::new(),
        leader: None,
    }
}

/// A text for a nullable field: empty is null.
pub fn text(message: &str) -> Option<Str> {
    (!message.is_empty()).then(|| Str::from(message))
}

/// Whether a topic may have this name.
pub fn is_topic_name(name: &str) -> bool {
    validate_topic_name(name).is_ok()
}

/// Whether this is a topic of the broker's own.
pub fn is_internal(name: &str) -> bool {
    matches!(name, OFFSETS_TOPIC | "__transaction_state")
}
