//! One coordinator ends, the next begins from what is committed.

use protocol::error_code::ErrorCode;

use super::harness::{
    DELAY, Harness, Log, SESSION, assignment, assignments, commit, heartbeat, join, leave, member,
    simple, sync,
};
use crate::coordinator::reply::{GroupReply, GroupStateName};
use crate::coordinator::request::GroupRequest;

#[test]
fn a_stable_group_goes_on_without_a_rebalance_and_with_fresh_sessions() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    let before = h.describe("g");
    h.advance(SESSION - 1);
    h.fail_over();
    h.advance(SESSION - 1);
    assert_eq!(h.describe("g"), before);
    for id in &ids {
        assert_eq!(h.ask(heartbeat("g", 1, id)), GroupReply::Done);
        let reply = h.ask(GroupRequest::Sync(sync("g", 1, id)));
        assert_eq!(assignment(Some(&reply)), id.as_bytes());
    }
    h.ask(GroupRequest::Commit(commit("g", 1, &ids[0], 5)));
    h.fail_over();
    assert_eq!(h.offset("g", "t", 0), 5);
    h.advance(SESSION);
    assert_eq!(h.describe("g").state, GroupStateName::Empty);
}

#[test]
fn everybody_who_waits_is_told_once_to_look_elsewhere() {
    let mut h = Harness::new();
    let ids = h.stable("stable", 1);
    let completing = [h.join("completing"), h.join("completing")];
    h.advance(2 * DELAY);
    let mut tickets = vec![h.join("preparing").1];
    h.commits = Log::Waits;
    h.confirms = Log::Waits;
    for (id, _) in &completing {
        tickets.push(h.send(GroupRequest::Sync(sync("completing", 1, id))));
    }
    tickets.push(h.send(simple("simple", 5)));
    tickets.push(h.send(leave("stable", vec![member(&ids[0])])));
    tickets.push(h.send(GroupRequest::List));
    tickets.push(h.send(heartbeat("stable", 1, "nobody")));
    assert_eq!(h.open(), tickets.len());
    h.resign(0);
    for ticket in tickets {
        h.assert_code(ticket, ErrorCode::NotCoordinator);
    }
    assert_eq!(h.open(), 0);
}

#[test]
fn a_coordinator_that_dies_in_a_rebalance_leaves_the_last_generation() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    let (new, joining) = h.join("g");
    let again = h.send(GroupRequest::Join(join("g", &ids[0])));
    assert_eq!(h.joined(again).generation, 2);
    assert_eq!(h.joined(joining).generation, 2);
    h.fail_over();
    h.assert_failed(
        GroupRequest::Sync(sync("g", 2, &ids[0])),
        ErrorCode::IllegalGeneration,
    );
    h.assert_failed(
        GroupRequest::Sync(sync("g", 2, &new)),
        ErrorCode::UnknownMemberId,
    );
    h.assert_failed(
        GroupRequest::Join(join("g", &new)),
        ErrorCode::UnknownMemberId,
    );
    assert_eq!(h.ask(heartbeat("g", 1, &ids[0])), GroupReply::Done);
    let members = [h.join("g"), {
        let ticket = h.send(GroupRequest::Join(join("g", &ids[0])));
        (ids[0].clone(), ticket)
    }];
    assert_eq!(h.sync_all("g", &members), 2);
}

#[test]
fn a_proposal_of_the_former_coordinator_may_still_be_committed() {
    let mut h = Harness::new();
    let (id, ticket) = h.join("g");
    h.advance(2 * DELAY);
    assert_eq!(h.joined(ticket).generation, 1);
    h.commits = Log::Waits;
    let mut request = sync("g", 1, &id);
    request.assignments = assignments([id.as_str()].into_iter());
    let syncing = h.send(GroupRequest::Sync(request));
    h.resign(1);
    h.assert_code(syncing, ErrorCode::NotCoordinator);
    h.begin();
    let reply = h.ask(GroupRequest::Sync(sync("g", 1, &id)));
    assert_eq!(assignment(Some(&reply)), id.as_bytes());
}

#[test]
fn empty_groups_are_not_live_and_rise_from_their_generation() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.ask(leave("g", vec![member(&ids[0])]));
    h.ask(simple("simple", 5));
    h.fail_over();
    assert!(h.coordinator.as_ref().unwrap().live.is_empty());
    let ticket = h.send(GroupRequest::Join(join("g", "")));
    h.advance(DELAY);
    assert_eq!(h.joined(ticket).generation, 3);
    let ticket = h.send(GroupRequest::Join(join("simple", "")));
    h.advance(DELAY);
    assert_eq!(h.joined(ticket).generation, 1);
    assert_eq!(h.offset("simple", "t", 0), 5);
}

#[test]
fn two_coordinators_with_one_seed_give_different_ids() {
    let mut h = Harness::new();
    let (first, _) = h.join("g");
    h.advance(1);
    h.fail_over();
    let (second, _) = h.join("g");
    assert_ne!(first, second);
}
