//! What was measured of groups.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::report::{Column, Millis, json_lines, latencies, note, number, table};

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRow {
    /// Short and unique within a run.
    pub cell: String,
    /// How many events the quantiles are of.
    pub count: u64,
    /// How long they took.
    pub took_ms: Millis,
    /// Of commits.
    pub per_second: Option<f64>,
    /// Of all brokers together, while commits were counted.
    pub fsyncs_per_second: Option<f64>,
}

/// All rows of a run.
#[derive(Clone, Debug, Default)]
pub struct GroupReport {
    /// In the order in which they were measured.
    pub rows: Vec<GroupRow>,
}

const COLUMNS: &[Column<GroupRow>] = &[
    ("cell", |row| row.cell.clone()),
    ("n", |row| row.count.to_string()),
    ("/s", |row| number(row.per_second, 0)),
    ("p50 ms", |row| number(Some(row.took_ms.p50), 2)),
    ("p99", |row| number(Some(row.took_ms.p99), 2)),
    ("max", |row| number(Some(row.took_ms.max), 1)),
    ("fsync/s", |row| number(row.fsyncs_per_second, 0)),
];

impl GroupReport {
    /// One JSON object a row and line.
    #[must_use]
    pub fn json_lines(&self) -> String {
        json_lines(&self.rows)
    }

    /// An aligned table; what was not measured is a dash.
    #[must_use]
    pub fn table(&self) -> String {
        table(COLUMNS, &self.rows)
    }
}

impl GroupRow {
    pub(super) fn of_times(cell: String, took: &[Duration]) -> Self {
        let mut all = latencies();
        for took in took {
            note(&mut all, *took);
        }
        Self {
            cell,
            count: all.len(),
            took_ms: Millis::new(&all),
            per_second: None,
            fsyncs_per_second: None,
        }
    }

    pub(super) fn of_rate(
        cell: String,
        took_ns: &Histogram<u64>,
        per_second: f64,
        fsyncs_per_second: Option<f64>,
    ) -> Self {
        Self {
            cell,
            count: took_ns.len(),
            took_ms: Millis::new(took_ns),
            per_second: Some(per_second),
            fsyncs_per_second,
        }
    }

    pub(super) fn summary(&self) -> String {
        let Self { cell, took_ms, .. } = self;
        let rate = self
            .per_second
            .map_or_else(String::new, |rate| format!(", {rate:.0}/s"));
        format!(
            "{cell}: p50 {:.2} ms, max {:.2} ms{rate}",
            took_ms.p50, took_ms.max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_milliseconds() {
        let row = GroupRow::of_times("join".into(), &[1, 2, 900].map(Duration::from_millis));
        assert_eq!(
            (row.count, row.took_ms.p50.round(), row.took_ms.max.round()),
            (3, 2.0, 900.0)
        );
        let report = GroupReport { rows: vec![row] };
        assert!(report.table().contains("900"), "{}", report.table());
    }
}
