//! One clock and one list of operations for all threads of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::checker::{Body, History, Op, Outcome};

/// What all threads of a run share.
#[derive(Debug)]
pub struct Recorder {
    started: Instant,
    ops: Mutex<Vec<Op>>,
    errors: Mutex<BTreeMap<String, u64>>,
    acked: AtomicU64,
    read: AtomicU64,
    processes: AtomicU32,
    stop_producers: AtomicBool,
    stop_consumers: AtomicBool,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            started: Instant::now(),
            ops: Mutex::default(),
            errors: Mutex::default(),
            acked: AtomicU64::new(0),
            read: AtomicU64::new(0),
            processes: AtomicU32::new(0),
            stop_producers: AtomicBool::new(false),
            stop_consumers: AtomicBool::new(false),
        }
    }
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Nanoseconds since the run began, from 1.
    pub fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64 + 1
    }

    /// A process number that nobody had before.
    pub fn process(&self) -> u32 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps an operation that has just returned.
    pub fn record(&self, process: u32, invoked: u64, outcome: Outcome, body: Body) {
        match (&body, outcome) {
            (Body::Send { .. }, Outcome::Ok) => _ = self.acked.fetch_add(1, Ordering::Relaxed),
            (Body::Poll { reads }, Outcome::Ok) => {
                let records: usize = reads.iter().map(|(_, records)| records.len()).sum();
                self.read.fetch_add(records as u64, Ordering::Relaxed);
            }
            _ => {}
        }
        let returned = self.now();
        open(&self.ops).push(Op {
            process,
            invoked,
            returned,
            outcome,
            body,
        });
    }

    /// Counts an error of a client by its name.
    pub fn error(&self, name: String) {
        *open(&self.errors).entry(name).or_default() += 1;
    }

    /// Errors so far, by name.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        open(&self.errors).clone()
    }

    /// Acknowledged sends so far.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Records that consumers were given so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Asks producers, or consumers, to come to an end.
    pub fn stop(&self, producers: bool) {
        let flag = if producers {
            &self.stop_producers
        } else {
            &self.stop_consumers
        };
        flag.store(true, Ordering::Relaxed);
    }

    /// Whether they were asked.
    pub fn is_stopping(&self, producers: bool) -> bool {
        let flag = if producers {
            &self.stop_producers
        } else {
            &self.stop_consumers
        };
        flag.load(Ordering::Relaxed)
    }

    /// Takes all operations out.
    pub fn take(&self) -> History {
        History {
            ops: std::mem::take(&mut *open(&self.ops)),
        }
    }
}
