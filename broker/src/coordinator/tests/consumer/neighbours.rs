//! Everything else that a group has to do with: offsets, lists, deletion, expiry, and the other protocol.

use super::*;
use crate::coordinator::reply::{GroupStateName, Listed};
use crate::coordinator::request::{Commit, Fetch};
use crate::coordinator::tests::harness::{
    self, DELAY, EXPIRY, Log, RETENTION, SESSION, commit, offset_of, simple,
};

fn listed(h: &mut Harness) -> Vec<(String, &'static str, &'static str)> {
    let GroupReply::Listed(groups) = h.ask(GroupRequest::List) else {
        panic!("not listed");
    };
    let row = |group: Listed| {
        assert_eq!(group.protocol_type, "consumer");
        (group.group, group.group_type, group.state.name())
    };
    groups.into_iter().map(row).collect()
}

fn delete() -> GroupRequest {
    let group = "g".to_owned();
    GroupRequest::Delete { group }
}

fn fetch(id: &str, member_epoch: i32) -> GroupRequest {
    GroupRequest::Fetch(Fetch {
        group: "g".to_owned(),
        member: member(id),
        member_epoch,
        partitions: None,
    })
}

#[test]
fn a_member_commits_and_fetches_with_its_own_epoch() {
    let mut h = harness(2);
    let one = Consumer::join(&mut h, "one", &["t"]);
    let with = |id: &str, epoch| GroupRequest::Commit(commit("g", epoch, id, 7));
    assert_eq!(
        h.ask(with("one", 1)),
        GroupReply::Offsets(vec![ErrorCode::None])
    );
    for epoch in [0, 2, -1] {
        h.assert_failed(with("one", epoch), ErrorCode::StaleMemberEpoch);
    }
    h.assert_failed(with("two", 1), ErrorCode::UnknownMemberId);
    for epoch in [1, 2] {
        let old = Commit {
            knows_epochs: false,
            ..commit("g", epoch, "one", 8)
        };
        h.assert_failed(GroupRequest::Commit(old), ErrorCode::UnsupportedVersion);
    }
    h.assert_failed(simple("g", 8), ErrorCode::UnknownMemberId);
    assert_eq!(h.offset("g", "t", 0), 7, "anybody may look");
    assert!(matches!(h.ask(fetch("one", 1)), GroupReply::Fetched(_)));
    h.assert_failed(fetch("one", 2), ErrorCode::StaleMemberEpoch);
    h.assert_failed(fetch("two", 1), ErrorCode::UnknownMemberId);
    one.leaves(&mut h);
    h.assert_failed(with("one", 1), ErrorCode::UnknownMemberId);
    h.assert_failed(fetch("one", 1), ErrorCode::UnknownMemberId);
    // An operator moves the offsets of a group without members.
    assert_eq!(
        h.ask(simple("g", 3)),
        GroupReply::Offsets(vec![ErrorCode::None])
    );
    assert_eq!(h.offset("g", "t", 0), 3);
}

#[test]
fn it_is_listed_and_described_as_what_it_is() {
    let mut h = harness(2);
    h.commits = Log::Waits;
    let ticket = h.send(GroupRequest::ConsumerBeat(join("one", &["t"])));
    assert_eq!(listed(&mut h), [], "it is not committed");
    h.release();
    let one = Consumer {
        id: "one".to_owned(),
        epoch: beaten(h.reply(ticket).expect("it is committed")).epoch,
        owned: Partitions::default(),
    };
    let row = |state| [("g".to_owned(), "consumer", state)];
    assert_eq!(listed(&mut h), row("Stable"));
    let two = Consumer::join(&mut h, "two", &["t"]);
    assert_eq!(listed(&mut h), row("Reconciling"));
    two.leaves(&mut h);
    assert_eq!(listed(&mut h), row("Assigning"));
    one.leaves(&mut h);
    assert_eq!(listed(&mut h), row("Empty"));
    // Not as one of the classic protocol; and one of that not as this.
    assert_eq!(h.describe("g").state, GroupStateName::Dead);
    h.stable("classic", 1);
    let group = "classic".to_owned();
    let request = GroupRequest::ConsumerDescribe { group };
    h.assert_failed(request, ErrorCode::GroupIdNotFound);
}

#[test]
fn what_a_member_has_to_give_up_is_described_as_its_own() {
    let mut h = harness(2);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    let all = describe(&mut h).members[0].assigned.clone();
    assert_eq!(all[0].partitions, [0, 1]);
    Consumer::join(&mut h, "two", &["t"]);
    // It is told, and has not answered.
    h.ask(GroupRequest::ConsumerBeat(one.says()));
    assert_eq!(describe(&mut h).members[0].assigned, all);
    settle(&mut h, std::slice::from_mut(&mut one));
    assert_eq!(describe(&mut h).members[0].assigned[0].partitions.len(), 1);
}

#[test]
fn it_is_deleted_without_members_only() {
    let mut h = harness(2);
    let one = Consumer::join(&mut h, "one", &["t"]);
    h.assert_failed(delete(), ErrorCode::NonEmptyGroup);
    one.leaves(&mut h);
    assert_eq!(h.ask(delete()), GroupReply::Done);
    assert!(h.groups.get("g").is_none());
    h.assert_failed(delete(), ErrorCode::GroupIdNotFound);
    assert_eq!(Consumer::join(&mut h, "one", &["t"]).epoch, 1);
}

#[test]
fn offsets_of_topics_that_are_read_stay() {
    let mut h = harness(2);
    h.topics.put("u", 1);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    let request = Commit {
        offsets: vec![offset_of("t", 0, 5), offset_of("u", 0, 6)],
        ..commit("g", 1, "one", 0)
    };
    h.ask(GroupRequest::Commit(request));
    let deletion = |h: &mut Harness| {
        h.ask(GroupRequest::DeleteOffsets {
            group: "g".to_owned(),
            partitions: vec![("t".to_owned(), 0)],
        })
    };
    let code = GroupReply::Offsets(vec![ErrorCode::GroupSubscribedToTopic]);
    assert_eq!(deletion(&mut h), code);
    let mut waited_ms = 0;
    while waited_ms < RETENTION + EXPIRY {
        h.advance(SESSION / 2);
        waited_ms += SESSION / 2;
        one.beats(&mut h);
    }
    assert_eq!((h.offset("g", "t", 0), h.offset("g", "u", 0)), (5, -1));
    // Without members they are kept as long again, from when the last one left.
    one.leaves(&mut h);
    h.advance(RETENTION - 1);
    assert_eq!(h.offset("g", "t", 0), 5);
    h.advance(EXPIRY + 1);
    assert!(h.groups.get("g").is_none());
}

#[test]
fn an_empty_group_takes_the_other_protocol_and_goes_on_in_its_count() {
    let mut h = harness(2);
    let classic = h.stable("g", 1);
    let members = vec![harness::member(&classic[0])];
    let beat = GroupRequest::ConsumerBeat(join("one", &["t"]));
    h.assert_failed(beat, ErrorCode::GroupIdNotFound);
    h.ask(GroupRequest::Commit(commit("g", 1, &classic[0], 7)));
    h.ask(harness::leave("g", members));
    let generation = 2;
    let one = Consumer::join(&mut h, "one", &["t"]);
    assert_eq!(one.epoch, generation + 1);
    assert_eq!(h.offset("g", "t", 0), 7);
    let mut request = harness::join("g", "");
    request.protocol_type = "connect".to_owned();
    let request = GroupRequest::Join(request);
    h.assert_failed(request, ErrorCode::InconsistentGroupProtocol);
    h.assert_failed(
        harness::heartbeat("g", 3, "one"),
        ErrorCode::UnknownMemberId,
    );
    one.leaves(&mut h);
    let (id, ticket) = h.join("g");
    h.advance(2 * DELAY);
    assert_eq!(h.joined(ticket).generation, generation + 3);
    assert_eq!(h.sync_all("g", &[(id, ticket)]), generation + 3);
    assert_eq!(h.describe("g").state, GroupStateName::Stable);
    assert_eq!(h.offset("g", "t", 0), 7);
    assert_eq!(listed(&mut h), [("g".to_owned(), "classic", "Stable")]);
}
