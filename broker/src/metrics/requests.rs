//! Counters of requests, by API.

use std::cell::Cell;
use std::time::Duration;

use protocol::api::{ApiKey, KEYS};

use super::histogram::{Histogram, LATENCY_SECONDS, Reading};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered without an error, or done without an answer.
    Ok,
    /// Answered with an error.
    Error,
    /// The connection was closed instead.
    Closed,
}

impl Outcome {
    /// All of them, with their label.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Ok, "ok"),
        (Self::Error, "error"),
        (Self::Closed, "closed"),
    ];
}

struct Row {
    key: ApiKey,
    outcomes: [Cell<u64>; 3],
    seconds: Histogram,
    received_bytes: Cell<u64>,
    sent_bytes: Cell<u64>,
}

/// Requests of all connections.
pub struct RequestMetrics {
    rows: Vec<Row>,
}

/// One API's figures at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiReading {
    /// Kafka's name of the API.
    pub api: &'static str,
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 3],
    /// From its dispatch until its answer was ready.
    pub seconds: Reading,
    /// Size of requests.
    pub received_bytes: u64,
    /// Size of answers.
    pub sent_bytes: u64,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let row = |key: &ApiKey| Row {
            key: *key,
            outcomes: [Cell::new(0), Cell::new(0), Cell::new(0)],
            seconds: Histogram::new(LATENCY_SECONDS),
            received_bytes: Cell::new(0),
            sent_bytes: Cell::new(0),
        };
        Self {
            rows: KEYS.iter().map(row).collect(),
        }
    }
}

impl RequestMetrics {
    /// A request came.
    pub fn begin(&self, key: ApiKey, bytes: u64) {
        let received = &self.row(key).received_bytes;
        received.set(received.get() + bytes);
    }

    /// A request is done.
    pub fn finish(&self, key: ApiKey, outcome: Outcome, took: Duration, bytes: u64) {
        let row = self.row(key);
        let count = &row.outcomes[outcome as usize];
        count.set(count.get() + 1);
        row.seconds.observe_duration(took);
        row.sent_bytes.set(row.sent_bytes.get() + bytes);
    }

    /// The figures of every API, also of those that nobody asked.
    pub fn read(&self) -> Vec<ApiReading> {
        let reading = |row: &Row| ApiReading {
            api: row.key.name(),
            outcomes: [
                row.outcomes[0].get(),
                row.outcomes[1].get(),
                row.outcomes[2].get(),
            ],
            seconds: row.seconds.read(),
            received_bytes: row.received_bytes.get(),
            sent_bytes: row.sent_bytes.get(),
        };
        self.rows.iter().map(reading).collect()
    }

    fn row(&self, key: ApiKey) -> &Row {
        let at = KEYS
            .binary_search(&key)
            .expect("every key has a row, in ascending order");
        &self.rows[at]
    }
}
