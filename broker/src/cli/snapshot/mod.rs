//! `walser snapshot`: what a cluster has in its snapshot store.
//!
//! The brokers say where the store is and what is committed; what lies in it is read from here.

mod cut;
mod describe;
mod heal;
mod verify;

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::admin;
use super::bucket::gc;
use super::exit::{Exit, Failure, Result};
use super::output::{Format, Table, Watch, column, wide};
use super::partition::Name;
use super::stored::ClusterStore;
use crate::http::status::GroupStatus;
use crate::snapshots::StoreStatus;
use verify::Subject;

/// Between two looks at a snapshot that is being taken.
const LOOK: Duration = Duration::from_millis(100);

/// Take snapshots, see how far they are, verify them, remove old ones.
#[derive(Debug, Args)]
pub struct Snapshot {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Put a partition into the store now, and wait until it is there.
    Create {
        /// TOPIC/PARTITION
        partition: Name,
        #[command(flatten)]
        at: At,
    },
    /// The newest snapshot of each partition that the broker has a replica of.
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        at: At,
    },
    /// All snapshots of a partition that the store has, and what the committed one consists of.
    Describe {
        /// TOPIC/PARTITION
        partition: Name,
        #[command(flatten)]
        at: At,
    },
    /// Read the newest snapshot of each partition and compare it with what was written. Exit code 11 when something is
    /// damaged or missing.
    Verify {
        /// TOPIC or TOPIC/PARTITION; without it, everything.
        #[arg(value_name = "TOPIC[/PARTITION]")]
        subject: Option<Subject>,
        /// Have what is damaged or missing made anew by those who have copies, and read it again.
        #[arg(long)]
        heal: bool,
        #[command(flatten)]
        at: At,
    },
    /// Put all partitions into the store as of one moment.
    Cut(cut::MakeCut),
    /// Remove from the store what nobody needs any more, now: the brokers do it by themselves after later snapshots.
    Gc {
        #[command(flatten)]
        how: gc::How,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Clone, Debug, Args)]
struct At {
    /// A broker's admin listener. For `create`: of a broker that has a replica of the partition.
    #[arg(long, default_value = "127.0.0.1:9644", value_name = "HOST:PORT")]
    admin: String,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    timeout: u64,
    /// What the answer looks like.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl At {
    fn wait(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    async fn open(&self) -> Result<ClusterStore> {
        ClusterStore::open(&self.admin, self.wait()).await
    }

    async fn replica(&self, name: &Name) -> Result<GroupStatus> {
        let is_it = |group: &GroupStatus| {
            group.topic == name.topic() && group.partition == name.partition()
        };
        let status = admin::status(&self.admin, self.wait()).await?;
        status.groups.into_iter().find(is_it).ok_or_else(|| {
            let why = format!("broker {} has no replica of {name}", status.node_id);
            Failure::with(Exit::NotFound, why)
                .next("--admin names another broker; `walser partition describe` shows which")
        })
    }
}

impl Snapshot {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        match self.verb {
            Verb::Create { partition, at } => create(&at, &partition).await,
            Verb::List { watch, at } => watch.run(async || list(&at).await).await,
            Verb::Describe { partition, at } => describe::run(&at, &partition).await,
            Verb::Verify { subject, heal, at } => verify::run(&at, subject.as_ref(), heal).await,
            Verb::Cut(make) => make.run().await,
            Verb::Gc { how, at } => {
                let opened = at.open().await?;
                let StoreStatus { keep, grace_ms, .. } = opened.there;
                let keep = gc::Keep::configured(keep, grace_ms);
                gc::run(&*opened.store, keep, how, at.format).await
            }
        }
    }
}

async fn create(at: &At, name: &Name) -> Result<()> {
    let before = at.replica(name).await?;
    let path = format!(
        "/v1/partitions/{}/{}/snapshot",
        name.topic(),
        name.partition()
    );
    let (status, body) = admin::request("POST", &at.admin, &path, at.wait()).await?;
    if status != 200 {
        let message = body["message"].as_str().unwrap_or("no reason given");
        return Err(Failure::new(format!(
            "no snapshot of {name}: {message} ({status})"
        )));
    }
    let deadline = Instant::now() + at.wait();
    loop {
        let now = at.replica(name).await?;
        let is_there = now
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.index >= before.changed_index);
        if is_there {
            return rows(&[now]).print(at.format, "snapshots");
        }
        if Instant::now() >= deadline {
            let why = format!("{name} is not in the store yet");
            return Err(Failure::with(Exit::Unreachable, why)
                .next("the leader's log says why; walser_snapshot_failures_total counts it"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn list(at: &At) -> Result<()> {
    let groups = admin::status(&at.admin, at.wait()).await?.groups;
    let partitions: Vec<_> = groups.into_iter().filter(|g| !g.topic.is_empty()).collect();
    rows(&partitions).print(at.format, "snapshots")
}

fn rows(partitions: &[GroupStatus]) -> Table {
    let mut table = Table::new(&[
        column("topic"),
        column("partition"),
        column("log_start"),
        column("local_start"),
        column("snapshot_end"),
        column("high_watermark"),
        column("lag_seconds"),
        wide("incarnation"),
        wide("leader_epoch"),
        wide("index"),
    ]);
    for group in partitions {
        let snapshot = group.snapshot.as_ref();
        let is_leader = group.role == "leader";
        let lag = Duration::from_millis(group.snapshot_lag_ms).as_secs_f64();
        table.row(vec![
            json!(group.topic),
            json!(group.partition),
            json!(group.log_start_offset),
            json!(group.local_start_offset),
            json!(snapshot.map(|snapshot| snapshot.next_offset)),
            json!(group.high_watermark),
            json!(is_leader.then_some(lag)),
            json!(snapshot.map(|snapshot| snapshot.incarnation)),
            json!(snapshot.map(|snapshot| snapshot.leader_epoch)),
            json!(snapshot.map(|snapshot| snapshot.index)),
        ]);
    }
    table
}
