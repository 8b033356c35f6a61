//! What `/status` shows.

use serde::{Deserialize, Serialize};

use crate::snapshots::StoreStatus;

/// A broker's state at one moment. The shape is part of the interface: fields are added, never changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The shape's version, 1.
    pub schema: u32,
    /// The program's version.
    pub version: String,
    /// The broker's id.
    pub node_id: i32,
    /// The cluster's id, as Kafka's tools write it.
    pub cluster_id: String,
    /// The data directory's identity.
    pub directory_id: String,
    /// None when ready, else why not.
    pub not_ready: Option<String>,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// The node that leads the metadata group, where known.
    pub controller: Option<i32>,
    /// The other nodes that are heard.
    pub peers: Vec<i32>,
    /// The address for Kafka clients.
    pub kafka: String,
    /// Where the data is.
    pub data_dir: String,
    /// The snapshot store, where one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_store: Option<StoreStatus>,
    /// Groups with a replica here, by group id.
    pub groups: Vec<GroupStatus>,
}

/// A group with a replica here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Raft's group.
    pub group: u64,
    /// The topic; empty for the metadata group.
    pub topic: String,
    /// The partition; -1 for the metadata group.
    pub partition: i32,
    /// This replica's id.
    pub replica: u64,
    /// leader, follower, candidate, pre_candidate or learner.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// The leader's node, where known.
    pub leader: Option<i32>,
    /// Raft's commit index.
    pub commit_index: u64,
    /// Raft's applied index.
    pub applied_index: u64,
    /// Index of the last entry.
    pub last_index: u64,
    /// First Kafka offset still there.
    pub log_start_offset: i64,
    /// First Kafka offset not committed.
    pub high_watermark: i64,
    /// First Kafka offset not appended.
    pub log_end_offset: i64,
    /// Bytes in the log.
    pub log_bytes: u64,
    /// First Kafka offset in the log here; what is older is in the snapshot store.
    pub local_start_offset: i64,
    /// The newest snapshot.
    pub snapshot: Option<SnapshotStatus>,
    /// The last index that a snapshot has to hold.
    #[serde(default)]
    pub changed_index: u64,
    /// As leader: for how long the store has lacked something, in ms.
    pub snapshot_lag_ms: u64,
    /// Whether a part of its log is damaged here, and not healed yet.
    #[serde(default)]
    pub damaged: bool,
    /// As leader: nodes of the voters in sync.
    pub in_sync: Vec<i32>,
    /// Nodes of all members.
    pub members: Vec<MemberStatus>,
}

/// A snapshot in the store. Its manifest's name is made of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotStatus {
    /// The life of the cluster in which it was taken.
    pub incarnation: u32,
    /// The epoch of the leader that took it.
    pub leader_epoch: i32,
    /// The last index that it sums up.
    pub index: u64,
    /// First Kafka offset that it does not hold.
    pub next_offset: i64,
}

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its node.
    pub node: i32,
    /// Its replica id.
    pub replica: u64,
    /// Whether it votes.
    pub voter: bool,
    /// As leader: the index up to which its log is the leader's.
    pub matched: Option<u64>,
}
