//! phantom: a value was read that nobody had sent to that partition by then.

use std::collections::{BTreeMap, HashMap};

use super::history::Key;
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        let mut invoked: HashMap<u64, u64> = HashMap::with_capacity(log.sends.len());
        for sent in &log.sends {
            let first = invoked.entry(sent.value).or_insert(sent.invoked);
            *first = sent.invoked.min(*first);
        }
        for (value, span) in &log.values {
            let Some(read) = span.read else { continue };
            if invoked.get(value).is_none_or(|&invoked| invoked > read) {
                verdict.report(Anomaly::Phantom, log.key, || {
                    let sent = if invoked.contains_key(value) {
                        "before it was"
                    } else {
                        "never"
                    };
                    format!("{value} read at {}, {sent} sent", log.offsets[span.first])
                });
            }
        }
    }
}
