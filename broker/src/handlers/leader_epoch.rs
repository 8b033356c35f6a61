//! `OffsetForLeaderEpoch`: where an epoch ended, so that a consumer notices a truncated log.

use protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};

use super::lookup;
use crate::dispatch::Context;

/// Answers it.
pub fn handle(cx: &Context, request: &OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request
        .topics
        .iter()
        .map(|topic| OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|p| partition(cx, &topic.topic, p))
                .collect(),
        });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn partition(cx: &Context, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let group = lookup::group_named(&cx.broker.image(), topic, asked.partition);
    let answer = group.map_err(lookup::rejected).and_then(|group| {
        cx.broker
            .epoch_end(group, asked.current_leader_epoch, asked.leader_epoch)
    });
    let unanswered = EpochEndOffset {
        partition: asked.partition,
        ..Default::default()
    };
    match answer {
        Ok(end) => EpochEndOffset {
            leader_epoch: end.epoch,
            end_offset: end.end_offset,
            ..unanswered
        },
        Err(rejection) => EpochEndOffset {
            error_code: rejection.code.code(),
            ..unanswered
        },
    }
}
