//! One replica of one group: its Raft member, its state machine, and who waits for it.

use std::collections::VecDeque;
use std::rc::Rc;

use raft::effect::Role;
use raft::types::{Entry, GroupId, Index, Member, NodeId, PersistSeq, Tick};

use super::confirm::Then;
use super::copies::OwnCopies;
use super::measures::GroupMeasures;
use super::metadata::MetadataState;
use super::output::Ticket;
use super::pipeline::AppendId;
use crate::broker::{Acks, Produced};
use crate::coordinator::core::Coordinator;
use crate::coordinator::effect::Token;
use crate::partition::state::{BadEntry, PartitionState};
use crate::topic_config::{Durability, TopicConfig};

/// The state machine that a group replicates.
pub(super) enum Machine {
    Metadata(Box<MetadataState>),
    Partition(Box<PartitionState>),
}

/// What somebody waits for at an index.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Produce(Produced),
    LogStart,
    Command,
    Coordinator(Token),
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) index: Index,
    pub(super) ticket: Ticket,
    pub(super) deadline: Tick,
    pub(super) wanted: Wanted,
}

/// What happened to a replica since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Elections won.
    pub elections_won: u64,
    /// Campaigns that ended without winning.
    pub elections_lost: u64,
    /// Elections that ended undecided.
    pub elections_timed_out: u64,
    /// Votes in the last election here, its own included.
    pub votes_received: u64,
    /// When the last election here ended.
    pub last_election: Option<Tick>,
    /// As leader: learners added.
    pub learners_added: u64,
    /// As leader: members that became voters.
    pub promotions: u64,
    /// As leader: members removed whose node has no other replica of the group.
    pub removals: u64,
    /// As leader: members removed whose node has another one.
    pub replacements: u64,
    /// Changes of role.
    pub role_changes: u64,
    /// Advances of the commit index.
    pub commits: u64,
    /// Entries committed.
    pub entries_committed: u64,
    /// Prefixes dropped.
    pub trims: u64,
    /// Bytes of batches taken as leader.
    pub bytes_in: u64,
    /// Records in them.
    pub records_in: u64,
}

pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) me: Member,
    pub(super) node: raft::Node,
    pub(super) machine: Machine,
    pub(super) config: Rc<TopicConfig>,
    /// Waiting for the commit; by index.
    pub(super) for_commit: VecDeque<Waiting>,
    /// Waiting for a majority to have received it (`durability = relaxed`); by index.
    pub(super) for_receipt: VecDeque<Waiting>,
    /// Waiting for the own sync; by index.
    pub(super) for_sync: VecDeque<Waiting>,
    /// Acknowledged up to here before the commit.
    pub(super) acked_early: Index,
    /// As leader of a partition of the internal topic: its groups.
    pub(super) coordinator: Option<Box<Coordinator>>,
    /// What waits for a majority to confirm this leader, by the number of the question.
    pub(super) unconfirmed: Vec<(u64, Then)>,
    /// Persists that are not synced, and the append that each is part of.
    pub(super) persists: VecDeque<(PersistSeq, AppendId)>,
    /// As leader: nodes of the voters in sync.
    pub(super) in_sync: Vec<NodeId>,
    /// The last index as of a time at least `replica_lag_max_ms` ago, and the next such pair.
    pub(super) lag_marks: [(Tick, Index); 2],
    /// The applied index of the last derived state that went into the log.
    pub(super) derived: Index,
    /// The machine's state as of the log's base.
    pub(super) base_state: bytes::Bytes,
    /// A trim to this offset is being located.
    pub(super) trimming: Option<i64>,
    /// Below this offset this replica's log may go: the store holds it.
    pub(super) local_cut: i64,
    /// What this broker's own copies hold, where each replica has its own.
    pub(super) copies: OwnCopies,
    /// The shard knows that the store lacks something.
    pub(super) is_noted: bool,
    /// Since when it has lacked something, as far as this process knows.
    pub(super) unstored_since: Option<Tick>,
    /// When the last snapshot was begun here.
    pub(super) planned_at: Tick,
    /// When the store is to be cleaned up after this partition.
    pub(super) collect_due: Tick,
    /// Bytes of batches that it lacks, as far as this process knows.
    pub(super) unstored_bytes: u64,
    /// As leader: the last index in a tail, and in a large one.
    pub(super) tailed: [Index; 2],
    pub(super) retention_due: Tick,
    /// The high watermark as of a time: a producer with nothing at or above it has been silent since.
    pub(super) silence_mark: Option<(Tick, i64)>,
    /// The last entry that the machine has seen.
    pub(super) shown: Index,
    pub(super) counts: Counts,
    pub(super) measures: GroupMeasures,
    /// The role before the last change.
    pub(super) was: Role,
}

impl Group {
    pub(super) fn is_leader(&self) -> bool {
        self.node.role() == Role::Leader
    }

    /// What holds from now on.
    pub(super) fn configure(&mut self, config: Rc<TopicConfig>) {
        let is_relaxed = config.durability == Durability::Relaxed;
        if is_relaxed && self.config.durability != Durability::Relaxed {
            tracing::warn!(
                target: "broker",
                group = self.id.0,
                "durability = relaxed: records are acknowledged before they are synced"
            );
        }
        self.node.announce_received(is_relaxed);
        self.config = config;
    }

    /// Takes all who wait for an entry from this index on, whatever for.
    pub(super) fn take_waiting_from(&mut self, from: Index) -> Vec<Waiting> {
        let queues = [
            &mut self.for_commit,
            &mut self.for_receipt,
            &mut self.for_sync,
        ];
        let from = |queue: &mut VecDeque<Waiting>| {
            let at = queue.partition_point(|w| w.index < from);
            queue.split_off(at)
        };
        queues.into_iter().flat_map(from).collect()
    }

    /// Bytes that were acknowledged to producers and are not committed, hence perhaps not synced.
    pub(super) fn acked_unsynced_bytes(&self) -> u64 {
        let commit = self.node.commit();
        if self.acked_early <= commit {
            return 0;
        }
        let entries = self.node.tail(commit.next());
        let acked = entries.take_while(|e| e.index <= self.acked_early);
        acked.map(|e| e.payload.len() as u64).sum()
    }

    /// When a produce is answered: once what it waits for has reached its entry.
    pub(super) fn queue_for(&mut self, acks: Acks) -> &mut VecDeque<Waiting> {
        match (acks, self.config.durability) {
            (Acks::All, Durability::Fsync) => &mut self.for_commit,
            (Acks::All, Durability::Relaxed) => &mut self.for_receipt,
            (Acks::Leader | Acks::None, _) => &mut self.for_sync,
        }
    }

    pub(super) fn partition(&self) -> Option<&PartitionState> {
        match &self.machine {
            Machine::Partition(state) => Some(state),
            Machine::Metadata(_) => None,
        }
    }

    /// First offset of a partition's log here. What lies between the log start and this is in the store.
    pub(super) fn local_start(&self) -> i64 {
        PartitionState::log_end_of(&self.base_state)
    }

    /// First offset that the log here has to hold.
    pub(super) fn first_needed(&self) -> i64 {
        let log_start = self.partition().map_or(0, PartitionState::log_start);
        log_start.max(self.local_cut)
    }

    pub(super) fn partition_mut(&mut self) -> Option<&mut PartitionState> {
        match &mut self.machine {
            Machine::Partition(state) => Some(state),
            Machine::Metadata(_) => None,
        }
    }

    /// An entry is in the log. One that the machine has seen already changes nothing: proposals are shown to it at
    /// once, so that the next one of the same tick continues them, and come again as an effect of the flush.
    pub(super) fn appended(&mut self, entry: &Entry) -> Result<(), BadEntry> {
        if entry.index <= self.shown {
            return Ok(());
        }
        self.shown = entry.index;
        match &mut self.machine {
            Machine::Metadata(state) => {
                state.appended(entry);
                Ok(())
            }
            Machine::Partition(state) => state.appended(entry),
        }
    }

    pub(super) fn truncated(&mut self, from: Index) {
        self.shown = self.shown.min(from.prev());
        match &mut self.machine {
            Machine::Metadata(state) => state.truncated(from),
            Machine::Partition(state) => state.truncated(from),
        }
    }

    pub(super) fn applied(&self) -> Index {
        match &self.machine {
            Machine::Metadata(state) => state.applied(),
            Machine::Partition(state) => state.applied(),
        }
    }

    /// The committed state as bytes, as of the applied index.
    pub(super) fn derived_state(&self) -> bytes::Bytes {
        match &self.machine {
            Machine::Metadata(state) => state.encode(),
            Machine::Partition(state) => state.encode(state.high_watermark()),
        }
    }

    /// Drops an entry's payload from memory. False while it is still needed there.
    pub(super) fn evict(&mut self, index: Index) -> bool {
        let settled = self.applied().min(self.node.durable_index());
        if index <= self.node.last_index() && index > settled {
            return false;
        }
        self.node.evict(index.min(settled));
        let from = self.node.first_in_memory();
        if let Some(state) = self.partition_mut() {
            state.evicted(from);
        }
        true
    }

    /// The append that a persist is part of; None when it is synced.
    pub(super) fn append_of(&self, seq: PersistSeq) -> Option<AppendId> {
        self.persists
            .iter()
            .find(|(of, _)| *of >= seq)
            .map(|&(_, append)| append)
    }

    /// A persist is synced.
    pub(super) fn persisted(&mut self, seq: PersistSeq) {
        while self.persists.front().is_some_and(|(of, _)| *of <= seq) {
            self.persists.pop_front();
        }
    }
}
