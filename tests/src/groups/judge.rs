//! What must never be seen in a group's history, whatever fails.
//!
//! | finding | |
//! |---|---|
//! | two owners | two members were assigned a partition in one generation |
//! | generation went back | a member's generation, or that of an assignment that began after another had ended |
//! | lost commit | a committed offset was read that is lower than one acknowledged before the question |
//! | skipped | a record between a partition's beginning and its last committed offset that nobody read |
//! | phantom commit | a committed offset was read that nobody committed |
//! | not where it began | a member read from elsewhere than the committed offset that it was told |

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Event, Outcome, What};

/// Everything that is wrong with a history, in words; empty when nothing is.
pub fn judge(events: &[Event]) -> Vec<String> {
    let mut wrong = owners(events);
    wrong.extend(generations(events));
    wrong.extend(commits(events));
    wrong.extend(reads(events));
    wrong
}

fn owners(events: &[Event]) -> Vec<String> {
    let mut owner: BTreeMap<(i32, i32), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for event in events {
        let What::Assigned {
            generation,
            partitions,
        } = &event.what
        else {
            continue;
        };
        for partition in partitions {
            let other = owner.insert((*generation, *partition), event.member);
            if let Some(other) = other.filter(|other| *other != event.member) {
                let member = event.member;
                wrong.push(format!(
                    "two owners: partition {partition} belonged to {other} and {member} in generation {generation}"
                ));
            }
        }
    }
    wrong
}

fn generations(events: &[Event]) -> Vec<String> {
    let assigned = events.iter().filter_map(|event| match &event.what {
        What::Assigned { generation, .. } => Some((event, *generation)),
        _ => None,
    });
    let mut own: BTreeMap<usize, i32> = BTreeMap::new();
    // Generations whose assignment had ended, by that time.
    let mut ended: Vec<(u64, i32)> = Vec::new();
    let mut wrong = Vec::new();
    for (event, generation) in assigned {
        let member = event.member;
        let before = own.insert(member, generation).unwrap_or(i32::MIN);
        let highest = ended.iter().filter(|(at, _)| *at < event.begun);
        let highest = highest.map(|(_, g)| *g).max().unwrap_or(i32::MIN);
        if generation < before.max(highest) {
            wrong.push(format!(
                "generation went back: {member} came to {generation} after {}",
                before.max(highest)
            ));
        }
        ended.push((event.ended, generation));
    }
    wrong
}

fn commits(events: &[Event]) -> Vec<String> {
    let mut wrong = Vec::new();
    let commits: Vec<(&Event, i32, i64, Outcome)> = events
        .iter()
        .filter_map(|event| match event.what {
            What::Committed {
                partition,
                offset,
                outcome,
                ..
            } => Some((event, partition, offset, outcome)),
            _ => None,
        })
        .collect();
    for event in events {
        let What::Began { partition, offset } = event.what else {
            continue;
        };
        let of_it = || commits.iter().filter(move |c| c.1 == partition);
        let acked = of_it().filter(|c| c.3 == Outcome::Ok && c.0.ended < event.begun);
        let acked = acked.map(|c| c.2).max().unwrap_or(0);
        if offset < acked {
            wrong.push(format!(
                "lost commit: partition {partition} was at {acked}, and {} was told {offset}",
                event.member
            ));
        }
        let possible = |c: &&(&Event, i32, i64, Outcome)| {
            c.2 == offset && c.3 != Outcome::Refused && c.0.begun <= event.ended
        };
        if offset > 0 && !of_it().any(|c| possible(&c)) {
            wrong.push(format!(
                "phantom commit: {} was told {offset} of partition {partition}",
                event.member
            ));
        }
    }
    wrong
}

fn reads(events: &[Event]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut position: BTreeMap<(usize, i32), i64> = BTreeMap::new();
    let mut read: BTreeMap<i32, BTreeSet<(i64, i64)>> = BTreeMap::new();
    let mut committed: BTreeMap<i32, i64> = BTreeMap::new();
    for event in events {
        match event.what {
            What::Began { partition, offset } => {
                position.insert((event.member, partition), offset);
            }
            What::Read {
                partition,
                first,
                next,
            } => {
                let at = position.insert((event.member, partition), next);
                if at != Some(first) {
                    wrong.push(format!(
                        "not where it began: {} read partition {partition} from {first}, due was {at:?}",
                        event.member
                    ));
                }
                read.entry(partition).or_default().insert((first, next));
            }
            What::Committed {
                partition,
                offset,
                outcome: Outcome::Ok,
                ..
            } => {
                let last = committed.entry(partition).or_default();
                *last = offset.max(*last);
            }
            What::Committed { .. } | What::Assigned { .. } => {}
        }
    }
    for (partition, last) in committed {
        let mut seen = 0;
        for &(first, next) in read.get(&partition).into_iter().flatten() {
            if first > seen {
                break;
            }
            seen = next.max(seen);
        }
        if seen < last {
            wrong.push(format!(
                "skipped: nobody read {seen} of partition {partition}, which is committed up to {last}"
            ));
        }
    }
    wrong
}
