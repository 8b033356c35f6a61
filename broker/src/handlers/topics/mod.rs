//! Creating, deleting and growing topics: the controller decides, this broker waits until it sees the result.

pub mod create;
pub mod delete;
pub mod partitions;

use std::time::Duration;

use protocol::error_code::ErrorCode;

use crate::controller::{Answer, ControllerRequest, Failure};
use crate::dispatch::Context;

/// The time that a client gives, in milliseconds on the wire.
pub fn timeout(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs().into())
}

/// Asks the controller about `count` items and gives one answer for each, whatever happens.
pub async fn ask(
    cx: &Context,
    request: ControllerRequest,
    count: usize,
    timeout: Duration,
) -> Vec<Result<Answer, Failure>> {
    if count == 0 {
        return Vec::new();
    }
    match cx.broker.controller_call(request, timeout).await {
        Ok(response) if response.items.len() == count => response.items,
        Ok(_) => vec![Err(miscounted()); count],
        Err(rejection) => vec![Err(rejection.into()); count],
    }
}

/// The controller answered another number of items than it was asked about. What came of them is not known.
fn miscounted() -> Failure {
    Failure::new(
        ErrorCode::RequestTimedOut,
        "the controller's answer does not fit the request",
    )
}
