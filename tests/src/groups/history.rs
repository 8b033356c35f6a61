//! What members of one group did and saw, in the order in which it ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How a request ended for who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Success.
    Ok,
    /// An error: it took no effect.
    Refused,
    /// No answer: it may have taken effect.
    Unknown,
}

/// One thing that happened to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was assigned these partitions.
    Assigned {
        /// In this generation.
        generation: i32,
        /// May be empty.
        partitions: Vec<i32>,
    },
    /// It read the committed offset, to begin there.
    Began {
        /// Of this partition.
        partition: i32,
        /// 0 when nothing was committed.
        offset: i64,
    },
    /// It read records.
    Read {
        /// Of this partition.
        partition: i32,
        /// The first.
        first: i64,
        /// The one after the last.
        next: i64,
    },
    /// It committed.
    Committed {
        /// In this generation.
        generation: i32,
        /// For this partition.
        partition: i32,
        /// The next to read.
        offset: i64,
        /// How that ended.
        outcome: Outcome,
    },
}

/// An event with its time, in microseconds since the history began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which member (a number of the test's).
    pub member: usize,
    /// When the request was sent.
    pub begun: u64,
    /// When its answer came, or was given up.
    pub ended: u64,
    /// What.
    pub what: What,
}

/// Where members record.
#[derive(Debug, Clone)]
pub struct History {
    start: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            events: Arc::default(),
        }
    }
}

impl History {
    /// Now.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Records what began then and ends now.
    pub fn record(&self, member: usize, begun: u64, what: What) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.now();
        events.push(Event {
            member,
            begun,
            ended,
            what,
        });
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.clone()
    }
}
