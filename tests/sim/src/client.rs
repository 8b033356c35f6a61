//! Producers of a run and what each has under way.

use std::collections::BTreeMap;

use broker::broker::Acks;
use bytes::Bytes;
use protocol::record_batch::BatchBuilder;
use raft::types::{GroupId, NodeId};

use crate::consumer_groups::Asked;

/// How a producer works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// acks=all, without an id: what is sent again may stand in the log twice.
    Plain,
    /// acks=all, with this producer id: sent until acknowledged, stands in the log once.
    Idempotent(i64),
    /// Less than acks=all, sent once: stands in the log at most once, may be lost.
    Once(Acks),
}

impl Kind {
    /// What it asks the leader for.
    #[must_use]
    pub fn acks(self) -> Acks {
        match self {
            Self::Plain | Self::Idempotent(_) => Acks::All,
            Self::Once(acks) => acks,
        }
    }

    /// Whether an acknowledged batch must survive.
    #[must_use]
    pub fn is_strong(self) -> bool {
        !matches!(self, Self::Once(_))
    }

    /// Whether a batch can stand in the log twice.
    #[must_use]
    pub fn may_repeat(self) -> bool {
        self == Self::Plain
    }
}

/// One batch on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The batch's number, unique in the run and rising for each producer and partition.
    pub value: u64,
    /// Records in it, 1 to 3.
    pub count: u8,
    /// The sequence of its first record, for an idempotent producer.
    pub sequence: i32,
    /// When it is given up or sent again.
    pub deadline: u64,
    /// Waiting for an answer; otherwise for its next attempt.
    pub sent: bool,
}

/// A producer: one operation per partition at a time.
#[derive(Debug)]
pub struct Client {
    /// How it works.
    pub kind: Kind,
    /// The next sequence per partition.
    pub sequences: BTreeMap<GroupId, i32>,
    /// The operation under way per partition.
    pub open: BTreeMap<GroupId, Operation>,
    /// The last one that was acknowledged per partition.
    pub last_acked: BTreeMap<GroupId, Operation>,
    /// When it acts next.
    pub acts_at: u64,
}

/// The content of one record: which batch, and which of its records.
#[must_use]
pub fn record_value(value: u64, at: u8) -> u64 {
    value << 2 | u64::from(at)
}

impl Client {
    /// A producer with nothing under way.
    #[must_use]
    pub fn new(kind: Kind, acts_at: u64) -> Self {
        Self {
            kind,
            sequences: BTreeMap::new(),
            open: BTreeMap::new(),
            last_acked: BTreeMap::new(),
            acts_at,
        }
    }

    /// Begins an operation.
    pub fn begin(&mut self, group: GroupId, value: u64, count: u8) {
        let next = self.sequences.entry(group).or_default();
        let sequence = *next;
        *next += i32::from(count);
        let operation = Operation {
            value,
            count,
            sequence,
            deadline: 0,
            sent: false,
        };
        self.open.insert(group, operation);
    }

    /// The bytes of an operation.
    #[must_use]
    pub fn batch(&self, operation: &Operation, padding_max: u64) -> Bytes {
        let mut builder = BatchBuilder::new();
        if let Kind::Idempotent(id) = self.kind {
            builder = builder.producer(id, 0, operation.sequence);
        }
        let padding = operation.value.wrapping_mul(7919) % (padding_max + 1);
        for at in 0..operation.count {
            let mut bytes = record_value(operation.value, at).to_be_bytes().to_vec();
            bytes.resize(8 + usize::try_from(padding).expect("small"), at);
            builder.value(1_000, &bytes);
        }
        builder.build()
    }
}

/// Whose answer a ticket is.
#[derive(Clone, Debug)]
pub enum Waiting {
    /// A producer's.
    Produce(Sending),
    /// A member's of a consumer group.
    Group(Asked),
    /// That of whoever makes this cut.
    Cut(u128),
    /// That of somebody who asks where a partition ends.
    End {
        /// The partition.
        group: GroupId,
        /// What was acknowledged before ended here.
        acked: i64,
    },
}

/// A batch that was sent.
#[derive(Clone, Debug)]
pub struct Sending {
    /// The client.
    pub client: usize,
    /// The partition.
    pub group: GroupId,
    /// The operation.
    pub operation: Operation,
    /// The broker that was asked.
    pub node: NodeId,
}
