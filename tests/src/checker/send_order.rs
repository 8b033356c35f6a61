//! nonmonotonic-send: of two sends of one in-order producer to one partition, the later lies at
//! or below the earlier. Sends of unknown end count where their value was found.

use std::collections::{BTreeMap, HashMap};

use super::history::{Key, Outcome};
use super::key_log::{KeyLog, Sent};
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        let mut previous: HashMap<u32, (usize, &Sent)> = HashMap::new();
        for sent in log
            .sends
            .iter()
            .filter(|sent| sent.outcome != Outcome::Fail)
        {
            let Some(span) = log.values.get(&sent.value) else {
                continue;
            };
            if let Some((last, earlier)) = previous.insert(sent.process, (span.last, sent))
                && span.first <= last
            {
                verdict.report(Anomaly::NonmonotonicSend, log.key, || {
                    let (low, high) = (log.offsets[span.first], log.offsets[last]);
                    let (later, earlier) = (sent.value, earlier.value);
                    format!("{later} sent after {earlier} lies at {low}, not above {high}")
                });
            }
        }
    }
}
