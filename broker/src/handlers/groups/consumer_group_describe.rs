//! `ConsumerGroupDescribe`: groups of the consumer protocol. Of any other group clients ask by `DescribeGroups`.

use protocol::error_code::ErrorCode;
use protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
    Member, TopicPartitions,
};
use protocol::wire::{Str, Uuid};

use super::describe_groups::authorized;
use super::{Coordinators, Refused, WAIT, all, ask, check_name, unfit};
use crate::coordinator::reply::{ConsumerDescribed, ConsumerMember, GroupReply, NamedPartitions};
use crate::coordinator::request::GroupRequest;

/// Of a member of the classic protocol (since version 1).
const CLASSIC: i8 = 0;
/// Of a member of the consumer protocol.
const CONSUMER: i8 = 1;

/// Answers it.
pub async fn handle(
    cx: impl Coordinators,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let operations = authorized(request.include_authorized_operations);
    let one = |group: Str| {
        let cx = cx.clone();
        async move {
            match describe(&cx, &group).await {
                Ok(described) => row(group, described, operations),
                Err(refused) => failure(group, &refused),
            }
        }
    };
    ConsumerGroupDescribeResponse {
        groups: all(request.group_ids.into_iter().map(one)).await,
        ..Default::default()
    }
}

async fn describe(cx: &impl Coordinators, group: &str) -> Result<ConsumerDescribed, Refused> {
    check_name(group)?;
    let call = GroupRequest::ConsumerDescribe {
        group: group.to_owned(),
    };
    match ask(cx, group, call, WAIT).await? {
        GroupReply::ConsumerDescribed(described) => Ok(described),
        other => unfit(&other),
    }
}

fn row(group_id: Str, described: ConsumerDescribed, authorized_operations: i32) -> DescribedGroup {
    DescribedGroup {
        error_code: ErrorCode::None.code(),
        group_id,
        group_state: Str::from_static(described.state.name()),
        group_epoch: described.epoch,
        assignment_epoch: described.target_epoch,
        assignor_name: Str::from_static(described.assignor),
        members: described.members.into_iter().map(member).collect(),
        authorized_operations,
        ..Default::default()
    }
}

fn failure(group_id: Str, refused: &Refused) -> DescribedGroup {
    let words = match refused.code {
        ErrorCode::GroupIdNotFound => {
            format!("Group {group_id} not found: no group of the consumer protocol has this name.")
        }
        code => code.text().to_owned(),
    };
    DescribedGroup {
        error_code: refused.code.code(),
        error_message: Some(Str::from(words)),
        group_id,
        ..Default::default()
    }
}

fn member(member: ConsumerMember) -> Member {
    let topics = member.topics.into_iter();
    Member {
        member_id: Str::from(member.id),
        instance_id: member.instance.map(Str::from),
        rack_id: member.rack.map(Str::from),
        member_epoch: member.epoch,
        client_id: Str::from(member.client.id),
        client_host: Str::from(member.client.host),
        subscribed_topic_names: topics.map(Str::from).collect(),
        // Null is for members that cannot have one.
        subscribed_topic_regex: Some(Str::from(member.regex.unwrap_or_default())),
        assignment: assignment(member.assigned),
        target_assignment: assignment(member.target),
        member_type: match member.is_classic {
            true => CLASSIC,
            false => CONSUMER,
        },
    }
}

fn assignment(topics: Vec<NamedPartitions>) -> Assignment {
    let topic = |topic: NamedPartitions| TopicPartitions {
        topic_id: Uuid(topic.topic.0),
        topic_name: Str::from(topic.name),
        partitions: topic.partitions,
    };
    Assignment {
        topic_partitions: topics.into_iter().map(topic).collect(),
    }
}
