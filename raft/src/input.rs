//! What can happen to a group member.

use crate::message::Message;
use crate::types::{Entry, Index, Member, NodeId, PersistSeq, ReplicaId};

/// One event, handed to `Node::step` with the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed; due at `Node::deadline`, harmless at any other time.
    Tick,
    /// A message from a member (or from one that claims to be).
    Message {
        /// The authenticated node that it came from: answers to a sender that the membership does
        /// not name (yet) go there, and a message in the name of a member that lives elsewhere is
        /// dropped.
        node: NodeId,
        /// What it says.
        message: Message,
    },
    /// Everything up to and including this persist is synced.
    Persisted(PersistSeq),
    /// The answer to [`crate::effect::Effect::Read`].
    Read {
        /// As asked.
        to: ReplicaId,
        /// As asked.
        session: u64,
        /// Contiguous from the index asked for; empty when it is no longer in the log (trimmed
        /// meanwhile).
        entries: Vec<Entry>,
    },
    /// The log could not be read there. Nothing is sent in its place.
    ReadFailed {
        /// As asked.
        to: ReplicaId,
        /// As asked.
        session: u64,
    },
    /// The state machine's state for an install that was asked for by
    /// [`crate::effect::Effect::NeedsInstall`].
    InstallState {
        /// The follower.
        to: ReplicaId,
        /// As asked.
        session: u64,
        /// The base with the state filled in.
        base: crate::types::Base,
    },
    /// Confirm leadership and report the index to wait for, under this id (unique among those under
    /// way).
    ReadIndex(u64),
    /// Change the members.
    ChangeMembership(Change),
    /// Hand leadership to this voter.
    Transfer(ReplicaId),
    /// Campaign now; `forced` skips pre-vote and others' leases (an operator's word). A leader
    /// ignores it.
    Campaign {
        /// Skip pre-vote.
        forced: bool,
    },
    /// The node's connection broke or its liveness ran out.
    NodeDown(NodeId),
    /// The node is heard again, possibly in another life.
    NodeUp(NodeId),
    /// The local disk has no room for entries (true), or has room again.
    DiskFull(bool),
}

/// A change of members. One at a time; refused while another is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Begin to replicate to it.
    AddLearner(Member),
    /// Forget a learner.
    RemoveLearner(ReplicaId),
    /// Make this the voter set, by joint consensus; learners among them are promoted when caught up
    /// (refused before). Members that are in no set any longer are removed.
    SetVoters(Vec<Member>),
}

/// Why a proposal, change or transfer was refused; nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody else leads, or nobody.
    #[error("not the leader")]
    NotLeader {
        /// The leader as far as known.
        leader: Option<ReplicaId>,
    },
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// Another membership change is not committed yet, or the leader has not committed an entry of
    /// its own term.
    #[error("a membership change is under way, or the leader's own term is not committed yet")]
    ChangeUnderWay,
    /// A learner that should vote is too far behind.
    #[error("replica {0} has not caught up")]
    NotCaughtUp(ReplicaId),
    /// The change makes no sense (unknown member, empty voter set, already so).
    #[error("invalid membership change: {0}")]
    Invalid(&'static str),
    /// Too many bytes are appended but not committed.
    #[error("too many uncommitted bytes")]
    Busy,
}

/// The index of an accepted proposal's first entry.
pub type Proposed = Result<Index, Refused>;
