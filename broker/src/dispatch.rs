//! From a frame to its handler: the header, the table, one `match` over all APIs.
//!
//! Requests of a connection start in their order. A handler answers through its [`Reply`], at once or later; answers
//! leave in the order of requests in any case. What cannot be understood closes the connection.

mod failures;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use protocol::api::{self, ApiKey};
use protocol::header::{RequestHeader, RequestStart, response_frame};
use protocol::messages::{AnyRequest, AnyResponse};
use protocol::wire::{Reader, Str};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, error, info, trace};

use crate::broker::Broker;
use crate::config::Config;
use crate::handlers;
use crate::metrics::requests::{ApiReading, Outcome, RequestMetrics};
use crate::server::Server;
use crate::server::connection::{Peer, Service};
use crate::server::limits::Limits;
use crate::server::output::Slot;

/// What every handler has.
#[derive(Clone)]
pub struct Context {
    /// The replicated log.
    pub broker: Rc<Broker>,
    /// This node's configuration.
    pub config: Rc<Config>,
    /// What that configuration says under Kafka's names.
    pub fixed: Rc<BTreeMap<String, String>>,
    /// The version of the request.
    pub version: i16,
    /// Whose connection it is.
    pub peer: Rc<Peer>,
    /// What the client calls itself.
    pub client_id: Option<Str>,
}

/// Takes requests off connections and starts their handlers.
pub struct Dispatch {
    broker: Rc<Broker>,
    config: Rc<Config>,
    fixed: Rc<BTreeMap<String, String>>,
    metrics: Rc<RequestMetrics>,
}

/// The way back to the client. Resolves once; dropped, it closes the connection.
pub struct Reply {
    slot: Slot,
    key: ApiKey,
    version: i16,
    correlation: i32,
    started: Instant,
    failed: bool,
    metrics: Rc<RequestMetrics>,
}

impl Reply {
    /// The answer.
    pub fn send(self, response: impl Into<AnyResponse>) {
        let version = self.version;
        self.send_as(response.into(), version);
    }

    /// Notes that the answer carries an error, for the metrics.
    pub fn note_failure(&mut self) {
        self.failed = true;
    }

    /// For what only one request of a connection may do at a time.
    pub fn turn(&self) -> Rc<Semaphore> {
        self.slot.output().turn()
    }

    /// The client wants no answer.
    pub fn none(self) {
        self.metrics
            .finish(self.key, Outcome::Ok, self.started.elapsed(), 0);
        self.slot.no_answer();
    }

    /// There is no answer that would tell the client: the connection is closed.
    pub fn close(self, reason: &'static str) {
        self.metrics
            .finish(self.key, Outcome::Closed, self.started.elapsed(), 0);
        self.slot.close(reason);
    }

    /// Runs a handler in the background, until it is done or the client is gone.
    pub fn later<R: Into<AnyResponse>>(self, handler: impl Future<Output = R> + 'static) {
        tokio::task::spawn_local(async move {
            let response = tokio::select! {
                biased;
                response = handler => response,
                () = self.slot.until_closed() => return,
            };
            self.send(response);
        });
    }

    fn send_as(self, response: AnyResponse, version: i16) {
        match response_frame(&response, version, self.correlation) {
            Ok(frame) => {
                let bytes = frame.iter().map(Bytes::len).sum::<usize>() as u64;
                let outcome = if self.failed || failures::has_error(&response) {
                    Outcome::Error
                } else {
                    Outcome::Ok
                };
                self.metrics
                    .finish(self.key, outcome, self.started.elapsed(), bytes);
                self.slot.fill(frame);
            }
            Err(error) => {
                error!(api = self.key.name(), version, %error, "an answer cannot be encoded");
                self.close("an answer could not be encoded");
            }
        }
    }
}

impl Dispatch {
    /// Serves this broker.
    pub fn new(broker: Rc<Broker>, config: Rc<Config>, metrics: Rc<RequestMetrics>) -> Self {
        let fixed = Rc::new(handlers::configs::fixed(&config));
        Self {
            broker,
            config,
            fixed,
            metrics,
        }
    }

    fn reply(&self, slot: Slot, key: ApiKey, start: RequestStart) -> Reply {
        Reply {
            slot,
            key,
            version: start.version,
            correlation: start.correlation,
            started: Instant::now(),
            failed: false,
            metrics: Rc::clone(&self.metrics),
        }
    }

    fn handle(&self, peer: &Rc<Peer>, frame: Bytes, slot: Slot) {
        let frame_bytes = frame.len() as u64;
        let mut reader = Reader::new(frame);
        let Ok(start) = RequestStart::decode(&mut reader) else {
            info!(peer = %peer.address, "a request without a header closes its connection");
            slot.close("a request without a header");
            return;
        };
        let Some(key) = ApiKey::from_number(start.key) else {
            info!(peer = %peer.address, key = start.key, "a request of an API that is not served");
            slot.close("an API that is not served");
            return;
        };
        self.metrics.begin(key, frame_bytes);
        let reply = self.reply(slot, key, start);
        if !key.serves(start.version) {
            refuse_version(peer, key, start.version, reply);
            return;
        }
        if key == ApiKey::Metadata {
            reader.allow_spare(METADATA_SPARE_BYTES);
        }
        let request = RequestHeader::decode_rest(key, start, &mut reader).and_then(|header| {
            let request = AnyRequest::decode(key, &mut reader, start.version)?;
            Ok((header.client_id, request))
        });
        match request {
            Ok((client_id, request)) => self.call(peer, client_id, request, reply),
            Err(error) => {
                let (api, version) = (key.name(), start.version);
                info!(peer = %peer.address, api, version, %error, "a malformed request closes its connection");
                reply.close("a malformed request");
            }
        }
    }

    fn call(&self, peer: &Rc<Peer>, client_id: Option<Str>, request: AnyRequest, reply: Reply) {
        use AnyRequest as R;
        use handlers::{configs, log_dirs, reassignments, topics};
        trace!(peer = %peer.address, api = reply.key.name(), version = reply.version, "request");
        let cx = Context {
            broker: Rc::clone(&self.broker),
            config: Rc::clone(&self.config),
            fixed: Rc::clone(&self.fixed),
            version: reply.version,
            peer: Rc::clone(peer),
            client_id,
        };
        match request {
            R::Produce(r) => handlers::produce::start(&cx, r, reply),
            R::Fetch(r) => handlers::fetch::start(cx, r, reply),
            R::ListOffsets(r) => reply.later(handlers::list_offsets::handle(cx, r)),
            R::Metadata(r) => handlers::metadata::start(cx, r, reply),
            R::ApiVersions(r) => reply.send(handlers::api_versions::handle(&cx, &r)),
            R::CreateTopics(r) => reply.later(topics::create::handle(cx, r)),
            R::DeleteTopics(r) => reply.later(topics::delete::handle(cx, r)),
            R::DeleteRecords(r) => reply.later(handlers::delete_records::handle(cx, r)),
            R::InitProducerId(r) => reply.later(handlers::init_producer_id::handle(cx, r)),
            R::OffsetForLeaderEpoch(r) => reply.send(handlers::leader_epoch::handle(&cx, &r)),
            R::DescribeConfigs(r) => reply.send(configs::describe::handle(&cx, &r)),
            R::AlterConfigs(r) => reply.later(configs::alter::handle(cx, r)),
            R::DescribeLogDirs(r) => reply.send(log_dirs::handle(&cx, &r)),
            R::CreatePartitions(r) => reply.later(topics::partitions::handle(cx, r)),
            R::ElectLeaders(r) => reply.later(handlers::elect_leaders::handle(cx, r)),
            R::IncrementalAlterConfigs(r) => reply.later(configs::alter::handle_incremental(cx, r)),
            R::AlterPartitionReassignments(r) => reply.later(reassignments::alter(cx, r)),
            R::ListPartitionReassignments(r) => reply.send(reassignments::list(&cx, &r)),
            R::DescribeCluster(r) => reply.send(handlers::describe_cluster::handle(&cx, &r)),
            R::DescribeProducers(r) => reply.later(handlers::describe_producers::handle(cx, r)),
            R::DescribeTopicPartitions(r) => {
                reply.send(handlers::topic_partitions::handle(&cx, &r))
            }
            R::FindCoordinator(_)
            | R::JoinGroup(_)
            | R::SyncGroup(_)
            | R::Heartbeat(_)
            | R::LeaveGroup(_)
            | R::OffsetCommit(_)
            | R::OffsetFetch(_)
            | R::OffsetDelete(_)
            | R::DescribeGroups(_)
            | R::ConsumerGroupHeartbeat(_)
            | R::ConsumerGroupDescribe(_)
            | R::ListGroups(_)
            | R::DeleteGroups(_) => call_groups(cx, request, reply),
        }
    }
}

/// Starts what is about groups. All of it may wait for a coordinator.
fn call_groups(cx: Context, request: AnyRequest, reply: Reply) {
    use AnyRequest as R;
    use handlers::groups;
    let version = cx.version;
    match request {
        R::FindCoordinator(r) => {
            reply.later(handlers::find_coordinator::handle(cx, version, r));
        }
        R::JoinGroup(r) => reply.later(groups::join_group::handle(cx, version, r)),
        R::SyncGroup(r) => reply.later(groups::sync_group::handle(cx, version, r)),
        R::Heartbeat(r) => reply.later(groups::heartbeat::handle(cx, r)),
        R::LeaveGroup(r) => reply.later(groups::leave_group::handle(cx, version, r)),
        R::OffsetCommit(r) => reply.later(groups::offset_commit::handle(cx, version, r)),
        R::OffsetFetch(r) => reply.later(groups::offset_fetch::handle(cx, version, r)),
        R::OffsetDelete(r) => reply.later(groups::offset_delete::handle(cx, r)),
        R::DescribeGroups(r) => reply.later(groups::describe_groups::handle(cx, version, r)),
        R::ConsumerGroupHeartbeat(r) => {
            reply.later(groups::consumer_group_heartbeat::handle(cx, version, r));
        }
        R::ConsumerGroupDescribe(r) => {
            reply.later(groups::consumer_group_describe::handle(cx, r));
        }
        R::ListGroups(r) => reply.later(groups::list_groups::handle(cx, r)),
        R::DeleteGroups(r) => reply.later(groups::delete_groups::handle(cx, r)),
        other => unreachable!("{:?} is not about groups", other.key()),
    }
}

impl Server {
    /// Serves Kafka's protocol on this listener. Must be called within a `LocalSet`.
    pub fn start(broker: Rc<Broker>, listener: TcpListener, config: Rc<Config>) -> Rc<Self> {
        let limits = Limits::from(&config.node);
        let ready = Rc::clone(&broker).until_ready();
        let dispatch = Dispatch::new(broker, config, Rc::default());
        Self::serve(Rc::new(dispatch), listener, limits, ready)
    }
}

impl Service for Dispatch {
    fn requests(&self) -> Vec<ApiReading> {
        self.metrics.read()
    }

    fn knows(&self, key: i16, version: i16) -> bool {
        ApiKey::from_number(key).is_some_and(|key| key.serves(version))
    }

    fn call(&self, peer: &Rc<Peer>, frame: Bytes, slot: Slot) {
        self.handle(peer, frame, slot);
    }
}

/// librdkafka writes "all topics" in flexible versions as four zero bytes instead of one; what it means comes out
/// right, and three bytes are left over.
const METADATA_SPARE_BYTES: usize = 3;

/// ApiVersions is answered in version 0 with the range that it has; anything else closes the connection.
fn refuse_version(peer: &Peer, key: ApiKey, version: i16, mut reply: Reply) {
    if key == ApiKey::ApiVersions {
        debug!(peer = %peer.address, version, "ApiVersions of a version that is not served");
        reply.note_failure();
        reply.send_as(api::api_versions_unsupported().into(), 0);
        return;
    }
    info!(peer = %peer.address, api = key.name(), version, "a version that is not served");
    reply.close("a version that is not served");
}
