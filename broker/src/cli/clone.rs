//! `walser clone`: a topic out of another cluster's store into a cluster that runs.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use snapshot::archive::{self, Archive};
use snapshot::source::Incarnation;
use snapshot::store::location::Location;
use uuid::Uuid;

use super::bucket::expect_there;
use super::exit::{Exit, Failure, Result};
use super::output::{Format, Table, column, print, wide};
use super::progress::Progress;
use super::restore::{carry_out::Into, refused};
use super::stored::ClusterStore;
use super::time::{Time, now_ms};
use crate::controller::RestoreTopic;
use crate::coordinator::OFFSETS_TOPIC;
use crate::http::RestoreStep;
use crate::metadata::TopicId;
use crate::partition::stored::Stored;
use crate::restore::{Copy, PartitionPlan, Plan, Selection, TopicPlan};

/// Copy a topic out of another cluster's snapshot store into a cluster that runs, with its offsets.
///
/// The other cluster is not asked and notices nothing; it may be lost. The records go into the snapshot store of this
/// cluster, not through its logs, and are read from there. Groups and producers do not come with it.
#[derive(Debug, Args)]
pub struct CloneTopic {
    /// The other cluster's store: /a/folder, or s3://bucket/prefix?region=...&endpoint=...&path-style=true
    #[arg(long, value_name = "URL")]
    from: Location,
    /// The topic.
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Its name here; the same one without it.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// As the topic was at this time, as far as its snapshots go back: 2026-01-31T12:00:00Z, or milliseconds since 1970.
    #[arg(long, value_name = "TIME")]
    at: Option<Time>,
    /// Only show what would be copied. Nothing is written; no cluster is needed.
    #[arg(long)]
    dry_run: bool,
    /// The admin listener of a broker of the cluster that it goes into.
    #[arg(long, default_value = "127.0.0.1:9644", value_name = "HOST:PORT")]
    admin: String,
    /// How long a single step may take, in seconds.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    timeout: u64,
    /// What the answer looks like.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl CloneTopic {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        if self.topic == OFFSETS_TOPIC {
            let why = format!("{OFFSETS_TOPIC} is of the other cluster's groups only");
            return Err(Failure::usage(why));
        }
        expect_there(&self.from)?;
        let store = self.from.open().await;
        let store = store.map_err(|why| refused(&why.into()))?;
        let selection = Selection {
            at_ms: self.at.map(|Time(ms)| ms),
            topics: [self.topic.clone()].into(),
            ..Selection::default()
        };
        let plan = Plan::read(&store, &selection).await;
        let plan = plan.map_err(|why| refused(&why))?;
        let from_cluster = plan.life.cluster_id;
        let mut topics = plan.topics.into_iter();
        let topic = topics.find(|of| of.topic.name == self.topic);
        let mut topic = topic.expect("a plan without it is an error");
        topic.topic.name = self.name.clone().unwrap_or_else(|| self.topic.clone());
        if !self.dry_run {
            let archive = Archive::new(store, archive::Config::default());
            topic.topic.id = Uuid::new_v4();
            self.copy(&archive, &topic).await?;
        }
        self.report(&topic, &from_cluster)
    }

    async fn copy(&self, from: &Archive, topic: &TopicPlan) -> Result<()> {
        let wait = Duration::from_secs(self.timeout);
        let into = Into::find(&self.admin, wait).await?;
        let target = ClusterStore::open(&self.admin, wait).await?;
        if let Some(problem) = &target.there.problem {
            return Err(Failure::new(problem.clone()));
        }
        let name = &topic.topic.name;
        let there = target.kafka(wait).metadata(None).await?.topics;
        if there.iter().any(|of| of.name.as_deref() == Some(name)) {
            let why = format!("the cluster has a topic {name} already");
            return Err(Failure::new(why).next("--as gives the copy another name"));
        }
        let began = Instant::now();
        let origins = self.copy_records(from, &target, topic).await?;
        // NB: until it is a topic its objects are of none. What is that young no collection takes.
        let grace_ms = u64::try_from(target.there.grace_ms).unwrap_or(0);
        if began.elapsed() > Duration::from_millis(grace_ms / 2) {
            let why = "the copy took longer than half of snapshot.grace, so some of it may be removed already";
            return Err(Failure::with(Exit::Partial, why)
                .next("set a longer snapshot.grace on the brokers for the time and clone again"));
        }
        let step = RestoreStep::Topic(RestoreTopic {
            topic: TopicId(topic.topic.id.as_u128()),
            name: name.clone(),
            replicas: topic.topic.replicas,
            configs: topic.topic.configs.clone(),
            origins,
        });
        into.step(&step).await?;
        into.await_leaders(std::slice::from_ref(topic)).await
    }

    async fn copy_records(
        &self,
        from: &Archive,
        target: &ClusterStore,
        topic: &TopicPlan,
    ) -> Result<Vec<Stored>> {
        let copy = Copy {
            from,
            to: &*target.store,
            store_id: &target.store_id,
            incarnation: Incarnation(target.there.incarnation.unwrap_or_default()),
            now_ms: now_ms(),
        };
        let sizes = topic.partitions.iter().map(PartitionPlan::raw_bytes);
        let total: u64 = sizes.sum();
        let (mut progress, mut done) = (Progress::start(), 0);
        let mut origins = Vec::new();
        for partition in &topic.partitions {
            let copied = copy.partition(topic, partition, |bytes| {
                done += bytes;
                progress.told(done, total);
            });
            origins.push(copied.await.map_err(|why| refused(&why))?);
        }
        Ok(origins)
    }

    fn report(&self, topic: &TopicPlan, from_cluster: &str) -> Result<()> {
        let mut table = Table::new(&[
            column("partition"),
            column("log_start"),
            column("end"),
            column("raw_bytes"),
            column("snapshot_age_seconds"),
            wide("manifest"),
        ]);
        for partition in &topic.partitions {
            let age = partition.created_ms().map(|at| (now_ms() - at) / 1000);
            table.row(vec![
                json!(partition.source.partition),
                json!(partition.log_start()),
                json!(partition.next_offset()),
                json!(partition.raw_bytes()),
                json!(age),
                json!(partition.manifest.as_ref().map(|of| of.key())),
            ]);
        }
        let value = json!({
            "schema": 1,
            "from_cluster": from_cluster,
            "topic": self.topic,
            "as": topic.topic.name,
            "copied": !self.dry_run,
            "partitions": table.values(),
        });
        if let Some(data) = self.format.data(&value) {
            return print(&data);
        }
        table.print(self.format, "partitions")?;
        let copied = if self.dry_run { "would copy" } else { "copied" };
        let (from, name) = (&self.topic, &topic.topic.name);
        print(&format!(
            "{copied} {from} of cluster {from_cluster} as {name}, with its offsets\n"
        ))
    }
}
