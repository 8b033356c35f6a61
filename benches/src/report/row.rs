//! One cell's row, and the reasons why it may prove nothing.

use super::figures::{FloorFigures, Floors, Log, Millis};
use super::table::{Column, number};
use crate::cell::Cell;
use crate::generator::{Load, Outcome};
use crate::kafka::ReadBack;
use crate::measure::Options;
use crate::probe::Sample;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the rows' shape: fields are added under it, and changed only under another.
const SCHEMA: &str = "walser.bench.row/1";

/// An open loop's rate is sustained when so much of it is acknowledged within the window.
pub(crate) const SUSTAINED: f64 = 0.95;
const NOT_BACK: &str = "acknowledged records did not come back";

/// One cell's figures. Absent (`null`): could not be measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Shape of this object.
    pub schema: &'static str,
    /// Whose figures these are.
    pub label: String,
    /// The cell.
    pub cell: &'static str,
    /// Why this row proves nothing; empty when it stands.
    pub void: Vec<String>,
    /// Whether brokers sync before they acknowledge, as configured.
    pub fsync: bool,
    /// -1 is all.
    pub acks: i16,
    /// Replicas of each partition.
    pub replication: i16,
    /// Payload of a record, one record a request.
    pub size_bytes: usize,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Connections.
    pub connections: usize,
    /// Requests on the way per connection; `null` in an open loop.
    pub inflight: Option<usize>,
    /// Requests offered per second; `null` in a closed loop.
    pub offered_per_second: Option<f64>,
    /// Which share of the highest rate that was sustained, where that was searched for.
    pub share_of_sustained: Option<f64>,
    /// Length of the window.
    pub window_ms: u128,
    /// Acknowledgements that arrived in the window.
    pub acked: u64,
    /// The same per second.
    pub acks_per_second: f64,
    /// Payload acknowledged per second.
    pub bytes_per_second: f64,
    /// Request to acknowledgement.
    pub latency_ms: Millis,
    /// p99 of the generator's lateness, open loop.
    pub generator_lag_p99_ms: Option<f64>,
    /// Refused, lost and unanswered requests by name.
    pub errors: BTreeMap<String, u64>,
    /// Acknowledged records, fetched again.
    pub read_back: Option<ReadBack>,
    /// The denominator of the ratios.
    pub floor: Option<Floors>,
    /// Acknowledgements per second over the floor's.
    pub throughput_to_floor: Option<f64>,
    /// Median over the floor's.
    pub p50_to_floor: Option<f64>,
    /// p99 over the floor's.
    pub p99_to_floor: Option<f64>,
    /// From the brokers' counters.
    pub log: Option<Log>,
    /// User and system time of all broker processes per 10^9 bytes of payload.
    pub cpu_seconds_per_gb: Option<f64>,
    /// Cores that the broker processes kept busy.
    pub cpu_cores: Option<f64>,
    /// Resident memory of all broker processes at the end of the window.
    pub rss_bytes: Option<u64>,
}

/// What was seen of one cell.
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) before: Sample,
    pub(crate) after: Sample,
}

impl Seen {
    fn log(&self, size_bytes: usize, replication: i16) -> Option<Log> {
        let fsyncs = self.after.rise(&self.before, |log| log.fsyncs)?;
        let rounds = self.after.rise(&self.before, |log| log.rounds)?;
        let bytes = self.after.rise(&self.before, |log| log.bytes_written)?;
        let sum = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
        let per_round = fsyncs
            .iter()
            .zip(&rounds)
            .map(|(f, r)| *f as f64 / (*r).max(1) as f64);
        let stored = self.outcome.acks as f64 * f64::from(replication);
        let seconds = self.outcome.window.as_secs_f64();
        Some(Log {
            fsyncs_per_second: sum(&fsyncs) / fsyncs.len() as f64 / seconds,
            fsyncs_per_round: per_round.fold(0.0, f64::max),
            records_per_round: stored / sum(&rounds).max(1.0),
            device_bytes_per_payload_byte: sum(&bytes) / (stored * size_bytes as f64).max(1.0),
        })
    }

    fn cpu_seconds(&self) -> Option<f64> {
        Some(self.after.cpu_seconds? - self.before.cpu_seconds?)
    }
}

impl Row {
    pub(crate) fn new(
        options: &Options,
        cell: &Cell,
        load: &Load,
        seen: &Seen,
        read_back: Option<ReadBack>,
        floor: Option<Floors>,
    ) -> Self {
        let outcome = &seen.outcome;
        let latency_ms = Millis::new(&outcome.latency_ns);
        let acks_per_second = outcome.acks_per_second();
        let payload_bytes = outcome.acks as f64 * cell.size_bytes as f64;
        let ratio = |ours: f64, figure: fn(&FloorFigures) -> f64| {
            floor.as_ref().map(|floors| ours / floors.mean(figure))
        };
        let cpu_seconds = seen.cpu_seconds();
        let log = seen.log(cell.size_bytes, options.replication);
        Self {
            schema: SCHEMA,
            label: options.label.clone(),
            cell: cell.name,
            void: reasons_void(options, load, outcome, read_back.as_ref(), log.as_ref()),
            fsync: options.fsync,
            acks: options.acks,
            replication: options.replication,
            size_bytes: cell.size_bytes,
            partitions: cell.partitions,
            connections: cell.connections,
            inflight: load.rate.is_none().then_some(load.inflight),
            offered_per_second: load.rate,
            share_of_sustained: None,
            window_ms: outcome.window.as_millis(),
            acked: outcome.acks,
            acks_per_second,
            bytes_per_second: payload_bytes / outcome.window.as_secs_f64(),
            latency_ms,
            generator_lag_p99_ms: load.rate.map(|_| Millis::new(&outcome.lag_ns).p99),
            errors: outcome.errors.clone(),
            read_back,
            floor,
            throughput_to_floor: ratio(acks_per_second, |floor| floor.acks_per_second),
            p50_to_floor: ratio(latency_ms.p50, |floor| floor.latency_ms.p50),
            p99_to_floor: ratio(latency_ms.p99, |floor| floor.latency_ms.p99),
            log,
            cpu_seconds_per_gb: cpu_seconds
                .filter(|_| outcome.acks > 0)
                .map(|cpu| cpu / (payload_bytes / 1e9)),
            cpu_cores: cpu_seconds.map(|cpu| cpu / outcome.window.as_secs_f64()),
            rss_bytes: seen.after.rss_bytes,
        }
    }

    /// What came back of the records of this row, or of several that share a topic.
    pub(crate) fn note_read_back(&mut self, read_back: ReadBack) {
        self.read_back = Some(read_back);
        if !read_back.is_sound() {
            self.void.push(NOT_BACK.into());
        }
    }

    /// Whether what was acknowledged is there, as far as it was looked for.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.read_back.is_none_or(|read_back| read_back.is_sound())
    }

    /// The row in a line, for progress.
    pub(crate) fn summary(&self) -> String {
        let Millis { p50, p99, p999, .. } = self.latency_ms;
        let void = if self.void.is_empty() {
            String::new()
        } else {
            format!(" VOID {:?}", self.void)
        };
        format!(
            "{}: {:.0} acks/s, {:.1} MB/s, p50 {p50:.2}, p99 {p99:.2}, p99.9 {p999:.2} ms{void}",
            self.cell,
            self.acks_per_second,
            self.bytes_per_second / 1e6,
        )
    }
}

fn reasons_void(
    options: &Options,
    load: &Load,
    outcome: &Outcome,
    read_back: Option<&ReadBack>,
    log: Option<&Log>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if outcome.acks == 0 {
        reasons.push("nothing was acknowledged".into());
    }
    if outcome.errors_total() > 0 {
        reasons.push(format!("{} requests failed", outcome.errors_total()));
    }
    if !outcome.is_punctual() {
        reasons.push("the generator's p99 lag is over a tenth of the p99".into());
    }
    let achieved = outcome.acks_per_second();
    if load.rate.is_some_and(|rate| achieved < SUSTAINED * rate) {
        reasons.push("less than 95 % of what was offered was acknowledged in the window".into());
    }
    if read_back.is_some_and(|read_back| !read_back.is_sound()) {
        reasons.push(NOT_BACK.into());
    }
    if options.fsync && log.is_some_and(|log| log.fsyncs_per_second == 0.0) {
        reasons.push("no broker synced, although each should".into());
    }
    reasons
}

pub(super) const COLUMNS: &[Column<Row>] = &[
    ("cell", |row| row.cell.into()),
    ("fsync", |row| if row.fsync { "on" } else { "off" }.into()),
    ("acks", |row| {
        if row.acks == -1 {
            "all".into()
        } else {
            row.acks.to_string()
        }
    }),
    ("R", |row| row.replication.to_string()),
    ("bytes", |row| row.size_bytes.to_string()),
    ("parts", |row| row.partitions.to_string()),
    ("conns", |row| row.connections.to_string()),
    ("inflight", |row| {
        row.inflight.map_or("-".into(), |n| n.to_string())
    }),
    ("offered/s", |row| number(row.offered_per_second, 0)),
    ("secs", |row| format!("{:.1}", row.window_ms as f64 / 1e3)),
    ("acks/s", |row| format!("{:.0}", row.acks_per_second)),
    ("MB/s", |row| format!("{:.1}", row.bytes_per_second / 1e6)),
    ("p50 ms", |row| format!("{:.2}", row.latency_ms.p50)),
    ("p90", |row| format!("{:.2}", row.latency_ms.p90)),
    ("p99", |row| format!("{:.2}", row.latency_ms.p99)),
    ("p99.9", |row| format!("{:.2}", row.latency_ms.p999)),
    ("max", |row| format!("{:.1}", row.latency_ms.max)),
    ("lag p99", |row| number(row.generator_lag_p99_ms, 2)),
    ("x floor", |row| number(row.throughput_to_floor, 2)),
    ("p50 x", |row| number(row.p50_to_floor, 2)),
    ("p99 x", |row| number(row.p99_to_floor, 2)),
    ("fsync/s", |row| {
        number(row.log.map(|log| log.fsyncs_per_second), 0)
    }),
    ("/round", |row| {
        number(row.log.map(|log| log.fsyncs_per_round), 2)
    }),
    ("recs/round", |row| {
        number(row.log.map(|log| log.records_per_round), 1)
    }),
    ("dev B/B", |row| {
        number(row.log.map(|log| log.device_bytes_per_payload_byte), 2)
    }),
    ("cpu s/GB", |row| number(row.cpu_seconds_per_gb, 1)),
    ("cores", |row| number(row.cpu_cores, 2)),
    ("RSS MiB", |row| {
        number(row.rss_bytes.map(|bytes| bytes as f64 / 1_048_576.0), 0)
    }),
    ("errors", |row| row.errors.values().sum::<u64>().to_string()),
    ("read back", |row| {
        row.read_back
            .map_or("-".into(), |back| format!("{}/{}", back.found, back.acked))
    }),
];
