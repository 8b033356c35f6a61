//! Tests of what is replicated, and of the partition of a group; of the coordinator in the files beside.

mod admin;
mod causes;
mod consumer;
mod expiry;
mod failover;
mod forget;
mod harness;
mod join;
mod leave;
mod limits;
mod offsets;
mod random;
mod static_members;
mod sync;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::command::GroupCommand;
use super::partition_of;
use super::request::{Client, CommitOffset};
use super::state::{Groups, Member, Membership};
use crate::metadata::TopicId;

fn offset(topic: &str, partition: i32, offset: i64) -> CommitOffset {
    CommitOffset {
        topic: topic.to_owned(),
        partition,
        offset,
        leader_epoch: 3,
        metadata: "words".to_owned(),
    }
}

fn membership(generation: i32, members: &[&str]) -> Membership {
    let member = |id: &&str| {
        let member = Member {
            instance: id.ends_with('s').then(|| "static".to_owned()),
            client: Client {
                id: "client".to_owned(),
                host: "/127.0.0.1".to_owned(),
            },
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
            subscription: Bytes::from_static(b"subscription"),
            assignment: Bytes::from_static(b"assignment"),
        };
        ((*id).to_owned(), member)
    };
    Membership {
        generation,
        protocol_type: "consumer".to_owned(),
        protocol_name: "range".to_owned(),
        leader: members.first().map_or(String::new(), |m| (*m).to_owned()),
        members: members.iter().map(member).collect::<BTreeMap<_, _>>(),
        changed_ms: 17,
    }
}

fn commands() -> Vec<GroupCommand> {
    let group = "group".to_owned();
    vec![
        GroupCommand::PutMembership {
            group: group.clone(),
            membership: membership(4, &["a", "bs"]),
        },
        GroupCommand::CommitOffsets {
            group: group.clone(),
            at_ms: 99,
            expires_ms: None,
            known_at: 7,
            topics: BTreeMap::from([("t".to_owned(), TopicId(3)), ("u".to_owned(), TopicId(4))]),
            offsets: vec![offset("t", 0, 7), offset("t", 1, 8), offset("u", 0, 9)],
        },
        GroupCommand::DeleteOffsets {
            group: group.clone(),
            partitions: vec![("t".to_owned(), 1), ("none".to_owned(), 0)],
        },
        GroupCommand::ForgetTopics {
            group: group.clone(),
            topics: vec![TopicId(4), TopicId(5)],
        },
        GroupCommand::CommitOffsets {
            group: "other".to_owned(),
            at_ms: 100,
            expires_ms: Some(150),
            known_at: 0,
            topics: BTreeMap::new(),
            offsets: vec![offset("t", 0, 1)],
        },
        GroupCommand::DeleteGroup { group },
    ]
}

fn encoded(command: &GroupCommand) -> BytesMut {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    bytes
}

#[test]
fn commands_and_the_state_after_each_come_back_from_their_bytes() {
    let mut groups = Groups::default();
    for command in commands() {
        let bytes = encoded(&command);
        assert_eq!(GroupCommand::decode(&bytes), Some(command.clone()));
        groups.apply(&command);
        let mut state = BytesMut::new();
        groups.encode(&mut state);
        let rest = &mut &state[..];
        assert_eq!(Groups::decode(rest), Some(groups.clone()));
        assert!(rest.is_empty());
    }
    assert_eq!(
        groups.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["other"]
    );
}

#[test]
fn bytes_cut_or_changed_are_refused_or_another_value_but_never_believed_blindly() {
    for command in commands() {
        let bytes = encoded(&command);
        for len in 0..bytes.len() {
            assert_eq!(GroupCommand::decode(&bytes[..len]), None, "cut at {len}");
        }
        let mut longer = bytes.clone();
        longer.extend_from_slice(b"x");
        assert_eq!(GroupCommand::decode(&longer), None);
        for at in 0..bytes.len() {
            let mut hostile = bytes.clone();
            hostile[at] = 0xFF;
            let _ = GroupCommand::decode(&hostile);
            let _ = Groups::decode(&mut &hostile[..]);
        }
    }
}

#[test]
fn a_group_stays_when_its_last_offset_is_deleted() {
    let delete = |group: &str| GroupCommand::DeleteOffsets {
        group: group.to_owned(),
        partitions: vec![("t".to_owned(), 0)],
    };
    let commit = |group: &str| GroupCommand::CommitOffsets {
        group: group.to_owned(),
        at_ms: 1,
        expires_ms: None,
        known_at: 1,
        topics: BTreeMap::new(),
        offsets: vec![offset("t", 0, 5)],
    };
    let mut groups = Groups::default();
    groups.apply(&GroupCommand::PutMembership {
        group: "members".to_owned(),
        membership: membership(1, &[]),
    });
    for group in ["simple", "members"] {
        groups.apply(&commit(group));
        let stored = groups.get(group).unwrap();
        assert_eq!(stored.offsets["t"][&0].offset, 5);
        groups.apply(&delete(group));
    }
    for group in ["simple", "members"] {
        assert!(groups.get(group).unwrap().offsets.is_empty());
    }
}

/// From a run of `Utils.abs("...".hashCode()) % 50` in Java.
#[test]
fn a_group_belongs_to_the_partition_that_kafka_gives_it() {
    assert_eq!(partition_of("", 50), 0);
    assert_eq!(partition_of("a", 50), 47);
    assert_eq!(partition_of("test-group", 50), 12);
    assert_eq!(
        partition_of("polygenelubricants", 50),
        0,
        "the hash is the least integer"
    );
    assert_eq!(partition_of("my-group", 50), 12, "the hash is negative");
    assert_eq!(partition_of("console-consumer", 50), 40, "this one too");
    assert_eq!(partition_of("Grüße", 50), 1);
    assert_eq!(partition_of("😀", 50), 49, "two UTF-16 units");
}
