//! A cut of the whole cluster, made by the controller.
//!
//! 1. Every broker holds what clients could see, and tells how far the partitions are that it leads (`shard/hold`).
//! 2. Then majorities confirm these leaders, so that nobody else has shown more until all had told theirs.
//! 3. Then all are released. Whoever was not held until then makes the cut void, and it is tried again.
//! 4. The cut goes into the store as an open one; the snapshots as of these positions are taken; when all are there, it is
//!    written as a whole one.
//!
//! 1 to 3 take a few milliseconds, [`HOLD_MS`] at most; that is how long producers wait in addition.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::{GroupId, NodeId};
use serde::{Deserialize, Serialize};
use snapshot::cluster::Cluster;
use snapshot::cut::{self, Cut, Standing};
use snapshot::owner::Life;
use snapshot::{collect, inventory, key};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Snapshots;
use super::cluster::cluster_of;
use crate::broker::Broker;
use crate::controller::Failure;
use crate::driver::control::kind;
use crate::shard::{Captured, HOLD_MS, Position};

/// How often it is tried to hold everything.
const TRIES: u32 = 10;
/// Wait after the first of them in vain; grows by itself.
const TRY_PAUSE: Duration = Duration::from_millis(50);
/// How long a broker may take to answer where it does not matter.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long the snapshots of a cut may take.
const TAKE_MAX: Duration = Duration::from_secs(600);
/// How long the controller may take for all of it.
pub(crate) const CUT_MAX: Duration = Duration::from_secs(660);

/// A cut that is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutMade {
    /// Of this document.
    pub schema: u32,
    /// By which it is restored.
    pub number: u64,
    /// How many it has.
    pub partitions: usize,
    /// For how long clients were not shown anything new.
    pub hold_ms: u64,
    /// How long all of it took.
    pub took_ms: u64,
}

/// What a broker is to do for a cut.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Step {
    Hold,
    Confirm,
    Release,
    /// The cut has not come about.
    Forget,
    /// Take the snapshots; answered when all are in the store.
    Take,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Positions(Vec<Position>),
    Done,
    Failed(String),
}

/// What all brokers told while everything was held.
struct Held {
    /// By group.
    positions: BTreeMap<u64, Position>,
    nodes: Vec<NodeId>,
    cluster: Cluster,
    took: Duration,
}

/// A cut is of all partitions, in one place.
const NOT_SHARED: &str = "snapshot.store is local: each broker has copies of its own. For a cut, set it on every broker to a \
                          folder that all share, or to a bucket";

impl Broker {
    /// Makes cuts now and then, while this broker is the controller.
    pub(crate) async fn keep_cutting(self: Rc<Self>) {
        let every = Duration::from_millis(self.config.node.snapshot_cut_every_ms);
        if every.is_zero() {
            return;
        }
        loop {
            tokio::time::sleep(every).await;
            if self.controller() == Some(self.node)
                && let Err(why) = self.make_cut().await
            {
                tracing::warn!(target: "snapshot", %why, "no cut of the cluster");
            }
        }
    }

    /// Makes a cut, wherever the controller is.
    pub(crate) async fn cut_now(self: &Rc<Self>) -> Result<CutMade, Failure> {
        let unknown = |why: String| Failure::new(ErrorCode::CoordinatorNotAvailable, why);
        match self.controller() {
            None => Err(unknown("no controller is known".to_owned())),
            Some(node) if node == self.node => self.make_cut().await,
            Some(node) => {
                let asked = self.network.request(node, kind::CUT, Bytes::new(), CUT_MAX);
                let answer = asked.await.map_err(|why| {
                    unknown(format!(
                        "the controller, broker {node}, has not answered: {why}"
                    ))
                })?;
                let read: Result<Result<CutMade, Failure>, _> = serde_json::from_slice(&answer);
                read.map_err(|why| unknown(format!("broker {node}: {why}")))?
            }
        }
    }

    /// Another broker has asked for a cut.
    pub(crate) async fn cut_asked(self: &Rc<Self>) -> Bytes {
        let made = self.make_cut().await;
        serde_json::to_vec(&made).expect("it has no maps").into()
    }

    async fn make_cut(self: &Rc<Self>) -> Result<CutMade, Failure> {
        let Some(snapshots) = &self.snapshots else {
            let message = "there is no snapshot store: set snapshot.store on every broker";
            return Err(Failure::new(ErrorCode::InvalidConfig, message));
        };
        if snapshots.is_own() {
            return Err(Failure::new(ErrorCode::InvalidConfig, NOT_SHARED));
        }
        let began = Instant::now();
        let made = self.cut_into(snapshots).await;
        let figures = &snapshots.figures;
        match made {
            Ok((cut, hold)) => {
                let number = cut.number;
                let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
                figures.cuts.set(figures.cuts.get() + 1);
                figures.cut_hold_ms.set(hold_ms);
                tracing::info!(target: "snapshot", number, hold_ms, "a cut of the cluster is in the store");
                Ok(CutMade {
                    schema: 1,
                    number,
                    partitions: cut.partitions.len(),
                    hold_ms,
                    took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                })
            }
            Err(why) => {
                figures.cuts_failed.set(figures.cuts_failed.get() + 1);
                Err(Failure::new(ErrorCode::UnknownServerError, why))
            }
        }
    }

    async fn cut_into(self: &Rc<Self>, snapshots: &Snapshots) -> Result<(Cut, Duration), String> {
        let life = snapshots.life();
        let life = life.ok_or("it is not known whose the store is")?;
        let (id, held) = self.hold_all_patiently(&life).await?;
        let made = self.write_cut(snapshots, &life, &held, id).await;
        if made.is_err() {
            self.all(&held.nodes, Step::Forget, id, ANSWER_MAX).await;
        }
        made.map(|cut| (cut, held.took))
    }

    async fn write_cut(
        self: &Rc<Self>,
        snapshots: &Snapshots,
        life: &Life,
        held: &Held,
        id: u128,
    ) -> Result<Cut, String> {
        let store = &**snapshots.archive().store();
        let cuts = cut::list(store).await.map_err(|why| why.to_string())?;
        let last = cuts.iter().map(|(name, _, _)| name.number).max();
        let cut = Cut {
            format: cut::FORMAT,
            number: last.unwrap_or(0) + 1,
            partitions: self.positions_of(held)?,
            cluster: held.cluster.clone(),
        };
        // NB: from here on nothing is collected that the snapshots to come may rest upon.
        let put = cut.put(store, Standing::Open).await;
        put.map_err(|why| why.to_string())?;
        let taken = done(self.all(&held.nodes, Step::Take, id, TAKE_MAX).await);
        let finished = match taken {
            Ok(()) => self.finish_cut(snapshots, life, &cut).await,
            Err(why) => Err(why),
        };
        // An open one that stays is collected when it is old.
        if let Err(why) = store.delete(&key::cut(cut.name(), Standing::Open)).await {
            tracing::warn!(target: "snapshot", %why, "an open cut is left in the store");
        }
        finished.map(|()| cut)
    }

    async fn finish_cut(
        &self,
        snapshots: &Snapshots,
        life: &Life,
        cut: &Cut,
    ) -> Result<(), String> {
        let store = &**snapshots.archive().store();
        let objects = inventory::topics(store).await;
        let objects = objects.map_err(|why| why.to_string())?;
        cut.check(&objects).map_err(|why| why.to_string())?;
        let put = cut.put(store, Standing::Whole).await;
        put.map_err(|why| why.to_string())?;
        let policy = snapshots.collection(life);
        let outcome = collect::cuts(store, &policy, self.wall_ms()).await;
        snapshots.note_collected("cuts", outcome);
        Ok(())
    }

    /// In the order of topics and partitions.
    fn positions_of(&self, held: &Held) -> Result<Vec<cut::Position>, String> {
        let image = self.image();
        let mut positions = Vec::with_capacity(held.positions.len());
        for position in held.positions.values() {
            let partition = image.partition(GroupId(position.group));
            let partition = partition.ok_or("a topic was deleted meanwhile")?;
            let topic_id = Uuid::from_u128(partition.topic.0);
            positions.push(position.of_partition(topic_id, partition.partition));
        }
        positions.sort_by_key(|position| (position.topic_id, position.partition));
        Ok(positions)
    }

    /// With the name under which the brokers know it.
    async fn hold_all_patiently(self: &Rc<Self>, life: &Life) -> Result<(u128, Held), String> {
        let mut last = String::new();
        for tries in 1..=TRIES {
            let id = Uuid::new_v4().as_u128();
            match self.hold_all(life, id).await {
                Ok(held) => return Ok((id, held)),
                Err(why) => last = why,
            }
            tokio::time::sleep(TRY_PAUSE * tries).await;
        }
        Err(last)
    }

    /// Everything is held, told and confirmed when this answers, and released.
    async fn hold_all(self: &Rc<Self>, life: &Life, id: u128) -> Result<Held, String> {
        let nodes: Vec<NodeId> = {
            let image = self.image();
            let alive = image.brokers().filter(|known| self.is_alive(known.node()));
            alive.map(|known| known.node()).collect()
        };
        let began = Instant::now();
        let told = self.hold_and_confirm(&nodes, life, id).await;
        let released = done(self.all(&nodes, Step::Release, id, hold_max()).await);
        let held = told.and_then(|(positions, cluster)| {
            released?;
            Ok(Held {
                positions,
                nodes: nodes.clone(),
                cluster,
                took: began.elapsed(),
            })
        });
        if held.is_err() {
            self.all(&nodes, Step::Forget, id, hold_max()).await;
        }
        held
    }

    async fn hold_and_confirm(
        self: &Rc<Self>,
        nodes: &[NodeId],
        life: &Life,
        id: u128,
    ) -> Result<(BTreeMap<u64, Position>, Cluster), String> {
        let mut positions: BTreeMap<u64, Position> = BTreeMap::new();
        for (node, told) in self.all(nodes, Step::Hold, id, hold_max()).await {
            let of_node = match told {
                Told::Positions(of_node) => of_node,
                Told::Done => return Err(format!("broker {node} has told no positions")),
                Told::Failed(why) => return Err(format!("broker {node}: {why}")),
            };
            for position in of_node {
                // Two take themselves for the leader: one of them will not be confirmed.
                if positions.insert(position.group, position).is_some() {
                    return Err("a partition has two leaders just now".to_owned());
                }
            }
        }
        let cluster = self.held_cluster(&mut positions, life)?;
        done(self.all(nodes, Step::Confirm, id, hold_max()).await)?;
        Ok((positions, cluster))
    }

    /// The cluster as of now; every partition of it has to have been told.
    fn held_cluster(
        &self,
        positions: &mut BTreeMap<u64, Position>,
        life: &Life,
    ) -> Result<Cluster, String> {
        let image = self.image();
        if !image.is_complete(life.incarnation.0) {
            return Err("the restore into this cluster has not ended".to_owned());
        }
        let epoch = self.controller_epoch();
        let epoch = epoch.ok_or("this broker is not the controller any more")?;
        let mut known = BTreeSet::new();
        for topic in image.topics() {
            for (partition, group) in topic.partitions.iter().enumerate() {
                known.insert(group.0);
                if !positions.contains_key(&group.0) {
                    return Err(format!("nobody leads {}/{partition} now", topic.name));
                }
            }
        }
        // Of a topic that is deleted the leaders may hear later.
        positions.retain(|group, _| known.contains(group));
        Ok(cluster_of(&image, life, epoch, self.wall_ms()))
    }

    /// Has all brokers take a step at once; each with what it told.
    async fn all(
        self: &Rc<Self>,
        nodes: &[NodeId],
        step: Step,
        id: u128,
        wait: Duration,
    ) -> Vec<(NodeId, Told)> {
        let body: Bytes = serde_json::to_vec(&(step, id))
            .expect("it has no maps")
            .into();
        let mut asked = JoinSet::new();
        for node in nodes.iter().copied() {
            let (broker, body) = (self.clone(), body.clone());
            asked.spawn_local(async move {
                if node == broker.node {
                    let told = tokio::time::timeout(wait, broker.take_step(step, id)).await;
                    let late = || Told::Failed("not in time".to_owned());
                    return (node, told.unwrap_or_else(|_| late()));
                }
                let answer = broker
                    .network
                    .request(node, kind::CUT_STEP, body, wait)
                    .await;
                let told = match answer {
                    Ok(answer) => serde_json::from_slice(&answer).map_err(|why| why.to_string()),
                    Err(why) => Err(why.to_string()),
                };
                (node, told.unwrap_or_else(Told::Failed))
            });
        }
        let mut told = Vec::with_capacity(nodes.len());
        while let Some(one) = asked.join_next().await {
            told.push(one.expect("a step does not panic, and nobody cancels it"));
        }
        told
    }

    /// A step that another broker, the controller, has asked for.
    pub(crate) async fn cut_step(self: &Rc<Self>, body: &[u8]) -> Option<Bytes> {
        let (step, id): (Step, u128) = serde_json::from_slice(body).ok()?;
        let told = self.take_step(step, id).await;
        serde_json::to_vec(&told).ok().map(Bytes::from)
    }

    async fn take_step(self: &Rc<Self>, step: Step, id: u128) -> Told {
        let now = self.now();
        if self.snapshots.as_ref().is_some_and(|s| s.is_own()) {
            return Told::Failed(NOT_SHARED.to_owned());
        }
        match step {
            Step::Hold => match self.shard.borrow_mut().hold(now, id) {
                Ok(positions) => Told::Positions(positions),
                Err(why) => Told::Failed(why.to_string()),
            },
            Step::Confirm => self.confirm_held(id).await,
            Step::Release => {
                let is_held = self.shard.borrow_mut().release(now, id);
                self.work.notify_one();
                told(is_held, "it was not held until the end")
            }
            Step::Forget => {
                self.shard.borrow_mut().forget_captures(id);
                Told::Done
            }
            Step::Take => self.take_captures(id).await,
        }
    }

    /// Whether majorities say that this broker leads what it said it leads, and has since.
    async fn confirm_held(self: &Rc<Self>, id: u128) -> Told {
        let held = self.shard.borrow().held(id).map(<[Position]>::to_vec);
        let Some(positions) = held else {
            return Told::Failed("it is not held any more".to_owned());
        };
        let asked: Vec<_> = positions
            .iter()
            .map(|position| self.confirm_leader(GroupId(position.group), hold_max()))
            .collect();
        let mut is_confirmed = true;
        for answer in asked {
            is_confirmed &= answer.await.is_ok();
        }
        let shard = self.shard.borrow();
        is_confirmed &= positions.iter().all(|position| shard.still_leads(position));
        told(is_confirmed, "it does not lead any more what it led")
    }

    async fn take_captures(self: &Rc<Self>, id: u128) -> Told {
        let Some(snapshots) = &self.snapshots else {
            return Told::Failed("it has no snapshot store".to_owned());
        };
        self.shard.borrow_mut().capture(id);
        self.work.notify_one();
        loop {
            let moved = snapshots.taken.notified();
            match self.shard.borrow().captured(id) {
                Captured::Stored => return Told::Done,
                Captured::Waiting => {}
                Captured::Lost(group) => {
                    return Told::Failed(format!("no snapshot was taken of group {group}"));
                }
                Captured::Unknown => return Told::Failed("it knows of no such cut".to_owned()),
            }
            moved.await;
        }
    }
}

fn hold_max() -> Duration {
    Duration::from_millis(HOLD_MS)
}

fn told(is_done: bool, else_why: &str) -> Told {
    if is_done {
        Told::Done
    } else {
        Told::Failed(else_why.to_owned())
    }
}

/// Whether all have done it.
fn done(told: Vec<(NodeId, Told)>) -> Result<(), String> {
    let failed = told.into_iter().find_map(|(node, told)| match told {
        Told::Failed(why) => Some(format!("broker {node}: {why}")),
        Told::Done | Told::Positions(_) => None,
    });
    failed.map_or(Ok(()), Err)
}
