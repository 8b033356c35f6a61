//! Everything that one scrape shows, as plain data.

use super::histogram::{BATCH_COUNTS, ELECTION_SECONDS, LATENCY_SECONDS, Reading, SIZE_BYTES};
use super::requests::ApiReading;
use crate::coordinator::reply::GroupStateName;
use crate::lag::Lag;
use crate::server::Figures;

/// A node's figures at one moment.
#[derive(Clone, Debug, Default)]
pub struct NodeMetrics {
    /// The broker's id.
    pub node_id: i32,
    /// The log.
    pub wal: WalMetrics,
    /// Raft over all groups.
    pub raft: RaftMetrics,
    /// One row a group that this node holds a replica of.
    pub groups: Vec<GroupMetrics>,
    /// The snapshot store, where there is one.
    pub snapshots: Option<SnapshotMetrics>,
    /// The cluster as this node sees it.
    pub cluster: ClusterMetrics,
    /// The groups of consumers that this node coordinates. Filled by the scrape.
    pub consumers: ConsumerMetrics,
    /// The client listener. Filled by the scrape.
    pub server: Figures,
    /// Size of the request memory pool, in bytes. Filled by the scrape.
    pub request_memory_capacity_bytes: u64,
    /// Requests by API. Filled by the scrape.
    pub requests: Vec<ApiReading>,
}

/// Figures of the broker's one log.
#[derive(Clone, Debug)]
pub struct WalMetrics {
    /// fdatasync calls on the log.
    pub fsyncs: u64,
    /// Commit rounds: one write and one sync for all groups.
    pub rounds: u64,
    /// Seconds per fdatasync ([`LATENCY_SECONDS`]).
    pub fsync_seconds: Reading,
    /// Entries per round ([`BATCH_COUNTS`]).
    pub round_entries: Reading,
    /// Bytes per round ([`SIZE_BYTES`]).
    pub round_bytes: Reading,
    /// Bytes written to the log, padding and headers included.
    pub bytes_written: u64,
    /// Segments that are written to.
    pub segments_open: u64,
    /// Segments that are full.
    pub segments_sealed: u64,
    /// Segments that wait for their use.
    pub segments_spare: u64,
    /// Those among them that were written from end to end before.
    pub segments_zeroed: u64,
    /// Size of each.
    pub segment_bytes: u64,
    /// What all of them may take.
    pub limit_bytes: u64,
    /// Bytes of sealed and open segments that some group still needs.
    pub live_bytes: u64,
    /// Bytes that no group needs.
    pub dead_bytes: u64,
    /// Live bytes that lie in short runs.
    pub unsorted_bytes: u64,
    /// Bytes that the cleaner rewrote because runs were short.
    pub cleaner_scattered_bytes: u64,
    /// Bytes that the cleaner rewrote because little around them was live.
    pub cleaner_dead_bytes: u64,
    /// Bytes that the cleaner rewrote to take what was damaged apart.
    pub cleaner_damaged_bytes: u64,
    /// Time that the cleaner worked, in seconds.
    pub cleaner_seconds: f64,
    /// How long the last start took to recover, in seconds.
    pub recovery_seconds: f64,
    /// A write or sync has failed: nothing is acknowledged any more.
    pub poisoned: bool,
    /// Acknowledged bytes that are not synced (0 under the default durability).
    pub acked_not_fsynced_bytes: u64,
    /// Free bytes of the log's file system.
    pub disk_free_bytes: u64,
    /// Reads of the log that met damage.
    pub corruptions_detected: u64,
    /// Live entries of the log that were found damaged.
    pub damaged_found: u64,
    /// Of these, entries that were written again from another replica's copy.
    pub repairs: u64,
    /// Entries that are damaged now.
    pub damaged_entries: u64,
    /// Segments with damage that are not given up yet.
    pub damaged_segments: u64,
}

impl Default for WalMetrics {
    fn default() -> Self {
        Self {
            fsyncs: 0,
            rounds: 0,
            fsync_seconds: Reading::empty(LATENCY_SECONDS),
            round_entries: Reading::empty(BATCH_COUNTS),
            round_bytes: Reading::empty(SIZE_BYTES),
            bytes_written: 0,
            segments_open: 0,
            segments_sealed: 0,
            segments_spare: 0,
            segments_zeroed: 0,
            segment_bytes: 0,
            limit_bytes: 0,
            live_bytes: 0,
            dead_bytes: 0,
            unsorted_bytes: 0,
            cleaner_scattered_bytes: 0,
            cleaner_dead_bytes: 0,
            cleaner_damaged_bytes: 0,
            cleaner_seconds: 0.0,
            recovery_seconds: 0.0,
            poisoned: false,
            acked_not_fsynced_bytes: 0,
            disk_free_bytes: 0,
            corruptions_detected: 0,
            damaged_found: 0,
            repairs: 0,
            damaged_entries: 0,
            damaged_segments: 0,
        }
    }
}

/// What is counted over all groups of one kind: the metadata group, or the partitions.
#[derive(Clone, Debug)]
pub struct KindMetrics {
    /// Seconds from an election's start to its end ([`ELECTION_SECONDS`]).
    pub election_seconds: Reading,
    /// Seconds from propose to commit ([`LATENCY_SECONDS`]).
    pub commit_seconds: Reading,
    /// Entries per advance of the commit index ([`BATCH_COUNTS`]).
    pub commit_entries: Reading,
    /// Seconds from propose to applied ([`LATENCY_SECONDS`]).
    pub command_seconds: Reading,
    /// Seconds that a group could not accept writes, per failover ([`ELECTION_SECONDS`]).
    pub unavailable_seconds: Reading,
    /// Bytes of entries per append message ([`SIZE_BYTES`]).
    pub append_bytes: Reading,
}

impl Default for KindMetrics {
    fn default() -> Self {
        Self {
            election_seconds: Reading::empty(ELECTION_SECONDS),
            commit_seconds: Reading::empty(LATENCY_SECONDS),
            commit_entries: Reading::empty(BATCH_COUNTS),
            command_seconds: Reading::empty(LATENCY_SECONDS),
            unavailable_seconds: Reading::empty(ELECTION_SECONDS),
            append_bytes: Reading::empty(SIZE_BYTES),
        }
    }
}

/// Raft's figures of this node.
#[derive(Clone, Debug, Default)]
pub struct RaftMetrics {
    /// Whether elections, commits, membership changes and messages are counted. If not, they are not shown.
    pub events_measured: bool,
    /// The metadata group.
    pub metadata: KindMetrics,
    /// All partitions together.
    pub partition: KindMetrics,
    /// Votes and pre-votes asked for.
    pub votes_requested: u64,
    /// Heartbeats sent, those that ride on appends not counted.
    pub heartbeats: u64,
    /// Changes of role.
    pub state_changes: u64,
    /// Nodes that joined.
    pub node_additions: u64,
    /// Appends refused for their old term.
    pub rejected_stale_term: u64,
    /// Appends refused because the log before them differs.
    pub rejected_inconsistency: u64,
    /// Appends refused because the disk does not take them.
    pub rejected_storage: u64,
    /// One row per kind of message and other node.
    pub rpcs: Vec<RpcMetrics>,
}

/// Messages of one kind to one node.
#[derive(Clone, Debug, Default)]
pub struct RpcMetrics {
    /// append, vote, prevote, heartbeat, snapshot; connect, of which only refused attempts are counted. Reads are
    /// confirmed by heartbeats.
    pub rpc: &'static str,
    /// The other node.
    pub node: i32,
    /// Sent.
    pub sent: u64,
    /// Received from it.
    pub received: u64,
    /// Answered as wished.
    pub ok: u64,
    /// Answered with a refusal.
    pub refused: u64,
    /// Seconds from sending to the answer.
    pub seconds: Reading,
    /// Unanswered in time.
    pub timeouts: u64,
    /// Not sent: the node refuses connections.
    pub connection_refused: u64,
    /// Lost with a connection.
    pub network: u64,
    /// Lost otherwise.
    pub other: u64,
}

impl RpcMetrics {
    /// Nothing of this kind has happened with this node.
    #[must_use]
    pub fn none(rpc: &'static str, node: i32) -> Self {
        Self {
            rpc,
            node,
            seconds: Reading::empty(LATENCY_SECONDS),
            ..Self::default()
        }
    }
}

/// The role of a replica, with Prometheus' number for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// Not known yet.
    #[default]
    Unknown = 0,
    /// Leads.
    Leader = 1,
    /// Asks for votes.
    Candidate = 2,
    /// Follows.
    Follower = 3,
    /// Follows without a vote.
    Learner = 4,
    /// Asks whether it would get votes.
    PreCandidate = 5,
}

/// One group's figures at this node's replica.
#[derive(Clone, Debug, Default)]
pub struct GroupMetrics {
    /// The topic; `__cluster_metadata` for the metadata group.
    pub topic: String,
    /// The partition; 0 for the metadata group.
    pub partition: i32,
    /// This replica's role.
    pub state: NodeState,
    /// Its term.
    pub term: u64,
    /// Voters in sync with the leader, as far as known here.
    pub in_sync: u64,
    /// Raft's commit index.
    pub commit_index: u64,
    /// Raft's applied index.
    pub last_applied: u64,
    /// Entries from the base to the last.
    pub log_entries: u64,
    /// Bytes that the log holds of this group.
    pub log_bytes: u64,
    /// First Kafka offset still there.
    pub log_start_offset: i64,
    /// First Kafka offset in the log here; what is older is in the store.
    pub local_start_offset: i64,
    /// First Kafka offset that the newest snapshot does not hold.
    pub snapshot_next_offset: i64,
    /// The last index of the newest snapshot.
    pub snapshot_index: u64,
    /// As leader: for how long the store has lacked something, in seconds.
    pub snapshot_lag_seconds: f64,
    /// First Kafka offset not committed.
    pub high_watermark: i64,
    /// First Kafka offset not appended.
    pub log_end_offset: i64,
    /// Voters and learners.
    pub cluster_size: u64,
    /// Voters that are needed to commit.
    pub quorum_size: u64,
    /// The leader's view of the others; empty elsewhere.
    pub followers: Vec<FollowerMetrics>,
    /// Elections that this replica won.
    pub elections_won: u64,
    /// Elections that this replica lost.
    pub elections_lost: u64,
    /// Elections of this replica that ended undecided.
    pub elections_timed_out: u64,
    /// When the last election ended, in seconds since 1970; 0 for never.
    pub last_election_seconds: f64,
    /// Votes that this replica got in its last election.
    pub votes_received: u64,
    /// Entries committed.
    pub commits: u64,
    /// Advances of the commit index.
    pub batch_commits: u64,
    /// Prefixes dropped.
    pub compactions: u64,
    /// Learners added.
    pub learners_added: u64,
    /// Learners made voters.
    pub promotions: u64,
    /// Replicas removed.
    pub removals: u64,
    /// Replicas replaced.
    pub replacements: u64,
    /// Bytes produced here.
    pub bytes_in: u64,
    /// Records produced here.
    pub records_in: u64,
    /// Bytes fetched here.
    pub bytes_out: u64,
}

/// What a leader knows of one follower.
#[derive(Clone, Debug, Default)]
pub struct FollowerMetrics {
    /// Its node.
    pub node: i32,
    /// Entries that it lacks.
    pub lag_entries: u64,
    /// How long it has lacked any, in seconds.
    pub lag_seconds: f64,
    /// When it was last heard, in seconds since 1970.
    pub last_heartbeat_seconds: f64,
}

/// What this node does with the snapshot store.
#[derive(Clone, Debug)]
pub struct SnapshotMetrics {
    /// The store is this cluster's.
    pub claimed: bool,
    /// Objects of the store that this broker has made anew.
    pub healed: u64,
    /// Objects that are damaged or missing, and that nobody has a copy of, as far as this broker knows.
    pub damaged: u64,
    /// Snapshots taken, by what caused them.
    pub taken: Vec<(&'static str, u64)>,
    /// Snapshots that did not get there.
    pub failed: u64,
    /// Cuts of the cluster that this broker made, as controller.
    pub cuts: u64,
    /// Those that it gave up.
    pub cuts_failed: u64,
    /// For how long the last one held everything, in ms.
    pub cut_hold_ms: u64,
    /// Tails that are in the store.
    pub tails: u64,
    /// Their bytes.
    pub tail_bytes: u64,
    /// Objects that were removed because nothing refers to them.
    pub collected: u64,
    /// Their bytes.
    pub collected_bytes: u64,
    /// Seconds of each.
    pub seconds: Reading,
    /// Bytes of records that were put into chunks.
    pub raw_bytes: u64,
    /// Bytes of these chunks in the store.
    pub stored_bytes: u64,
    /// Reads.
    pub reads: snapshot::archive::Figures,
    /// Where each broker has its own copies: about these.
    pub own: Option<OwnCopiesMetrics>,
}

/// What this node's own copies are.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnCopiesMetrics {
    /// What the folder takes.
    pub bytes: u64,
    /// Replicas whose log and copies together lack something.
    pub lacking: u64,
    /// Replicas whose log is not what was committed as a snapshot.
    pub differing: u64,
    /// How often that was found.
    pub differences: u64,
    /// Times that copies could not be brought up to a snapshot.
    pub failures: u64,
    /// Chunks that were here, and were damaged or gone.
    pub damaged: u64,
    /// Chunks that came from other replicas.
    pub fetched: u64,
    /// Their bytes.
    pub fetched_bytes: u64,
}

/// Groups of consumers that this node coordinates.
#[derive(Clone, Debug, Default)]
pub struct ConsumerMetrics {
    /// One row a group.
    pub groups: Vec<ConsumerGroupMetrics>,
    /// One row a group and partition that it has committed.
    pub lags: Vec<(String, Lag)>,
    /// Groups without a row, because there are too many.
    pub groups_left_out: u64,
    /// Committed offsets without a row, because there are too many.
    pub lags_left_out: u64,
}

/// One group of consumers.
#[derive(Clone, Debug)]
pub struct ConsumerGroupMetrics {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: GroupStateName,
    /// Members that it has.
    pub members: u64,
    /// Rebalances that began under this coordinator.
    pub rebalances: u64,
}

/// The cluster as this node sees it.
#[derive(Clone, Debug, Default)]
pub struct ClusterMetrics {
    /// Whether this node leads the metadata group.
    pub active_controller: bool,
    /// Partitions without a leader.
    pub offline_partitions: u64,
    /// Partitions with a voter out of sync.
    pub under_replicated_partitions: u64,
    /// Partitions led by another than their preferred leader.
    pub preferred_leader_imbalance: u64,
    /// Nothing is deleted by its age, because this node's clock was set far off.
    pub retention_suspended: bool,
}
