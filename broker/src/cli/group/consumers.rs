//! A group of the consumer protocol (KIP-848), in the shape in which groups of the classic one are described.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use protocol::error_code::ErrorCode;
use protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, Member,
};
use protocol::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
use protocol::wire::Str;

use super::assignment;
use crate::cli::client::Cluster;
use crate::cli::exit::Result;

/// Asks the coordinator. None when it is no group of this protocol.
pub async fn look(cluster: &mut Cluster, name: &str) -> Result<Option<DescribedGroup>> {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![Str::from(name)],
        include_authorized_operations: false,
    };
    let code = |answer: &ConsumerGroupDescribeResponse| {
        let nothing = ErrorCode::CoordinatorNotAvailable.code();
        answer.groups.first().map_or(nothing, |g| g.error_code)
    };
    let answer = cluster.coordinated(name, &request, code).await?;
    let group = answer.groups.into_iter().next();
    let group = group.filter(|group| group.error_code == ErrorCode::None.code());
    Ok(group.map(|group| DescribedGroup {
        group_id: group.group_id,
        group_state: group.group_state,
        protocol_type: Str::from_static(assignment::CONSUMER),
        protocol_data: group.assignor_name,
        members: group.members.into_iter().map(member).collect(),
        ..Default::default()
    }))
}

fn member(member: Member) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: Bytes::new(),
        member_assignment: encode(&member.assignment),
    }
}

/// As [`assignment::decode`] reads it.
fn encode(assignment: &Assignment) -> Bytes {
    let topics = assignment.topic_partitions.iter();
    let topics: BTreeMap<&str, &Vec<i32>> = topics
        .map(|topic| (&*topic.topic_name, &topic.partitions))
        .collect();
    let count = |len: usize| i32::try_from(len).expect("an answer holds fewer");
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(count(topics.len()));
    for (topic, partitions) in topics {
        out.put_i16(i16::try_from(topic.len()).expect("names of topics are short"));
        out.put_slice(topic.as_bytes());
        out.put_i32(count(partitions.len()));
        for partition in partitions {
            out.put_i32(*partition);
        }
    }
    out.freeze()
}
