//! `OffsetFetch`: what is committed, of one group or of many.
//!
//! Nothing waits for transactions, as there are none: `require_stable` is always met. A partition without a commit has
//! offset -1 and no error, also when the topic or the group is not there.

use std::collections::HashMap;

use protocol::error_code::ErrorCode;
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use protocol::wire::{Str, Uuid};

use super::{Coordinators, Refused, WAIT, all, ask, unfit};
use crate::coordinator::reply::{FetchedOffset, GroupReply};
use crate::coordinator::request::{Fetch, GroupRequest, MemberRef};

/// From this version on many groups are asked for at once.
const BATCHED_SINCE: i16 = 8;
/// From this version on topics are named by their ids.
const IDS_SINCE: i16 = 10;
/// From this version on what fails as a whole is said once, before it is said of each partition.
const TOP_LEVEL_SINCE: i16 = 2;

/// Of a topic that is named by an id that nobody knows.
const NO_NAME: Str = Str::new();

/// Answers it.
pub async fn handle(
    cx: impl Coordinators,
    version: i16,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if version < BATCHED_SINCE {
        let group = single(request);
        let mut answer = fetch(cx, group.clone()).await;
        if version < TOP_LEVEL_SINCE && answer.error_code != ErrorCode::None.code() {
            answer.topics = failed(&group, answer.error_code);
        }
        return unbatched(answer);
    }
    let groups = request.groups.into_iter();
    if version >= IDS_SINCE {
        return OffsetFetchResponse {
            groups: all(groups.map(|group| fetch_by_id(cx.clone(), group))).await,
            ..Default::default()
        };
    }
    OffsetFetchResponse {
        groups: all(groups.map(|group| fetch(cx.clone(), group))).await,
        ..Default::default()
    }
}

async fn fetch(cx: impl Coordinators, group: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let (code, topics) = match committed(&cx, &group).await {
        Ok(found) => match &group.topics {
            Some(topics) => (ErrorCode::None, asked_for(topics, &found)),
            None => (ErrorCode::None, everything(found)),
        },
        Err(refused) => (refused.code, Vec::new()),
    };
    OffsetFetchResponseGroup {
        group_id: group.group_id,
        topics,
        error_code: code.code(),
    }
}

/// Topics are named by their ids. A topic that nobody knows fails alone; of everything that is committed, what belongs to
/// no topic any more is left out.
async fn fetch_by_id(
    cx: impl Coordinators,
    mut group: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let is_all = group.topics.is_none();
    for topic in group.topics.iter_mut().flatten() {
        topic.name = cx.topic_name(topic.topic_id).map_or(NO_NAME, Str::from);
    }
    let mut answer = fetch(cx.clone(), group).await;
    if is_all {
        answer.topics.retain_mut(|topic| {
            let id = cx.topic_id(&topic.name);
            topic.topic_id = id.unwrap_or_default();
            id.is_some()
        });
    }
    let unknown = answer
        .topics
        .iter_mut()
        .filter(|topic| topic.name == NO_NAME);
    for row in unknown.flat_map(|topic| &mut topic.partitions) {
        row.error_code = ErrorCode::UnknownTopicId.code();
    }
    answer
}

async fn committed(
    cx: &impl Coordinators,
    group: &OffsetFetchRequestGroup,
) -> Result<Vec<FetchedOffset>, Refused> {
    let named = |topic: &OffsetFetchRequestTopics| {
        let name = topic.name.to_string();
        let partitions = topic.partition_indexes.iter();
        partitions
            .map(|partition| (name.clone(), *partition))
            .collect::<Vec<_>>()
    };
    let topics = group.topics.as_ref();
    let fetch = Fetch {
        group: group.group_id.to_string(),
        member: MemberRef {
            id: group.member_id.as_deref().unwrap_or_default().to_owned(),
            instance: None,
        },
        member_epoch: group.member_epoch,
        partitions: topics.map(|topics| {
            let known = topics.iter().filter(|topic| topic.name != NO_NAME);
            known.flat_map(named).collect()
        }),
    };
    match ask(cx, &group.group_id, GroupRequest::Fetch(fetch), WAIT).await? {
        GroupReply::Fetched(found) => Ok(found),
        other => unfit(&other),
    }
}

/// The request before version 8 as the only one of a batch.
fn single(request: OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.map(|topics| {
        let topic = |topic: protocol::messages::offset_fetch::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics {
                topic_id: Uuid::ZERO,
                name: topic.name,
                partition_indexes: topic.partition_indexes,
            }
        };
        topics.into_iter().map(topic).collect()
    });
    OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics,
        ..Default::default()
    }
}

/// The answer before version 8.
fn unbatched(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let partition = |row: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: row.partition_index,
        committed_offset: row.committed_offset,
        committed_leader_epoch: row.committed_leader_epoch,
        metadata: row.metadata,
        error_code: row.error_code,
    };
    let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    };
    OffsetFetchResponse {
        topics: group.topics.into_iter().map(topic).collect(),
        error_code: group.error_code,
        ..Default::default()
    }
}

/// Each partition asked for, in that order.
fn asked_for(
    topics: &[OffsetFetchRequestTopics],
    found: &[FetchedOffset],
) -> Vec<OffsetFetchResponseTopics> {
    let by_place: HashMap<(&str, i32), &FetchedOffset> = found
        .iter()
        .map(|offset| ((offset.topic.as_str(), offset.partition), offset))
        .collect();
    each(topics, |topic, partition| {
        match by_place.get(&(topic, partition)) {
            Some(offset) => row(offset),
            None => nothing(partition, ErrorCode::None.code()),
        }
    })
}

/// The whole failed, in a version that says so with each partition.
fn failed(group: &OffsetFetchRequestGroup, code: i16) -> Vec<OffsetFetchResponseTopics> {
    let topics = group.topics.as_deref().unwrap_or_default();
    each(topics, |_, partition| nothing(partition, code))
}

fn each(
    topics: &[OffsetFetchRequestTopics],
    answer: impl Fn(&str, i32) -> OffsetFetchResponsePartitions,
) -> Vec<OffsetFetchResponseTopics> {
    let topic = |topic: &OffsetFetchRequestTopics| OffsetFetchResponseTopics {
        topic_id: topic.topic_id,
        name: topic.name.clone(),
        partitions: topic
            .partition_indexes
            .iter()
            .map(|partition| answer(&topic.name, *partition))
            .collect(),
    };
    topics.iter().map(topic).collect()
}

/// All that is committed, by topic.
fn everything(found: Vec<FetchedOffset>) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    for offset in found {
        let place = *at.entry(offset.topic.clone()).or_insert_with(|| {
            topics.push(OffsetFetchResponseTopics {
                name: Str::from(offset.topic.as_str()),
                ..Default::default()
            });
            topics.len() - 1
        });
        topics[place].partitions.push(row(&offset));
    }
    topics
}

fn row(offset: &FetchedOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: offset.partition,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch,
        // NB: never null: it stops Kafka's Java client.
        metadata: Some(Str::from(offset.metadata.as_str())),
        error_code: ErrorCode::None.code(),
    }
}

fn nothing(partition_index: i32, error_code: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::new()),
        error_code,
    }
}
