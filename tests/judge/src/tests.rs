//! The judge lets good histories pass and finds each thing that is wrong with bad ones.

use super::{Event, Outcome, What, judge};

struct Sketch {
    now: u64,
    events: Vec<Event>,
}

impl Sketch {
    fn new() -> Self {
        Self {
            now: 0,
            events: Vec::new(),
        }
    }

    fn add(mut self, member: usize, what: What) -> Self {
        let begun = self.now + 1;
        self.now += 2;
        self.events.push(Event {
            member,
            begun,
            ended: self.now,
            what,
        });
        self
    }

    fn assigned(self, member: usize, generation: i32, partitions: &[i32]) -> Self {
        let partitions = partitions.to_vec();
        self.add(
            member,
            What::Assigned {
                generation,
                partitions,
            },
        )
    }

    fn began(self, member: usize, offset: i64) -> Self {
        self.add(
            member,
            What::Began {
                partition: 0,
                offset,
            },
        )
    }

    fn read(self, member: usize, first: i64, next: i64) -> Self {
        self.add(
            member,
            What::Read {
                partition: 0,
                first,
                next,
            },
        )
    }

    fn committed(self, member: usize, generation: i32, offset: i64, outcome: Outcome) -> Self {
        self.add(
            member,
            What::Committed {
                generation,
                partition: 0,
                offset,
                outcome,
            },
        )
    }

    fn is_wrong(&self, finding: &str) {
        let found = judge(&self.events);
        assert!(
            found.len() == 1 && found[0].starts_with(finding),
            "wanted one '{finding}': {found:?}"
        );
    }
}

/// One member reads and commits, another one goes on where it was.
fn good() -> Sketch {
    Sketch::new()
        .assigned(1, 1, &[0, 1])
        .began(1, 0)
        .read(1, 0, 10)
        .committed(1, 1, 10, Outcome::Ok)
        .assigned(1, 2, &[1])
        .assigned(2, 2, &[0])
        .began(2, 10)
        .read(2, 10, 15)
        .committed(2, 2, 15, Outcome::Unknown)
}

#[test]
fn a_good_history_passes_whatever_became_of_an_unanswered_commit() {
    for told in [10, 15] {
        let more = good().assigned(1, 3, &[0]).began(1, told);
        assert_eq!(judge(&more.events), [""; 0]);
    }
}

#[test]
fn a_refused_zombie_is_no_fault() {
    let late = good().committed(1, 1, 12, Outcome::Refused);
    assert_eq!(judge(&late.events), [""; 0]);
}

#[test]
fn two_owners_in_one_generation() {
    good().assigned(3, 2, &[0]).is_wrong("two owners");
}

#[test]
fn a_generation_that_goes_back() {
    good()
        .assigned(1, 1, &[0, 1])
        .is_wrong("generation went back: 1 came to 1 after 2");
    good()
        .assigned(3, 1, &[])
        .is_wrong("generation went back: 3 came to 1 after 2");
}

#[test]
fn a_commit_that_is_forgotten() {
    let committed = good().committed(2, 2, 15, Outcome::Ok).assigned(1, 3, &[0]);
    committed.began(1, 10).is_wrong("lost commit");
}

#[test]
fn an_offset_that_was_seen_and_is_gone() {
    let seen = good().assigned(1, 3, &[0]).began(1, 15);
    seen.assigned(2, 4, &[0])
        .began(2, 10)
        .is_wrong("offset went back");
}

#[test]
fn a_zombie_s_commit_that_succeeds() {
    good()
        .committed(1, 1, 10, Outcome::Ok)
        .is_wrong("late owner");
}

#[test]
fn an_offset_that_nobody_committed() {
    let more = good().assigned(1, 3, &[0]);
    more.began(1, 12).is_wrong("phantom commit");
}

#[test]
fn a_zombie_s_commit_that_was_said_to_be_refused_and_took_effect() {
    let late = good().committed(1, 1, 12, Outcome::Refused);
    late.assigned(1, 3, &[0])
        .began(1, 12)
        .is_wrong("phantom commit");
}

#[test]
fn records_that_nobody_read() {
    Sketch::new()
        .assigned(1, 1, &[0])
        .began(1, 0)
        .read(1, 0, 10)
        .committed(1, 1, 12, Outcome::Ok)
        .is_wrong("skipped");
}

#[test]
fn a_member_that_begins_elsewhere_than_it_was_told() {
    let more = good().assigned(1, 3, &[0]).began(1, 15);
    more.read(1, 16, 17).is_wrong("not where it began");
}

#[test]
fn a_member_that_goes_on_without_asking() {
    let back = good().assigned(1, 3, &[0]);
    back.read(1, 10, 12).is_wrong("not where it began");
}

#[test]
fn a_member_that_goes_on_with_what_it_kept() {
    let kept = good().assigned(2, 3, &[0]).read(2, 15, 17);
    assert_eq!(judge(&kept.events), [""; 0]);
}

#[test]
fn a_member_that_is_told_something_else_in_its_generation() {
    good()
        .assigned(2, 2, &[])
        .is_wrong("another assignment: 2 had [0] in generation 2, then []");
}

#[test]
fn a_commit_of_one_who_is_no_member() {
    let more = good().committed(7, -1, 15, Outcome::Ok);
    assert_eq!(judge(&more.events), [""; 0]);
}

#[test]
fn what_was_asked_before_may_be_older() {
    let mut more = good().assigned(1, 3, &[0]).began(1, 15).began(2, 10);
    let asked = more.events[more.events.len() - 2].begun;
    more.events.last_mut().expect("just added").begun = asked;
    assert_eq!(judge(&more.events), [""; 0]);
}
