//! Groups of consumers, for `/v1/groups` and `/metrics`: each is told by its coordinator, whichever broker is asked.
//!
//! It is what the coordinator knows, without a majority's word: a broker that was deposed without hearing of it tells of
//! its last groups until it does, an election timeout later at most.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::NodeId;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::controller::Failure;
use crate::coordinator::figures::GroupFigures;
use crate::coordinator::log_of;
use crate::driver::control::kind;
use crate::handlers::metadata;
use crate::lag::{Lag, total};
use crate::metrics::node::{ConsumerGroupMetrics, ConsumerMetrics};
use crate::shard::AllCoordinated;

/// So long a scrape waits for the leaders of partitions elsewhere.
const SCRAPE_WAIT: Duration = Duration::from_millis(250);
/// So long an operator's question does, at the coordinator.
const VIEW_WAIT: Duration = Duration::from_secs(1);
/// So long it waits for coordinators elsewhere.
const COORDINATOR_WAIT: Duration = Duration::from_secs(3);
/// Groups that have rows in the metrics of a node.
const SCRAPE_GROUPS_MAX: usize = 1_000;
/// Committed offsets that have rows in the metrics of a node.
const SCRAPE_OFFSETS_MAX: usize = 5_000;
/// Committed offsets of one coordinator whose lag goes into a list of groups.
const LIST_OFFSETS_MAX: usize = 100_000;

/// A group in a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupLine {
    /// Its name.
    pub group: String,
    /// In Kafka's words.
    pub state: String,
    /// Members that it has.
    pub members: usize,
    /// The node that coordinates it.
    pub coordinator: i32,
    /// Of all partitions together; None when that of one is not known, or the coordinator has too many.
    pub lag_records: Option<i64>,
}

/// All groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupsView {
    /// The shape's version, 1.
    pub schema: u32,
    /// The cluster's id, as Kafka's tools write it.
    pub cluster_id: String,
    /// By name.
    pub groups: Vec<GroupLine>,
    /// Nodes that did not tell their groups.
    pub missing: Vec<i32>,
}

/// A group. The shape is part of the interface: fields are added, never changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupView {
    /// The shape's version, 1.
    pub schema: u32,
    /// The cluster's id, as Kafka's tools write it.
    pub cluster_id: String,
    /// Its name.
    pub group: String,
    /// In Kafka's words.
    pub state: String,
    /// Members that it has.
    pub members: usize,
    /// The node that coordinates it.
    pub coordinator: i32,
    /// Since when, in ms since 1970: what was before is known from the log alone.
    pub coordinator_since_ms: i64,
    /// Of its members; None for a group that only ever committed.
    pub generation: Option<i32>,
    /// When the last rebalance ended or the last member left, in ms since 1970.
    pub changed_ms: Option<i64>,
    /// Rebalances that began under this coordinator.
    pub rebalances: u64,
    /// The last of them.
    pub last_rebalance: Option<LastRebalance>,
    /// Of all partitions together; None when that of one is not known.
    pub lag_records: Option<i64>,
    /// The longest of all partitions; None when that of one is not known.
    pub lag_seconds: Option<f64>,
    /// What it has committed.
    pub offsets: Vec<OffsetView>,
}

/// What began a rebalance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastRebalance {
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// joined, left, `session_expired`, ...
    pub reason: String,
    /// The member's id.
    pub member: String,
    /// Of a static member.
    pub instance: Option<String>,
    /// The member's client id.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// What the client itself said; may be empty.
    pub words: String,
    /// Members that were removed because they did not join in time.
    pub late_members: usize,
}

/// A committed offset. See [`crate::lag`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OffsetView {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub committed: i64,
    /// The high watermark, where known.
    pub end: Option<i64>,
    /// In records, where known.
    pub lag_records: Option<i64>,
    /// In seconds, where known.
    pub lag_seconds: Option<f64>,
}

impl GroupView {
    fn new(node: NodeId, cluster_id: String, figures: GroupFigures, lags: Vec<Lag>) -> Self {
        let (lag_records, lag_seconds) = total(&lags);
        let late_members = figures.rebalanced.late;
        let last = figures.rebalanced.last;
        let last_rebalance = last.map(|(at_ms, cause)| LastRebalance {
            at_ms,
            reason: cause.reason.name().to_owned(),
            member: cause.member,
            instance: cause.instance,
            client_id: cause.client.id,
            client_host: cause.client.host,
            words: cause.words,
            late_members,
        });
        let offset = |lag: Lag| OffsetView {
            topic: lag.topic,
            partition: lag.partition,
            committed: lag.committed,
            end: lag.end,
            lag_records: lag.records,
            lag_seconds: lag.seconds,
        };
        Self {
            schema: 1,
            cluster_id,
            group: figures.name,
            state: figures.state.name().to_owned(),
            members: figures.members,
            coordinator: node.0,
            coordinator_since_ms: figures.since_ms,
            generation: figures.generation,
            changed_ms: figures.changed_ms,
            rebalances: figures.rebalanced.count,
            last_rebalance,
            lag_records,
            lag_seconds,
            offsets: lags.into_iter().map(offset).collect(),
        }
    }
}

impl Broker {
    /// What a scrape shows of the groups that are coordinated here. Groups and offsets beyond a limit are counted only.
    pub async fn consumer_metrics(self: &Rc<Self>) -> ConsumerMetrics {
        let all = self
            .shard
            .borrow()
            .coordinated(SCRAPE_GROUPS_MAX, SCRAPE_OFFSETS_MAX);
        let row = |figures: &GroupFigures| ConsumerGroupMetrics {
            name: figures.name.clone(),
            state: figures.state,
            members: figures.members as u64,
            rebalances: figures.rebalanced.count,
        };
        let (left_out, offsets_left_out) = (all.groups_left_out, all.offsets_left_out);
        let groups = all.groups.iter().map(|group| row(&group.figures)).collect();
        let lags = self.lags_of(all, true, SCRAPE_WAIT).await;
        let lags = lags.into_iter().filter_map(|(figures, lags)| {
            let name = figures.name;
            Some(lags?.into_iter().map(move |lag| (name.clone(), lag)))
        });
        ConsumerMetrics {
            groups,
            lags: lags.flatten().collect(),
            groups_left_out: left_out as u64,
            lags_left_out: offsets_left_out as u64,
        }
    }

    /// All about a group, from its coordinator.
    pub(super) async fn group_view(self: &Rc<Self>, name: &str) -> Result<GroupView, Failure> {
        let absent = |code, why: &str| Failure::new(code, format!("group {name}: {why}"));
        let partition = log_of(&self.image(), name);
        let partition = partition.ok_or_else(|| {
            absent(
                ErrorCode::GroupIdNotFound,
                "there have never been groups in this cluster",
            )
        })?;
        let view = match self.leader(partition).map(|leader| leader.node) {
            Some(node) if node == self.node => self.group_here(name).await,
            Some(node) => {
                let name = Bytes::copy_from_slice(name.as_bytes());
                let answer = self
                    .network
                    .request(node, kind::GROUP, name, COORDINATOR_WAIT);
                let answer = answer.await.ok();
                answer.and_then(|body| serde_json::from_slice(&body).ok())
            }
            None => None,
        };
        let unknown = "its coordinator does not answer";
        match view {
            Some(Told::Group(view)) => Ok(*view),
            Some(Told::NoGroup) => Err(absent(ErrorCode::GroupIdNotFound, "it is not there")),
            Some(Told::NotHere) | None => Err(absent(ErrorCode::CoordinatorNotAvailable, unknown)),
        }
    }

    /// All groups, from their coordinators.
    pub(super) async fn groups_view(self: &Rc<Self>) -> GroupsView {
        let (cluster_id, nodes) = {
            let image = self.image();
            let nodes: Vec<NodeId> = image.brokers().map(|broker| broker.node()).collect();
            (metadata::cluster_id(&image).to_string(), nodes)
        };
        let mut running = JoinSet::new();
        for node in nodes {
            let broker = self.clone();
            running.spawn_local(async move { (node, broker.groups_of(node).await) });
        }
        let mut view = GroupsView {
            schema: 1,
            cluster_id,
            ..GroupsView::default()
        };
        while let Some(done) = running.join_next().await {
            match done.expect("asking does not panic and is not cancelled") {
                (_, Some(lines)) => view.groups.extend(lines),
                (node, None) => view.missing.push(node.0),
            }
        }
        view.groups
            .sort_by(|one, other| one.group.cmp(&other.group));
        view.missing.sort_unstable();
        view
    }

    async fn groups_of(self: &Rc<Self>, node: NodeId) -> Option<Vec<GroupLine>> {
        if node == self.node {
            return Some(self.groups_here().await);
        }
        let answer = self
            .network
            .request(node, kind::GROUPS, Bytes::new(), COORDINATOR_WAIT);
        serde_json::from_slice(&answer.await.ok()?).ok()
    }

    /// A group that is coordinated here.
    pub(crate) async fn group_here(self: &Rc<Self>, name: &str) -> Option<Told> {
        let (group, coordinates, cluster_id) = {
            let shard = self.shard.borrow();
            let image = shard.image_or_empty();
            let coordinates = log_of(image, name).is_some_and(|log| shard.coordinates(log));
            let cluster_id = metadata::cluster_id(image).to_string();
            (shard.coordinated_group(name), coordinates, cluster_id)
        };
        Some(match group {
            Some(group) => {
                let offsets = group.offsets.unwrap_or_default();
                let lags = self.lags(offsets, true, VIEW_WAIT).await;
                let view = GroupView::new(self.node, cluster_id, group.figures, lags);
                Told::Group(Box::new(view))
            }
            None if coordinates => Told::NoGroup,
            None => Told::NotHere,
        })
    }

    /// The groups that are coordinated here.
    pub(crate) async fn groups_here(self: &Rc<Self>) -> Vec<GroupLine> {
        let all = self
            .shard
            .borrow()
            .coordinated(usize::MAX, LIST_OFFSETS_MAX);
        let node = self.node.0;
        let lags = self.lags_of(all, false, VIEW_WAIT).await;
        let line = |(figures, lags): (GroupFigures, Option<Vec<Lag>>)| GroupLine {
            state: figures.state.name().to_owned(),
            members: figures.members,
            coordinator: node,
            lag_records: lags.and_then(|lags| total(&lags).0),
            group: figures.name,
        };
        lags.into_iter().map(line).collect()
    }

    /// The lags of all these groups, asked for together. None where the offsets are not told.
    async fn lags_of(
        self: &Rc<Self>,
        all: AllCoordinated,
        timed: bool,
        wait: Duration,
    ) -> Vec<(GroupFigures, Option<Vec<Lag>>)> {
        let mut offsets = Vec::new();
        let mut counts = Vec::with_capacity(all.groups.len());
        for group in all.groups {
            counts.push((group.figures, group.offsets.as_ref().map(Vec::len)));
            offsets.extend(group.offsets.unwrap_or_default());
        }
        let mut lags = self.lags(offsets, timed, wait).await.into_iter();
        let own = |(figures, count): (GroupFigures, Option<usize>)| {
            let lags = count.map(|count| lags.by_ref().take(count).collect());
            (figures, lags)
        };
        counts.into_iter().map(own).collect()
    }
}

/// What a coordinator says when it is asked about a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// All about it.
    Group(Box<GroupView>),
    /// This is its coordinator, and it is not there.
    NoGroup,
    /// This is not its coordinator.
    NotHere,
}
