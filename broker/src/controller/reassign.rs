//! Partitions are moved on request.

use protocol::error_code::ErrorCode;
use raft::types::{GroupId, Member, NodeId};

use super::placement::check_manual;
use super::request::{Answer, PartitionMove, Placement};
use super::topics::named;
use super::{Failure, Step, View};
use crate::metadata::{Command, Image, Partition, TopicId};

pub(super) fn plan(
    view: View<'_>,
    partitions: &[PartitionMove],
    allow_replication_factor_change: bool,
) -> Vec<Step> {
    let step = |wanted: &PartitionMove| {
        let partition = find(view, &wanted.topic, wanted.partition)?;
        let nodes = match &wanted.placement {
            Placement::Cancel => return cancel(partition),
            Placement::Nodes(nodes) => nodes.clone(),
            Placement::Add(node) => with(partition, *node)?,
            Placement::Remove(node) => without(partition, *node)?,
        };
        check_manual(view, &nodes)?;
        let explicit = matches!(wanted.placement, Placement::Nodes(_));
        if explicit && !allow_replication_factor_change && nodes.len() != partition.replicas.len() {
            let why = "The replication factor is changed but not allowed to.";
            return Err(Failure::new(ErrorCode::InvalidReplicationFactor, why));
        }
        if same(view.image, partition, &nodes) {
            return Ok(Step::done(Answer::Done));
        }
        let (group, as_of) = (partition.group, partition.version);
        Ok(Step::propose(
            Answer::Done,
            Command::SetTarget {
                group,
                nodes,
                as_of,
            },
        ))
    };
    partitions
        .iter()
        .map(|wanted| Step::of(step(wanted)))
        .collect()
}

/// Moves the votes of the metadata group: the same move as any other group's.
pub(super) fn set_metadata_voters(view: View<'_>, nodes: &[NodeId]) -> Step {
    let step = || {
        check_manual(view, nodes)?;
        if nodes.len().is_multiple_of(2) {
            let why = "An even number of metadata voters survives no more failures than one fewer.";
            return Err(Failure::new(ErrorCode::InvalidReplicaAssignment, why));
        }
        let partition = view.image.partition(GroupId::METADATA).ok_or_else(|| {
            Failure::new(
                ErrorCode::UnknownTopicOrPartition,
                "There is no metadata group.",
            )
        })?;
        if same(view.image, partition, nodes) {
            return Ok(Step::done(Answer::Done));
        }
        let (group, as_of, nodes) = (partition.group, partition.version, nodes.to_vec());
        Ok(Step::propose(
            Answer::Done,
            Command::SetTarget {
                group,
                nodes,
                as_of,
            },
        ))
    };
    Step::of(step())
}

/// The partition of this topic.
pub(super) fn find<'a>(
    view: View<'a>,
    topic: &str,
    partition: i32,
) -> Result<&'a Partition, Failure> {
    let topic = named(view, topic)?;
    view.image.partition_of(topic.id, partition).ok_or_else(|| {
        let why = format!("The topic '{}' has no partition {partition}.", topic.name);
        Failure::new(ErrorCode::UnknownTopicOrPartition, why)
    })
}

fn cancel(partition: &Partition) -> Result<Step, Failure> {
    let (group, as_of) = (partition.group, partition.version);
    if !partition.is_moving() {
        let why = "No partition reassignment is in progress for this partition.";
        return Err(Failure::new(ErrorCode::NoReassignmentInProgress, why));
    }
    if partition.desired() == partition.replicas {
        return Ok(Step::done(Answer::Done)); // It is on its way back already.
    }
    Ok(Step::propose(
        Answer::Done,
        Command::CancelReassignment { group, as_of },
    ))
}

fn with(partition: &Partition, node: NodeId) -> Result<Vec<NodeId>, Failure> {
    let mut nodes = nodes(partition.desired());
    if nodes.contains(&node) {
        let why = format!("Broker {node} already has a replica of the partition.");
        return Err(Failure::new(ErrorCode::InvalidReplicaAssignment, why));
    }
    nodes.push(node);
    Ok(nodes)
}

fn without(partition: &Partition, node: NodeId) -> Result<Vec<NodeId>, Failure> {
    let mut nodes = nodes(partition.desired());
    let before = nodes.len();
    nodes.retain(|n| *n != node);
    let why = if nodes.len() == before {
        format!("Broker {node} has no replica of the partition.")
    } else if nodes.is_empty() {
        "The last replica cannot be removed; delete the topic instead.".to_owned()
    } else {
        return Ok(nodes);
    };
    Err(Failure::new(ErrorCode::InvalidReplicaAssignment, why))
}

/// Whether the partition is, or is on its way to be, on these nodes in this order and on their present disks.
fn same(image: &Image, partition: &Partition, nodes: &[NodeId]) -> bool {
    let desired = partition.desired();
    desired.len() == nodes.len()
        && desired.iter().zip(nodes).all(|(member, node)| {
            let disk = image.broker(*node).map(crate::metadata::Broker::directory);
            member.node == *node && disk == Some(member.directory)
        })
}

pub(super) fn nodes(members: &[Member]) -> Vec<NodeId> {
    members.iter().map(|m| m.node).collect()
}

/// A move under way, as `ListPartitionReassignments` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: i32,
    /// The group.
    pub group: GroupId,
    /// Every node with a replica, those to be first.
    pub replicas: Vec<NodeId>,
    /// Nodes that get a replica. A node whose disk was lost gets one in place of its own.
    pub adding: Vec<NodeId>,
    /// Nodes that lose theirs.
    pub removing: Vec<NodeId>,
}

/// All moves under way, without the metadata group's.
pub fn reassignments(image: &Image) -> impl Iterator<Item = Reassignment> {
    image
        .partitions()
        .filter(|p| p.is_moving())
        .map(|partition| {
            let desired = nodes(partition.desired());
            let mut removing = nodes(&partition.removing());
            removing.retain(|node| !desired.contains(node));
            removing.sort_unstable();
            removing.dedup();
            let mut replicas = desired;
            replicas.extend(&removing);
            Reassignment {
                topic: partition.topic,
                partition: partition.partition,
                group: partition.group,
                replicas,
                adding: nodes(&partition.adding()),
                removing,
            }
        })
}
