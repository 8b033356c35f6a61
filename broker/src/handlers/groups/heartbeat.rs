//! `Heartbeat`: a member is alive.

use protocol::error_code::ErrorCode;
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{Coordinators, Refused, WAIT, ask, check_name, unfit};
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::{GroupRequest, MemberRef};

/// Answers it.
pub async fn handle(cx: impl Coordinators, request: HeartbeatRequest) -> HeartbeatResponse {
    let code = match beat(&cx, &request).await {
        Ok(()) => ErrorCode::None,
        Err(refused) => refused.code,
    };
    HeartbeatResponse {
        error_code: code.code(),
        ..Default::default()
    }
}

async fn beat(cx: &impl Coordinators, request: &HeartbeatRequest) -> Result<(), Refused> {
    check_name(&request.group_id)?;
    let call = GroupRequest::Heartbeat {
        group: request.group_id.to_string(),
        generation: request.generation_id,
        member: MemberRef {
            id: request.member_id.to_string(),
            instance: request.group_instance_id.as_ref().map(ToString::to_string),
        },
    };
    match ask(cx, &request.group_id, call, WAIT).await? {
        GroupReply::Done => Ok(()),
        other => unfit(&other),
    }
}
