//! What the broker says about itself to `/status`, `/readyz` and `/metrics`.

use raft::effect::Role;
use raft::types::GroupId;

use super::Status;
use super::status::{GroupStatus, MemberStatus};
use crate::broker::Broker;
use crate::driver::log_thread::SYNC_BUCKETS_SECONDS;
use crate::metadata::{Image, TopicId};
use crate::metrics::Reading;
use crate::metrics::node::{
    ClusterMetrics, FollowerMetrics, GroupMetrics, NodeMetrics, NodeState, WalMetrics,
};
use crate::shard;

/// What the metadata group is called in labels.
const METADATA: &str = "__cluster_metadata";

impl Broker {
    /// Whether this broker can serve; else why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.controller().is_none() {
            return Err("no leader of the metadata group is known".to_owned());
        }
        if !self.registered.get() {
            return Err("the cluster does not know this broker yet".to_owned());
        }
        if self.shard.borrow().replica(GroupId::METADATA).is_none() {
            return Err("there is no replica of the metadata here yet".to_owned());
        }
        if self.image().broker(self.node).is_none() {
            return Err("this broker's registration is not applied here yet".to_owned());
        }
        Ok(())
    }

    /// What `/status` shows.
    pub fn status(&self) -> Status {
        let (cluster_id, directory_id) = {
            let image = self.image();
            let own = image.broker(self.node).map(|b| b.directory().to_string());
            (
                TopicId(image.cluster()).to_string(),
                own.unwrap_or_default(),
            )
        };
        let image = self.image();
        let shard = self.shard.borrow();
        let groups = shard.status().map(|group| self.group_status(&image, group));
        Status {
            schema: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_id: self.node.0,
            cluster_id,
            directory_id,
            not_ready: self.ready().err(),
            uptime_seconds: self.now().0 / 1000,
            controller: self.controller().map(|node| node.0),
            peers: shard.peers_up().into_iter().map(|node| node.0).collect(),
            kafka: self.config.node.kafka_address().to_string(),
            data_dir: self.config.node.data_dir.display().to_string(),
            groups: groups.collect(),
        }
    }

    fn group_status(&self, image: &Image, group: shard::GroupStatus) -> GroupStatus {
        let (topic, partition) = name(image, group.group);
        let member = |m: shard::MemberStatus| MemberStatus {
            node: m.node.0,
            replica: m.replica.0,
            voter: m.voter,
            matched: m.matched.map(|index| index.0),
        };
        GroupStatus {
            group: group.group.0,
            topic: topic.unwrap_or_default(),
            partition,
            replica: group.replica.0,
            role: role_name(group.role).to_owned(),
            term: group.term.0,
            leader: group.leader.map(|node| node.0),
            commit_index: group.commit.0,
            applied_index: group.applied.0,
            last_index: group.last_index.0,
            log_start_offset: group.offsets.0,
            high_watermark: group.offsets.1,
            log_end_offset: group.offsets.2,
            log_bytes: self.reader.group_bytes(group.group, group.replica),
            in_sync: group.in_sync.iter().map(|node| node.0).collect(),
            members: group.members.into_iter().map(member).collect(),
        }
    }

    /// Every figure that `/metrics` shows, but for those of the client listener.
    pub fn metrics(&self) -> NodeMetrics {
        let image = self.image();
        let shard = self.shard.borrow();
        let groups = shard
            .status()
            .map(|group| self.group_metrics(&image, group));
        NodeMetrics {
            node_id: self.node.0,
            wal: self.wal_metrics(),
            groups: groups.collect(),
            cluster: self.cluster_metrics(&image),
            ..NodeMetrics::default()
        }
    }

    fn wal_metrics(&self) -> WalMetrics {
        let (stats, rounds) = (self.log.stats(), self.log.rounds());
        let fsyncs = [
            stats.syncs_round,
            stats.syncs_idle,
            stats.syncs_segment,
            stats.syncs_manifest,
            stats.syncs_checkpoint,
            stats.syncs_meta,
        ];
        WalMetrics {
            fsyncs: fsyncs.iter().sum(),
            rounds: stats.syncs_round,
            fsync_seconds: Reading {
                bounds: &SYNC_BUCKETS_SECONDS,
                counts: rounds.sync_buckets.to_vec(),
                sum: rounds.sync_seconds,
            },
            // Their distribution is not measured.
            round_entries: Reading::default(),
            round_bytes: Reading::default(),
            bytes_written: stats.bytes_written,
            segments_open: stats.segments_open,
            segments_sealed: stats.segments_sealed,
            segments_spare: stats.segments_spare,
            live_bytes: stats.live_bytes,
            dead_bytes: stats.dead_bytes,
            unsorted_bytes: stats.unsorted_bytes,
            poisoned: stats.poisoned,
            disk_free_bytes: stats.free_bytes,
            ..WalMetrics::default()
        }
    }

    fn group_metrics(&self, image: &Image, group: shard::GroupStatus) -> GroupMetrics {
        let (topic, partition) = name(image, group.group);
        let voters = group.members.iter().filter(|m| m.voter).count() as u64;
        let follower = |m: &shard::MemberStatus| {
            let matched = m.matched.filter(|_| m.replica != group.replica)?;
            Some(FollowerMetrics {
                node: m.node.0,
                lag_entries: group.last_index.0.saturating_sub(matched.0),
                ..FollowerMetrics::default()
            })
        };
        GroupMetrics {
            followers: group.members.iter().filter_map(follower).collect(),
            topic: topic.unwrap_or_else(|| METADATA.to_owned()),
            partition: partition.max(0),
            state: state(group.role),
            term: group.term.0,
            in_sync: group.in_sync.len() as u64,
            commit_index: group.commit.0,
            last_applied: group.applied.0,
            log_entries: group.last_index.0.saturating_sub(group.base_index.0),
            log_bytes: self.reader.group_bytes(group.group, group.replica),
            log_start_offset: group.offsets.0,
            high_watermark: group.offsets.1,
            log_end_offset: group.offsets.2,
            cluster_size: group.members.len() as u64,
            quorum_size: voters / 2 + 1,
            ..GroupMetrics::default()
        }
    }

    fn cluster_metrics(&self, image: &Image) -> ClusterMetrics {
        let mut cluster = ClusterMetrics {
            active_controller: self.controller() == Some(self.node),
            ..ClusterMetrics::default()
        };
        for partition in image.partitions() {
            let Some(leader) = self.leader(partition.group) else {
                cluster.offline_partitions += 1;
                continue;
            };
            let behind = leader.in_sync.len() < partition.desired().len();
            cluster.under_replicated_partitions += u64::from(behind);
            let elsewhere = leader.node != partition.preferred().node;
            cluster.preferred_leader_imbalance += u64::from(elsewhere);
        }
        cluster
    }
}

/// Topic and partition of a group; -1 and no topic for the metadata group.
fn name(image: &Image, group: GroupId) -> (Option<String>, i32) {
    if group == GroupId::METADATA {
        return (None, -1);
    }
    let partition = image.partition(group);
    let topic = partition.and_then(|p| image.topic(p.topic));
    // A replica whose topic is deleted lives on until its data is gone.
    let topic = topic.map_or_else(|| format!("deleted-{group}"), |topic| topic.name.clone());
    (Some(topic), partition.map_or(0, |p| p.partition))
}

fn state(role: Role) -> NodeState {
    match role {
        Role::Leader => NodeState::Leader,
        Role::Candidate => NodeState::Candidate,
        Role::PreCandidate => NodeState::PreCandidate,
        Role::Follower => NodeState::Follower,
        Role::Learner => NodeState::Learner,
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Candidate => "candidate",
        Role::PreCandidate => "pre_candidate",
        Role::Follower => "follower",
        Role::Learner => "learner",
    }
}
