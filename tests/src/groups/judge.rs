//! What must never be seen in a group's history, whatever fails.
//!
//! | finding | |
//! |---|---|
//! | two owners | two members were assigned a partition in one generation |
//! | generation went back | a member's generation, or that of an assignment that began after another had ended |
//! | late owner | a commit succeeded that began after an assignment of a later generation had ended |
//! | lost commit | a committed offset was read that is lower than one acknowledged before the question |
//! | offset went back | a committed offset was read that is lower than one read before |
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

/// The highest value that had been seen by a time; values come in the order of their times.
#[derive(Debug, Default)]
struct Highest(Vec<(u64, i64)>);

impl Highest {
    fn push(&mut self, at: u64, value: i64) {
        let before = self.0.last().map_or(value, |(_, highest)| *highest);
        self.0.push((at, value.max(before)));
    }

    fn before(&self, at: u64) -> Option<i64> {
        let count = self.0.partition_point(|(seen, _)| *seen < at);
        count.checked_sub(1).map(|last| self.0[last].1)
    }
}

fn generations(events: &[Event]) -> Vec<String> {
    let mut own: BTreeMap<usize, i32> = BTreeMap::new();
    // Of assignments, by when they had ended.
    let mut highest = Highest::default();
    let mut wrong = Vec::new();
    for event in events {
        let member = event.member;
        let ended = highest.before(event.begun).unwrap_or(i64::MIN);
        match event.what {
            What::Assigned { generation, .. } => {
                let before = own.insert(member, generation).map_or(i64::MIN, i64::from);
                let due = before.max(ended);
                if i64::from(generation) < due {
                    wrong.push(format!(
                        "generation went back: {member} came to {generation} after {due}"
                    ));
                }
                highest.push(event.ended, i64::from(generation));
            }
            What::Committed {
                generation,
                partition,
                offset,
                outcome: Outcome::Ok,
            } if i64::from(generation) < ended => wrong.push(format!(
                "late owner: {member} of generation {generation} committed {offset} of partition \
                 {partition} in generation {ended}"
            )),
            _ => {}
        }
    }
    wrong
}

/// What is known of a partition's committed offset.
#[derive(Debug, Default)]
struct Offsets {
    acknowledged: Highest,
    told: Highest,
    /// Each offset that may have been committed, and since when.
    possible: BTreeMap<i64, u64>,
}

fn commits(events: &[Event]) -> Vec<String> {
    let mut offsets: BTreeMap<i32, Offsets> = BTreeMap::new();
    // A commit may end after a question that it was in time for.
    for event in events {
        if let What::Committed {
            partition,
            offset,
            outcome,
            ..
        } = event.what
        {
            let of_it = offsets.entry(partition).or_default();
            if outcome == Outcome::Ok {
                of_it.acknowledged.push(event.ended, offset);
            }
            if outcome != Outcome::Refused {
                let since = of_it.possible.entry(offset).or_insert(event.begun);
                *since = event.begun.min(*since);
            }
        }
    }
    let mut wrong = Vec::new();
    for event in events {
        if let What::Began { partition, offset } = event.what {
            let of_it = offsets.entry(partition).or_default();
            wrong.extend(told(event, of_it, (partition, offset)));
        }
    }
    wrong
}

/// One answer to the question for a committed offset.
fn told(event: &Event, of_it: &mut Offsets, (partition, offset): (i32, i64)) -> Vec<String> {
    let mut wrong = Vec::new();
    let member = event.member;
    let acked = of_it.acknowledged.before(event.begun).unwrap_or(0);
    if offset < acked {
        wrong.push(format!(
            "lost commit: partition {partition} was at {acked}, and {member} was told {offset}"
        ));
    }
    let before = of_it.told.before(event.begun).unwrap_or(0);
    if offset < before {
        wrong.push(format!(
            "offset went back: {before} was told of partition {partition}, and then {offset} to {member}"
        ));
    }
    of_it.told.push(event.ended, offset);
    let since = of_it.possible.get(&offset);
    if offset > 0 && since.is_none_or(|since| *since > event.ended) {
        wrong.push(format!(
            "phantom commit: {member} was told {offset} of partition {partition}"
        ));
    }
    wrong
}

fn reads(events: &[Event]) -> Vec<String> {
    let mut wrong = Vec::new();
    // Of each member's partitions; a new assignment asks anew.
    let mut position: BTreeMap<usize, BTreeMap<i32, i64>> = BTreeMap::new();
    let mut read: BTreeMap<i32, BTreeSet<(i64, i64)>> = BTreeMap::new();
    let mut committed: BTreeMap<i32, i64> = BTreeMap::new();
    for event in events {
        let own = position.entry(event.member).or_default();
        match event.what {
            What::Assigned { .. } => own.clear(),
            What::Began { partition, offset } => {
                own.insert(partition, offset);
            }
            What::Read {
                partition,
                first,
                next,
            } => {
                let at = own.insert(partition, next);
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
            What::Committed { .. } => {}
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
