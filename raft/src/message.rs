//! What members of a group say to each other. The bytes are in `protocol::peer`.

use crate::types::{Base, Entry, Index, ReplicaId, Term};

/// One message between two replicas of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub from: ReplicaId,
    /// Whom it is meant for; a receiver with another id drops it.
    pub to: ReplicaId,
    /// The sender's term (for a pre-vote: the term that it would campaign in).
    pub term: Term,
    /// What is said.
    pub body: Body,
}

/// The kinds of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Would you vote for me? Changes no state at the receiver.
    PreVote(Campaign),
    /// The answer. `term` of the message: the asked term when granted, the voter's own when not.
    PreVoteResponse {
        /// Yes or no.
        granted: bool,
    },
    /// Vote for me.
    Vote(Campaign),
    /// The answer, after the vote is synced.
    VoteResponse {
        /// Yes or no.
        granted: bool,
    },
    /// Entries, or a probe without any.
    Append(Append),
    /// The answer to an append, after its entries are synced.
    AppendResponse(AppendResponse),
    /// I lead, and nothing is new.
    Heartbeat {
        /// Commit index, at most what the follower is known to hold.
        commit: Index,
        /// A counter of the leader for ReadIndex rounds; 0 for none.
        read_round: u64,
        /// The leader stops sending until something happens; node liveness stands in.
        quiesce: bool,
    },
    /// The answer.
    HeartbeatResponse {
        /// Echoed.
        read_round: u64,
        /// The last index up to which the follower's log (in memory, not necessarily synced) is
        /// known to be this leader's. A leader that sent more before the heartbeat knows by it what
        /// was lost.
        last_index: Index,
    },
    /// Replace your log below `base.index` by this base.
    Install {
        /// Where the leader's log begins, with the state.
        base: Base,
        /// As in [`Append`].
        session: u64,
    },
    /// The answer, after the base is synced.
    InstallResponse {
        /// The base index now held.
        index: Index,
        /// Echoed.
        session: u64,
    },
    /// Campaign at once, without pre-vote: leadership is handed to you.
    TimeoutNow,
}

/// A candidate's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// Last index of the candidate's log.
    pub last_index: Index,
    /// Its term.
    pub last_term: Term,
    /// Asked for by the leader or an operator: voters ignore that they hear a leader.
    pub forced: bool,
}

/// Entries for a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The entry before the first one sent.
    pub prev_index: Index,
    /// Its term.
    pub prev_term: Term,
    /// The leader's commit index.
    pub commit: Index,
    /// Contiguous from `prev_index + 1`, one term order; may be empty.
    pub entries: Vec<Entry>,
    /// The leader's progress session with this follower: an answer of another session is stale.
    pub session: u64,
    /// As in [`Body::Heartbeat`].
    pub read_round: u64,
}

/// A follower's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendResponse {
    /// What became of it.
    pub result: AppendResult,
    /// Echoed.
    pub session: u64,
    /// Echoed.
    pub read_round: u64,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendResult {
    /// The follower's log is the leader's up to here, synced.
    Matched(Index),
    /// The entry at `prev_index` is missing or another one.
    Conflict {
        /// `prev_index` of the rejected append.
        rejected: Index,
        /// The follower's best guess of a common entry, at most its last index.
        hint_index: Index,
        /// The term of its entry there.
        hint_term: Term,
    },
    /// No room on the disk: do not send entries until a heartbeat's answer.
    Full,
}
