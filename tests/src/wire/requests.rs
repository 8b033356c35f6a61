//! One function per request that the tests need, each in one plain version.

use std::io;

use super::Connection;
use super::codec::{Reader, Writer};

/// Error codes that the tests name.
pub mod code {
    #![allow(missing_docs)]
    pub const NONE: i16 = 0;
    pub const OFFSET_OUT_OF_RANGE: i16 = 1;
    pub const CORRUPT_MESSAGE: i16 = 2;
    pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub const LEADER_NOT_AVAILABLE: i16 = 5;
    pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    pub const REQUEST_TIMED_OUT: i16 = 7;
    pub const MESSAGE_TOO_LARGE: i16 = 10;
    pub const INVALID_TOPIC_EXCEPTION: i16 = 17;
    pub const NOT_ENOUGH_REPLICAS: i16 = 19;
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
    pub const UNSUPPORTED_VERSION: i16 = 35;
    pub const TOPIC_ALREADY_EXISTS: i16 = 36;
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
    pub const INVALID_RECORD: i16 = 87;
}

/// What Metadata says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub id: i32,
    /// 0, or why there is no leader.
    pub error: i16,
    /// Node id, -1 for none.
    pub leader: i32,
    /// Grows with every election.
    pub leader_epoch: i32,
    /// All replicas.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub in_sync: Vec<i32>,
}

/// What Metadata says of the cluster and some topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Node id and Kafka address.
    pub brokers: Vec<(i32, String)>,
    /// Node id of the controller.
    pub controller: i32,
    /// Name, error, partitions.
    pub topics: Vec<(String, i16, Vec<Partition>)>,
}

impl Metadata {
    /// The partitions of a topic, in order; empty when it is not there.
    pub fn partitions(&self, topic: &str) -> Vec<Partition> {
        let found = self.topics.iter().find(|(name, ..)| name == topic);
        let mut partitions = found.map(|(_, _, all)| all.clone()).unwrap_or_default();
        partitions.sort_by_key(|partition| partition.id);
        partitions
    }

    /// The Kafka address of a node.
    pub fn address(&self, node: i32) -> Option<&str> {
        self.brokers
            .iter()
            .find(|(id, _)| *id == node)
            .map(|(_, address)| address.as_str())
    }
}

/// The versions of one request that a broker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRange {
    /// Which request.
    pub key: i16,
    /// Lowest version.
    pub min: i16,
    /// Highest version.
    pub max: i16,
}

/// ApiVersions 0: error and ranges.
pub fn api_versions(connection: &mut Connection) -> io::Result<(i16, Vec<ApiRange>)> {
    parse_api_versions(&connection.request(18, 0, &[])?)
}

/// The body of an ApiVersions answer of version 0.
pub fn parse_api_versions(body: &[u8]) -> io::Result<(i16, Vec<ApiRange>)> {
    let mut reader = Reader(body);
    let error = reader.i16()?;
    let ranges = reader.list(|each| {
        Ok(ApiRange {
            key: each.i16()?,
            min: each.i16()?,
            max: each.i16()?,
        })
    })?;
    Ok((error, ranges))
}

/// Metadata 7 of the topics named, none meaning no topics; never creates any.
pub fn metadata(connection: &mut Connection, topics: &[&str]) -> io::Result<Metadata> {
    let mut body = Writer::default();
    body.i32(topics.len() as i32);
    for topic in topics {
        body.string(Some(topic));
    }
    body.i8(0);
    let answer = connection.request(3, 7, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?; // throttle
    let brokers = reader.list(|broker| {
        let id = broker.i32()?;
        let (host, port) = (broker.string()?, broker.i32()?);
        broker.string()?; // rack
        Ok((id, format!("{host}:{port}")))
    })?;
    reader.string()?; // cluster id
    let controller = reader.i32()?;
    let topics = reader.list(|topic| {
        let error = topic.i16()?;
        let name = topic.string()?;
        topic.i8()?; // internal
        Ok((name, error, topic.list(partition)?))
    })?;
    Ok(Metadata {
        brokers,
        controller,
        topics,
    })
}

fn partition(reader: &mut Reader<'_>) -> io::Result<Partition> {
    let error = reader.i16()?;
    let (id, leader, leader_epoch) = (reader.i32()?, reader.i32()?, reader.i32()?);
    let replicas = reader.list(Reader::i32)?;
    let in_sync = reader.list(Reader::i32)?;
    reader.list(Reader::i32)?; // offline
    Ok(Partition {
        id,
        error,
        leader,
        leader_epoch,
        replicas,
        in_sync,
    })
}

/// CreateTopics 4 of one topic: its error code.
pub fn create_topic(
    connection: &mut Connection,
    name: &str,
    partitions: i32,
    replication: i16,
    configs: &[(&str, &str)],
) -> io::Result<i16> {
    let mut body = Writer::default();
    body.i32(1)
        .string(Some(name))
        .i32(partitions)
        .i16(replication)
        .i32(0);
    body.i32(configs.len() as i32);
    for (key, value) in configs {
        body.string(Some(key)).string(Some(value));
    }
    body.i32(30_000).i8(0);
    let answer = connection.request(19, 4, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?;
    let topics = reader.list(|topic| {
        topic.string()?;
        let error = topic.i16()?;
        topic.string()?;
        Ok(error)
    })?;
    topics
        .first()
        .copied()
        .ok_or_else(|| io::Error::other("no topic in the answer"))
}

/// ListOffsets 2 of one partition (-1 latest, -2 earliest): error and offset.
pub fn list_offset(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    time: i64,
) -> io::Result<(i16, i64)> {
    let mut body = Writer::default();
    body.i32(-1)
        .i8(0)
        .i32(1)
        .string(Some(topic))
        .i32(1)
        .i32(partition)
        .i64(time);
    let answer = connection.request(2, 2, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?;
    let topics = reader.list(|topic| {
        topic.string()?;
        topic.list(|each| {
            each.i32()?;
            let error = each.i16()?;
            each.i64()?;
            Ok((error, each.i64()?))
        })
    })?;
    topics
        .concat()
        .first()
        .copied()
        .ok_or_else(|| io::Error::other("no partition"))
}

/// The body of Produce 7 with one partition.
pub fn produce_body(topic: &str, partition: i32, acks: i16, records: Option<&[u8]>) -> Vec<u8> {
    let mut body = Writer::default();
    body.string(None).i16(acks).i32(10_000);
    body.i32(1)
        .string(Some(topic))
        .i32(1)
        .i32(partition)
        .bytes(records);
    body.0
}

/// Produce 7 of one batch: error and base offset.
pub fn produce(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    records: &[u8],
) -> io::Result<(i16, i64)> {
    let body = produce_body(topic, partition, -1, Some(records));
    let answer = connection.request(0, 7, &body)?;
    let mut reader = Reader(&answer);
    let topics = reader.list(|topic| {
        topic.string()?;
        topic.list(|each| {
            each.i32()?;
            let (error, offset) = (each.i16()?, each.i64()?);
            each.i64()?; // append time
            each.i64()?; // log start
            Ok((error, offset))
        })
    })?;
    topics
        .concat()
        .first()
        .copied()
        .ok_or_else(|| io::Error::other("no partition"))
}

/// InitProducerId 0 without a transactional id: error and producer id.
pub fn init_producer_id(connection: &mut Connection) -> io::Result<(i16, i64)> {
    let mut body = Writer::default();
    body.string(None).i32(60_000);
    let answer = connection.request(22, 0, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?; // throttle
    Ok((reader.i16()?, reader.i64()?))
}

/// Fetch 4 of one partition: error, high watermark, record bytes.
pub fn fetch(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    offset: i64,
    bytes_max: i32,
) -> io::Result<(i16, i64, Vec<u8>)> {
    let mut body = Writer::default();
    body.i32(-1).i32(100).i32(1).i32(bytes_max).i8(0);
    body.i32(1)
        .string(Some(topic))
        .i32(1)
        .i32(partition)
        .i64(offset)
        .i32(bytes_max);
    let answer = connection.request(1, 4, &body.0)?;
    let mut reader = Reader(&answer);
    reader.i32()?;
    let topics = reader.list(|topic| {
        topic.string()?;
        topic.list(|each| {
            each.i32()?;
            let (error, high_watermark) = (each.i16()?, each.i64()?);
            each.i64()?; // last stable offset
            each.list(|aborted| Ok((aborted.i64()?, aborted.i64()?)))?;
            Ok((error, high_watermark, each.bytes()?.to_vec()))
        })
    })?;
    topics
        .concat()
        .into_iter()
        .next()
        .ok_or_else(|| io::Error::other("no partition"))
}
