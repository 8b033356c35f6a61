//! What the broker shows of itself: readiness, status, metrics.

use std::rc::Rc;
use std::time::Duration;

use raft::effect::Role;
use raft::types::{GroupId, NodeId, Tick};

use super::status::{GroupStatus, MemberStatus, SnapshotStatus, Status};
use crate::broker::Broker;
use crate::metrics::node::{
    ClusterMetrics, FollowerMetrics, GroupMetrics, NodeMetrics, NodeState, RaftMetrics, RpcMetrics,
    WalMetrics,
};
use crate::shard;

/// The metadata group's name in metrics.
const METADATA_NAME: &str = "__cluster_metadata";

/// How often readiness is looked at when the metadata stands still.
const READY_PAUSE: Duration = Duration::from_millis(50);

impl Broker {
    /// Whether clients may be sent here.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.stopping.get() {
            return Err("stopping".into());
        }
        if !self.registered.get() {
            return Err(
                "not registered with a controller yet: a majority of the seeds must be up".into(),
            );
        }
        let shard = self.shard.borrow();
        if shard.replica(GroupId::METADATA).is_none() {
            return Err("the metadata group is not open yet".into());
        }
        if !shard.is_current() {
            return Err("its own registration is not applied here yet".into());
        }
        if shard.leader(GroupId::METADATA).is_none() {
            return Err("no controller is known".into());
        }
        Ok(())
    }

    /// Resolves once clients may be sent here: before, its metadata can be older than what they were told elsewhere.
    pub async fn until_ready(self: Rc<Self>) {
        while self.ready().is_err() {
            let moved = self.progress(&[GroupId::METADATA]);
            let _ = tokio::time::timeout(READY_PAUSE, moved).await;
        }
    }

    /// Everything that `/status` shows.
    #[must_use]
    pub fn status(&self) -> Status {
        let shard = self.shard.borrow();
        let image = shard.image_or_empty();
        let groups = shard
            .status()
            .map(|s| self.group_status(&s, image))
            .collect();
        Status {
            schema: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_id: self.node.0,
            cluster_id: crate::handlers::metadata::cluster_id(image).to_string(),
            directory_id: shard.directory().to_string(),
            not_ready: self.ready().err(),
            uptime_seconds: self.now().0 / 1000,
            controller: shard.leader(GroupId::METADATA).map(|l| l.node.0),
            peers: shard.peers_up().into_iter().map(|node| node.0).collect(),
            kafka: self.config.node.kafka_address().to_string(),
            data_dir: self.config.node.data_dir.display().to_string(),
            snapshot_store: self
                .snapshots
                .as_ref()
                .map(|snapshots| snapshots.status(&shard)),
            groups,
        }
    }

    fn group_status(&self, s: &shard::GroupStatus, image: &crate::metadata::Image) -> GroupStatus {
        let (topic, partition) = name_of(image, s.group);
        let member = |m: &shard::MemberStatus| MemberStatus {
            node: m.node.0,
            replica: m.replica.0,
            voter: m.voter,
            matched: m.matched.map(|index| index.0),
        };
        GroupStatus {
            group: s.group.0,
            topic,
            partition,
            replica: s.replica.0,
            role: role_name(s.role).to_owned(),
            term: s.term.0,
            leader: s.leader.map(|node| node.0),
            commit_index: s.commit.0,
            applied_index: s.applied.0,
            last_index: s.last_index.0,
            log_start_offset: s.offsets.0,
            high_watermark: s.offsets.1,
            log_end_offset: s.offsets.2,
            log_bytes: self.reader.group_bytes(s.group, s.replica),
            local_start_offset: s.local_start,
            snapshot: s.stored.map(|stored| SnapshotStatus {
                incarnation: stored.incarnation,
                leader_epoch: stored.leader_epoch,
                index: stored.index,
                next_offset: stored.next_offset,
            }),
            changed_index: s.changed.0,
            snapshot_lag_ms: s.unstored_ms,
            damaged: s.damaged,
            in_sync: s.in_sync.iter().map(|node| node.0).collect(),
            members: s.members.iter().map(member).collect(),
        }
    }

    /// Everything that a scrape shows but for the listener's own figures.
    #[must_use]
    pub fn metrics(&self) -> NodeMetrics {
        let shard = self.shard.borrow();
        let image = shard.image_or_empty();
        let statuses: Vec<_> = shard.status().collect();
        let groups = statuses
            .iter()
            .map(|s| self.group_metrics(s, &shard))
            .collect();
        let state_changes = statuses.iter().map(|s| s.counts.role_changes).sum();
        let mut raft = self.raft_metrics(&shard);
        raft.state_changes = state_changes;
        let offline = image
            .partitions()
            .filter(|p| shard.leader(p.group).is_none())
            .count();
        let thin = |p: &&crate::metadata::Partition| {
            shard
                .leader(p.group)
                .is_none_or(|l| l.in_sync.len() < p.replicas.len())
        };
        let misled = |p: &&crate::metadata::Partition| {
            shard
                .leader(p.group)
                .is_some_and(|l| l.node != p.preferred().node)
        };
        NodeMetrics {
            node_id: self.node.0,
            wal: self.wal_metrics(),
            raft,
            groups,
            snapshots: self.snapshots.as_ref().map(|snapshots| {
                let mut metrics = snapshots.metrics();
                if let Some(own) = &mut metrics.own {
                    own.lacking = statuses.iter().filter(|s| s.lacks_copies).count() as u64;
                    own.differing = statuses.iter().filter(|s| s.differs).count() as u64;
                }
                metrics
            }),
            cluster: ClusterMetrics {
                active_controller: shard.is_controller(),
                offline_partitions: offline as u64,
                under_replicated_partitions: image.partitions().filter(thin).count() as u64,
                preferred_leader_imbalance: image.partitions().filter(misled).count() as u64,
                retention_suspended: self.clock_trust.is_suspended(),
            },
            ..NodeMetrics::default()
        }
    }

    fn raft_metrics(&self, shard: &shard::Shard) -> RaftMetrics {
        let mut raft = RaftMetrics {
            events_measured: true,
            ..RaftMetrics::default()
        };
        let image = shard.image_or_empty();
        let others = image.brokers().map(|broker| broker.node());
        let others: Vec<NodeId> = others.filter(|node| *node != self.node).collect();
        self.messages
            .read(std::time::Instant::now(), others.iter().copied(), &mut raft);
        let peers = self.network.stats().peers;
        for node in others {
            raft.rpcs.push(RpcMetrics {
                connection_refused: peers.get(&node).map_or(0, |peer| peer.refused),
                ..RpcMetrics::none("connect", node.0)
            });
        }
        let measures = shard.measures();
        raft.node_additions = measures.nodes_joined;
        raft.rejected_stale_term = measures.stale_appends;
        for (kind, measured) in [
            (&mut raft.metadata, &measures.metadata),
            (&mut raft.partition, &measures.partition),
        ] {
            kind.commit_entries = measured.commit_entries.read();
            kind.election_seconds = measured.election_seconds.read();
            kind.unavailable_seconds = measured.unavailable_seconds.read();
        }
        // What is committed is applied in the same step: propose to commit and propose to applied are one time.
        raft.partition.commit_seconds = self.commit_seconds.read();
        raft.partition.command_seconds = self.commit_seconds.read();
        raft.metadata.commit_seconds = self.command_seconds.read();
        raft.metadata.command_seconds = self.command_seconds.read();
        raft
    }

    /// A moment of the shard's time in seconds since 1970; 0 for never.
    #[allow(clippy::cast_precision_loss, reason = "Prometheus knows f64 only")]
    fn wall_seconds(&self, at: Option<Tick>) -> f64 {
        let Some(at) = at else { return 0.0 };
        let ago = self.now().0.saturating_sub(at.0);
        (self.wall_ms() as f64 - ago as f64) / 1000.0
    }

    fn wal_metrics(&self) -> WalMetrics {
        let stats = self.log.stats();
        let (rounds, fsync_seconds, round_entries, round_bytes) = self
            .log
            .with_rounds(|r| (r.rounds, r.seconds.read(), r.entries.read(), r.bytes.read()));
        let damages = self.reader.damages();
        WalMetrics {
            fsyncs: stats.syncs_round,
            rounds,
            fsync_seconds,
            round_entries,
            round_bytes,
            bytes_written: stats.bytes_written,
            segments_open: stats.segments_open,
            segments_sealed: stats.segments_sealed,
            segments_spare: stats.segments_spare,
            segments_zeroed: stats.segments_zeroed,
            segment_bytes: self.config.cluster.segment_bytes,
            limit_bytes: stats.limit_bytes,
            live_bytes: stats.live_bytes,
            dead_bytes: stats.dead_bytes,
            unsorted_bytes: stats.unsorted_bytes,
            cleaner_scattered_bytes: stats.bytes_cleaned.scattered,
            cleaner_dead_bytes: stats.bytes_cleaned.dead,
            cleaner_damaged_bytes: stats.bytes_cleaned.damaged,
            cleaner_seconds: stats.cleaning.as_secs_f64(),
            recovery_seconds: self.recovery_seconds,
            poisoned: stats.poisoned,
            acked_not_fsynced_bytes: self.acked_unsynced_bytes(),
            disk_free_bytes: stats.free_bytes,
            corruptions_detected: self.shard.borrow().measures().corruptions_detected,
            damaged_found: damages.found,
            repairs: stats.entries_healed,
            damaged_entries: damages.lacking,
            damaged_segments: damages.segments,
        }
    }

    fn acked_unsynced_bytes(&self) -> u64 {
        let shard = self.shard.borrow();
        shard.status().map(|s| s.acked_unsynced_bytes).sum()
    }

    fn group_metrics(&self, s: &shard::GroupStatus, shard: &shard::Shard) -> GroupMetrics {
        let image = shard.image_or_empty();
        let (topic, partition) = match s.group {
            GroupId::METADATA => (METADATA_NAME.to_owned(), 0),
            group => name_of(image, group),
        };
        let voters = s.members.iter().filter(|m| m.voter).count() as u64;
        let others = s
            .members
            .iter()
            .filter(|m| m.node != self.node && m.matched.is_some());
        let followers = others.map(|m| FollowerMetrics {
            node: m.node.0,
            lag_entries: s
                .last_index
                .0
                .saturating_sub(m.matched.unwrap_or_default().0),
            lag_seconds: std::time::Duration::from_millis(m.lag_ms).as_secs_f64(),
            last_heartbeat_seconds: self.wall_seconds(shard.last_heard(m.node)),
        });
        GroupMetrics {
            topic,
            partition,
            state: node_state(s.role),
            term: s.term.0,
            in_sync: s.in_sync.len() as u64,
            commit_index: s.commit.0,
            last_applied: s.applied.0,
            log_entries: s.last_index.0 - s.base_index.0,
            log_bytes: self.reader.group_bytes(s.group, s.replica),
            log_start_offset: s.offsets.0,
            local_start_offset: s.local_start,
            snapshot_next_offset: s.stored.map_or(0, |stored| stored.next_offset),
            snapshot_index: s.stored.map_or(0, |stored| stored.index),
            snapshot_lag_seconds: std::time::Duration::from_millis(s.unstored_ms).as_secs_f64(),
            high_watermark: s.offsets.1,
            log_end_offset: s.offsets.2,
            cluster_size: s.members.len() as u64,
            quorum_size: voters / 2 + 1,
            followers: followers.collect(),
            elections_won: s.counts.elections_won,
            elections_lost: s.counts.elections_lost,
            elections_timed_out: s.counts.elections_timed_out,
            last_election_seconds: self.wall_seconds(s.counts.last_election),
            votes_received: s.counts.votes_received,
            learners_added: s.counts.learners_added,
            promotions: s.counts.promotions,
            removals: s.counts.removals,
            replacements: s.counts.replacements,
            commits: s.counts.entries_committed,
            batch_commits: s.counts.commits,
            compactions: s.counts.trims,
            bytes_in: s.counts.bytes_in,
            records_in: s.counts.records_in,
            ..GroupMetrics::default()
        }
    }
}

fn name_of(image: &crate::metadata::Image, group: GroupId) -> (String, i32) {
    let found = image
        .partition(group)
        .and_then(|p| Some((image.topic(p.topic)?, p.partition)));
    found.map_or((String::new(), -1), |(topic, partition)| {
        (topic.name.clone(), partition)
    })
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre_candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
        Role::Learner => "learner",
    }
}

fn node_state(role: Role) -> NodeState {
    match role {
        Role::Follower => NodeState::Follower,
        Role::PreCandidate => NodeState::PreCandidate,
        Role::Candidate => NodeState::Candidate,
        Role::Leader => NodeState::Leader,
        Role::Learner => NodeState::Learner,
    }
}
