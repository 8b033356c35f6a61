//! `LeaveGroup`: one member, or many at once.

use protocol::error_code::ErrorCode;
use protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};

use super::{Coordinators, Refused, WAIT, ask, check_name, unfit};
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::{GroupRequest, Leaver, MemberRef};

/// From this version on members leave in batches, and each has its own answer.
const BATCHED_SINCE: i16 = 3;

/// Answers it.
pub async fn handle(
    cx: impl Coordinators,
    version: i16,
    mut request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    if version < BATCHED_SINCE {
        request.members = vec![MemberIdentity {
            member_id: request.member_id.clone(),
            ..Default::default()
        }];
    }
    let (code, members) = match leave(&cx, &request).await {
        Ok(codes) => (ErrorCode::None, answers(&request, &codes)),
        // A group that is not there has none of these members.
        Err(refused) if refused.code == ErrorCode::UnknownMemberId => {
            let codes = vec![refused.code; request.members.len()];
            (ErrorCode::None, answers(&request, &codes))
        }
        Err(refused) => (refused.code, Vec::new()),
    };
    if version >= BATCHED_SINCE {
        return LeaveGroupResponse {
            error_code: code.code(),
            members,
            ..Default::default()
        };
    }
    let of_member = members.first().map(|member| member.error_code);
    LeaveGroupResponse {
        error_code: match code {
            ErrorCode::None => of_member.unwrap_or(ErrorCode::None.code()),
            code => code.code(),
        },
        ..Default::default()
    }
}

async fn leave(
    cx: &impl Coordinators,
    request: &LeaveGroupRequest,
) -> Result<Vec<ErrorCode>, Refused> {
    check_name(&request.group_id)?;
    let member = |member: &MemberIdentity| Leaver {
        member: MemberRef {
            id: member.member_id.to_string(),
            instance: member.group_instance_id.as_ref().map(ToString::to_string),
        },
        reason: member.reason.as_deref().unwrap_or_default().to_owned(),
    };
    let call = GroupRequest::Leave {
        group: request.group_id.to_string(),
        members: request.members.iter().map(member).collect(),
    };
    match ask(cx, &request.group_id, call, WAIT).await? {
        GroupReply::Left(codes) => Ok(codes),
        other => unfit(&other),
    }
}

fn answers(request: &LeaveGroupRequest, codes: &[ErrorCode]) -> Vec<MemberResponse> {
    assert_eq!(
        codes.len(),
        request.members.len(),
        "there is a code for everybody who leaves"
    );
    let answer = |(member, code): (&MemberIdentity, &ErrorCode)| MemberResponse {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        error_code: code.code(),
    };
    request.members.iter().zip(codes).map(answer).collect()
}
