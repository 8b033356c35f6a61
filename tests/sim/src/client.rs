//! Producers and consumers of a run, at the shard's own interface, and what they remember.

use std::collections::BTreeMap;

use broker::broker::{Produced, Rejection};
use bytes::Bytes;
use protocol::record_batch::BatchBuilder;
use raft::types::{GroupId, NodeId};

/// One batch of one record on its way.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The record's value, unique in the run.
    pub value: u64,
    /// Its sequence, for an idempotent producer.
    pub sequence: i32,
    /// When it is given up and sent again.
    pub deadline: u64,
    /// When it was first sent.
    pub first_sent: u64,
    /// Waiting for an answer; otherwise for its next attempt.
    pub sent: bool,
}

/// A producer: one operation per partition at a time, each sent until it is acknowledged.
#[derive(Debug)]
pub struct Client {
    /// Which.
    pub id: u64,
    /// Idempotent producers have an id.
    pub producer_id: Option<i64>,
    /// The next sequence per partition.
    pub sequences: BTreeMap<GroupId, i32>,
    /// The operation under way per partition.
    pub open: BTreeMap<GroupId, Operation>,
    /// When it acts next.
    pub acts_at: u64,
}

impl Client {
    /// The bytes of an operation.
    #[must_use]
    pub fn batch(&self, operation: &Operation) -> Bytes {
        let mut builder = BatchBuilder::new();
        if let Some(id) = self.producer_id {
            builder = builder.producer(id, 0, operation.sequence);
        }
        builder.value(1_000, &operation.value.to_be_bytes());
        builder.build()
    }
}

/// Everything that clients were told, to be held against the log.
#[derive(Debug, Default)]
pub struct History {
    /// Values that were sent, by whom, and whether idempotent.
    pub sent: BTreeMap<u64, (GroupId, bool)>,
    /// Acknowledged: value by partition and offset.
    pub acked: BTreeMap<(GroupId, i64), u64>,
    /// What consumers have seen.
    pub seen: BTreeMap<(GroupId, i64), u64>,
    /// The highest log start that was answered.
    pub log_starts: BTreeMap<GroupId, i64>,
    /// Answers by kind, for the report.
    pub answers: BTreeMap<String, u64>,
}

impl History {
    /// An answer to a produce. An error tells what no broker may answer.
    pub fn produced(
        &mut self,
        group: GroupId,
        value: u64,
        answer: &Result<Produced, Rejection>,
    ) -> Result<(), String> {
        let kind = answer
            .as_ref()
            .map_or_else(|why| format!("{:?}", why.code), |_| "ack".into());
        *self.answers.entry(kind).or_default() += 1;
        match answer {
            Ok(produced) => {
                let place = (group, produced.base_offset);
                match self.acked.insert(place, value) {
                    Some(other) if other != value => Err(format!(
                        "{group} offset {} was acknowledged to {other} and to {value}",
                        produced.base_offset
                    )),
                    _ => self.agrees(place, value),
                }
            }
            Err(why) => {
                use protocol::error_code::ErrorCode as Code;
                match why.code {
                    Code::NotLeaderOrFollower
                    | Code::NotEnoughReplicas
                    | Code::RequestTimedOut
                    | Code::KafkaStorageError => Ok(()),
                    other => Err(format!("{group}: a correct produce was answered {other:?}")),
                }
            }
        }
    }

    /// A consumer read this.
    pub fn read(&mut self, group: GroupId, offset: i64, value: u64) -> Result<(), String> {
        if let Some(before) = self.seen.insert((group, offset), value)
            && before != value
        {
            return Err(format!(
                "{group} offset {offset} was read as {before}, then as {value}"
            ));
        }
        if !self.sent.contains_key(&value) {
            return Err(format!(
                "{group} offset {offset} holds {value}, which nobody sent"
            ));
        }
        match self.acked.get(&(group, offset)) {
            Some(acked) if *acked != value => Err(format!(
                "{group} offset {offset} was acknowledged as {acked} and read as {value}"
            )),
            _ => Ok(()),
        }
    }

    fn agrees(&self, place: (GroupId, i64), value: u64) -> Result<(), String> {
        match self.seen.get(&place) {
            Some(seen) if *seen != value => Err(format!(
                "{place:?} was read as {seen} and acknowledged as {value}"
            )),
            _ => Ok(()),
        }
    }
}

/// Whose answer a ticket is.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The client.
    pub client: usize,
    /// The partition.
    pub group: GroupId,
    /// The value.
    pub value: u64,
    /// The broker that was asked.
    pub node: NodeId,
}
