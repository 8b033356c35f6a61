//! Tests of the config tables.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn every_default_is_valid_and_every_name_unique() {
    let mut names = BTreeSet::new();
    for key in TOPIC_KEYS {
        assert!(names.insert(key.name), "{} is there twice", key.name);
        key.validate(key.name, key.default.unwrap()).unwrap();
        assert_eq!(
            key.doc.contains("No effect"),
            !key.effective && key.name != "remote.storage.enable"
        );
    }
    let mut names = BTreeSet::new();
    for key in BROKER_KEYS {
        assert!(names.insert(key.name), "{} is there twice", key.name);
        if let Some(default) = key.default {
            key.validate(key.name, default).unwrap();
        }
    }
    for key in TOPIC_KEYS.iter().filter_map(|key| key.broker_name) {
        assert!(names.insert(key), "{key} is there twice");
    }
}

#[test]
fn the_typed_defaults_are_those_of_the_table() {
    let table: BTreeMap<String, String> = TOPIC_KEYS
        .iter()
        .map(|key| (key.name.to_owned(), key.default.unwrap().to_owned()))
        .collect();
    let nothing_right = TopicConfig {
        retention_ms: Some(1),
        retention_bytes: Some(1),
        local_retention_ms: Some(1),
        local_retention_bytes: Some(1),
        max_message_bytes: 1,
        min_insync_replicas: 9,
        timestamp_type: TimestampType::LogAppendTime,
        timestamp_before_max_ms: 1,
        timestamp_after_max_ms: 1,
        durability: Durability::Relaxed,
        validate_records: ValidateRecords::Full,
        cleanup_policy: CleanupPolicy::Delete,
    };
    assert_eq!(nothing_right.with(&table), TopicConfig::default());
}

#[test]
fn values_are_checked() {
    let wrong = [
        ("retention.ms", "-2"),
        ("retention.ms", "7d"),
        ("retention.ms", "9223372036854775808"),
        ("retention.bytes", ""),
        ("max.message.bytes", "-1"),
        ("max.message.bytes", "2147483648"),
        ("min.insync.replicas", "0"),
        ("message.timestamp.type", "createtime"),
        ("min.cleanable.dirty.ratio", "1.1"),
        ("min.cleanable.dirty.ratio", "NaN"),
        ("preallocate", "yes"),
        ("segment.bytes", "1048575"),
        ("compression.gzip.level", "0"),
        ("compression.gzip.level", "10"),
        ("compression.lz4.level", "18"),
        ("cleanup.policy", "delete,shrink"),
        ("durability", "maybe"),
        ("leader.replication.throttled.replicas", "1:2,3"),
        ("leader.replication.throttled.replicas", "-1:2"),
    ];
    for (name, value) in wrong {
        let why = validate_topic(name, value).expect_err(name);
        assert!(why.contains(name) && why.contains("Invalid value"), "{why}");
    }
    let right = [
        ("retention.ms", "-1"),
        ("retention.ms", " 5 "),
        ("cleanup.policy", "delete"),
        ("compression.gzip.level", "-1"),
        ("compression.type", "producer"),
        ("preallocate", "TRUE"),
        ("durability", "relaxed"),
        ("leader.replication.throttled.replicas", "1:2,3:4"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", ""),
    ];
    for (name, value) in right {
        validate_topic(name, value).unwrap();
    }
    assert_eq!(
        validate_topic("no.such", "1"),
        Err("Unknown topic config name: no.such".to_owned())
    );
}

#[test]
fn what_is_not_built_is_refused_in_so_many_words() {
    for (name, value) in [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact, delete"),
        ("compression.type", "zstd"),
        ("compression.type", "uncompressed"),
        ("remote.storage.enable", "true"),
        ("unclean.leader.election.enable", "true"),
    ] {
        let why = validate_topic(name, value).expect_err(name);
        assert!(why.contains("not supported"), "{why}");
    }
    assert!(validate_topic("cleanup.policy", "").is_err());
}

#[test]
fn broker_configs_that_can_be_set() {
    validate_broker("log.retention.ms", "5", false).unwrap();
    validate_broker("leader.replication.throttled.rate", "5", true).unwrap();
    assert!(validate_broker("leader.replication.throttled.rate", "-5", true).is_err());
    let one = validate_broker("log.retention.ms", "5", true).unwrap_err();
    assert!(one.contains("same on all brokers"), "{one}");
    let fixed = validate_broker("node.id", "5", false).unwrap_err();
    assert!(fixed.contains("at start"), "{fixed}");
    assert!(validate_broker("no.such", "5", false).is_err());
    let why = validate_broker("log.cleanup.policy", "compact", false).unwrap_err();
    assert!(why.contains("log.cleanup.policy"), "{why}");
}

#[test]
fn explicit_values_win_over_broker_wide_ones() {
    let broker = map(&[
        ("log.retention.ms", "5"),
        ("min.insync.replicas", "2"),
        ("node.id", "1"),
    ]);
    let topic = map(&[("retention.ms", "-1"), ("max.message.bytes", "77")]);
    let config = TopicConfig::default().with_broker(&broker);
    assert_eq!(
        (config.retention_ms, config.min_insync_replicas),
        (Some(5), 2)
    );
    let config = config.with(&topic);
    assert_eq!((config.retention_ms, config.max_message_bytes), (None, 77));
    assert_eq!(config.min_insync_replicas, 2);
}

#[test]
fn a_retention_that_is_not_understood_keeps_everything() {
    let odd = map(&[("retention.ms", "a week"), ("max.message.bytes", "large")]);
    let config = TopicConfig::default().with(&odd);
    assert_eq!(config.retention_ms, None);
    assert_eq!(
        config.max_message_bytes,
        TopicConfig::default().max_message_bytes
    );
}

#[test]
fn a_row_says_where_its_value_comes_from() {
    let none = BTreeMap::new();
    let (cluster, fixed) = (
        map(&[("log.retention.ms", "3")]),
        map(&[("log.retention.ms", "4")]),
    );
    let layers = Layers {
        node: &none,
        cluster: &cluster,
        fixed: &fixed,
    };
    let wanted = ["retention.ms".to_owned()];
    let rows = describe_topic(&map(&[("retention.ms", "2")]), layers, Some(&wanted));
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(
        (row.value.as_deref(), row.source),
        (Some("2"), Source::DynamicTopic)
    );
    let said: Vec<_> = row
        .synonyms
        .iter()
        .map(|s| (s.name, s.value.as_deref().unwrap(), s.source))
        .collect();
    let expected = [
        ("retention.ms", "2", Source::DynamicTopic),
        ("log.retention.ms", "3", Source::DynamicDefaultBroker),
        ("log.retention.ms", "4", Source::StaticBroker),
        ("log.retention.ms", "604800000", Source::Default),
    ];
    assert_eq!(said, expected);
    let rows = describe_topic(
        &none,
        Layers {
            node: &none,
            cluster: &none,
            fixed: &none,
        },
        None,
    );
    assert_eq!(rows.len(), TOPIC_KEYS.len());
    assert!(
        rows.iter()
            .all(|row| row.source == Source::Default && !row.read_only)
    );
}

#[test]
fn a_broker_shows_its_own_configs_and_the_topic_defaults() {
    let none = BTreeMap::new();
    let fixed = map(&[("node.id", "3"), ("log.retention.ms", "4")]);
    let rows = describe_broker(
        Layers {
            node: &none,
            cluster: &none,
            fixed: &fixed,
        },
        None,
    );
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
    assert_eq!(row("node.id").value.as_deref(), Some("3"));
    assert!(row("node.id").read_only);
    assert_eq!(row("log.retention.ms").source, Source::StaticBroker);
    assert!(!row("log.retention.ms").read_only);
    assert_eq!(row("log.dirs").value, None);
    assert!(rows.is_sorted_by_key(|row| row.name));
}

#[test]
fn a_value_has_the_length_that_kafka_allows() {
    let name = "leader.replication.throttled.replicas";
    let largest = ["0:1"; 8192].join(",");
    assert_eq!(largest.len(), 32_767);
    validate_topic(name, &largest).expect("it fits");
    let why = validate_topic(name, &format!("{largest},0:1")).unwrap_err();
    assert!(
        why.len() < 200,
        "the value is not repeated: {} bytes",
        why.len()
    );
    assert!(why.contains("32767"), "{why}");
}
