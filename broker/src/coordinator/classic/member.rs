//! A member of a live group.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::coordinator::request::{Client, Join};
use crate::coordinator::state;
use crate::shard::Ticket;

/// A join that is not answered.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) ticket: Ticket,
    pub(super) may_skip_assignment: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Member {
    /// Of a static member.
    pub(super) instance: Option<String>,
    pub(super) client: Client,
    pub(super) session_timeout_ms: u64,
    pub(super) rebalance_timeout_ms: u64,
    /// The best first. Of a restored member only the chosen one is known.
    pub(super) protocols: Vec<(String, Bytes)>,
    /// Of the last completed rebalance.
    pub(super) assignment: Bytes,
    /// Waits for the others.
    pub(super) joining: Option<Joining>,
    /// Waits for the leader.
    pub(super) syncing: Option<Ticket>,
    /// Has not been told its id: it cannot send heartbeats.
    pub(super) is_new: bool,
    /// Members came in this order; 0 for all that were there when the coordinator began.
    pub(super) arrival: u64,
}

impl Member {
    /// It joins for the first time.
    pub(super) fn new(ticket: Ticket, join: Join, arrival: u64) -> Self {
        Self {
            instance: join.member.instance,
            client: join.client,
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: join.protocols,
            assignment: Bytes::new(),
            joining: Some(Joining {
                ticket,
                may_skip_assignment: join.may_skip_assignment,
            }),
            syncing: None,
            is_new: true,
            arrival,
        }
    }

    /// It was there before this coordinator.
    pub(super) fn restored(protocol: &str, stored: &state::Member) -> Self {
        Self {
            instance: stored.instance.clone(),
            client: stored.client.clone(),
            session_timeout_ms: stored.session_timeout_ms,
            rebalance_timeout_ms: stored.rebalance_timeout_ms,
            protocols: vec![(protocol.to_owned(), stored.subscription.clone())],
            assignment: stored.assignment.clone(),
            joining: None,
            syncing: None,
            is_new: false,
            arrival: 0,
        }
    }

    pub(super) fn stored(&self, protocol: &str, assignment: Bytes) -> state::Member {
        state::Member {
            instance: self.instance.clone(),
            client: self.client.clone(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            subscription: self.subscription(protocol),
            assignment,
        }
    }

    pub(super) fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// Its first protocol of these.
    pub(super) fn vote<'a>(&self, candidates: &BTreeSet<&'a str>) -> Option<&'a str> {
        let mut own = self.protocols.iter();
        own.find_map(|(name, _)| candidates.get(name.as_str()).copied())
    }

    /// For that protocol; empty if it does not speak it.
    pub(super) fn subscription(&self, protocol: &str) -> Bytes {
        let mut own = self.protocols.iter();
        let found = own.find(|(name, _)| name == protocol);
        found.map_or_else(Bytes::new, |(_, subscription)| subscription.clone())
    }
}
