//! The vocabulary that every other crate shares: identities, log coordinates, entries, membership.

use bytes::Bytes;
use std::fmt;

/// A broker's id from its configuration, Kafka's broker id. At least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub i32);

/// One life of one replica of one group, given by the metadata group, never reused. At least 1.
///
/// A node that lost its disk comes back with other replica ids: the old ones never speak again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReplicaId(pub u64);

/// A Raft group. [`GroupId::METADATA`] is the metadata group, every other one is a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupId(pub u64);

impl GroupId {
    /// The group of topics, assignments, configs and brokers.
    pub const METADATA: Self = Self(0);
}

/// The UUID of a formatted data directory. A wiped disk has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DirectoryId(pub u128);

/// A Raft term; Kafka's leader epoch. 0 before the first election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

/// A position in a group's Raft log. The first entry has index 1; 0 is before the log. Not a Kafka
/// offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Index(pub u64);

/// Milliseconds on the driver's monotonic clock. Only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

/// The number of a [`crate::effect::Persist`] of one group within one process life: 1, 2, 3, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PersistSeq(pub u64);

impl Index {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The index before this one; 0 stays 0.
    #[must_use]
    pub fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

macro_rules! display {
    ($($name:ident $prefix:literal),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}
display!(NodeId "", ReplicaId "r", GroupId "g", Term "t", Index "i", PersistSeq "p");

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What an entry's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// A new leader's first entry. Empty payload.
    Noop = 0,
    /// An encoded [`Membership`] ([`Membership::encode`]).
    Membership = 1,
    /// One Kafka record batch, verbatim.
    Records = 2,
    /// A command of the group's own state machine (log start advance, metadata command, ...).
    Command = 3,
}

impl EntryKind {
    /// The kind with this number on disk and on the wire.
    #[must_use]
    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Noop),
            1 => Some(Self::Membership),
            2 => Some(Self::Records),
            3 => Some(Self::Command),
            _ => None,
        }
    }
}

/// One entry of a group's log. Cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub index: Index,
    /// The term of the leader that appended it.
    pub term: Term,
    /// What the payload is.
    pub kind: EntryKind,
    /// Opaque to Raft but for membership entries.
    pub payload: Bytes,
}

/// What must be on disk before a message that rests on it leaves: term and vote. `commit` is a hint
/// for restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HardState {
    /// Highest term seen. Never goes down.
    pub term: Term,
    /// Who got this replica's vote in `term`.
    pub vote: Option<ReplicaId>,
    /// A committed index, at most the last index (clamped at start). May lag behind.
    pub commit: Index,
}

/// A member of a group: which life of which disk on which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The replica's own id: the key in every set.
    pub replica: ReplicaId,
    /// Where its messages go.
    pub node: NodeId,
    /// The disk that it lives on.
    pub directory: DirectoryId,
}

/// The members of a group. Joint while `outgoing` is not empty: then both majorities count.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Membership {
    /// The (incoming) voters, by replica id, no duplicates.
    pub voters: Vec<Member>,
    /// The outgoing voters of a joint configuration; empty otherwise.
    pub outgoing: Vec<Member>,
    /// Receive the log, do not count.
    pub learners: Vec<Member>,
}

/// Where a group's log begins: everything at and below `index` is gone from the log and summed up
/// in `state`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Base {
    /// Last index below the log; 0 for a whole log.
    pub index: Index,
    /// Term of the entry at `index`; 0 for a whole log.
    pub term: Term,
    /// The membership in force at `index`.
    pub membership: Membership,
    /// The state machine's state as of `index`; opaque to Raft and to the log.
    pub state: Bytes,
}
