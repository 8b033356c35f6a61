//! From the configuration to what each part of a broker needs to know.

use crate::config::store::StoreAddress;
use crate::config::{self, Config, GroupMigration, ReplaceWiped};
use crate::controller::Policy;
use crate::coordinator;
use crate::data_directory;
use crate::shard;
use crate::topic_config::{self, TopicConfig};

/// The log leaves so much of the disk free: a twentieth, at most this.
const FREE_BYTES_MAX: u64 = 256 << 20;

/// What may be dead in the log beyond a share of what lives, at most, and in segments.
const CLEAN_SLACK_BYTES_MAX: u64 = 1 << 30;
const CLEAN_SLACK_SEGMENTS: u64 = 8;

/// The size of the data directory's file system; unlimited where it cannot be told.
fn disk_bytes(config: &Config) -> u64 {
    let known = rustix::fs::statvfs(&config.node.data_dir);
    known.map_or(u64::MAX, |fs| fs.f_blocks.saturating_mul(fs.f_frsize))
}

/// Of the tail cache, what holds entries as they came: enough for followers and consumers that keep up. The log has the
/// rest, and keeps rounds as they were written.
fn received_tail_bytes(config: &Config) -> u64 {
    config.node.tail_cache_bytes / 4
}

pub(super) fn log(config: &Config) -> wal::Config {
    let (node, cluster) = (&config.node, &config.cluster);
    let spares = usize::try_from(node.spares_bytes / cluster.segment_bytes).unwrap_or(usize::MAX);
    wal::Config {
        segment_bytes: cluster.segment_bytes,
        round_bytes_max: node.replication_round_max_bytes,
        spares,
        tail_bytes: node.tail_cache_bytes - received_tail_bytes(config),
        unsorted_bytes_max: node.unsorted_max_bytes,
        clean_slack_bytes: CLEAN_SLACK_BYTES_MAX.min(CLEAN_SLACK_SEGMENTS * cluster.segment_bytes),
        used_bytes_max: match node.log_bytes_max {
            0 => u64::MAX,
            bytes => bytes,
        },
        free_bytes_min: FREE_BYTES_MAX.min(disk_bytes(config) / 20),
        ..wal::Config::default()
    }
}

pub(super) fn shard(
    config: &Config,
    identity: &data_directory::Identity,
    boot: u64,
) -> shard::Config {
    let node = &config.node;
    let times = node.election();
    let defaults = raft::Config::default();
    shard::Config {
        node: identity.node,
        directory: identity.directory,
        boot,
        raft: raft::Config {
            election_timeout_min_ms: times.timeout_min_ms,
            election_timeout_max_ms: times.timeout_max_ms,
            heartbeat_ms: times.heartbeat_ms,
            inflight_max_bytes: node.replication_inflight_max_bytes,
            // It is one frame.
            command_max_bytes: defaults
                .command_max_bytes
                .min(node.peer_frame_max_bytes / 2),
            ..defaults
        },
        seed: u64::try_from(uuid::Uuid::new_v4().as_u128() >> 64).expect("64 bits"),
        heartbeat_ms: times.heartbeat_ms,
        peer_timeout_ms: times.timeout_max_ms,
        tail_bytes_max: received_tail_bytes(config),
        replica_lag_max_ms: node.replica_lag_max_ms,
        retention_interval_ms: node.retention_check_interval_ms,
        producer_expiration_ms: node.producer_id_expiration_ms,
        entry_bytes_max: config.cluster.entry_max_bytes,
        topic_defaults: topic_defaults(config),
        groups: groups_config(config),
        snapshots: node.snapshot_store.as_ref().map(|at| {
            let own_copies = *at == StoreAddress::Local;
            shard::SnapshotPolicy {
                lag_max_ms: match own_copies {
                    true => OWN_COPIES_LAG_MS,
                    false => node.snapshot_lag_max_ms,
                },
                bytes: node.snapshot_bytes,
                tail_bytes: match own_copies {
                    true => 0,
                    false => node.snapshot_tail_bytes,
                },
                at_once: node.snapshot_jobs as usize,
                rest_ms: SNAPSHOT_REST_MS,
                collect_ms: node.snapshot_grace_ms / COLLECTIONS_PER_GRACE,
                own_copies,
            }
        }),
        ..shard::Config::default()
    }
}

/// Copies of each broker's own save nothing that its log does not have: what is less than `snapshot.size` waits for long.
const OWN_COPIES_LAG_MS: u64 = 3_600_000;
/// A partition that could not be put into the store is tried again after so long.
const SNAPSHOT_REST_MS: u64 = 2000;
/// How often the store is cleaned up while an object becomes old enough to go.
const COLLECTIONS_PER_GRACE: u64 = 6;

/// For the coordinators of consumer groups.
fn groups_config(config: &Config) -> coordinator::core::Config {
    use GroupMigration::{Bidirectional, Downgrade, Upgrade};
    let (node, cluster) = (&config.node, &config.cluster);
    let entry_max = i64::try_from(cluster.entry_max_bytes).unwrap_or(i64::MAX);
    let migration = node.group_consumer_migration;
    coordinator::core::Config {
        initial_rebalance_delay_ms: node.group_initial_rebalance_delay_ms,
        session_timeout_min_ms: node.group_session_timeout_min_ms,
        session_timeout_max_ms: node.group_session_timeout_max_ms,
        consumer_session_timeout_ms: node.group_consumer_session_timeout_ms,
        consumer_heartbeat_interval_ms: node.group_consumer_heartbeat_interval_ms,
        assignors: node.group_consumer_assignors.clone(),
        members_max: node.group_members_max as usize,
        consumer_members_max: node.group_consumer_members_max as usize,
        upgrades: matches!(migration, Upgrade | Bidirectional),
        downgrades: matches!(migration, Downgrade | Bidirectional),
        command_bytes_max: usize::try_from(entry_max - ENTRY_ROOM_BYTES).unwrap_or(0),
        offsets_retention_ms: node.offsets_retention_ms,
        ..coordinator::core::Config::default()
    }
}

/// What holds where a topic says nothing.
fn topic_defaults(config: &Config) -> TopicConfig {
    let node = &config.node;
    TopicConfig {
        retention_ms: u64::try_from(node.retention_ms).ok(),
        retention_bytes: u64::try_from(node.retention_bytes).ok(),
        max_message_bytes: node.message_max_bytes as usize,
        min_insync_replicas: usize::try_from(node.min_insync_replicas).unwrap_or(1),
        validate_records: match node.validate_records {
            config::ValidateRecords::Header => topic_config::ValidateRecords::Header,
            config::ValidateRecords::Full => topic_config::ValidateRecords::Full,
        },
        ..TopicConfig::default()
    }
}

/// What an entry of the log needs beside its batch, at most.
const ENTRY_ROOM_BYTES: i64 = 64 << 10;

pub(super) fn policy(config: &Config) -> Policy {
    let (node, cluster) = (&config.node, &config.cluster);
    let entry_max = i64::try_from(cluster.entry_max_bytes).unwrap_or(i64::MAX);
    Policy {
        default_partitions: node.num_partitions,
        default_replication_factor: node.default_replication_factor,
        message_bytes_max: entry_max - ENTRY_ROOM_BYTES,
        replace_wiped: node.replace_wiped == ReplaceWiped::Auto,
        ..Policy::default()
    }
}
