//! `DescribeLogDirs`: what this broker's disk holds.

use std::collections::{BTreeMap, HashSet};

use protocol::error_code::ErrorCode;
use protocol::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::wire::Str;
use rustix::fs::statvfs;

use crate::dispatch::Context;

/// Answers it: one directory, the broker's.
pub fn handle(cx: &Context, request: &DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let image = cx.broker.image();
    let wanted: Option<HashSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let pairs = topics
            .iter()
            .map(|t| t.partitions.iter().map(|p| (&*t.topic, *p)));
        pairs.flatten().collect()
    });
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in image.groups_on(cx.broker.node_id()) {
        let Some(topic) = image.topic(partition.topic) else {
            continue;
        };
        let index = partition.partition;
        if wanted
            .as_ref()
            .is_some_and(|wanted| !wanted.contains(&(topic.name.as_str(), index)))
        {
            continue;
        }
        let Some((bytes, lag)) = cx.broker.replica_size(partition.group) else {
            continue;
        };
        topics
            .entry(&topic.name)
            .or_default()
            .push(DescribeLogDirsPartition {
                partition_index: index,
                partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
                offset_lag: lag,
                is_future_key: false,
            });
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| DescribeLogDirsTopic {
            name: Str::from(name),
            partitions,
        });
    let data_dir = &cx.config.node.data_dir;
    let (total_bytes, usable_bytes) = statvfs(data_dir).map_or((-1, -1), |disk| {
        let size =
            |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
        (size(disk.f_blocks), size(disk.f_bavail))
    });
    DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            error_code: ErrorCode::None.code(),
            log_dir: Str::from(data_dir.to_string_lossy().into_owned()),
            topics: topics.collect(),
            total_bytes,
            usable_bytes,
            is_cordoned: false,
        }],
        ..Default::default()
    }
}
