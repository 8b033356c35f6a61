//! What handlers may ask of the broker: the seam between protocol handling and the replicated log.
//!
//! Everything here is called on the broker's one thread. Nothing blocks.

use std::cell::Ref;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::{GroupId, NodeId, Term};

use crate::controller::{ControllerRequest, ControllerResponse};
use crate::metadata::Image;

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
    /// From the disk: await [`Broker::read_disk`] with this.
    Disk(DiskRead),
}

/// A read that was planned in the shard and must touch the disk.
#[derive(Clone, Debug)]
pub struct DiskRead {
    /// The request.
    pub at: FetchAt,
    /// The offsets when it was planned.
    pub offsets: Offsets,
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

/// The broker as handlers, HTTP and background tasks see it. Cheap to clone by `Rc`.
pub struct Broker {}

impl Broker {
    /// Appends one batch (already validated by its header) to a partition that this broker leads. `done` is called
    /// exactly once, possibly before this returns; with [`Acks::None`] after the append was accepted or refused.
    pub fn produce(
        self: &Rc<Self>,
        group: GroupId,
        batch: Bytes,
        acks: Acks,
        timeout: Duration,
        done: Box<dyn FnOnce(Result<Produced, Rejection>)>,
    ) {
        let _ = (group, batch, acks, timeout);
        done(Err(todo!()));
    }

    /// Plans a read at the leader. Out of range, wrong epoch and not-leader are errors.
    pub fn read(&self, at: FetchAt) -> Result<ReadPath, Rejection> {
        let _ = at;
        todo!()
    }

    /// Carries out a planned read on a blocking thread.
    pub async fn read_disk(&self, read: DiskRead) -> Result<Fetched, Rejection> {
        let _ = read;
        todo!()
    }

    /// Resolves when the high watermark (or leadership) of one of these partitions moves after this call, at most
    /// once per commit round. Cancel-safe: dropping it forgets it.
    pub fn progress(&self, groups: &[GroupId]) -> Progress {
        let _ = groups;
        todo!()
    }

    /// The cluster's metadata as this broker has applied it.
    pub fn image(&self) -> Ref<'_, Image> {
        todo!()
    }

    /// Who leads a partition, as far as this broker has heard; None while nobody does.
    pub fn leader(&self, group: GroupId) -> Option<LeaderView> {
        let _ = group;
        todo!()
    }

    /// This broker's id.
    pub fn node_id(&self) -> NodeId {
        todo!()
    }

    /// The node that leads the metadata group, where known.
    pub fn controller(&self) -> Option<NodeId> {
        todo!()
    }

    /// Whether this broker hears that node (itself: always).
    pub fn is_alive(&self, node: NodeId) -> bool {
        let _ = node;
        todo!()
    }

    /// The offsets of a partition that this broker leads.
    pub fn offsets(&self, group: GroupId) -> Result<Offsets, Rejection> {
        let _ = group;
        todo!()
    }

    /// First record at or after a time (`ListOffsets` with a timestamp).
    pub async fn offset_for_timestamp(
        &self,
        group: GroupId,
        timestamp_ms: i64,
    ) -> Result<TimestampOffset, Rejection> {
        let _ = (group, timestamp_ms);
        todo!()
    }

    /// The record with the highest timestamp (`ListOffsets` -3).
    pub async fn max_timestamp(&self, group: GroupId) -> Result<TimestampOffset, Rejection> {
        let _ = group;
        todo!()
    }

    /// `OffsetForLeaderEpoch`.
    pub fn epoch_end(
        &self,
        group: GroupId,
        current_leader_epoch: i32,
        epoch: i32,
    ) -> Result<EpochEnd, Rejection> {
        let _ = (group, current_leader_epoch, epoch);
        todo!()
    }

    /// Moves the log start forward (`DeleteRecords`), committed through Raft; -1 means the high watermark. Answers
    /// the new log start.
    pub async fn delete_records(
        self: &Rc<Self>,
        group: GroupId,
        before: i64,
        timeout: Duration,
    ) -> Result<i64, Rejection> {
        let _ = (group, before, timeout);
        todo!()
    }

    /// Sends a request to the controller (this broker or another one, forwarded), and waits until this broker has
    /// applied what came of it.
    pub async fn controller_call(
        self: &Rc<Self>,
        request: ControllerRequest,
        timeout: Duration,
    ) -> Result<ControllerResponse, Rejection> {
        let _ = (request, timeout);
        todo!()
    }

    /// A producer id that nobody ever had (from this broker's block; asks the controller for the next block).
    pub async fn new_producer_id(self: &Rc<Self>) -> Result<i64, Rejection> {
        todo!()
    }

    /// Bytes that a local replica holds, and how far it is behind its leader in offsets; None when not local.
    pub fn replica_size(&self, group: GroupId) -> Option<(u64, i64)> {
        let _ = group;
        todo!()
    }
}

/// stub
pub type Progress = std::future::Pending<()>;
