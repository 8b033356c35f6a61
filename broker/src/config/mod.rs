//! The configuration of a broker: one file (TOML), the environment (`WALSER_*`), flags.
//!
//! A flag wins over the environment, that over the file, that over the default. An unknown key is an error that
//! names the nearest known one. The keys are rows of two tables ([`NodeConfig`], [`ClusterConfig`]); parsing, ranges,
//! defaults, [`Config::explain`] and the documentation all come from those rows.
//!
//! A value is text in all sources: sizes take B, KiB, MiB, GiB, durations ms, s, m, h, d.

mod address;
mod cluster;
mod error;
pub mod kind;
mod memory;
mod node;
mod source;
pub mod store;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;

pub use address::{Address, Seed};
pub use cluster::ClusterConfig;
pub use error::{Error, Problem};
pub use kind::Kind;
pub use memory::ram_bytes;
pub use node::{
    ElectionProfile, ElectionTimes, GroupMigration, LogFormat, NodeConfig, ReplaceWiped,
    ValidateRecords,
};
pub use source::{Source, Sources};

/// A row of the table of keys.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The dotted name, as in the file.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Meaning and trade-off.
    pub doc: &'static str,
}

impl Key {
    /// The environment variable: `message.max.bytes` is `WALSER_MESSAGE_MAX_BYTES`.
    #[must_use]
    pub fn environment(&self) -> String {
        format!(
            "WALSER_{}",
            self.name.to_ascii_uppercase().replace('.', "_")
        )
    }

    /// The flag: `message.max.bytes` is `--message-max-bytes`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('.', "-"))
    }

    /// The documentation without the blanks of its source.
    #[must_use]
    pub fn text(&self) -> &'static str {
        self.doc.trim()
    }
}

/// Every key, the node's first.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    NodeConfig::KEYS.iter().chain(ClusterConfig::KEYS)
}

/// The whole configuration, and where each value came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// What is this node's own.
    pub node: NodeConfig,
    /// What is the same on every node.
    pub cluster: ClusterConfig,
    sources: BTreeMap<&'static str, Source>,
}

/// What [`Config::explain`] knows of a key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// The key.
    pub key: &'static str,
    /// The value in force.
    pub value: String,
    /// Which source gave it.
    pub source: String,
    /// What it would be if no source gave it.
    pub default: String,
    /// What values look like.
    pub unit: String,
    /// The environment variable that sets it.
    pub environment: String,
    /// The flag that sets it.
    pub flag: String,
    /// Meaning and trade-off.
    pub doc: &'static str,
}

impl Config {
    /// The configuration of a throwaway broker: loopback, free ports, small files.
    ///
    /// Its data directory is still to be set.
    #[must_use]
    pub fn dev() -> Self {
        let mut config = Self::default();
        let node = &mut config.node;
        node.node_id = 1;
        for listener in [
            &mut node.listener_kafka,
            &mut node.listener_peer,
            &mut node.listener_admin,
        ] {
            listener.port = 0;
        }
        node.unsorted_max_bytes = 64 << 20;
        node.tail_cache_bytes = 32 << 20;
        node.spares_bytes = 256 << 20;
        node.shutdown_max_ms = 2000;
        config.cluster.segment_bytes = 16 << 20;
        config.cluster.entry_max_bytes = 4 << 20;
        config
    }

    /// The smallest configuration that works, for tests: loopback, free ports, short waits.
    #[must_use]
    pub fn tiny() -> Self {
        let mut config = Self::dev();
        let node = &mut config.node;
        node.election_profile = ElectionProfile::LowLatency;
        node.formation_retry_min_ms = 20;
        node.formation_retry_max_ms = 100;
        node.peer_retry_min_ms = 2;
        node.peer_retry_max_ms = 50;
        node.peer_connect_timeout_ms = 500;
        node.peer_handshake_timeout_ms = 1000;
        node.peer_queue_max_bytes = 4 << 20;
        node.peer_frame_max_bytes = 4 << 20;
        node.message_max_bytes = 256 << 10;
        node.tail_cache_bytes = 4 << 20;
        node.unsorted_max_bytes = 4 << 20;
        node.spares_bytes = 0;
        node.group_initial_rebalance_delay_ms = 0;
        node.offsets_topic_partitions = 4;
        node.shutdown_max_ms = 500;
        config.cluster.segment_bytes = 1 << 20;
        config.cluster.entry_max_bytes = 256 << 10;
        config
    }

    /// Defaults, then file, environment and flags, then [`Config::validate`].
    ///
    /// # Errors
    /// Unreadable file, unknown key, bad value, or values that do not go together. All mean exit code 2.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        let config = Self::default().overlay(sources)?;
        config.validate()?;
        Ok(config)
    }

    /// These values, overridden by file, environment and flags. Not validated as a whole.
    ///
    /// # Errors
    /// Unreadable file, unknown key, or a value that is not of its key's kind.
    pub fn overlay(mut self, sources: &Sources) -> Result<Self, Error> {
        for (key, text, source) in sources.collect()? {
            let set = match self.node.set(key, &text) {
                Ok(false) => self.cluster.set(key, &text),
                set => set,
            };
            match set {
                Ok(known) => assert!(known, "a collected key is in one of the tables: {key}"),
                Err(problem) => {
                    return Err(Error::Value {
                        key,
                        place: source.to_string(),
                        value: text,
                        problem,
                    });
                }
            }
            self.sources.insert(key, source);
        }
        Ok(self)
    }

    /// Lowers the memory sizes that no source set to their share of the machine's RAM ([`ram_bytes`]).
    pub fn fit_memory(&mut self, ram_bytes: u64) {
        let node = &mut self.node;
        if !self.sources.contains_key("tail.cache.size") {
            node.tail_cache_bytes = node.tail_cache_bytes.min(ram_bytes / 20).max(1 << 20);
        }
        if !self.sources.contains_key("request.memory.size") {
            node.request_memory_bytes = node.request_memory_bytes.min(ram_bytes / 4).max(1 << 20);
        }
    }

    /// Which value a key has, who gave it, and what it means.
    ///
    /// # Errors
    /// The key is unknown: names the nearest one.
    pub fn explain(&self, name: &str) -> Result<Explanation, Error> {
        let key = source::find(name)
            .ok_or_else(|| source::unknown(name, "the command line".to_owned()))?;
        let base = Self::default();
        let source = self
            .sources
            .get(key.name)
            .cloned()
            .unwrap_or(Source::Default);
        Ok(Explanation {
            key: key.name,
            value: self.get(key.name),
            source: source.to_string(),
            default: base.get(key.name),
            unit: key.kind.unit(),
            environment: key.environment(),
            flag: key.flag(),
            doc: key.text(),
        })
    }

    fn get(&self, key: &str) -> String {
        let value = self.node.get(key).or_else(|| self.cluster.get(key));
        value.expect("a key of the table is in one of the two structs")
    }
}

/// The table of all keys as Markdown, for the documentation.
#[must_use]
pub fn markdown() -> String {
    let defaults = Config::default();
    let mut table = "| key | default | unit | meaning |\n|---|---|---|---|\n".to_owned();
    for key in keys() {
        let default = match defaults.get(key.name) {
            empty if empty.is_empty() => "-".to_owned(),
            value => format!("`{value}`"),
        };
        table += &format!(
            "| `{}` | {default} | {} | {} |\n",
            key.name,
            key.kind.unit(),
            key.text()
        );
    }
    table
}
