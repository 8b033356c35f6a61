//! unseen: an acknowledged value that a later full read of its partition does not hold, or that
//! no read ever returned. This one finds lost suffixes, which lost-write cannot.

use std::collections::{BTreeMap, HashSet};

use super::history::{Key, Outcome};
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        let Some(last) = log.full_reads.last() else {
            never_read(log, verdict);
            continue;
        };
        let found: HashSet<u64> = last.records.iter().map(|record| record.value).collect();
        let acked = log.sends.iter().filter(|sent| sent.outcome == Outcome::Ok);
        for sent in acked.filter(|sent| sent.returned < last.invoked) {
            if !found.contains(&sent.value) {
                verdict.report(Anomaly::Unseen, log.key, || {
                    let offset = sent.offset.unwrap_or(-1);
                    format!(
                        "{} acknowledged at {offset}, not in the last full read",
                        sent.value
                    )
                });
            }
        }
    }
}

fn never_read(log: &KeyLog<'_>, verdict: &mut Verdict) {
    for sent in log.sends.iter().filter(|sent| sent.outcome == Outcome::Ok) {
        if log
            .values
            .get(&sent.value)
            .is_none_or(|span| span.read.is_none())
        {
            verdict.report(Anomaly::Unseen, log.key, || {
                format!(
                    "{} acknowledged at {}, never read",
                    sent.value,
                    sent.offset.unwrap_or(-1)
                )
            });
        }
    }
}
