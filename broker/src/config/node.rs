//! What may differ from node to node: every wait, limit, size and address.

use std::path::PathBuf;

use super::address::{Address, Seed};
use super::cluster::fingerprint;
use super::kind::{DAY, GIB, KIB, Kind, MIB, SECOND};
use super::store::StoreAddress;
use super::table::{settings, words};
use crate::coordinator::consumer::assignor::Assignors;

words! {
    /// How patient elections are.
    pub enum ElectionProfile {
        /// Timeout 500 to 1000 ms, heartbeat 100 ms.
        Default = "default",
        /// Timeout 150 to 300 ms, heartbeat 30 ms: fast failover on a quiet local network.
        LowLatency = "low-latency",
        /// Timeout 2.5 to 5 s, heartbeat 500 ms: nodes far apart.
        Wan = "wan",
    }
}

words! {
    /// What the controller does with a node that returns with another disk.
    pub enum ReplaceWiped {
        /// It replaces the lost replicas where the rest of the group has its quorum.
        Auto = "auto",
        /// It waits for an operator.
        Manual = "manual",
    }
}

words! {
    /// Which way a group with members goes from one protocol of consumer groups to the other (KIP-848).
    pub enum GroupMigration {
        /// Neither way: a group changes its protocol when it has no members.
        Disabled = "disabled",
        /// To the consumer protocol, when the first member of that comes.
        Upgrade = "upgrade",
        /// To the classic protocol, when the last member of the consumer protocol has gone.
        Downgrade = "downgrade",
        /// Both ways.
        Bidirectional = "bidirectional",
    }
}

words! {
    /// How far the broker looks into compressed batches.
    pub enum ValidateRecords {
        /// Header and CRC always; compressed batches are opened only where the broker must read them.
        Header = "header",
        /// Every record of every batch.
        Full = "full",
    }
}

words! {
    /// How log lines look.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

/// The times that an election profile stands for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionTimes {
    /// Shortest election timeout.
    pub timeout_min_ms: u64,
    /// Longest election timeout; each follower draws one in between.
    pub timeout_max_ms: u64,
    /// Between two heartbeats of a node pair.
    pub heartbeat_ms: u64,
}

const MINUTE: i64 = 60 * SECOND;
const MAX_SIZE: i64 = 1024 * 1024 * GIB;

settings! {
    /// The part of the configuration that is a node's own.
    pub struct NodeConfig {
        /// Id of this node, Kafka's broker id. Must be set, unique in the cluster, and stays with the data directory.
        node_id: i32 = 0, "node.id", Kind::Count { min: 1, max: i32::MAX as i64 };
        /// Where all durable data is. Must be set; formatted at first start, refused when it belongs to another node.
        data_dir: PathBuf = PathBuf::new(), "data.dir", Kind::Path;
        /// The founding members by node id and peer address, the same list on all of them. Empty: a cluster of one.
        cluster_seeds: Vec<Seed> = Vec::new(), "cluster.seeds", Kind::Seeds;
        /// Where Kafka clients connect.
        listener_kafka: Address = Address::new("127.0.0.1", 9092), "listener.kafka", Kind::Address;
        /// Where the other brokers connect.
        listener_peer: Address = Address::new("127.0.0.1", 9193), "listener.peer", Kind::Address;
        /// Where HTTP is: health, metrics, administration, console.
        listener_admin: Address = Address::new("127.0.0.1", 9644), "listener.admin", Kind::Address;
        /// The address that Kafka clients are told. Empty: the listener's; must be set when that is a wildcard.
        advertised_kafka: Option<Address> = None, "advertised.kafka", Kind::Address;
        /// The peer address that other brokers are told. Empty: as for clients.
        advertised_peer: Option<Address> = None, "advertised.peer", Kind::Address;
        /// Allow listeners beyond loopback without TLS and authentication. Anybody who reaches the port can then read
        /// and write everything.
        insecure: bool = false, "insecure", Kind::Flag;

        /// How often a seed presents itself to seeds that are missing before it gives up.
        formation_tries: u32 = 60, "formation.tries", Kind::Count { min: 1, max: 1_000_000 };
        /// Wait after the first of these tries; doubles up to the maximum.
        formation_retry_min_ms: u64 = 500, "formation.retry.min", Kind::Millis { min: 1, max: MINUTE };
        /// Longest wait between two of these tries.
        formation_retry_max_ms: u64 = 2000, "formation.retry.max", Kind::Millis { min: 1, max: 10 * MINUTE };
        /// Whether the controller replaces the replicas of a node that returned with another disk by itself.
        replace_wiped: ReplaceWiped = ReplaceWiped::Auto, "replace.wiped", Kind::Words(ReplaceWiped::WORDS);

        /// How patient elections are: shorter timeouts fail over faster and elect needlessly on slow disks or networks.
        election_profile: ElectionProfile = ElectionProfile::Default,
            "election.profile", Kind::Words(ElectionProfile::WORDS);
        /// Most bytes of entries on their way to one follower of one group; more hides latency, less bounds memory.
        replication_inflight_max_bytes: u64 = 4 * MIB as u64,
            "replication.inflight.max", Kind::Bytes { min: 64 * KIB, max: GIB };
        /// Most bytes of one append or log round; one larger entry passes alone.
        replication_round_max_bytes: u64 = 4 * MIB as u64,
            "replication.round.max", Kind::Bytes { min: 64 * KIB, max: GIB };
        /// A voter that has not been level with the leader for this long leaves the in-sync set.
        replica_lag_max_ms: u64 = 10_000, "replica.lag.max", Kind::Millis { min: 100, max: 60 * MINUTE };
        /// A voter that is further behind than this leaves the in-sync set.
        replica_lag_max_bytes: u64 = 4 * MIB as u64, "replica.lag.bytes", Kind::Bytes { min: 64 * KIB, max: MAX_SIZE };

        /// Bytes a second that this broker sends from its disk, to all followers that are behind what its memory holds, while
        /// producers are active here; twice what is produced where that is more. 0: as fast as it goes.
        replica_catch_up_rate_bytes: u64 = 64 * MIB as u64, "replica.catch.up.rate", Kind::Bytes { min: 0, max: MAX_SIZE };

        /// First wait before an unreachable peer is dialled again; doubles up to the maximum, with jitter.
        peer_retry_min_ms: u64 = 20, "peer.retry.min", Kind::Millis { min: 1, max: MINUTE };
        /// Longest wait before an unreachable peer is dialled again.
        peer_retry_max_ms: u64 = 1000, "peer.retry.max", Kind::Millis { min: 1, max: 10 * MINUTE };
        /// Longest wait for a TCP connection to a peer.
        peer_connect_timeout_ms: u64 = 2000, "peer.connect.timeout", Kind::Millis { min: 10, max: 10 * MINUTE };
        /// Longest wait for a peer's half of the handshake.
        peer_handshake_timeout_ms: u64 = 5000, "peer.handshake.timeout", Kind::Millis { min: 10, max: 10 * MINUTE };
        /// Connections from peers that have not greeted yet; above it new ones are closed.
        peer_handshakes_max: u32 = 256, "peer.handshakes.max", Kind::Count { min: 1, max: 1_000_000 };
        /// A connection to a peer that takes no byte for this long while some are waiting is dropped.
        peer_write_stall_max_ms: u64 = 30_000, "peer.write.stall", Kind::Millis { min: 10, max: 60 * MINUTE };
        /// Most bytes waiting for one peer's socket; above it the connection is dropped rather than memory filled.
        peer_queue_max_bytes: u64 = 64 * MIB as u64, "peer.queue.max", Kind::Bytes { min: 64 * KIB, max: 16 * GIB };
        /// Largest frame taken from a peer. Memory grows with the bytes received, not with the declared length.
        peer_frame_max_bytes: u64 = 64 * MIB as u64, "peer.frame.max", Kind::Bytes { min: 64 * KIB, max: GIB };
        /// Room for one read from a peer's socket; larger reads mean fewer system calls.
        peer_read_bytes: u64 = 256 * KIB as u64, "peer.read.size", Kind::Bytes { min: 4 * KIB, max: 64 * MIB };
        /// Longest wait for another broker's answer to a forwarded request.
        peer_request_timeout_ms: u64 = 10_000, "peer.request.timeout", Kind::Millis { min: 10, max: 10 * MINUTE };

        /// Memory for the newest part of the log, which reads are served from first: a quarter of it holds entries as they came,
        /// the rest holds them as they were written. Unless set: at most 5 % of RAM.
        tail_cache_bytes: u64 = 256 * MIB as u64, "tail.cache.size", Kind::Bytes { min: MIB, max: MAX_SIZE };
        /// Memory for all requests in flight; beyond it sockets are not read. Unless set: at most 25 % of RAM.
        request_memory_bytes: u64 = 512 * MIB as u64, "request.memory.size", Kind::Bytes { min: MIB, max: MAX_SIZE };
        /// Log bytes in short scattered runs that the cleaner tolerates before it sorts them.
        unsorted_max_bytes: u64 = GIB as u64, "unsorted.max", Kind::Bytes { min: MIB, max: MAX_SIZE };
        /// Most bytes that the log's files may take, spares included: at least 8 segments. Where it is reached, records are
        /// refused as with a full disk, until retention or a deletion has freed some. 0: what the disk has.
        log_bytes_max: u64 = 0, "log.max", Kind::Bytes { min: 0, max: MAX_SIZE };
        /// Zeroed spare segments kept ahead, at most 5 % of the disk. They let every write be an overwrite. A log that
        /// has filled no segment for ten seconds keeps no more than these, and the four that are never lent.
        spares_bytes: u64 = GIB as u64, "spares.size", Kind::Bytes { min: 0, max: MAX_SIZE };

        /// Create a topic when a client asks for one that does not exist.
        auto_create_topics: bool = true, "auto.create.topics.enable", Kind::Flag;
        /// Partitions of a topic whose creator does not say.
        num_partitions: i32 = 1, "num.partitions", Kind::Count { min: 1, max: 100_000 };
        /// Replicas of a partition whose creator does not say. 0: 3, or the number of brokers when there are fewer.
        default_replication_factor: i16 = 0, "default.replication.factor", Kind::Count { min: 0, max: 99 };
        /// In-sync voters that a write with acks=all needs. More than a majority trades availability for copies.
        min_insync_replicas: i32 = 1, "min.insync.replicas", Kind::Count { min: 1, max: 99 };
        /// Largest record batch, unless the topic says otherwise.
        message_max_bytes: u32 = 1_048_588, "message.max.bytes", Kind::Bytes { min: 1, max: GIB };
        /// How long records are kept, unless the topic says otherwise. -1: for ever.
        retention_ms: i64 = 7 * DAY, "retention.ms", Kind::Millis { min: -1, max: i64::MAX };
        /// How many bytes of a partition are kept, unless the topic says otherwise. -1: all.
        retention_bytes: i64 = -1, "retention.bytes", Kind::Bytes { min: -1, max: i64::MAX };
        /// How often retention advances the log starts.
        retention_check_interval_ms: u64 = 300_000, "retention.check.interval", Kind::Millis { min: 10, max: DAY };
        /// Whether the records inside compressed batches are looked at. Full costs decompression of every batch.
        validate_records: ValidateRecords = ValidateRecords::Header,
            "validate.records", Kind::Words(ValidateRecords::WORDS);
        /// A producer's sequence state is forgotten when it has been silent for this long; at most twice as long.
        /// Counted by each broker from its start.
        producer_id_expiration_ms: u64 = DAY as u64, "producer.id.expiration.ms", Kind::Millis { min: 1000, max: 365 * DAY };

        /// Largest request. Memory grows with the bytes received, not with the declared length.
        request_max_bytes: u32 = 100 * MIB as u32, "socket.request.max.bytes", Kind::Bytes { min: KIB, max: GIB };
        /// Largest fetch response; a first batch above it is sent alone.
        fetch_max_bytes: u32 = 50 * MIB as u32, "fetch.max.bytes", Kind::Bytes { min: KIB, max: GIB };
        /// Longest that a fetch may wait for data, whatever the client asks.
        fetch_wait_max_ms: u64 = 300_000, "fetch.wait.max", Kind::Millis { min: 0, max: 60 * MINUTE };
        /// Longest that a produce may wait for its commit, whatever the client asks.
        produce_wait_max_ms: u64 = 300_000, "produce.wait.max", Kind::Millis { min: 1, max: 60 * MINUTE };
        /// Fetch sessions kept; the least recently used one goes.
        fetch_sessions_max: u32 = 1000, "fetch.sessions.max", Kind::Count { min: 0, max: 1_000_000 };
        /// Client connections at once.
        connections_max: u32 = 10_000, "connections.total.max", Kind::Count { min: 1, max: 1_000_000 };
        /// Client connections at once from one IPv4 address or IPv6 /64. Loopback is exempt.
        connections_per_ip_max: u32 = 1024, "connections.per.ip.max", Kind::Count { min: 1, max: 1_000_000 };
        /// New client connections in a second from one IPv4 address or IPv6 /64. Loopback is exempt.
        connections_rate_per_ip: u32 = 200, "connections.rate.per.ip", Kind::Count { min: 1, max: 1_000_000 };
        /// A client connection without any request for this long is closed.
        connection_idle_max_ms: u64 = 600_000, "connections.max.idle.ms", Kind::Millis { min: 100, max: 365 * DAY };
        /// A client that neither sends the rest of a request nor takes an answer for this long is closed.
        connection_stall_max_ms: u64 = 30_000, "connection.stall.max", Kind::Millis { min: 10, max: 60 * MINUTE };
        /// Answers waiting for one client; above it its requests are not read.
        connection_response_max_bytes: u64 = 64 * MIB as u64,
            "connection.response.max", Kind::Bytes { min: 64 * KIB, max: 16 * GIB };
        /// Largest request before a connection is authenticated.
        preauth_frame_max_bytes: u32 = 16 * KIB as u32, "preauth.frame.max", Kind::Bytes { min: KIB, max: MIB };
        /// A connection that is not authenticated after this long is closed.
        preauth_lifetime_max_ms: u64 = 10_000, "preauth.lifetime.max", Kind::Millis { min: 100, max: 10 * MINUTE };
        /// Delay of the answer to a failed authentication.
        auth_failure_delay_ms: u64 = 1000, "auth.failure.delay", Kind::Millis { min: 0, max: MINUTE };

        /// Wait for more members before the first rebalance of an empty group.
        group_initial_rebalance_delay_ms: u64 = 3000,
            "group.initial.rebalance.delay.ms", Kind::Millis { min: 0, max: 10 * MINUTE };
        /// Shortest session timeout that a group member may ask for.
        group_session_timeout_min_ms: u64 = 6000,
            "group.min.session.timeout.ms", Kind::Millis { min: 1, max: DAY };
        /// Longest session timeout that a group member may ask for.
        group_session_timeout_max_ms: u64 = 1_800_000,
            "group.max.session.timeout.ms", Kind::Millis { min: 1, max: DAY };
        /// A member of the consumer protocol (KIP-848) is removed after so long a silence.
        group_consumer_session_timeout_ms: u64 = 45_000,
            "group.consumer.session.timeout.ms", Kind::Millis { min: 1000, max: DAY };
        /// How often members of the consumer protocol send heartbeats. A shorter one makes rebalances faster.
        group_consumer_heartbeat_interval_ms: u64 = 5000,
            "group.consumer.heartbeat.interval.ms", Kind::Millis { min: 100, max: DAY };
        /// Who assigns partitions in groups of the consumer protocol: a list of uniform and range, of which members may
        /// ask for one. The first is for those who do not. The next rebalance of a group is the first that heeds it.
        group_consumer_assignors: Assignors = Assignors::default(), "group.consumer.assignors", Kind::Text;
        /// Members of one group.
        group_members_max: u32 = 10_000, "group.max.size", Kind::Count { min: 1, max: 1_000_000 };
        /// Members of one group of the consumer protocol.
        group_consumer_members_max: u32 = 10_000,
            "group.consumer.max.size", Kind::Count { min: 1, max: 1_000_000 };
        /// Whether a group changes its protocol while members are replaced one by one.
        group_consumer_migration: GroupMigration = GroupMigration::Bidirectional,
            "group.consumer.migration.policy", Kind::Words(GroupMigration::WORDS);
        /// Partitions of the topic that holds the groups, when it is created. More spread the groups over more brokers.
        offsets_topic_partitions: i32 = 50, "offsets.topic.num.partitions", Kind::Count { min: 1, max: 1000 };
        /// Replicas of each of its partitions, at most as many as there are brokers.
        offsets_topic_replication_factor: i16 = 3, "offsets.topic.replication.factor", Kind::Count { min: 1, max: 99 };
        /// A group's offsets are forgotten when it has been empty for this long.
        offsets_retention_ms: u64 = 7 * DAY as u64, "offsets.retention.ms", Kind::Millis { min: 1000, max: 3650 * DAY };

        /// The snapshot store, the same on every broker: /a/folder that all of them share, or s3://bucket/prefix with
        /// options as ?region=...&endpoint=...&path-style=true. local: each broker keeps a copy of its own of everything, in the
        /// folder snapshots of its data directory; from such copies no lost cluster is restored. Empty: there is none, and the
        /// log keeps everything.
        snapshot_store: Option<StoreAddress> = None, "snapshot.store", Kind::Store;
        /// A record is in the store about so long after it was committed. Copies of each broker's own follow snapshot.size instead.
        snapshot_lag_max_ms: u64 = 10_000, "snapshot.max.lag", Kind::Millis { min: 100, max: DAY };
        /// So many bytes of a partition do not wait for that.
        snapshot_bytes: u64 = 256 * MIB as u64, "snapshot.size", Kind::Bytes { min: 64 * KIB, max: 16 * GIB };
        /// What a partition has changed by so much at most goes into the store together with others, as a tail: one object
        /// for all of a broker. More gets a snapshot. 0: every partition goes by itself.
        snapshot_tail_bytes: u64 = MIB as u64, "snapshot.tail.size", Kind::Bytes { min: 0, max: 64 * MIB };
        /// Partitions that a broker puts into the store at once.
        snapshot_jobs: u32 = 1, "snapshot.jobs", Kind::Count { min: 1, max: 64 };
        /// Snapshots of a partition that stay in the store when there are newer ones: points to go back to.
        snapshot_keep: u32 = 3, "snapshot.keep", Kind::Count { min: 1, max: 10_000 };
        /// A cut of the whole cluster, from which all partitions can be restored as of one moment, is made so often; 0: only
        /// on demand.
        snapshot_cut_every_ms: u64 = 0, "snapshot.cut.interval", Kind::Millis { min: 0, max: 365 * DAY };
        /// How many of the newest cuts stay in the store with all that they need.
        snapshot_cuts_kept: u32 = 3, "snapshot.cut.keep", Kind::Count { min: 1, max: 10_000 };
        /// What nothing refers to stays in the store for so long. Longer than any snapshot or read takes.
        snapshot_grace_ms: u64 = 3_600_000, "snapshot.grace", Kind::Millis { min: 100, max: 365 * DAY };
        /// Memory for what is read from the store.
        snapshot_cache_bytes: u64 = 64 * MIB as u64, "snapshot.cache.size", Kind::Bytes { min: MIB, max: MAX_SIZE };

        /// Longest orderly stop: leadership handed over, connections drained, a checkpoint written.
        shutdown_max_ms: u64 = 30_000, "shutdown.max", Kind::Millis { min: 0, max: 60 * MINUTE };
        /// How log lines look.
        log_format: LogFormat = LogFormat::Text, "log.format", Kind::Words(LogFormat::WORDS);
        /// Which log lines are written: error, warn, info, debug, trace, also by component, as info,raft=debug.
        log_level: String = "info".to_owned(), "log.level", Kind::Text;
    }
}

impl NodeConfig {
    /// The times of the election profile.
    #[must_use]
    pub fn election(&self) -> ElectionTimes {
        let (timeout_min_ms, timeout_max_ms, heartbeat_ms) = match self.election_profile {
            ElectionProfile::Default => (500, 1000, 100),
            ElectionProfile::LowLatency => (150, 300, 30),
            ElectionProfile::Wan => (2500, 5000, 500),
        };
        ElectionTimes {
            timeout_min_ms,
            timeout_max_ms,
            heartbeat_ms,
        }
    }

    /// What Kafka clients are told: the advertised address, or the listener's.
    #[must_use]
    pub fn kafka_address(&self) -> &Address {
        self.advertised_kafka
            .as_ref()
            .unwrap_or(&self.listener_kafka)
    }

    /// What other brokers are told: the advertised peer address, or the listener's.
    #[must_use]
    pub fn peer_address(&self) -> &Address {
        self.advertised_peer.as_ref().unwrap_or(&self.listener_peer)
    }

    /// Differs between nodes whose `cluster.seeds` differ in anything but their order.
    #[must_use]
    pub fn seeds_fingerprint(&self) -> u64 {
        let mut seeds: Vec<String> = self.cluster_seeds.iter().map(Seed::to_string).collect();
        seeds.sort();
        fingerprint(seeds.join(",").as_bytes())
    }
}
