//! `ListGroups`: the groups that this broker coordinates. Clients ask every broker.

use protocol::error_code::ErrorCode;
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use protocol::wire::Str;

use super::Coordinators;
use crate::coordinator::reply::Listed;

/// Answers it. Filters are compared without regard to case; a word that nobody knows fits no group.
pub async fn handle(cx: impl Coordinators, request: ListGroupsRequest) -> ListGroupsResponse {
    let groups = match cx.list().await {
        Ok(groups) => groups,
        // NB: a part of the groups would look like all of them.
        Err(code) => {
            assert!(code != ErrorCode::None, "a refusal has a code");
            return ListGroupsResponse {
                error_code: code.code(),
                ..Default::default()
            };
        }
    };
    let fits = |group: &Listed| {
        is_among(&request.states_filter, group.state.name())
            && is_among(&request.types_filter, group.group_type)
    };
    let row = |group: Listed| ListedGroup {
        group_id: Str::from(group.group),
        protocol_type: Str::from(group.protocol_type),
        group_state: Str::from_static(group.state.name()),
        group_type: Str::from_static(group.group_type),
    };
    ListGroupsResponse {
        groups: groups.into_iter().filter(fits).map(row).collect(),
        ..Default::default()
    }
}

/// Whether a filter lets it pass. An empty one lets everything pass.
fn is_among(filter: &[Str], word: &str) -> bool {
    filter.is_empty()
        || filter
            .iter()
            .any(|wanted| wanted.eq_ignore_ascii_case(word))
}
