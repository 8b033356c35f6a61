//! `walser partition`: where one partition is and who leads it.

mod verify;

use clap::{Args, Subcommand};
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use protocol::messages::list_partition_reassignments::ListPartitionReassignmentsRequest;
use protocol::wire::Str;
use serde_json::json;
use tokio::time::Instant;

use super::client::Cluster;
use super::exit::{Exit, Failure, Result};
use super::output::{Format, Table, Watch, column};
use super::{Target, admin, topic};

/// Describe a partition, move it, move its leadership.
#[derive(Debug, Args)]
pub struct Partition {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show leader and replicas.
    Describe {
        /// TOPIC/PARTITION
        partition: Name,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        target: Target,
    },
    /// Compare the replicas' logs with each other, and with what the snapshot store says that it holds. Exit code 11 when
    /// something differs or cannot be read.
    Verify {
        /// TOPIC/PARTITION
        partition: Name,
        /// Any broker's admin listener.
        #[arg(long, default_value = "127.0.0.1:9644", value_name = "HOST:PORT")]
        admin: String,
        /// What the answer looks like.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Hand leadership to another replica.
    TransferLeader {
        /// TOPIC/PARTITION
        partition: Name,
        /// The node that shall lead.
        #[arg(long)]
        to: i32,
        /// Any broker's admin listener.
        #[arg(long, default_value = "127.0.0.1:9644", value_name = "HOST:PORT")]
        admin: String,
        #[command(flatten)]
        target: Target,
    },
    /// Give leadership back to the preferred leader.
    Elect {
        /// TOPIC/PARTITION
        partition: Name,
        #[command(flatten)]
        target: Target,
    },
    /// Move the replicas to these nodes, the preferred leader first.
    Move {
        /// TOPIC/PARTITION
        partition: Name,
        /// Node ids with commas between them.
        #[arg(long, value_delimiter = ',', required = true)]
        to: Vec<i32>,
        /// Wait until the move is done.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        target: Target,
    },
}

/// A topic's partition, written TOPIC/PARTITION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    topic: String,
    partition: i32,
}

impl Name {
    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }
}

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("{text:?} is not TOPIC/PARTITION");
        let (topic, partition) = text.rsplit_once('/').ok_or_else(wrong)?;
        let partition = partition
            .parse()
            .ok()
            .filter(|p| *p >= 0)
            .ok_or_else(wrong)?;
        Ok(Self {
            topic: topic.to_owned(),
            partition,
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl Partition {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        match self.verb {
            Verb::Describe {
                partition,
                watch,
                target,
            } => {
                watch
                    .run(async || describe(&target, &partition).await)
                    .await
            }
            Verb::Verify {
                partition,
                admin,
                format,
            } => verify::run(&partition, &admin, format).await,
            Verb::TransferLeader {
                partition,
                to,
                admin,
                target,
            } => transfer(&target, &partition, to, &admin).await,
            Verb::Elect { partition, target } => elect(&target, &partition).await,
            Verb::Move {
                partition,
                to,
                wait,
                target,
            } => move_to(&target, &partition, &to, wait).await,
        }
    }
}

async fn describe(target: &Target, name: &Name) -> Result<()> {
    let mut topic = Cluster::new(target).topic(&name.topic).await?;
    topic
        .partitions
        .retain(|row| row.partition_index == name.partition);
    if topic.partitions.is_empty() {
        let message = format!("topic {} has no partition {}", name.topic, name.partition);
        return Err(Failure::with(Exit::NotFound, message).next(format!(
            "`walser topic describe {}` shows its partitions",
            name.topic
        )));
    }
    topic::partitions(&topic).print(target.format, "partitions")
}

async fn transfer(target: &Target, name: &Name, to: i32, address: &str) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let before = cluster.leader(&name.topic, name.partition).await?;
    let path = format!(
        "/v1/partitions/{}/{}/leader?to={to}",
        name.topic, name.partition
    );
    let (status, body) = admin::request("POST", address, &path, target.wait()).await?;
    if status != 200 {
        let message = body["message"].as_str().unwrap_or("no reason given");
        let exit = match status {
            404 => Exit::NotFound,
            503 => Exit::Unreachable,
            _ => Exit::Failure,
        };
        return Err(Failure::with(
            exit,
            format!("{name}, led by node {before}: {message}"),
        ));
    }
    loop {
        let leader = cluster.leader(&name.topic, name.partition).await?;
        if leader == to {
            break;
        }
        if Instant::now() >= cluster.deadline {
            let message = format!("{name}: node {to} was asked to lead, node {leader} still does");
            return Err(Failure::with(Exit::Unreachable, message).next(format!(
                "`walser partition describe {name}` shows whether node {to} is in sync"
            )));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut table = Table::new(&[column("partition"), column("from"), column("to")]);
    table.row(vec![json!(name.to_string()), json!(before), json!(to)]);
    table.print(target.format, "transfers")
}

async fn elect(target: &Target, name: &Name) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let request = ElectLeadersRequest {
        election_type: 0,
        topic_partitions: Some(vec![TopicPartitions {
            topic: Str::from(name.topic.as_str()),
            partitions: vec![name.partition],
        }]),
        timeout_ms: cluster.timeout_ms,
    };
    let answer = cluster.any(&request).await?;
    let what = name.to_string();
    if answer.error_code != 0 {
        return Err(Failure::of_code(answer.error_code, None, &what));
    }
    let mut rows = answer
        .replica_election_results
        .iter()
        .flat_map(|topic| &topic.partition_result);
    // That it leads already is what was wanted.
    let not_needed = protocol::error_code::ErrorCode::ElectionNotNeeded.code();
    if let Some(row) = rows.find(|row| row.error_code != 0 && row.error_code != not_needed) {
        return Err(Failure::of_code(
            row.error_code,
            row.error_message.as_deref(),
            &what,
        ));
    }
    describe(target, name).await
}

async fn move_to(target: &Target, name: &Name, to: &[i32], wait: bool) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: cluster.timeout_ms,
        topics: vec![ReassignableTopic {
            name: Str::from(name.topic.as_str()),
            partitions: vec![ReassignablePartition {
                partition_index: name.partition,
                replicas: Some(to.to_vec()),
            }],
        }],
        ..Default::default()
    };
    let answer = cluster.any(&request).await?;
    let what = name.to_string();
    if answer.error_code != 0 {
        return Err(Failure::of_code(
            answer.error_code,
            answer.error_message.as_deref(),
            &what,
        ));
    }
    let mut rows = answer.responses.iter().flat_map(|topic| &topic.partitions);
    if let Some(row) = rows.find(|row| row.error_code != 0) {
        return Err(Failure::of_code(
            row.error_code,
            row.error_message.as_deref(),
            &what,
        ));
    }
    while wait && is_moving(&mut cluster, name).await? {
        if Instant::now() >= cluster.deadline {
            return Err(
                Failure::with(Exit::Unreachable, format!("{name} is still being moved"))
                    .next("it goes on; wait longer with --timeout"),
            );
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    describe(target, name).await
}

async fn is_moving(cluster: &mut Cluster, name: &Name) -> Result<bool> {
    let request = ListPartitionReassignmentsRequest {
        timeout_ms: cluster.timeout_ms,
        topics: None,
    };
    let answer = cluster.any(&request).await?;
    let topics = answer
        .topics
        .iter()
        .filter(|topic| *topic.name == *name.topic);
    let mut rows = topics.flat_map(|topic| &topic.partitions);
    Ok(rows.any(|row| row.partition_index == name.partition))
}
