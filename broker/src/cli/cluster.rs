//! `walser cluster`: whether all is well.

use clap::{Args, Subcommand};
use protocol::messages::describe_cluster::DescribeClusterRequest;
use serde_json::json;

use super::Target;
use super::client::Cluster as Client;
use super::exit::{Exit, Failure, Result};
use super::output::{Table, Watch, column};

/// The cluster's state.
#[derive(Debug, Args)]
pub struct Cluster {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A line of figures. Exit code 10 when partitions have no leader, replicas are out of sync or nodes are missing.
    #[command(alias = "health")]
    Status {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        target: Target,
    },
}

impl Cluster {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        let Verb::Status { watch, target } = self.verb;
        watch.run(async || status(&target).await).await
    }
}

async fn status(target: &Target) -> Result<()> {
    let mut cluster = Client::new(target);
    let request = DescribeClusterRequest {
        include_fenced_brokers: true,
        endpoint_type: 1,
        ..Default::default()
    };
    let described = cluster.any(&request).await?;
    if described.error_code != 0 {
        let message = described.error_message.as_deref();
        return Err(Failure::of_code(
            described.error_code,
            message,
            "the cluster",
        ));
    }
    let metadata = cluster.metadata(None).await?;
    let rows = || metadata.topics.iter().flat_map(|topic| &topic.partitions);
    let leaderless = rows().filter(|row| row.leader_id < 0).count();
    let under = rows()
        .filter(|row| row.leader_id >= 0 && row.isr_nodes.len() < row.replica_nodes.len())
        .count();
    let missing: Vec<i32> = described
        .brokers
        .iter()
        .filter(|b| b.is_fenced)
        .map(|b| b.broker_id)
        .collect();
    let healthy = leaderless == 0 && under == 0 && missing.is_empty();
    let columns = [
        column("cluster_id"),
        column("nodes"),
        column("missing_nodes"),
        column("controller"),
        column("topics"),
        column("partitions"),
        column("leaderless"),
        column("under_replicated"),
        column("healthy"),
    ];
    let mut table = Table::new(&columns);
    table.row(vec![
        json!(&*described.cluster_id),
        json!(described.brokers.len()),
        json!(missing),
        json!(described.controller_id),
        json!(metadata.topics.len()),
        json!(rows().count()),
        json!(leaderless),
        json!(under),
        json!(healthy),
    ]);
    table.print(target.format, "clusters")?;
    if healthy {
        return Ok(());
    }
    let message = format!(
        "the cluster is not healthy: {leaderless} partitions without a leader, {under} under-replicated, \
             {} nodes missing",
        missing.len()
    );
    Err(Failure::with(Exit::Unhealthy, message)
        .next("`walser node list` and `walser topic list --format wide` show which"))
}
