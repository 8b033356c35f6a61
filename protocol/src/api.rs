//! THE table: which APIs are served, in which versions, how they run and who may call them.
//!
//! The ApiVersions answer is made from it ([`api_versions`]), so nothing else can be advertised. A
//! row is a promise of behaviour, not only of a codec.

use crate::error_code::ErrorCode;
use crate::messages::api_versions::{ApiVersion, ApiVersionsResponse};

/// How a request runs. Responses leave in the order of requests in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Answered at once from this broker's memory.
    Inline,
    /// Started in the order of requests, finished in the background while later requests start.
    Ordered,
}

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing is asked.
    None,
    /// Read records.
    Read,
    /// Write records.
    Write,
    /// Create topics.
    Create,
    /// Delete topics, records or groups.
    Delete,
    /// Change topics or the cluster.
    Alter,
    /// See that something exists.
    Describe,
    /// See configuration.
    DescribeConfigs,
    /// Change configuration.
    AlterConfigs,
}

/// Upon what it must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// Nothing in particular.
    None,
    /// Each topic of the request.
    Topic,
    /// The groups or transactional ids of the request.
    Coordinated,
    /// The cluster.
    Cluster,
    /// What the request's resource type says: topic, broker or group.
    Named,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// Kafka's name for it.
    pub name: &'static str,
    /// Lowest version that is served.
    pub min: i16,
    /// Highest version that is served.
    pub max: i16,
    /// Lowest version in the ApiVersions answer. Below `min` only for Produce: librdkafka before
    /// 2.11.1 silently stops compressing unless it sees version 0; it does not send it.
    pub advertised_min: i16,
    /// Highest version in the ApiVersions answer.
    pub advertised_max: i16,
    /// The first flexible version: request header 2, compact lengths, tagged fields. `i16::MAX` for an API that never
    /// has one.
    pub flexible: i16,
    /// How it runs.
    pub stage: Stage,
    /// What the caller must be allowed to do (the check itself belongs to the broker).
    pub operation: Operation,
    /// Upon what.
    pub resource: ResourceKind,
    /// The broker's module that handles it.
    pub handler: &'static str,
}

/// The first of the lowest versions: the one that is advertised, or the one that is served.
macro_rules! first {
    ($first:literal $($rest:literal)?) => {
        $first
    };
}

macro_rules! table {
    ($($name:ident $key:literal: $min:literal..=$max:literal $(advertised from $low:literal)?,
       flexible $flexible:literal, $stage:ident, $operation:ident $resource:ident,
       $handler:literal;)*) => {
        /// The APIs of the table, by Kafka's number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(#[doc = concat!("Key ", stringify!($key), ".")] $name = $key,)*
        }

        impl ApiKey {
            /// The API with this number, if it is served.
            #[must_use]
            pub fn from_number(number: i16) -> Option<Self> {
                match number {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its row.
            #[must_use]
            pub fn api(self) -> &'static Api {
                match self {
                    $(Self::$name => const {
                        &Api {
                            key: ApiKey::$name,
                            name: stringify!($name),
                            min: $min,
                            max: $max,
                            advertised_min: first!($($low)? $min),
                            advertised_max: $max,
                            flexible: $flexible,
                            stage: Stage::$stage,
                            operation: Operation::$operation,
                            resource: ResourceKind::$resource,
                            handler: $handler,
                        }
                    },)*
                }
            }
        }

        /// All keys of the table, in its order.
        pub const KEYS: &[ApiKey] = &[$(ApiKey::$name,)*];
    };
}

table! {
    Produce 0: 3..=12 advertised from 0, flexible 9, Ordered, Write Topic, "produce";
    Fetch 1: 4..=17, flexible 12, Ordered, Read Topic, "fetch";
    ListOffsets 2: 1..=10, flexible 6, Ordered, Describe Topic, "list_offsets";
    Metadata 3: 0..=13, flexible 9, Ordered, Describe Topic, "metadata";
    OffsetCommit 8: 2..=10, flexible 8, Ordered, Read Coordinated, "offset_commit";
    OffsetFetch 9: 1..=10, flexible 6, Ordered, Describe Coordinated, "offset_fetch";
    FindCoordinator 10: 0..=6, flexible 3, Ordered, Describe Coordinated, "find_coordinator";
    JoinGroup 11: 0..=9, flexible 6, Ordered, Read Coordinated, "join_group";
    Heartbeat 12: 0..=4, flexible 4, Ordered, Read Coordinated, "heartbeat";
    LeaveGroup 13: 0..=5, flexible 4, Ordered, Read Coordinated, "leave_group";
    SyncGroup 14: 0..=5, flexible 4, Ordered, Read Coordinated, "sync_group";
    DescribeGroups 15: 0..=6, flexible 5, Ordered, Describe Coordinated, "describe_groups";
    ListGroups 16: 0..=5, flexible 3, Ordered, Describe Coordinated, "list_groups";
    ApiVersions 18: 0..=4, flexible 3, Inline, None None, "api_versions";
    CreateTopics 19: 2..=7, flexible 5, Ordered, Create Topic, "create_topics";
    DeleteTopics 20: 1..=6, flexible 4, Ordered, Delete Topic, "delete_topics";
    DeleteRecords 21: 0..=2, flexible 2, Ordered, Delete Topic, "delete_records";
    InitProducerId 22: 0..=5, flexible 2, Ordered, Write Cluster, "init_producer_id";
    OffsetForLeaderEpoch 23: 2..=4, flexible 4, Ordered, Describe Topic, "offset_for_leader_epoch";
    DescribeConfigs 32: 1..=4, flexible 4, Ordered, DescribeConfigs Named, "describe_configs";
    AlterConfigs 33: 0..=2, flexible 2, Ordered, AlterConfigs Named, "alter_configs";
    DescribeLogDirs 35: 1..=5, flexible 2, Ordered, Describe Cluster, "describe_log_dirs";
    CreatePartitions 37: 0..=3, flexible 2, Ordered, Alter Topic, "create_partitions";
    DeleteGroups 42: 0..=2, flexible 2, Ordered, Delete Coordinated, "delete_groups";
    ElectLeaders 43: 0..=2, flexible 2, Ordered, Alter Cluster, "elect_leaders";
    IncrementalAlterConfigs 44: 0..=1, flexible 1, Ordered, AlterConfigs Named,
        "incremental_alter_configs";
    AlterPartitionReassignments 45: 0..=1, flexible 0, Ordered, Alter Cluster,
        "alter_partition_reassignments";
    ListPartitionReassignments 46: 0..=0, flexible 0, Ordered, Describe Cluster,
        "list_partition_reassignments";
    // Never flexible.
    OffsetDelete 47: 0..=0, flexible 32767, Ordered, Delete Coordinated, "offset_delete";
    DescribeCluster 60: 0..=2, flexible 0, Inline, Describe Cluster, "describe_cluster";
    DescribeProducers 61: 0..=0, flexible 0, Ordered, Read Topic, "describe_producers";
    ConsumerGroupHeartbeat 68: 0..=1, flexible 0, Ordered, Read Coordinated,
        "consumer_group_heartbeat";
    ConsumerGroupDescribe 69: 0..=1, flexible 0, Ordered, Describe Coordinated,
        "consumer_group_describe";
    DescribeTopicPartitions 75: 0..=0, flexible 0, Inline, Describe Topic,
        "describe_topic_partitions";
}

impl ApiKey {
    /// Kafka's number.
    #[must_use]
    pub fn number(self) -> i16 {
        self as i16
    }

    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.api().name
    }

    /// Whether requests of this version are served. If not, the connection is closed (but for
    /// ApiVersions, which is answered by [`api_versions_unsupported`]).
    #[must_use]
    pub fn serves(self, version: i16) -> bool {
        (self.api().min..=self.api().max).contains(&version)
    }

    /// The request header's version: 2 has tagged fields.
    #[must_use]
    pub fn request_header_version(self, version: i16) -> i16 {
        if version >= self.api().flexible { 2 } else { 1 }
    }

    /// The response header's version: 1 has tagged fields. Always 0 for ApiVersions: its caller
    /// does not know yet what the broker speaks.
    #[must_use]
    pub fn response_header_version(self, version: i16) -> i16 {
        if self != Self::ApiVersions && version >= self.api().flexible {
            1
        } else {
            0
        }
    }
}

/// The ApiVersions answer: the whole table.
#[must_use]
pub fn api_versions() -> ApiVersionsResponse {
    let row = |key: &ApiKey| {
        let api = key.api();
        ApiVersion {
            api_key: key.number(),
            min_version: api.advertised_min,
            max_version: api.advertised_max,
        }
    };
    ApiVersionsResponse {
        api_keys: KEYS.iter().map(row).collect(),
        ..Default::default()
    }
}

/// The answer to an ApiVersions request of a version that is not served, to be encoded as version
/// 0: the caller then asks again with a version that it finds in it.
#[must_use]
pub fn api_versions_unsupported() -> ApiVersionsResponse {
    let mut answer = api_versions();
    answer.error_code = ErrorCode::UnsupportedVersion.code();
    answer
        .api_keys
        .retain(|api| api.api_key == ApiKey::ApiVersions.number());
    answer
}
