//! `DescribeTopicPartitions`: topics by name, a page at a time.

use std::collections::BTreeSet;

use protocol::error_code::ErrorCode;
use protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use protocol::wire::{Str, Uuid};
use raft::types::GroupId;

use super::{lookup, metadata};
use crate::dispatch::Context;
use crate::metadata::{Image, Topic};

/// Partitions of one answer, whatever the client asks for.
const PAGE_MAX: usize = 2_000;

/// Answers it.
pub fn handle(
    cx: &Context,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = cx.broker.image();
    let mut page = Page {
        left: usize::try_from(request.response_partition_limit)
            .unwrap_or(0)
            .clamp(1, PAGE_MAX),
        answer: DescribeTopicPartitionsResponse::default(),
    };
    let asked: BTreeSet<&str> = if request.topics.is_empty() {
        image.topics().map(|topic| topic.name.as_str()).collect()
    } else {
        request.topics.iter().map(|topic| &*topic.name).collect()
    };
    let (begin, first) = match &request.cursor {
        Some(cursor) => (
            &*cursor.topic_name,
            usize::try_from(cursor.partition_index).unwrap_or(0),
        ),
        None => ("", 0),
    };
    for name in asked.range(begin..) {
        let first = if *name == begin { first } else { 0 };
        match image.topic_named(name) {
            Some(topic) => page.topic(cx, &image, topic, first),
            None => page.unknown(name),
        }
        if page.answer.next_cursor.is_some() {
            break;
        }
    }
    page.answer
}

struct Page {
    left: usize,
    answer: DescribeTopicPartitionsResponse,
}

impl Page {
    fn unknown(&mut self, name: &str) {
        let code = if lookup::is_topic_name(name) {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::InvalidTopic
        };
        self.answer
            .topics
            .push(DescribeTopicPartitionsResponseTopic {
                error_code: code.code(),
                name: Some(Str::from(name)),
                ..Default::default()
            });
    }

    /// Adds the topic's partitions from `first` on, and a cursor when they do not all fit.
    fn topic(&mut self, cx: &Context, image: &Image, topic: &Topic, first: usize) {
        let name = Str::from(topic.name.as_str());
        let cursor = |partition: usize| Cursor {
            topic_name: Str::from(topic.name.as_str()),
            partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
        };
        if self.left == 0 {
            self.answer.next_cursor = Some(cursor(first));
            return;
        }
        let end = topic.partitions.len().min(first.saturating_add(self.left));
        let groups = topic.partitions.get(first..end).unwrap_or(&[]);
        self.left -= groups.len();
        let partitions = groups
            .iter()
            .filter_map(|group| partition(cx, image, *group));
        self.answer
            .topics
            .push(DescribeTopicPartitionsResponseTopic {
                error_code: ErrorCode::None.code(),
                name: Some(name),
                topic_id: Uuid(topic.id.0),
                is_internal: lookup::is_internal(&topic.name),
                partitions: partitions.collect(),
                ..Default::default()
            });
        if end < topic.partitions.len() {
            self.answer.next_cursor = Some(cursor(end));
        }
    }
}

fn partition(
    cx: &Context,
    image: &Image,
    group: GroupId,
) -> Option<DescribeTopicPartitionsResponsePartition> {
    let view = metadata::view(&cx.broker, image, group)?;
    Some(DescribeTopicPartitionsResponsePartition {
        error_code: view.code.code(),
        partition_index: view.index,
        leader_id: view.leader,
        leader_epoch: view.epoch,
        replica_nodes: view.replicas,
        isr_nodes: view.in_sync,
        // NB: null where Kafka has an empty list stops its Java client.
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: view.offline,
    })
}
