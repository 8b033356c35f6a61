//! int-poll-skip, int-nonmonotonic-poll, poll-skip and nonmonotonic-poll: a consumer that was
//! assigned its partitions sees each of them record after record, within one poll and from one
//! poll to the next. Distances are counted in the dense index, so holes in the offsets (there
//! are none without transactions or compaction) would not matter.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::history::{Body, Key, Op, Outcome, Record};
use super::key_log::KeyLog;
use super::verdict::{Anomaly, Verdict};

/// Where each consumer stopped, per partition: the offset of the last record it was given.
type Positions = HashMap<(u32, Key), i64>;

pub(super) fn check(ops: &[&Op], logs: &BTreeMap<Key, KeyLog<'_>>, verdict: &mut Verdict) {
    let mut positions = Positions::new();
    for op in ops.iter().filter(|op| op.outcome == Outcome::Ok) {
        match &op.body {
            Body::Poll { reads } => {
                for (key, records) in reads.iter().filter(|(_, records)| !records.is_empty()) {
                    let log = &logs[key];
                    within(log, records, verdict);
                    between(log, op.process, records, &mut positions, verdict);
                }
            }
            Body::FullRead { key, records } => within(&logs[key], records, verdict),
            Body::Assign { keys } => {
                let kept: HashSet<Key> = keys.iter().copied().collect();
                positions.retain(|(process, key), _| *process != op.process || kept.contains(key));
            }
            Body::Seek { key } => {
                positions.remove(&(op.process, *key));
            }
            Body::Send { .. } | Body::Latest { .. } => {}
        }
    }
}

fn within(log: &KeyLog<'_>, records: &[Record], verdict: &mut Verdict) {
    for pair in records.windows(2) {
        let kinds = (Anomaly::IntPollSkip, Anomaly::IntNonmonotonicPoll);
        step(log, pair[0].offset, pair[1].offset, kinds, verdict);
    }
}

fn between(
    log: &KeyLog<'_>,
    process: u32,
    records: &[Record],
    positions: &mut Positions,
    verdict: &mut Verdict,
) {
    let (first, last) = (records[0].offset, records[records.len() - 1].offset);
    if let Some(previous) = positions.insert((process, log.key), last) {
        let kinds = (Anomaly::PollSkip, Anomaly::NonmonotonicPoll);
        step(log, previous, first, kinds, verdict);
    }
}

/// Two records delivered one after the other must be neighbours in the log.
fn step(
    log: &KeyLog<'_>,
    from: i64,
    to: i64,
    (skip, back): (Anomaly, Anomaly),
    verdict: &mut Verdict,
) {
    let index = |offset| log.index(offset).expect("every polled offset is indexed");
    let (low, high) = (index(from), index(to));
    if high > low + 1 {
        verdict.report(skip, log.key, || format!("offset {from}, then {to}"));
    } else if high <= low {
        verdict.report(back, log.key, || format!("offset {from}, then {to}"));
    }
}
