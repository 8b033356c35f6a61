//! ack-order: the log is linearizable. A partition is a totally ordered list, so the only
//! candidate order of its acknowledged appends is by offset; it is wrong exactly where one
//! append began after another had returned, and yet did not get a higher offset. Found by a
//! sweep from the high end that keeps the earliest return met so far.

use std::collections::BTreeMap;

use super::history::{Key, Outcome};
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        let mut acked: Vec<_> = log
            .sends
            .iter()
            .filter(|sent| sent.outcome == Outcome::Ok)
            .filter_map(|sent| sent.offset.map(|offset| (offset, sent)))
            .collect();
        acked.sort_unstable_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        let mut earliest: Option<(u64, i64, u64)> = None;
        for same in acked.chunk_by(|one, other| one.0 == other.0) {
            // Appends of one offset are judged against each other too, so the minimum first.
            for (offset, sent) in same {
                if earliest.is_none_or(|(returned, ..)| sent.returned < returned) {
                    earliest = Some((sent.returned, *offset, sent.value));
                }
            }
            for (offset, sent) in same {
                let (returned, above, value) = earliest.expect("set by this chunk");
                if sent.invoked > returned {
                    verdict.report(Anomaly::AckOrder, log.key, || {
                        let late = sent.value;
                        format!("{late} got {offset}, begun after {value} was acked at {above}")
                    });
                }
            }
        }
    }
}
