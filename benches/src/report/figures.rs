//! The figures that rows are made of.

use crate::floor::FloorRun;
use crate::generator::Load;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Nanoseconds with three significant digits, up to ten minutes.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_max(600_000_000_000, 3).expect("the bound is a constant that fits")
}

/// Adds a latency to such a histogram.
pub(crate) fn note(latencies: &mut Histogram<u64>, took: Duration) {
    latencies.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}

/// Latency in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)] // The names are the quantiles.
pub struct Millis {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Millis {
    pub(crate) fn new(nanoseconds: &Histogram<u64>) -> Self {
        let ms = |ns: u64| ns as f64 / 1e6;
        let at = |quantile| ms(nanoseconds.value_at_quantile(quantile));
        let max = ms(nanoseconds.max());
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max,
        }
    }
}

/// One run of the floor.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FloorFigures {
    /// Frames acknowledged per second.
    pub acks_per_second: f64,
    /// Send (or intended instant) to acknowledgement.
    pub latency_ms: Millis,
    /// Rounds of the leader's log per second; each is one write and one fdatasync.
    pub rounds_per_second: f64,
}

impl FloorFigures {
    pub(crate) fn new(run: &FloorRun, load: &Load) -> Self {
        let offered = load.warm + load.measured;
        Self {
            acks_per_second: run.outcome.acks_per_second(),
            latency_ms: Millis::new(&run.outcome.latency_ns),
            rounds_per_second: run.rounds as f64 / offered.as_secs_f64(),
        }
    }
}

/// The floor with the same payload and requests on the way, in the same minutes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Floors {
    /// Just before the cell.
    pub before: FloorFigures,
    /// Just after it.
    pub after: FloorFigures,
}

impl Floors {
    pub(super) fn mean(&self, figure: impl Fn(&FloorFigures) -> f64) -> f64 {
        f64::midpoint(figure(&self.before), figure(&self.after))
    }
}

/// What the brokers' logs did in the window, from their own counters.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Log {
    /// fdatasync calls per second, mean of the brokers.
    pub fsyncs_per_second: f64,
    /// fdatasync calls per commit round, of the broker that had most.
    pub fsyncs_per_round: f64,
    /// Records that went through one round, mean of all rounds.
    pub records_per_round: f64,
    /// Bytes written to the logs per byte of payload and replica.
    pub device_bytes_per_payload_byte: f64,
}
