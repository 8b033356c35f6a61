//! Partitions go from one to another, as topics and subscriptions change.

use super::*;
use crate::coordinator::core::Config;
use crate::coordinator::reply::GroupStateName;
use crate::coordinator::tests::harness::{SESSION, config};

#[test]
fn a_partition_has_a_new_owner_only_after_the_old_one_has_given_it_up() {
    let mut h = harness(4);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    let mut two = Consumer::join(&mut h, "two", &["t"]);
    assert_eq!(two.owned.len(), 0, "nothing is free");
    assert_eq!(describe(&mut h).state, GroupStateName::Reconciling);
    // It is told to keep two, and still owns four.
    let told = beaten(&h.ask(GroupRequest::ConsumerBeat(one.says())));
    assert_eq!((told.epoch, told.assignment.map(|a| a.len())), (1, Some(2)));
    for _ in 0..3 {
        two.beats(&mut h);
        assert_eq!(two.owned.len(), 0);
        // A heartbeat that does not say what it owns gives nothing up.
        let plain = GroupRequest::ConsumerBeat(beat("g", "one", 1));
        assert_eq!(beaten(&h.ask(plain)).epoch, 1);
    }
    one.beats(&mut h);
    assert!(one.beats(&mut h), "it goes on to the group's epoch");
    assert_eq!(one.epoch, 2);
    two.beats(&mut h);
    assert_eq!(one.owns(&h), owned(&[("t", &[0, 1])]));
    assert_eq!(two.owns(&h), owned(&[("t", &[2, 3])]));
    assert_eq!(describe(&mut h).state, GroupStateName::Stable);
}

#[test]
fn what_is_told_once_is_not_told_again_unless_in_question() {
    let mut h = harness(2);
    let one = Consumer::join(&mut h, "one", &["t"]);
    let plain = GroupRequest::ConsumerBeat(beat("g", "one", 1));
    assert_eq!(beaten(&h.ask(plain)).assignment, None);
    // A full heartbeat: the client begins anew with its coordinator.
    let full = ConsumerBeat {
        epoch: 1,
        owned: Some(one.owned.clone()),
        ..join("one", &["t"])
    };
    let told = beaten(&h.ask(GroupRequest::ConsumerBeat(full)));
    assert_eq!(told.assignment, Some(one.owned.clone()));
    let less = ConsumerBeat {
        owned: Some(Partitions::default()),
        ..one.says()
    };
    let told = beaten(&h.ask(GroupRequest::ConsumerBeat(less)));
    assert_eq!(told.assignment, Some(one.owned));
}

#[test]
fn topics_come_grow_and_go() {
    let mut h = harness(2);
    let mut one = Consumer::join(&mut h, "one", &["t", "later"]);
    h.topics.put("nobody reads it", 4);
    assert!(!one.beats(&mut h));
    assert_eq!(describe(&mut h).epoch, 1);
    h.topics.put("later", 1);
    h.topics.put("t", 3);
    assert!(one.beats(&mut h));
    assert_eq!(one.owns(&h), owned(&[("later", &[0]), ("t", &[0, 1, 2])]));
    assert_eq!((one.epoch, describe(&mut h).epoch), (2, 2));
    h.topics.put("t", 0);
    settle(&mut h, std::slice::from_mut(&mut one));
    assert_eq!(one.owns(&h), owned(&[("later", &[0])]));
    // Of the same name, and another topic.
    h.topics.put("t", 1);
    settle(&mut h, std::slice::from_mut(&mut one));
    assert_eq!(one.owns(&h), owned(&[("later", &[0]), ("t", &[0])]));
}

#[test]
fn older_metadata_takes_nothing_from_anybody() {
    let mut h = harness(2);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    let older = h.topics.clone();
    h.topics.put("t", 3);
    settle(&mut h, std::slice::from_mut(&mut one));
    let newer = std::mem::replace(&mut h.topics, older);
    h.fail_over();
    one.fails(&mut h, ErrorCode::CoordinatorLoadInProgress);
    h.topics = newer;
    assert!(!one.beats(&mut h));
    assert_eq!(one.owned.len(), 3);
}

#[test]
fn a_subscription_changes() {
    let mut h = harness(2);
    h.topics.put("u", 2);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    let mut changed = one.says();
    changed.topics = Some(vec!["u".to_owned()]);
    one.hears(&beaten(&h.ask(GroupRequest::ConsumerBeat(changed))));
    settle(&mut h, std::slice::from_mut(&mut one));
    assert_eq!(one.owns(&h), owned(&[("u", &[0, 1])]));
    assert_eq!(one.epoch, 2);
}

#[test]
fn a_pattern_takes_in_topics_as_they_come() {
    let mut h = harness(1);
    h.topics.put("orders-1", 1);
    let pattern = |regex: &str| ConsumerBeat {
        topics: None,
        regex: Some(regex.to_owned()),
        ..join("one", &[])
    };
    let mut one = Consumer::enter(&mut h, pattern("orders-[0-9]+"));
    assert_eq!(one.owns(&h), owned(&[("orders-1", &[0])]));
    h.topics.put("orders-22", 2);
    h.topics.put("orders-x", 1);
    h.topics.put("my-orders-1", 1);
    settle(&mut h, std::slice::from_mut(&mut one));
    assert_eq!(
        one.owns(&h),
        owned(&[("orders-1", &[0]), ("orders-22", &[0, 1])])
    );
    // Names and a pattern together; then no pattern.
    let mut both = one.says();
    both.topics = Some(vec!["t".to_owned(), "orders-1".to_owned()]);
    one.hears(&beaten(&h.ask(GroupRequest::ConsumerBeat(both))));
    settle(&mut h, std::slice::from_mut(&mut one));
    assert_eq!(one.owned.len(), 4);
    let mut none = one.says();
    none.regex = Some(String::new());
    one.hears(&beaten(&h.ask(GroupRequest::ConsumerBeat(none))));
    settle(&mut h, std::slice::from_mut(&mut one));
    assert_eq!(one.owns(&h), owned(&[("orders-1", &[0]), ("t", &[0])]));
}

#[test]
fn patterns_that_make_no_sense_or_are_too_large_are_refused() {
    let mut h = harness(1);
    let huge = "a".repeat(5_000);
    for regex in [
        "(",
        "a)(b",
        "(?=x)",
        r"(a)\1",
        "((a{1000}){1000}){1000}",
        &huge,
    ] {
        let request = ConsumerBeat {
            regex: Some(regex.to_owned()),
            ..join("one", &["t"])
        };
        let request = GroupRequest::ConsumerBeat(request);
        h.assert_failed(request, ErrorCode::InvalidRegularExpression);
    }
    let coordinator = h.coordinator.as_ref().expect("it is there");
    assert!(coordinator.consumers.is_empty(), "nobody has come");
}

#[test]
fn the_assignor_that_most_would_like() {
    let mut h = harness(2);
    h.topics.put("u", 2);
    let with = |id: &str, assignor: &str| ConsumerBeat {
        assignor: Some(assignor.to_owned()),
        ..join(id, &["t", "u"])
    };
    let mut all = vec![
        Consumer::enter(&mut h, with("a", "range")),
        Consumer::enter(&mut h, with("b", "range")),
    ];
    settle(&mut h, &mut all);
    assert_eq!(all[0].owns(&h), owned(&[("t", &[0]), ("u", &[0])]));
    assert_eq!(describe(&mut h).assignor, "range");
    all.push(Consumer::enter(&mut h, with("c", "uniform")));
    settle(&mut h, &mut all);
    assert_eq!(describe(&mut h).assignor, "range");
    assert!(
        all[2].owned.is_empty(),
        "two partitions of each topic, and three members"
    );
    all.push(Consumer::enter(&mut h, with("d", "uniform")));
    settle(&mut h, &mut all);
    assert_eq!(describe(&mut h).assignor, "uniform");
    for one in &all {
        assert_eq!(one.owned.len(), 1);
    }
}

#[test]
fn many_changes_go_into_several_commands_and_are_answered_after_the_last() {
    let mut h = harness(1_500);
    h.topics.put("u", 1_500);
    let ids = ["a", "b", "c", "d"];
    let mut all: Vec<_> = ids.map(|id| Consumer::join(&mut h, id, &["t"])).into();
    settle(&mut h, &mut all);
    assert!(all.iter().all(|one| one.owned.len() == 375));
    let before = h.history.len();
    Consumer::leaves(all.remove(0), &mut h);
    all[0].beats(&mut h);
    assert!(h.history.len() > before + 2, "{}", h.history.len() - before);
    settle(&mut h, &mut all);
    h.advance(SESSION / 2);
    h.fail_over();
    settle(&mut h, &mut all);
    assert!(all.iter().all(|one| one.owned.len() == 500));
}

#[test]
fn the_first_assignor_that_the_broker_offers_is_the_default() {
    let offering = |assignors: &str| Config {
        assignors: assignors.parse().expect("a list"),
        ..config()
    };
    let mut h = Harness::with(offering("range,uniform"));
    h.topics.put("t", 2);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    assert_eq!(describe(&mut h).assignor, "range");
    let wanted = ConsumerBeat {
        assignor: Some("uniform".to_owned()),
        ..one.says()
    };
    one.hears(&beaten(&h.ask(GroupRequest::ConsumerBeat(wanted))));
    assert_eq!(describe(&mut h).assignor, "uniform");
    // The next coordinator does not offer that any more.
    h.config = offering("range");
    h.fail_over();
    assert_eq!(describe(&mut h).assignor, "range");
}
