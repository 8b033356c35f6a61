//! What came of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::records::{Digests, Work};

/// Figures, and what is not as promised.
#[derive(Debug, Default)]
pub struct Report {
    figures: serde_json::Map<String, Value>,
    broken: Vec<String>,
    records: u64,
    bytes: u64,
    sending: Duration,
}

fn seconds(took: Duration) -> Value {
    json!((took.as_secs_f64() * 1000.0).round() / 1000.0)
}

impl Report {
    fn put(&mut self, name: &str, value: Value) {
        eprintln!("{name}: {value}");
        self.figures.insert(name.to_owned(), value);
    }

    /// A promise that was not kept.
    pub fn broken(&mut self, what: String) {
        eprintln!("BROKEN: {what}");
        self.broken.push(what);
    }

    pub fn sent(&mut self, work: &Work, took: Duration) {
        (self.records, self.sending) = (work.records, took);
        self.bytes = work.records * 8192;
        self.put("records", json!(work.records));
        self.put("bytes", json!(self.bytes));
        self.put("partitions", json!(work.partitions_in_all()));
        self.put("sent_seconds", seconds(took));
    }

    pub fn settled(&mut self, took: Duration) {
        self.put("settled_seconds", seconds(took));
    }

    pub fn disk(&mut self, most: u64, now: u64) {
        self.put("disk_bytes_most", json!(most));
        self.put("disk_bytes_settled", json!(now));
    }

    pub fn read(&mut self, what: &str, sent: &Digests, read: &Digests, took: Duration) {
        let differing = sent.differing(read);
        let rate = self.bytes as f64 / 1e6 / took.as_secs_f64();
        let (records, differ) = (read.records(), differing.len());
        self.put(what, json!({ "records": records, "seconds": seconds(took), "mb_per_second": rate.round(), "partitions_that_differ": differ }));
        if !differing.is_empty() {
            self.broken(format!(
                "{what}: {differ} partitions differ, the first is number {}",
                differing[0]
            ));
        }
    }

    pub fn restored(&mut self, formed: Duration, restored: Duration, first: Duration) {
        self.put("formed_seconds", seconds(formed));
        self.put("restored_seconds", seconds(restored));
        self.put("first_record_seconds", seconds(first));
        let ratio = self.sending.as_secs_f64() / first.as_secs_f64();
        self.put(
            "sooner_than_sending_it_again",
            json!((ratio * 10.0).round() / 10.0),
        );
    }

    pub fn committed(&mut self, wanted: &[i64], found: &[i64]) {
        let same = wanted.iter().zip(found).filter(|(a, b)| a == b).count();
        self.put("committed_offsets_kept", json!(same));
        if same != wanted.len() {
            self.broken(format!(
                "{same} of {} committed offsets are as they were",
                wanted.len()
            ));
        }
    }

    pub fn json(&self) -> Value {
        json!({ "schema": 1, "figures": self.figures, "broken": self.broken })
    }

    pub fn exit_code(&self) -> u8 {
        if self.broken.is_empty() { 0 } else { 12 }
    }
}
