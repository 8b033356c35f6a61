//! What a coordinator tells clients.

use bytes::Bytes;
use protocol::error_code::ErrorCode;

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
    /// Everybody has an assignment.
    Stable,
    /// No such group.
    Dead,
    /// No members.
    Empty,
}

impl GroupStateName {
    /// Those that a group can be in that is there.
    pub const ALL: [Self; 4] = [
        Self::PreparingRebalance,
        Self::CompletingRebalance,
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
