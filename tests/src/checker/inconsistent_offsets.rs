//! inconsistent-offsets: some offset of some partition holds two values, whether they were read
//! by two consumers or acknowledged to two producers.

use std::collections::BTreeMap;

use super::history::Key;
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        for pair in log
            .records
            .windows(2)
            .filter(|pair| pair[0].offset == pair[1].offset)
        {
            verdict.report(Anomaly::InconsistentOffsets, log.key, || {
                let (one, other) = (pair[0].value, pair[1].value);
                format!("offset {} is both {one} and {other}", pair[0].offset)
            });
        }
    }
}
