//! `ElectLeaders`: leadership goes back to the preferred leaders. Answered when they lead, or the time is over.

use std::time::Duration;

use protocol::error_code::ErrorCode;
use protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use protocol::wire::Str;
use raft::types::{GroupId, NodeId};
use tokio::time::Instant;

use super::{lookup, topics};
use crate::controller::{Answer, ControllerRequest, ElectionType, Failure};
use crate::dispatch::Context;
use crate::metadata::Partition;

/// Leadership of a partition that is not here makes no noise: it is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Answers it.
pub async fn handle(cx: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let election = match request.election_type {
        PREFERRED => ElectionType::Preferred,
        UNCLEAN => ElectionType::Unclean,
        _ => return refused(ErrorCode::InvalidRequest),
    };
    let timeout = topics::timeout(request.timeout_ms);
    let deadline = Instant::now() + timeout;
    let all = request.topic_partitions.is_none();
    let partitions = asked(&cx, &request);
    if partitions.is_empty() {
        return ElectLeadersResponse::default();
    }
    let call = ControllerRequest::ElectLeaders {
        election,
        partitions: partitions.clone(),
    };
    let items = match cx.broker.controller_call(call, timeout).await {
        Ok(response) => response.items,
        Err(rejection) => return refused(rejection.code),
    };
    if partitions.len() != items.len() {
        return refused(ErrorCode::RequestTimedOut);
    }
    let mut results = Results::default();
    for ((topic, partition), item) in partitions.iter().zip(items) {
        let failure = match item {
            Ok(Answer::Asked { group, to, .. }) => until_led(&cx, group, to, deadline).await.err(),
            Ok(_) => None,
            Err(failure) => Some(failure),
        };
        // Asked about all, only those where something was to be done are told.
        let needed = failure
            .as_ref()
            .is_none_or(|failure| failure.code != ErrorCode::ElectionNotNeeded);
        if needed || !all {
            results.add(topic, *partition, failure);
        }
    }
    ElectLeadersResponse {
        replica_election_results: results.0,
        ..Default::default()
    }
}

/// The partitions that the request means: all that this broker knows, or those that it names.
fn asked(cx: &Context, request: &ElectLeadersRequest) -> Vec<(String, i32)> {
    let Some(topics) = &request.topic_partitions else {
        let image = cx.broker.image();
        let named = |partition: &Partition| {
            let topic = image.topic(partition.topic)?;
            Some((topic.name.clone(), partition.partition))
        };
        return image.partitions().filter_map(named).collect();
    };
    let pairs = topics
        .iter()
        .map(|t| t.partitions.iter().map(|p| (t.topic.to_string(), *p)));
    pairs.flatten().collect()
}

/// Waits until the node leads the group.
async fn until_led(
    cx: &Context,
    group: GroupId,
    to: NodeId,
    deadline: Instant,
) -> Result<(), Failure> {
    loop {
        let progress = cx.broker.progress(&[group]);
        if cx
            .broker
            .leader(group)
            .is_some_and(|leader| leader.node == to)
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let message = format!("node {to} was asked to lead and does not do so yet");
            return Err(Failure::new(ErrorCode::RequestTimedOut, message));
        }
        // Moved or not, the leader is looked at again.
        let _ = tokio::time::timeout(LOOK_AGAIN, progress).await;
    }
}

#[derive(Default)]
struct Results(Vec<ReplicaElectionResult>);

impl Results {
    fn add(&mut self, topic: &str, partition_id: i32, failure: Option<Failure>) {
        let result = PartitionResult {
            partition_id,
            error_code: failure.as_ref().map_or(ErrorCode::None, |f| f.code).code(),
            error_message: failure.and_then(|f| lookup::text(&f.message)),
        };
        match self.0.iter_mut().find(|of_topic| &*of_topic.topic == topic) {
            Some(of_topic) => of_topic.partition_result.push(result),
            None => self.0.push(ReplicaElectionResult {
                topic: Str::from(topic),
                partition_result: vec![result],
            }),
        }
    }
}

fn refused(code: ErrorCode) -> ElectLeadersResponse {
    assert!(code != ErrorCode::None, "a refusal has a code");
    ElectLeadersResponse {
        error_code: code.code(),
        ..Default::default()
    }
}
