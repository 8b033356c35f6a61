//! What a coordinator tells clients.

use bytes::Bytes;
use protocol::error_code::ErrorCode;

use super::consumer::partitions::Partitions;
use super::request::Client;
use crate::metadata::TopicId;

/// The answer to a [`super::request::GroupRequest`], of the same name unless it failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupReply {
    /// The request failed as a whole.
    ///
    /// NB: a commit to a group that is not there fails with `GroupIdNotFound`; before version 9 clients know that as
    /// `IllegalGeneration`.
    Failed {
        /// Kafka's code.
        code: ErrorCode,
        /// With a join: the id to come back with (79), the id that was sent, or empty. Else empty.
        member: String,
    },
    /// The rebalance is over.
    Joined(Joined),
    /// The member's assignment.
    Synced {
        /// Of the group.
        protocol_type: String,
        /// That was chosen.
        protocol_name: String,
        /// What it gets; may be empty.
        assignment: Bytes,
    },
    /// Done: a heartbeat, a deletion.
    Done,
    /// What became of each who leaves, in the order asked.
    Left(Vec<ErrorCode>),
    /// What became of each offset of a commit, or of each deletion, in the order asked.
    Offsets(Vec<ErrorCode>),
    /// Committed offsets. A partition without one has offset -1.
    Fetched(Vec<FetchedOffset>),
    /// A description.
    Described(Described),
    /// A heartbeat of the consumer protocol was taken.
    ConsumerBeaten(ConsumerBeaten),
    /// A description of a group of the consumer protocol.
    ConsumerDescribed(ConsumerDescribed),
    /// The groups of this coordinator.
    Listed(Vec<Listed>),
}

impl GroupReply {
    /// The request failed as a whole.
    #[must_use]
    pub fn failed(code: ErrorCode) -> Self {
        Self::join_failed(code, "")
    }

    /// A join failed, and this is the member id of its answer.
    #[must_use]
    pub fn join_failed(code: ErrorCode, member: &str) -> Self {
        Self::Failed {
            code,
            member: member.to_owned(),
        }
    }
}

/// The answer to a join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// The new generation.
    pub generation: i32,
    /// Of the group.
    pub protocol_type: String,
    /// Chosen by the votes of all members.
    pub protocol_name: String,
    /// The member that assigns.
    pub leader: String,
    /// The member's own id.
    pub member: String,
    /// The leader comes back unchanged and must not assign anew.
    pub skip_assignment: bool,
    /// For the leader: everybody, with the subscription for the chosen protocol.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub id: String,
    /// Of a static member.
    pub instance: Option<String>,
    /// Its subscription.
    pub subscription: Bytes,
}

/// A committed offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to read, -1 for none.
    pub offset: i64,
    /// -1 for unknown.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
}

/// A group's state in Kafka's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupStateName {
    /// Members are joining.
    PreparingRebalance,
    /// All have joined, the leader has not assigned.
    CompletingRebalance,
    /// Everybody has an assignment; of the consumer protocol: has reached its target.
    Stable,
    /// Of the consumer protocol: the targets are to be made anew.
    Assigning,
    /// Of the consumer protocol: members are on the way to their targets.
    Reconciling,
    /// No such group.
    Dead,
    /// No members.
    Empty,
}

impl GroupStateName {
    /// Those that a group can be in that is there.
    pub const ALL: [Self; 6] = [
        Self::PreparingRebalance,
        Self::CompletingRebalance,
        Self::Assigning,
        Self::Reconciling,
        Self::Stable,
        Self::Empty,
    ];

    /// As Kafka writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Dead => "Dead",
            Self::Empty => "Empty",
        }
    }
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub group: String,
    /// `consumer` and the like; empty for one that only commits.
    pub protocol_type: String,
    /// Its state.
    pub state: GroupStateName,
    /// `classic` or `consumer`.
    pub group_type: &'static str,
}

/// A described group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its state; Dead for one that is not there.
    pub state: GroupStateName,
    /// `consumer` and the like.
    pub protocol_type: String,
    /// The chosen protocol; empty unless stable.
    pub protocol_name: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member of a described group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub id: String,
    /// Of a static member.
    pub instance: Option<String>,
    /// Its client id.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// Its subscription for the chosen protocol; empty unless stable.
    pub subscription: Bytes,
    /// Its assignment; empty unless stable.
    pub assignment: Bytes,
}

/// The answer to a heartbeat of the consumer protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerBeaten {
    /// The member's id.
    pub member: String,
    /// The epoch that it has reached; what it sent, if it leaves.
    pub epoch: i32,
    /// When the next heartbeat is wanted.
    pub interval_ms: u64,
    /// What it is to own from now on, no more and no less. None if that is as it was.
    pub assignment: Option<Partitions>,
}

/// A described group of the consumer protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescribed {
    /// Its state.
    pub state: GroupStateName,
    /// Its epoch.
    pub epoch: i32,
    /// The epoch of its targets.
    pub target_epoch: i32,
    /// Who makes them.
    pub assignor: &'static str,
    /// Its members.
    pub members: Vec<ConsumerMember>,
}

/// A member of a described group of the consumer protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMember {
    /// Its id.
    pub id: String,
    /// Of a static member.
    pub instance: Option<String>,
    /// Where it is.
    pub rack: Option<String>,
    /// The epoch that it has reached.
    pub epoch: i32,
    /// Who it is.
    pub client: Client,
    /// Topics that it subscribes to.
    pub topics: Vec<String>,
    /// And those whose name fits.
    pub regex: Option<String>,
    /// What it owns.
    pub assigned: Vec<NamedPartitions>,
    /// What it is to own.
    pub target: Vec<NamedPartitions>,
    /// It speaks the classic protocol.
    pub is_classic: bool,
}

/// Partitions of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPartitions {
    /// Its name.
    pub name: String,
    /// Its id.
    pub topic: TopicId,
    /// Which.
    pub partitions: Vec<i32>,
}
