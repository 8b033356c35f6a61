//! `DescribeGroups`: states and members of groups.

use protocol::error_code::ErrorCode;
use protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use protocol::wire::Str;

use super::{Coordinators, Refused, WAIT, all, ask, unfit};
use crate::coordinator::reply::{Described, DescribedMember, GroupReply, GroupStateName};
use crate::coordinator::request::GroupRequest;

/// From this version on a group that is not there is an error.
const ABSENT_SINCE: i16 = 6;
/// What anybody may do with a group where nobody is refused: Kafka's bits of read, delete, describe, describe-configs
/// and alter-configs.
const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// What the caller may do, if that is asked for.
pub(super) fn authorized(is_asked: bool) -> i32 {
    match is_asked {
        true => GROUP_OPERATIONS,
        false => i32::MIN,
    }
}

/// Answers it.
pub async fn handle(
    cx: impl Coordinators,
    version: i16,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let operations = authorized(request.include_authorized_operations);
    let one = |group: Str| {
        let cx = cx.clone();
        async move {
            let described = describe(&cx, &group).await;
            row(version, group, described, operations)
        }
    };
    DescribeGroupsResponse {
        groups: all(request.groups.into_iter().map(one)).await,
        ..Default::default()
    }
}

async fn describe(cx: &impl Coordinators, group: &str) -> Result<Described, Refused> {
    let call = GroupRequest::Describe {
        group: group.to_owned(),
    };
    match ask(cx, group, call, WAIT).await? {
        GroupReply::Described(described) if described.state == GroupStateName::Dead => {
            Err(ErrorCode::GroupIdNotFound.into())
        }
        GroupReply::Described(described) => Ok(described),
        other => unfit(&other),
    }
}

fn row(
    version: i16,
    group_id: Str,
    described: Result<Described, Refused>,
    authorized_operations: i32,
) -> DescribedGroup {
    let dead = Str::from_static(GroupStateName::Dead.name());
    match described {
        Ok(described) => DescribedGroup {
            group_state: Str::from_static(described.state.name()),
            protocol_type: Str::from(described.protocol_type),
            protocol_data: Str::from(described.protocol_name),
            members: described.members.into_iter().map(member).collect(),
            authorized_operations,
            group_id,
            ..Default::default()
        },
        Err(refused) if refused.code != ErrorCode::GroupIdNotFound => DescribedGroup {
            error_code: refused.code.code(),
            group_id,
            ..Default::default()
        },
        Err(absent) if version >= ABSENT_SINCE => DescribedGroup {
            error_code: absent.code.code(),
            error_message: Some(Str::from(format!("Group {group_id} not found."))),
            group_state: dead,
            group_id,
            ..Default::default()
        },
        Err(_) => DescribedGroup {
            group_state: dead,
            authorized_operations,
            group_id,
            ..Default::default()
        },
    }
}

fn member(member: DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: Str::from(member.id),
        group_instance_id: member.instance.map(Str::from),
        client_id: Str::from(member.client_id),
        client_host: Str::from(member.client_host),
        member_metadata: member.subscription,
        member_assignment: member.assignment,
    }
}
