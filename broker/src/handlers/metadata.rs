//! `Metadata`: brokers, topics, and who leads.
//!
//! Leaders come from what they announce, everything else from the metadata image. Topics that are not there may be
//! created on the way, when both the request and the configuration allow it.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::error_code::ErrorCode;
use protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::wire::{Str, Uuid};
use raft::types::{GroupId, NodeId};

use super::{lookup, topics};
use crate::broker::Broker;
use crate::coordinator::OFFSETS_TOPIC;
use crate::dispatch::{Context, Reply};
use crate::metadata::{Image, Partition, Topic, TopicId};

/// Before this version an empty list of topics means all of them.
const EMPTY_IS_NONE_SINCE: i16 = 1;
/// From this version on a topic may be named by its id alone.
const BY_ID_SINCE: i16 = 12;
/// How long an automatic creation may take before the client is told to ask again.
const CREATE_WAIT: Duration = Duration::from_secs(5);
/// What anybody may do with a topic where nobody is refused: Kafka's bits of read, write, create, delete, alter,
/// describe, describe-configs and alter-configs.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same for the cluster: create, alter, describe, cluster-action, describe-configs, alter-configs,
/// idempotent-write.
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// Answers at once, or after the missing topics are created.
pub fn start(cx: Context, request: MetadataRequest, reply: Reply) {
    let missing = missing(&cx, &request);
    if missing.is_empty() {
        return reply.send(response(&cx, &request));
    }
    reply.later(async move {
        topics::create::automatically(&cx, missing, CREATE_WAIT).await;
        response(&cx, &request)
    });
}

/// Names of topics that are asked for, not there, and may be created; each once, however often it was asked for.
fn missing(cx: &Context, request: &MetadataRequest) -> Vec<String> {
    if !request.allow_auto_topic_creation || !cx.config.node.auto_create_topics {
        return Vec::new();
    }
    let image = cx.broker.image();
    let topics = request.topics.iter().flatten();
    let asked = topics
        .filter(|topic| !by_id(cx, topic))
        .filter_map(|topic| topic.name.as_deref());
    // Nobody creates the topic of transactions by asking for it: it would not be as transactions will want it.
    let absent = |name: &&str| {
        lookup::is_topic_name(name)
            && image.topic_named(name).is_none()
            && (*name == OFFSETS_TOPIC || !lookup::is_internal(name))
    };
    let names: BTreeSet<&str> = asked.filter(absent).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Whether the id says which topic is meant. It goes before the name: Kafka's Java client sends an id and an empty name.
fn by_id(cx: &Context, asked: &MetadataRequestTopic) -> bool {
    cx.version >= BY_ID_SINCE && !asked.topic_id.is_zero()
}

fn response(cx: &Context, request: &MetadataRequest) -> MetadataResponse {
    let image = cx.broker.image();
    let all = match &request.topics {
        None => true,
        Some(topics) => topics.is_empty() && cx.version < EMPTY_IS_NONE_SINCE,
    };
    let operations = if request.include_topic_authorized_operations {
        TOPIC_OPERATIONS
    } else {
        i32::MIN
    };
    let topics = if all {
        image
            .topics()
            .map(|topic| known(cx, &image, topic, operations))
            .collect()
    } else {
        let asked = request.topics.iter().flatten();
        asked
            .map(|asked| one(cx, &image, asked, operations))
            .collect()
    };
    MetadataResponse {
        brokers: brokers(&cx.broker, &image),
        cluster_id: Some(cluster_id(&image)),
        controller_id: controller_id(&cx.broker).0,
        topics,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}

/// The brokers that this one hears, itself included. All of them where it hears too few: clients forget those that are
/// not listed (librdkafka from 2.10 on), and would be left with the one broker that is cut off.
fn brokers(broker: &Broker, image: &Image) -> Vec<MetadataResponseBroker> {
    let alive = image
        .brokers()
        .filter(|known| broker.is_listed(known.node()));
    let row = |known: &crate::metadata::Broker| MetadataResponseBroker {
        node_id: known.node().0,
        host: Str::from(known.registration.host.as_str()),
        port: i32::from(known.registration.port),
        rack: known.registration.rack.as_deref().map(Str::from),
    };
    alive.map(row).collect()
}

/// The cluster's id as Kafka's tools write it.
pub fn cluster_id(image: &Image) -> Str {
    Str::from(TopicId(image.cluster()).to_string())
}

/// A broker that takes administrative requests. Any does, as it forwards; best the controller itself.
pub fn controller_id(broker: &Broker) -> NodeId {
    broker
        .controller()
        .filter(|node| broker.is_alive(*node))
        .unwrap_or(broker.node_id())
}

fn one(
    cx: &Context,
    image: &Image,
    asked: &MetadataRequestTopic,
    operations: i32,
) -> MetadataResponseTopic {
    let by_id = by_id(cx, asked);
    let found = match &asked.name {
        _ if by_id => lookup::topic_of_id(image, asked.topic_id),
        Some(name) if !lookup::is_topic_name(name) => Err(ErrorCode::InvalidTopic),
        Some(name) => lookup::topic_named(image, name),
        None => Err(ErrorCode::InvalidRequest),
    };
    match found {
        Ok(topic) => known(cx, image, topic, operations),
        Err(code) => MetadataResponseTopic {
            error_code: code.code(),
            // Before version 12 the name cannot be null.
            name: asked
                .name
                .clone()
                .filter(|_| !by_id)
                .or((cx.version < BY_ID_SINCE).then(Str::new)),
            topic_id: asked.topic_id,
            ..Default::default()
        },
    }
}

fn known(cx: &Context, image: &Image, topic: &Topic, operations: i32) -> MetadataResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .filter_map(|group| Some(partition(&view(&cx.broker, image, *group)?)));
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(Str::from(topic.name.as_str())),
        topic_id: Uuid(topic.id.0),
        is_internal: lookup::is_internal(&topic.name),
        partitions: partitions.collect(),
        topic_authorized_operations: operations,
    }
}

fn partition(view: &View) -> MetadataResponsePartition {
    MetadataResponsePartition {
        error_code: view.code.code(),
        partition_index: view.index,
        leader_id: view.leader,
        leader_epoch: view.epoch,
        replica_nodes: view.replicas.clone(),
        isr_nodes: view.in_sync.clone(),
        offline_replicas: view.offline.clone(),
    }
}

/// A partition as clients see it.
pub struct View {
    /// Its number.
    pub index: i32,
    /// Whether it has a leader.
    pub code: ErrorCode,
    /// The leader, -1 for none.
    pub leader: i32,
    /// Its epoch, -1 when there is no leader.
    pub epoch: i32,
    /// Where it is to be, preferred leader first, those that a move takes away last.
    pub replicas: Vec<i32>,
    /// Voters in sync with the leader.
    pub in_sync: Vec<i32>,
    /// Replicas on brokers that are not heard.
    pub offline: Vec<i32>,
}

/// How clients see a partition.
pub fn view(broker: &Broker, image: &Image, group: GroupId) -> Option<View> {
    let assignment = image.partition(group)?;
    let replicas = nodes(assignment);
    let offline = replicas
        .iter()
        .copied()
        .filter(|node| !broker.is_alive(NodeId(*node)))
        .collect();
    let view = View {
        index: assignment.partition,
        code: ErrorCode::LeaderNotAvailable,
        leader: -1,
        epoch: -1,
        replicas,
        in_sync: Vec::new(),
        offline,
    };
    // A leader that clients cannot find in the list of brokers is none.
    let reachable = |node| broker.is_alive(node) && image.broker(node).is_some();
    Some(
        match broker.leader(group).filter(|leader| reachable(leader.node)) {
            None => view,
            Some(leader) => View {
                code: ErrorCode::None,
                leader: leader.node.0,
                epoch: lookup::leader_epoch(&leader),
                in_sync: leader.in_sync.iter().map(|node| node.0).collect(),
                ..view
            },
        },
    )
}

/// The nodes of a partition's replicas, each once.
fn nodes(assignment: &Partition) -> Vec<i32> {
    let mut nodes: Vec<i32> = Vec::new();
    for member in assignment.holders() {
        if !nodes.contains(&member.node.0) {
            nodes.push(member.node.0);
        }
    }
    nodes
}
