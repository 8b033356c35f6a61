//! `Fetch`: what is there at once, or a long poll.
//!
//! A request is planned over all its partitions (`plan`). When that brings less than `min_bytes`, it waits for any of
//! them to move, once, and is planned again. Sessions are never given out: id 0 is answered, and every partition that
//! was asked for is in the answer.

mod plan;
mod reply;

use std::rc::Rc;
use std::time::Duration;

use protocol::error_code::ErrorCode;
use protocol::messages::fetch::{FetchRequest, FetchResponse};
use raft::types::GroupId;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::dispatch::{Context, Reply};
use plan::{Asked, Outcome, Plan};

/// Answers at once where memory suffices, otherwise in the background.
pub fn start(cx: Context, request: FetchRequest, mut reply: Reply) {
    if let Some(code) = refuse_session(&request) {
        reply.note_failure();
        return reply.send(FetchResponse {
            error_code: code.code(),
            ..Default::default()
        });
    }
    let wait = wait_of(&cx, &request);
    let asked = Asked::of(&cx, &request);
    let plan = Plan::make(&cx, &asked);
    if !plan.needs_cold() && (wait.is_zero() || plan.satisfies(asked.min_bytes)) {
        if plan.has_error() {
            reply.note_failure();
        }
        return reply.send(reply::response(&cx, &request, plan));
    }
    let turn = reply.turn();
    reply.later(poll(cx, request, asked, Instant::now() + wait, turn));
}

/// A session that was never given out: the client starts again with a full fetch.
fn refuse_session(request: &FetchRequest) -> Option<ErrorCode> {
    let full = request.session_epoch == 0 || request.session_epoch == -1;
    if request.session_id != 0 && !full || request.session_id == 0 && request.session_epoch > 0 {
        return Some(ErrorCode::FetchSessionIdNotFound);
    }
    None
}

fn wait_of(cx: &Context, request: &FetchRequest) -> Duration {
    let asked = Duration::from_millis(request.max_wait_ms.max(0).unsigned_abs().into());
    asked.min(Duration::from_millis(cx.config.node.fetch_wait_max_ms))
}

/// Plans, reads what is not in memory, and waits for more until it is enough or the time is over.
async fn poll(
    cx: Context,
    request: FetchRequest,
    asked: Asked,
    deadline: Instant,
    turn: Rc<Semaphore>,
) -> FetchResponse {
    let groups: Vec<GroupId> = asked.groups();
    loop {
        // Made before the plan: what moves after it is not missed.
        let progress = cx.broker.progress(&groups);
        let mut plan = Plan::make(&cx, &asked);
        if plan.needs_cold() {
            // A client that pipelines fetches of old data has the memory of one of them.
            let _turn = turn.acquire().await;
            plan.read_cold(&cx, &asked).await;
        }
        let late = Instant::now() >= deadline;
        if late || plan.satisfies(asked.min_bytes) {
            return reply::response(&cx, &request, plan);
        }
        // Late or not, the next plan decides.
        let _ = tokio::time::timeout_at(deadline, progress).await;
    }
}

impl Plan {
    /// Whether some partition is answered with an error.
    fn has_error(&self) -> bool {
        self.outcomes()
            .any(|outcome| matches!(outcome, Outcome::Refused(_)))
    }
}
