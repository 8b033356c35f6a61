//! lost-write: with R the values found by ok reads and `bound` the highest first index among
//! them, every value whose last index is at most `bound` must be in R. What lies higher may
//! simply not have been reached yet; that part is [`unseen`](super::unseen)'s.

use std::collections::BTreeMap;

use super::history::{Key, Outcome};
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        let read = log.values.values().filter(|span| span.read.is_some());
        let Some(bound) = read.map(|span| span.first).max() else {
            continue;
        };
        for sent in log.sends.iter().filter(|sent| sent.outcome == Outcome::Ok) {
            let Some(span) = log.values.get(&sent.value) else {
                continue;
            };
            if span.last <= bound && span.read.is_none() {
                verdict.report(Anomaly::LostWrite, log.key, || {
                    let (at, top) = (log.offsets[span.last], log.offsets[bound]);
                    format!("{} acknowledged at {at} never read, {top} was", sent.value)
                });
            }
        }
    }
}
