//! Who owns what where the coordinator gives partitions to members one by one, each with an epoch of its own.
//!
//! A member owns a partition from when it is told until it gives it up, or says that it does not own it: the coordinator
//! knows no more than that, and need not wait for who has not taken yet what he was told. One who takes it later all the
//! same, because he has missed the next answer, has an epoch that is over: he cannot commit. The coordinator may take it away without the
//! member's word, but not at once: only when the member was silent for its session, or did not give up for the time
//! that a rebalance may take what it was told to give up. Until then nobody else may be told that he owns it.

use std::collections::{BTreeMap, BTreeSet};

use super::rising::Rising;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    members: BTreeMap<usize, Member>,
    /// Epochs that anybody was told.
    epochs: Rising<i32>,
    /// In which epochs each member came to each partition.
    gained: BTreeMap<(i32, usize), Rising<i32>>,
}

/// What one member was told.
#[derive(Debug, Default)]
struct Member {
    epoch: i32,
    /// It is not removed for its silence before.
    heard_until: u64,
    assigned: BTreeSet<i32>,
    /// What it owns, and gives up; with the time before which it is not removed for not having done so.
    held: BTreeMap<i32, u64>,
    /// What it has given up, when, and has not said so yet; with that time. Who does not say so is removed.
    unsaid: BTreeMap<i32, (u64, u64)>,
}

impl Member {
    /// Before then it is not removed: with all that it owns, also where it had to give up but a part of that.
    fn until(&self) -> u64 {
        let unsaid = self.unsaid.values().map(|(_, until)| until);
        let revoked = self.held.values().chain(unsaid).min();
        revoked.map_or(self.heard_until, |revoked| self.heard_until.min(*revoked))
    }
}

/// An answer to a member.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) member: usize,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) epoch: i32,
    pub(crate) joins: bool,
    pub(crate) says_owned: bool,
    pub(crate) partitions: Option<&'a [i32]>,
    pub(crate) session: u64,
    pub(crate) rebalance: u64,
}

impl Owners {
    pub(crate) fn told(&mut self, told: &Told<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        let &Told { member, epoch, .. } = told;
        let own = self.members.entry(member).or_default();
        let known = self.epochs.before(told.begun).filter(|_| told.joins);
        let before = own.epoch.max(known.unwrap_or(0));
        if epoch < before {
            wrong.push(format!(
                "epoch went back: {member} came to {epoch} after {before}"
            ));
        }
        own.epoch = epoch;
        own.heard_until = told.begun + told.session;
        if told.says_owned {
            own.unsaid.retain(|_, (since, _)| *since > told.begun);
        }
        if let Some(partitions) = told.partitions {
            own.assigned = partitions.iter().copied().collect();
        }
        self.epochs.raise(told.ended, epoch);
        for &partition in &own.assigned {
            let before = own.held.insert(partition, told.begun + told.rebalance);
            if before.is_none() {
                let gained = self.gained.entry((partition, member)).or_default();
                gained.raise(told.ended, epoch);
            }
        }
        for partition in told.partitions.unwrap_or_default() {
            wrong.extend(self.shared(told, *partition));
        }
        wrong
    }

    /// Somebody else owns it too.
    fn shared(&self, told: &Told<'_>, partition: i32) -> Option<String> {
        let now = told.ended;
        let owns = |member: &Member| member.held.contains_key(&partition) && member.until() > now;
        // An answer that comes too late to count is nobody's fault.
        self.members.get(&told.member).filter(|own| owns(own))?;
        let mut others = self.members.iter().filter(|(id, _)| **id != told.member);
        let (other, of) = others.find(|(_, other)| owns(other))?;
        Some(format!(
            "two owners: {} was told in epoch {} to own partition {partition}, which {other} owned since epoch {} \
             and had not given up",
            told.member, told.epoch, of.epoch
        ))
    }

    /// A member says that it owns no more than these. What it was told is its own again when an answer leaves it so.
    pub(crate) fn said(&mut self, member: usize, partitions: &[i32]) {
        if let Some(own) = self.members.get_mut(&member) {
            own.held.retain(|held, _| partitions.contains(held));
        }
    }

    /// A member owns no more than these.
    pub(crate) fn kept(&mut self, at: u64, member: usize, partitions: &[i32]) {
        if let Some(own) = self.members.get_mut(&member) {
            let given_up = own
                .held
                .extract_if(.., |held, _| !partitions.contains(held));
            own.unsaid
                .extend(given_up.map(|(partition, until)| (partition, (at, until))));
            own.assigned.retain(|held| partitions.contains(held));
        }
    }

    /// The epoch in which another one had come to the partition, where that is later than the commit's.
    pub(crate) fn later(
        &self,
        member: usize,
        begun: u64,
        epoch: i32,
        partition: i32,
    ) -> Option<i32> {
        let gained = self.gained.range((partition, 0)..=(partition, usize::MAX));
        let others = gained.filter(|((_, other), _)| *other != member);
        let newest = others.filter_map(|(_, epochs)| epochs.before(begun)).max();
        newest.filter(|newest| epoch < *newest)
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use crate::{Event, Outcome, What, judge};

    /// A heartbeat of a member that may be silent for 100, and give up for 50.
    fn told(member: usize, (begun, ended): (u64, u64), epoch: i32, partitions: &[i32]) -> Event {
        let what = What::Told {
            epoch,
            joins: false,
            says_owned: false,
            partitions: Some(partitions.to_vec()),
            session: 100,
            rebalance: 50,
        };
        Event {
            member,
            begun,
            ended,
            what,
        }
    }

    fn kept(member: usize, at: u64, partitions: &[i32]) -> Event {
        let partitions = partitions.to_vec();
        Event {
            member,
            begun: at,
            ended: at,
            what: What::Kept { partitions },
        }
    }

    fn said(member: usize, at: u64, partitions: &[i32]) -> Event {
        let partitions = partitions.to_vec();
        Event {
            member,
            begun: at,
            ended: at,
            what: What::Said { partitions },
        }
    }

    fn joined(mut event: Event) -> Event {
        if let What::Told { joins, .. } = &mut event.what {
            *joins = true;
        }
        event
    }

    fn committed(member: usize, at: u64, epoch: i32) -> Event {
        Event {
            member,
            begun: at,
            ended: at + 1,
            what: What::Committed {
                generation: epoch,
                partition: 0,
                offset: 0,
                outcome: Outcome::Ok,
            },
        }
    }

    fn finds(events: &[Event], what: &str) {
        let found = judge(events);
        assert!(
            found.iter().any(|wrong| wrong.starts_with(what)),
            "{found:?}"
        );
    }

    #[test]
    fn a_partition_is_given_when_it_was_given_up() {
        let first = told(1, (1, 2), 1, &[0, 1]);
        let asked = told(1, (10, 11), 1, &[0]);
        let next = told(2, (20, 21), 2, &[1]);
        finds(&[first.clone(), asked.clone(), next.clone()], "two owners");
        assert_eq!(judge(&[first, asked, kept(1, 15, &[0]), next]), [""; 0]);
    }

    #[test]
    fn it_is_given_when_its_owner_was_silent_too_long() {
        let first = told(1, (1, 2), 1, &[0]);
        let again = told(1, (60, 61), 1, &[0]);
        let next = |at| told(2, (at, at), 2, &[0]);
        // It was told to give nothing up, but silent it might have missed that.
        finds(&[first.clone(), next(50)], "two owners");
        assert_eq!(judge(&[first.clone(), next(51)]), [""; 0]);
        finds(&[first.clone(), again.clone(), next(109)], "two owners");
        assert_eq!(judge(&[first, again, next(110)]), [""; 0]);
    }

    #[test]
    fn it_is_given_when_its_owner_takes_too_long_to_give_it_up() {
        let first = told(1, (1, 2), 1, &[0, 1]);
        let beats = [told(1, (30, 31), 1, &[0]), told(1, (45, 46), 1, &[0])];
        let next = |at| told(2, (at, at), 2, &[1]);
        let with = |at| [std::slice::from_ref(&first), &beats[..], &[next(at)]].concat();
        finds(&with(50), "two owners");
        assert_eq!(judge(&with(51)), [""; 0]);
        // With what it might have kept.
        let all = told(2, (51, 51), 2, &[0, 1]);
        assert_eq!(judge(&[&[first], &beats[..], &[all]].concat()), [""; 0]);
    }

    #[test]
    fn who_gives_up_and_does_not_say_so_is_removed() {
        let begins = [
            told(1, (1, 2), 1, &[0, 1]),
            told(1, (10, 11), 1, &[0]),
            kept(1, 12, &[0]),
        ];
        let mut beat = told(1, (40, 41), 1, &[0]);
        let next = told(2, (60, 60), 2, &[0]);
        let with = |beat: &Event| [&begins[..], &[beat.clone(), next.clone()]].concat();
        assert_eq!(judge(&with(&beat)), [""; 0]);
        if let What::Told { says_owned, .. } = &mut beat.what {
            *says_owned = true;
        }
        finds(&with(&beat), "two owners");
    }

    #[test]
    fn what_a_member_says_that_it_does_not_own_is_free() {
        let first = told(1, (1, 2), 1, &[0, 1]);
        let next = told(2, (20, 21), 2, &[1]);
        let with = |between: &[Event]| {
            let all = [from_ref(&first), between, from_ref(&next)];
            all.concat()
        };
        // It has yet to take what it was told, and does not hear the answer.
        assert_eq!(judge(&with(&[said(1, 10, &[])])), [""; 0]);
        finds(&with(&[said(1, 10, &[1])]), "two owners: 2");
        // The answer left it as it was.
        let mut as_before = told(1, (10, 12), 1, &[]);
        if let What::Told { partitions, .. } = &mut as_before.what {
            *partitions = None;
        }
        for answer in [as_before, told(1, (10, 12), 1, &[0, 1])] {
            finds(&with(&[said(1, 10, &[]), answer]), "two owners: 2");
        }
        // What it commits though it has taken it since is late.
        let mut late = with(&[said(1, 10, &[])]);
        late.push(Event {
            what: What::Committed {
                generation: 1,
                partition: 1,
                offset: 0,
                outcome: Outcome::Ok,
            },
            ..committed(1, 30, 1)
        });
        finds(&late, "late owner: 1");
    }

    #[test]
    fn an_answer_that_comes_too_late_makes_no_owner() {
        let late = told(1, (1, 60), 1, &[0]);
        assert_eq!(judge(&[told(2, (40, 41), 2, &[0]), late]), [""; 0]);
    }

    #[test]
    fn epochs_rise() {
        let events = [told(1, (1, 2), 5, &[0]), told(1, (3, 4), 4, &[0])];
        finds(&events, "epoch went back: 1 came to 4 after 5");
        let other = told(2, (3, 4), 4, &[]);
        assert_eq!(judge(&[events[0].clone(), other.clone()]), [""; 0]);
        let events = [events[0].clone(), joined(other)];
        finds(&events, "epoch went back: 2 came to 4 after 5");
    }

    #[test]
    fn a_commit_from_before_the_partition_went_to_another_one_is_late() {
        let gone = [
            told(1, (1, 2), 1, &[0]),
            kept(1, 3, &[]),
            told(2, (4, 5), 2, &[0]),
        ];
        let with = |commit: Event| [&gone[..], &[commit]].concat();
        finds(&with(committed(1, 6, 1)), "late owner: 1");
        assert_eq!(judge(&with(committed(1, 6, 2))), [""; 0]);
        assert_eq!(judge(&with(committed(2, 6, 2))), [""; 0]);
        // Its answer was on its way when the other one was told.
        assert_eq!(judge(&with(committed(1, 4, 1))), [""; 0]);
    }
}
