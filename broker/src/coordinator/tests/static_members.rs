//! Members with an instance id come back as who they were.

use protocol::error_code::ErrorCode;

use super::harness::{
    DELAY, Harness, Log, REBALANCE, assignment, assignments, heartbeat, instance_of, join_static,
    leave, member, protocol, sync,
};
use crate::coordinator::reply::{GroupReply, GroupStateName, Joined};
use crate::coordinator::request::{GroupRequest, Join, Sync};

/// A stable group in generation 1: instances `a`, the leader, and `b`.
fn stable() -> (Harness, String, String) {
    let mut h = Harness::new();
    let tickets = ["a", "b"].map(|instance| {
        let ticket = h.send(GroupRequest::Join(join_static("g", "", instance)));
        h.advance(1);
        ticket
    });
    h.advance(2 * DELAY);
    let [a, b] = tickets.map(|ticket| h.joined(ticket).member);
    assert!(a.starts_with("a-") && b.starts_with("b-"));
    h.sync_all("g", &[(a.clone(), tickets[0]), (b.clone(), tickets[1])]);
    (h, a, b)
}

fn back(h: &mut Harness, join: Join) -> Joined {
    let reply = h.ask(GroupRequest::Join(join));
    let GroupReply::Joined(joined) = reply else {
        panic!("{reply:?}");
    };
    joined
}

#[test]
fn a_static_follower_comes_back_without_a_rebalance() {
    let (mut h, a, b) = stable();
    let joined = back(&mut h, join_static("g", "", "b"));
    assert_ne!(joined.member, b);
    assert_eq!((joined.generation, joined.leader.as_str()), (1, a.as_str()));
    assert!(!joined.skip_assignment && joined.members.is_empty());
    assert_eq!(h.describe("g").state, GroupStateName::Stable);
    let request = Sync {
        member: instance_of(&joined.member, "b"),
        ..sync("g", 1, &joined.member)
    };
    let reply = h.ask(GroupRequest::Sync(request));
    assert_eq!(
        assignment(Some(&reply)),
        b.as_bytes(),
        "what its former self had"
    );
    let stored = h.groups.get("g").unwrap().membership.as_ref().unwrap();
    assert!(stored.members.contains_key(&joined.member) && !stored.members.contains_key(&b));
}

#[test]
fn the_former_self_is_fenced_everywhere() {
    let (mut h, _, b) = stable();
    back(&mut h, join_static("g", "", "b"));
    let old = instance_of(&b, "b");
    let beat = GroupRequest::Heartbeat {
        group: "g".to_owned(),
        generation: 1,
        member: old.clone(),
    };
    h.assert_failed(beat, ErrorCode::FencedInstanceId);
    let request = Sync {
        member: old.clone(),
        ..sync("g", 1, &b)
    };
    h.assert_failed(GroupRequest::Sync(request), ErrorCode::FencedInstanceId);
    h.assert_failed(
        GroupRequest::Join(join_static("g", &b, "b")),
        ErrorCode::FencedInstanceId,
    );
    let mut commit = super::harness::commit("g", 1, &b, 5);
    commit.member = old;
    h.assert_failed(GroupRequest::Commit(commit), ErrorCode::FencedInstanceId);
    h.assert_failed(heartbeat("g", 1, &b), ErrorCode::UnknownMemberId);
}

#[test]
fn a_static_leader_that_comes_back_must_not_assign() {
    let (mut h, a, _) = stable();
    let joined = back(&mut h, join_static("g", "", "a"));
    assert!(joined.skip_assignment, "it knows that word");
    assert_eq!(joined.leader, joined.member);
    assert_eq!(joined.members.len(), 2);
    let old_client = Join {
        may_skip_assignment: false,
        ..join_static("g", "", "a")
    };
    let again = back(&mut h, old_client);
    assert!(!again.skip_assignment && again.members.is_empty());
    assert_eq!(
        again.leader, joined.member,
        "it does not, so it hears that it is none"
    );
    assert_ne!(again.leader, a);
}

#[test]
fn a_former_self_that_waits_is_fenced() {
    let mut h = Harness::new();
    let first = h.send(GroupRequest::Join(join_static("g", "", "a")));
    let second = h.send(GroupRequest::Join(join_static("g", "", "a")));
    h.assert_code(first, ErrorCode::FencedInstanceId);
    h.advance(DELAY);
    let old = h.joined(second).member;
    h.send(GroupRequest::Join(join_static("g", "", "b")));
    let follower = h.send(GroupRequest::Sync(sync("g", 1, &old)));
    h.assert_code(follower, ErrorCode::RebalanceInProgress);
}

#[test]
fn coming_back_while_the_leader_assigns_begins_anew() {
    let mut h = Harness::new();
    let tickets = ["a", "b"].map(|i| h.send(GroupRequest::Join(join_static("g", "", i))));
    h.advance(2 * DELAY);
    let [a, b] = tickets.map(|ticket| h.joined(ticket).member);
    let syncing = h.send(GroupRequest::Sync(sync("g", 1, &b)));
    let back = h.send(GroupRequest::Join(join_static("g", "", "b")));
    h.assert_code(syncing, ErrorCode::FencedInstanceId);
    assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
    let leader = h.send(GroupRequest::Join(join_static("g", &a, "a")));
    assert_eq!(h.joined(leader).generation, 2);
    assert_eq!(h.joined(back).leader, a);
}

#[test]
fn other_protocols_that_change_the_choice_cause_a_rebalance() {
    let (mut h, ..) = stable();
    let other = Join {
        protocols: vec![protocol("roundrobin", &["t"])],
        ..join_static("g", "", "b")
    };
    h.send(GroupRequest::Join(other));
    assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
}

#[test]
fn a_return_that_the_log_refuses_has_not_happened() {
    let (mut h, _, b) = stable();
    h.commits = Log::Refuses;
    let request = GroupRequest::Join(join_static("g", "", "b"));
    h.assert_failed(request, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.ask(heartbeat("g", 1, &b)), GroupReply::Done);
    assert_eq!(h.describe("g").state, GroupStateName::Stable);
    h.commits = Log::AtOnce;
    assert_ne!(back(&mut h, join_static("g", "", "b")).member, b);
}

#[test]
fn a_return_is_answered_by_the_rebalance_that_overtakes_it() {
    let (mut h, a, _) = stable();
    h.commits = Log::Waits;
    let back = h.send(GroupRequest::Join(join_static("g", "", "b")));
    assert_eq!(h.reply(back), None);
    let leader = h.send(GroupRequest::Join(join_static("g", &a, "a")));
    assert_eq!(h.joined(back).generation, 2);
    h.release();
    assert_eq!(h.joined(leader).members.len(), 2);
}

#[test]
fn a_static_member_stays_through_a_rebalance_until_its_session_ends() {
    let mut h = Harness::new();
    let patient = |instance: &str| Join {
        session_timeout_ms: 3 * REBALANCE,
        ..join_static("g", "", instance)
    };
    let tickets = ["a", "b"].map(|instance| h.send(GroupRequest::Join(patient(instance))));
    h.advance(2 * DELAY);
    let [a, b] = tickets.map(|ticket| h.joined(ticket).member);
    h.sync_all("g", &[(a.clone(), tickets[0]), (b.clone(), tickets[1])]);
    let (new, joining) = h.join("g");
    h.advance(REBALANCE);
    let joined = h.joined(joining);
    assert_eq!(
        (joined.generation, joined.leader.as_str()),
        (2, new.as_str())
    );
    let ids = joined
        .members
        .iter()
        .map(|member| member.id.as_str())
        .collect::<Vec<_>>();
    assert_eq!(ids.len(), 3, "{ids:?}");
    let mut request = sync("g", 2, &new);
    request.assignments = assignments(ids.into_iter());
    let reply = h.ask(GroupRequest::Sync(request));
    assert_eq!(assignment(Some(&reply)), new.as_bytes());
    h.assert_failed(heartbeat("g", 1, &a), ErrorCode::IllegalGeneration);
}

#[test]
fn a_rebalance_to_which_nobody_comes_waits_for_the_sessions() {
    let mut h = Harness::new();
    let long = Join {
        session_timeout_ms: 5 * REBALANCE,
        ..join_static("g", "", "a")
    };
    let ticket = h.send(GroupRequest::Join(long));
    let dynamic = h.join("g");
    h.advance(2 * DELAY);
    let members = [(h.joined(ticket).member, ticket), dynamic];
    h.sync_all("g", &members);
    h.ask(leave("g", vec![member(&members[1].0)]));
    h.advance(4 * REBALANCE);
    assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
    assert_eq!(h.describe("g").members.len(), 1);
    h.advance(REBALANCE);
    assert_eq!(h.describe("g").state, GroupStateName::Empty);
}
