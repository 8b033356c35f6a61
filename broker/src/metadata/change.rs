//! What an applied command means to the broker that applied it, and why a command was not applied.

use raft::types::{DirectoryId, GroupId, Index, Member, NodeId, ReplicaId};

use super::{ConfigScope, TopicId};

/// Something changed in the image; each broker acts on what concerns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A broker appeared, came back, moved, or is (not) to be drained.
    BrokerChanged {
        /// Who.
        node: NodeId,
    },
    /// A broker is gone for good.
    BrokerRemoved {
        /// Who.
        node: NodeId,
    },
    /// A topic is there; its partitions follow as `PartitionCreated`.
    TopicCreated {
        /// Which.
        topic: TopicId,
    },
    /// A topic is gone; its partitions came before as `PartitionRemoved`.
    TopicRemoved {
        /// Which.
        topic: TopicId,
        /// Its name, no longer in the image.
        name: String,
    },
    /// Brokers among the replicas open the group, empty or with its origin, with the replicas as its voters.
    PartitionCreated {
        /// Which.
        group: GroupId,
    },
    /// The group is gone: these replicas stop and drop their data.
    PartitionRemoved {
        /// Which.
        group: GroupId,
        /// Of which topic.
        topic: TopicId,
        /// Which of its partitions.
        partition: i32,
        /// Every replica that it had.
        replicas: Vec<Member>,
    },
    /// New replicas open the group, empty, without a membership, and wait; its leader works towards the target.
    TargetChanged {
        /// Which.
        group: GroupId,
    },
    /// The target is the assignment now: these replicas, in no membership any more, stop and drop their data.
    ReassignmentFinished {
        /// Which.
        group: GroupId,
        /// Those who go.
        removed: Vec<Member>,
    },
    /// Only the order of preference changed.
    PreferenceChanged {
        /// Which.
        group: GroupId,
    },
    /// The explicit configs of a topic changed.
    ConfigChanged {
        /// Which.
        topic: TopicId,
    },
    /// Dynamic broker configs changed.
    BrokerConfigChanged {
        /// Whose.
        scope: ConfigScope,
    },
    /// A block of producer ids belongs to this broker.
    ProducerIdsAllocated {
        /// Whose.
        node: NodeId,
        /// The first.
        first: i64,
        /// How many.
        count: u32,
    },
    /// The restored cluster has everything that it begins with.
    Restored,
    /// Blocks of producer ids that brokers had before are not to be used any more.
    ProducerIdsRaised,
    /// Removed replicas are confirmed gone from a disk.
    RemovalsConfirmed {
        /// Which disk.
        directory: DirectoryId,
    },
    /// All brokers understand more now.
    MetadataVersionChanged {
        /// The new level.
        level: u16,
    },
}

/// Why a command changed nothing. The proposer sees it; every broker comes to the same one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The image is already at or past this index.
    #[error("entry {0} is already applied")]
    AlreadyApplied(Index),
    /// The name or the id is taken.
    #[error("topic {0} already exists")]
    TopicExists(String),
    /// No such topic.
    #[error("no topic {0}")]
    UnknownTopic(TopicId),
    /// No such group.
    #[error("no group {0}")]
    UnknownGroup(GroupId),
    /// Not registered.
    #[error("broker {0} is not registered")]
    UnknownBroker(NodeId),
    /// Not a replica of the group's assignment.
    #[error("replica {0} is not assigned to the group")]
    UnknownReplica(ReplicaId),
    /// Decided on an older state.
    #[error("the partition has changed since (version {actual}, decided on {expected})")]
    Stale {
        /// What the proposer saw.
        expected: Index,
        /// What is.
        actual: Index,
    },
    /// The topic has another number of partitions than the proposer saw.
    #[error("the topic has {actual} partitions, not {expected}")]
    PartitionCountChanged {
        /// What the proposer saw.
        expected: i32,
        /// What is.
        actual: i32,
    },
    /// Empty, duplicate nodes, too many partitions, an empty id or name.
    #[error("invalid assignment: {0}")]
    InvalidAssignment(&'static str),
    /// A zero id or an empty address.
    #[error("invalid registration: {0}")]
    InvalidRegistration(&'static str),
    /// The disk belongs to another node id, or once did.
    #[error("the directory belongs to node {0}")]
    DirectoryInUse(NodeId),
    /// The broker still has replicas.
    #[error("broker {node} still holds {replicas} replicas")]
    BrokerInUse {
        /// Who.
        node: NodeId,
        /// How many, its vote in the metadata group included.
        replicas: usize,
    },
    /// No move is under way.
    #[error("no reassignment is in progress for group {0}")]
    NoReassignment(GroupId),
    /// The reported membership is not the target.
    #[error("the reported voters are not the target")]
    NotTheTarget,
    /// It is so already.
    #[error("nothing to change")]
    NothingToChange,
    /// No ids left, or none asked for.
    #[error("cannot allocate {0} producer ids")]
    NoProducerIds(u32),
}
