//! What any broker may ask of the controller, and the answers: plain data that also travels between brokers.

use raft::types::{GroupId, Index, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::Failure;
use crate::metadata::{Change, Command, ConfigScope, Image, Registration, TopicId, form};
use crate::partition::stored::Stored;

/// The first byte of encoded requests and responses.
const FORMAT: u8 = 1;

/// A request to the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ControllerRequest {
    /// Kafka's `CreateTopics`, and the creation of a topic on first use.
    CreateTopics {
        /// Which.
        topics: Vec<CreateTopic>,
        /// Check only.
        validate_only: bool,
    },
    /// A topic of a snapshot store, as it was.
    RestoreTopic(RestoreTopic),
    /// What else there is of a cluster in a snapshot store.
    RestoreCluster {
        /// Dynamic configs of all brokers.
        configs: BTreeMap<String, String>,
        /// Producer ids from here on were given to nobody.
        next_producer_id: i64,
    },
    /// Everything of a restored cluster is there.
    FinishRestore {
        /// The life that it begins.
        incarnation: u32,
    },
    /// Kafka's `DeleteTopics`.
    DeleteTopics {
        /// Which.
        topics: Vec<TopicRef>,
    },
    /// Kafka's `CreatePartitions`.
    CreatePartitions {
        /// Where.
        topics: Vec<MorePartitions>,
        /// Check only.
        validate_only: bool,
    },
    /// Kafka's `IncrementalAlterConfigs` and `AlterConfigs`.
    AlterConfigs {
        /// What.
        resources: Vec<AlterConfigs>,
        /// Check only.
        validate_only: bool,
    },
    /// Kafka's `AlterPartitionReassignments`, and single replicas added or removed.
    Reassign {
        /// Which.
        partitions: Vec<PartitionMove>,
        /// Whether the number of replicas may change.
        allow_replication_factor_change: bool,
    },
    /// Let these brokers, and no others, vote in the metadata group.
    SetMetadataVoters {
        /// An odd number of them.
        #[serde(with = "form")]
        nodes: Vec<NodeId>,
    },
    /// Kafka's `ElectLeaders`.
    ElectLeaders {
        /// Which kind.
        election: ElectionType,
        /// Topic and partition.
        partitions: Vec<(String, i32)>,
    },
    /// Hand leadership of one partition to a node.
    TransferLeader {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: i32,
        /// To whom.
        #[serde(with = "form")]
        to: NodeId,
    },
    /// A broker starts.
    RegisterBroker(Registration),
    /// A broker is gone for good.
    UnregisterBroker {
        /// Who.
        #[serde(with = "form")]
        node: NodeId,
    },
    /// Empty a broker, or stop emptying it.
    SetDraining {
        /// Who.
        #[serde(with = "form")]
        node: NodeId,
        /// Which of the two.
        draining: bool,
    },
    /// A block of producer ids for a broker.
    AllocateProducerIds {
        /// For whom.
        #[serde(with = "form")]
        node: NodeId,
    },
    /// A broker reports what it alone can know: a reassignment reached, removals carried out. Nothing else passes.
    Report(Command),
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// How many, or -1.
    pub partitions: i32,
    /// How many replicas each, or -1.
    pub replication_factor: i16,
    /// Partition and nodes, if placed by hand; then both numbers are -1.
    #[serde(with = "form")]
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    /// Explicit configs.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic by name or by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(#[serde(with = "form")] TopicId),
}

/// Partitions to add to a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MorePartitions {
    /// Where.
    pub topic: String,
    /// How many it shall have then.
    pub count: i32,
    /// The nodes of each new partition, if placed by hand.
    #[serde(with = "form")]
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// Whose configs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigTarget {
    /// A topic's.
    Topic(String),
    /// Brokers'.
    Broker(ConfigScope),
}

/// One change of a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigOperation {
    /// Give it a value.
    Set(Option<String>),
    /// Back to the default.
    Delete,
    /// Add items to a list.
    Append(Option<String>),
    /// Take items out of a list.
    Subtract(Option<String>),
}

/// Configs to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterConfigs {
    /// Whose.
    pub target: ConfigTarget,
    /// Keys and what happens to them.
    pub changes: Vec<(String, ConfigOperation)>,
    /// Whether explicit configs that are not named go back to their defaults (the older `AlterConfigs`).
    pub replace: bool,
}

/// A partition to move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionMove {
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// Where to.
    pub placement: Placement,
}

/// Where a partition shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// On these nodes, preferred leader first.
    Nodes(#[serde(with = "form")] Vec<NodeId>),
    /// Where it was before the move under way.
    Cancel,
    /// Also on this node.
    Add(#[serde(with = "form")] NodeId),
    /// No longer on this node.
    Remove(#[serde(with = "form")] NodeId),
}

/// Kafka's kinds of election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElectionType {
    /// The preferred leader shall lead.
    Preferred,
    /// Anybody shall lead, whatever is lost. Refused here.
    Unclean,
}

/// What an item of a request came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// It is so now.
    Done,
    /// A topic was created (or could be).
    Topic(CreatedTopic),
    /// A topic was deleted.
    Deleted {
        /// Its id.
        #[serde(with = "form")]
        topic: TopicId,
        /// Its name.
        name: String,
    },
    /// A transfer of leadership was asked for.
    Asked {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The group.
        #[serde(with = "form")]
        group: GroupId,
        /// Who shall lead.
        #[serde(with = "form")]
        to: NodeId,
    },
    /// A broker is registered.
    Registered {
        /// Its broker epoch.
        #[serde(with = "form")]
        epoch: Index,
        /// Its replica of the metadata group.
        #[serde(with = "form")]
        metadata: ReplicaId,
    },
    /// A block of producer ids.
    ProducerIds {
        /// The first.
        first: i64,
        /// How many.
        count: u32,
    },
}

/// See [`ControllerRequest::RestoreTopic`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreTopic {
    /// The id that it had.
    #[serde(with = "form")]
    pub topic: TopicId,
    /// Its name.
    pub name: String,
    /// Replicas of each partition, or as many as there can be.
    pub replicas: i16,
    /// Its explicit configs.
    pub configs: BTreeMap<String, String>,
    /// For partition 0, 1, 2, ...: the snapshot that it begins with.
    pub origins: Vec<Stored>,
}

/// What `CreateTopics` answers about a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreatedTopic {
    /// Its id; zero when only checked.
    #[serde(with = "form")]
    pub topic: TopicId,
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas each.
    pub replication_factor: i16,
    /// Its explicit configs.
    pub configs: BTreeMap<String, String>,
}

impl Answer {
    /// Fills in what only the applied command tells.
    pub(super) fn completed(self, changes: &[Change], image: &Image) -> Self {
        for change in changes {
            match change {
                Change::ProducerIdsAllocated { first, count, .. } => {
                    return Self::ProducerIds {
                        first: *first,
                        count: *count,
                    };
                }
                Change::BrokerChanged { node } => {
                    if let (Self::Registered { .. }, Some(broker)) = (&self, image.broker(*node)) {
                        return Self::Registered {
                            epoch: broker.epoch,
                            metadata: broker.metadata,
                        };
                    }
                }
                _ => {}
            }
        }
        self
    }
}

/// The controller's response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerResponse {
    /// One per item, in the order of the request.
    pub items: Vec<Result<Answer, Failure>>,
    /// Whoever has applied the metadata up to here sees what came of the request.
    #[serde(with = "form")]
    pub applied: Index,
}

/// Why bytes are not a request or a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed controller message: {0}")]
pub struct RequestError(String);

fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    serde_json::to_writer(&mut bytes, message)
        .expect("controller messages have string keys and write to memory");
    bytes
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, RequestError> {
    match bytes.split_first() {
        Some((&FORMAT, json)) => {
            serde_json::from_slice(json).map_err(|e| RequestError(e.to_string()))
        }
        Some((format, _)) => Err(RequestError(format!("unknown format {format}"))),
        None => Err(RequestError("no bytes".to_owned())),
    }
}

impl ControllerRequest {
    /// The request as bytes, for another broker.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The request in these bytes.
    ///
    /// # Errors
    /// [`RequestError`]: not a request that this broker knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        decode(bytes)
    }
}

impl ControllerResponse {
    /// The response as bytes, for another broker.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The response in these bytes.
    ///
    /// # Errors
    /// [`RequestError`]: not a response that this broker knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        decode(bytes)
    }
}
