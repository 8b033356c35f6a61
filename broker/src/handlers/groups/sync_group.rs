//! `SyncGroup`: a member gets its assignment, the leader brings everybody's.

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use protocol::wire::Str;

use super::{Coordinators, REBALANCE_WAIT, Refused, ask, check_name, unfit};
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::{GroupRequest, MemberRef, Sync};

/// From this version on the member says which protocol it believes in, and has to.
const PROTOCOL_SINCE: i16 = 5;

/// Answers it.
pub async fn handle(
    cx: impl Coordinators,
    version: i16,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    match sync(&cx, version, request).await {
        Ok((protocol_type, protocol_name, assignment)) => SyncGroupResponse {
            error_code: ErrorCode::None.code(),
            protocol_type: Some(Str::from(protocol_type)),
            protocol_name: Some(Str::from(protocol_name)),
            assignment,
            ..Default::default()
        },
        Err(refused) => SyncGroupResponse {
            error_code: refused.code.code(),
            ..Default::default()
        },
    }
}

async fn sync(
    cx: &impl Coordinators,
    version: i16,
    request: SyncGroupRequest,
) -> Result<(String, String, Bytes), Refused> {
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= PROTOCOL_SINCE && !named {
        return Err(ErrorCode::InconsistentGroupProtocol.into());
    }
    check_name(&request.group_id)?;
    let assignments = request.assignments.into_iter();
    let sync = Sync {
        group: request.group_id.to_string(),
        generation: request.generation_id,
        member: MemberRef {
            id: request.member_id.to_string(),
            instance: request.group_instance_id.as_ref().map(ToString::to_string),
        },
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol_name: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: assignments
            .map(|a| (a.member_id.to_string(), a.assignment))
            .collect(),
    };
    let call = GroupRequest::Sync(sync);
    match ask(cx, &request.group_id, call, REBALANCE_WAIT).await? {
        GroupReply::Synced {
            protocol_type,
            protocol_name,
            assignment,
        } => Ok((protocol_type, protocol_name, assignment)),
        other => unfit(&other),
    }
}
