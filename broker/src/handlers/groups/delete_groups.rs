//! `DeleteGroups`: groups without members, and all their offsets.

use std::collections::HashSet;

use protocol::error_code::ErrorCode;
use protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use protocol::wire::Str;

use super::{Coordinators, Refused, WAIT, all, ask, unfit};
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::GroupRequest;

/// Answers it. A group that is named twice is answered once.
pub async fn handle(cx: impl Coordinators, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut seen = HashSet::new();
    let mut groups = request.groups_names;
    groups.retain(|group| seen.insert(group.clone()));
    let one = |group_id: Str| {
        let cx = cx.clone();
        async move {
            let code = match delete(&cx, &group_id).await {
                Ok(()) => ErrorCode::None,
                Err(refused) => refused.code,
            };
            DeletableGroupResult {
                group_id,
                error_code: code.code(),
            }
        }
    };
    DeleteGroupsResponse {
        results: all(groups.into_iter().map(one)).await,
        ..Default::default()
    }
}

async fn delete(cx: &impl Coordinators, group: &str) -> Result<(), Refused> {
    let call = GroupRequest::Delete {
        group: group.to_owned(),
    };
    match ask(cx, group, call, WAIT).await? {
        GroupReply::Done => Ok(()),
        other => unfit(&other),
    }
}
