//! Commits, fetches, and deletions of offsets.

use protocol::error_code::ErrorCode;

use super::harness::{DELAY, Harness, Log, commit, config, join, offset_of, protocol, simple};
use crate::coordinator::core::Config;
use crate::coordinator::reply::{FetchedOffset, GroupReply, GroupStateName};
use crate::coordinator::request::{Commit, Fetch, GroupRequest, Join};

fn request(commit: Commit) -> GroupRequest {
    GroupRequest::Commit(commit)
}

fn done(codes: &[ErrorCode]) -> GroupReply {
    GroupReply::Offsets(codes.to_vec())
}

fn delete(group: &str, topics: &[&str]) -> GroupRequest {
    GroupRequest::DeleteOffsets {
        group: group.to_owned(),
        partitions: topics
            .iter()
            .map(|topic| ((*topic).to_owned(), 0))
            .collect(),
    }
}

#[test]
fn a_commit_is_answered_when_it_is_committed() {
    let mut h = Harness::new();
    h.commits = Log::Waits;
    let first = h.send(simple("g", 5));
    let second = h.send(simple("g", 6));
    assert_eq!((h.open(), h.offset("g", "t", 0)), (2, -1));
    h.settle_proposal(true);
    assert_eq!(h.reply(first), Some(&done(&[ErrorCode::None])));
    assert_eq!(h.offset("g", "t", 0), 5);
    assert_eq!(h.reply(second), None);
    h.settle_proposal(false);
    h.assert_code(second, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.offset("g", "t", 0), 5);
    assert_eq!(h.describe("g").state, GroupStateName::Empty);
}

#[test]
fn only_members_commit_to_a_group_with_members() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.assert_failed(simple("g", 5), ErrorCode::UnknownMemberId);
    h.assert_failed(request(commit("g", 1, "", 5)), ErrorCode::UnknownMemberId);
    h.assert_failed(
        request(commit("g", 1, "nobody", 5)),
        ErrorCode::UnknownMemberId,
    );
    h.assert_failed(
        request(commit("g", 0, &ids[0], 5)),
        ErrorCode::IllegalGeneration,
    );
    h.assert_failed(
        request(commit("g", -1, &ids[0], 5)),
        ErrorCode::IllegalGeneration,
    );
    assert_eq!(
        h.ask(request(commit("g", 1, &ids[0], 5))),
        done(&[ErrorCode::None])
    );
    assert_eq!(h.offset("g", "t", 0), 5);
}

#[test]
fn a_generation_of_a_group_that_is_not_there_is_told_so() {
    let mut h = Harness::new();
    h.assert_failed(
        request(commit("g", 1, "member", 5)),
        ErrorCode::GroupIdNotFound,
    );
    h.ask(simple("g", 5));
    h.assert_failed(
        request(commit("g", 1, "member", 5)),
        ErrorCode::UnknownMemberId,
    );
    assert_eq!(
        h.ask(request(commit("g", -1, "member", 6))),
        done(&[ErrorCode::None])
    );
}

#[test]
fn commits_go_on_while_members_join_and_not_while_the_leader_assigns() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    let (_, joining) = h.join("g");
    assert_eq!(
        h.ask(request(commit("g", 1, &ids[0], 5))),
        done(&[ErrorCode::None])
    );
    h.send(GroupRequest::Join(join("g", &ids[0])));
    assert_eq!(h.joined(joining).generation, 2);
    h.assert_failed(
        request(commit("g", 1, &ids[0], 6)),
        ErrorCode::IllegalGeneration,
    );
    h.assert_failed(
        request(commit("g", 2, &ids[0], 6)),
        ErrorCode::RebalanceInProgress,
    );
    assert_eq!(h.offset("g", "t", 0), 5);
}

#[test]
fn metadata_that_is_too_long_fails_alone() {
    let mut h = Harness::new();
    let mut both = commit("g", -1, "", 5);
    both.offsets.push(offset_of("t", 1, 6));
    both.offsets[0].metadata = "longer than sixteen".to_owned();
    let codes = [ErrorCode::OffsetMetadataTooLarge, ErrorCode::None];
    assert_eq!(h.ask(request(both.clone())), done(&codes));
    assert_eq!((h.offset("g", "t", 0), h.offset("g", "t", 1)), (-1, 6));
    both.offsets.pop();
    both.group = "other".to_owned();
    assert_eq!(h.ask(request(both)), done(&codes[..1]));
    assert_eq!(h.history.len(), 1);
    assert_eq!(h.describe("other").state, GroupStateName::Dead);
}

#[test]
fn a_commit_larger_than_an_entry_is_refused() {
    let mut h = Harness::new();
    let mut large = commit("g", -1, "", 5);
    large.offsets = (0..200)
        .map(|partition| offset_of("topic", partition, 1))
        .collect();
    h.assert_failed(request(large), ErrorCode::InvalidCommitOffsetSize);
}

#[test]
fn commits_make_no_more_groups_than_there_may_be() {
    let mut h = Harness::with(Config {
        groups_max: 2,
        ..config()
    });
    h.commits = Log::Waits;
    let waiting = [
        h.send(simple("a", 1)),
        h.send(simple("a", 2)),
        h.send(simple("b", 1)),
    ];
    h.assert_failed(simple("c", 1), ErrorCode::PolicyViolation);
    h.settle_proposal(false);
    h.settle_proposal(false);
    let third = h.send(simple("c", 1));
    h.release();
    for ticket in [waiting[2], third] {
        assert_eq!(h.reply(ticket), Some(&done(&[ErrorCode::None])));
    }
    h.assert_failed(simple("d", 1), ErrorCode::PolicyViolation);
}

#[test]
fn what_is_not_committed_is_read_as_nothing() {
    let mut h = Harness::new();
    h.ask(simple("g", 5));
    let fetch = |group: &str, partitions| {
        GroupRequest::Fetch(Fetch {
            group: group.to_owned(),
            partitions,
            ..Fetch::default()
        })
    };
    let there = FetchedOffset {
        topic: "t".to_owned(),
        partition: 0,
        offset: 5,
        leader_epoch: 5,
        metadata: "words".to_owned(),
    };
    let nothing = |topic: &str, partition| FetchedOffset {
        topic: topic.to_owned(),
        partition,
        offset: -1,
        leader_epoch: -1,
        metadata: String::new(),
    };
    let some = vec![
        ("u".to_owned(), 0),
        ("t".to_owned(), 0),
        ("t".to_owned(), 1),
    ];
    let all = vec![nothing("u", 0), there.clone(), nothing("t", 1)];
    assert_eq!(
        h.ask(fetch("g", Some(some.clone()))),
        GroupReply::Fetched(all)
    );
    assert_eq!(h.ask(fetch("g", None)), GroupReply::Fetched(vec![there]));
    let none = some
        .into_iter()
        .map(|(topic, partition)| nothing(&topic, partition))
        .collect();
    let asked = Some(vec![
        ("u".to_owned(), 0),
        ("t".to_owned(), 0),
        ("t".to_owned(), 1),
    ]);
    assert_eq!(h.ask(fetch("none", asked)), GroupReply::Fetched(none));
    assert_eq!(h.ask(fetch("none", None)), GroupReply::Fetched(Vec::new()));
    h.confirms = Log::Refuses;
    h.assert_failed(fetch("g", None), ErrorCode::NotCoordinator);
}

#[test]
fn offsets_of_subscribed_topics_are_not_deleted() {
    let mut h = Harness::new();
    h.ask(simple("g", 5));
    let mut other = commit("g", -1, "", 7);
    other.offsets[0].topic = "u".to_owned();
    h.ask(request(other));
    h.stable("g", 1);
    let codes = [
        ErrorCode::GroupSubscribedToTopic,
        ErrorCode::None,
        ErrorCode::None,
    ];
    assert_eq!(h.ask(delete("g", &["t", "u", "none"])), done(&codes));
    assert_eq!((h.offset("g", "t", 0), h.offset("g", "u", 0)), (5, -1));
    let before = h.history.len();
    assert_eq!(h.ask(delete("g", &["t"])), done(&codes[..1]));
    assert_eq!(h.history.len(), before);
}

#[test]
fn offsets_of_a_group_that_is_not_there_or_of_other_members_are_not_deleted() {
    let mut h = Harness::new();
    h.assert_failed(delete("", &["t"]), ErrorCode::InvalidGroupId);
    h.assert_failed(delete("g", &["t"]), ErrorCode::GroupIdNotFound);
    let connect = Join {
        protocol_type: "connect".to_owned(),
        ..join("g", "")
    };
    h.send(GroupRequest::Join(connect));
    h.assert_failed(delete("g", &["t"]), ErrorCode::NonEmptyGroup);
    h.ask(simple("simple", 5));
    assert_eq!(h.ask(delete("simple", &["t"])), done(&[ErrorCode::None]));
    assert_eq!(h.describe("simple").state, GroupStateName::Empty);
    assert_eq!(h.ask(delete("simple", &["t"])), done(&[ErrorCode::None]));
}

#[test]
fn a_consumer_whose_topics_cannot_be_read_is_subscribed_to_all() {
    for hostile in [
        &b""[..],
        b"\0\0",
        b"\0\0\x7f\xff\xff\xff",
        b"\0\0\0\0\0\x01\0\x09t",
        b"\xff\xff\0\0\0\0",
    ] {
        let mut h = Harness::new();
        let unreadable = Join {
            protocols: vec![("range".to_owned(), bytes::Bytes::from_static(hostile))],
            ..join("g", "")
        };
        let ticket = h.send(GroupRequest::Join(unreadable));
        h.advance(DELAY);
        assert_eq!(h.joined(ticket).generation, 1);
        let reply = h.ask(delete("g", &["u"]));
        assert_eq!(
            reply,
            done(&[ErrorCode::GroupSubscribedToTopic]),
            "{hostile:?}"
        );
    }
    let mut h = Harness::new();
    let none = Join {
        protocols: vec![protocol("range", &[])],
        ..join("g", "")
    };
    h.send(GroupRequest::Join(none));
    h.advance(DELAY);
    assert_eq!(h.ask(delete("g", &["u"])), done(&[ErrorCode::None]));
}
