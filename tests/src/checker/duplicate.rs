//! duplicate: one value lies at two offsets. Never allowed to an idempotent producer.

use std::collections::BTreeMap;

use super::history::Key;
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        for (value, span) in log
            .values
            .iter()
            .filter(|(_, span)| span.first != span.last)
        {
            verdict.report(Anomaly::Duplicate, log.key, || {
                let (first, last) = (log.offsets[span.first], log.offsets[span.last]);
                format!("{value} lies at {first} and at {last}")
            });
        }
    }
}
