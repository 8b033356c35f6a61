//! The broker configs that are not defaults of topic configs.

use super::key::{Check, Key, Kind, all_supported};

const fn row(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Key {
    let (check, broker_name, effective, read_only) = (Check::Any, None, true, true);
    let unsupported = all_supported as fn(&str) -> Option<&'static str>;
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

/// A rate that Kafka's tools set and remove; it can be, and does nothing here.
const fn rate(name: &'static str, doc: &'static str) -> Key {
    let key = row(name, Kind::Long, Some("9223372036854775807"), doc);
    Key {
        check: Check::Within(0, i64::MAX),
        effective: false,
        read_only: false,
        ..key
    }
}

/// Broker configs in alphabetical order. Values come from the broker where there is no default.
pub static BROKER_KEYS: &[Key] = &[
    row(
        "advertised.listeners",
        Kind::String,
        None,
        "The addresses that clients are told.",
    ),
    row(
        "auto.create.topics.enable",
        Kind::Boolean,
        Some("true"),
        "Whether a topic is created when a client asks for one that does not exist.",
    ),
    row(
        "auto.leader.rebalance.enable",
        Kind::Boolean,
        Some("true"),
        "Whether leadership goes back to preferred leaders by itself.",
    ),
    row("broker.id", Kind::Int, None, "The id of this broker."),
    row(
        "broker.rack",
        Kind::String,
        None,
        "Where this broker stands. Replicas of a partition are spread over racks.",
    ),
    row(
        "connections.max.idle.ms",
        Kind::Long,
        Some("600000"),
        "A client connection without a request for this long is closed.",
    ),
    row(
        "default.replication.factor",
        Kind::Int,
        None,
        "Replicas of a partition whose creator does not say: 3, or all brokers when there are \
         fewer.",
    ),
    row(
        "delete.topic.enable",
        Kind::Boolean,
        Some("true"),
        "Whether topics can be deleted. They always can.",
    ),
    row(
        "fetch.max.bytes",
        Kind::Int,
        Some("52428800"),
        "Largest fetch response; a first batch above it is sent alone.",
    ),
    rate(
        "follower.replication.throttled.rate",
        "Bytes per second of throttled followers. No effect: replication has no throttle yet.",
    ),
    row(
        "group.consumer.assignors",
        Kind::List,
        Some("uniform,range"),
        "Who assigns partitions in groups of the consumer protocol; the first where members do not say.",
    ),
    row(
        "group.consumer.heartbeat.interval.ms",
        Kind::Int,
        Some("5000"),
        "How often members of the consumer protocol send heartbeats.",
    ),
    row(
        "group.consumer.max.size",
        Kind::Int,
        Some("10000"),
        "Members of one group of the consumer protocol.",
    ),
    row(
        "group.consumer.migration.policy",
        Kind::String,
        Some("bidirectional"),
        "Which way a group with members goes from one protocol to the other.",
    ),
    row(
        "group.consumer.session.timeout.ms",
        Kind::Int,
        Some("45000"),
        "A member of the consumer protocol is removed after so long a silence.",
    ),
    row(
        "group.initial.rebalance.delay.ms",
        Kind::Int,
        Some("3000"),
        "Wait for more members before the first rebalance of an empty group.",
    ),
    row(
        "group.max.session.timeout.ms",
        Kind::Int,
        Some("1800000"),
        "Longest session timeout that a group member may ask for.",
    ),
    row(
        "group.max.size",
        Kind::Int,
        Some("10000"),
        "Members of one group.",
    ),
    row(
        "group.min.session.timeout.ms",
        Kind::Int,
        Some("6000"),
        "Shortest session timeout that a group member may ask for.",
    ),
    rate(
        "leader.replication.throttled.rate",
        "Bytes per second of leaders towards throttled followers. No effect: replication has \
         no throttle yet.",
    ),
    row(
        "listeners",
        Kind::String,
        None,
        "Where this broker listens.",
    ),
    row(
        "log.dirs",
        Kind::String,
        None,
        "Where this broker keeps its data.",
    ),
    row(
        "max.connections",
        Kind::Int,
        Some("10000"),
        "Client connections at once.",
    ),
    row(
        "max.connections.per.ip",
        Kind::Int,
        Some("1024"),
        "Client connections at once from one address.",
    ),
    row("node.id", Kind::Int, None, "The id of this broker."),
    row(
        "num.partitions",
        Kind::Int,
        Some("1"),
        "Partitions of a topic whose creator does not say.",
    ),
    row(
        "offsets.retention.minutes",
        Kind::Int,
        Some("10080"),
        "How long the offsets of an empty group are kept.",
    ),
    row(
        "offsets.topic.num.partitions",
        Kind::Int,
        Some("50"),
        "Partitions of the topic that holds the groups, when it is created.",
    ),
    row(
        "offsets.topic.replication.factor",
        Kind::Short,
        Some("3"),
        "Replicas of each partition of the topic that holds the groups, at most as many as there \
         are brokers.",
    ),
    row(
        "process.roles",
        Kind::List,
        Some("broker,controller"),
        "What a node is: every node is both, the controller is the leader of the metadata \
         group.",
    ),
    row(
        "producer.id.expiration.ms",
        Kind::Int,
        Some("86400000"),
        "A producer's sequence state is forgotten after this silence.",
    ),
    rate(
        "replica.alter.log.dirs.io.max.bytes.per.second",
        "Bytes per second of moves between directories. No effect: a broker has one \
         directory.",
    ),
    row(
        "replica.lag.time.max.ms",
        Kind::Long,
        Some("10000"),
        "A voter not level with its leader for this long is not in sync.",
    ),
    row(
        "socket.request.max.bytes",
        Kind::Int,
        Some("104857600"),
        "Largest request.",
    ),
];
