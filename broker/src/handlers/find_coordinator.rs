//! `FindCoordinator`: there are no groups and transactions yet, and clients are told to ask again.

use protocol::error_code::ErrorCode;
use protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use protocol::wire::Str;

use crate::dispatch::Context;

/// From this version on many keys are asked for at once.
const BATCHED_SINCE: i16 = 4;
/// Kinds of keys that Kafka has: group, transaction, share.
const KEY_TYPES: std::ops::RangeInclusive<i8> = 0..=2;

/// Answers it.
pub fn handle(cx: &Context, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
    let (code, message) = if KEY_TYPES.contains(&request.key_type) {
        (
            ErrorCode::CoordinatorNotAvailable,
            "this cluster has no group or transaction coordinator",
        )
    } else {
        (
            ErrorCode::InvalidRequest,
            "an unknown kind of coordinator key",
        )
    };
    let error_message = Some(Str::from_static(message));
    if cx.version < BATCHED_SINCE {
        return FindCoordinatorResponse {
            error_code: code.code(),
            error_message,
            node_id: -1,
            port: -1,
            ..Default::default()
        };
    }
    let coordinator = |key: &Str| Coordinator {
        key: key.clone(),
        node_id: -1,
        host: Str::new(),
        port: -1,
        error_code: code.code(),
        error_message: error_message.clone(),
    };
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.iter().map(coordinator).collect(),
        ..Default::default()
    }
}
