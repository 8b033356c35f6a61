//! What a shard takes in from the log and hands out to its driver.

use std::collections::BTreeSet;

use protocol::peer::LeaderInfo;
use raft::message::Message;
use raft::types::{GroupId, Index, NodeId, ReplicaId};
use wal::Record;

use super::copies::Holding;
use super::pipeline::AppendId;
use super::snapshots::Wanted;
use super::tails::TailWanted;
use crate::broker::{Produced, Rejection};
use crate::coordinator::reply::GroupReply;
use crate::metadata::{Change, Rejected};
use crate::partition::stored::Stored;

/// The driver's name for something that it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The content of a frame between two brokers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerBatch {
    /// Raft messages of many groups.
    pub messages: Vec<(GroupId, Message)>,
    /// Who leads what.
    pub soft: Vec<LeaderInfo>,
}

/// The log's word about synced appends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogDone {
    /// All appends up to this one are synced.
    pub through: AppendId,
    /// There is no room for entries, only for what frees space.
    pub disk_full: bool,
    /// Groups whose records, of any of these appends, are not synced: the disk has no room for them.
    pub held: Vec<GroupId>,
    /// Groups that have entries in a segment that was sealed: their derived state is due.
    pub sealed: Vec<GroupId>,
}

/// An answer to a driver's question. Each ticket is answered exactly once.
#[derive(Debug)]
pub enum Answer {
    /// To a produce.
    Produced(Ticket, Result<Produced, Rejection>),
    /// To a log start advance: the new log start.
    LogStart(Ticket, Result<i64, Rejection>),
    /// Whether this broker leads a partition, by a majority's word.
    Confirmed(Ticket, Result<(), Rejection>),
    /// To a request to a coordinator.
    Group(Ticket, Result<GroupReply, Rejection>),
    /// To a metadata command: what it changed here, or why the state rejected it.
    Applied(Ticket, Result<Result<Vec<Change>, Rejected>, Rejection>),
}

/// Something that a driver has to do besides appending, sending and answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read entries from the log; answer with [`super::Shard::entries_read`].
    ReadEntries {
        /// Of this group.
        group: GroupId,
        /// Its replica here.
        replica: ReplicaId,
        /// For this follower.
        to: ReplicaId,
        /// Echoed.
        session: u64,
        /// First index.
        from: Index,
        /// Last index at most.
        until: Index,
        /// At most so many payload bytes, but at least one entry.
        max_bytes: u64,
    },
    /// Find the entry that contains this offset; answer with [`super::Shard::trim_at`].
    LocateTrim {
        /// Of this group.
        group: GroupId,
        /// Its replica here.
        replica: ReplicaId,
        /// The new log start.
        offset: i64,
    },
    /// Find what retention may delete; answer with [`super::Shard::advance_log_start`] when something.
    CheckRetention {
        /// Of this group.
        group: GroupId,
        /// Its replica here.
        replica: ReplicaId,
        /// Delete batches whose records are all older, in ms; None for no limit.
        retention_ms: Option<u64>,
        /// Delete the oldest while the partition is larger, in bytes; None for no limit.
        retention_bytes: Option<u64>,
        /// Only below this offset.
        high_watermark: i64,
        /// First offset that is not deleted.
        log_start: i64,
        /// First offset that is in this replica's log.
        local_start: i64,
        /// Where what lies between them is.
        stored: Option<Stored>,
    },
    /// Find what this replica's log need not keep because the store holds it; answer with [`super::Shard::local_cut`]
    /// when something.
    CheckLocalRetention {
        /// Of this group.
        group: GroupId,
        /// Its replica here.
        replica: ReplicaId,
        /// Keep batches with a record of at most this age, in ms; None for no limit.
        ms: Option<u64>,
        /// Keep so many of the newest bytes; None for no limit.
        bytes: Option<u64>,
        /// What the store holds: only that may go, and only where this broker can read it.
        stored: Stored,
    },
    /// Remove from the store what this snapshot, the newest one, and those kept before it do not reach; answer with
    /// [`super::Shard::snapshots_collected`], always.
    CollectSnapshots {
        /// Of this group, led here.
        group: GroupId,
        /// The newest one.
        stored: Stored,
    },
    /// Bring this broker's own copies up to a committed snapshot; answer with [`super::Shard::copied`], always.
    HoldSnapshot(Box<Holding>),
    /// Ask replicas that are to become voters whether they hold everything: as of this index, each by itself. Answer with
    /// [`super::Shard::newcomers_are_whole`] when all of them do.
    AskWhole {
        /// Of this group, led here.
        group: GroupId,
        /// In this term.
        term: raft::types::Term,
        /// What they have applied at least.
        index: Index,
        /// Which.
        newcomers: Vec<raft::types::Member>,
    },
    /// Put a partition into the store; answer with [`super::Shard::snapshot_taken`], always.
    TakeSnapshot(Box<Wanted>),
    /// Put what partitions have changed into the store as one object; answer with [`super::Shard::tail_written`], always.
    WriteTail(Box<TailWanted>),
    /// Read the snapshot that a replica here begins with; answer with [`super::Shard::origin_read`] when it is read, and
    /// try until then while [`super::Shard::waits_for_origin`].
    ReadOrigin {
        /// Of this group.
        group: GroupId,
        /// Its replica here.
        replica: ReplicaId,
        /// Which.
        origin: Stored,
    },
    /// Give out no producer id of the block that this broker has.
    ForgetProducerIds,
    /// The brokers that are registered changed: connect to these.
    Peers(Vec<(NodeId, String)>),
    /// Tell the controller that this broker dropped the data of these replicas.
    ConfirmRemovals(Vec<ReplicaId>),
    /// Tell the controller that a reassignment reached its target.
    ReportReassignment(GroupId),
    /// Give up the connection to a peer that is not heard: it is made anew, and both sides know.
    Disconnect(NodeId),
    /// Stop this broker: going on could lose or invent data.
    Halt(Halt),
}

/// Why a broker must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// A log contradicts itself or the protocol.
    #[error("group {group}: {what}")]
    Group {
        /// Where.
        group: GroupId,
        /// What was seen.
        what: String,
    },
}

/// Everything that a flush hands out.
#[derive(Debug, Default)]
pub struct Output {
    /// One frame for each of these peers. To be sent before the append is written.
    pub frames: Vec<(NodeId, PeerBatch)>,
    /// To be appended and synced; answered by [`super::Shard::log_done`].
    pub append: Option<(AppendId, Vec<Record>)>,
    /// Some of it may be committed before it is synced here, by a majority of others: their answers are awaited meanwhile.
    pub others_commit: bool,
    /// For those who wait.
    pub answers: Vec<Answer>,
    /// For the driver.
    pub orders: Vec<Order>,
    /// Partitions whose high watermark, log start or leadership moved.
    pub progress: BTreeSet<GroupId>,
}
