//! Requests of consumer groups, each in its last version with plain encodings if it has one.

use std::io;

use super::Connection;
use super::codec::{Reader, Writer};

/// Error codes that members act upon.
pub mod code {
    #![allow(missing_docs)]
    pub const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub const NOT_COORDINATOR: i16 = 16;
    pub const ILLEGAL_GENERATION: i16 = 22;
    pub const UNKNOWN_MEMBER_ID: i16 = 25;
    pub const REBALANCE_IN_PROGRESS: i16 = 27;
    pub const GROUP_ID_NOT_FOUND: i16 = 69;
    pub const MEMBER_ID_REQUIRED: i16 = 79;
    pub const FENCED_INSTANCE_ID: i16 = 82;
}

/// FindCoordinator 1 of a group: error, and the coordinator's address.
pub fn find_coordinator(connection: &mut Connection, group: &str) -> io::Result<(i16, String)> {
    let mut body = Writer::default();
    body.string(Some(group)).i8(0);
    let answer = connection.request(10, 1, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?; // throttle
    let error = reader.i16()?;
    reader.string()?; // message
    reader.i32()?; // node
    let (host, port) = (reader.string()?, reader.i32()?);
    Ok((error, format!("{host}:{port}")))
}

/// What a member wants to join with.
#[derive(Debug, Clone)]
pub struct Join<'a> {
    /// The group.
    pub group: &'a str,
    /// In ms.
    pub session_timeout: i32,
    /// In ms.
    pub rebalance_timeout: i32,
    /// Empty at first.
    pub member: &'a str,
    /// Of a static member.
    pub instance: Option<&'a str>,
    /// The one protocol's name.
    pub protocol: &'a str,
    /// The subscription.
    pub subscription: &'a [u8],
}

/// The answer to a join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// 0 is success.
    pub error: i16,
    /// The generation.
    pub generation: i32,
    /// The leading member.
    pub leader: String,
    /// The own id.
    pub member: String,
    /// All ids, for the leader.
    pub members: Vec<String>,
}

/// JoinGroup 5, which waits for the others.
pub fn join(connection: &mut Connection, join: &Join<'_>) -> io::Result<Joined> {
    let mut body = Writer::default();
    body.string(Some(join.group))
        .i32(join.session_timeout)
        .i32(join.rebalance_timeout)
        .string(Some(join.member))
        .string(join.instance)
        .string(Some("consumer"))
        .i32(1)
        .string(Some(join.protocol))
        .bytes(Some(join.subscription));
    let answer = connection.request(11, 5, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?; // throttle
    let (error, generation) = (reader.i16()?, reader.i32()?);
    reader.string()?; // protocol
    let (leader, member) = (reader.string()?, reader.string()?);
    let members = reader.list(|each| {
        let id = each.string()?;
        each.string()?; // instance
        each.bytes()?; // subscription
        Ok(id)
    })?;
    Ok(Joined {
        error,
        generation,
        leader,
        member,
        members,
    })
}

/// SyncGroup 3: error and the own assignment.
pub fn sync(
    connection: &mut Connection,
    group: &str,
    generation: i32,
    member: &str,
    assignments: &[(String, Vec<u8>)],
) -> io::Result<(i16, Vec<u8>)> {
    let mut body = Writer::default();
    body.string(Some(group))
        .i32(generation)
        .string(Some(member))
        .string(None)
        .i32(assignments.len() as i32);
    for (member, assignment) in assignments {
        body.string(Some(member)).bytes(Some(assignment));
    }
    let answer = connection.request(14, 3, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?; // throttle
    Ok((reader.i16()?, reader.bytes()?.to_vec()))
}

/// Heartbeat 3.
pub fn heartbeat(
    connection: &mut Connection,
    group: &str,
    generation: i32,
    member: &str,
) -> io::Result<i16> {
    let mut body = Writer::default();
    body.string(Some(group))
        .i32(generation)
        .string(Some(member))
        .string(None);
    let answer = connection.request(12, 3, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?; // throttle
    reader.i16()
}

/// LeaveGroup 1.
pub fn leave(connection: &mut Connection, group: &str, member: &str) -> io::Result<i16> {
    let mut body = Writer::default();
    body.string(Some(group)).string(Some(member));
    let answer = connection.request(13, 1, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?; // throttle
    reader.i16()
}

/// OffsetCommit 7 of one partition.
pub fn commit(
    connection: &mut Connection,
    group: &str,
    (generation, member): (i32, &str),
    (topic, partition): (&str, i32),
    offset: i64,
) -> io::Result<i16> {
    let mut body = Writer::default();
    body.string(Some(group))
        .i32(generation)
        .string(Some(member))
        .string(None)
        .i32(1)
        .string(Some(topic))
        .i32(1)
        .i32(partition)
        .i64(offset)
        .i32(-1)
        .string(Some(""));
    let answer = connection.request(8, 7, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?; // throttle
    let topics = reader.list(|topic| {
        topic.string()?;
        topic.list(|each| {
            each.i32()?;
            each.i16()
        })
    })?;
    topics
        .concat()
        .first()
        .copied()
        .ok_or_else(|| io::Error::other("no partition"))
}

/// OffsetFetch 5 of one partition: error and the offset, -1 for none.
pub fn committed(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    partition: i32,
) -> io::Result<(i16, i64)> {
    let mut body = Writer::default();
    body.string(Some(group))
        .i32(1)
        .string(Some(topic))
        .i32(1)
        .i32(partition);
    let answer = connection.request(9, 5, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?; // throttle
    let topics = reader.list(|topic| {
        topic.string()?;
        topic.list(|each| {
            each.i32()?;
            let offset = each.i64()?;
            each.i32()?; // leader epoch
            each.string()?; // metadata
            Ok((each.i16()?, offset))
        })
    })?;
    let error = reader.i16()?;
    if error != 0 {
        return Ok((error, -1));
    }
    topics
        .concat()
        .first()
        .copied()
        .ok_or_else(|| io::Error::other("no partition"))
}

/// What its coordinator says of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// 0 is success.
    pub error: i16,
    /// Such as `Stable`.
    pub state: String,
    /// How many.
    pub members: usize,
}

/// A group of either protocol: who asks for the other one's is told that there is none.
pub fn describe(connection: &mut Connection, group: &str) -> io::Result<Described> {
    let described = describe_consumer(connection, group)?;
    if described.error == code::GROUP_ID_NOT_FOUND {
        return describe_classic(connection, group);
    }
    Ok(described)
}

/// DescribeGroups 0 of one group.
fn describe_classic(connection: &mut Connection, group: &str) -> io::Result<Described> {
    let mut body = Writer::default();
    body.i32(1).string(Some(group));
    let answer = connection.request(15, 0, &body.0)?;
    let groups = Reader(&answer).list(|each| {
        let error = each.i16()?;
        each.string()?; // group
        let state = each.string()?;
        each.string()?; // protocol type
        each.string()?; // protocol
        let members = each.list(|member| {
            member.string()?; // id
            member.string()?; // client id
            member.string()?; // host
            member.bytes()?; // subscription
            member.bytes()?; // assignment
            Ok(())
        })?;
        Ok(Described {
            error,
            state,
            members: members.len(),
        })
    })?;
    let mut groups = groups.into_iter();
    groups.next().ok_or_else(|| io::Error::other("no group"))
}

/// ConsumerGroupDescribe 0 of one group.
fn describe_consumer(connection: &mut Connection, group: &str) -> io::Result<Described> {
    let mut body = Writer::default();
    body.uvarint(0) // tags of the header
        .uvarint(2)
        .compact_string(group)
        .i8(0) // without authorized operations
        .uvarint(0);
    let answer = connection.request(69, 0, &body.0)?;
    let mut reader = Reader(&answer);
    reader.tags()?; // of the header
    reader.i32()?; // throttle
    let groups = reader.compact_list(|each| {
        let error = each.i16()?;
        each.compact_string()?; // message
        each.compact_string()?; // group
        let state = each.compact_string()?;
        each.i32()?; // epoch
        each.i32()?; // epoch of the assignment
        each.compact_string()?; // assignor
        let members = each.compact_list(consumer_member)?.len();
        each.i32()?; // authorized operations
        each.tags()?;
        Ok(Described {
            error,
            state,
            members,
        })
    })?;
    let mut groups = groups.into_iter();
    groups.next().ok_or_else(|| io::Error::other("no group"))
}

/// Passes over a member in ConsumerGroupDescribe 0.
fn consumer_member(member: &mut Reader<'_>) -> io::Result<()> {
    member.compact_string()?; // id
    member.compact_string()?; // instance
    member.compact_string()?; // rack
    member.i32()?; // epoch
    member.compact_string()?; // client id
    member.compact_string()?; // host
    member.compact_list(Reader::compact_string)?; // topics
    member.compact_string()?; // pattern
    for _ in ["assignment", "target"] {
        member.compact_list(|topic| {
            topic.take(16)?; // id
            topic.compact_string()?; // name
            topic.compact_list(Reader::i32)?; // partitions
            topic.tags()
        })?;
        member.tags()?;
    }
    member.tags()
}
