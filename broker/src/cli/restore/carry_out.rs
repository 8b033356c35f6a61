//! The steps of a restore.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use snapshot::owner::{self, Life};
use snapshot::source::Incarnation;
use snapshot::store::Store;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::refused;
use crate::cli::Target;
use crate::cli::admin;
use crate::cli::client::Cluster;
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::output::Format;
use crate::controller::RestoreTopic;
use crate::coordinator::rebirth::Rebirth;
use crate::http::RestoreStep;
use crate::metadata::TopicId;
use crate::restore::{Plan, Reborn, TopicPlan};
use crate::snapshots::StoreStatus;

/// Manifests that are written at once.
const WRITES: usize = 16;
/// Topics that are made at once.
const TOPICS: usize = 8;
/// Between two looks at what takes a while.
const LOOK: Duration = Duration::from_millis(20);
/// And after a refusal.
const PAUSE: Duration = Duration::from_millis(200);
/// So far beyond every producer id of the cluster that was the new one begins: it may have gone on for a while.
const PRODUCER_ID_JUMP: i64 = 1 << 32;

/// The cluster to restore into.
#[derive(Clone)]
pub(in crate::cli) struct Into {
    admin: String,
    kafka: String,
    wait: Duration,
    /// Its id, as the store writes it.
    pub(super) cluster_id: String,
}

impl Into {
    /// The cluster of this broker.
    pub(in crate::cli) async fn find(admin: &str, wait: Duration) -> Result<Self> {
        let status = admin::status(admin, wait).await?;
        let store = status.snapshot_store.ok_or_else(|| {
            let why = format!("broker {} has no snapshot store", status.node_id);
            Failure::usage(why).next("set snapshot.store on every broker to what --from says")
        })?;
        if store.is_own {
            let why = format!("broker {} has snapshot.store = \"local\"", status.node_id);
            return Err(
                Failure::usage(why).next("set snapshot.store on every broker to what --from says")
            );
        }
        Ok(Self {
            admin: admin.to_owned(),
            kafka: status.kafka,
            wait,
            cluster_id: store.cluster_id,
        })
    }

    fn kafka(&self) -> Cluster {
        Cluster::new(&Target {
            bootstrap: self.kafka.clone(),
            timeout: self.wait.as_secs(),
            format: Format::Text,
        })
    }

    /// Whether there is nothing in its way. What of a partial restore is there already, and cannot come again, is taken
    /// out of the plan: the groups.
    pub(super) async fn check(&self, store: &dyn Store, plan: &mut Plan) -> Result<()> {
        let there = self.kafka().metadata(None).await?.topics;
        let is_there = |id: Uuid| there.iter().any(|topic| topic.topic_id.0 == id.as_u128());
        if plan.life.cluster_id == self.cluster_id {
            let left = owner::left(store, plan.life.incarnation).await;
            let left = left.map_err(|why| refused(&why.into()))?;
            let lost = plan
                .left
                .iter()
                .find(|t| !left.contains(&t.id) && !is_there(t.id));
            if let Some(lost) = lost {
                let why = format!("this restore was begun with the topic {}", lost.name);
                return Err(Failure::new(why).next(
                    "what it leaves out now would be taken for deleted: name this topic as well",
                ));
            }
        }
        if !plan.left.is_empty() {
            plan.topics
                .retain(|of| !of.is_of_groups() || !is_there(of.topic.id));
        }
        for topic in there {
            let name = topic.name.as_deref().unwrap_or_default();
            let wanted = plan
                .topics
                .iter()
                .find(|planned| planned.topic.name == name);
            if wanted.is_some_and(|wanted| wanted.topic.id.as_u128() != topic.topic_id.0) {
                let why = format!("the cluster has a topic {name} of its own already");
                return Err(Failure::new(why).next(
                    "restore into a cluster that was just formed; keep clients away from it until it is restored",
                ));
            }
        }
        Ok(())
    }

    /// Does it. Tells which incarnation it is.
    pub(super) async fn carry_out(
        &self,
        store: &Arc<dyn Store>,
        plan: &Plan,
        now_ms: i64,
    ) -> Result<Incarnation> {
        let left = plan.all_left();
        let life = owner::begin(&**store, &plan.life, &self.cluster_id, now_ms, left).await;
        let life = life.map_err(|why| Failure::new(why.to_string()))?;
        eprintln!(
            "incarnation {} is begun; the brokers take it up",
            life.incarnation.0
        );
        let mut known_at = 0;
        // Where this is done already, more topics come into a cluster that goes on: its configs are its own.
        if self.await_broker(&life).await?.problem.is_some() {
            known_at = self.cluster(plan).await?;
        }
        let mut topics = Topics {
            into: self,
            turns: Arc::new(Semaphore::new(WRITES)),
            store,
            life: life.incarnation,
            done: 0,
            of: plan.topics.len(),
        };
        let plain = Rebirth {
            now_ms,
            ..Rebirth::default()
        };
        let ordered: Vec<&TopicPlan> = plan.in_order().collect();
        let groups_at = ordered.partition_point(|topic| !topic.is_of_groups());
        known_at = known_at.max(topics.make(&ordered[..groups_at], &plain).await?);
        let rebirth = plan.rebirth(known_at, now_ms);
        topics.make(&ordered[groups_at..], &rebirth).await?;
        let checked = plan.check_chunks(&**store).await;
        checked.map_err(|why| refused(&why))?;
        self.await_leaders(&plan.topics).await?;
        let incarnation = life.incarnation;
        self.step(&RestoreStep::Finish {
            incarnation: incarnation.0,
        })
        .await?;
        Ok(incarnation)
    }

    async fn cluster(&self, plan: &Plan) -> Result<u64> {
        let before = plan.cluster.next_producer_id;
        let cluster = RestoreStep::Cluster {
            configs: plan.cluster.configs.clone(),
            next_producer_id: before.saturating_add(PRODUCER_ID_JUMP),
        };
        self.step(&cluster).await
    }

    async fn await_broker(&self, life: &Life) -> Result<StoreStatus> {
        let deadline = Instant::now() + self.wait;
        let path = format!("/v1/restore/begun/{}", life.incarnation.0);
        loop {
            let (status, answer) = admin::post(&self.admin, &path, &Value::Null, self.wait).await?;
            if status == 200 {
                return serde_json::from_value(answer)
                    .map_err(|why| Failure::new(format!("{path} answers otherwise: {why}")));
            }
            if Instant::now() >= deadline {
                let why = answer["message"].as_str().unwrap_or("no reason given");
                let why = format!(
                    "the broker at {} does not take the store up: {why}",
                    self.admin
                );
                return Err(Failure::with(Exit::Unreachable, why).next(
                    "is its snapshot.store what --from says? then run the same command again",
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tells as of which metadata it is done.
    pub(in crate::cli) async fn step(&self, step: &RestoreStep) -> Result<u64> {
        let body = serde_json::to_value(step).expect("a step is plain JSON");
        let (status, answer) = admin::post(&self.admin, "/v1/restore", &body, self.wait).await?;
        match answer["metadata_index"].as_u64().filter(|_| status == 200) {
            Some(index) => Ok(index),
            None => {
                let message = answer["message"].as_str().unwrap_or("no reason given");
                let why = format!(
                    "the cluster does not take a step of the restore: {message} ({status})"
                );
                Err(Failure::with(Exit::Partial, why)
                    .next("run the same command again: it goes on where it ended"))
            }
        }
    }

    /// Until every partition is led: a majority of its replicas has read what it begins with.
    pub(in crate::cli) async fn await_leaders(&self, planned: &[TopicPlan]) -> Result<()> {
        let mut kafka = self.kafka();
        let mut best = None;
        let mut deadline = Instant::now() + self.wait;
        let names: Vec<&str> = planned
            .iter()
            .map(|topic| topic.topic.name.as_str())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        loop {
            kafka.extend(self.wait);
            let topics = kafka.metadata(Some(&names)).await?.topics;
            let partitions = topics.iter().flat_map(|topic| &topic.partitions);
            let wanted: usize = planned.iter().map(|topic| topic.partitions.len()).sum();
            let led = partitions
                .filter(|partition| partition.leader_id >= 0)
                .count();
            if led == wanted {
                return Ok(());
            }
            if best.is_none_or(|best| led > best) {
                eprintln!("{led} of {wanted} partitions are led");
                (best, deadline) = (Some(led), Instant::now() + self.wait);
            }
            if Instant::now() >= deadline {
                let why = format!("only {led} of {wanted} partitions have a leader");
                return Err(Failure::with(Exit::Unhealthy, why).next(
                    "the brokers' logs say why replicas are not open; run the same command again afterwards",
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Topics on their way into the cluster.
struct Topics<'a> {
    into: &'a Into,
    /// To write a manifest.
    turns: Arc<Semaphore>,
    store: &'a Arc<dyn Store>,
    life: Incarnation,
    done: usize,
    of: usize,
}

impl Topics<'_> {
    /// Makes these, some at once. Tells as of which metadata they are there.
    async fn make(&mut self, topics: &[&TopicPlan], rebirth: &Rebirth) -> Result<u64> {
        let mut known_at = 0;
        for some in topics.chunks(TOPICS) {
            let mut steps = JoinSet::new();
            for topic in some {
                let put = self.put(topic, rebirth)?;
                let into = self.into.clone();
                steps.spawn(async move { into.step(&put.await?).await });
            }
            while let Some(step) = steps.join_next().await {
                let index = step.expect("a step does not panic, and nobody cancels it")?;
                known_at = known_at.max(index);
            }
            self.done += some.len();
            let last = &some[some.len() - 1].topic.name;
            eprintln!("{}/{} {last}", self.done, self.of);
        }
        Ok(known_at)
    }

    /// Puts what its partitions begin with into the store. Then there is this to do.
    fn put(
        &self,
        topic: &TopicPlan,
        rebirth: &Rebirth,
    ) -> Result<impl Future<Output = Result<RestoreStep>> + use<>> {
        let reborn = |partition| Reborn::new(topic, partition, self.life, rebirth);
        let reborn: std::result::Result<Vec<Reborn>, _> =
            topic.partitions.iter().map(reborn).collect();
        let reborn = reborn.map_err(|why| refused(&why))?;
        let step = RestoreStep::Topic(RestoreTopic {
            topic: TopicId(topic.topic.id.as_u128()),
            name: topic.topic.name.clone(),
            replicas: topic.topic.replicas,
            configs: topic.topic.configs.clone(),
            origins: reborn.iter().map(|reborn| reborn.origin).collect(),
        });
        let (store, turns) = (self.store.clone(), self.turns.clone());
        Ok(async move {
            let mut writes = JoinSet::new();
            for reborn in reborn {
                let (store, turns) = (store.clone(), turns.clone());
                writes.spawn(async move {
                    let _turn = turns.acquire().await.expect("it is never closed");
                    reborn.put(&*store).await
                });
            }
            while let Some(write) = writes.join_next().await {
                let write = write.expect("a write does not panic, and nobody cancels it");
                write.map_err(|why| refused(&why))?;
            }
            Ok(step)
        })
    }
}
