//! `FindCoordinator`: who leads the partition of `__consumer_offsets` that a group belongs to.
//!
//! The topic is created when the first client asks. There are no transactions and no share groups yet.

use protocol::error_code::ErrorCode;
use protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use protocol::wire::Str;

use super::groups::{Coordinators, Found};
use super::lookup::Endpoint;

/// From this version on many keys are asked for at once.
const BATCHED_SINCE: i16 = 4;
/// Kafka's kinds of keys.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// What Kafka explains a success with, in the one answer in which it does.
const NO_ERROR: &str = "NONE";

/// Why there is no coordinator.
type Refusal = (ErrorCode, &'static str);

/// Answers it.
pub async fn handle(
    cx: impl Coordinators,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let batched = version >= BATCHED_SINCE;
    let keys = if batched {
        request.coordinator_keys
    } else {
        vec![request.key]
    };
    let mut groups = keys.iter().filter(|_| request.key_type == GROUP);
    if groups.any(|group| cx.find(group) == Found::NoTopic) {
        cx.create_offsets_topic().await;
    }
    let answer = |key: &Str| row(key, find(&cx, request.key_type, key));
    if batched {
        return FindCoordinatorResponse {
            coordinators: keys.iter().map(answer).collect(),
            ..Default::default()
        };
    }
    let only = answer(&keys[0]);
    FindCoordinatorResponse {
        error_code: only.error_code,
        error_message: only.error_message,
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        ..Default::default()
    }
}

fn find(cx: &impl Coordinators, key_type: i8, key: &str) -> Result<Endpoint, Refusal> {
    match key_type {
        // Also of the empty name, which has offsets and no members.
        GROUP => match cx.find(key) {
            Found::At(endpoint) => Ok(endpoint),
            Found::NoLeader => Err((
                ErrorCode::CoordinatorNotAvailable,
                "nobody leads the group's partition of __consumer_offsets now",
            )),
            Found::NoTopic => Err((
                ErrorCode::CoordinatorNotAvailable,
                "the topic __consumer_offsets could not be created yet",
            )),
        },
        TRANSACTION => Err((
            ErrorCode::CoordinatorNotAvailable,
            "there are no transactions in this cluster",
        )),
        _ => Err((
            ErrorCode::InvalidRequest,
            "there are no coordinators for keys of this kind",
        )),
    }
}

fn row(key: &Str, found: Result<Endpoint, Refusal>) -> Coordinator {
    match found {
        Ok(endpoint) => Coordinator {
            key: key.clone(),
            node_id: endpoint.node.0,
            host: Str::from(endpoint.host),
            port: endpoint.port,
            error_code: ErrorCode::None.code(),
            error_message: Some(Str::from_static(NO_ERROR)),
        },
        Err((code, message)) => Coordinator {
            key: key.clone(),
            node_id: -1,
            host: Str::new(),
            port: -1,
            error_code: code.code(),
            error_message: Some(Str::from_static(message)),
        },
    }
}
