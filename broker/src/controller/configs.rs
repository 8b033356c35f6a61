//! Configs of topics and brokers are changed.

use protocol::error_code::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};

use super::request::{AlterConfigs, Answer, ConfigOperation, ConfigTarget};
use super::topics::named;
use super::{Failure, Step, View};
use crate::metadata::{Command, ConfigChanges, ConfigScope};
use crate::topic_config::{self, Key, Kind};

/// The explicit configs of a new topic.
pub(super) fn explicit(
    view: View<'_>,
    configs: &[(String, Option<String>)],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut explicit = BTreeMap::new();
    for (name, value) in configs {
        let Some(value) = value else {
            let why = format!("Null value not supported for topic configs: {name}");
            return Err(Failure::new(ErrorCode::InvalidConfig, why));
        };
        check_topic_value(view, name, value)?;
        if explicit
            .insert(name.clone(), value.trim().to_owned())
            .is_some()
        {
            return Err(duplicate(name));
        }
    }
    Ok(explicit)
}

pub(super) fn alter(view: View<'_>, resources: &[AlterConfigs], validate_only: bool) -> Vec<Step> {
    let mut counts: BTreeMap<&ConfigTarget, usize> = BTreeMap::new();
    for resource in resources {
        *counts.entry(&resource.target).or_default() += 1;
    }
    let step = |resource: &AlterConfigs| {
        if counts[&resource.target] > 1 {
            return Err(Failure::new(
                ErrorCode::InvalidRequest,
                "Duplicate resource.",
            ));
        }
        let (command, changes) = match &resource.target {
            ConfigTarget::Topic(name) => topic_command(view, name, resource)?,
            ConfigTarget::Broker(scope) => broker_command(view, *scope, resource)?,
        };
        Ok(if validate_only || !changes {
            Step::done(Answer::Done)
        } else {
            Step::propose(Answer::Done, command)
        })
    };
    resources
        .iter()
        .map(|resource| Step::of(step(resource)))
        .collect()
}

/// The command, and whether it would change anything.
type Planned = Result<(Command, bool), Failure>;

fn topic_command(view: View<'_>, name: &str, resource: &AlterConfigs) -> Planned {
    let topic = named(view, name)?;
    let cluster = view.image.broker_configs(ConfigScope::Cluster);
    let find = |name: &str| {
        topic_config::topic_key(name).ok_or_else(|| {
            Failure::new(
                ErrorCode::InvalidConfig,
                format!("Unknown topic config name: {name}"),
            )
        })
    };
    let inherited = |key: &Key| key.broker_name.and_then(|name| cluster.get(name)).cloned();
    let changes = resolve(resource, &topic.configs, find, inherited)?;
    for (name, value) in &changes {
        if let Some(value) = value {
            check_topic_value(view, name, value)?;
        }
    }
    let differs = differs(&topic.configs, &changes);
    Ok((
        Command::SetTopicConfigs {
            topic: topic.id,
            changes,
        },
        differs,
    ))
}

fn broker_command(view: View<'_>, scope: ConfigScope, resource: &AlterConfigs) -> Planned {
    let mut one_broker = false;
    if let ConfigScope::Node(node) = scope {
        one_broker = true;
        if view.image.broker(node).is_none() {
            let why = format!("No broker with id {node} found.");
            return Err(Failure::new(ErrorCode::BrokerIdNotRegistered, why));
        }
    }
    let invalid = |why| Failure::new(ErrorCode::InvalidConfig, why);
    let explicit = view.image.broker_configs(scope);
    let find = |name: &str| topic_config::settable_broker_key(name, one_broker).map_err(invalid);
    let changes = resolve(resource, explicit, find, |_| None)?;
    for (name, value) in &changes {
        if let Some(value) = value {
            topic_config::validate_broker(name, value, one_broker).map_err(invalid)?;
            if let Some(key) = topic_config::topic_key_of_broker(name) {
                check_message_bytes(view, key.name, value)?;
            }
        }
    }
    let differs = differs(explicit, &changes);
    Ok((Command::SetBrokerConfigs { scope, changes }, differs))
}

/// Turns operations into values: what `Append` adds to is the explicit value, else the inherited one, else the default.
fn resolve(
    resource: &AlterConfigs,
    explicit: &BTreeMap<String, String>,
    find: impl Fn(&str) -> Result<&'static Key, Failure>,
    inherited: impl Fn(&Key) -> Option<String>,
) -> Result<ConfigChanges, Failure> {
    let mut changes = ConfigChanges::new();
    for (name, operation) in &resource.changes {
        let key = find(name)?;
        let present = || {
            let explicit = explicit.get(name).cloned();
            explicit
                .or_else(|| inherited(key))
                .or_else(|| key.default.map(str::to_owned))
        };
        let value = match operation {
            ConfigOperation::Set(value) => Some(given(name, value)?.trim().to_owned()),
            ConfigOperation::Delete => None,
            ConfigOperation::Append(value) => {
                check_list(key, name, "APPEND")?;
                Some(append(&present().unwrap_or_default(), given(name, value)?))
            }
            ConfigOperation::Subtract(value) => {
                check_list(key, name, "SUBTRACT")?;
                Some(subtract(
                    &present().unwrap_or_default(),
                    given(name, value)?,
                ))
            }
        };
        if changes.insert(name.clone(), value).is_some() {
            return Err(duplicate(name));
        }
    }
    if resource.replace {
        for name in explicit.keys() {
            changes.entry(name.clone()).or_insert(None);
        }
    }
    Ok(changes)
}

fn given<'a>(name: &str, value: &'a Option<String>) -> Result<&'a str, Failure> {
    value.as_deref().ok_or_else(|| {
        let why = format!("Null value not supported for config {name}");
        Failure::new(ErrorCode::InvalidRequest, why)
    })
}

fn check_list(key: &Key, name: &str, operation: &str) -> Result<(), Failure> {
    if key.kind == Kind::List {
        return Ok(());
    }
    let why = format!("Can't {operation} to key {name} because its type is not LIST.");
    Err(Failure::new(ErrorCode::InvalidConfig, why))
}

fn append(present: &str, more: &str) -> String {
    let mut items: Vec<&str> = topic_config::items(present).collect();
    for item in topic_config::items(more) {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items.join(",")
}

fn subtract(present: &str, less: &str) -> String {
    let less: BTreeSet<&str> = topic_config::items(less).collect();
    topic_config::items(present)
        .filter(|item| !less.contains(item))
        .collect::<Vec<_>>()
        .join(",")
}

fn differs(explicit: &BTreeMap<String, String>, changes: &ConfigChanges) -> bool {
    changes
        .iter()
        .any(|(name, value)| explicit.get(name) != value.as_ref())
}

fn check_topic_value(view: View<'_>, name: &str, value: &str) -> Result<(), Failure> {
    topic_config::validate_topic(name, value)
        .map_err(|why| Failure::new(ErrorCode::InvalidConfig, why))?;
    check_message_bytes(view, name, value)
}

/// A batch that is accepted must fit into one entry of the log.
fn check_message_bytes(view: View<'_>, name: &str, value: &str) -> Result<(), Failure> {
    let most = view.policy.message_bytes_max;
    if name == "max.message.bytes" && value.trim().parse::<i64>().is_ok_and(|size| size > most) {
        let why = format!(
            "Invalid value {value} for configuration {name}: a batch has at most {most} bytes in this cluster"
        );
        return Err(Failure::new(ErrorCode::InvalidConfig, why));
    }
    Ok(())
}

fn duplicate(name: &str) -> Failure {
    Failure::new(
        ErrorCode::InvalidRequest,
        format!("Error due to duplicate config keys: {name}"),
    )
}
