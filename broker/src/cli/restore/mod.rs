//! `walser restore`: a whole cluster from its snapshot store into a new one.

pub(super) mod carry_out;
mod report;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use snapshot::store::Store;
use snapshot::store::location::Location;

use super::bucket::expect_there;
use super::exit::{Exit, Failure, Result};
use super::output::{Format, confirm};
use super::time::{Time, now_ms};
use crate::restore::{self, Plan, Selection};
use carry_out::Into;

/// Restore a whole cluster from its snapshot store into a new one, with the same topics, offsets and groups.
///
/// The new cluster has to be formed, its brokers with snapshot.store set to the same store, and without topics of these
/// names. From then on the store is the new cluster's: what is left of the old one is refused by it.
#[derive(Debug, Args)]
pub struct Restore {
    /// The store: /a/folder, or s3://bucket/prefix?region=...&endpoint=...&path-style=true
    #[arg(long, value_name = "URL")]
    from: Location,
    /// As the cluster was at this time, as far as its snapshots go back: 2026-01-31T12:00:00Z, or milliseconds since 1970.
    #[arg(long, value_name = "TIME")]
    at: Option<Time>,
    /// As the cluster was at this cut, all partitions at one moment: a number that `walser snapshot cut` has told.
    #[arg(long, value_name = "NUMBER", conflicts_with = "at")]
    cut: Option<u64>,
    /// Only this topic, and of the groups their offsets in it; may be given several times. The others stay in the store as
    /// they are: the same command restores them into the same cluster later.
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Only show what would be restored. Nothing is written; no cluster is needed.
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
    /// The admin listener of a broker of the new cluster.
    #[arg(long, default_value = "127.0.0.1:9644", value_name = "HOST:PORT")]
    admin: String,
    /// How long a single step may take, in seconds.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    timeout: u64,
    /// What the answer looks like.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Restore {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        expect_there(&self.from)?;
        let store = self.from.open().await;
        let store = store.map_err(|why| refused(&why.into()))?;
        if self.dry_run {
            let plan = self.read(&store, None).await?;
            return report::planned(&plan, now_ms())?.print(self.format);
        }
        let into = Into::find(&self.admin, Duration::from_secs(self.timeout)).await?;
        let mut plan = self.read(&store, Some(into.cluster_id.clone())).await?;
        into.check(&*store, &mut plan).await?;
        let what = format!(
            "{} topics go into cluster {}, and the store from cluster {} to it",
            plan.topics.len(),
            into.cluster_id,
            plan.life.cluster_id
        );
        confirm(self.yes, &what)?;
        let now_ms = now_ms();
        let mut report = report::planned(&plan, now_ms)?;
        report.restored = Some(into.carry_out(&store, &plan, now_ms).await?);
        report.print(self.format)
    }

    async fn read(&self, store: &Arc<dyn Store>, into: Option<String>) -> Result<Plan> {
        eprintln!("reading what {} holds", self.from);
        let selection = Selection {
            at_ms: self.at.map(|Time(ms)| ms),
            cut: self.cut,
            into,
            topics: self.topics.iter().cloned().collect(),
        };
        Plan::read(store, &selection)
            .await
            .map_err(|why| refused(&why))
    }
}

pub(super) fn refused(why: &restore::Error) -> Failure {
    use restore::Error;
    use snapshot::{cut, tail};
    match why {
        Error::Store(snapshot::store::Error::NotFound(_)) | Error::NoMetadata(_) => {
            Failure::with(Exit::NotFound, why.to_string()).next("is --from the store of a cluster?")
        }
        Error::NoTopic(_) => Failure::with(Exit::NotFound, why.to_string())
            .next("`walser restore --from URL --dry-run` shows which there are"),
        Error::NoCut { .. } => Failure::with(Exit::NotFound, why.to_string())
            .next("snapshot.cut.keep says how many cuts stay"),
        Error::TooOld { .. } => Failure::with(Exit::NotFound, why.to_string())
            .next("choose a later --at; snapshot.keep says how many snapshots stay"),
        Error::Unreadable(tail::Error::Store(why)) | Error::Cut(cut::Error::Store(why)) => {
            Failure::with(Exit::Unreachable, why.to_string()).next("run the same command again")
        }
        Error::Archive(inner) if inner.retriable() => {
            Failure::with(Exit::Unreachable, why.to_string()).next("run the same command again")
        }
        Error::Archive(_)
        | Error::Copy(..)
        | Error::Manifest { .. }
        | Error::Chunk { .. }
        | Error::Cluster(_)
        | Error::Cut(_)
        | Error::Unreadable(_)
        | Error::Tail { .. } => Failure::with(Exit::Corruption, why.to_string())
            .next("`walser bucket verify` names all damage; --at goes back to earlier snapshots"),
        Error::Store(_) | Error::Owner(_) => Failure::with(Exit::Unreachable, why.to_string()),
        Error::State(_) | Error::Epochs(_) | Error::Taken(_) => Failure::new(why.to_string()),
    }
}
