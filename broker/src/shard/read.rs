//! Reading at the leader, from memory where possible.

use std::rc::Rc;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::{DirectoryId, EntryKind, GroupId, Index, Member, NodeId, ReplicaId};

use super::Shard;
use super::group::Group;
use crate::broker::{EpochEnd, FetchAt, Fetched, LeaderView, Offsets, Rejection};
use crate::coordinator::state::Groups;
use crate::partition::producers::LastBatch;
use crate::partition::state::PartitionState;
use crate::partition::stored::Stored;
use crate::topic_config::TopicConfig;

/// How a fetch can be served.
#[derive(Debug)]
pub enum Plan {
    /// From memory, or nothing is there yet.
    Ready(Fetched),
    /// From the log of this replica.
    Disk {
        /// Which.
        replica: ReplicaId,
        /// The offsets now.
        offsets: Offsets,
        /// The last committed index: read no further.
        until: Index,
    },
    /// From the store: this replica's log begins later.
    Store {
        /// The newest snapshot; None where there should be one.
        stored: Option<Stored>,
        /// The offsets now.
        offsets: Offsets,
    },
}

impl Shard {
    /// Plans a consumer's read.
    pub fn plan_read(&self, at: &FetchAt) -> Result<Plan, Rejection> {
        let group = self.leading(at.group, at.current_leader_epoch)?;
        let state = group
            .partition()
            .ok_or_else(|| self.io.not_here(at.group))?;
        let offsets = offsets_of(group).ok_or_else(|| self.io.not_here(at.group))?;
        if at.offset < offsets.log_start || at.offset > offsets.log_end {
            let mut why = self.io.rejection(group, ErrorCode::OffsetOutOfRange);
            why.message = format!(
                "offset {} is outside {}..{}",
                at.offset, offsets.log_start, offsets.log_end
            );
            return Err(why);
        }
        if at.offset >= offsets.high_watermark {
            return Ok(Plan::Ready(Fetched {
                offsets,
                batches: Vec::new(),
            }));
        }
        let Some(from) = state.index_in_memory(at.offset) else {
            if at.offset < group.local_start() {
                let stored = group.readable(self.config.has_own_copies());
                return Ok(Plan::Store { stored, offsets });
            }
            let (replica, until) = (group.me.replica, state.applied());
            return Ok(Plan::Disk {
                replica,
                offsets,
                until,
            });
        };
        let batches = tail_batches(group, from, state.applied(), at.max_bytes);
        Ok(Plan::Ready(Fetched { offsets, batches }))
    }

    /// The offsets of a partition led here.
    pub fn offsets(&self, id: GroupId) -> Result<Offsets, Rejection> {
        let group = self.leading(id, -1)?;
        offsets_of(group).ok_or_else(|| self.io.not_here(id))
    }

    /// First offset of the log here of a partition led here, and where what is older lies.
    pub fn store_of(&self, id: GroupId) -> Result<(i64, Option<Stored>), Rejection> {
        let group = self.leading(id, -1)?;
        group.partition().ok_or_else(|| self.io.not_here(id))?;
        let stored = group.readable(self.config.has_own_copies());
        Ok((group.local_start(), stored))
    }

    /// (timestamp, base offset) of the batch with the highest timestamp, at the leader.
    pub fn max_timestamp(&self, id: GroupId) -> Result<Option<(i64, i64)>, Rejection> {
        let group = self.leading(id, -1)?;
        Ok(group.partition().and_then(|state| state.max_timestamp()))
    }

    /// The last committed batch of every idempotent producer, at the leader.
    pub fn last_batches(&self, id: GroupId) -> Result<Vec<LastBatch>, Rejection> {
        let group = self.leading(id, -1)?;
        let state = group.partition().ok_or_else(|| self.io.not_here(id))?;
        Ok(state.last_batches().collect())
    }

    /// Where an epoch ended.
    pub fn epoch_end(&self, id: GroupId, current: i32, epoch: i32) -> Result<EpochEnd, Rejection> {
        let group = self.leading(id, current)?;
        let state = group.partition().ok_or_else(|| self.io.not_here(id))?;
        let own = i32::try_from(group.node.term().0).expect("terms stay below 2^31");
        let ended = state
            .epochs()
            .end_offset(epoch, own, state.high_watermark());
        let (epoch, end_offset) = ended;
        Ok(EpochEnd { epoch, end_offset })
    }

    /// Who leads a group.
    #[must_use]
    pub fn leader(&self, id: GroupId) -> Option<LeaderView> {
        self.io.leaders.get(id)
    }

    /// Whether a node is heard; this one always is.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        node == self.config.node || self.io.liveness.is_up(node)
    }

    /// Whether so many of the metadata voters are heard that what this broker does not hear is gone, rather than this
    /// broker cut off.
    #[must_use]
    pub fn hears_majority(&self) -> bool {
        let metadata = self.groups.get(&GroupId::METADATA);
        metadata.is_some_and(|group| {
            let membership = group.node.membership();
            let heard = |member: &&Member| self.is_alive(member.node);
            membership.voters.iter().filter(heard).count() >= membership.quorum()
        })
    }

    /// Whether this very disk was heard under this node id within the last seconds; this one always is.
    #[must_use]
    pub fn heard_lately(&self, node: NodeId, directory: DirectoryId) -> bool {
        let own = node == self.config.node && directory == self.config.directory;
        own || self.io.liveness.heard_lately(node, directory)
    }

    /// The configs of a group here.
    #[must_use]
    pub fn topic_config(&self, id: GroupId) -> Option<Rc<TopicConfig>> {
        self.groups.get(&id).map(|group| group.config.clone())
    }

    /// What is applied here of the consumer groups of a partition.
    #[must_use]
    pub fn stored_groups(&self, id: GroupId) -> Option<&Groups> {
        self.groups
            .get(&id)?
            .partition()
            .map(PartitionState::groups)
    }

    /// The replica of a group here.
    #[must_use]
    pub fn replica(&self, id: GroupId) -> Option<ReplicaId> {
        self.groups.get(&id).map(|g| g.me.replica)
    }

    /// The entries of a group from an index on that are in memory, for the simulator's checks.
    #[must_use]
    pub fn entries_in_memory(
        &self,
        id: GroupId,
        from: Index,
        until: Index,
    ) -> Vec<raft::types::Entry> {
        let Some(group) = self.groups.get(&id) else {
            return Vec::new();
        };
        group
            .node
            .tail(from)
            .take_while(|e| e.index <= until)
            .cloned()
            .collect()
    }

    /// The replica of a partition here, and its last committed index.
    #[must_use]
    pub fn committed_of(&self, id: GroupId) -> Option<(ReplicaId, Index)> {
        let group = self.groups.get(&id)?;
        Some((group.me.replica, group.applied()))
    }

    /// Offsets that a local replica holds and does not know to be committed.
    #[must_use]
    pub fn local_lag(&self, id: GroupId) -> Option<i64> {
        let state = self.groups.get(&id)?.partition()?;
        Some(state.log_end() - state.high_watermark())
    }

    /// The refusal of what this broker has no replica of.
    #[must_use]
    pub fn unknown(&self, id: GroupId) -> Rejection {
        self.io.not_here(id)
    }

    pub(super) fn leading(&self, id: GroupId, current_epoch: i32) -> Result<&Group, Rejection> {
        let Some(group) = self.groups.get(&id) else {
            return Err(self.io.not_here(id));
        };
        let epoch = i64::try_from(group.node.term().0).unwrap_or(i64::MAX);
        let current = i64::from(current_epoch);
        if current >= 0 && current < epoch {
            return Err(self.io.rejection(group, ErrorCode::FencedLeaderEpoch));
        }
        if current > epoch {
            return Err(self.io.rejection(group, ErrorCode::UnknownLeaderEpoch));
        }
        if !group.is_leader() {
            return Err(self.io.rejection(group, ErrorCode::NotLeaderOrFollower));
        }
        // NB: until an entry of its own term is committed a leader does not know what its predecessors committed:
        // its high watermark may be behind what a consumer has seen.
        // While partitions are held such an entry may be committed and not applied.
        let is_applied = || group.node.term_at(group.applied()) == Some(group.node.term());
        if !group.node.is_leader_established() || self.io.hold.is_some() && !is_applied() {
            return Err(self.io.rejection(group, ErrorCode::OffsetNotAvailable));
        }
        Ok(group)
    }
}

fn offsets_of(group: &Group) -> Option<Offsets> {
    let state = group.partition()?;
    Some(Offsets {
        log_start: state.log_start(),
        high_watermark: state.high_watermark(),
        last_stable: state.high_watermark(),
        log_end: state.log_end(),
        term: group.node.term(),
    })
}

fn tail_batches(group: &Group, from: Index, until: Index, max_bytes: u64) -> Vec<Bytes> {
    let mut batches = Vec::new();
    let mut bytes = 0;
    for entry in group.node.tail(from) {
        if entry.index > until {
            break;
        }
        if entry.kind != EntryKind::Records {
            continue;
        }
        bytes += entry.payload.len() as u64;
        if bytes > max_bytes && !batches.is_empty() {
            break;
        }
        batches.push(entry.payload.clone());
    }
    batches
}
