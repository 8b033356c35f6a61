//! `JoinGroup`: answered when the rebalance is over.

use std::time::Duration;

use protocol::error_code::ErrorCode;
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};
use protocol::wire::Str;

use super::{Coordinators, REBALANCE_WAIT, Refused, ask, check_name, millis, unfit};
use crate::coordinator::reply::{GroupReply, Joined, JoinedMember};
use crate::coordinator::request::{GroupRequest, Join, MemberRef};

/// From this version on a rebalance has its own timeout.
const REBALANCE_TIMEOUT_SINCE: i16 = 1;
/// From this version on a new dynamic member is given an id, and joins with it (KIP-394).
const ID_REQUIRED_SINCE: i16 = 4;
/// From this version on a failure names no protocol, where it named the empty one.
const NO_PROTOCOL_SINCE: i16 = 7;
/// From this version on the leader may be told not to assign.
const SKIP_SINCE: i16 = 9;
/// What is added to the longest wait that the member itself asks for.
const GRACE: Duration = Duration::from_secs(60);

/// Answers it.
pub async fn handle(
    cx: impl Coordinators,
    version: i16,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    match join(&cx, version, request).await {
        Ok(joined) => success(joined),
        Err(refused) => failure(version, refused),
    }
}

async fn join(
    cx: &impl Coordinators,
    version: i16,
    request: JoinGroupRequest,
) -> Result<Joined, Refused> {
    check_name(&request.group_id).map_err(|refused| Refused {
        member: request.member_id.to_string(),
        ..refused
    })?;
    let session_timeout_ms = millis(request.session_timeout_ms);
    let own = version >= REBALANCE_TIMEOUT_SINCE && request.rebalance_timeout_ms >= 0;
    let rebalance_timeout_ms = if own {
        millis(request.rebalance_timeout_ms)
    } else {
        session_timeout_ms
    };
    let instance = request.group_instance_id.as_ref().map(ToString::to_string);
    let protocols = request.protocols.into_iter();
    let join = Join {
        group: request.group_id.to_string(),
        client: cx.client(),
        session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols
            .map(|p| (p.name.to_string(), p.metadata))
            .collect(),
        // A static member is known by its instance id.
        id_required: version >= ID_REQUIRED_SINCE && instance.is_none(),
        may_skip_assignment: version >= SKIP_SINCE,
        reason: request.reason.as_deref().unwrap_or_default().to_owned(),
        member: MemberRef {
            id: request.member_id.to_string(),
            instance,
        },
    };
    let wait = REBALANCE_WAIT.max(Duration::from_millis(rebalance_timeout_ms) + GRACE);
    match ask(cx, &request.group_id, GroupRequest::Join(join), wait).await? {
        GroupReply::Joined(joined) => Ok(joined),
        other => unfit(&other),
    }
}

fn success(joined: Joined) -> JoinGroupResponse {
    let member = |member: JoinedMember| JoinGroupResponseMember {
        member_id: Str::from(member.id),
        group_instance_id: member.instance.map(Str::from),
        metadata: member.subscription,
    };
    JoinGroupResponse {
        error_code: ErrorCode::None.code(),
        generation_id: joined.generation,
        protocol_type: Some(Str::from(joined.protocol_type)),
        protocol_name: Some(Str::from(joined.protocol_name)),
        leader: Str::from(joined.leader),
        skip_assignment: joined.skip_assignment,
        member_id: Str::from(joined.member),
        members: joined.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}

fn failure(version: i16, refused: Refused) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: refused.code.code(),
        protocol_name: (version < NO_PROTOCOL_SINCE).then(Str::new),
        member_id: Str::from(refused.member),
        ..Default::default()
    }
}
