//! The command line: one module per command. Data goes to stdout, progress and errors to stderr.
//!
//! Commands about a cluster are Kafka clients of it ([`client`]); what Kafka's protocol has no word for goes to the
//! admin listener ([`admin`]). Exit codes are [`exit::Exit`].

pub mod admin;
pub mod bench;
pub mod bucket;
pub mod client;
pub mod clone;
pub mod cluster;
pub mod config;
pub mod consume;
pub mod dev;
pub mod disk;
pub mod exit;
pub mod group;
pub mod node;
pub mod output;
pub mod partition;
pub mod produce;
pub mod progress;
pub mod restore;
pub mod serve;
pub mod snapshot;
pub mod stored;
#[cfg(test)]
mod tests;
pub mod time;
pub mod topic;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use exit::{Failure, Result};
use output::Format;

/// A replicated log broker that speaks Kafka's protocol.
#[derive(Debug, Parser)]
#[command(
    name = "walser",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one broker.
    Serve(serve::Serve),
    /// Run a throwaway broker or cluster on loopback.
    Dev(dev::Dev),
    /// Create, list, describe, alter, delete topics.
    Topic(topic::Topic),
    /// Send lines of standard input as records.
    Produce(produce::Produce),
    /// Print records.
    Consume(consume::Consume),
    /// List, describe, move, delete consumer groups.
    Group(group::Group),
    /// Describe a partition, move it, move its leadership.
    Partition(partition::Partition),
    /// Take snapshots, see how far they are, verify them, remove old ones.
    Snapshot(snapshot::Snapshot),
    /// Restore a whole cluster, or some of its topics, from its snapshot store into a new one.
    Restore(restore::Restore),
    /// Copy a topic out of another cluster's snapshot store.
    Clone(clone::CloneTopic),
    /// Look into a snapshot store and clean it up, without a cluster.
    Bucket(bucket::Bucket),
    /// Look into a stopped broker's data directory.
    Disk(disk::Disk),
    /// List the brokers.
    Node(node::Node),
    /// The cluster's state.
    Cluster(cluster::Cluster),
    /// Explain configuration keys.
    Config(config::Config),
    /// Measure latency and throughput.
    Bench(bench::Bench),
}

/// Where the cluster is, how long to wait, what the answer looks like.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// Any brokers of the cluster: HOST:PORT, several with commas.
    #[arg(
        short,
        long,
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT"
    )]
    pub bootstrap: String,
    /// How long to wait for the cluster, in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub timeout: u64,
    /// What the answer looks like.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

impl Target {
    /// How long to wait.
    pub fn wait(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("walser: {failure}");
            failure.exit.code()
        }
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Serve(serve) => serve.run(),
        Command::Dev(dev) => dev.run(),
        Command::Topic(topic) => block_on(topic.run()),
        Command::Produce(produce) => block_on(produce.run()),
        Command::Consume(consume) => block_on(consume.run()),
        Command::Group(group) => block_on(group.run()),
        Command::Partition(partition) => block_on(partition.run()),
        Command::Snapshot(snapshot) => block_on(snapshot.run()),
        Command::Restore(restore) => block_on(restore.run()),
        Command::Clone(clone) => block_on(clone.run()),
        Command::Bucket(bucket) => block_on(bucket.run()),
        Command::Disk(disk) => disk.run(),
        Command::Node(node) => block_on(node.run()),
        Command::Cluster(cluster) => block_on(cluster.run()),
        Command::Config(config) => config.run(),
        Command::Bench(bench) => bench.run(),
    }
}

/// Runs a client command.
fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?
        .block_on(command)
}
