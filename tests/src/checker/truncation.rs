//! truncated: what any consumer was given must be in every later full read.

use std::collections::{BTreeMap, HashSet};

use super::history::Key;
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        for full in &log.full_reads {
            let found: HashSet<u64> = full.records.iter().map(|record| record.value).collect();
            let earlier = |read: Option<u64>| read.is_some_and(|read| read < full.invoked);
            for (value, span) in log.values.iter().filter(|(_, span)| earlier(span.read)) {
                if !found.contains(value) {
                    verdict.report(Anomaly::Truncated, log.key, || {
                        format!("{value} read at {}, gone later", log.offsets[span.first])
                    });
                }
            }
        }
    }
}
