//! `DeleteRecords`: moves a partition's log start forward.

use std::time::Duration;

use protocol::error_code::ErrorCode;
use protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use tokio::task::JoinSet;

use super::lookup;
use crate::dispatch::Context;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Answers it: all partitions at the same time, each with the request's whole time.
pub async fn handle(cx: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let timeout = Duration::from_millis(request.timeout_ms.max(0).unsigned_abs().into());
    let mut results: Vec<_> = request
        .topics
        .iter()
        .map(|topic| DeleteRecordsTopicResult {
            name: topic.name.clone(),
            partitions: vec![Default::default(); topic.partitions.len()],
        })
        .collect();
    let mut tasks = JoinSet::new();
    for (t, topic) in request.topics.into_iter().enumerate() {
        for (p, asked) in topic.partitions.into_iter().enumerate() {
            let (cx, name) = (cx.clone(), topic.name.clone());
            tasks.spawn_local(async move { (t, p, partition(cx, &name, asked, timeout).await) });
        }
    }
    while let Some(done) = tasks.join_next().await {
        let (t, p, result) = done.expect("deleting records does not panic and is not cancelled");
        results[t].partitions[p] = result;
    }
    DeleteRecordsResponse {
        topics: results,
        ..Default::default()
    }
}

async fn partition(
    cx: Context,
    topic: &str,
    asked: DeleteRecordsPartition,
    timeout: Duration,
) -> DeleteRecordsPartitionResult {
    let group = lookup::group_named(&cx.broker.image(), topic, asked.partition_index);
    let answer = match group {
        Err(code) => Err(code),
        Ok(_) if lookup::is_internal(topic) => Err(ErrorCode::InvalidTopic),
        Ok(_) if asked.offset < HIGH_WATERMARK => Err(ErrorCode::OffsetOutOfRange),
        Ok(group) => {
            let deleted = cx.broker.delete_records(group, asked.offset, timeout).await;
            deleted.map_err(|rejection| rejection.code)
        }
    };
    let (low_watermark, code) = match answer {
        Ok(log_start) => (log_start, ErrorCode::None),
        Err(code) => (-1, code),
    };
    DeleteRecordsPartitionResult {
        partition_index: asked.partition_index,
        low_watermark,
        error_code: code.code(),
    }
}
