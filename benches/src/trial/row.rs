//! What a trial's row says.

use super::{SoakFigures, StoreFigures};
use crate::kafka::ReadBack;
use crate::report::{Column, Millis, number};
use serde::Serialize;

/// Version of the rows' shape: fields are added under it, and changed only under another.
const SCHEMA: &str = "walser.bench.trial/1";

/// One trial's figures. Absent (`null`): has no meaning here, or could not be measured.
#[derive(Clone, Debug, Serialize)]
pub struct TrialRow {
    /// Shape of this object.
    pub schema: &'static str,
    /// Name of the trial, with what it was varied by.
    pub cell: String,
    /// What the times are of.
    pub times_of: &'static str,
    /// Why this row proves nothing; empty when it stands.
    pub void: Vec<String>,
    /// -1 is all; of what was produced.
    pub acks: i16,
    /// Whether the brokers sync before they acknowledge.
    pub fsync: bool,
    /// Replicas of each partition.
    pub replication: i16,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Payload of a record, one record a request.
    pub size_bytes: usize,
    /// Payload in the log before the event, where the row is about that.
    pub log_bytes: Option<u64>,
    /// Requests offered per second, in an open loop.
    pub offered_per_second: Option<f64>,
    /// Length of what the rates are of.
    pub seconds: f64,
    /// How many times were measured.
    pub count: u64,
    /// Their quantiles.
    pub took_ms: Option<Millis>,
    /// Latency of the same producers before the event.
    pub quiet_ms: Option<Millis>,
    /// Latency of the same producers during the event.
    pub meanwhile_ms: Option<Millis>,
    /// p99 of the generator's lateness, where there is one.
    pub generator_lag_p99_ms: Option<f64>,
    /// Acknowledged or fetched per second.
    pub per_second: Option<f64>,
    /// Payload per second.
    pub bytes_per_second: Option<f64>,
    /// Records that were acknowledged in the trial, before and after the event included.
    pub acked: u64,
    /// fdatasync calls of all brokers in the trial.
    pub fsyncs: Option<u64>,
    /// Commit rounds of all brokers in the trial.
    pub rounds: Option<u64>,
    /// Bytes that all brokers wrote to their logs in the trial.
    pub device_bytes: Option<u64>,
    /// Bytes that all brokers read from their devices in the trial.
    pub device_bytes_read: Option<u64>,
    /// User and system time per minute, mean of the brokers.
    pub cpu_seconds_per_minute: Option<f64>,
    /// Resident memory, mean of the brokers.
    pub rss_bytes: Option<u64>,
    /// Acknowledged records, fetched again at the end.
    pub read_back: Option<ReadBack>,
    /// What the row says of the snapshot store.
    pub store: Option<StoreFigures>,
    /// What the row says of a long while.
    pub soak: Option<SoakFigures>,
}

impl TrialRow {
    /// A row that says nothing yet.
    pub(super) fn new(cell: impl Into<String>, times_of: &'static str) -> Self {
        Self {
            schema: SCHEMA,
            cell: cell.into(),
            times_of,
            void: Vec::new(),
            acks: -1,
            fsync: true,
            replication: super::REPLICAS,
            partitions: 0,
            size_bytes: 0,
            log_bytes: None,
            offered_per_second: None,
            seconds: 0.0,
            count: 0,
            took_ms: None,
            quiet_ms: None,
            meanwhile_ms: None,
            generator_lag_p99_ms: None,
            per_second: None,
            bytes_per_second: None,
            acked: 0,
            fsyncs: None,
            rounds: None,
            device_bytes: None,
            device_bytes_read: None,
            cpu_seconds_per_minute: None,
            rss_bytes: None,
            read_back: None,
            store: None,
            soak: None,
        }
    }

    /// Notes what came back, and that nothing was synced or that something is missing makes it void.
    pub(super) fn judge(&mut self) {
        if self.acked > 0 && self.fsyncs == Some(0) {
            self.void.push("no broker synced".into());
        }
        if !self.is_sound() {
            let why = "acknowledged records did not come back";
            self.void.push(why.into());
        }
    }

    /// Whether what was acknowledged is there, as far as it was looked for.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.read_back.is_none_or(|back| back.is_sound())
    }

    /// The row in a line, for progress.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!("{}: {} x {}", self.cell, self.count, self.times_of);
        let millis = [
            ("", self.took_ms),
            (" quiet", self.quiet_ms),
            (" meanwhile", self.meanwhile_ms),
        ];
        for (of, millis) in millis {
            if let Some(Millis { p50, p99, max, .. }) = millis {
                text += &format!(",{of} p50 {p50:.2}, p99 {p99:.2}, max {max:.1} ms");
            }
        }
        if let Some(bytes) = self.bytes_per_second {
            text += &format!(", {:.1} MB/s", bytes / 1e6);
        }
        if let Some(cpu) = self.cpu_seconds_per_minute {
            text += &format!(", {cpu:.2} CPU s/min");
        }
        if let Some(rss) = self.rss_bytes {
            text += &format!(", RSS {:.1} MiB", rss as f64 / 1_048_576.0);
        }
        if let Some(store) = &self.store {
            text += &store.summary();
        }
        if !self.void.is_empty() {
            text += &format!(" VOID {:?}", self.void);
        }
        text
    }
}

pub(super) fn mebibytes(bytes: Option<u64>, decimals: usize) -> String {
    number(bytes.map(|bytes| bytes as f64 / 1_048_576.0), decimals)
}

pub(crate) const COLUMNS: &[Column<TrialRow>] = &[
    ("cell", |row| row.cell.clone()),
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
    ("log MiB", |row| mebibytes(row.log_bytes, 0)),
    ("offered/s", |row| number(row.offered_per_second, 0)),
    ("secs", |row| format!("{:.1}", row.seconds)),
    ("n", |row| row.count.to_string()),
    ("times of", |row| row.times_of.into()),
    ("p50 ms", |row| number(row.took_ms.map(|ms| ms.p50), 2)),
    ("p99", |row| number(row.took_ms.map(|ms| ms.p99), 2)),
    ("max", |row| number(row.took_ms.map(|ms| ms.max), 1)),
    ("quiet p99", |row| number(row.quiet_ms.map(|ms| ms.p99), 2)),
    ("meanwhile p99", |row| {
        number(row.meanwhile_ms.map(|ms| ms.p99), 2)
    }),
    ("lag p99", |row| number(row.generator_lag_p99_ms, 2)),
    ("/s", |row| number(row.per_second, 0)),
    ("MB/s", |row| {
        number(row.bytes_per_second.map(|bytes| bytes / 1e6), 1)
    }),
    ("acked", |row| row.acked.to_string()),
    ("fsyncs", |row| {
        row.fsyncs.map_or("-".into(), |n| n.to_string())
    }),
    ("rounds", |row| {
        row.rounds.map_or("-".into(), |n| n.to_string())
    }),
    ("dev MiB", |row| mebibytes(row.device_bytes, 1)),
    ("dev read", |row| mebibytes(row.device_bytes_read, 1)),
    ("CPU s/min", |row| number(row.cpu_seconds_per_minute, 2)),
    ("RSS MiB", |row| mebibytes(row.rss_bytes, 1)),
    ("read back", |row| {
        row.read_back
            .map_or("-".into(), |back| format!("{}/{}", back.found, back.acked))
    }),
];
