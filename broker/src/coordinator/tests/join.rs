//! Joining, and the way from one generation to the next.

use bytes::Bytes;
use protocol::error_code::ErrorCode;

use super::harness::{
    DELAY, Harness, Log, REBALANCE, SESSION, assignments, config, failure, heartbeat, join,
    protocol, subscription, sync,
};
use crate::coordinator::core::Config;
use crate::coordinator::reply::{GroupReply, GroupStateName};
use crate::coordinator::request::{GroupRequest, Join};

fn request(join: Join) -> GroupRequest {
    GroupRequest::Join(join)
}

#[test]
fn a_join_without_group_session_timeout_or_known_id_fails() {
    let mut h = Harness::new();
    h.assert_failed(request(join("", "")), ErrorCode::InvalidGroupId);
    for session_timeout_ms in [5_999, 1_800_001] {
        let join = Join {
            session_timeout_ms,
            ..join("g", "")
        };
        h.assert_failed(request(join), ErrorCode::InvalidSessionTimeout);
    }
    h.assert_failed(request(join("g", "nobody")), ErrorCode::UnknownMemberId);
    assert_eq!(h.describe("g").state, GroupStateName::Dead);
    h.stable("g", 1);
    h.assert_failed(request(join("g", "nobody")), ErrorCode::UnknownMemberId);
}

#[test]
fn an_id_is_given_first_and_forgotten_after_the_session_timeout() {
    let mut h = Harness::new();
    let first = Join {
        id_required: true,
        ..join("g", "")
    };
    let reply = h.ask(request(first));
    let GroupReply::Failed { code, member } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(code, ErrorCode::MemberIdRequired);
    let uuid = member.strip_prefix("client-").unwrap();
    let lens = uuid.split('-').map(str::len).collect::<Vec<_>>();
    assert_eq!(lens, [8, 4, 4, 4, 12], "{uuid}");
    assert_eq!(h.describe("g").state, GroupStateName::Empty);
    h.advance(SESSION);
    h.assert_failed(request(join("g", &member)), ErrorCode::UnknownMemberId);
    assert_eq!(
        h.describe("g").state,
        GroupStateName::Dead,
        "nothing is left of it"
    );
}

#[test]
fn protocols_that_do_not_fit_are_refused() {
    let mut h = Harness::new();
    let without = Join {
        protocols: Vec::new(),
        ..join("g", "")
    };
    h.assert_failed(request(without), ErrorCode::InconsistentGroupProtocol);
    let untyped = Join {
        protocol_type: String::new(),
        ..join("g", "")
    };
    h.assert_failed(request(untyped), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(h.describe("g").state, GroupStateName::Dead);
    let ids = h.stable("g", 1);
    let typed = Join {
        protocol_type: "connect".to_owned(),
        ..join("g", "")
    };
    h.assert_failed(request(typed), ErrorCode::InconsistentGroupProtocol);
    let foreign = Join {
        protocols: vec![protocol("sticky", &["t"])],
        ..join("g", &ids[0])
    };
    h.assert_failed(request(foreign), ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn the_first_rebalance_waits_for_more_members_up_to_the_rebalance_timeout() {
    let mut h = Harness::new();
    let patience = |id: &str| Join {
        rebalance_timeout_ms: 2 * DELAY + 500,
        ..join("g", id)
    };
    let first = h.send(request(patience("")));
    h.advance(DELAY - 1);
    let second = h.send(request(patience("")));
    h.advance(1);
    assert_eq!(h.open(), 2, "a member came, so it waits once more");
    let third = h.send(request(patience("")));
    h.advance(DELAY);
    assert_eq!(
        h.open(),
        3,
        "and once more, for what is left of the rebalance timeout"
    );
    h.advance(500);
    let leader = h.joined(first);
    assert_eq!(
        (leader.generation, leader.protocol_name.as_str()),
        (1, "range")
    );
    assert_eq!(leader.leader, leader.member, "who came first");
    assert_eq!(leader.members.len(), 3);
    assert_eq!(leader.members[0].subscription, subscription(&["t"]));
    for follower in [second, third] {
        let joined = h.joined(follower);
        assert_eq!(joined.leader, leader.member);
        assert!(joined.members.is_empty());
    }
}

#[test]
fn without_a_delay_the_first_member_is_alone_at_once() {
    let mut h = Harness::with(Config {
        initial_rebalance_delay_ms: 0,
        ..config()
    });
    let (_, ticket) = h.join("g");
    h.advance(0);
    assert_eq!(h.joined(ticket).generation, 1);
}

#[test]
fn a_new_member_of_a_stable_group_makes_the_others_join_again() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    let (new, joining) = h.join("g");
    assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
    for id in &ids {
        h.assert_failed(heartbeat("g", 1, id), ErrorCode::RebalanceInProgress);
    }
    let mut members = vec![(new, joining)];
    for id in &ids {
        assert_eq!(h.open(), members.len(), "it waits for all");
        members.push((id.clone(), h.send(request(join("g", id)))));
    }
    assert_eq!(h.joined(joining).leader, ids[0], "the leader stays");
    assert_eq!(h.sync_all("g", &members), 2);
    assert_eq!(h.describe("g").state, GroupStateName::Stable);
}

#[test]
fn who_does_not_join_again_in_time_is_dropped_and_the_leader_replaced() {
    let mut h = Harness::new();
    let ids = h.stable("g", 3);
    let again = h.send(request(join("g", &ids[2])));
    assert_eq!(
        h.joined(again).generation,
        1,
        "an unchanged follower causes nothing"
    );
    let (new, joining) = h.join("g");
    let rejoining = h.send(request(join("g", &ids[2])));
    for _ in 0..REBALANCE / 5_000 {
        assert_eq!(h.open(), 2);
        for id in &ids[..2] {
            h.assert_failed(heartbeat("g", 1, id), ErrorCode::RebalanceInProgress);
        }
        h.advance(5_000);
    }
    let joined = h.joined(rejoining);
    assert_eq!(
        (joined.generation, joined.leader.as_str()),
        (2, ids[2].as_str())
    );
    assert_eq!(joined.members.len(), 2);
    assert_eq!(
        h.joined(joining).leader,
        ids[2],
        "who came before the new one"
    );
    for id in &ids[..2] {
        h.assert_failed(heartbeat("g", 1, id), ErrorCode::UnknownMemberId);
    }
    assert_ne!(new, ids[2]);
}

#[test]
fn the_leader_forces_a_rebalance_and_a_follower_only_with_other_metadata() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    let follower = h.ask(request(join("g", &ids[1])));
    let GroupReply::Joined(joined) = follower else {
        panic!("{follower:?}");
    };
    assert_eq!((joined.generation, joined.members.len()), (1, 0));
    let leader = h.send(request(join("g", &ids[0])));
    assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
    let follower = h.send(request(join("g", &ids[1])));
    assert_eq!(h.joined(leader).generation, 2);
    h.sync_all("g", &[(ids[0].clone(), leader), (ids[1].clone(), follower)]);
    let other = Join {
        protocols: vec![protocol("range", &["t", "u"])],
        ..join("g", &ids[1])
    };
    h.send(request(other));
    assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
}

#[test]
fn a_lost_join_answer_is_given_again_while_the_leader_assigns() {
    let mut h = Harness::new();
    let members = [h.join("g"), h.join("g")];
    h.advance(2 * DELAY);
    for (id, ticket) in &members {
        let again = h.ask(request(join("g", id)));
        assert_eq!(again, GroupReply::Joined(h.joined(*ticket)));
    }
    let waiting = h.send(GroupRequest::Sync(sync("g", 1, &members[1].0)));
    let other = Join {
        protocols: vec![protocol("range", &["u"])],
        ..join("g", &members[0].0)
    };
    h.send(request(other));
    h.assert_code(waiting, ErrorCode::RebalanceInProgress);
}

#[test]
fn the_protocol_with_most_votes_wins_of_those_that_all_speak() {
    let mut h = Harness::new();
    let named = |names: &[&str]| Join {
        protocols: names.iter().map(|name| protocol(name, &["t"])).collect(),
        ..join("g", "")
    };
    let tickets = [
        h.send(request(named(&["own", "range", "sticky"]))),
        h.send(request(named(&["sticky", "range"]))),
        h.send(request(named(&["sticky", "range", "other"]))),
    ];
    h.advance(2 * DELAY);
    assert_eq!(h.joined(tickets[0]).protocol_name, "sticky");
}

#[test]
fn a_full_group_takes_nobody_and_a_known_member_still() {
    let mut h = Harness::new();
    let ids = h.stable("g", 4);
    h.assert_failed(request(join("g", "")), ErrorCode::GroupMaxSizeReached);
    let known = h.send(request(join("g", &ids[0])));
    assert_eq!(h.reply(known), None);
    for id in &ids[1..] {
        h.send(request(join("g", id)));
    }
    assert_eq!(h.joined(known).members.len(), 4);
}

#[test]
fn ids_that_were_given_out_are_bounded_too() {
    let mut h = Harness::new();
    let first = || {
        request(Join {
            id_required: true,
            ..join("g", "")
        })
    };
    for _ in 0..4 {
        h.assert_failed(first(), ErrorCode::MemberIdRequired);
    }
    h.assert_failed(first(), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn what_members_say_of_themselves_is_bounded() {
    let mut h = Harness::new();
    let of_bytes = |id: &str, bytes: usize| Join {
        protocols: vec![("range".to_owned(), Bytes::from(vec![0; bytes]))],
        ..join("g", id)
    };
    h.assert_failed(request(of_bytes("", 5_000)), ErrorCode::GroupMaxSizeReached);
    let first = h.send(request(of_bytes("", 3_000)));
    h.assert_failed(request(of_bytes("", 2_000)), ErrorCode::GroupMaxSizeReached);
    h.send(request(of_bytes("", 1_000)));
    h.advance(2 * DELAY);
    let first = h.joined(first).member;
    h.assert_failed(
        request(of_bytes(&first, 4_000)),
        ErrorCode::GroupMaxSizeReached,
    );
    let again = h.send(request(of_bytes(&first, 2_500)));
    assert_eq!(h.reply(again), None, "what it said before does not count");
    let many = Join {
        protocols: (0..101).map(|n| protocol(&n.to_string(), &[])).collect(),
        ..join("other", "")
    };
    h.assert_failed(request(many), ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn the_last_ones_of_a_group_that_is_too_large_have_to_go() {
    let mut h = Harness::new();
    let ids = h.stable("g", 4);
    h.config.members_max = 3;
    h.fail_over();
    let tickets = ids.iter().map(|id| {
        h.send(request(Join {
            protocols: vec![protocol("range", &["u"])],
            ..join("g", id)
        }))
    });
    let tickets = tickets.collect::<Vec<_>>();
    h.assert_code(tickets[3], ErrorCode::GroupMaxSizeReached);
    assert_eq!(h.joined(tickets[0]).members.len(), 3);
}

#[test]
fn groups_are_bounded() {
    let mut h = Harness::with(Config {
        groups_max: 2,
        ..config()
    });
    let waiting = h.send(request(join("a", "")));
    h.stable("b", 1);
    h.assert_failed(request(join("c", "")), ErrorCode::PolicyViolation);
    assert_eq!(h.joined(waiting).generation, 1);
    let again = h.send(request(join("a", "")));
    assert_eq!(
        h.reply(again),
        None,
        "a group that is there is not one more"
    );
}

#[test]
fn a_new_member_that_never_comes_back_is_forgotten_after_five_minutes() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    let patient = Join {
        rebalance_timeout_ms: 1_000_000,
        ..join("g", "")
    };
    let ticket = h.send(request(patient));
    for _ in 0..60 {
        assert_eq!(h.reply(ticket), None);
        h.assert_failed(heartbeat("g", 1, &ids[0]), ErrorCode::RebalanceInProgress);
        h.advance(5_000);
    }
    h.assert_code(ticket, ErrorCode::UnknownMemberId);
}

#[test]
fn an_earlier_join_of_the_same_member_is_answered_when_it_is_superseded() {
    let mut h = Harness::new();
    let (id, first) = h.join("g");
    let second = h.send(request(join("g", &id)));
    h.assert_code(first, ErrorCode::RebalanceInProgress);
    h.advance(2 * DELAY);
    assert_eq!(h.joined(second).member, id);
}

#[test]
fn nobody_hears_of_a_rebalance_from_a_leader_that_is_not_confirmed() {
    let mut h = Harness::new();
    let (id, ticket) = h.join("g");
    h.confirms = Log::Waits;
    h.advance(2 * DELAY);
    assert_eq!(h.reply(ticket), None);
    assert!(h.settle_confirm(false));
    h.assert_code(ticket, ErrorCode::CoordinatorNotAvailable);
    h.release();
    let again = h.ask(request(join("g", &id)));
    assert_eq!(
        failure(&again),
        ErrorCode::None,
        "the generation is still there"
    );
}

#[test]
fn the_assignments_of_one_generation_do_not_reach_the_next() {
    let mut h = Harness::new();
    let (id, ticket) = h.join("g");
    h.advance(2 * DELAY);
    h.commits = Log::Waits;
    let mut request_sync = sync("g", h.joined(ticket).generation, &id);
    request_sync.assignments = assignments([id.as_str()].into_iter());
    let syncing = h.send(GroupRequest::Sync(request_sync));
    let (_, joining) = h.join("g");
    h.assert_code(syncing, ErrorCode::RebalanceInProgress);
    let again = h.send(request(join("g", &id)));
    h.release();
    assert_eq!(h.joined(joining).generation, 2);
    assert_eq!(h.joined(again).generation, 2);
    let described = h.describe("g");
    assert_eq!(described.state, GroupStateName::CompletingRebalance);
    assert_eq!(described.members[0].assignment, Bytes::new());
}
