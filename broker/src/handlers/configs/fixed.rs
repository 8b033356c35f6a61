//! What this broker's configuration says, under the names that Kafka has.

use std::collections::BTreeMap;

use crate::config::Config;

/// Of a minute of Kafka's.
const MINUTE_MS: u64 = 60_000;

/// What was set, or has no default.
pub fn fixed(config: &Config) -> BTreeMap<String, String> {
    let node = &config.node;
    let advertised = node
        .advertised_kafka
        .as_ref()
        .unwrap_or(&node.listener_kafka);
    let mut fixed: BTreeMap<String, String> = [
        ("broker.id", node.node_id.to_string()),
        ("node.id", node.node_id.to_string()),
        ("listeners", format!("PLAINTEXT://{}", node.listener_kafka)),
        ("advertised.listeners", format!("PLAINTEXT://{advertised}")),
        ("log.dirs", node.data_dir.display().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for (kafka, own, value) in settings(config) {
        let explained = config.explain(own.unwrap_or(kafka));
        if explained.is_ok_and(|explained| explained.source != "default") {
            fixed.insert(kafka.to_owned(), value);
        }
    }
    fixed
}

/// What may be set, and has a default: the name of Kafka, our own where it is another one, and the value as Kafka
/// writes it.
fn settings(config: &Config) -> Vec<(&'static str, Option<&'static str>, String)> {
    let node = &config.node;
    let same = |name, value: &dyn ToString| (name, None, value.to_string());
    let other = |kafka, own, value: &dyn ToString| (kafka, Some(own), value.to_string());
    let assignors = node.group_consumer_assignors.to_string().replace(", ", ",");
    let retention_minutes = node.offsets_retention_ms.div_ceil(MINUTE_MS);
    vec![
        same("auto.create.topics.enable", &node.auto_create_topics),
        same("connections.max.idle.ms", &node.connection_idle_max_ms),
        same(
            "default.replication.factor",
            &node.default_replication_factor,
        ),
        same("fetch.max.bytes", &node.fetch_max_bytes),
        same("group.consumer.assignors", &assignors),
        same(
            "group.consumer.heartbeat.interval.ms",
            &node.group_consumer_heartbeat_interval_ms,
        ),
        same("group.consumer.max.size", &node.group_consumer_members_max),
        same(
            "group.consumer.migration.policy",
            &node.group_consumer_migration.word(),
        ),
        same(
            "group.consumer.session.timeout.ms",
            &node.group_consumer_session_timeout_ms,
        ),
        same(
            "group.initial.rebalance.delay.ms",
            &node.group_initial_rebalance_delay_ms,
        ),
        same(
            "group.max.session.timeout.ms",
            &node.group_session_timeout_max_ms,
        ),
        same("group.max.size", &node.group_members_max),
        same(
            "group.min.session.timeout.ms",
            &node.group_session_timeout_min_ms,
        ),
        other(
            "log.retention.bytes",
            "retention.bytes",
            &node.retention_bytes,
        ),
        other("log.retention.ms", "retention.ms", &node.retention_ms),
        other(
            "max.connections",
            "connections.total.max",
            &node.connections_max,
        ),
        other(
            "max.connections.per.ip",
            "connections.per.ip.max",
            &node.connections_per_ip_max,
        ),
        same("message.max.bytes", &node.message_max_bytes),
        same("min.insync.replicas", &node.min_insync_replicas),
        same("num.partitions", &node.num_partitions),
        other(
            "offsets.retention.minutes",
            "offsets.retention.ms",
            &retention_minutes,
        ),
        same(
            "offsets.topic.num.partitions",
            &node.offsets_topic_partitions,
        ),
        same(
            "offsets.topic.replication.factor",
            &node.offsets_topic_replication_factor,
        ),
        same("producer.id.expiration.ms", &node.producer_id_expiration_ms),
        other(
            "replica.lag.time.max.ms",
            "replica.lag.max",
            &node.replica_lag_max_ms,
        ),
        same("socket.request.max.bytes", &node.request_max_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, keys};
    use crate::topic_config::BROKER_KEYS;

    fn config(flags: &[(&str, &str)]) -> Config {
        let least = [("--node-id", "1"), ("--data-dir", "/tmp/x")];
        let flags = least.iter().chain(flags);
        let sources = Sources {
            flags: flags
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            ..Sources::default()
        };
        Config::load(&sources).expect("a configuration")
    }

    #[test]
    fn what_is_set_is_told_as_kafka_writes_it() {
        let set = fixed(&config(&[
            ("--group-max-size", "5"),
            ("--group-consumer-session-timeout-ms", "20 s"),
            ("--group-consumer-assignors", "range, uniform"),
            ("--offsets-retention-ms", "90 m"),
            ("--retention-ms", "1 h"),
        ]));
        for (name, value) in [
            ("group.max.size", "5"),
            ("group.consumer.session.timeout.ms", "20000"),
            ("group.consumer.assignors", "range,uniform"),
            ("offsets.retention.minutes", "90"),
            ("log.retention.ms", "3600000"),
        ] {
            assert_eq!(set.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(set.get("num.partitions"), None, "that is the default");
    }

    #[test]
    fn every_setting_that_both_have_is_told() {
        let config = config(&[]);
        let told = settings(&config)
            .into_iter()
            .map(|(kafka, _, _)| kafka.to_owned());
        let told: Vec<String> = told.chain(fixed(&config).into_keys()).collect();
        let ours = |name: &str| keys().any(|key| key.name == name);
        for key in BROKER_KEYS.iter().filter(|key| ours(key.name)) {
            assert!(told.iter().any(|name| name == key.name), "{}", key.name);
        }
        for (kafka, own, _) in settings(&config) {
            assert!(ours(own.unwrap_or(kafka)), "{kafka} is of no key");
        }
    }
}
