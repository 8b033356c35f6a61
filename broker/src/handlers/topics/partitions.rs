//! `CreatePartitions`: more partitions of a topic.

use std::collections::HashMap;

use protocol::error_code::ErrorCode;
use protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use raft::types::NodeId;

use super::{ask, timeout};
use crate::controller::{ControllerRequest, Failure, MorePartitions};
use crate::coordinator::OFFSETS_TOPIC;
use crate::dispatch::Context;
use crate::handlers::lookup;

/// Answers it.
pub async fn handle(cx: Context, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut named: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(&topic.name).or_default() += 1;
    }
    let once = |topic: &CreatePartitionsTopic| named[&*topic.name] == 1;
    let may_grow = |topic: &CreatePartitionsTopic| once(topic) && topic.name != OFFSETS_TOPIC;
    let wanted = request.topics.iter().filter(|topic| may_grow(topic));
    let topics: Vec<MorePartitions> = wanted.map(more).collect();
    let count = topics.len();
    let call = ControllerRequest::CreatePartitions {
        topics,
        validate_only: request.validate_only,
    };
    let mut answers = ask(&cx, call, count, timeout(request.timeout_ms))
        .await
        .into_iter();
    let results = request.topics.iter().map(|topic| {
        let answer = if may_grow(topic) {
            answers
                .next()
                .expect("there is an answer for every topic asked about")
        } else if once(topic) {
            // A group's partition follows from their number: other numbers would lose what is committed.
            let message = "the number of partitions of this topic cannot be changed";
            Err(Failure::new(ErrorCode::InvalidPartitions, message))
        } else {
            let message = "the request names this topic more than once";
            Err(Failure::new(ErrorCode::InvalidRequest, message))
        };
        let failure = answer.err();
        CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code: failure.as_ref().map_or(ErrorCode::None, |f| f.code).code(),
            error_message: failure.and_then(|f| lookup::text(&f.message)),
        }
    });
    CreatePartitionsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

fn more(topic: &CreatePartitionsTopic) -> MorePartitions {
    let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect();
    let assignments = topic.assignments.as_ref();
    MorePartitions {
        topic: topic.name.to_string(),
        count: topic.count,
        assignments: assignments.map(|all| all.iter().map(|a| nodes(&a.broker_ids)).collect()),
    }
}
