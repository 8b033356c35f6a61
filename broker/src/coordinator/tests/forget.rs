//! Offsets of deleted topics, and of later ones of the same name.

use super::harness::{EXPIRY, Harness, Log, commit, offset_of, simple};
use crate::coordinator::request::GroupRequest;

/// Long enough for a look, and one after it.
const LOOKS: u64 = 2_500;

/// With a topic `t`, nothing left to look for.
fn quiet() -> Harness {
    let mut h = Harness::new();
    h.topics.put("t", 1);
    h.advance(LOOKS);
    h
}

/// Stored offsets, whether they are told or not.
fn left(h: &Harness) -> usize {
    h.groups
        .iter()
        .map(|(_, group)| group.offsets_count())
        .sum()
}

#[test]
fn offsets_of_a_deleted_topic_are_not_told_at_once_and_forgotten_soon() {
    let mut h = quiet();
    h.topics.put("u", 1);
    let mut both = commit("g", -1, "", 5);
    both.offsets.push(offset_of("u", 0, 6));
    h.ask(GroupRequest::Commit(both));
    h.ask(simple("other", 7));
    h.topic_deleted("t");
    assert_eq!((h.offset("g", "t", 0), h.offset("g", "u", 0)), (-1, 6));
    assert_eq!(left(&h), 3);
    h.advance(LOOKS);
    assert_eq!((h.offset("g", "t", 0), h.offset("g", "u", 0)), (-1, 6));
    assert_eq!(left(&h), 1);
    h.advance(EXPIRY);
    assert!(h.groups.get("other").is_none(), "it has nothing else");
    let settled = h.history.len();
    h.advance(EXPIRY);
    assert_eq!(h.history.len(), settled, "and then no more");
}

#[test]
fn a_refused_deletion_is_tried_again() {
    let mut h = quiet();
    h.ask(simple("g", 5));
    h.commits = Log::Refuses;
    h.topic_deleted("t");
    h.advance(LOOKS);
    assert_eq!(left(&h), 1, "nothing could be appended");
    h.commits = Log::AtOnce;
    h.advance(LOOKS);
    assert_eq!(left(&h), 0);
}

/// The client was let in before the topic was gone.
#[test]
fn a_commit_that_was_under_way_when_its_topic_went_is_forgotten_too() {
    let mut h = quiet();
    h.commits = Log::Waits;
    h.send(simple("g", 5));
    h.topic_deleted("t");
    h.advance(2 * LOOKS);
    assert_eq!(h.proposed.len(), 1, "nothing is known yet");
    h.release();
    assert_eq!((left(&h), h.offset("g", "t", 0)), (1, -1));
    h.advance(LOOKS);
    assert_eq!(left(&h), 0);
}

#[test]
fn deletions_under_way_are_not_proposed_over_and_over() {
    let mut h = quiet();
    h.ask(simple("g", 5));
    h.commits = Log::Waits;
    h.topic_deleted("t");
    h.advance(4 * LOOKS);
    assert_eq!(h.proposed.len(), 1);
    h.release();
    assert_eq!(left(&h), 0);
}

/// Its deletion is committed after the commit to the topic that came instead.
#[test]
fn offsets_of_a_later_topic_of_that_name_stay() {
    let mut h = quiet();
    let mut both = commit("g", -1, "", 5);
    both.offsets.push(offset_of("t", 1, 6));
    h.ask(GroupRequest::Commit(both));
    h.commits = Log::Waits;
    h.topic_deleted("t");
    h.advance(LOOKS);
    assert_eq!(h.proposed.len(), 1, "the deletion");
    h.topics.put("t", 2);
    assert_eq!(h.offset("g", "t", 1), -1, "of the former topic");
    h.send(simple("g", 7));
    // The log may hold them in this order too, where another coordinator took the commit.
    h.proposed.swap(0, 1);
    h.release();
    h.advance(LOOKS);
    assert_eq!((h.offset("g", "t", 0), h.offset("g", "t", 1)), (7, -1));
    assert_eq!(left(&h), 1);
}

/// A broker applies the metadata again after its restart: for a while it knows a topic as deleted, or not at all, that
/// is there.
#[test]
fn a_coordinator_with_older_metadata_than_a_commit_forgets_nothing_of_it() {
    let mut h = quiet();
    h.ask(simple("g", 5));
    h.topic_deleted("t");
    let older = h.topics.clone();
    h.topics.put("t", 1);
    h.ask(simple("g", 7));
    let newer = std::mem::replace(&mut h.topics, older);
    h.fail_over();
    h.advance(LOOKS);
    assert_eq!(h.offset("g", "t", 0), 7);
    h.topics = newer;
    h.advance(LOOKS);
    assert_eq!(h.offset("g", "t", 0), 7);
    h.topic_deleted("t");
    h.advance(LOOKS);
    assert_eq!(left(&h), 0);
}

/// It went while there was no coordinator, or the metadata came whole.
#[test]
fn a_new_coordinator_forgets_what_it_never_heard_of() {
    let mut h = quiet();
    h.ask(simple("g", 5));
    h.topics.put("t", 0);
    h.fail_over();
    assert_eq!(h.offset("g", "t", 0), -1);
    h.advance(LOOKS);
    assert_eq!(left(&h), 0);
}
