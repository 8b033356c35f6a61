//! Every topic config.

use super::key::{Check, Key, Kind, all_supported};

/// A topic config row; it is never read-only.
const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    check: Check,
    broker_name: Option<&'static str>,
    doc: &'static str,
) -> Key {
    let effective = true;
    let default = Some(default);
    let (read_only, unsupported) = (false, all_supported as fn(&str) -> Option<&'static str>);
    Key {
        name,
        kind,
        default,
        check,
        effective,
        read_only,
        broker_name,
        unsupported,
        doc,
    }
}

/// A key that Kafka has and that does nothing here.
const fn idle(key: Key) -> Key {
    Key {
        effective: false,
        ..key
    }
}

/// A key of which not every value is built.
const fn partly(key: Key, unsupported: fn(&str) -> Option<&'static str>) -> Key {
    Key { unsupported, ..key }
}

fn no_compaction(value: &str) -> Option<&'static str> {
    if super::key::items(value).any(|item| item == "compact") {
        return Some("Compaction is not supported yet, only delete");
    }
    super::key::items(value)
        .next()
        .is_none()
        .then_some("The list must not be empty")
}

fn only_producer(value: &str) -> Option<&'static str> {
    (value != "producer").then_some("Compression by the broker is not supported yet, only producer")
}

fn no_remote_storage(value: &str) -> Option<&'static str> {
    value
        .eq_ignore_ascii_case("true")
        .then_some("Remote storage is not supported yet")
}

fn never_unclean(value: &str) -> Option<&'static str> {
    value
        .eq_ignore_ascii_case("true")
        .then_some("A replica that lacks acknowledged records never leads; unclean elections are not supported")
}

/// Every topic config, Kafka's in alphabetical order, then our own.
pub static TOPIC_KEYS: &[Key] = &[
    partly(
        row(
            "cleanup.policy",
            Kind::List,
            "delete",
            Check::Words(&["compact", "delete"]),
            Some("log.cleanup.policy"),
            "What happens to old records: delete drops them by age and size. Compaction by key is \
             not supported yet.",
        ),
        no_compaction,
    ),
    idle(row(
        "compression.gzip.level",
        Kind::Int,
        "-1",
        Check::LevelOrDefault(9),
        Some("compression.gzip.level"),
        "Level for compression.type gzip. No effect: batches are kept as their producers \
             compressed them.",
    )),
    idle(row(
        "compression.lz4.level",
        Kind::Int,
        "9",
        Check::Within(1, 17),
        Some("compression.lz4.level"),
        "Level for compression.type lz4. No effect: batches are kept as their producers \
             compressed them.",
    )),
    partly(
        row(
            "compression.type",
            Kind::String,
            "producer",
            Check::Words(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
            Some("compression.type"),
            "How batches are compressed in the log. Only producer is supported: every batch is \
             kept byte for byte as it was sent.",
        ),
        only_producer,
    ),
    idle(row(
        "compression.zstd.level",
        Kind::Int,
        "3",
        Check::Within(-131_072, 22),
        Some("compression.zstd.level"),
        "Level for compression.type zstd. No effect: batches are kept as their producers \
             compressed them.",
    )),
    idle(row(
        "delete.retention.ms",
        Kind::Long,
        "86400000",
        Check::Within(0, i64::MAX),
        Some("log.cleaner.delete.retention.ms"),
        "How long a compacted topic keeps its tombstones. No effect: compaction is not \
             supported yet.",
    )),
    idle(row(
        "file.delete.delay.ms",
        Kind::Long,
        "60000",
        Check::Within(0, i64::MAX),
        Some("log.segment.delete.delay.ms"),
        "Wait before a dropped file leaves the file system. No effect: partitions have no \
             files of their own.",
    )),
    idle(row(
        "flush.messages",
        Kind::Long,
        "9223372036854775807",
        Check::Within(1, i64::MAX),
        Some("log.flush.interval.messages"),
        "Records between two forced writes to disk. No effect: see durability; by default \
             every acknowledged record is on disk.",
    )),
    idle(row(
        "flush.ms",
        Kind::Long,
        "9223372036854775807",
        Check::Within(0, i64::MAX),
        Some("log.flush.interval.ms"),
        "Time between two forced writes to disk. No effect: see durability; by default every \
             acknowledged record is on disk.",
    )),
    idle(row(
        "follower.replication.throttled.replicas",
        Kind::List,
        "",
        Check::ThrottledReplicas,
        None,
        "Followers whose catching up is throttled, as partition:broker pairs or *. No effect: \
             replication has no throttle yet.",
    )),
    idle(row(
        "index.interval.bytes",
        Kind::Int,
        "4096",
        Check::Within(0, i64::MAX),
        Some("log.index.interval.bytes"),
        "Bytes between two index entries. No effect: the directory of the log is exact.",
    )),
    idle(row(
        "leader.replication.throttled.replicas",
        Kind::List,
        "",
        Check::ThrottledReplicas,
        None,
        "Replicas whose leader is throttled, as partition:broker pairs or *. No effect: \
             replication has no throttle yet.",
    )),
    row(
        "local.retention.bytes",
        Kind::Long,
        "-2",
        Check::Within(-2, i64::MAX),
        Some("log.local.retention.bytes"),
        "Bytes of a partition that each broker keeps in its own log of what the snapshot store \
             holds; -2 means as retention.bytes. Without a store (snapshot.store) it has no effect.",
    ),
    row(
        "local.retention.ms",
        Kind::Long,
        "-2",
        Check::Within(-2, i64::MAX),
        Some("log.local.retention.ms"),
        "How long each broker keeps records in its own log that the snapshot store holds; -2 means \
             as retention.ms. Without a store (snapshot.store) it has no effect.",
    ),
    idle(row(
        "max.compaction.lag.ms",
        Kind::Long,
        "9223372036854775807",
        Check::Within(1, i64::MAX),
        Some("log.cleaner.max.compaction.lag.ms"),
        "Longest time that a record of a compacted topic stays uncompacted. No effect: \
             compaction is not supported yet.",
    )),
    row(
        "max.message.bytes",
        Kind::Int,
        "1048588",
        Check::Within(0, i64::MAX),
        Some("message.max.bytes"),
        "Largest record batch in bytes, after the producer's compression. Larger ones are \
             refused.",
    ),
    row(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        Check::Within(0, i64::MAX),
        Some("log.message.timestamp.after.max.ms"),
        "How far a record's timestamp may lie ahead of the broker's clock. Records beyond are \
             refused. Only with CreateTime.",
    ),
    row(
        "message.timestamp.before.max.ms",
        Kind::Long,
        "9223372036854775807",
        Check::Within(0, i64::MAX),
        Some("log.message.timestamp.before.max.ms"),
        "How far a record's timestamp may lie behind the broker's clock. Records beyond are \
             refused. Only with CreateTime.",
    ),
    row(
        "message.timestamp.type",
        Kind::String,
        "CreateTime",
        Check::Words(&["CreateTime", "LogAppendTime"]),
        Some("log.message.timestamp.type"),
        "Whose clock a record's timestamp comes from: the producer's (CreateTime) or the \
             leader's (LogAppendTime).",
    ),
    idle(row(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        Check::Fraction(0.0, 1.0),
        Some("log.cleaner.min.cleanable.ratio"),
        "How dirty a compacted topic must be before it is compacted. No effect: compaction is \
             not supported yet.",
    )),
    idle(row(
        "min.compaction.lag.ms",
        Kind::Long,
        "0",
        Check::Within(0, i64::MAX),
        Some("log.cleaner.min.compaction.lag.ms"),
        "Shortest time that a record stays uncompacted. No effect: compaction is not \
             supported yet.",
    )),
    row(
        "min.insync.replicas",
        Kind::Int,
        "1",
        Check::Within(1, i64::MAX),
        Some("min.insync.replicas"),
        "In-sync voters that a write with acks=all needs. A majority is always needed, \
             whatever is set here.",
    ),
    idle(row(
        "preallocate",
        Kind::Boolean,
        "false",
        Check::Any,
        Some("log.preallocate"),
        "Whether a new segment file gets its space at once. No effect: segments always have \
             it.",
    )),
    idle(row(
        "remote.log.copy.disable",
        Kind::Boolean,
        "false",
        Check::Any,
        None,
        "Whether copying to remote storage is stopped. No effect: there is no remote storage \
             yet.",
    )),
    idle(row(
        "remote.log.delete.on.disable",
        Kind::Boolean,
        "false",
        Check::Any,
        None,
        "Whether remote data goes when remote storage is switched off. No effect: there is no \
             remote storage yet.",
    )),
    partly(
        idle(row(
            "remote.storage.enable",
            Kind::Boolean,
            "false",
            Check::Any,
            None,
            "Whether older records move to remote storage. Not supported yet: only false.",
        )),
        no_remote_storage,
    ),
    row(
        "retention.bytes",
        Kind::Long,
        "-1",
        Check::Within(-1, i64::MAX),
        Some("log.retention.bytes"),
        "How many bytes of each partition are kept; older records are dropped. -1 means all.",
    ),
    row(
        "retention.ms",
        Kind::Long,
        "604800000",
        Check::Within(-1, i64::MAX),
        Some("log.retention.ms"),
        "How long records are kept, by their timestamps. -1 means for ever.",
    ),
    idle(row(
        "segment.bytes",
        Kind::Int,
        "1073741824",
        Check::Within(1_048_576, i64::MAX),
        Some("log.segment.bytes"),
        "Size of a partition's segment files. No effect: all partitions share one log with \
             segments of its own.",
    )),
    idle(row(
        "segment.index.bytes",
        Kind::Int,
        "10485760",
        Check::Within(4, i64::MAX),
        Some("log.index.size.max.bytes"),
        "Size of a segment's index file. No effect: there are no index files.",
    )),
    idle(row(
        "segment.jitter.ms",
        Kind::Long,
        "0",
        Check::Within(0, i64::MAX),
        Some("log.roll.jitter.ms"),
        "Random delay of rolling a segment. No effect: all partitions share one log.",
    )),
    idle(row(
        "segment.ms",
        Kind::Long,
        "604800000",
        Check::Within(1, i64::MAX),
        Some("log.roll.ms"),
        "Age at which a segment is rolled. No effect: retention does not depend on segments.",
    )),
    partly(
        row(
            "unclean.leader.election.enable",
            Kind::Boolean,
            "false",
            Check::Any,
            Some("unclean.leader.election.enable"),
            "Whether a replica without all acknowledged records may lead. Only false: such a \
             replica never leads here.",
        ),
        never_unclean,
    ),
    row(
        "durability",
        Kind::String,
        "fsync",
        Check::Words(&["fsync", "relaxed"]),
        None,
        "When a record is acknowledged: fsync, once it is synced to disk on a majority; \
             relaxed, once a majority has received it, so that a power failure of all machines at \
             once can lose it. Not a Kafka config.",
    ),
    row(
        "validate.records",
        Kind::String,
        "header",
        Check::Words(&["header", "full"]),
        None,
        "How far the broker looks into compressed batches: header, only where it must; full, \
             every record of every batch. Not a Kafka config.",
    ),
];
