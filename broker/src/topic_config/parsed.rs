//! The configs of a topic as the hot path reads them.

use std::collections::BTreeMap;

use super::topic_key_of_broker;

/// When a record counts as acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to disk on a majority.
    Fsync,
    /// Received by a majority; a power failure of all machines at once can lose it.
    Relaxed,
}

/// Whose clock a record's timestamp comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The leader's; the batch is rewritten.
    LogAppendTime,
}

/// How far compressed batches are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidateRecords {
    /// Only where the broker must.
    Header,
    /// Every record.
    Full,
}

/// What happens to old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanupPolicy {
    /// They are dropped by age and size. The only one so far.
    Delete,
}

/// The effective configs of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Age in milliseconds at which records may be dropped; None: never.
    pub retention_ms: Option<u64>,
    /// Bytes of a partition above which the oldest records may be dropped; None: never.
    pub retention_bytes: Option<u64>,
    /// The same for what a replica keeps in its own log of what the store holds; None: all of it.
    pub local_retention_ms: Option<u64>,
    /// The same in bytes.
    pub local_retention_bytes: Option<u64>,
    /// Largest batch in bytes.
    pub max_message_bytes: usize,
    /// In-sync voters that acks=all needs, at least 1; a majority is needed in any case.
    pub min_insync_replicas: usize,
    /// Whose clock.
    pub timestamp_type: TimestampType,
    /// How far a record may lie behind the clock (`CreateTime` only), in milliseconds; `i64::MAX`: any distance.
    pub timestamp_before_max_ms: i64,
    /// How far a record may lie ahead of the clock (`CreateTime` only), in milliseconds; `i64::MAX`: any distance.
    pub timestamp_after_max_ms: i64,
    /// When a record counts as acknowledged.
    pub durability: Durability,
    /// How far compressed batches are looked into.
    pub validate_records: ValidateRecords,
    /// What happens to old records.
    pub cleanup_policy: CleanupPolicy,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            retention_ms: Some(7 * 24 * 3600 * 1000),
            retention_bytes: None,
            local_retention_ms: None,
            local_retention_bytes: None,
            max_message_bytes: 1_048_588,
            min_insync_replicas: 1,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            durability: Durability::Fsync,
            validate_records: ValidateRecords::Header,
            cleanup_policy: CleanupPolicy::Delete,
        }
    }
}

impl TopicConfig {
    /// These configs under a topic's explicit ones.
    ///
    /// Values were validated before they were committed. One that this broker does not understand nevertheless (a newer
    /// broker wrote it) leaves the config as it was; a retention that it does not understand keeps everything.
    #[must_use]
    pub fn with(&self, topic: &BTreeMap<String, String>) -> Self {
        let mut config = self.clone();
        for (name, value) in topic {
            config.set(name, value.trim());
        }
        config
    }

    /// These configs under broker-wide defaults (`log.retention.ms`, ...); other broker configs are passed over.
    #[must_use]
    pub fn with_broker(&self, broker: &BTreeMap<String, String>) -> Self {
        let mut config = self.clone();
        for (name, value) in broker {
            if let Some(key) = topic_key_of_broker(name) {
                config.set(key.name, value.trim());
            }
        }
        config
    }

    fn set(&mut self, name: &str, value: &str) {
        match name {
            "retention.ms" => self.retention_ms = limit(value),
            "retention.bytes" => self.retention_bytes = limit(value),
            "local.retention.ms" => self.local_retention_ms = limit(value),
            "local.retention.bytes" => self.local_retention_bytes = limit(value),
            "max.message.bytes" => keep(&mut self.max_message_bytes, value),
            "min.insync.replicas" => keep(&mut self.min_insync_replicas, value),
            "message.timestamp.before.max.ms" => keep(&mut self.timestamp_before_max_ms, value),
            "message.timestamp.after.max.ms" => keep(&mut self.timestamp_after_max_ms, value),
            "message.timestamp.type" => match value {
                "CreateTime" => self.timestamp_type = TimestampType::CreateTime,
                "LogAppendTime" => self.timestamp_type = TimestampType::LogAppendTime,
                _ => {}
            },
            "durability" => match value {
                "fsync" => self.durability = Durability::Fsync,
                "relaxed" => self.durability = Durability::Relaxed,
                _ => {}
            },
            "validate.records" => match value {
                "header" => self.validate_records = ValidateRecords::Header,
                "full" => self.validate_records = ValidateRecords::Full,
                _ => {}
            },
            _ => {}
        }
    }
}

/// A retention: negative means for ever, and so does what is not a number.
fn limit(value: &str) -> Option<u64> {
    value.parse().ok()
}

fn keep<T: std::str::FromStr>(field: &mut T, value: &str) {
    if let Ok(number) = value.parse() {
        *field = number;
    }
}
