//! What is recorded: who did what, when it was asked and answered, and how sure the answer is.

/// One topic partition, numbered by the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u32);

/// What was sent. Unique per key: the whole method rests on that.
pub type Value = u64;

/// A value at its Kafka offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    /// Kafka offset, from 0.
    pub offset: i64,
    /// The value found there.
    pub value: Value,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A positive answer.
    Ok,
    /// It certainly did not happen and never will.
    Fail,
    /// Nobody knows: a timeout, a lost connection, any retriable error after the request left.
    /// When in doubt, this one.
    Info,
}

/// One operation of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The client that did it. A producer whose send ended in doubt goes on under a new number.
    pub process: u32,
    /// When it was asked, in nanoseconds of the history's own clock.
    pub invoked: u64,
    /// When the answer was seen; [`Op::NEVER`] if it was not.
    pub returned: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it was.
    pub body: Body,
}

impl Op {
    /// The return time of an operation that never returned.
    pub const NEVER: u64 = u64::MAX;
}

/// The kinds of operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// One record sent to one partition.
    Send {
        /// The partition.
        key: Key,
        /// The value, unique for the key.
        value: Value,
        /// The offset in the acknowledgement, where there was one.
        offset: Option<i64>,
    },
    /// What one poll of a consumer returned, per partition in the order of delivery.
    Poll {
        /// Partition and its records; the order of delivery is kept.
        reads: Vec<(Key, Vec<Record>)>,
    },
    /// One partition read by a fresh consumer from its beginning to its high watermark.
    FullRead {
        /// The partition.
        key: Key,
        /// All of its records.
        records: Vec<Record>,
    },
    /// The consumer now reads exactly these. Positions of partitions that remain are kept.
    Assign {
        /// The partitions.
        keys: Vec<Key>,
    },
    /// The consumer moved its own position: what it read before says nothing about the next read.
    Seek {
        /// The partition.
        key: Key,
    },
    /// The answer of `ListOffsets(latest)`.
    Latest {
        /// The partition.
        key: Key,
        /// One above the last committed offset.
        offset: i64,
    },
}

/// All operations of a run, in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The operations.
    pub ops: Vec<Op>,
}

impl History {
    /// Joins what several recorders saw; they must have used the same clock.
    pub fn merge(parts: impl IntoIterator<Item = History>) -> History {
        History {
            ops: parts.into_iter().flat_map(|part| part.ops).collect(),
        }
    }

    /// Number of sends that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let acked = |op: &&Op| op.outcome == Outcome::Ok && matches!(op.body, Body::Send { .. });
        self.ops.iter().filter(acked).count()
    }
}
