//! What clients ask a coordinator, of any version of any request.

use bytes::Bytes;

use super::consumer::partitions::Partitions;

/// Who asks: kept with a member, shown in descriptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The client id of the request's header.
    pub id: String,
    /// Its address, as Kafka shows it (`/10.0.0.1`).
    pub host: String,
}

/// One request to the coordinator of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRequest {
    /// A member joins, or joins again.
    Join(Join),
    /// A member asks for its assignment; the leader brings everybody's.
    Sync(Sync),
    /// A member is alive.
    Heartbeat {
        /// Of which group.
        group: String,
        /// In which generation.
        generation: i32,
        /// Who.
        member: MemberRef,
    },
    /// A member of the consumer protocol is alive, comes, goes, or tells what has changed.
    ConsumerBeat(ConsumerBeat),
    /// A group of the consumer protocol is described.
    ConsumerDescribe {
        /// Which.
        group: String,
    },
    /// Members leave.
    Leave {
        /// Which group.
        group: String,
        /// Who. An empty member id with an instance id names a static member.
        members: Vec<Leaver>,
    },
    /// Offsets are committed.
    Commit(Commit),
    /// Committed offsets are read.
    Fetch(Fetch),
    /// Groups are described.
    Describe {
        /// Which group.
        group: String,
    },
    /// The groups of this coordinator are listed.
    List,
    /// A group without members is deleted.
    Delete {
        /// Which.
        group: String,
    },
    /// Committed offsets of topics that no member subscribes to are deleted.
    DeleteOffsets {
        /// Of which group.
        group: String,
        /// Which.
        partitions: Vec<(String, i32)>,
    },
}

impl GroupRequest {
    /// The group that a member says this to, or an operator who sends members away.
    #[must_use]
    pub fn said_to(&self) -> Option<&str> {
        match self {
            Self::Join(Join { group, .. })
            | Self::Sync(Sync { group, .. })
            | Self::Heartbeat { group, .. }
            | Self::ConsumerBeat(ConsumerBeat { group, .. })
            | Self::Leave { group, .. } => Some(group),
            Self::ConsumerDescribe { .. }
            | Self::Commit(_)
            | Self::Fetch(_)
            | Self::Describe { .. }
            | Self::List
            | Self::Delete { .. }
            | Self::DeleteOffsets { .. } => None,
        }
    }
}

/// A member as a request names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberRef {
    /// The id that the coordinator gave; empty before.
    pub id: String,
    /// `group.instance.id` of a static member.
    pub instance: Option<String>,
}

/// A member that leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaver {
    /// Who.
    pub member: MemberRef,
    /// Why, in its own words (since version 5); mostly empty.
    pub reason: String,
}

impl From<MemberRef> for Leaver {
    fn from(member: MemberRef) -> Self {
        let reason = String::new();
        Self { member, reason }
    }
}

/// `JoinGroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: String,
    /// Who.
    pub member: MemberRef,
    /// Whose connection it is.
    pub client: Client,
    /// Removed after so long a silence.
    pub session_timeout_ms: u64,
    /// So long a rebalance waits for this member (version 0: the session timeout).
    pub rebalance_timeout_ms: u64,
    /// The kind of protocol: `consumer`, `connect`, ...
    pub protocol_type: String,
    /// Protocols that the member speaks, the best first, each with its subscription.
    pub protocols: Vec<(String, Bytes)>,
    /// A dynamic member without an id is first given one and has to come back with it (KIP-394, since version 4).
    pub id_required: bool,
    /// The client knows "skip the assignment" (since version 9).
    pub may_skip_assignment: bool,
    /// Why, in the client's own words (since version 8); mostly empty.
    pub reason: String,
}

/// `SyncGroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    /// The group.
    pub group: String,
    /// The generation that the join told.
    pub generation: i32,
    /// Who.
    pub member: MemberRef,
    /// As the client knows it (since version 5).
    pub protocol_type: Option<String>,
    /// As the client knows it (since version 5).
    pub protocol_name: Option<String>,
    /// From the leader: what each member gets.
    pub assignments: Vec<(String, Bytes)>,
}

/// `ConsumerGroupHeartbeat`. What has not changed is not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerBeat {
    /// The group.
    pub group: String,
    /// Who. The id is the member's own choice; empty where the client leaves it to the coordinator.
    pub member: MemberRef,
    /// 0 joins, -1 leaves, -2 leaves for a while, else the epoch that it was told.
    pub epoch: i32,
    /// Whose connection it is.
    pub client: Client,
    /// Where it is.
    pub rack: Option<String>,
    /// So long it may take to give up partitions.
    pub rebalance_timeout_ms: Option<u64>,
    /// Topics that it subscribes to.
    pub topics: Option<Vec<String>>,
    /// A pattern of topics that it subscribes to; an empty one for none.
    pub regex: Option<String>,
    /// The assignor that it would like.
    pub assignor: Option<String>,
    /// What it owns.
    pub owned: Option<Partitions>,
}

impl ConsumerBeat {
    /// Whether it tells something that is kept.
    #[must_use]
    pub fn says_something(&self) -> bool {
        let texts = [&self.rack, &self.regex, &self.assignor];
        self.topics.is_some() || texts.iter().any(|text| text.is_some())
    }
}

/// `OffsetCommit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The group.
    pub group: String,
    /// The generation, or the member epoch of the new protocol; negative for one who is no member.
    pub generation: i32,
    /// Who; an empty id for one who is no member.
    pub member: MemberRef,
    /// What.
    pub offsets: Vec<CommitOffset>,
    /// The client knows members of the consumer protocol (since version 9).
    pub knows_epochs: bool,
    /// So long they are kept (versions 2 to 4); None for as long as the broker is told to.
    pub retention_ms: Option<i64>,
}

/// One offset of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last record read, -1 for unknown.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
}

/// `OffsetFetch` of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// The group.
    pub group: String,
    /// Who asks (since version 9), else an empty id.
    pub member: MemberRef,
    /// The member epoch of the new protocol; negative when not told.
    pub member_epoch: i32,
    /// Which partitions; None for all that are committed.
    pub partitions: Option<Vec<(String, i32)>>,
}
