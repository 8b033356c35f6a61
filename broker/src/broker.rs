//! What handlers may ask of the broker: the seam between protocol handling and the replicated log.
//!
//! Everything here is called on the broker's one thread. Nothing blocks.

mod reads;

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::{GroupId, Index, NodeId, ReplicaId, Term, Tick};
use tokio::sync::{Notify, oneshot};

use crate::controller::{Answer, ControllerRequest, Failure};
use crate::driver::catch_up::CatchUp;
use crate::driver::clock::{Clock, ClockTrust};
use crate::driver::log_thread::LogThread;
use crate::driver::progress::{Progress, Waiters};
use crate::driver::tickets::{Asked, Tickets};
use crate::metadata::Image;
use crate::partition::stored::Stored;
use crate::shard::{Plan, Shard};
use crate::snapshots::Snapshots;
use crate::topic_config::TopicConfig;
pub(crate) use reads::{DiskReads, blocking};

pub(crate) mod comparing;
mod groups;
mod healing;
mod lags;
mod stored;

/// When a produce is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Never.
    None,
    /// After the leader's own sync.
    Leader,
    /// After a majority has synced.
    All,
}

/// A stored batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Offset of the batch's first record (of the original, for a duplicate).
    pub base_offset: i64,
    /// With `LogAppendTime` the time given to it, otherwise -1.
    pub log_append_time_ms: i64,
    /// First offset still in the log.
    pub log_start_offset: i64,
}

/// Why something was refused, with what a client needs to find the right broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Kafka's code.
    pub code: ErrorCode,
    /// For a person; may be empty.
    pub message: String,
    /// With a not-leader code: who leads, where known.
    pub leader: Option<LeaderView>,
}

/// Of what is asked by name, and has no room for who leads.
impl From<Rejection> for Failure {
    fn from(why: Rejection) -> Self {
        Self::new(why.code, why.message)
    }
}

/// Who leads a partition, as announced by that leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderView {
    /// The leader's node.
    pub node: NodeId,
    /// Its term: Kafka's leader epoch.
    pub term: Term,
    /// Nodes of the voters in sync with it, itself included.
    pub in_sync: Vec<NodeId>,
}

/// The offsets of a partition at its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// First offset still there.
    pub log_start: i64,
    /// First offset not committed: consumers see what is below it.
    pub high_watermark: i64,
    /// First offset that a `read_committed` consumer may not see.
    pub last_stable: i64,
    /// First offset not appended.
    pub log_end: i64,
    /// The leader's term.
    pub term: Term,
}

/// One partition's part of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The offsets at the time of the read.
    pub offsets: Offsets,
    /// Whole batches in offset order, the first one contains the offset asked for; empty at the high watermark.
    pub batches: Vec<Bytes>,
}

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchAt {
    /// The partition.
    pub group: GroupId,
    /// First offset wanted.
    pub offset: i64,
    /// At most this many bytes, but a first batch is returned whole whatever its size.
    pub max_bytes: u64,
    /// The leader epoch that the client believes in; -1 for none.
    pub current_leader_epoch: i32,
    /// Only what is stable.
    pub read_committed: bool,
}

/// How a fetch can be served.
#[derive(Debug)]
pub enum ReadPath {
    /// From memory, at once (or empty).
    Ready(Fetched),
    /// From the disk, or the store: await [`Broker::read_cold`] with this.
    Cold(ColdRead),
}

/// A read that was planned in the shard and must touch the disk, or the store.
#[derive(Clone, Debug)]
pub struct ColdRead {
    /// The request.
    pub at: FetchAt,
    /// The offsets when it was planned.
    pub offsets: Offsets,
    place: Place,
}

/// Where older records are.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the log of this replica, up to this index.
    Log(ReplicaId, Index),
    /// In the store, in this snapshot.
    Store(Option<Stored>),
}

/// Answer to a timestamp lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Offset of the first record at or after the time; -1 when there is none.
    pub offset: i64,
    /// Its timestamp; -1 when there is none.
    pub timestamp_ms: i64,
    /// The leader's term.
    pub term: Term,
}

/// Where an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The highest epoch at or below the one asked for; -1 when there is none.
    pub epoch: i32,
    /// The offset after its last record; -1 when there is none.
    pub end_offset: i64,
}

/// Where the answer to a produce goes.
pub type Done = Box<dyn FnOnce(Result<Produced, Rejection>)>;

/// The broker as handlers, HTTP and background tasks see it. Shared by `Rc` on the broker's one thread.
pub struct Broker {
    pub(crate) node: NodeId,
    pub(crate) shard: RefCell<Shard>,
    pub(crate) log: LogThread,
    pub(crate) reader: Arc<wal::Reader>,
    pub(crate) network: Rc<crate::peer::Network>,
    pub(crate) tickets: RefCell<Tickets>,
    pub(crate) waiters: RefCell<Waiters>,
    pub(crate) clock: Clock,
    /// Wakes the driver: something wants to be flushed.
    pub(crate) work: Rc<Notify>,
    /// The producer ids of this broker's block that are not given out: next, and end.
    pub(crate) producer_ids: Cell<(i64, i64)>,
    /// What is being reported to the controller: groups, and (as None) what this disk has dropped.
    pub(crate) reporting: RefCell<BTreeSet<Option<GroupId>>>,
    pub(crate) disk_reads: DiskReads,
    /// The pace at which followers get what is not in memory.
    pub(crate) catch_up: CatchUp,
    /// The snapshot store, where one is configured.
    pub(crate) snapshots: Option<Rc<Snapshots>>,
    /// One comparison of replicas at a time.
    pub(crate) comparing: tokio::sync::Mutex<()>,
    /// When records at committed offsets were written, as far as asked before.
    pub(crate) record_times: RefCell<crate::lag::Times>,
    /// Whether records are deleted by their age.
    pub(crate) clock_trust: ClockTrust,
    /// The cluster knows this broker in this life.
    pub(crate) registered: Cell<bool>,
    /// It was asked to stop: leadership is being handed over.
    pub(crate) stopping: Cell<bool>,
    /// The seeds' peer addresses.
    pub(crate) seeds: Vec<(NodeId, String)>,
    pub(crate) policy: crate::controller::Policy,
    /// Seconds from a produce to its answer, for acks=all.
    pub(crate) commit_seconds: Rc<crate::metrics::Histogram>,
    /// Seconds from a command of the metadata group to its outcome.
    pub(crate) command_seconds: Rc<crate::metrics::Histogram>,
    /// Raft's messages.
    pub(crate) messages: crate::metrics::messages::Messages,
    /// How long the log took to open and the groups to come back.
    pub(crate) recovery_seconds: f64,
    pub(crate) config: Rc<crate::config::Config>,
}

impl Broker {
    /// Appends one batch (already validated by its header) to a partition that this broker leads. `done` is called
    /// exactly once, never before this returns; with [`Acks::None`] after the append was accepted or refused.
    pub fn produce(
        self: &Rc<Self>,
        group: GroupId,
        batch: Bytes,
        acks: Acks,
        timeout: Duration,
        done: Done,
    ) {
        let done = if acks == Acks::All {
            self.timed(done)
        } else {
            done
        };
        self.catch_up.produced(batch.len());
        let ticket = self.tickets.borrow_mut().issue(Asked::Produce(done));
        let deadline = self.clock.after(timeout);
        let (now, wall) = (self.clock.now(), self.clock.wall_ms());
        self.shard
            .borrow_mut()
            .produce(now, wall, group, batch, acks, deadline, ticket);
        self.work.notify_one();
    }

    fn timed(&self, done: Done) -> Done {
        let (histogram, began) = (self.commit_seconds.clone(), std::time::Instant::now());
        Box::new(move |result| {
            if result.is_ok() {
                histogram.observe_duration(began.elapsed());
            }
            done(result);
        })
    }

    /// Plans a read at the leader. Out of range, wrong epoch and not-leader are errors.
    ///
    /// # Errors
    /// With Kafka's code.
    pub fn read(&self, at: FetchAt) -> Result<ReadPath, Rejection> {
        Ok(match self.shard.borrow().plan_read(&at)? {
            Plan::Ready(fetched) => ReadPath::Ready(fetched),
            Plan::Disk {
                replica,
                offsets,
                until,
            } => ReadPath::Cold(ColdRead {
                at,
                offsets,
                place: Place::Log(replica, until),
            }),
            Plan::Store { stored, offsets } => ReadPath::Cold(ColdRead {
                at,
                offsets,
                place: Place::Store(stored),
            }),
        })
    }

    /// Resolves when the high watermark (or leadership) of one of these partitions moves after this call, at most
    /// once per commit round. Cancel-safe: dropping it forgets it.
    #[must_use]
    pub fn progress(&self, groups: &[GroupId]) -> Progress {
        self.waiters.borrow_mut().wait_for(groups)
    }

    /// The cluster's metadata as this broker has applied it.
    #[must_use]
    pub fn image(&self) -> Ref<'_, Image> {
        Ref::map(self.shard.borrow(), Shard::image_or_empty)
    }

    /// Who leads a partition, as far as this broker has heard; None while nobody does.
    #[must_use]
    pub fn leader(&self, group: GroupId) -> Option<LeaderView> {
        self.shard.borrow().leader(group)
    }

    /// The node that leads a group, for what only the leader does.
    pub(crate) fn leading_node(&self, group: GroupId) -> Result<NodeId, Failure> {
        let leader = self.leader(group).map(|leader| leader.node);
        leader.ok_or_else(|| {
            let message = "nobody leads the partition now";
            Failure::new(ErrorCode::LeaderNotAvailable, message)
        })
    }

    /// This broker's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// The node that leads the metadata group, where known.
    #[must_use]
    pub fn controller(&self) -> Option<NodeId> {
        self.leader(GroupId::METADATA).map(|leader| leader.node)
    }

    /// Whether this broker hears that node (itself: always).
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.shard.borrow().is_alive(node)
    }

    /// Whether clients are to know of that node: it is heard, or this broker is cut off and cannot tell who lives.
    #[must_use]
    pub fn is_listed(&self, node: NodeId) -> bool {
        let shard = self.shard.borrow();
        shard.is_alive(node) || !shard.hears_majority()
    }

    /// The offsets of a partition that this broker leads.
    ///
    /// # Errors
    /// With Kafka's code.
    pub fn offsets(&self, group: GroupId) -> Result<Offsets, Rejection> {
        self.shard.borrow().offsets(group)
    }

    /// The configs that hold for a partition that this broker has a replica of.
    #[must_use]
    pub fn topic_config(&self, group: GroupId) -> Option<Rc<TopicConfig>> {
        self.shard.borrow().topic_config(group)
    }

    /// The wall clock in ms since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// `OffsetForLeaderEpoch`.
    ///
    /// # Errors
    /// With Kafka's code.
    pub fn epoch_end(
        &self,
        group: GroupId,
        current_leader_epoch: i32,
        epoch: i32,
    ) -> Result<EpochEnd, Rejection> {
        self.shard
            .borrow()
            .epoch_end(group, current_leader_epoch, epoch)
    }

    /// Finds out whether this broker leads a partition, by the word of a majority after this moment. What it says of
    /// the partition then is not less than what anybody knew before. The question is asked at once.
    ///
    /// # Errors
    /// With Kafka's code, when it does not, or nobody can tell in time.
    pub fn confirm_leader(
        self: &Rc<Self>,
        group: GroupId,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Rejection>> + use<> {
        let (answer, answered) = oneshot::channel();
        let ticket = self.tickets.borrow_mut().issue(Asked::Confirm(answer));
        let (now, deadline) = (self.clock.now(), self.clock.after(timeout));
        self.shard
            .borrow_mut()
            .confirm_leader(now, group, deadline, ticket);
        self.work.notify_one();
        async { answered.await.unwrap_or_else(|_| Err(stopping())) }
    }

    /// Moves the log start forward (`DeleteRecords`), committed through Raft; -1 means the high watermark. Answers
    /// the new log start.
    ///
    /// # Errors
    /// With Kafka's code.
    pub async fn delete_records(
        self: &Rc<Self>,
        group: GroupId,
        before: i64,
        timeout: Duration,
    ) -> Result<i64, Rejection> {
        let (answer, answered) = oneshot::channel();
        let ticket = self.tickets.borrow_mut().issue(Asked::LogStart(answer));
        let (now, deadline) = (self.clock.now(), self.clock.after(timeout));
        self.shard
            .borrow_mut()
            .advance_log_start(now, group, before, deadline, Some(ticket));
        self.work.notify_one();
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// A producer id that nobody ever had (from this broker's block; asks the controller for the next block).
    ///
    /// # Errors
    /// When no controller can be reached.
    pub async fn new_producer_id(self: &Rc<Self>) -> Result<i64, Rejection> {
        for _ in 0..PRODUCER_ID_TRIES {
            let (next, end) = self.producer_ids.get();
            if next < end {
                self.producer_ids.set((next + 1, end));
                return Ok(next);
            }
            let request = ControllerRequest::AllocateProducerIds { node: self.node };
            let response = self.controller_call(request, PRODUCER_ID_TIMEOUT).await?;
            match response.items.into_iter().next() {
                // NB: the answer to the own request, never what is applied here: a restart applies old allocations
                // again, and their ids are in use.
                Some(Ok(Answer::ProducerIds { first, count })) => {
                    self.producer_ids.set((first, first + i64::from(count)));
                }
                Some(Err(failure)) => {
                    let message = failure.to_string();
                    return Err(Rejection {
                        code: failure.code,
                        message,
                        leader: None,
                    });
                }
                _ => {}
            }
        }
        Err(stopping())
    }

    /// Bytes that a local replica holds, and how far it is behind its leader in offsets; None when not local.
    #[must_use]
    pub fn replica_size(&self, group: GroupId) -> Option<(u64, i64)> {
        let shard = self.shard.borrow();
        let replica = shard.replica(group)?;
        let lag = shard.local_lag(group)?;
        Some((self.reader.group_bytes(group, replica), lag))
    }

    /// The time, for tasks that step the shard.
    pub(crate) fn now(&self) -> Tick {
        self.clock.now()
    }
}

const PRODUCER_ID_TRIES: usize = 100;
const PRODUCER_ID_TIMEOUT: Duration = Duration::from_secs(10);

/// The answer to what was under way when the broker stopped.
pub(crate) fn stopping() -> Rejection {
    let message = "the broker is stopping".to_owned();
    Rejection {
        code: ErrorCode::NotLeaderOrFollower,
        message,
        leader: None,
    }
}
