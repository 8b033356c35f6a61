//! Groups are described, listed and deleted.

use protocol::error_code::ErrorCode;

use super::harness::{Harness, Log, heartbeat, join, leave, member, simple, subscription};
use crate::coordinator::reply::{GroupReply, GroupStateName};
use crate::coordinator::request::{GroupRequest, Join};

fn delete(group: &str) -> GroupRequest {
    GroupRequest::Delete {
        group: group.to_owned(),
    }
}

fn list(h: &mut Harness) -> Vec<(String, String, GroupStateName)> {
    let GroupReply::Listed(groups) = h.ask(GroupRequest::List) else {
        panic!("no list");
    };
    assert!(groups.iter().all(|group| group.group_type == "classic"));
    let groups = groups.into_iter();
    groups
        .map(|group| (group.group, group.protocol_type, group.state))
        .collect()
}

#[test]
fn members_are_described_with_what_they_have_when_the_group_is_stable() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    let described = h.describe("g");
    assert_eq!(described.protocol_type, "consumer");
    assert_eq!(described.protocol_name, "range");
    assert_eq!(described.members.len(), 2);
    for member in &described.members {
        assert_eq!(member.client_id, "client");
        assert_eq!(member.client_host, "/127.0.0.1");
        assert_eq!(member.subscription, subscription(&["t"]));
        assert_eq!(member.assignment, member.id.as_bytes());
    }
    h.send(GroupRequest::Join(join("g", &ids[0])));
    let described = h.describe("g");
    assert_eq!(described.state, GroupStateName::PreparingRebalance);
    assert_eq!(described.protocol_name, "");
    for member in &described.members {
        assert!(member.subscription.is_empty());
        assert_eq!(member.assignment, member.id.as_bytes(), "what it had");
    }
    h.send(GroupRequest::Join(join("g", &ids[1])));
    let described = h.describe("g");
    assert_eq!(described.state, GroupStateName::CompletingRebalance);
    for member in &described.members {
        assert_eq!(member.assignment, member.id.as_bytes(), "what it had");
    }
    // That generation is given up for the next.
    h.send(GroupRequest::Join(join("g", "")));
    let described = h.describe("g");
    assert_eq!(described.state, GroupStateName::PreparingRebalance);
    assert!(described.members.iter().all(|m| m.assignment.is_empty()));
    let dead = h.describe("none");
    assert_eq!((dead.state, dead.members.len()), (GroupStateName::Dead, 0));
}

#[test]
fn groups_of_all_kinds_are_listed_by_name() {
    let mut h = Harness::new();
    h.ask(simple("z", 5));
    h.ask(simple("e", 5));
    let ids = h.stable("e", 1);
    h.ask(leave("e", vec![member(&ids[0])]));
    h.stable("s", 1);
    h.send(GroupRequest::Join(join("p", "")));
    let row = |name: &str, kind: &str, state| (name.to_owned(), kind.to_owned(), state);
    let rows = [
        row("e", "consumer", GroupStateName::Empty),
        row("p", "consumer", GroupStateName::PreparingRebalance),
        row("s", "consumer", GroupStateName::Stable),
        row("z", "", GroupStateName::Empty),
    ];
    assert_eq!(list(&mut h), rows);
}

#[test]
fn reads_need_a_leader_that_is_confirmed() {
    let mut h = Harness::new();
    h.stable("g", 1);
    h.confirms = Log::Waits;
    let describe = GroupRequest::Describe {
        group: "g".to_owned(),
    };
    let tickets = [h.send(describe), h.send(GroupRequest::List)];
    assert_eq!(h.open(), 2);
    h.settle_confirm(false);
    h.settle_confirm(false);
    for ticket in tickets {
        h.assert_code(ticket, ErrorCode::CoordinatorNotAvailable);
    }
}

#[test]
fn only_a_group_without_members_is_deleted_and_its_offsets_go_with_it() {
    let mut h = Harness::new();
    h.assert_failed(delete("g"), ErrorCode::GroupIdNotFound);
    h.ask(simple("g", 5));
    let ids = h.stable("g", 1);
    h.assert_failed(delete("g"), ErrorCode::NonEmptyGroup);
    h.ask(leave("g", vec![member(&ids[0])]));
    assert_eq!(h.offset("g", "t", 0), 5);
    h.commits = Log::Waits;
    let ticket = h.send(delete("g"));
    assert_eq!(h.reply(ticket), None);
    assert_eq!(h.offset("g", "t", 0), 5);
    h.release();
    assert_eq!(h.reply(ticket), Some(&GroupReply::Done));
    assert_eq!(h.offset("g", "t", 0), -1);
    assert!(h.groups.is_empty());
    assert_eq!(list(&mut h), []);
    h.assert_failed(delete("g"), ErrorCode::GroupIdNotFound);
    h.ask(simple("g", 6));
    assert_eq!(h.ask(delete("g")), GroupReply::Done);
}

#[test]
fn a_deletion_forgets_the_ids_that_were_given_out() {
    let mut h = Harness::new();
    let first = Join {
        id_required: true,
        ..join("g", "")
    };
    let GroupReply::Failed { member: id, .. } = h.ask(GroupRequest::Join(first)) else {
        panic!("no id");
    };
    assert_eq!(h.ask(delete("g")), GroupReply::Done);
    h.assert_failed(
        GroupRequest::Join(join("g", &id)),
        ErrorCode::UnknownMemberId,
    );
    assert_eq!(list(&mut h), []);
}

#[test]
fn a_deletion_right_after_the_last_one_left_is_of_the_empty_group() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.commits = Log::Waits;
    h.send(leave("g", vec![member(&ids[0])]));
    let ticket = h.send(delete("g"));
    h.assert_failed(heartbeat("g", 1, &ids[0]), ErrorCode::UnknownMemberId);
    h.release();
    assert_eq!(h.reply(ticket), Some(&GroupReply::Done));
    assert!(h.groups.is_empty());
    h.commits = Log::Waits;
    let joining = h.send(GroupRequest::Join(join("g", "")));
    h.advance(10_000);
    assert_eq!(h.joined(joining).generation, 1);
}

#[test]
fn a_deletion_of_an_empty_group_that_the_log_does_not_know_of_needs_no_more_news() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.commits = Log::Refuses;
    h.send(leave("g", vec![member(&ids[0])]));
    h.commits = Log::AtOnce;
    assert_eq!(h.ask(delete("g")), GroupReply::Done);
    h.advance(60_000);
    assert!(h.groups.is_empty(), "it does not come back");
}
