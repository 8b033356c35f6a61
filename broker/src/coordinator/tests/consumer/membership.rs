//! Members come, are fenced, go.

use super::*;
use crate::coordinator::core::Config;
use crate::coordinator::rebalances::Reason;
use crate::coordinator::reply::GroupStateName;
use crate::coordinator::tests::harness::{Log, SESSION, config};

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut h = harness(3);
    let one = Consumer::join(&mut h, "one", &["t"]);
    assert_eq!(one.epoch, 1);
    assert_eq!(one.owns(&h), owned(&[("t", &[0, 1, 2])]));
    let described = describe(&mut h);
    assert_eq!(described.state, GroupStateName::Stable);
    assert_eq!((described.epoch, described.target_epoch), (1, 1));
    assert_eq!(described.assignor, "uniform");
    assert_eq!(described.members[0].assigned, described.members[0].target);
}

#[test]
fn an_answer_that_says_something_new_waits_for_its_commit() {
    let mut h = harness(3);
    h.commits = Log::Waits;
    let ticket = h.send(GroupRequest::ConsumerBeat(join("one", &["t"])));
    assert_eq!(h.reply(ticket), None);
    // Who comes meanwhile waits for the first, and is then decided upon.
    let second = h.send(GroupRequest::ConsumerBeat(join("two", &["t"])));
    assert_eq!(h.proposed.len(), 1);
    assert!(h.settle_proposal(true));
    assert_eq!(beaten(h.reply(ticket).expect("it is committed")).epoch, 1);
    assert_eq!(h.reply(second), None);
    assert!(h.settle_proposal(true));
    let told = beaten(h.reply(second).expect("it is committed"));
    assert_eq!(told.assignment, Some(Partitions::default()));
}

#[test]
fn an_answer_that_says_nothing_new_waits_for_a_majority_only() {
    let mut h = harness(3);
    let one = Consumer::join(&mut h, "one", &["t"]);
    h.confirms = Log::Waits;
    let applied = h.history.len();
    let ticket = one.sends(&mut h);
    assert_eq!(h.reply(ticket), None);
    assert!(h.settle_confirm(true));
    assert_eq!(beaten(h.reply(ticket).expect("it is confirmed")).epoch, 1);
    assert_eq!(h.history.len(), applied);
}

#[test]
fn what_was_refused_has_not_happened() {
    let mut h = harness(4);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    h.commits = Log::Refuses;
    h.assert_failed(
        GroupRequest::ConsumerBeat(join("two", &["t"])),
        ErrorCode::CoordinatorNotAvailable,
    );
    h.release();
    assert!(!one.beats(&mut h), "nobody else is there");
    assert_eq!(describe(&mut h).members.len(), 1);
    // The same member again.
    let mut all = [one, Consumer::join(&mut h, "two", &["t"])];
    settle(&mut h, &mut all);
    assert_eq!(all.each_ref().map(|c| c.owned.len()), [2, 2]);
}

#[test]
fn wrong_epochs_are_fenced_and_the_one_before_is_taken_from_who_has_missed_an_answer() {
    let mut h = harness(4);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    let two = Consumer::join(&mut h, "two", &["t"]);
    one.beats(&mut h);
    let missed = one.clone();
    assert!(
        one.beats(&mut h),
        "it has given up two, and reaches the epoch"
    );
    assert_eq!((missed.epoch, one.epoch), (1, 2));
    // The answer was lost: what it owns is what it was told to own.
    let mut again = missed.clone();
    assert!(again.beats(&mut h));
    assert_eq!((again.epoch, &again.owned), (2, &one.owned));
    // An older epoch, a newer one, and the one before with partitions that it was never told.
    let mut wrong = two.clone();
    wrong.epoch = 1;
    wrong.fails(&mut h, ErrorCode::FencedMemberEpoch);
    wrong.epoch = 9;
    wrong.fails(&mut h, ErrorCode::FencedMemberEpoch);
    let mut wrong = missed;
    wrong
        .owned
        .insert(h.topics.topic("t").expect("it is there").0, 3);
    wrong.fails(&mut h, ErrorCode::FencedMemberEpoch);
    let stranger = Consumer {
        id: "stranger".to_owned(),
        ..one
    };
    stranger.fails(&mut h, ErrorCode::UnknownMemberId);
}

#[test]
fn a_silent_member_goes_and_its_partitions_are_given_away() {
    let mut h = harness(4);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    let mut two = Consumer::join(&mut h, "two", &["t"]);
    settle(&mut h, std::slice::from_mut(&mut one));
    settle(&mut h, std::slice::from_mut(&mut two));
    assert_eq!((one.owned.len(), two.owned.len()), (2, 2));
    for _ in 0..4 {
        h.advance(SESSION / 4);
        one.beats(&mut h);
    }
    h.advance(SESSION / 4);
    two.fails(&mut h, ErrorCode::UnknownMemberId);
    settle(&mut h, std::slice::from_mut(&mut one));
    assert_eq!(one.owned.len(), 4);
}

#[test]
fn who_does_not_give_up_in_time_goes() {
    let mut h = harness(4);
    let one = Consumer::join(&mut h, "one", &["t"]);
    let mut two = Consumer::join(&mut h, "two", &["t"]);
    // It is told to give up two partitions, and says again and again that it has them.
    assert!(one.clone().beats(&mut h));
    let mut waited_ms = 0;
    while waited_ms < REBALANCE {
        let told = beaten(&h.ask(GroupRequest::ConsumerBeat(one.says())));
        assert_eq!(told.assignment.map(|a| a.len()), Some(2));
        two.beats(&mut h);
        assert_eq!(two.owned.len(), 0);
        h.advance(SESSION / 2);
        waited_ms += SESSION / 2;
    }
    one.fails(&mut h, ErrorCode::UnknownMemberId);
    settle(&mut h, std::slice::from_mut(&mut two));
    assert_eq!(two.owned.len(), 4);
}

#[test]
fn the_last_one_leaves_and_the_group_stays_empty_with_its_epoch() {
    let mut h = harness(2);
    Consumer::join(&mut h, "one", &["t"]).leaves(&mut h);
    let described = describe(&mut h);
    assert_eq!(described.state, GroupStateName::Empty);
    assert_eq!(described.epoch, 2);
    assert!(described.members.is_empty());
    assert!(
        h.coordinator
            .as_ref()
            .is_some_and(|c| c.consumers.is_empty())
    );
    let again = Consumer::join(&mut h, "one", &["t"]);
    assert_eq!((again.epoch, again.owned.len()), (3, 2));
}

#[test]
fn a_group_has_so_many_members_and_no_more() {
    // Those of the classic protocol have a limit of their own.
    let mut h = Harness::with(Config {
        members_max: 1,
        consumer_members_max: 4,
        ..config()
    });
    h.topics.put("t", 1);
    for id in ["a", "b", "c", "d"] {
        Consumer::join(&mut h, id, &["t"]);
    }
    let fifth = GroupRequest::ConsumerBeat(join("e", &["t"]));
    h.assert_failed(fifth, ErrorCode::GroupMaxSizeReached);
    // And they say so much and no more: else what is told of them would not fit into a command.
    let mut long = join("a", &[]);
    long.topics = Some((0..300).map(|n| format!("topic-{n}")).collect());
    let long = GroupRequest::ConsumerBeat(ConsumerBeat { epoch: 1, ..long });
    h.assert_failed(long, ErrorCode::GroupMaxSizeReached);
    assert_eq!(describe(&mut h).members[0].topics, ["t"]);
}

#[test]
fn nobody_goes_on_in_a_group_that_is_not_there() {
    let mut h = harness(1);
    let beat = |epoch| GroupRequest::ConsumerBeat(beat("g", "one", epoch));
    for epoch in [1, -1] {
        h.assert_failed(beat(epoch), ErrorCode::GroupIdNotFound);
    }
    Consumer::join(&mut h, "one", &["t"]).leaves(&mut h);
    for epoch in [1, -1] {
        h.assert_failed(beat(epoch), ErrorCode::UnknownMemberId);
    }
}

/// How many epochs have begun, why the last one did, and because of whom.
fn last_cause(h: &Harness) -> (u64, Reason, String) {
    let coordinator = h.coordinator.as_ref().unwrap();
    let figures = coordinator.figures(&h.groups, "g").expect("it is there");
    let known = figures.rebalanced;
    let (_, cause) = known.last.expect("one has begun");
    (known.count, cause.reason, cause.member)
}

#[test]
fn who_began_the_last_epoch_is_known() {
    let mut h = harness(2);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    assert_eq!(last_cause(&h), (1, Reason::Joined, "one".to_owned()));
    let two = Consumer::join(&mut h, "two", &["t"]);
    assert_eq!(last_cause(&h), (2, Reason::Joined, "two".to_owned()));
    two.leaves(&mut h);
    assert_eq!(last_cause(&h), (3, Reason::Left, "two".to_owned()));
    h.topics.put("t", 3);
    one.beats(&mut h);
    assert_eq!(last_cause(&h), (4, Reason::TopicsChanged, "one".to_owned()));
    let mut says = one.says();
    says.topics = Some(vec!["t".to_owned(), "u".to_owned()]);
    one.hears(&beaten(&h.ask(GroupRequest::ConsumerBeat(says))));
    let changed = Reason::SubscriptionChanged;
    assert_eq!(last_cause(&h), (5, changed, "one".to_owned()));
    assert!(!one.beats(&mut h));
    assert_eq!(last_cause(&h).0, 5, "nothing has begun");
    Consumer::join(&mut h, "late", &["t"]);
    for _ in 0..12 {
        // It is heard, and gives up nothing.
        h.ask(GroupRequest::ConsumerBeat(beat("g", "one", one.epoch)));
        h.ask(GroupRequest::ConsumerBeat(beat("g", "late", 6)));
        if last_cause(&h).0 == 7 {
            break;
        }
        h.advance(REBALANCE / 10);
    }
    let late = Reason::RevocationTimedOut;
    assert_eq!(last_cause(&h), (7, late, "one".to_owned()));
    h.advance(SESSION);
    assert_eq!(last_cause(&h).1, Reason::SessionExpired);
}

#[test]
fn older_clients_are_given_an_id() {
    let mut h = harness(1);
    let one = Consumer::enter(&mut h, join("", &["t"]));
    let two = Consumer::enter(&mut h, join("", &["t"]));
    assert!(!one.id.is_empty() && one.id != two.id);
    assert_eq!(describe(&mut h).members.len(), 2);
}
