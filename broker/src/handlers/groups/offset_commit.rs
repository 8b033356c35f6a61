//! `OffsetCommit`: of members, and of clients that only keep their offsets here.
//!
//! A partition that does not exist fails alone. The retention time of versions 2 to 4 is kept with each offset, as Kafka
//! does it; without one (-1) offsets live as long as their group, and then as long as the broker is told to keep them.

use protocol::error_code::ErrorCode;
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};

use super::{Coordinators, Refused, WAIT, ask, unfit};
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::{Commit, CommitOffset, GroupRequest, MemberRef};

/// From this version on topics are named by their ids.
const IDS_SINCE: i16 = 10;
/// From this version on clients know that a group may not be there; before, they know a wrong generation.
const ABSENT_SINCE: i16 = 9;
/// From this version on members may be of the consumer protocol.
const EPOCHS_SINCE: i16 = 9;

/// Answers it.
pub async fn handle(
    cx: impl Coordinators,
    version: i16,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut offsets = Vec::new();
    // Where the answer of each of these offsets goes.
    let mut places = Vec::new();
    for (t, topic) in request.topics.iter().enumerate() {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        let (name, absent) = match version >= IDS_SINCE {
            true => (cx.topic_name(topic.topic_id), ErrorCode::UnknownTopicId),
            false => (
                Some(topic.name.to_string()),
                ErrorCode::UnknownTopicOrPartition,
            ),
        };
        let absent = name
            .as_ref()
            .map_or(absent, |_| ErrorCode::UnknownTopicOrPartition);
        for (p, asked) in topic.partitions.iter().enumerate() {
            let partition = asked.partition_index;
            let known = name
                .as_ref()
                .filter(|name| cx.has_partition(name, partition));
            if let Some(name) = known {
                places.push((t, p));
                offsets.push(CommitOffset {
                    topic: name.clone(),
                    partition,
                    offset: asked.committed_offset,
                    leader_epoch: asked.committed_leader_epoch,
                    metadata: asked.committed_metadata.as_deref().unwrap_or("").to_owned(),
                });
            }
            partitions.push(OffsetCommitResponsePartition {
                partition_index: partition,
                error_code: absent.code(),
            });
        }
        topics.push(OffsetCommitResponseTopic {
            topic_id: topic.topic_id,
            name: topic.name.clone(),
            partitions,
        });
    }
    if !offsets.is_empty() {
        let codes = match commit(&cx, version, &request, offsets).await {
            Ok(codes) => codes,
            Err(refused) => {
                let absent = refused.code == ErrorCode::GroupIdNotFound;
                let code = match absent && version < ABSENT_SINCE {
                    true => ErrorCode::IllegalGeneration,
                    false => refused.code,
                };
                vec![code; places.len()]
            }
        };
        assert_eq!(codes.len(), places.len(), "there is a code for each offset");
        for ((t, p), code) in places.into_iter().zip(codes) {
            topics[t].partitions[p].error_code = code.code();
        }
    }
    OffsetCommitResponse {
        topics,
        ..Default::default()
    }
}

async fn commit(
    cx: &impl Coordinators,
    version: i16,
    request: &OffsetCommitRequest,
    offsets: Vec<CommitOffset>,
) -> Result<Vec<ErrorCode>, Refused> {
    let commit = Commit {
        group: request.group_id.to_string(),
        generation: request.generation_id_or_member_epoch,
        member: MemberRef {
            id: request.member_id.to_string(),
            instance: request.group_instance_id.as_ref().map(ToString::to_string),
        },
        offsets,
        knows_epochs: version >= EPOCHS_SINCE,
        retention_ms: Some(request.retention_time_ms).filter(|kept_ms| *kept_ms >= 0),
    };
    match ask(cx, &request.group_id, GroupRequest::Commit(commit), WAIT).await? {
        GroupReply::Offsets(codes) => Ok(codes),
        other => unfit(&other),
    }
}
