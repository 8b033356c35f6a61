//! `AlterPartitionReassignments` and `ListPartitionReassignments`: moving partitions between brokers.

use std::collections::{BTreeMap, HashSet};

use protocol::error_code::ErrorCode;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use protocol::wire::Str;
use raft::types::NodeId;

use super::{lookup, topics};
use crate::controller::{ControllerRequest, PartitionMove, Placement, reassignments};
use crate::dispatch::Context;

/// Begins or cancels moves.
pub async fn alter(
    cx: Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let mut partitions = Vec::new();
    for topic in &request.topics {
        for asked in &topic.partitions {
            let nodes = |ids: &Vec<i32>| ids.iter().copied().map(NodeId).collect();
            let placement = asked.replicas.as_ref();
            partitions.push(PartitionMove {
                topic: topic.name.to_string(),
                partition: asked.partition_index,
                placement: placement.map_or(Placement::Cancel, |ids| Placement::Nodes(nodes(ids))),
            });
        }
    }
    let count = partitions.len();
    let allow_replication_factor_change = request.allow_replication_factor_change;
    let call = ControllerRequest::Reassign {
        partitions,
        allow_replication_factor_change,
    };
    let timeout = topics::timeout(request.timeout_ms);
    let mut answers = topics::ask(&cx, call, count, timeout).await.into_iter();
    let mut row = |partition_index| {
        let answer = answers
            .next()
            .expect("there is an answer for every partition asked about");
        let failure = answer.err();
        ReassignablePartitionResponse {
            partition_index,
            error_code: failure.as_ref().map_or(ErrorCode::None, |f| f.code).code(),
            error_message: failure.and_then(|f| lookup::text(&f.message)),
        }
    };
    let responses = request
        .topics
        .iter()
        .map(|topic| ReassignableTopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|p| row(p.partition_index))
                .collect(),
        });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change,
        responses: responses.collect(),
        ..Default::default()
    }
}

/// Lists the moves under way.
pub fn list(
    cx: &Context,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let image = cx.broker.image();
    let wanted: Option<HashSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let pairs = topics
            .iter()
            .map(|t| t.partition_indexes.iter().map(|p| (&*t.name, *p)));
        pairs.flatten().collect()
    });
    let mut moving: BTreeMap<&str, Vec<OngoingPartitionReassignment>> = BTreeMap::new();
    for moved in reassignments(&image) {
        let Some(topic) = image.topic(moved.topic) else {
            continue;
        };
        let index = moved.partition;
        if wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&(topic.name.as_str(), index)))
        {
            moving
                .entry(&topic.name)
                .or_default()
                .push(OngoingPartitionReassignment {
                    partition_index: index,
                    replicas: ids(&moved.replicas),
                    adding_replicas: ids(&moved.adding),
                    removing_replicas: ids(&moved.removing),
                });
        }
    }
    let topics = moving
        .into_iter()
        .map(|(name, partitions)| OngoingTopicReassignment {
            name: Str::from(name),
            partitions,
        });
    ListPartitionReassignmentsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}
