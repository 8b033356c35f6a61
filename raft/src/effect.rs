//! What a group member wants done. Drivers execute effects in order; they never decide.

use crate::message::Message;
use crate::types::{
    Base, Entry, HardState, Index, Member, Membership, PersistSeq, ReplicaId, Term,
};

/// When an effect may be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// At once, even before earlier persists are written.
    Now,
    /// When this persist (and all before it) is synced.
    Persisted(PersistSeq),
}

/// One order to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Append to the broker's log; answered by `Input::Persisted`.
    Persist(Persist),
    /// Send to a member's node.
    Send {
        /// Where to.
        to: Member,
        /// What.
        message: Message,
        /// When.
        after: After,
    },
    /// Read entries that are no longer in memory; answered by `Input::Read` or `Input::ReadFailed`.
    Read {
        /// The follower that needs them.
        to: ReplicaId,
        /// The progress session; echoed.
        session: u64,
        /// First index.
        from: Index,
        /// Last index (inclusive) at most.
        until: Index,
        /// At most this many payload bytes, but at least one entry.
        max_bytes: u64,
    },
    /// A follower needs entries below the base; answered by `Input::InstallState`.
    NeedsInstall {
        /// The follower.
        to: ReplicaId,
        /// The progress session; echoed.
        session: u64,
    },
    /// The log was replaced: `base.state` is the state now, everything applied before is void, and
    /// everything up to `base.index` is committed (no [`Effect::Committed`] says so). Comes after
    /// its persist; the state may be used at once, but answers that rest on it wait for `after`.
    Installed {
        /// The new base.
        base: Base,
        /// When it is durable.
        after: After,
    },
    /// Entries at and above this index are gone (they were never committed).
    Truncated {
        /// First removed index.
        from: Index,
    },
    /// Entries were appended to the log in memory (by `propose` or by a leader's message); in index
    /// order.
    Appended {
        /// The new entries.
        entries: Vec<Entry>,
    },
    /// Everything up to here is committed, and durable on a majority.
    Committed {
        /// The new commit index.
        index: Index,
    },
    /// Role, term or known leader changed.
    Role {
        /// What this member is now.
        role: Role,
        /// Its term.
        term: Term,
        /// The leader as far as known.
        leader: Option<ReplicaId>,
    },
    /// The effective membership changed (appended, truncated or installed; not necessarily
    /// committed).
    Membership {
        /// The effective membership.
        membership: Membership,
        /// Whether the entry that says so is committed.
        committed: bool,
    },
    /// A read may be served once the state machine has applied this index.
    ReadReady {
        /// The id of the request.
        id: u64,
        /// The index to wait for.
        index: Index,
    },
    /// A read cannot be confirmed here (leadership lost).
    ReadRefused {
        /// The id of the request.
        id: u64,
    },
    /// Somebody broke the protocol in a way that the algorithm makes impossible (two leaders in one
    /// term, a committed entry to be replaced). Nothing was changed; the group must halt and alarm.
    Violation {
        /// What was seen.
        what: &'static str,
    },
    /// A membership change or transfer that was asked for by an input was refused.
    Refused {
        /// Why.
        why: crate::input::Refused,
    },
}

/// One durable step: applied in the order base, truncate, entries, hard state.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Persist {
    /// Its number.
    pub seq: PersistSeq,
    /// A new base: by trim (prefix dropped) or by install.
    pub base: Option<Base>,
    /// Entries at and above this index are void. An install names `base.index + 1` when the log
    /// went on there; one that finds its entry in the log changes nothing on disk.
    pub truncate: Option<Index>,
    /// To append, contiguous.
    pub entries: Vec<Entry>,
    /// To remember.
    pub hard_state: Option<HardState>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one; votes.
    Follower,
    /// Asks whether it would win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Follows without a vote.
    Learner,
}
