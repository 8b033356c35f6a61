//! The shape of a fetch's answer.

use protocol::error_code::ErrorCode;
use protocol::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    NodeEndpoint, PartitionData,
};
use protocol::wire::{Slices, Str};

use super::plan::{Outcome, Plan};
use crate::broker::{Offsets, Rejection};
use crate::dispatch::Context;
use crate::handlers::lookup::{self, Endpoint};

/// From this version on answers say who leads instead, and where.
const ENDPOINTS_SINCE: i16 = 16;
const LEADER_SINCE: i16 = 12;

/// The answer: every partition that was asked for, in the request's order.
pub(super) fn response(cx: &Context, request: &FetchRequest, plan: Plan) -> FetchResponse {
    let mut answer = FetchResponse::default();
    let mut outcomes = plan.into_outcomes();
    let read_committed = request.isolation_level == 1;
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let outcome = outcomes
                .next()
                .expect("a plan has an outcome for every partition");
            let mut row = partition(outcome, cx, &mut answer.node_endpoints);
            row.partition_index = asked.partition;
            row.aborted_transactions = read_committed.then(Vec::new);
            partitions.push(row);
        }
        answer.responses.push(FetchableTopicResponse {
            topic_id: topic.topic_id,
            topic: topic.topic.clone(),
            partitions,
        });
    }
    answer
}

fn partition(outcome: Outcome, cx: &Context, endpoints: &mut Vec<NodeEndpoint>) -> PartitionData {
    match outcome {
        Outcome::Found(offsets, batches) => PartitionData {
            records: Some(Slices::from(batches)),
            ..at(offsets)
        },
        Outcome::Cold(read) => at(read.offsets),
        Outcome::Diverged(offsets, end) => PartitionData {
            diverging_epoch: EpochEndOffset {
                epoch: end.epoch,
                end_offset: end.end_offset,
            },
            ..at(offsets)
        },
        Outcome::Refused(rejection) => refused(&rejection, cx, endpoints),
    }
}

fn at(offsets: Offsets) -> PartitionData {
    PartitionData {
        high_watermark: offsets.high_watermark,
        last_stable_offset: offsets.last_stable,
        log_start_offset: offsets.log_start,
        records: Some(Slices::default()),
        ..Default::default()
    }
}

fn refused(
    rejection: &Rejection,
    cx: &Context,
    endpoints: &mut Vec<NodeEndpoint>,
) -> PartitionData {
    assert!(
        rejection.code != ErrorCode::None,
        "a refused fetch has a code"
    );
    let mut row = PartitionData {
        error_code: rejection.code.code(),
        high_watermark: -1,
        records: Some(Slices::default()),
        ..Default::default()
    };
    if cx.version < LEADER_SINCE {
        return row;
    }
    if let Some(hint) = lookup::hint(&cx.broker, rejection) {
        row.current_leader = LeaderIdAndEpoch {
            leader_id: hint.leader_id,
            leader_epoch: hint.leader_epoch,
        };
        if cx.version >= ENDPOINTS_SINCE {
            name_endpoint(endpoints, hint.endpoint);
        }
    }
    row
}

fn name_endpoint(endpoints: &mut Vec<NodeEndpoint>, endpoint: Endpoint) {
    if endpoints
        .iter()
        .all(|known| known.node_id != endpoint.node.0)
    {
        endpoints.push(NodeEndpoint {
            node_id: endpoint.node.0,
            host: Str::from(endpoint.host),
            port: endpoint.port,
            rack: endpoint.rack.map(Str::from),
        });
    }
}
