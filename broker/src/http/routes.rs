//! Paths and their answers.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use protocol::error_code::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use snapshot::key::Key;
use tokio::sync::{mpsc, oneshot};

use super::{Question, RestoreStep};
use crate::broker::comparing::COMPARE_MAX;
use crate::controller::Failure;
use crate::metrics::render;
use crate::snapshots::cut::CUT_MAX;
use crate::snapshots::mend::{HEAL_MAX, Healed};

/// A broker that does not answer within this is not ready.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const GROUPS_MAX: Duration = Duration::from_secs(10);
const RESTORE_MAX: Duration = Duration::from_secs(35);
const TRANSFER_MAX: Duration = Duration::from_secs(15);

type Ask = mpsc::Sender<Question>;

/// All of them.
pub fn routes(ask: Ask) -> Router {
    Router::new()
        .route(
            "/livez",
            get(|| async { Json(json!({ "schema": 1, "alive": true })) }),
        )
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/v1/groups", get(groups))
        .route("/v1/groups/{group}", get(group))
        .route("/v1/partitions/{topic}/{partition}/leader", post(transfer))
        .route("/v1/restore", post(restore))
        .route("/v1/restore/begun/{incarnation}", post(begun))
        .route("/v1/cuts", post(cut))
        .route("/v1/snapshots/heal", post(heal_cluster))
        .route("/v1/partitions/{topic}/{partition}/heal", post(heal))
        .route("/v1/partitions/{topic}/{partition}/verify", post(compare))
        .route(
            "/v1/partitions/{topic}/{partition}/snapshot",
            post(snapshot),
        )
        .with_state(ask)
}

/// Asks the broker's thread; None when it does not answer in time.
async fn put<T>(
    ask: &Ask,
    wait: Duration,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (to, answer) = oneshot::channel();
    ask.try_send(question(to)).ok()?;
    tokio::time::timeout(wait, answer).await.ok()?.ok()
}

async fn readyz(State(ask): State<Ask>) -> Response {
    let reason = match put(&ask, ANSWER_MAX, Question::Ready).await {
        Some(Ok(())) => return Json(json!({ "schema": 1, "ready": true })).into_response(),
        Some(Err(reason)) => reason,
        None => silent().to_owned(),
    };
    let body = Json(json!({ "schema": 1, "ready": false, "reason": reason }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn status(State(ask): State<Ask>) -> Response {
    match put(&ask, ANSWER_MAX, Question::Status).await {
        Some(status) => Json(status).into_response(),
        None => unavailable(),
    }
}

async fn metrics(State(ask): State<Ask>) -> Response {
    let Some(metrics) = put(&ask, ANSWER_MAX, Question::Metrics).await else {
        return unavailable();
    };
    match render::render(&metrics) {
        Ok(text) => ([(header::CONTENT_TYPE, render::CONTENT_TYPE)], text).into_response(),
        Err(error) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UnknownServerError",
            &error.to_string(),
        ),
    }
}

async fn groups(State(ask): State<Ask>) -> Response {
    match put(&ask, GROUPS_MAX, Question::Groups).await {
        Some(groups) => Json(groups).into_response(),
        None => unavailable(),
    }
}

async fn group(State(ask): State<Ask>, Path(name): Path<String>) -> Response {
    match put(&ask, GROUPS_MAX, |to| Question::Group(name, to)).await {
        Some(Ok(group)) => Json(group).into_response(),
        Some(Err(failure)) => {
            let status = match failure.code {
                ErrorCode::GroupIdNotFound => StatusCode::NOT_FOUND,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            refuse(status, failure.code.name(), &failure.message)
        }
        None => unavailable(),
    }
}

async fn snapshot(
    State(ask): State<Ask>,
    Path((topic, partition)): Path<(String, i32)>,
) -> Response {
    let question = |answer| Question::Snapshot {
        topic,
        partition,
        answer,
    };
    asked(put(&ask, TRANSFER_MAX, question).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<Key>,
}

async fn heal(
    State(ask): State<Ask>,
    Path((topic, partition)): Path<(String, i32)>,
    Json(Keys { keys }): Json<Keys>,
) -> Response {
    healed(&ask, Some((topic, partition)), keys).await
}

async fn heal_cluster(State(ask): State<Ask>) -> Response {
    healed(&ask, None, Vec::new()).await
}

async fn healed(ask: &Ask, partition: Option<(String, i32)>, keys: Vec<Key>) -> Response {
    let question = |answer| Question::Heal {
        partition,
        keys,
        answer,
    };
    let shown = |objects: Vec<Healed>| json!({ "schema": 1, "objects": objects });
    told(put(ask, HEAL_MAX, question).await, shown)
}

async fn compare(
    State(ask): State<Ask>,
    Path((topic, partition)): Path<(String, i32)>,
) -> Response {
    let question = |answer| Question::Compare {
        topic,
        partition,
        answer,
    };
    told(put(&ask, COMPARE_MAX, question).await, |compared| compared)
}

async fn cut(State(ask): State<Ask>) -> Response {
    told(put(&ask, CUT_MAX, Question::Cut).await, |made| made)
}

/// Answered when this broker has found in the store what a restore has begun.
async fn begun(State(ask): State<Ask>, Path(incarnation): Path<u32>) -> Response {
    let begun = put(&ask, RESTORE_MAX, |to| Question::Begun(incarnation, to)).await;
    told(begun, |store| store)
}

/// One step of a restore. It is committed, and applied by this broker, when it is answered.
async fn restore(State(ask): State<Ask>, Json(step): Json<RestoreStep>) -> Response {
    let restored = put(&ask, RESTORE_MAX, |to| Question::Restore(step, to)).await;
    told(
        restored,
        |index| json!({ "schema": 1, "metadata_index": index.0 }),
    )
}

#[derive(Deserialize)]
struct To {
    to: i32,
}

async fn transfer(
    State(ask): State<Ask>,
    Path((topic, partition)): Path<(String, i32)>,
    Query(To { to }): Query<To>,
) -> Response {
    let question = |answer| Question::Transfer {
        topic,
        partition,
        to,
        answer,
    };
    asked(put(&ask, TRANSFER_MAX, question).await)
}

/// The answer to what is only begun.
fn asked(outcome: Option<Result<(), Failure>>) -> Response {
    told(outcome, |()| json!({ "schema": 1, "asked": true }))
}

/// The answer to what may be refused: what is shown of it when it was not.
fn told<T, S: Serialize>(
    outcome: Option<Result<T, Failure>>,
    shown: impl FnOnce(T) -> S,
) -> Response {
    match outcome {
        Some(Ok(done)) => Json(shown(done)).into_response(),
        Some(Err(failure)) => failed(&failure),
        None => unavailable(),
    }
}

fn failed(failure: &Failure) -> Response {
    let status = match failure.code {
        ErrorCode::UnknownTopicOrPartition => StatusCode::NOT_FOUND,
        code if code.retriable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    refuse(status, failure.code.name(), &failure.message)
}

fn refuse(status: StatusCode, error: &str, message: &str) -> Response {
    (
        status,
        Json(json!({ "schema": 1, "error": error, "message": message })),
    )
        .into_response()
}

fn unavailable() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "RequestTimedOut", silent())
}

fn silent() -> &'static str {
    "the broker's thread does not answer"
}
