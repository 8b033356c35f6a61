//! Who began the last rebalance.

use super::harness::{
    DELAY, Harness, Log, REBALANCE, SESSION, heartbeat, instance_of, join, join_static, leave,
    member, protocol, sync,
};
use crate::coordinator::figures::GroupFigures;
use crate::coordinator::rebalances::{Reason, WORDS_BYTES_MAX};
use crate::coordinator::reply::GroupStateName;
use crate::coordinator::request::{GroupRequest, Join, Leaver};

fn figures(h: &Harness) -> GroupFigures {
    let coordinator = h.coordinator.as_ref().unwrap();
    coordinator.figures(&h.groups, "g").expect("it is there")
}

/// How many there were, why the last one began, and because of whom.
#[track_caller]
fn assert_last(h: &Harness, count: u64, reason: Reason, member: &str) {
    let known = figures(h).rebalanced;
    let (_, cause) = known.last.expect("there was one");
    let (found, by) = (cause.reason, cause.member.as_str());
    assert_eq!((known.count, found, by), (count, reason, member));
}

#[test]
fn the_first_who_joins_begins_it_and_the_others_take_part() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    assert_last(&h, 1, Reason::Joined, &ids[0]);
    let (at_ms, cause) = figures(&h).rebalanced.last.unwrap();
    assert_eq!(at_ms, 1_700_000_001_000);
    assert_eq!(
        (cause.client.id.as_str(), cause.client.host.as_str()),
        ("client", "/127.0.0.1")
    );
}

#[test]
fn one_who_leaves_says_why() {
    let mut h = Harness::new();
    let ids = h.stable("g", 3);
    let leaver = Leaver {
        member: member(&ids[1]),
        reason: "the consumer is being closed".to_owned(),
    };
    h.ask(GroupRequest::Leave {
        group: "g".to_owned(),
        members: vec![member("nobody").into(), leaver],
    });
    assert_last(&h, 2, Reason::Left, &ids[1]);
    let (_, cause) = figures(&h).rebalanced.last.unwrap();
    assert_eq!(cause.words, "the consumer is being closed");
    assert_eq!(cause.client.id, "client", "also when it is gone");
}

#[test]
fn words_are_kept_as_far_as_there_is_room_and_in_whole_letters() {
    let mut h = Harness::new();
    let reason = "é".repeat(WORDS_BYTES_MAX);
    let request = Join {
        reason,
        ..join("g", "")
    };
    h.send(GroupRequest::Join(request));
    let (_, cause) = figures(&h).rebalanced.last.unwrap();
    assert_eq!(cause.words, "é".repeat(WORDS_BYTES_MAX / 2));
}

#[test]
fn one_who_is_silent_is_named() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    h.advance(SESSION - 1);
    h.ask(heartbeat("g", 1, &ids[0]));
    h.advance(2);
    assert_last(&h, 2, Reason::SessionExpired, &ids[1]);
}

#[test]
fn a_changed_subscription_is_told_from_a_leader_that_comes_back() {
    let mut h = Harness::new();
    let ids = h.stable("g", 2);
    let changed = Join {
        protocols: vec![protocol("range", &["other"])],
        ..join("g", &ids[1])
    };
    let follower = h.send(GroupRequest::Join(changed));
    assert_last(&h, 2, Reason::SubscriptionChanged, &ids[1]);
    let leader = h.send(GroupRequest::Join(join("g", &ids[0])));
    assert_eq!(h.joined(leader).generation, 2);
    let members = [(ids[0].clone(), leader), (ids[1].clone(), follower)];
    h.sync_all("g", &members);
    h.send(GroupRequest::Join(join("g", &ids[0])));
    assert_last(&h, 3, Reason::LeaderRejoined, &ids[0]);
}

#[test]
fn who_does_not_come_back_in_time_is_counted() {
    let mut h = Harness::new();
    let ids = h.stable("g", 3);
    h.ask(leave("g", vec![member(&ids[2])]));
    h.send(GroupRequest::Join(join("g", &ids[0])));
    for _ in 0..=REBALANCE / (SESSION - 1) {
        h.send(heartbeat("g", 1, &ids[1]));
        h.advance(SESSION - 1);
    }
    assert_last(&h, 2, Reason::Left, &ids[2]);
    assert_eq!((figures(&h).rebalanced.late, figures(&h).members), (1, 1));
}

#[test]
fn who_does_not_ask_for_its_assignment_is_named() {
    let mut h = Harness::new();
    let members = [h.join("g"), h.join("g")];
    h.advance(2 * DELAY);
    let leader = &members[0].0;
    h.send(GroupRequest::Sync(sync("g", 1, leader)));
    for _ in 0..REBALANCE / (SESSION - 1) {
        h.ask(heartbeat("g", 1, leader));
        h.ask(heartbeat("g", 1, &members[1].0));
        h.advance(SESSION - 1);
    }
    h.ask(heartbeat("g", 1, leader));
    h.ask(heartbeat("g", 1, &members[1].0));
    h.advance(SESSION - 1);
    assert_last(&h, 2, Reason::SyncTimedOut, &members[1].0);
}

#[test]
fn an_assignment_that_is_not_stored_begins_another_one() {
    let mut h = Harness::new();
    let (id, _) = h.join("g");
    h.advance(2 * DELAY);
    h.commits = Log::Refuses;
    h.send(GroupRequest::Sync(sync("g", 1, &id)));
    assert_last(&h, 2, Reason::AssignmentNotStored, &id);
}

#[test]
fn a_static_member_that_comes_back_with_other_protocols_is_named_by_its_instance() {
    let mut h = Harness::new();
    let first = h.send(GroupRequest::Join(join_static("g", "", "one")));
    h.advance(2 * DELAY);
    let id = h.joined(first).member;
    h.sync_all("g", &[(id.clone(), first)]);
    let request = Join {
        protocols: vec![protocol("roundrobin", &["t"])],
        ..join_static("g", "", "one")
    };
    h.send(GroupRequest::Join(request));
    let known = figures(&h).rebalanced;
    let (_, cause) = known.last.expect("there was one");
    assert_eq!(
        (known.count, cause.reason, cause.instance.as_deref()),
        (2, Reason::StaticMemberReturned, Some("one"))
    );
    assert_ne!(cause.member, id, "its new id");
    h.ask(leave("g", vec![instance_of("", "one")]));
    assert_last(&h, 3, Reason::Left, &cause.member);
}

/// What a new coordinator cannot know it does not say.
#[test]
fn a_new_coordinator_knows_when_the_last_one_ended_and_not_who_began_it() {
    let mut h = Harness::new();
    h.stable("g", 2);
    let before = figures(&h);
    h.advance(1_000);
    h.fail_over();
    let after = figures(&h);
    assert_eq!((after.rebalanced.count, after.rebalanced.last), (0, None));
    assert_eq!(after.changed_ms, before.changed_ms);
    assert_eq!(
        after.since_ms,
        before.since_ms + h.now_ms.cast_signed() - 1_000
    );
    assert_eq!(
        (after.state, after.members, after.generation),
        (GroupStateName::Stable, 2, Some(1))
    );
}

#[test]
fn what_is_known_goes_with_the_group() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.ask(leave("g", vec![member(&ids[0])]));
    assert_last(&h, 2, Reason::Left, &ids[0]);
    let delete = GroupRequest::Delete {
        group: "g".to_owned(),
    };
    h.ask(delete);
    let coordinator = h.coordinator.as_ref().unwrap();
    assert_eq!(coordinator.figures(&h.groups, "g"), None);
    h.join("g");
    assert_eq!(
        figures(&h).rebalanced.count,
        1,
        "another group of that name"
    );
}
