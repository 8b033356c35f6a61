//! What rows about the snapshot store say beyond the others.

use super::TrialRow;
use super::row::mebibytes;
use crate::report::{Column, number};
use serde::Serialize;

/// Of a snapshot, or of a read of what only the store holds. Absent (`null`): has no meaning here, or could not be measured.
#[derive(Clone, Debug, Serialize)]
pub struct StoreFigures {
    /// How it was measured.
    pub how: &'static str,
    /// User and system time of all brokers in `seconds`, less what the same producers cost in a time without the event.
    pub cpu_seconds: Option<f64>,
    /// Payload per second of that.
    pub bytes_per_cpu_second: Option<f64>,
    /// Raw bytes that gzip alone makes small per second of its thread's time.
    pub gzip_bytes_per_cpu_second: Option<f64>,
    /// The one through the other.
    pub gzip_share: Option<f64>,
    /// p99 of the producers during the event through theirs before.
    pub p99_ratio: Option<f64>,
    /// User and system time of all brokers, as above, while they drop from their logs what the store holds.
    pub drop_cpu_seconds: Option<f64>,
    /// p99 of the producers meanwhile through theirs before.
    pub drop_p99_ratio: Option<f64>,
    /// Bytes of records that the brokers put into chunks, or got from the store.
    pub store_bytes: u64,
    /// Bytes of the topic in the logs of all brokers, before the event and when they had dropped what they may.
    pub live_bytes: Option<(u64, u64)>,
    /// How much of it they dropped, of 1.
    pub saved: Option<f64>,
    /// Bytes that the data of all brokers takes on the disk, spare segments included, before the event and at the end.
    pub disk_bytes: Option<(u64, u64)>,
}

impl StoreFigures {
    pub(super) fn new(how: &'static str) -> Self {
        Self {
            how,
            cpu_seconds: None,
            bytes_per_cpu_second: None,
            gzip_bytes_per_cpu_second: None,
            gzip_share: None,
            p99_ratio: None,
            drop_cpu_seconds: None,
            drop_p99_ratio: None,
            store_bytes: 0,
            live_bytes: None,
            saved: None,
            disk_bytes: None,
        }
    }

    /// In the line of progress.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        if let Some(bytes) = self.bytes_per_cpu_second {
            text += &format!(", {:.1} MB/s a core", bytes / 1e6);
        }
        if let Some(share) = self.gzip_share {
            text += &format!(", {share:.2} of gzip alone");
        }
        if let Some(saved) = self.saved {
            text += &format!(", {:.1} % of the logs saved", saved * 100.0);
        }
        text
    }

    /// Notes what the event cost. Time that cannot be told from nothing is no denominator.
    pub(super) fn cost(&mut self, payload_bytes: u64, cpu_seconds: f64) {
        if cpu_seconds > 0.0 {
            self.cpu_seconds = Some(cpu_seconds);
            self.bytes_per_cpu_second = Some(payload_bytes as f64 / cpu_seconds);
        }
    }

    /// Notes what gzip alone does.
    pub(super) fn beside_gzip(&mut self, bytes_per_second: f64) {
        self.gzip_bytes_per_cpu_second = Some(bytes_per_second);
        self.gzip_share = self.bytes_per_cpu_second.map(|own| own / bytes_per_second);
    }

    /// Notes what the logs held and hold.
    pub(super) fn dropped(&mut self, before: u64, after: u64) {
        self.live_bytes = Some((before, after));
        self.saved = (before > 0).then(|| 1.0 - after as f64 / before as f64);
    }
}

fn of(row: &TrialRow, figure: impl Fn(&StoreFigures) -> Option<f64>, decimals: usize) -> String {
    number(row.store.as_ref().and_then(figure), decimals)
}

fn mebibytes_of(row: &TrialRow, figure: impl Fn(&StoreFigures) -> Option<u64>) -> String {
    mebibytes(row.store.as_ref().and_then(figure), 1)
}

/// Of the rows that have such figures.
pub(crate) const COLUMNS: &[Column<TrialRow>] = &[
    ("cell", |row| row.cell.clone()),
    ("CPU s", |row| of(row, |store| store.cpu_seconds, 2)),
    ("MB/s a core", |row| {
        of(row, |store| Some(store.bytes_per_cpu_second? / 1e6), 1)
    }),
    ("gzip alone", |row| {
        of(row, |store| Some(store.gzip_bytes_per_cpu_second? / 1e6), 1)
    }),
    ("share", |row| of(row, |store| store.gzip_share, 2)),
    ("p99 ratio", |row| of(row, |store| store.p99_ratio, 2)),
    ("drop: CPU s", |row| {
        of(row, |store| store.drop_cpu_seconds, 2)
    }),
    ("drop: p99 ratio", |row| {
        of(row, |store| store.drop_p99_ratio, 2)
    }),
    ("store MiB", |row| {
        mebibytes_of(row, |store| Some(store.store_bytes))
    }),
    ("live MiB", |row| {
        mebibytes_of(row, |store| Some(store.live_bytes?.0))
    }),
    ("left", |row| {
        mebibytes_of(row, |store| Some(store.live_bytes?.1))
    }),
    ("saved %", |row| {
        of(row, |store| Some(store.saved? * 100.0), 1)
    }),
    ("disk MiB", |row| {
        mebibytes_of(row, |store| Some(store.disk_bytes?.0))
    }),
    ("left", |row| {
        mebibytes_of(row, |store| Some(store.disk_bytes?.1))
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_from_nothing_is_absent_and_never_a_figure() {
        let mut figures = StoreFigures::new("so");
        figures.cost(1_000, -0.01);
        figures.beside_gzip(100.0);
        figures.dropped(0, 0);
        assert_eq!(figures.cpu_seconds, None);
        assert_eq!(figures.bytes_per_cpu_second, None);
        assert_eq!(figures.gzip_share, None);
        assert_eq!(figures.saved, None);
        figures.cost(1_000, 20.0);
        figures.beside_gzip(100.0);
        figures.dropped(400, 100);
        assert_eq!(figures.gzip_share, Some(0.5));
        assert_eq!(figures.saved, Some(0.75));
    }
}
