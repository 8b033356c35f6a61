//! Raft's messages, counted by kind and node: what the loop sends and receives is looked at on its way.
//!
//! Of each kind, node and group one message at a time is timed, from its sending to the answer that covers it; others
//! meanwhile are counted only. Reads are confirmed by heartbeats and have no messages of their own.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use raft::message::{AppendResult, Body, Message};
use raft::types::{GroupId, NodeId};

use super::histogram::{Histogram, LATENCY_SECONDS, SIZE_BYTES};
use super::node::{RaftMetrics, RpcMetrics};
use crate::peer::SendError;

/// The kinds of messages that are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rpc {
    Append,
    Heartbeat,
    PreVote,
    Snapshot,
    Vote,
}

impl Rpc {
    const ALL: [Self; 5] = [
        Self::Append,
        Self::Heartbeat,
        Self::PreVote,
        Self::Snapshot,
        Self::Vote,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Heartbeat => "heartbeat",
            Self::PreVote => "prevote",
            Self::Snapshot => "snapshot",
            Self::Vote => "vote",
        }
    }
}

/// What a message is to the one who counts.
enum Meaning {
    /// It wants an answer that reaches this mark.
    Asks(Rpc, u64),
    /// It answers everything up to this mark.
    Answers { rpc: Rpc, ok: bool, mark: u64 },
    /// Neither.
    Other,
}

impl Meaning {
    fn of(message: &Message) -> Self {
        let answers = |rpc, ok, mark| Self::Answers { rpc, ok, mark };
        match &message.body {
            Body::PreVote(_) => Self::Asks(Rpc::PreVote, 0),
            Body::PreVoteResponse { granted } => answers(Rpc::PreVote, *granted, u64::MAX),
            Body::Vote(_) => Self::Asks(Rpc::Vote, 0),
            Body::VoteResponse { granted } => answers(Rpc::Vote, *granted, u64::MAX),
            Body::Append(append) => Self::Asks(
                Rpc::Append,
                append.prev_index.0 + append.entries.len() as u64,
            ),
            Body::AppendResponse(answer) => match answer.result {
                AppendResult::Matched(index) => answers(Rpc::Append, true, index.0),
                AppendResult::Conflict { .. } | AppendResult::Full => {
                    answers(Rpc::Append, false, u64::MAX)
                }
            },
            Body::Heartbeat { read_round, .. } => Self::Asks(Rpc::Heartbeat, *read_round),
            // Round 0 answers no heartbeat: it wakes a leader, or tells one of the past that it is over.
            Body::HeartbeatResponse { read_round: 0, .. } => answers(Rpc::Heartbeat, false, 0),
            Body::HeartbeatResponse { read_round, .. } => {
                answers(Rpc::Heartbeat, true, *read_round)
            }
            Body::Install { base, .. } => Self::Asks(Rpc::Snapshot, base.index.0),
            Body::InstallResponse { index, .. } => answers(Rpc::Snapshot, true, index.0),
            Body::TimeoutNow => Self::Other,
        }
    }
}

#[derive(Debug)]
struct Row {
    sent: u64,
    received: u64,
    ok: u64,
    refused: u64,
    timeouts: u64,
    network: u64,
    other: u64,
    seconds: Histogram,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            sent: 0,
            received: 0,
            ok: 0,
            refused: 0,
            timeouts: 0,
            network: 0,
            other: 0,
            seconds: Histogram::new(LATENCY_SECONDS),
        }
    }
}

/// A message whose answer is timed.
#[derive(Clone, Copy, Debug)]
struct Timed {
    since: Instant,
    mark: u64,
}

#[derive(Default)]
struct Inner {
    rows: BTreeMap<(Rpc, NodeId), Row>,
    timed: HashMap<(Rpc, NodeId, GroupId), Timed>,
    votes_requested: u64,
    heartbeats: u64,
    rejected_inconsistency: u64,
    rejected_storage: u64,
}

/// See the module.
pub struct Messages {
    /// An answer later than this counts as none.
    timeout: Duration,
    inner: RefCell<Inner>,
    metadata_bytes: Histogram,
    partition_bytes: Histogram,
}

impl Messages {
    /// Nothing is counted yet. A message without an answer for `timeout` has timed out.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            inner: RefCell::default(),
            metadata_bytes: Histogram::new(SIZE_BYTES),
            partition_bytes: Histogram::new(SIZE_BYTES),
        }
    }

    /// These go to that node in one frame. A frame without messages is a heartbeat of the node.
    pub fn sent(&self, now: Instant, node: NodeId, messages: &[(GroupId, Message)]) {
        let mut inner = self.inner.borrow_mut();
        inner.heartbeats += u64::from(messages.is_empty());
        for (group, message) in messages {
            if let Body::Append(append) = &message.body
                && !append.entries.is_empty()
            {
                let bytes: usize = append.entries.iter().map(|e| e.payload.len()).sum();
                let of_kind = if *group == GroupId::METADATA {
                    &self.metadata_bytes
                } else {
                    &self.partition_bytes
                };
                #[allow(clippy::cast_precision_loss, reason = "Prometheus knows f64 only")]
                of_kind.observe(bytes as f64);
            }
            inner.sent(now, self.timeout, node, *group, message);
        }
    }

    /// These were to go to that node and did not.
    pub fn unsent(&self, node: NodeId, messages: &[(GroupId, Message)], why: SendError) {
        let mut inner = self.inner.borrow_mut();
        for (_, message) in messages {
            if let Meaning::Asks(rpc, _) = Meaning::of(message) {
                let row = inner.row(rpc, node);
                match why {
                    SendError::NotConnected | SendError::QueueFull => row.network += 1,
                    SendError::TooLarge => row.other += 1,
                }
            }
        }
    }

    /// These came from that node.
    pub fn received(&self, now: Instant, node: NodeId, messages: &[(GroupId, Message)]) {
        let mut inner = self.inner.borrow_mut();
        for (group, message) in messages {
            inner.received(now, node, *group, message);
        }
    }

    /// The connection is gone, and with it every answer that was to come.
    pub fn disconnected(&self, node: NodeId) {
        self.inner
            .borrow_mut()
            .give_up(|of, _| of == node, |row| row.network += 1);
    }

    /// Writes what was counted into the metrics; every one of `nodes` has its rows.
    pub fn read(&self, now: Instant, nodes: impl Iterator<Item = NodeId>, out: &mut RaftMetrics) {
        let mut inner = self.inner.borrow_mut();
        inner.give_up(
            |_, timed| now.duration_since(timed.since) > self.timeout,
            |row| row.timeouts += 1,
        );
        for node in nodes {
            for rpc in Rpc::ALL {
                inner.row(rpc, node);
            }
        }
        out.votes_requested = inner.votes_requested;
        out.heartbeats = inner.heartbeats;
        out.rejected_inconsistency = inner.rejected_inconsistency;
        out.rejected_storage = inner.rejected_storage;
        out.metadata.append_bytes = self.metadata_bytes.read();
        out.partition.append_bytes = self.partition_bytes.read();
        let row = |((rpc, node), row): (&(Rpc, NodeId), &Row)| RpcMetrics {
            rpc: rpc.name(),
            node: node.0,
            sent: row.sent,
            received: row.received,
            ok: row.ok,
            refused: row.refused,
            seconds: row.seconds.read(),
            timeouts: row.timeouts,
            connection_refused: 0,
            network: row.network,
            other: row.other,
        };
        out.rpcs = inner.rows.iter().map(row).collect();
    }
}

impl Inner {
    fn row(&mut self, rpc: Rpc, node: NodeId) -> &mut Row {
        self.rows.entry((rpc, node)).or_default()
    }

    fn sent(
        &mut self,
        now: Instant,
        timeout: Duration,
        node: NodeId,
        group: GroupId,
        message: &Message,
    ) {
        match &message.body {
            Body::PreVote(_) | Body::Vote(_) => self.votes_requested += 1,
            Body::Heartbeat { .. } => self.heartbeats += 1,
            Body::AppendResponse(answer) => match answer.result {
                AppendResult::Matched(_) => {}
                AppendResult::Conflict { .. } => self.rejected_inconsistency += 1,
                AppendResult::Full => self.rejected_storage += 1,
            },
            _ => {}
        }
        let Meaning::Asks(rpc, mark) = Meaning::of(message) else {
            return;
        };
        self.row(rpc, node).sent += 1;
        let fresh = Timed { since: now, mark };
        let timed = self.timed.entry((rpc, node, group)).or_insert(fresh);
        if now.duration_since(timed.since) > timeout {
            *timed = fresh;
            self.row(rpc, node).timeouts += 1;
        }
    }

    fn received(&mut self, now: Instant, node: NodeId, group: GroupId, message: &Message) {
        match Meaning::of(message) {
            Meaning::Asks(rpc, _) => self.row(rpc, node).received += 1,
            Meaning::Answers { rpc, ok, mark } => {
                let key = (rpc, node, group);
                let covered = self.timed.get(&key).filter(|timed| timed.mark <= mark);
                let since = covered.map(|timed| timed.since);
                if since.is_some() {
                    self.timed.remove(&key);
                }
                let row = self.row(rpc, node);
                row.ok += u64::from(ok);
                row.refused += u64::from(!ok);
                if let Some(since) = since {
                    row.seconds.observe_duration(now.duration_since(since));
                }
            }
            Meaning::Other => {}
        }
    }

    /// Stops timing these, and counts each.
    fn give_up(&mut self, which: impl Fn(NodeId, &Timed) -> bool, count: impl Fn(&mut Row)) {
        let given_up = self
            .timed
            .extract_if(|(_, node, _), timed| which(*node, timed));
        for ((rpc, node, _), _) in given_up {
            count(self.rows.entry((rpc, node)).or_default());
        }
    }
}

#[cfg(test)]
mod tests;
