//! What a check found, and which promises it was held to.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::history::{Body, Key, Op, Outcome};

/// The ways in which a log can break its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anomaly {
    /// Two values at one offset.
    InconsistentOffsets,
    /// One value at two offsets.
    Duplicate,
    /// An acknowledged value lies below one that was read, and was never read itself.
    LostWrite,
    /// An acknowledged value was not found by the final read.
    Unseen,
    /// A value was read that nobody had sent to that partition.
    Phantom,
    /// A value was read whose send had certainly failed.
    AbortedRead,
    /// One poll jumped over an offset that holds a record.
    IntPollSkip,
    /// One poll went back.
    IntNonmonotonicPoll,
    /// A poll began above the next record after the last poll of the same consumer.
    PollSkip,
    /// A poll began at or below the last record of the last poll of the same consumer.
    NonmonotonicPoll,
    /// Two sends of one producer lie in the log in the wrong order.
    NonmonotonicSend,
    /// A send that began after another was acknowledged got a lower (or the same) offset.
    AckOrder,
    /// A value that a consumer had read is missing from a later full read.
    Truncated,
    /// The latest offset was at or below one already acknowledged, or went back.
    StaleLatest,
}

impl Anomaly {
    /// All of them.
    pub const ALL: [Anomaly; 14] = [
        Anomaly::InconsistentOffsets,
        Anomaly::Duplicate,
        Anomaly::LostWrite,
        Anomaly::Unseen,
        Anomaly::Phantom,
        Anomaly::AbortedRead,
        Anomaly::IntPollSkip,
        Anomaly::IntNonmonotonicPoll,
        Anomaly::PollSkip,
        Anomaly::NonmonotonicPoll,
        Anomaly::NonmonotonicSend,
        Anomaly::AckOrder,
        Anomaly::Truncated,
        Anomaly::StaleLatest,
    ];

    /// The name in reports and in history files.
    pub fn name(self) -> &'static str {
        match self {
            Anomaly::InconsistentOffsets => "inconsistent-offsets",
            Anomaly::Duplicate => "duplicate",
            Anomaly::LostWrite => "lost-write",
            Anomaly::Unseen => "unseen",
            Anomaly::Phantom => "phantom",
            Anomaly::AbortedRead => "aborted-read",
            Anomaly::IntPollSkip => "int-poll-skip",
            Anomaly::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Anomaly::PollSkip => "poll-skip",
            Anomaly::NonmonotonicPoll => "nonmonotonic-poll",
            Anomaly::NonmonotonicSend => "nonmonotonic-send",
            Anomaly::AckOrder => "ack-order",
            Anomaly::Truncated => "truncated",
            Anomaly::StaleLatest => "stale-latest",
        }
    }
}

/// Which promises the workload was made under.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The producers were idempotent: no value twice.
    pub idempotent: bool,
    /// acks=all: what is acknowledged, or was read, stays.
    pub durable: bool,
    /// Each producer process sent to a partition in order.
    pub ordered_producer: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            idempotent: true,
            durable: true,
            ordered_producer: true,
        }
    }
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub anomaly: Anomaly,
    /// In which partition.
    pub key: u32,
    /// Values, offsets and processes, for a reader.
    pub detail: String,
}

/// What was looked at, and what was wrong with it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    /// Sends by outcome: ok.
    pub sends_ok: usize,
    /// Sends that certainly failed.
    pub sends_failed: usize,
    /// Sends of unknown end.
    pub sends_unknown: usize,
    /// Records in ok polls and full reads.
    pub records_read: usize,
    /// How often each anomaly was met.
    pub counts: BTreeMap<Anomaly, usize>,
    /// The first few of each.
    pub examples: Vec<Violation>,
}

/// Examples kept per anomaly: a lost partition would otherwise fill the memory.
const EXAMPLES_MAX: usize = 10;

impl Verdict {
    pub(super) fn new(ops: &[&Op]) -> Self {
        let mut verdict = Verdict::default();
        for op in ops {
            match (&op.body, op.outcome) {
                (Body::Send { .. }, Outcome::Ok) => verdict.sends_ok += 1,
                (Body::Send { .. }, Outcome::Fail) => verdict.sends_failed += 1,
                (Body::Send { .. }, Outcome::Info) => verdict.sends_unknown += 1,
                (_, Outcome::Ok) => {
                    let read: usize = super::key_log::reads(op).map(|(_, r)| r.len()).sum();
                    verdict.records_read += read;
                }
                _ => {}
            }
        }
        verdict
    }

    pub(super) fn report(&mut self, anomaly: Anomaly, key: Key, detail: impl FnOnce() -> String) {
        let count = self.counts.entry(anomaly).or_default();
        *count += 1;
        if *count <= EXAMPLES_MAX {
            self.examples.push(Violation {
                anomaly,
                key: key.0,
                detail: detail(),
            });
        }
    }

    /// Whether no promise was broken.
    pub fn is_valid(&self) -> bool {
        self.counts.is_empty()
    }

    /// A run in which nothing was acknowledged or nothing was read proves nothing.
    pub fn is_vacuous(&self) -> bool {
        self.sends_ok == 0 || self.records_read == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} acknowledged, {} failed, {} unknown, {} records read: {}",
            self.sends_ok,
            self.sends_failed,
            self.sends_unknown,
            self.records_read,
            if self.is_valid() { "valid" } else { "INVALID" }
        )?;
        for (anomaly, count) in &self.counts {
            writeln!(out, "  {}: {count}", anomaly.name())?;
            for example in self
                .examples
                .iter()
                .filter(|example| example.anomaly == *anomaly)
            {
                writeln!(out, "    partition {}: {}", example.key, example.detail)?;
            }
        }
        Ok(())
    }
}
