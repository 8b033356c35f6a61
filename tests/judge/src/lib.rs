//! What must never be seen in a group's history, whatever fails. It knows nothing of the broker: members of real
//! processes and of simulated ones are judged alike.
//!
//! | finding | |
//! |---|---|
//! | two owners | two members were assigned a partition in one generation; or one was told to own it while another had neither given it up nor been silent too long |
//! | another assignment | a member was assigned something else in the same generation |
//! | generation went back | a member's generation, or that of an assignment that began after another had ended |
//! | epoch went back | a member's epoch, or that of a join that began after another member's had been told |
//! | late owner | a commit succeeded that began after an assignment of a later generation had ended, or after another one had been told to own the partition in a later epoch |
//! | lost commit | a committed offset was read that is lower than one acknowledged before the question |
//! | offset went back | a committed offset was read that is lower than one read before |
//! | skipped | a record between a partition's beginning and its last committed offset that nobody read |
//! | phantom commit | a committed offset was read that nobody committed |
//! | not where it began | a member read from elsewhere than the committed offset that it was told |
//!
//! Committed offsets rise: a member goes on where it, or the one before it, was. It asks anew where that is, unless it
//! keeps the partition from one assignment to its next.

mod history;
mod owners;
mod rising;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use history::{Event, Outcome, What};
use owners::{Owners, Told};
use rising::Rising;

/// Everything that is wrong with a history, in words; empty when nothing is.
pub fn judge(events: &[Event]) -> Vec<String> {
    let mut judge = Judge::default();
    let mut wrong = Vec::new();
    for event in events {
        wrong.extend(judge.take(event));
    }
    wrong.extend(judge.finish());
    wrong
}

/// The same, event by event: they come in the order in which they ended.
#[derive(Debug, Default)]
pub struct Judge {
    /// By generation and partition.
    owners: BTreeMap<(i32, i32), usize>,
    /// By generation and member.
    assigned: BTreeMap<(i32, usize), Vec<i32>>,
    /// The last generation of each member, and what it got.
    own: BTreeMap<usize, (i32, Vec<i32>)>,
    /// Of assignments that have ended.
    generations: Rising<i32>,
    /// Where the coordinator gives partitions to each member by itself.
    given: Owners,
    partitions: BTreeMap<i32, Partition>,
    /// Where each member is in its partitions.
    positions: BTreeMap<usize, BTreeMap<i32, i64>>,
}

/// What is known of one partition's committed offset.
#[derive(Debug, Default)]
struct Partition {
    acknowledged: Rising<i64>,
    told: Rising<i64>,
    /// When each offset was first sent, unless its commit was refused.
    sent: BTreeMap<i64, u64>,
    /// What was told to whom, and when.
    answers: Vec<(i64, usize, u64)>,
    /// Ranges of records that somebody read.
    read: BTreeSet<(i64, i64)>,
    /// The highest that was acknowledged.
    committed: i64,
}

impl Judge {
    /// What is wrong as of this event.
    pub fn take(&mut self, event: &Event) -> Vec<String> {
        match &event.what {
            What::Assigned {
                generation,
                partitions,
            } => {
                let mut wrong = self.owners(event.member, *generation, partitions);
                wrong.extend(self.generation(event, *generation, partitions));
                wrong
            }
            What::AnsweredAssignment {
                generation,
                partitions,
            } => {
                let mut wrong = self.owners(event.member, *generation, partitions);
                wrong.extend(self.follows(event, *generation, i32::MIN));
                wrong
            }
            What::Told {
                epoch,
                joins,
                says_owned,
                partitions,
                session,
                rebalance,
            } => self.given.told(&Told {
                member: event.member,
                begun: event.begun,
                ended: event.ended,
                epoch: *epoch,
                joins: *joins,
                says_owned: *says_owned,
                partitions: partitions.as_deref(),
                session: *session,
                rebalance: *rebalance,
            }),
            What::Said { partitions } => {
                self.given.said(event.member, partitions);
                Vec::new()
            }
            What::Kept { partitions } => {
                self.given.kept(event.begun, event.member, partitions);
                let positions = self.positions.entry(event.member).or_default();
                positions.retain(|partition, _| partitions.contains(partition));
                Vec::new()
            }
            What::Began { partition, offset } => {
                let own = self.positions.entry(event.member).or_default();
                own.insert(*partition, *offset);
                let of = self.partitions.entry(*partition).or_default();
                of.told(event, *partition, *offset)
            }
            What::AnsweredOffset { partition, offset } => {
                let of = self.partitions.entry(*partition).or_default();
                of.told(event, *partition, *offset)
            }
            What::Read {
                partition,
                first,
                next,
            } => {
                let found = self.read(event.member, *partition, *first, *next);
                found.into_iter().collect()
            }
            What::Committed {
                generation,
                partition,
                offset,
                outcome,
            } => {
                let of = self.partitions.entry(*partition).or_default();
                of.committed(event, *offset, *outcome);
                let commit = (*generation, *partition, *offset);
                let late = self.late_owner(event, commit);
                late.filter(|_| *outcome == Outcome::Ok)
                    .into_iter()
                    .collect()
            }
        }
    }

    fn late_owner(
        &self,
        event: &Event,
        (generation, partition, offset): (i32, i32, i64),
    ) -> Option<String> {
        let (member, begun) = (event.member, event.begun);
        let newest = self.generations.before(begun);
        let newest = newest.filter(|newest| generation < *newest);
        let given = self.given.later(member, begun, generation, partition);
        let newest = newest.or(given).filter(|_| generation >= 0)?;
        Some(format!(
            "late owner: {member} of generation {generation} committed {offset} of partition {partition} in \
             generation {newest}"
        ))
    }

    /// What is wrong with the whole.
    #[must_use]
    pub fn finish(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (partition, of) in &self.partitions {
            wrong.extend(of.phantoms(*partition));
            wrong.extend(of.skipped(*partition));
        }
        wrong
    }

    fn owners(&mut self, member: usize, generation: i32, partitions: &[i32]) -> Vec<String> {
        let mut wrong = Vec::new();
        for partition in partitions {
            let other = self.owners.insert((generation, *partition), member);
            if let Some(other) = other.filter(|other| *other != member) {
                wrong.push(format!(
                    "two owners: partition {partition} belonged to {other} and {member} in generation {generation}"
                ));
            }
        }
        let key = (generation, member);
        let before = self.assigned.insert(key, partitions.to_vec());
        if let Some(before) = before.filter(|before| before != partitions) {
            wrong.push(format!(
                "another assignment: {member} had {before:?} in generation {generation}, then {partitions:?}"
            ));
        }
        wrong
    }

    fn generation(&mut self, event: &Event, generation: i32, partitions: &[i32]) -> Option<String> {
        let member = event.member;
        let now = (generation, partitions.to_vec());
        let before = self.own.insert(member, now);
        let (before, held) = before.unwrap_or((i32::MIN, Vec::new()));
        let is_kept = |p: &i32| held.contains(p) && partitions.contains(p);
        let positions = self.positions.entry(member).or_default();
        positions.retain(|partition, _| is_kept(partition));
        self.follows(event, generation, before)
    }

    fn follows(&mut self, event: &Event, generation: i32, before: i32) -> Option<String> {
        let member = event.member;
        let highest = self.generations.before(event.begun).unwrap_or(i32::MIN);
        self.generations.raise(event.ended, generation);
        let before = before.max(highest);
        (generation < before)
            .then(|| format!("generation went back: {member} came to {generation} after {before}"))
    }

    fn read(&mut self, member: usize, partition: i32, first: i64, next: i64) -> Option<String> {
        let of = self.partitions.entry(partition).or_default();
        of.read.insert((first, next));
        let own = self.positions.entry(member).or_default();
        let due = own.insert(partition, next);
        (due != Some(first)).then(|| {
            format!(
                "not where it began: {member} read partition {partition} from {first}, due was {due:?}"
            )
        })
    }
}

impl Partition {
    fn committed(&mut self, event: &Event, offset: i64, outcome: Outcome) {
        if outcome == Outcome::Ok {
            self.acknowledged.raise(event.ended, offset);
            self.committed = offset.max(self.committed);
        }
        if outcome != Outcome::Refused {
            let first = self.sent.entry(offset).or_insert(event.begun);
            *first = event.begun.min(*first);
        }
    }

    fn told(&mut self, event: &Event, partition: i32, offset: i64) -> Vec<String> {
        let mut wrong = Vec::new();
        let member = event.member;
        let acked = self.acknowledged.before(event.begun).unwrap_or(0);
        if offset < acked {
            wrong.push(format!(
                "lost commit: partition {partition} was at {acked}, and {member} was told {offset}"
            ));
        }
        let before = self.told.before(event.begun).unwrap_or(0);
        if offset < before {
            wrong.push(format!(
                "offset went back: {before} was told of partition {partition}, and then {offset} to {member}"
            ));
        }
        self.told.raise(event.ended, offset);
        if offset > 0 {
            self.answers.push((offset, member, event.ended));
        }
        wrong
    }

    fn phantoms(&self, partition: i32) -> impl Iterator<Item = String> {
        let nobody_sent = |(offset, _, at): &&(i64, usize, u64)| {
            let sent = self.sent.get(offset);
            sent.is_none_or(|sent| sent > at)
        };
        let told = self.answers.iter().filter(nobody_sent);
        told.map(move |(offset, member, _)| {
            format!("phantom commit: {member} was told {offset} of partition {partition}")
        })
    }

    fn skipped(&self, partition: i32) -> Option<String> {
        let mut seen = 0;
        for &(first, next) in &self.read {
            if first > seen {
                break;
            }
            seen = next.max(seen);
        }
        let last = self.committed;
        (seen < last).then(|| {
            format!(
                "skipped: nobody read {seen} of partition {partition}, which is committed up to {last}"
            )
        })
    }
}
