//! A coordinator is another one's successor, in the middle of anything.

use bytes::BytesMut;

use super::*;
use crate::coordinator::reply::GroupStateName;
use crate::coordinator::state::Groups;
use crate::coordinator::tests::harness::{Log, REBALANCE, SESSION};

/// What is replicated, through its bytes.
fn reread(h: &mut Harness) {
    let mut bytes = BytesMut::new();
    h.groups.encode(&mut bytes);
    let rest = &mut &bytes[..];
    let groups = Groups::decode(rest);
    assert!(rest.is_empty());
    assert_eq!(groups.as_ref(), Some(&h.groups));
    for len in 0..bytes.len() {
        assert_ne!(Groups::decode(&mut &bytes[..len]).as_ref(), Some(&h.groups));
    }
}

#[test]
fn members_go_on_where_they_were_in_the_middle_of_a_reconciliation() {
    let mut h = harness(6);
    let mut all = vec![Consumer::join(&mut h, "one", &["t"])];
    all.push(Consumer::join(&mut h, "two", &["t"]));
    all.push(Consumer::join(&mut h, "three", &["t"]));
    all[0].beats(&mut h);
    assert_eq!(describe(&mut h).state, GroupStateName::Reconciling);
    reread(&mut h);
    let before = describe(&mut h);
    h.fail_over();
    assert_eq!(describe(&mut h), before);
    settle(&mut h, &mut all);
    assert!(all.iter().all(|one| one.owned.len() == 2));
    assert_eq!(describe(&mut h).state, GroupStateName::Stable);
    assert_eq!(describe(&mut h).epoch, before.epoch);
}

#[test]
fn an_answer_that_was_committed_and_not_heard_is_told_again() {
    let mut h = harness(4);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    let mut two = Consumer::join(&mut h, "two", &["t"]);
    one.beats(&mut h);
    one.beats(&mut h);
    h.commits = Log::Waits;
    let ticket = two.sends(&mut h);
    h.resign(usize::MAX);
    h.assert_code(ticket, ErrorCode::NotCoordinator);
    h.begin();
    h.release();
    assert!(two.beats(&mut h), "its partitions are free, and its own");
    assert_eq!(two.owned.len(), 2);
    assert!(!one.beats(&mut h));
}

#[test]
fn what_was_not_committed_has_not_happened() {
    let mut h = harness(4);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    h.commits = Log::Waits;
    let join = h.send(GroupRequest::ConsumerBeat(join("two", &["t"])));
    let waits = one.sends(&mut h);
    h.resign(0);
    for ticket in [join, waits] {
        h.assert_code(ticket, ErrorCode::NotCoordinator);
    }
    h.begin();
    h.release();
    assert!(!one.beats(&mut h));
    assert_eq!((one.epoch, one.owned.len()), (1, 4));
    assert_eq!(h.open(), 0);
}

#[test]
fn sessions_and_the_time_to_give_up_begin_anew() {
    let mut h = harness(4);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    Consumer::join(&mut h, "two", &["t"]);
    one.beats(&mut h);
    h.advance(SESSION - 1);
    h.fail_over();
    h.advance(SESSION - 1);
    assert_eq!(describe(&mut h).members.len(), 2);
    one.beats(&mut h);
    h.advance(1);
    assert_eq!(
        describe(&mut h).members.len(),
        1,
        "the other one was silent"
    );

    let mut h = harness(4);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    Consumer::join(&mut h, "two", &["t"]);
    let stubborn = one.clone();
    one.beats(&mut h);
    h.fail_over();
    let mut waited_ms = 0;
    while waited_ms < REBALANCE {
        assert_eq!(
            beaten(&h.ask(GroupRequest::ConsumerBeat(stubborn.says()))).epoch,
            1
        );
        h.advance(SESSION / 2);
        waited_ms += SESSION / 2;
    }
    stubborn.fails(&mut h, ErrorCode::UnknownMemberId);
}
