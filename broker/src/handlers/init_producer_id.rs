//! `InitProducerId`: a producer id that nobody ever had. The id and epoch that the client sends mean nothing without
//! a transactional id; a new id with epoch 0 is answered.

use protocol::error_code::ErrorCode;
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use crate::dispatch::Context;

/// Answers it.
pub async fn handle(cx: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refusal = match request.transactional_id.as_deref() {
        None => None,
        Some("") => Some(ErrorCode::InvalidRequest),
        Some(_) => Some(ErrorCode::CoordinatorNotAvailable),
    };
    if let Some(code) = refusal {
        return refused(code);
    }
    match cx.broker.new_producer_id().await {
        Ok(producer_id) => InitProducerIdResponse {
            producer_id,
            producer_epoch: 0,
            ..Default::default()
        },
        Err(rejection) => refused(rejection.code),
    }
}

fn refused(code: ErrorCode) -> InitProducerIdResponse {
    assert!(code != ErrorCode::None, "a refusal has a code");
    InitProducerIdResponse {
        error_code: code.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    }
}
