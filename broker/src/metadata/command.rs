//! The commands of the metadata group: the payload of its `Command` entries.

use raft::types::{DirectoryId, GroupId, Index, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{TopicId, form};
use crate::partition::stored::Stored;

/// The first byte of an encoded command. A reader refuses what it does not know: it must not guess, and must stop.
const FORMAT: u8 = 1;

/// Keys to set (`Some`) or to remove (`None`).
pub type ConfigChanges = BTreeMap<String, Option<String>>;

/// One committed decision.
///
/// Commands name nodes, never disks or replica ids to come: which disk a node has and which ids are free is known
/// only where the command is applied. `as_of` is the [`super::Partition::version`] that the proposer saw; the command
/// is rejected when the partition has changed since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A broker is there, in this life, on this disk.
    RegisterBroker(Registration),
    /// A broker is gone for good. Rejected while it holds replicas or votes in the metadata group.
    UnregisterBroker {
        /// Who.
        #[serde(with = "form")]
        node: NodeId,
    },
    /// Whether the broker is to be emptied: gets no new replicas, its own are moved away.
    SetDraining {
        /// Who.
        #[serde(with = "form")]
        node: NodeId,
        /// To be emptied, or not any longer.
        draining: bool,
    },
    /// A topic and all its partitions.
    CreateTopic {
        /// Random, made by the proposer, never zero.
        #[serde(with = "form")]
        topic: TopicId,
        /// Valid and free.
        name: String,
        /// For partition 0, 1, 2, ...: the nodes, preferred leader first, no duplicates.
        #[serde(with = "form")]
        assignments: Vec<Vec<NodeId>>,
        /// Explicit topic configs.
        configs: BTreeMap<String, String>,
    },
    /// A topic as a snapshot store holds it: under the id that it had, each partition with what its snapshot says.
    RestoreTopic {
        /// Never zero.
        #[serde(with = "form")]
        topic: TopicId,
        /// Valid and free.
        name: String,
        /// As in `CreateTopic`.
        #[serde(with = "form")]
        assignments: Vec<Vec<NodeId>>,
        /// Explicit topic configs.
        configs: BTreeMap<String, String>,
        /// For partition 0, 1, 2, ...: what its replicas begin with.
        origins: Vec<Stored>,
    },
    /// What a restored cluster has besides its topics.
    RestoreCluster {
        /// Dynamic configs of all brokers.
        configs: BTreeMap<String, String>,
        /// Producer ids below this one may have been given out by the cluster that was.
        next_producer_id: i64,
    },
    /// Everything that the restored cluster begins with is there.
    FinishRestore {
        /// The life of the cluster that began with it.
        incarnation: u32,
    },
    /// The only way a topic's data goes.
    DeleteTopic {
        /// By id: a topic of the same name created meanwhile is another one.
        #[serde(with = "form")]
        topic: TopicId,
    },
    /// More partitions of a topic.
    AddPartitions {
        /// Which.
        #[serde(with = "form")]
        topic: TopicId,
        /// The number of the first new one: the count that the proposer saw.
        first: i32,
        /// As in `CreateTopic`.
        #[serde(with = "form")]
        assignments: Vec<Vec<NodeId>>,
    },
    /// Explicit configs of a topic, increments already resolved.
    SetTopicConfigs {
        /// Which.
        #[serde(with = "form")]
        topic: TopicId,
        /// What.
        changes: ConfigChanges,
    },
    /// Dynamic broker configs, increments already resolved.
    SetBrokerConfigs {
        /// Whose.
        scope: ConfigScope,
        /// What.
        changes: ConfigChanges,
    },
    /// Reserve a block of producer ids for a broker.
    AllocateProducerIds {
        /// For whom.
        #[serde(with = "form")]
        node: NodeId,
        /// How many, at least 1.
        count: u32,
    },
    /// Begin to move a group to these nodes (over an earlier move, if one is under way).
    SetTarget {
        /// Which.
        #[serde(with = "form")]
        group: GroupId,
        /// The nodes to be, preferred leader first. Nodes that hold a replica keep it; the others get a new one.
        #[serde(with = "form")]
        nodes: Vec<NodeId>,
        /// The version seen.
        #[serde(with = "form")]
        as_of: Index,
    },
    /// Go back to the replicas from before the move. Itself a move, finished like one.
    CancelReassignment {
        /// Which.
        #[serde(with = "form")]
        group: GroupId,
        /// The version seen.
        #[serde(with = "form")]
        as_of: Index,
    },
    /// The group's leader reports: the target is the committed membership, no joint configuration, nobody else.
    FinishReassignment {
        /// Which.
        #[serde(with = "form")]
        group: GroupId,
        /// The voters of that membership; must be the target.
        #[serde(with = "form")]
        voters: Vec<ReplicaId>,
        /// The version whose target was reached.
        #[serde(with = "form")]
        as_of: Index,
    },
    /// The replica's disk is gone, its node is back with another: a new replica there takes its place.
    ReplaceReplica {
        /// Which.
        #[serde(with = "form")]
        group: GroupId,
        /// The dead replica.
        #[serde(with = "form")]
        replica: ReplicaId,
        /// The version seen.
        #[serde(with = "form")]
        as_of: Index,
    },
    /// Put a replica first in the order of preference.
    SetPreferredLeader {
        /// Which.
        #[serde(with = "form")]
        group: GroupId,
        /// Who.
        #[serde(with = "form")]
        replica: ReplicaId,
        /// The version seen.
        #[serde(with = "form")]
        as_of: Index,
    },
    /// The disk reports: the data of these removed replicas is gone from it.
    ConfirmRemovals {
        /// Which disk.
        #[serde(with = "form")]
        directory: DirectoryId,
        /// Which replicas.
        #[serde(with = "form")]
        replicas: Vec<ReplicaId>,
    },
    /// Raise the level of what commands and formats all brokers understand. Never lowered.
    SetMetadataVersion {
        /// The new level.
        level: u16,
    },
}

/// What a broker says about itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its id, at least 1.
    #[serde(with = "form")]
    pub node: NodeId,
    /// Its disk, not zero.
    #[serde(with = "form")]
    pub directory: DirectoryId,
    /// Advertised to Kafka clients.
    pub host: String,
    /// Advertised to Kafka clients, not zero.
    pub port: u16,
    /// `host:port` for the other brokers.
    pub peer: String,
    /// Where it stands, if told.
    pub rack: Option<String>,
    /// The process life, random: tells a restart from a second message.
    pub boot: u64,
}

/// Whose dynamic broker configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigScope {
    /// Every broker's (Kafka: the default broker resource, an empty name).
    Cluster,
    /// One broker's.
    Node(#[serde(with = "form")] NodeId),
}

/// Why a payload is not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No bytes.
    #[error("a metadata command without bytes")]
    Empty,
    /// Written by a newer broker: this one can no longer follow and must stop.
    #[error("metadata command format {0} is newer than this broker")]
    UnknownFormat(u8),
    /// Not what the format says.
    #[error("malformed metadata command: {0}")]
    Malformed(String),
}

impl Command {
    /// The entry payload: the format byte, then JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        serde_json::to_writer(&mut bytes, self)
            .expect("commands have string keys and write to memory");
        bytes
    }

    /// The command in an entry payload.
    ///
    /// # Errors
    /// [`CommandError`]: this broker cannot apply the entry, hence nothing after it either.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        match bytes.split_first() {
            None => Err(CommandError::Empty),
            Some((&FORMAT, json)) => {
                serde_json::from_slice(json).map_err(|e| CommandError::Malformed(e.to_string()))
            }
            Some((&format, _)) => Err(CommandError::UnknownFormat(format)),
        }
    }
}
