//! Static members: known by their instance, whatever id they come with.

use super::*;
use crate::coordinator::request::Leaver;
use crate::coordinator::tests::harness::{Log, SESSION, instance_of, leave};

fn join_static(id: &str, instance: &str) -> ConsumerBeat {
    ConsumerBeat {
        member: instance_of(id, instance),
        ..join(id, &["t"])
    }
}

fn says(consumer: &Consumer, instance: &str, epoch: i32) -> GroupRequest {
    GroupRequest::ConsumerBeat(ConsumerBeat {
        member: instance_of(&consumer.id, instance),
        epoch,
        ..consumer.says()
    })
}

#[test]
fn one_who_leaves_for_a_while_comes_back_to_what_it_had() {
    let mut h = harness(4);
    let one = Consumer::enter(&mut h, join_static("one", "i"));
    let mut two = Consumer::join(&mut h, "two", &["t"]);
    h.ask(says(&one, "i", 1));
    let mut one_now = one.clone();
    one_now.hears(&beaten(&h.ask(says(&one, "i", 1))));
    one_now.hears(&beaten(&h.ask(says(&one_now, "i", 1))));
    settle(&mut h, std::slice::from_mut(&mut two));
    assert_eq!((one_now.epoch, two.owned.len()), (2, 2));
    let told = beaten(&h.ask(says(&one_now, "i", -2)));
    assert_eq!((told.epoch, told.assignment), (-2, None));
    // Nothing is given to others meanwhile.
    assert!(!two.beats(&mut h));
    assert_eq!(describe(&mut h).epoch, 2);
    let back = Consumer::enter(&mut h, join_static("one again", "i"));
    assert_eq!((back.epoch, &back.owned), (2, &one_now.owned));
    assert_eq!(describe(&mut h).epoch, 2);
    // The former id is known no more; under its instance it is fenced.
    h.assert_failed(says(&one_now, "i", 2), ErrorCode::FencedInstanceId);
    one_now.fails(&mut h, ErrorCode::UnknownMemberId);
}

#[test]
fn one_who_does_not_come_back_goes() {
    let mut h = harness(4);
    let one = Consumer::enter(&mut h, join_static("one", "i"));
    h.ask(says(&one, "i", -2));
    let mut two = Consumer::join(&mut h, "two", &["t"]);
    assert_eq!(two.owned.len(), 0);
    for _ in 0..4 {
        h.advance(SESSION / 4);
        two.beats(&mut h);
    }
    settle(&mut h, std::slice::from_mut(&mut two));
    assert_eq!(two.owned.len(), 4);
}

#[test]
fn an_instance_is_released_before_another_has_it() {
    let mut h = harness(4);
    let one = Consumer::enter(&mut h, join_static("one", "i"));
    let other = GroupRequest::ConsumerBeat(join_static("other", "i"));
    h.assert_failed(other.clone(), ErrorCode::UnreleasedInstanceId);
    // Its own request again, whose answer was lost, is taken.
    let again = Consumer::enter(&mut h, join_static("one", "i"));
    assert_eq!((again.epoch, again.owned), (one.epoch, one.owned.clone()));
    let nobody = Consumer {
        id: "other".to_owned(),
        ..one.clone()
    };
    h.assert_failed(says(&nobody, "i", 1), ErrorCode::FencedInstanceId);
    h.assert_failed(says(&nobody, "i", -2), ErrorCode::FencedInstanceId);
    h.assert_failed(says(&one, "unknown", 1), ErrorCode::UnknownMemberId);
    // Once it has left for good, the instance is free.
    h.ask(says(&one, "i", -1));
    let GroupRequest::ConsumerBeat(other) = other else {
        unreachable!()
    };
    assert_eq!(Consumer::enter(&mut h, other).owned.len(), 4);
}

#[test]
fn what_one_had_to_give_up_when_it_left_is_free() {
    let mut h = harness(4);
    let one = Consumer::enter(&mut h, join_static("one", "i"));
    let mut two = Consumer::join(&mut h, "two", &["t"]);
    // It is told to give up two partitions, and its process ends.
    h.ask(says(&one, "i", 1));
    h.ask(says(&one, "i", -2));
    settle(&mut h, std::slice::from_mut(&mut two));
    assert_eq!(two.owned.len(), 2);
    let back = Consumer::enter(&mut h, join_static("one", "i"));
    assert_eq!(back.owned.len(), 2);
    assert!(!back.owned.meets(&two.owned));
}

#[test]
fn an_operator_sends_members_away() {
    let mut h = harness(4);
    let one = Consumer::enter(&mut h, join_static("one", "i"));
    let mut two = Consumer::join(&mut h, "two", &["t"]);
    Consumer::join(&mut h, "three", &["t"]);
    let codes = |h: &mut Harness, members| match h.ask(leave("g", members)) {
        GroupReply::Left(codes) => codes,
        other => panic!("{other:?}"),
    };
    let (done, unknown) = (ErrorCode::None, ErrorCode::UnknownMemberId);
    let other = instance_of("other", "i");
    assert_eq!(codes(&mut h, vec![other]), [ErrorCode::FencedInstanceId]);
    let nobody = vec![instance_of("", "j"), member("nobody"), member("")];
    assert_eq!(codes(&mut h, nobody), [unknown; 3]);
    assert_eq!(describe(&mut h).epoch, 3, "nothing has happened");
    let all = vec![
        instance_of("", "i"),
        member("three"),
        instance_of("one", "i"),
    ];
    assert_eq!(codes(&mut h, all), [done, done, unknown]);
    assert_eq!(describe(&mut h).epoch, 4, "they go together");
    h.assert_failed(says(&one, "i", 1), unknown);
    settle(&mut h, std::slice::from_mut(&mut two));
    assert_eq!(two.owned.len(), 4);
    // The last one: the answer rests on the commit, as any other.
    h.commits = Log::Waits;
    let leaver = Leaver {
        reason: "broken".to_owned(),
        ..member("two").into()
    };
    let ticket = h.send(GroupRequest::Leave {
        group: "g".to_owned(),
        members: vec![leaver],
    });
    assert_eq!(h.reply(ticket), None);
    h.release();
    assert_eq!(h.reply(ticket), Some(&GroupReply::Left(vec![done])));
    assert_eq!(codes(&mut h, vec![member("two")]), [unknown]);
}
