//! aborted-read: a value was read although its producer was told that it will never be written.

use std::collections::BTreeMap;

use super::history::{Key, Outcome};
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        for sent in log
            .sends
            .iter()
            .filter(|sent| sent.outcome == Outcome::Fail)
        {
            if log
                .values
                .get(&sent.value)
                .is_some_and(|span| span.read.is_some())
            {
                verdict.report(Anomaly::AbortedRead, log.key, || {
                    format!(
                        "{} of process {} was refused, and read",
                        sent.value, sent.process
                    )
                });
            }
        }
    }
}
