//! What the controller may do, how much of it at once, and the defaults that it fills in.

/// Limits and defaults of the controller. Every value comes from the broker's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Partitions of a topic whose creator does not say (-1). Default 1.
    pub default_partitions: i32,
    /// Replicas of a partition whose creator does not say (-1). 0, the default: 3, or all brokers when fewer.
    pub default_replication_factor: i16,
    /// Most partitions of one topic. Default 50,000.
    pub topic_partitions_max: usize,
    /// Most partitions of the cluster. The metadata state holds them all in memory. Default 200,000.
    pub partitions_max: usize,
    /// Most topics in one request. Default 10,000.
    pub request_topics_max: usize,
    /// Largest `max.message.bytes`: a batch must fit into an entry of the log. Default 32 MiB less 64 KiB.
    pub message_bytes_max: i64,
    /// Producer ids given to a broker at once. Default 1,000.
    pub producer_id_block: u32,
    /// Replace replicas on wiped disks without being asked. Default true.
    pub replace_wiped: bool,
    /// Moves under way at once, operators' moves counted, that the controller adds to by itself. More moves sooner,
    /// fewer leave more bandwidth to clients. Default 50.
    pub moves_max: usize,
    /// Give leadership back to preferred leaders without being asked. Default true.
    pub rebalance_leaders: bool,
    /// Leadership transfers asked for in one tick. Default 20.
    pub transfers_per_tick: usize,
    /// How long a preferred leader must have been heard before it gets its leadership back. Default 10 s.
    pub leader_stable_ms: u64,
    /// Wait before the same thing is asked of the same group again. Default 30 s.
    pub retry_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_partitions: 1,
            default_replication_factor: 0,
            topic_partitions_max: 50_000,
            partitions_max: 200_000,
            request_topics_max: 10_000,
            message_bytes_max: 32 * 1024 * 1024 - 64 * 1024,
            producer_id_block: 1000,
            replace_wiped: true,
            moves_max: 50,
            rebalance_leaders: true,
            transfers_per_tick: 20,
            leader_stable_ms: 10_000,
            retry_ms: 30_000,
        }
    }
}
