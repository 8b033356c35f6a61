//! Why members had to join anew, for operators.
//!
//! Known of the rebalances of this coordinator only: it is not in the log, so a new coordinator knows when the last
//! rebalance ended (the membership is stored with its time) and not what began it.

use std::collections::BTreeMap;

use super::request::Client;

/// Bytes of a client's own words that are kept.
pub const WORDS_BYTES_MAX: usize = 255;

/// What began a rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A new member.
    Joined,
    /// A member said that it goes, or was sent away by an operator.
    Left,
    /// A member was silent too long.
    SessionExpired,
    /// A member joined again with other protocols: it reads other topics, or owns other partitions.
    SubscriptionChanged,
    /// The member that assigns joined again: it has seen something that no subscription tells, such as new partitions.
    LeaderRejoined,
    /// A static member was restarted, and the group could not go on as it was.
    StaticMemberReturned,
    /// A member had joined and did not ask for its assignment in time; or, in a group of the consumer protocol, was
    /// told to join again and did not.
    SyncTimedOut,
    /// The leader's assignment could not be stored.
    AssignmentNotStored,
    /// Of the consumer protocol: topics that the member subscribes to have changed, or are new or gone.
    TopicsChanged,
    /// Of the consumer protocol: the member did not give up partitions in time.
    RevocationTimedOut,
    /// The last member of the consumer protocol has gone: those that remain assign among themselves again.
    Downgraded,
    /// The first member of the consumer protocol has come to a group of the classic one: the coordinator assigns now.
    Upgraded,
}

impl Reason {
    /// As operators and programs read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Left => "left",
            Self::SessionExpired => "session_expired",
            Self::SubscriptionChanged => "subscription_changed",
            Self::LeaderRejoined => "leader_rejoined",
            Self::StaticMemberReturned => "static_member_returned",
            Self::SyncTimedOut => "sync_timed_out",
            Self::AssignmentNotStored => "assignment_not_stored",
            Self::TopicsChanged => "topics_changed",
            Self::RevocationTimedOut => "revocation_timed_out",
            Self::Downgraded => "downgraded",
            Self::Upgraded => "upgraded",
        }
    }
}

/// Who began a rebalance, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Why.
    pub reason: Reason,
    /// The member's id.
    pub member: String,
    /// Of a static member.
    pub instance: Option<String>,
    /// Whose connection it was; empty for an id that was given out and never used.
    pub client: Client,
    /// What the client itself said (since version 8 of `JoinGroup`, 5 of `LeaveGroup`); mostly empty.
    pub words: String,
}

impl Cause {
    /// A member, with what is known of it: its instance, and whose connection it is.
    pub(super) fn of(reason: Reason, id: &str, known: Option<(&Option<String>, &Client)>) -> Self {
        let (instance, client) = known.unzip();
        Self {
            reason,
            member: id.to_owned(),
            instance: instance.cloned().flatten(),
            client: client.cloned().unwrap_or_default(),
            words: String::new(),
        }
    }

    /// Of a member, in its own words, as many as are kept.
    pub(super) fn in_words(mut self, words: &str) -> Self {
        let mut end = words.len().min(WORDS_BYTES_MAX);
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        words[..end].clone_into(&mut self.words);
        self
    }
}

/// What is known of a group's rebalances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebalanced {
    /// How many have begun.
    pub count: u64,
    /// When the last one began, in wall-clock ms, and why.
    pub last: Option<(i64, Cause)>,
    /// Members that were removed in it because they did not join in time.
    pub late: usize,
}

/// Of all groups of a coordinator.
#[derive(Debug, Default)]
pub(super) struct Rebalances {
    by_group: BTreeMap<String, Rebalanced>,
}

impl Rebalances {
    /// One begins.
    pub(super) fn begin(&mut self, group: &str, wall_ms: i64, cause: Cause) {
        let known = self.by_group.entry(group.to_owned()).or_default();
        known.count += 1;
        known.last = Some((wall_ms, cause));
        known.late = 0;
    }

    /// So many members have missed it.
    pub(super) fn missed(&mut self, group: &str, members: usize) {
        if let Some(known) = self.by_group.get_mut(group) {
            known.late += members;
        }
    }

    /// The group is not there any more.
    pub(super) fn forget(&mut self, group: &str) {
        self.by_group.remove(group);
    }

    pub(super) fn get(&self, group: &str) -> Option<&Rebalanced> {
        self.by_group.get(group)
    }
}
