//! Offers requests over many connections and times the answers: one thread, one epoll, no locks,
//! because the generator shares the cores with what it measures.
//!
//! Closed loop: each connection keeps `inflight` requests on the way. Open loop: the send times are
//! scheduled beforehand, a request counts from its intended instant however late it left, and the
//! generator's own lateness is measured beside it.

mod connection;
mod drive;
mod hurry;
#[cfg(test)]
mod tests;

use crate::report::latencies;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

pub use drive::{run, scheduled};

/// How requests are offered.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests on the way per connection, at least 1. Without meaning in an open loop.
    pub inflight: usize,
    /// Requests per second over all connections; `None` is a closed loop.
    pub rate: Option<f64>,
    /// After so many requests no more are offered; `None` leaves it to the window.
    pub requests: Option<u64>,
    /// Offered, answered, not counted.
    pub warm: Duration,
    /// The window that is counted.
    pub measured: Duration,
}

/// A request that was written.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The partition that it went to.
    pub partition: i32,
}

/// What an answer says about the requests that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The promise is kept; the record has this offset, -1 where there are none.
    Acked {
        /// Offset of the request's record.
        offset: i64,
    },
    /// An error, by its name. Never an acknowledgement.
    Refused(String),
}

/// One answer found at the head of what was received.
#[derive(Debug)]
pub struct Answer {
    /// Length of the answer.
    pub bytes: usize,
    /// How many of the oldest unanswered requests it answers.
    pub requests: usize,
    /// What it says.
    pub verdict: Verdict,
}

/// What is spoken over one connection. Answers come in the order of the requests.
pub trait Dialect {
    /// Appends one request to `out`; `id` goes into its payload where it has room.
    fn ask(&mut self, id: u64, out: &mut Vec<u8>) -> Asked;

    /// Reads one answer at the head of `inbox`, `None` while it is not whole.
    ///
    /// # Errors
    /// Says what does not fit when the bytes are no answer.
    fn answer(&mut self, inbox: &[u8]) -> Result<Option<Answer>, String>;
}

/// An acknowledged record, kept so that it can be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Partition that the record went to.
    pub partition: i32,
    /// Offset that the broker gave it.
    pub offset: i64,
    /// What the record's payload begins with.
    pub id: u64,
}

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// Of requests sent, or intended, within the window and acknowledged.
    pub latency_ns: Histogram<u64>,
    /// Intended instant to the write, open loop only.
    pub lag_ns: Histogram<u64>,
    /// Acknowledgements that arrived within the window.
    pub acks: u64,
    /// Every acknowledged record, warm-up and drain included; empty where there are no offsets.
    pub acked: Vec<Ack>,
    /// Refused, lost and unanswered requests by name, warm-up included.
    pub errors: BTreeMap<String, u64>,
    /// How many of the errors were of the warm-up.
    pub errors_warm: u64,
    /// Length of the window.
    pub window: Duration,
}

impl Outcome {
    fn new(window: Duration) -> Self {
        Self {
            latency_ns: latencies(),
            lag_ns: latencies(),
            acks: 0,
            acked: Vec::new(),
            errors: BTreeMap::new(),
            errors_warm: 0,
            window,
        }
    }

    /// Acknowledgements a second within the window.
    #[must_use]
    pub fn acks_per_second(&self) -> f64 {
        self.acks as f64 / self.window.as_secs_f64()
    }

    /// All that was refused, lost or never answered.
    #[must_use]
    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Whether the generator kept to its schedule: a lag whose p99 is above a tenth of the
    /// latency's says more about the generator than about the broker.
    #[must_use]
    pub fn is_punctual(&self) -> bool {
        let p99 = |h: &Histogram<u64>| h.value_at_quantile(0.99);
        self.lag_ns.is_empty() || p99(&self.lag_ns) * 10 <= p99(&self.latency_ns)
    }
}
