//! The rows of a `DescribeConfigs` answer: value, where it comes from, and all other places that could have said.

use std::collections::BTreeMap;

use super::key::{Key, Kind};
use super::{BROKER_KEYS, TOPIC_KEYS};

/// Where a value comes from, with Kafka's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set on the topic.
    DynamicTopic = 1,
    /// Set on this broker while it ran.
    DynamicBroker = 2,
    /// Set for all brokers while they ran.
    DynamicDefaultBroker = 3,
    /// From this broker's configuration at start.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
}

/// One place that says a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The name there.
    pub name: &'static str,
    /// What it says.
    pub value: Option<String>,
    /// Which place.
    pub source: Source,
}

/// One config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Its effective value; None when nobody knows one, or when it is secret.
    pub value: Option<String>,
    /// Whether it cannot be altered.
    pub read_only: bool,
    /// Where the value comes from.
    pub source: Source,
    /// Whether the value is secret.
    pub sensitive: bool,
    /// Every place that says a value, the one that wins first.
    pub synonyms: Vec<Synonym>,
    /// The type.
    pub kind: Kind,
    /// For people.
    pub documentation: &'static str,
}

/// What is set below the topic, by broker config name.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Dynamic, for this broker.
    pub node: &'a BTreeMap<String, String>,
    /// Dynamic, for all brokers.
    pub cluster: &'a BTreeMap<String, String>,
    /// From the configuration at start: only what was set, or what has no default.
    pub fixed: &'a BTreeMap<String, String>,
}

/// All configs of a topic with these explicit ones. `wanted`: None for all.
#[must_use]
pub fn describe_topic(
    explicit: &BTreeMap<String, String>,
    layers: Layers<'_>,
    wanted: Option<&[String]>,
) -> Vec<Row> {
    let is_wanted = |key: &&Key| wanted.is_none_or(|names| names.iter().any(|n| n == key.name));
    let row = |key: &'static Key| {
        let mut synonyms = Vec::new();
        if let Some(value) = explicit.get(key.name) {
            let (name, value) = (key.name, Some(value.clone()));
            synonyms.push(Synonym {
                name,
                value,
                source: Source::DynamicTopic,
            });
        }
        broker_synonyms(key.broker_name, layers, &mut synonyms);
        default_synonym(key, key.broker_name.unwrap_or(key.name), &mut synonyms);
        finish(key, key.name, synonyms)
    };
    TOPIC_KEYS.iter().filter(is_wanted).map(row).collect()
}

/// All configs of a broker, the defaults of topic configs among them. `wanted`: None for all.
#[must_use]
pub fn describe_broker(layers: Layers<'_>, wanted: Option<&[String]>) -> Vec<Row> {
    let own = BROKER_KEYS.iter().map(|key| (key.name, key));
    let of_topics = TOPIC_KEYS
        .iter()
        .filter_map(|key| Some((key.broker_name?, key)));
    let is_wanted =
        |(name, _): &(&str, &Key)| wanted.is_none_or(|names| names.iter().any(|n| n == name));
    let mut keys: Vec<(&'static str, &'static Key)> =
        own.chain(of_topics).filter(is_wanted).collect();
    keys.sort_by_key(|(name, _)| *name);
    let row = |(name, key): (&'static str, &'static Key)| {
        let mut synonyms = Vec::new();
        broker_synonyms(Some(name), layers, &mut synonyms);
        default_synonym(key, name, &mut synonyms);
        finish(key, name, synonyms)
    };
    keys.into_iter().map(row).collect()
}

fn broker_synonyms(name: Option<&'static str>, layers: Layers<'_>, synonyms: &mut Vec<Synonym>) {
    let Some(name) = name else { return };
    let places = [
        (layers.node, Source::DynamicBroker),
        (layers.cluster, Source::DynamicDefaultBroker),
        (layers.fixed, Source::StaticBroker),
    ];
    for (configs, source) in places {
        if let Some(value) = configs.get(name) {
            synonyms.push(Synonym {
                name,
                value: Some(value.clone()),
                source,
            });
        }
    }
}

fn default_synonym(key: &'static Key, name: &'static str, synonyms: &mut Vec<Synonym>) {
    if let Some(value) = key.default {
        let value = Some(value.to_owned());
        synonyms.push(Synonym {
            name,
            value,
            source: Source::Default,
        });
    }
}

fn finish(key: &'static Key, name: &'static str, synonyms: Vec<Synonym>) -> Row {
    let winner = synonyms.first();
    Row {
        name,
        value: winner.and_then(|s| s.value.clone()),
        read_only: key.read_only,
        source: winner.map_or(Source::Default, |s| s.source),
        sensitive: false,
        kind: key.kind,
        documentation: key.doc,
        synonyms,
    }
}
