//! stale-latest: `ListOffsets(latest)` asked after an acknowledgement must lie above the
//! acknowledged offset, and must never go back for one client.

use std::collections::{BTreeMap, HashMap};

use super::history::{Key, Outcome};
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    for log in logs.values() {
        below_acknowledged(log, verdict);
        going_back(log, verdict);
    }
}

fn below_acknowledged(log: &KeyLog<'_>, verdict: &mut Verdict) {
    let acked = log.sends.iter().filter(|sent| sent.outcome == Outcome::Ok);
    let mut acked: Vec<(u64, i64)> = acked
        .filter_map(|sent| Some((sent.returned, sent.offset?)))
        .collect();
    acked.sort_unstable();
    let mut highest = i64::MIN;
    for entry in &mut acked {
        highest = highest.max(entry.1);
        entry.1 = highest; // now: the highest offset acknowledged by then
    }
    for &(process, invoked, latest) in &log.latest {
        let before = acked.partition_point(|(returned, _)| *returned < invoked);
        let Some(&(_, highest)) = before.checked_sub(1).and_then(|at| acked.get(at)) else {
            continue;
        };
        if latest <= highest {
            verdict.report(Anomaly::StaleLatest, log.key, || {
                format!("process {process} was told {latest} after {highest} was acknowledged")
            });
        }
    }
}

fn going_back(log: &KeyLog<'_>, verdict: &mut Verdict) {
    let mut last: HashMap<u32, i64> = HashMap::new();
    for &(process, _, latest) in &log.latest {
        if let Some(previous) = last.insert(process, latest)
            && latest < previous
        {
            verdict.report(Anomaly::StaleLatest, log.key, || {
                format!("process {process} was told {previous}, then {latest}")
            });
        }
    }
}
