//! `walser topic`: create, list, describe, alter, delete.

use clap::{Args, Subcommand};
use protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::metadata::MetadataResponseTopic;
use protocol::wire::Str;
use serde_json::json;

use super::Target;
use super::client::Cluster;
use super::exit::{Failure, Result};
use super::output::{Table, Watch, column, confirm, wide};

/// Kafka's number for topics among resources.
const TOPIC: i8 = 2;
/// Kafka's number for configs that were set on the topic.
const SET_ON_TOPIC: i8 = 1;

/// Create, list, describe, alter, delete topics.
#[derive(Debug, Args)]
pub struct Topic {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create topics.
    Create {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        /// Partitions of each; the broker's default when left out.
        #[arg(short, long, default_value_t = -1)]
        partitions: i32,
        /// Replicas of each partition; the broker's default when left out.
        #[arg(short, long, default_value_t = -1)]
        replicas: i16,
        /// A config, KEY=VALUE. May be repeated.
        #[arg(short, long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
        /// Check only.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        target: Target,
    },
    /// List all topics.
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        target: Target,
    },
    /// Show the partitions and configs of a topic.
    Describe {
        /// Its name.
        name: String,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        target: Target,
    },
    /// Change configs, or the number of partitions.
    Alter {
        /// Its name.
        name: String,
        /// Grow to so many partitions.
        #[arg(short, long)]
        partitions: Option<i32>,
        /// Set a config, KEY=VALUE. May be repeated.
        #[arg(short, long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
        /// Set a config back to its default. May be repeated.
        #[arg(long = "unset", value_name = "KEY")]
        unset: Vec<String>,
        /// Check only.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Delete topics and all their records.
    Delete {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        /// Show what would be deleted.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        target: Target,
    },
}

impl Topic {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        match self.verb {
            Verb::Create {
                names,
                partitions,
                replicas,
                configs,
                dry_run,
                target,
            } => {
                let configs = configs
                    .iter()
                    .map(|text| pair(text))
                    .collect::<Result<Vec<_>>>()?;
                create(&target, &names, (partitions, replicas), &configs, dry_run).await
            }
            Verb::List { watch, target } => watch.run(async || list(&target).await).await,
            Verb::Describe {
                name,
                watch,
                target,
            } => watch.run(async || describe(&target, &name).await).await,
            Verb::Alter {
                name,
                partitions,
                configs,
                unset,
                dry_run,
                target,
            } => {
                let mut changes = configs
                    .iter()
                    .map(|text| set(text))
                    .collect::<Result<Vec<_>>>()?;
                changes.extend(unset.iter().map(|key| delete_config(key)));
                if changes.is_empty() && partitions.is_none() {
                    return Err(Failure::usage("nothing to change")
                        .next("say --config, --unset or --partitions"));
                }
                alter(&target, &name, partitions, changes, dry_run).await
            }
            Verb::Delete {
                names,
                yes,
                dry_run,
                target,
            } => delete(&target, &names, yes, dry_run).await,
        }
    }
}

fn pair(text: &str) -> Result<(&str, &str)> {
    text.split_once('=')
        .ok_or_else(|| Failure::usage(format!("{text:?} is not KEY=VALUE")))
}

fn set(text: &str) -> Result<AlterableConfig> {
    let (name, value) = pair(text)?;
    Ok(AlterableConfig {
        name: Str::from(name),
        config_operation: 0,
        value: Some(Str::from(value)),
    })
}

fn delete_config(name: &str) -> AlterableConfig {
    AlterableConfig {
        name: Str::from(name),
        config_operation: 1,
        value: None,
    }
}

async fn create(
    target: &Target,
    names: &[String],
    (partitions, replicas): (i32, i16),
    configs: &[(&str, &str)],
    dry_run: bool,
) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: Str::from(*name),
        value: Some(Str::from(*value)),
    };
    let topic = |name: &String| CreatableTopic {
        name: Str::from(name.as_str()),
        num_partitions: partitions,
        replication_factor: replicas,
        assignments: Vec::new(),
        configs: configs.iter().map(config).collect(),
    };
    let request = CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: cluster.timeout_ms,
        validate_only: dry_run,
    };
    let answer = cluster.any(&request).await?;
    let columns = [
        column("topic"),
        column("partitions"),
        column("replicas"),
        wide("topic_id"),
        column("created"),
    ];
    let mut table = Table::new(&columns);
    let mut failed = None;
    for row in &answer.topics {
        if row.error_code != 0 {
            let what = format!("topic {}", row.name);
            failed = Some(Failure::of_code(
                row.error_code,
                row.error_message.as_deref(),
                &what,
            ));
            continue;
        }
        table.row(vec![
            json!(&*row.name),
            json!(row.num_partitions),
            json!(row.replication_factor),
            json!(row.topic_id.to_string()),
            json!(!dry_run),
        ]);
    }
    table.print(target.format, "topics")?;
    failed.map_or(Ok(()), Err)
}

async fn list(target: &Target) -> Result<()> {
    let answer = Cluster::new(target).metadata(None).await?;
    let columns = [
        column("topic"),
        column("partitions"),
        column("replicas"),
        wide("topic_id"),
        wide("internal"),
        wide("leaderless"),
    ];
    let mut table = Table::new(&columns);
    for topic in &answer.topics {
        let leaderless = topic
            .partitions
            .iter()
            .filter(|row| row.leader_id < 0)
            .count();
        table.row(vec![
            json!(topic.name.as_deref().unwrap_or_default()),
            json!(topic.partitions.len()),
            json!(
                topic
                    .partitions
                    .first()
                    .map_or(0, |row| row.replica_nodes.len())
            ),
            json!(topic.topic_id.to_string()),
            json!(topic.is_internal),
            json!(leaderless),
        ]);
    }
    table.print(target.format, "topics")
}

async fn describe(target: &Target, name: &str) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let topic = cluster.topic(name).await?;
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: Str::from(name),
            configuration_keys: None,
        }],
        ..Default::default()
    };
    let answer = cluster.any(&request).await?;
    let result = answer.results.into_iter().next().unwrap_or_default();
    if result.error_code != 0 {
        let message = result.error_message.as_deref();
        return Err(Failure::of_code(
            result.error_code,
            message,
            &format!("topic {name}"),
        ));
    }
    let mut configs = Table::new(&[column("config"), column("value"), column("set")]);
    let all = target.format != super::output::Format::Text;
    for config in &result.configs {
        let is_set = config.config_source == SET_ON_TOPIC;
        if all || is_set {
            configs.row(vec![
                json!(&*config.name),
                json!(config.value.as_deref()),
                json!(is_set),
            ]);
        }
    }
    let partitions = partitions(&topic);
    let object = json!({
        "schema": 1,
        "topic": name,
        "topic_id": topic.topic_id.to_string(),
        "internal": topic.is_internal,
        "partitions": partitions.objects(),
        "configs": configs.objects(),
    });
    if let Some(data) = target.format.data(&object) {
        return super::output::print(&data);
    }
    partitions.print(target.format, "partitions")?;
    super::output::print("\n")?;
    configs.print(target.format, "configs")
}

/// The partitions of a topic as a table.
pub fn partitions(topic: &MetadataResponseTopic) -> Table {
    let columns = [
        column("partition"),
        column("leader"),
        column("epoch"),
        column("replicas"),
        column("in_sync"),
        wide("offline"),
    ];
    let mut table = Table::new(&columns);
    for row in &topic.partitions {
        let leader = (row.leader_id >= 0).then_some(row.leader_id);
        table.row(vec![
            json!(row.partition_index),
            json!(leader),
            json!(leader.map(|_| row.leader_epoch)),
            json!(row.replica_nodes),
            json!(row.isr_nodes),
            json!(row.offline_replicas),
        ]);
    }
    table
}

async fn alter(
    target: &Target,
    name: &str,
    partitions: Option<i32>,
    changes: Vec<AlterableConfig>,
    dry_run: bool,
) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let what = format!("topic {name}");
    if !changes.is_empty() {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: Str::from(name),
                configs: changes,
            }],
            validate_only: dry_run,
        };
        let answer = cluster.any(&request).await?;
        if let Some(row) = answer.responses.iter().find(|row| row.error_code != 0) {
            return Err(Failure::of_code(
                row.error_code,
                row.error_message.as_deref(),
                &what,
            ));
        }
    }
    if let Some(count) = partitions {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: Str::from(name),
                count,
                assignments: None,
            }],
            timeout_ms: cluster.timeout_ms,
            validate_only: dry_run,
        };
        let answer = cluster.any(&request).await?;
        if let Some(row) = answer.results.iter().find(|row| row.error_code != 0) {
            return Err(Failure::of_code(
                row.error_code,
                row.error_message.as_deref(),
                &what,
            ));
        }
    }
    let mut table = Table::new(&[column("topic"), column("altered")]);
    table.row(vec![json!(name), json!(!dry_run)]);
    table.print(target.format, "topics")
}

async fn delete(target: &Target, names: &[String], yes: bool, dry_run: bool) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let mut doomed = Vec::new();
    for name in names {
        let topic = cluster.topic(name).await?;
        doomed.push(format!("{name} ({} partitions)", topic.partitions.len()));
    }
    let doomed = doomed.join(", ");
    eprintln!("all records of {doomed}");
    if !dry_run {
        confirm(yes, &format!("deleting {doomed}"))?;
        cluster.extend(target.wait());
        let topic = |name: &String| DeleteTopicState {
            name: Some(Str::from(name.as_str())),
            ..Default::default()
        };
        let request = DeleteTopicsRequest {
            topics: names.iter().map(topic).collect(),
            timeout_ms: cluster.timeout_ms,
            ..Default::default()
        };
        let answer = cluster.any(&request).await?;
        if let Some(row) = answer.responses.iter().find(|row| row.error_code != 0) {
            let what = format!("topic {}", row.name.as_deref().unwrap_or("-"));
            return Err(Failure::of_code(
                row.error_code,
                row.error_message.as_deref(),
                &what,
            ));
        }
    }
    let mut table = Table::new(&[column("topic"), column("deleted")]);
    for name in names {
        table.row(vec![json!(name), json!(!dry_run)]);
    }
    table.print(target.format, "topics")
}
