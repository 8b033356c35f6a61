//! What the HTTP thread asks the broker's thread.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use protocol::error_code::ErrorCode;
use raft::types::{Index, NodeId};
use serde::{Deserialize, Serialize};
use snapshot::key::Key;
use snapshot::source::Incarnation;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{GroupView, GroupsView, Status};
use crate::broker::Broker;
use crate::compare::Compared;
use crate::controller::{ControllerRequest, Failure, RestoreTopic};
use crate::metrics::NodeMetrics;
use crate::server::Server;
use crate::snapshots::StoreStatus;
use crate::snapshots::cut::CutMade;
use crate::snapshots::mend::Healed;

/// How long the controller may take to ask for a transfer.
const TRANSFER_WAIT: Duration = Duration::from_secs(10);
/// And to take a step of a restore.
const RESTORE_WAIT: Duration = Duration::from_secs(30);

/// A step of a restore, as `walser restore` asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RestoreStep {
    /// A topic, as it was.
    Topic(RestoreTopic),
    /// What else there is.
    Cluster {
        /// Dynamic configs of all brokers.
        configs: BTreeMap<String, String>,
        /// Producer ids from here on were given to nobody.
        next_producer_id: i64,
    },
    /// That is all.
    Finish {
        /// The life of the cluster that begins with it.
        incarnation: u32,
    },
}

/// A question and where its answer goes.
pub enum Question {
    /// Whether the broker is ready, or why not.
    Ready(oneshot::Sender<Result<(), String>>),
    /// How it is.
    Status(oneshot::Sender<Status>),
    /// All figures.
    Metrics(oneshot::Sender<Box<NodeMetrics>>),
    /// All about a group of consumers, or why that cannot be told.
    Group(String, oneshot::Sender<Result<GroupView, Failure>>),
    /// All groups of consumers.
    Groups(oneshot::Sender<GroupsView>),
    /// Find the store to be this cluster's in this life, which a restore has begun.
    Begun(u32, oneshot::Sender<Result<StoreStatus, Failure>>),
    /// Take a step of a restore; answers as of which metadata.
    Restore(RestoreStep, oneshot::Sender<Result<Index, Failure>>),
    /// Put a partition into the snapshot store.
    Snapshot {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Whether its leader has begun.
        answer: oneshot::Sender<Result<(), Failure>>,
    },
    /// Have objects of the snapshot store made anew that are damaged or missing.
    Heal {
        /// The topic and the partition that they are of; None for what is of the whole cluster.
        partition: Option<(String, i32)>,
        /// Which chunks of a partition. All manifests are looked at.
        keys: Vec<Key>,
        /// What became of those that were not sound.
        answer: oneshot::Sender<Result<Vec<Healed>, Failure>>,
    },
    /// Compare the replicas of a partition.
    Compare {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What was compared, and where they differ.
        answer: oneshot::Sender<Result<Compared, Failure>>,
    },
    /// Make a cut of the whole cluster.
    Cut(oneshot::Sender<Result<CutMade, Failure>>),
    /// Hand leadership of a partition to a node.
    Transfer {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Who shall lead.
        to: i32,
        /// What came of it.
        answer: oneshot::Sender<Result<(), Failure>>,
    },
}

/// Answers until the HTTP thread ends.
pub async fn answer(broker: Rc<Broker>, server: Rc<Server>, mut asked: mpsc::Receiver<Question>) {
    while let Some(question) = asked.recv().await {
        let broker = &broker;
        // Whoever asked may be gone: then nobody misses the answer.
        match question {
            Question::Ready(to) => drop(to.send(broker.ready())),
            Question::Status(to) => drop(to.send(broker.status())),
            Question::Metrics(to) => {
                let server = Rc::clone(&server);
                tell(broker, to, async move |broker| {
                    Box::new(collect(broker, &server).await)
                });
            }
            Question::Group(name, to) => {
                tell(broker, to, async move |broker| {
                    broker.group_view(&name).await
                });
            }
            Question::Groups(to) => {
                tell(broker, to, async |broker| broker.groups_view().await);
            }
            Question::Restore(step, to) => {
                tell(broker, to, async move |broker| restore(broker, step).await);
            }
            Question::Begun(incarnation, to) => {
                tell(broker, to, async move |broker| {
                    begun(broker, incarnation).await
                });
            }
            Question::Snapshot {
                topic,
                partition,
                answer,
            } => {
                tell(broker, answer, async move |broker| {
                    broker.snapshot_now(&topic, partition).await
                });
            }
            Question::Heal {
                partition,
                keys,
                answer,
            } => {
                tell(broker, answer, async move |broker| {
                    let of = partition.as_ref().map(|(topic, at)| (topic.as_str(), *at));
                    broker.heal_store(of, keys).await
                });
            }
            Question::Compare {
                topic,
                partition,
                answer,
            } => {
                tell(broker, answer, async move |broker| {
                    broker.compare_replicas(&topic, partition).await
                });
            }
            Question::Cut(to) => {
                tell(broker, to, async |broker| broker.cut_now().await);
            }
            Question::Transfer {
                topic,
                partition,
                to,
                answer,
            } => {
                tell(broker, answer, async move |broker| {
                    transfer(broker, topic, partition, NodeId(to)).await
                });
            }
        }
    }
}

/// Answers what takes its time, while other questions are answered.
fn tell<T: 'static>(
    broker: &Rc<Broker>,
    to: oneshot::Sender<T>,
    work: impl AsyncFnOnce(&Rc<Broker>) -> T + 'static,
) {
    let broker = Rc::clone(broker);
    tokio::task::spawn_local(async move {
        let _ = to.send(work(&broker).await);
    });
}

async fn begun(broker: &Broker, incarnation: u32) -> Result<StoreStatus, Failure> {
    let code = ErrorCode::CoordinatorLoadInProgress;
    let none = || Failure::new(code, "snapshot.store is not set on this broker");
    let snapshots = broker.snapshots.as_ref().ok_or_else(none)?;
    let life = snapshots.await_life(Incarnation(incarnation));
    let known = timeout(RESTORE_WAIT, life).await;
    let status = snapshots.status(&broker.shard.borrow());
    match known {
        Ok(()) => Ok(status),
        Err(_) => Err(Failure::new(code, status.problem.unwrap_or_default())),
    }
}

async fn restore(broker: &Rc<Broker>, step: RestoreStep) -> Result<Index, Failure> {
    let request = match step {
        RestoreStep::Topic(topic) => ControllerRequest::RestoreTopic(topic),
        RestoreStep::Finish { incarnation } => ControllerRequest::FinishRestore { incarnation },
        RestoreStep::Cluster {
            configs,
            next_producer_id,
        } => ControllerRequest::RestoreCluster {
            configs,
            next_producer_id,
        },
    };
    let response = broker.controller_call(request, RESTORE_WAIT).await?;
    let mut items = response.items.into_iter();
    items.try_for_each(|item| item.map(drop))?;
    Ok(response.applied)
}

async fn collect(broker: &Rc<Broker>, server: &Server) -> NodeMetrics {
    let consumers = broker.consumer_metrics().await;
    let mut metrics = broker.metrics();
    metrics.consumers = consumers;
    metrics.server = server.figures();
    metrics.request_memory_capacity_bytes = server.memory_capacity() as u64;
    metrics.requests = server.requests();
    metrics
}

async fn transfer(
    broker: &Rc<Broker>,
    topic: String,
    partition: i32,
    to: NodeId,
) -> Result<(), Failure> {
    let request = ControllerRequest::TransferLeader {
        topic,
        partition,
        to,
    };
    let response = broker.controller_call(request, TRANSFER_WAIT).await?;
    let mut items = response.items.into_iter();
    items.try_for_each(|item| item.map(drop))
}
