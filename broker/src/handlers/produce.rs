//! `Produce`: checks every batch by its header, appends, and answers when the last partition is done.
//!
//! Batches start in the order of requests; only the answers wait. With acks=0 there is no answer, and an error closes
//! the connection: it is all that the client can notice.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::messages::produce::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use protocol::record_batch::{self, Compression, Limits, Times};
use protocol::wire::Str;
use raft::types::GroupId;

use super::lookup::{self, Endpoint};
use crate::broker::{Acks, Broker, Produced, Rejection};
use crate::dispatch::{Context, Reply};
use crate::topic_config::{TimestampType, TopicConfig, ValidateRecords};

/// From this version on batches may be compressed with zstd.
const ZSTD_SINCE: i16 = 7;
/// From this version on answers say who leads instead.
const HINTS_SINCE: i16 = 10;

/// Starts all batches of the request.
pub fn start(cx: &Context, request: ProduceRequest, reply: Reply) {
    let acks = match request.acks {
        0 => Acks::None,
        1 => Acks::Leader,
        -1 => Acks::All,
        _ => return refuse_all(&request, ErrorCode::InvalidRequiredAcks, reply),
    };
    if request.transactional_id.is_some() {
        return refuse_all(&request, ErrorCode::InvalidTxnState, reply);
    }
    let asked = request.timeout_ms.max(0).unsigned_abs().into();
    let timeout =
        Duration::from_millis(asked).min(Duration::from_millis(cx.config.node.produce_wait_max_ms));
    let mut jobs = Vec::new();
    let answer = skeleton(cx, request, &mut jobs);
    let collector = Rc::new(Collector {
        broker: Rc::clone(&cx.broker),
        hints: cx.version >= HINTS_SINCE,
        acks,
        state: RefCell::new(Some(State {
            answer,
            reply,
            open: jobs.len() + 1,
        })),
    });
    for job in jobs {
        let done = Rc::clone(&collector);
        match job.batch {
            Ok((group, batch)) => {
                let callback = move |result| done.finish(job.topic, job.partition, result);
                cx.broker
                    .produce(group, batch, acks, timeout, Box::new(callback));
            }
            Err(rejection) => done.finish(job.topic, job.partition, Err(rejection)),
        }
    }
    collector.one_less();
}

/// One partition's batch, or why there is none.
struct Job {
    topic: usize,
    partition: usize,
    batch: Result<(GroupId, Bytes), Rejection>,
}

/// Counts the partitions of one request that are not done, and answers with the last.
struct Collector {
    broker: Rc<Broker>,
    hints: bool,
    acks: Acks,
    state: RefCell<Option<State>>,
}

struct State {
    answer: ProduceResponse,
    reply: Reply,
    open: usize,
}

impl Collector {
    fn finish(&self, topic: usize, partition: usize, result: Result<Produced, Rejection>) {
        let hint = match &result {
            Err(rejection) if self.hints => lookup::hint(&self.broker, rejection),
            _ => None,
        };
        {
            let mut state = self.state.borrow_mut();
            let state = state
                .as_mut()
                .expect("a request is open until its last partition is done");
            if result.is_err() {
                state.reply.note_failure();
            }
            let row = &mut state.answer.responses[topic].partition_responses[partition];
            match result {
                Ok(produced) => {
                    row.base_offset = produced.base_offset;
                    row.log_append_time_ms = produced.log_append_time_ms;
                    row.log_start_offset = produced.log_start_offset;
                }
                Err(rejection) => {
                    assert!(
                        rejection.code != ErrorCode::None,
                        "a refused batch has a code"
                    );
                    row.error_code = rejection.code.code();
                    row.error_message = lookup::text(&rejection.message);
                }
            }
            if let Some(hint) = hint {
                row.current_leader = LeaderIdAndEpoch {
                    leader_id: hint.leader_id,
                    leader_epoch: hint.leader_epoch,
                };
                name_endpoint(&mut state.answer.node_endpoints, hint.endpoint);
            }
        }
        self.one_less();
    }

    fn one_less(&self) {
        let mut slot = self.state.borrow_mut();
        let state = slot
            .as_mut()
            .expect("a request is open until its last partition is done");
        state.open -= 1;
        if state.open > 0 {
            return;
        }
        let State { answer, reply, .. } = slot.take().expect("just seen");
        drop(slot);
        if self.acks != Acks::None {
            return reply.send(answer);
        }
        let mut rows = answer
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses);
        if rows.any(|row| row.error_code != ErrorCode::None.code()) {
            reply.close("a produce without acknowledgement failed");
        } else {
            reply.none();
        }
    }
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

/// The answer with every partition unanswered, and what there is to do for each.
fn skeleton(cx: &Context, request: ProduceRequest, jobs: &mut Vec<Job>) -> ProduceResponse {
    let image = cx.broker.image();
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for (t, topic) in request.topic_data.into_iter().enumerate() {
        let known = lookup::topic_named(&image, &topic.name);
        let mut rows = Vec::with_capacity(topic.partition_data.len());
        for (p, data) in topic.partition_data.into_iter().enumerate() {
            let batch = known
                .and_then(|topic| match lookup::is_internal(&topic.name) {
                    false => lookup::group_of(topic, data.index),
                    // A partition that is not there is that first.
                    true => lookup::group_of(topic, data.index).and(Err(ErrorCode::InvalidTopic)),
                })
                .map_err(lookup::rejected)
                .and_then(|group| Ok((group, check(cx, group, data.records)?)));
            jobs.push(Job {
                topic: t,
                partition: p,
                batch,
            });
            rows.push(unanswered(data.index));
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            partition_responses: rows,
        });
    }
    ProduceResponse {
        responses,
        ..Default::default()
    }
}

fn unanswered(index: i32) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        ..Default::default()
    }
}

/// Whether these bytes are one batch that this partition takes.
fn check(cx: &Context, group: GroupId, records: Option<Bytes>) -> Result<Bytes, Rejection> {
    let Some(batch) = records.filter(|batch| !batch.is_empty()) else {
        return Err(refuse(
            ErrorCode::InvalidRecord,
            "a produce request carries exactly one batch",
        ));
    };
    // Without a replica here the batch is refused anyway, by who leads.
    let config = cx.broker.topic_config(group).unwrap_or_default();
    let (header, times) = record_batch::validate_timed(&batch, &limits(&config))
        .map_err(|error| refuse(error.code(), &error.to_string()))?;
    if header.is_transactional() {
        return Err(refuse(
            ErrorCode::InvalidTxnState,
            "there are no transactions in this cluster",
        ));
    }
    if cx.version < ZSTD_SINCE && header.compression() == Ok(Compression::Zstd) {
        let code = ErrorCode::UnsupportedCompressionType;
        return Err(refuse(code, "zstd needs version 7 of the request"));
    }
    if header.is_log_append_time() {
        return Err(refuse(
            ErrorCode::InvalidTimestamp,
            "the log append time is set by the broker, not by a producer",
        ));
    }
    if let Some(times) = times {
        check_times(&config, times, cx.broker.wall_ms())?;
    }
    Ok(batch)
}

/// Whether the records' times are near enough to now, where the producer's clock counts.
fn check_times(config: &TopicConfig, times: Times, now: i64) -> Result<(), Rejection> {
    if config.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    let earliest = now.saturating_sub(config.timestamp_before_max_ms);
    let latest = now.saturating_add(config.timestamp_after_max_ms);
    for timestamp in [times.lowest, times.highest] {
        if !(earliest..=latest).contains(&timestamp) {
            let message =
                format!("the timestamp {timestamp} is not between {earliest} and {latest}");
            return Err(refuse(ErrorCode::InvalidTimestamp, &message));
        }
    }
    Ok(())
}

fn refuse(code: ErrorCode, message: &str) -> Rejection {
    Rejection {
        message: message.to_owned(),
        ..lookup::rejected(code)
    }
}

/// What this topic takes. A compressed batch says its highest timestamp itself; it is opened where the lowest counts.
fn limits(config: &TopicConfig) -> Limits {
    let lowest_counts = config.timestamp_type == TimestampType::CreateTime
        && config.timestamp_before_max_ms != i64::MAX;
    Limits {
        batch_bytes_max: config.max_message_bytes,
        control: false,
        open_compressed: lowest_counts || config.validate_records == ValidateRecords::Full,
    }
}

/// The same refusal for every partition; without acknowledgement the connection ends.
fn refuse_all(request: &ProduceRequest, code: ErrorCode, mut reply: Reply) {
    if request.acks == 0 {
        return reply.close("a produce without acknowledgement failed");
    }
    let refused = |index| PartitionProduceResponse {
        error_code: code.code(),
        ..unanswered(index)
    };
    let topics = request.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name.clone(),
        partition_responses: topic
            .partition_data
            .iter()
            .map(|data| refused(data.index))
            .collect(),
    });
    reply.note_failure();
    reply.send(ProduceResponse {
        responses: topics.collect(),
        ..Default::default()
    });
}
