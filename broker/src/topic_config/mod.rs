//! The configs of topics and brokers as Kafka's clients know them: names, types, defaults, limits, documentation.
//!
//! - [`TOPIC_KEYS`] and [`BROKER_KEYS`] are the tables; a key that is not in them does not exist.
//! - [`validate_topic`] and [`validate_broker`] decide whether a value may be set. A value that Kafka knows but that is
//!   not built here is refused with a message that says so, never accepted and ignored.
//! - [`TopicConfig`] is what the hot path reads: parsed once, when the metadata changes.
//! - [`describe_topic`] and [`describe_broker`] give the rows of a `DescribeConfigs` answer.

mod broker_keys;
mod describe;
mod key;
mod parsed;
mod topic_keys;

pub use broker_keys::BROKER_KEYS;
pub use describe::{Layers, Row, Source, Synonym, describe_broker, describe_topic};
pub(crate) use key::items;
pub use key::{Check, Key, Kind};
pub use parsed::{CleanupPolicy, Durability, TimestampType, TopicConfig, ValidateRecords};
pub use topic_keys::TOPIC_KEYS;

/// The topic config with this name.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static Key> {
    TOPIC_KEYS.iter().find(|key| key.name == name)
}

/// The broker config with this name; the topic defaults (`log.retention.ms`, ...) are among them.
#[must_use]
pub fn broker_key(name: &str) -> Option<&'static Key> {
    BROKER_KEYS
        .iter()
        .find(|key| key.name == name)
        .or_else(|| topic_key_of_broker(name))
}

/// The topic config whose broker-wide default has this name.
#[must_use]
pub fn topic_key_of_broker(name: &str) -> Option<&'static Key> {
    TOPIC_KEYS.iter().find(|key| key.broker_name == Some(name))
}

/// Whether a topic config may have this value.
///
/// # Errors
/// A sentence for the client, naming key and value.
pub fn validate_topic(name: &str, value: &str) -> Result<(), String> {
    let key = topic_key(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    key.validate(name, value)
}

/// Whether a broker config may be set dynamically to this value, for all brokers or for one.
///
/// # Errors
/// A sentence for the client, naming key and value.
pub fn validate_broker(name: &str, value: &str, one_broker: bool) -> Result<(), String> {
    settable_broker_key(name, one_broker)?.validate(name, value)
}

/// The broker config that may be changed or removed dynamically.
///
/// # Errors
/// A sentence for the client: unknown, read-only, or only the same everywhere.
pub fn settable_broker_key(name: &str, one_broker: bool) -> Result<&'static Key, String> {
    let key = broker_key(name).ok_or_else(|| format!("Unknown broker config name: {name}"))?;
    if key.read_only {
        return Err(format!(
            "{name} is read at start only: set it in the broker's configuration"
        ));
    }
    if one_broker && topic_key_of_broker(name).is_some() {
        return Err(format!(
            "{name} is the default of a topic config and must be the same on all brokers: set it for the cluster \
             (the broker resource without a name)"
        ));
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
