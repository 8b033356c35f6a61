//! A histogram of fixed buckets on one thread.

use std::cell::Cell;
use std::time::Duration;

/// Bounds in seconds from 0.1 ms to 10 s, for latencies.
pub const LATENCY_SECONDS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Bounds in seconds from 10 ms to 10 s, for elections.
pub const ELECTION_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds for counts of things that go together, 1 to 4,096.
pub const BATCH_COUNTS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0,
];
/// Bounds in bytes, 1 KiB to 16 MiB.
pub const SIZE_BYTES: &[f64] = &[
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

/// Counts values by bucket.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One a bound, and one for what is above all of them.
    counts: Box<[Cell<u64>]>,
    sum: Cell<f64>,
}

/// A histogram's values at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Upper bounds, ascending.
    pub bounds: &'static [f64],
    /// How many values fell into each bucket, not cumulative; the last is above all bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

impl Histogram {
    /// Empty, with these ascending upper bounds.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.is_sorted(), "bounds of a histogram ascend");
        Self {
            bounds,
            counts: vec![Cell::new(0); bounds.len() + 1].into(),
            sum: Cell::new(0.0),
        }
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let count = &self.counts[bucket];
        count.set(count.get() + 1);
        self.sum.set(self.sum.get() + value);
    }

    /// Counts a duration, in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// The values now.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading {
            bounds: self.bounds,
            counts: self.counts.iter().map(Cell::get).collect(),
            sum: self.sum.get(),
        }
    }
}

impl Reading {
    /// A histogram that nothing was counted in.
    #[must_use]
    pub fn empty(bounds: &'static [f64]) -> Self {
        Histogram::new(bounds).read()
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}
