//! Members go, or are silent.

use protocol::error_code::ErrorCode;

use super::harness::{
    DELAY, EXPIRY, Harness, Log, SESSION, commit, heartbeat, instance_of, join, join_static, leave,
    member, sync,
};
use crate::coordinator::reply::{GroupReply, GroupStateName};
use crate::coordinator::request::{GroupRequest, Join};

fn left(codes: &[ErrorCode]) -> GroupReply {
    GroupReply::Left(codes.to_vec())
}

fn generation(h: &Harness, group: &str) -> (i32, usize) {
    let membership = h.groups.get(group).unwrap().membership.as_ref().unwrap();
    (membership.generation, membership.members.len())
}

#[test]
fn heartbeats_are_refused_to_strangers_and_former_generations() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.assert_failed(heartbeat("", 1, &ids[0]), ErrorCode::InvalidGroupId);
    h.assert_failed(heartbeat("none", 1, &ids[0]), ErrorCode::UnknownMemberId);
    h.assert_failed(heartbeat("g", 1, "nobody"), ErrorCode::UnknownMemberId);
    h.assert_failed(heartbeat("g", 0, &ids[0]), ErrorCode::IllegalGeneration);
    assert_eq!(h.ask(heartbeat("g", 1, &ids[0])), GroupReply::Done);
}

#[test]
fn a_deposed_coordinator_confirms_no_heartbeat() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.confirms = Log::Waits;
    let tickets = [(); 3].map(|()| h.send(heartbeat("g", 1, &ids[0])));
    assert_eq!(
        h.asked.len(),
        1,
        "who came later waits for the next confirmation"
    );
    h.settle_confirm(true);
    assert_eq!(h.reply(tickets[0]), Some(&GroupReply::Done));
    assert_eq!((h.open(), h.asked.len()), (2, 1), "which many share");
    h.settle_confirm(false);
    h.assert_code(tickets[1], ErrorCode::CoordinatorNotAvailable);
    h.assert_code(tickets[2], ErrorCode::CoordinatorNotAvailable);
    assert!(h.asked.is_empty());
}

#[test]
fn the_last_who_leaves_is_answered_when_the_log_knows_that_the_group_is_empty() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    assert_eq!(
        h.ask(leave("g", vec![member(&ids[0])])),
        left(&[ErrorCode::None])
    );
    assert_eq!(generation(&h, "g"), (1, 2));
    h.commits = Log::Waits;
    let ticket = h.send(leave("g", vec![member(&ids[1])]));
    assert_eq!(h.reply(ticket), None);
    assert_eq!(h.describe("g").state, GroupStateName::Empty);
    h.release();
    assert_eq!(h.reply(ticket), Some(&left(&[ErrorCode::None])));
    assert_eq!(generation(&h, "g"), (2, 0));
    let described = h.describe("g");
    assert_eq!(
        (described.state, described.protocol_type.as_str()),
        (GroupStateName::Empty, "consumer")
    );
}

#[test]
fn that_a_group_is_empty_is_told_the_log_until_it_knows() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.commits = Log::Refuses;
    let ticket = h.send(leave("g", vec![member(&ids[0])]));
    h.assert_code(ticket, ErrorCode::CoordinatorNotAvailable);
    h.advance(EXPIRY);
    assert_eq!(h.describe("g").state, GroupStateName::Empty);
    assert_eq!(generation(&h, "g"), (1, 1));
    h.commits = Log::AtOnce;
    h.advance(1_000);
    assert_eq!(generation(&h, "g"), (2, 0));
}

#[test]
fn members_leave_in_a_batch_each_with_its_own_outcome() {
    let mut h = Harness::new();
    let still = h.send(GroupRequest::Join(join_static("g", "", "still")));
    let (dynamic, _) = h.join("g");
    h.advance(2 * DELAY);
    let still = h.joined(still).member;
    let first = Join {
        id_required: true,
        ..join("g", "")
    };
    let GroupReply::Failed {
        member: pending, ..
    } = h.ask(GroupRequest::Join(first))
    else {
        panic!("no id");
    };
    let all = vec![
        member("nobody"),
        instance_of("", "unknown"),
        instance_of(&dynamic, "still"),
        member(&pending),
        instance_of("", "still"),
        instance_of(&still, "still"),
        member(""),
    ];
    let codes = [
        ErrorCode::UnknownMemberId,
        ErrorCode::UnknownMemberId,
        ErrorCode::FencedInstanceId,
        ErrorCode::None,
        ErrorCode::None,
        ErrorCode::UnknownMemberId,
        ErrorCode::UnknownMemberId,
    ];
    assert_eq!(h.ask(leave("g", all)), left(&codes));
    assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
    assert_eq!(h.describe("g").members.len(), 1);
    h.assert_failed(
        GroupRequest::Join(join("g", &pending)),
        ErrorCode::UnknownMemberId,
    );
}

#[test]
fn leaving_what_is_not_there_is_answered_member_by_member() {
    let mut h = Harness::new();
    let reply = h.ask(leave("none", vec![member("a"), member("b")]));
    assert_eq!(reply, left(&[ErrorCode::UnknownMemberId; 2]));
    h.assert_failed(leave("", vec![member("a")]), ErrorCode::InvalidGroupId);
}

#[test]
fn who_leaves_while_it_waits_is_answered_both_times() {
    let mut h = Harness::new();
    let (id, joining) = h.join("g");
    assert_eq!(
        h.ask(leave("g", vec![member(&id)])),
        left(&[ErrorCode::None])
    );
    h.assert_code(joining, ErrorCode::UnknownMemberId);
    h.advance(DELAY);
    assert_eq!(generation(&h, "g"), (1, 0));
    let members = [h.join("g"), h.join("g")];
    h.advance(2 * DELAY);
    let follower = &members[1].0;
    let syncing = h.send(GroupRequest::Sync(sync("g", 2, follower)));
    assert_eq!(
        h.ask(leave("g", vec![member(follower)])),
        left(&[ErrorCode::None])
    );
    h.assert_code(syncing, ErrorCode::UnknownMemberId);
}

#[test]
fn a_silent_member_is_dropped_and_the_others_join_again() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    h.advance(SESSION - 1);
    assert_eq!(h.ask(heartbeat("g", 1, &ids[0])), GroupReply::Done);
    h.advance(1);
    h.assert_failed(heartbeat("g", 1, &ids[0]), ErrorCode::RebalanceInProgress);
    h.assert_failed(heartbeat("g", 1, &ids[1]), ErrorCode::UnknownMemberId);
    h.advance(SESSION);
    assert_eq!(h.describe("g").state, GroupStateName::Empty);
    assert_eq!(h.groups.get("g").map(|_| generation(&h, "g")), Some((2, 0)));
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    for offset in 0..5 {
        h.advance(SESSION - 1);
        let reply = h.ask(GroupRequest::Commit(commit("g", 1, &ids[0], offset)));
        assert_eq!(reply, GroupReply::Offsets(vec![ErrorCode::None]));
    }
    assert_eq!(h.describe("g").state, GroupStateName::Stable);
}

#[test]
fn who_waits_for_the_others_is_not_silent() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    let rejoining = h.send(GroupRequest::Join(join("g", &ids[0])));
    for _ in 0..4 {
        h.advance(SESSION - 1);
        h.assert_failed(heartbeat("g", 1, &ids[1]), ErrorCode::RebalanceInProgress);
    }
    assert_eq!(h.reply(rejoining), None);
    h.advance(SESSION);
    assert_eq!(h.joined(rejoining).generation, 2, "the other one was");
    h.advance(SESSION);
    assert_eq!(
        h.describe("g").state,
        GroupStateName::Empty,
        "its time began with the answer"
    );
}
