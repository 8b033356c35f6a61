//! What the run proved, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use tests::checker::{self, Anomaly, Rules, Verdict};

use crate::Arguments;
use crate::faults::{Kill, Schedule};
use crate::load::{Load, Sent};
use crate::readback::Read;

/// Everything in figures.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    bytes_sent: u64,
    bytes_read: u64,
    records_sent: u64,
    records_acknowledged: u64,
    records_unknown: u64,
    records_read: u64,
    keys: usize,
    files: usize,
    keys_missing: usize,
    keys_different: usize,
    keys_unexpected: usize,
    lost: usize,
    duplicated: usize,
    reordered: usize,
    kills: Vec<Kill>,
    gaps_ms: Vec<u64>,
    partitions: u32,
    partitions_that_lost_a_leader: usize,
    faults_complete: bool,
    longest_gap_ms: u64,
    longest_partition_gap_ms: u64,
    produce_mb_per_second: f64,
    read_mb_per_second: f64,
    client_errors: BTreeMap<String, u64>,
    anomalies: Verdict,
    verdict: &'static str,
    #[serde(skip)]
    exit: u8,
}

impl Report {
    /// Compares what was sent with what was read.
    pub fn new(
        arguments: &Arguments,
        load: &Load,
        sent: Sent,
        read: Read,
        schedule: Schedule,
    ) -> Report {
        let verdict = checker::check(&load.recorder.take(), Rules::default());
        let count = |anomalies: &[Anomaly]| -> usize {
            anomalies
                .iter()
                .filter_map(|anomaly| verdict.counts.get(anomaly))
                .sum()
        };
        let missing = sent
            .hashes
            .keys()
            .filter(|key| !read.hashes.contains_key(*key))
            .count();
        let differs = |(key, hash): &(&String, &[u8; 32])| {
            read.hashes.get(*key).is_some_and(|found| found != *hash)
        };
        let different = sent.hashes.iter().filter(differs).count();
        let unexpected = read
            .hashes
            .keys()
            .filter(|key| !sent.hashes.contains_key(*key))
            .count();
        let records_sent: u64 = sent.records.iter().sum();
        let broken = !verdict.is_valid() || missing + different + unexpected > 0;
        let complete = arguments.calm || schedule.is_complete();
        let whole = verdict.sends_ok as u64 == records_sent && read.bytes == sent.bytes;
        let times = load.acked_at();
        let (exit, word) = match (broken, complete && whole) {
            (true, _) => (12, "a promise was broken"),
            (false, false) => (1, "the run was not complete: it proves too little"),
            (false, true) => (0, "as promised"),
        };
        Report {
            schema: "walser.gigabyte.v1",
            bytes_sent: sent.bytes,
            bytes_read: read.bytes,
            records_sent,
            records_acknowledged: verdict.sends_ok as u64,
            records_unknown: verdict.sends_unknown as u64,
            records_read: read.records,
            keys: sent.hashes.len(),
            files: sent.files,
            keys_missing: missing,
            keys_different: different,
            keys_unexpected: unexpected,
            lost: count(&[Anomaly::LostWrite, Anomaly::Unseen]),
            duplicated: count(&[Anomaly::Duplicate]),
            reordered: count(&[Anomaly::NonmonotonicSend, Anomaly::AckOrder]),
            gaps_ms: schedule
                .kills
                .iter()
                .map(|kill| gap_after(kill, &times))
                .collect(),
            partitions: arguments.partitions,
            partitions_that_lost_a_leader: schedule.hit.len(),
            faults_complete: complete,
            kills: schedule.kills,
            longest_gap_ms: longest(times.iter().flatten().copied().collect()),
            longest_partition_gap_ms: times.iter().cloned().map(longest).max().unwrap_or(0),
            produce_mb_per_second: sent.bytes as f64 / 1e6 / sent.took.as_secs_f64(),
            read_mb_per_second: read.bytes as f64 / 1e6 / read.took.as_secs_f64(),
            client_errors: load.recorder.errors(),
            anomalies: verdict,
            verdict: word,
            exit,
        }
    }

    /// 0, 12 for a broken promise, 1 for a run that proves too little.
    pub fn exit_code(&self) -> u8 {
        self.exit
    }

    /// One line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<34} {value}");
        };
        row(
            "BYTES SENT, READ",
            format!("{} {}", self.bytes_sent, self.bytes_read),
        );
        row(
            "RECORDS SENT, ACKNOWLEDGED, READ",
            format!(
                "{} {} {}",
                self.records_sent, self.records_acknowledged, self.records_read
            ),
        );
        row(
            "KEYS (FROM FILES)",
            format!("{} ({})", self.keys, self.files),
        );
        row(
            "KEYS MISSING, DIFFERENT, UNEXPECTED",
            format!(
                "{} {} {}",
                self.keys_missing, self.keys_different, self.keys_unexpected
            ),
        );
        row(
            "LOST, DUPLICATED, REORDERED",
            format!("{} {} {}", self.lost, self.duplicated, self.reordered),
        );
        row(
            "PARTITIONS THAT LOST A LEADER",
            format!(
                "{} of {}",
                self.partitions_that_lost_a_leader, self.partitions
            ),
        );
        row(
            "LONGEST GAP, ANY PARTITION, ALL",
            format!(
                "{} ms, {} ms",
                self.longest_partition_gap_ms, self.longest_gap_ms
            ),
        );
        row(
            "PRODUCE, READ",
            format!(
                "{:.1} MB/s, {:.1} MB/s",
                self.produce_mb_per_second, self.read_mb_per_second
            ),
        );
        row("VERDICT", self.verdict.to_owned());
        out += "\nKILLED  AT MiB  LED  ELECTED ms  GAP ms  MISSED MiB  BEYOND CACHE  IN SYNC ms\n";
        for (kill, gap) in self.kills.iter().zip(&self.gaps_ms) {
            let _ = writeln!(
                out,
                "{:<7} {:>6} {:>4} {:>11} {:>7} {:>11} {:>13} {:>11}",
                kill.node,
                kill.at_bytes >> 20,
                kill.led.len(),
                kill.elected_ms,
                gap,
                kill.missed_bytes >> 20,
                if kill.beyond_tail_cache { "yes" } else { "no" },
                kill.in_sync_ms
            );
        }
        if !self.anomalies.is_valid() {
            let _ = write!(out, "\n{}", self.anomalies);
        }
        out
    }
}

/// From a kill to the last of the first acknowledgements of the partitions it orphaned, in ms.
fn gap_after(kill: &Kill, times: &[Vec<u64>]) -> u64 {
    let first = |partition: &i32| {
        let times = &times[*partition as usize];
        let next = times.partition_point(|time| *time <= kill.at);
        // The acknowledgements of what the dead leader had answered still arrive for a moment:
        // the longest silence that begins within the next second is the failover.
        let soon = times[next..]
            .iter()
            .take_while(|time| **time < kill.at + 1_000_000_000);
        let from = std::iter::once(kill.at)
            .chain(soon.copied())
            .collect::<Vec<_>>();
        let to = times[next..].iter().copied();
        from.into_iter()
            .zip(to)
            .map(|(from, to)| to - from)
            .max()
            .unwrap_or(0)
    };
    kill.led.iter().map(first).max().unwrap_or(0) / 1_000_000
}

fn longest(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(0)
        / 1_000_000
}
