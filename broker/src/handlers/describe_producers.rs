//! `DescribeProducers`: the idempotent producers that a partition remembers, told by its leader.
//!
//! What is told is committed. There are no transactions, so nobody has one open.

use protocol::error_code::ErrorCode;
use protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};

use super::lookup;
use crate::broker::Rejection;
use crate::dispatch::Context;
use crate::partition::producers::LastBatch;

/// Answers it.
pub async fn handle(cx: Context, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let producers = producers(&cx, &topic.name, index).await;
            partitions.push(answered(index, producers));
        }
        topics.push(TopicResponse {
            name: topic.name,
            partitions,
        });
    }
    DescribeProducersResponse {
        topics,
        ..Default::default()
    }
}

async fn producers(
    cx: &Context,
    topic: &str,
    partition: i32,
) -> Result<Vec<(LastBatch, i64)>, Rejection> {
    if !lookup::is_topic_name(topic) {
        return Err(lookup::rejected(ErrorCode::InvalidTopic));
    }
    let group = lookup::group_named(&cx.broker.image(), topic, partition);
    cx.broker.producers(group.map_err(lookup::rejected)?).await
}

fn answered(
    partition_index: i32,
    producers: Result<Vec<(LastBatch, i64)>, Rejection>,
) -> PartitionResponse {
    match producers {
        Ok(producers) => PartitionResponse {
            partition_index,
            active_producers: producers.into_iter().map(active).collect(),
            ..Default::default()
        },
        Err(rejection) => PartitionResponse {
            partition_index,
            error_code: retriable(rejection.code).code(),
            error_message: lookup::text(&rejection.message),
            ..Default::default()
        },
    }
}

/// Clients of this API ask again only after "not the leader".
fn retriable(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::OffsetNotAvailable => ErrorCode::NotLeaderOrFollower,
        other => other,
    }
}

fn active((last, timestamp_ms): (LastBatch, i64)) -> ProducerState {
    ProducerState {
        producer_id: last.producer_id,
        producer_epoch: i32::from(last.epoch),
        last_sequence: last.last_sequence,
        last_timestamp: timestamp_ms,
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    }
}
