//! The leader assigns.

use bytes::Bytes;
use protocol::error_code::ErrorCode;

use super::harness::{
    DELAY, Harness, Log, REBALANCE, assignment, assignments, heartbeat, instance_of, join, sync,
};
use crate::coordinator::reply::{GroupReply, GroupStateName};
use crate::coordinator::request::{GroupRequest, Join, Sync};
use crate::shard::Ticket;

/// Two members that have joined generation 1; the first is the leader.
fn completing() -> (Harness, [(String, Ticket); 2]) {
    let mut h = Harness::new();
    let members = [h.join("g"), h.join("g")];
    h.advance(2 * DELAY);
    assert_eq!(h.joined(members[0].1).generation, 1);
    assert_eq!(h.describe("g").state, GroupStateName::CompletingRebalance);
    (h, members)
}

fn request(sync: Sync) -> GroupRequest {
    GroupRequest::Sync(sync)
}

fn from_leader(members: &[(String, Ticket); 2]) -> GroupRequest {
    let mut sync = sync("g", 1, &members[0].0);
    sync.assignments = assignments(members.iter().map(|(id, _)| id.as_str()));
    request(sync)
}

#[test]
fn wrong_groups_members_generations_and_protocols_are_refused() {
    let (mut h, [(id, _), _]) = completing();
    h.assert_failed(request(sync("", 1, &id)), ErrorCode::InvalidGroupId);
    h.assert_failed(request(sync("none", 1, &id)), ErrorCode::UnknownMemberId);
    h.assert_failed(request(sync("g", 1, "nobody")), ErrorCode::UnknownMemberId);
    h.assert_failed(request(sync("g", 0, &id)), ErrorCode::IllegalGeneration);
    h.assert_failed(request(sync("g", 2, &id)), ErrorCode::IllegalGeneration);
    for (kind, name) in [(Some("connect"), None), (None, Some("sticky"))] {
        let sync = Sync {
            protocol_type: kind.map(str::to_owned),
            protocol_name: name.map(str::to_owned),
            ..sync("g", 1, &id)
        };
        h.assert_failed(request(sync), ErrorCode::InconsistentGroupProtocol);
    }
    let unknown = Sync {
        member: instance_of(&id, "instance"),
        ..sync("g", 1, &id)
    };
    h.assert_failed(request(unknown), ErrorCode::UnknownMemberId);
}

#[test]
fn everybody_is_told_when_the_assignment_is_committed_and_not_before() {
    let (mut h, members) = completing();
    h.commits = Log::Waits;
    let follower = h.send(request(sync("g", 1, &members[1].0)));
    let leader = h.send(from_leader(&members));
    assert_eq!(h.open(), 2);
    assert_eq!(h.describe("g").state, GroupStateName::CompletingRebalance);
    assert_eq!(h.ask(heartbeat("g", 1, &members[0].0)), GroupReply::Done);
    h.release();
    for ((id, _), ticket) in members.iter().zip([leader, follower]) {
        assert_eq!(assignment(h.reply(ticket)), id.as_bytes());
    }
    let described = h.describe("g");
    assert_eq!(
        (described.state, described.protocol_name.as_str()),
        (GroupStateName::Stable, "range")
    );
    for member in &described.members {
        assert_eq!(member.assignment, member.id.as_bytes());
    }
    let stored = h.groups.get("g").unwrap().membership.as_ref().unwrap();
    assert_eq!((stored.generation, stored.members.len()), (1, 2));
    assert_eq!(stored.leader, members[0].0);
    let again = h.ask(request(sync("g", 1, &members[1].0)));
    assert_eq!(
        assignment(Some(&again)),
        members[1].0.as_bytes(),
        "a stable group tells again"
    );
}

#[test]
fn who_is_given_nothing_gets_nothing() {
    let (mut h, members) = completing();
    let follower = h.send(request(sync("g", 1, &members[1].0)));
    h.send(request(sync("g", 1, &members[0].0)));
    let Some(GroupReply::Synced {
        protocol_type,
        protocol_name,
        assignment,
    }) = h.reply(follower)
    else {
        panic!("not synced");
    };
    assert_eq!(
        (protocol_type.as_str(), protocol_name.as_str()),
        ("consumer", "range")
    );
    assert_eq!(*assignment, Bytes::new());
}

#[test]
fn an_assignment_that_is_refused_makes_all_join_again() {
    let (mut h, members) = completing();
    h.commits = Log::Refuses;
    let follower = h.send(request(sync("g", 1, &members[1].0)));
    let leader = h.send(from_leader(&members));
    h.assert_code(leader, ErrorCode::CoordinatorNotAvailable);
    h.assert_code(follower, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
    h.commits = Log::AtOnce;
    let rejoined = members.map(|(id, _)| {
        let ticket = h.send(GroupRequest::Join(join("g", &id)));
        (id, ticket)
    });
    assert_eq!(h.sync_all("g", &rejoined), 2);
}

#[test]
fn an_assignment_larger_than_an_entry_is_refused() {
    let (mut h, members) = completing();
    let mut large = sync("g", 1, &members[0].0);
    large.assignments = vec![(members[0].0.clone(), Bytes::from(vec![0; 5_000]))];
    h.assert_failed(request(large), ErrorCode::UnknownServerError);
    assert!(h.history.is_empty());
}

#[test]
fn the_first_assignment_of_a_generation_holds() {
    let (mut h, members) = completing();
    h.commits = Log::Waits;
    let first = h.send(from_leader(&members));
    let second = h.send(request(sync("g", 1, &members[0].0)));
    h.assert_code(first, ErrorCode::RebalanceInProgress);
    h.release();
    assert_eq!(assignment(h.reply(second)), members[0].0.as_bytes());
    assert_eq!(h.history.len(), 1);
}

#[test]
fn a_sync_while_the_group_prepares_is_told_to_join() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.join("g");
    h.assert_failed(
        request(sync("g", 1, &ids[0])),
        ErrorCode::RebalanceInProgress,
    );
}

#[test]
fn who_does_not_sync_within_the_rebalance_timeout_is_dropped() {
    let (mut h, members) = completing();
    let leader = h.send(from_leader(&members));
    assert_eq!(assignment(h.reply(leader)), members[0].0.as_bytes());
    for _ in 0..REBALANCE / 5_000 {
        for (id, _) in &members {
            assert_eq!(h.ask(heartbeat("g", 1, id)), GroupReply::Done);
        }
        h.advance(5_000);
    }
    h.assert_failed(heartbeat("g", 1, &members[1].0), ErrorCode::UnknownMemberId);
    h.assert_failed(
        heartbeat("g", 1, &members[0].0),
        ErrorCode::RebalanceInProgress,
    );
}

#[test]
fn a_leader_that_never_assigns_is_dropped_and_the_followers_are_told_to_join() {
    let (mut h, members) = completing();
    let follower = h.send(request(sync("g", 1, &members[1].0)));
    for _ in 0..REBALANCE / 5_000 {
        assert_eq!(h.reply(follower), None);
        assert_eq!(h.ask(heartbeat("g", 1, &members[0].0)), GroupReply::Done);
        h.advance(5_000);
    }
    h.assert_code(follower, ErrorCode::RebalanceInProgress);
    h.assert_failed(heartbeat("g", 1, &members[0].0), ErrorCode::UnknownMemberId);
    let again = h.send(GroupRequest::Join(join("g", &members[1].0)));
    assert_eq!(h.joined(again).leader, members[1].0);
}

#[test]
fn a_commit_of_an_assignment_that_is_outdated_changes_nothing() {
    let (mut h, members) = completing();
    h.commits = Log::Waits;
    let leader = h.send(from_leader(&members));
    let other = Join {
        protocols: vec![super::harness::protocol("range", &["u"])],
        ..join("g", &members[1].0)
    };
    h.send(GroupRequest::Join(other));
    h.assert_code(leader, ErrorCode::RebalanceInProgress);
    h.release();
    assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
    assert_eq!(h.history.len(), 1);
}
