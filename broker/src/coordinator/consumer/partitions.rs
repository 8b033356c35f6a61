//! A set of partitions of many topics.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, BytesMut};

use crate::coordinator::codec::{get_len, put_len};
use crate::metadata::TopicId;

/// See the module. No topic is there without a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    by_topic: BTreeMap<TopicId, BTreeSet<i32>>,
}

impl Partitions {
    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_topic.values().map(BTreeSet::len).sum()
    }

    /// By topic.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &BTreeSet<i32>)> {
        self.by_topic.iter().map(|(id, set)| (*id, set))
    }

    /// One by one, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, i32)> {
        let topics = self.by_topic.iter();
        topics.flat_map(|(id, set)| set.iter().map(|partition| (*id, *partition)))
    }

    /// Whether it is one of these.
    #[must_use]
    pub fn contains(&self, topic: TopicId, partition: i32) -> bool {
        let set = self.by_topic.get(&topic);
        set.is_some_and(|set| set.contains(&partition))
    }

    /// One more.
    pub fn insert(&mut self, topic: TopicId, partition: i32) {
        self.by_topic.entry(topic).or_default().insert(partition);
    }

    /// One less.
    pub fn remove(&mut self, topic: TopicId, partition: i32) {
        if let Some(set) = self.by_topic.get_mut(&topic) {
            set.remove(&partition);
            if set.is_empty() {
                self.by_topic.remove(&topic);
            }
        }
    }

    /// Whether all of these are among the others.
    #[must_use]
    pub fn is_subset(&self, others: &Self) -> bool {
        self.iter()
            .all(|(topic, partition)| others.contains(topic, partition))
    }

    /// Whether one of these is among the others.
    #[must_use]
    pub fn meets(&self, others: &Self) -> bool {
        self.iter()
            .any(|(topic, partition)| others.contains(topic, partition))
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_len(out, self.by_topic.len());
        for (topic, partitions) in &self.by_topic {
            out.put_u128(topic.0);
            put_len(out, partitions.len());
            for partition in partitions {
                out.put_i32(*partition);
            }
        }
    }

    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut partitions = Self::default();
        for _ in 0..get_len(bytes, 20)? {
            let topic = TopicId(bytes.try_get_u128().ok()?);
            for _ in 0..get_len(bytes, 4)? {
                partitions.insert(topic, bytes.try_get_i32().ok()?);
            }
        }
        Some(partitions)
    }
}

impl FromIterator<(TopicId, i32)> for Partitions {
    fn from_iter<I: IntoIterator<Item = (TopicId, i32)>>(all: I) -> Self {
        let mut partitions = Self::default();
        for (topic, partition) in all {
            partitions.insert(topic, partition);
        }
        partitions
    }
}
