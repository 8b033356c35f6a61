//! `walser node`: the brokers.

use clap::{Args, Subcommand};
use protocol::messages::describe_cluster::DescribeClusterRequest;
use serde_json::json;

use super::Target;
use super::client::Cluster;
use super::exit::{Failure, Result};
use super::output::{Table, Watch, column, wide};

/// List the brokers.
#[derive(Debug, Args)]
pub struct Node {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// All registered brokers, also those that are not heard.
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        target: Target,
    },
}

impl Node {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        let Verb::List { watch, target } = self.verb;
        watch.run(async || list(&target).await).await
    }
}

async fn list(target: &Target) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let request = DescribeClusterRequest {
        include_fenced_brokers: true,
        endpoint_type: 1,
        ..Default::default()
    };
    let answer = cluster.any(&request).await?;
    if answer.error_code != 0 {
        let message = answer.error_message.as_deref();
        return Err(Failure::of_code(answer.error_code, message, "the cluster"));
    }
    let metadata = cluster.metadata(None).await?;
    let rows = || metadata.topics.iter().flat_map(|topic| &topic.partitions);
    let columns = [
        column("node"),
        column("address"),
        column("alive"),
        column("controller"),
        column("leads"),
        column("replicas"),
        wide("rack"),
    ];
    let mut table = Table::new(&columns);
    for broker in &answer.brokers {
        let id = broker.broker_id;
        table.row(vec![
            json!(id),
            json!(format!("{}:{}", broker.host, broker.port)),
            json!(!broker.is_fenced),
            json!(id == answer.controller_id),
            json!(rows().filter(|row| row.leader_id == id).count()),
            json!(rows().filter(|row| row.replica_nodes.contains(&id)).count()),
            json!(broker.rack.as_deref()),
        ]);
    }
    table.print(target.format, "nodes")
}
