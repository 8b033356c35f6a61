//! `ListOffsets`: the offset of a time, or of one of the named ends.
//!
//! Where a log ends is answered when a majority has confirmed the leader: one that was deposed without hearing of it
//! would name an end below what its successor has acknowledged. All partitions are asked at once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use protocol::error_code::ErrorCode;
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use raft::types::{GroupId, Term};

use super::lookup;
use crate::broker::{Rejection, TimestampOffset};
use crate::dispatch::Context;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// How long a majority may take to confirm a leader.
const CONFIRM_MAX: Duration = Duration::from_secs(5);

/// What a majority said of each partition that was asked for an end.
type Confirmed = HashMap<GroupId, Result<(), Rejection>>;

/// Answers it.
pub async fn handle(cx: Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let read_committed = request.isolation_level == 1;
    let confirmed = confirm_leaders(&cx, &request).await;
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut seen = HashSet::new();
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let first = seen.insert((&topic.name, asked.partition_index));
            let answer = if first {
                partition(&cx, &topic.name, asked, read_committed, &confirmed).await
            } else {
                Err(lookup::rejected(ErrorCode::InvalidRequest))
            };
            partitions.push(answered(asked.partition_index, answer));
        }
        topics.push(ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions,
        });
    }
    ListOffsetsResponse {
        topics,
        ..Default::default()
    }
}

async fn confirm_leaders(cx: &Context, request: &ListOffsetsRequest) -> Confirmed {
    let groups: HashSet<GroupId> = {
        let image = cx.broker.image();
        let named = request.topics.iter().flat_map(|topic| {
            let of_end = topic.partitions.iter().filter(|asked| needs_end(asked));
            of_end.map(|asked| lookup::group_named(&image, &topic.name, asked.partition_index))
        });
        named.filter_map(Result::ok).collect()
    };
    let mut asked = Vec::with_capacity(groups.len());
    for group in groups {
        asked.push((group, cx.broker.confirm_leader(group, CONFIRM_MAX)));
    }
    let mut confirmed = Confirmed::with_capacity(asked.len());
    for (group, answer) in asked {
        confirmed.insert(group, answer.await);
    }
    confirmed
}

/// Whether the answer says where the log ends, or that a time is beyond it.
fn needs_end(asked: &ListOffsetsPartition) -> bool {
    asked.timestamp == LATEST || asked.timestamp >= 0
}

fn answered(
    partition_index: i32,
    answer: Result<TimestampOffset, Rejection>,
) -> ListOffsetsPartitionResponse {
    match answer {
        Ok(found) => ListOffsetsPartitionResponse {
            partition_index,
            error_code: ErrorCode::None.code(),
            timestamp: found.timestamp_ms,
            offset: found.offset,
            leader_epoch: if found.offset < 0 {
                -1
            } else {
                epoch(found.term)
            },
        },
        Err(rejection) => ListOffsetsPartitionResponse {
            partition_index,
            error_code: rejection.code.code(),
            ..Default::default()
        },
    }
}

async fn partition(
    cx: &Context,
    topic: &str,
    asked: &ListOffsetsPartition,
    read_committed: bool,
    confirmed: &Confirmed,
) -> Result<TimestampOffset, Rejection> {
    let group = lookup::group_named(&cx.broker.image(), topic, asked.partition_index)
        .map_err(lookup::rejected)?;
    let offsets = cx.broker.offsets(group)?;
    check_epoch(asked.current_leader_epoch, offsets.term)?;
    if let Some(leads) = confirmed.get(&group) {
        leads.clone()?;
    }
    let at = |offset| TimestampOffset {
        offset,
        timestamp_ms: -1,
        term: offsets.term,
    };
    let end = if read_committed {
        offsets.last_stable
    } else {
        offsets.high_watermark
    };
    match asked.timestamp {
        LATEST => Ok(at(end)),
        EARLIEST => Ok(at(offsets.log_start)),
        MAX_TIMESTAMP if cx.version >= 7 => cx.broker.max_timestamp(group).await,
        EARLIEST_LOCAL if cx.version >= 8 => Ok(at(offsets.log_start)),
        // Nothing is in a store: there is no such offset.
        LATEST_TIERED if cx.version >= 9 => Ok(at(-1)),
        time if time >= 0 => by_time(cx, group, time, end).await,
        _ => Err(lookup::rejected(ErrorCode::UnsupportedVersion)),
    }
}

/// The first record at or after a time, if it is below what the consumer may see.
async fn by_time(
    cx: &Context,
    group: GroupId,
    time: i64,
    end: i64,
) -> Result<TimestampOffset, Rejection> {
    let found = cx.broker.offset_for_timestamp(group, time).await?;
    if found.offset < end {
        return Ok(found);
    }
    Ok(TimestampOffset {
        offset: -1,
        timestamp_ms: -1,
        term: found.term,
    })
}

/// A client that believes in another epoch learns it: older is fenced, newer means that this broker is behind.
pub fn check_epoch(believed: i32, term: Term) -> Result<(), Rejection> {
    let current = epoch(term);
    match believed {
        -1 => Ok(()),
        older if older < current => Err(lookup::rejected(ErrorCode::FencedLeaderEpoch)),
        newer if newer > current => Err(lookup::rejected(ErrorCode::UnknownLeaderEpoch)),
        _ => Ok(()),
    }
}

fn epoch(term: Term) -> i32 {
    i32::try_from(term.0).expect("terms stay within Kafka's leader epochs")
}
