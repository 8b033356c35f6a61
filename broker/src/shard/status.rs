//! What a shard says about itself to operators and metrics.

use raft::effect::Role;
use raft::types::{GroupId, Index, Member, NodeId, ReplicaId, Term};

use super::Shard;
use super::group::Counts;
use crate::partition::state::PartitionState;
use crate::partition::stored::Stored;

/// One group here.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Which.
    pub group: GroupId,
    /// Its replica here.
    pub replica: ReplicaId,
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads, where known.
    pub leader: Option<NodeId>,
    /// Committed up to here.
    pub commit: Index,
    /// Applied up to here.
    pub applied: Index,
    /// Last entry.
    pub last_index: Index,
    /// Last index below the log.
    pub base_index: Index,
    /// Partition offsets: log start, high watermark, log end; zero for the metadata group.
    pub offsets: (i64, i64, i64),
    /// First offset of the log here.
    pub local_start: i64,
    /// The newest snapshot.
    pub stored: Option<Stored>,
    /// The last index that a snapshot has to hold.
    pub changed: Index,
    /// As leader: since when the store has lacked something, in ms; 0 when it lacks nothing.
    pub unstored_ms: u64,
    /// As leader: nodes of the voters in sync.
    pub in_sync: Vec<NodeId>,
    /// The members, and as leader how far each is.
    pub members: Vec<MemberStatus>,
    /// Whether nothing is sent for it.
    pub quiesced: bool,
    /// Whether two voter sets count.
    pub joint: bool,
    /// Acknowledged before the commit, and not committed yet (relaxed topics only).
    pub acked_unsynced_bytes: u64,
    /// Whether a part of its log is damaged here.
    pub damaged: bool,
    /// Whether neither its log nor this broker's own copies hold a part of the partition, where each replica has its own.
    pub lacks_copies: bool,
    /// Whether what its log holds is not what was committed as a snapshot.
    pub differs: bool,
    /// What happened to the replica since it was opened.
    pub counts: Counts,
}

/// A member as the local replica sees it.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Who.
    pub replica: ReplicaId,
    /// Where.
    pub node: NodeId,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it votes in the outgoing half of a joint membership.
    pub outgoing: bool,
    /// As leader: the index up to which its log is known to be the leader's.
    pub matched: Option<Index>,
    /// As leader: for how long it has lacked something, in ms; 0 when it lacks nothing.
    pub lag_ms: u64,
}

impl Shard {
    /// Every group here.
    pub fn status(&self) -> impl Iterator<Item = GroupStatus> + '_ {
        self.groups.values().map(|g| {
            let membership = g.node.membership();
            let within = |set: &[Member], r: ReplicaId| set.iter().any(|v| v.replica == r);
            let members = membership.all_members().into_iter().map(|m| MemberStatus {
                replica: m.replica,
                node: m.node,
                voter: within(&membership.voters, m.replica),
                outgoing: within(&membership.outgoing, m.replica),
                matched: g.is_leader().then(|| g.node.matched(m.replica)).flatten(),
                lag_ms: g.measures.lag_ms(self.io.now, m.replica).unwrap_or(0),
            });
            let offsets = g
                .partition()
                .map(|s| (s.log_start(), s.high_watermark(), s.log_end()));
            GroupStatus {
                group: g.id,
                replica: g.me.replica,
                role: g.node.role(),
                term: g.node.term(),
                leader: self.io.leaders.get(g.id).map(|l| l.node),
                commit: g.node.commit(),
                applied: g.applied(),
                last_index: g.node.last_index(),
                base_index: g.node.base().index,
                offsets: offsets.unwrap_or_default(),
                local_start: g.local_start(),
                stored: g.partition().and_then(PartitionState::stored),
                changed: g.partition().map_or(Index(0), PartitionState::changed),
                unstored_ms: g
                    .unstored_since
                    .filter(|_| g.is_leader())
                    // NB: 0 is for who lacks nothing.
                    .map_or(0, |since| self.io.now.0.saturating_sub(since.0).max(1)),
                in_sync: g.in_sync.clone(),
                members: members.collect(),
                quiesced: g.node.quiesced(),
                joint: membership.is_joint(),
                acked_unsynced_bytes: g.acked_unsynced_bytes(),
                damaged: self.is_unreadable(g.id),
                lacks_copies: self.config.has_own_copies() && !g.is_whole(),
                differs: g.copies.differs.is_some(),
                counts: g.counts,
            }
        })
    }

    /// Payload bytes of entries in memory.
    #[must_use]
    pub fn tail_bytes(&self) -> u64 {
        self.io.memory.bytes()
    }

    /// Nodes that are heard.
    #[must_use]
    pub fn peers_up(&self) -> Vec<NodeId> {
        self.io.liveness.nodes()
    }
}
