//! `OffsetDelete`: committed offsets of topics that no member subscribes to.

use protocol::error_code::ErrorCode;
use protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};

use super::{Coordinators, Refused, WAIT, ask, check_name, unfit};
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::GroupRequest;

/// Answers it.
pub async fn handle(cx: impl Coordinators, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut wanted = Vec::new();
    // Where the answer of each of these goes.
    let mut places = Vec::new();
    for (t, topic) in request.topics.iter().enumerate() {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (p, asked) in topic.partitions.iter().enumerate() {
            let partition_index = asked.partition_index;
            if cx.has_partition(&topic.name, partition_index) {
                places.push((t, p));
                wanted.push((topic.name.to_string(), partition_index));
            }
            partitions.push(OffsetDeleteResponsePartition {
                partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
            });
        }
        topics.push(OffsetDeleteResponseTopic {
            name: topic.name.clone(),
            partitions,
        });
    }
    // NB: asked even about nothing: what is wrong with the group comes before what is wrong with partitions.
    match delete(&cx, &request.group_id, wanted).await {
        Ok(codes) => {
            assert_eq!(codes.len(), places.len(), "there is a code for each offset");
            for ((t, p), code) in places.into_iter().zip(codes) {
                topics[t].partitions[p].error_code = code.code();
            }
        }
        // And then nothing is said about partitions.
        Err(refused) => {
            return OffsetDeleteResponse {
                error_code: refused.code.code(),
                ..Default::default()
            };
        }
    }
    OffsetDeleteResponse {
        topics,
        ..Default::default()
    }
}

async fn delete(
    cx: &impl Coordinators,
    group: &str,
    partitions: Vec<(String, i32)>,
) -> Result<Vec<ErrorCode>, Refused> {
    check_name(group)?;
    let call = GroupRequest::DeleteOffsets {
        group: group.to_owned(),
        partitions,
    };
    match ask(cx, group, call, WAIT).await? {
        GroupReply::Offsets(codes) => Ok(codes),
        other => unfit(&other),
    }
}
