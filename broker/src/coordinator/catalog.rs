//! The topics of the cluster, as a coordinator of groups needs them.

use std::fmt::Debug;

use super::state::KnownTopic;
use crate::metadata::{Image, TopicId};

/// What the broker has applied of the cluster's metadata.
pub trait Catalog: Debug {
    /// Rises with every change, on all brokers alike.
    fn version(&self) -> u64;

    /// A topic's id and number of partitions.
    fn topic(&self, name: &str) -> Option<(TopicId, i32)>;

    /// A topic's name.
    fn name(&self, id: TopicId) -> Option<&str>;

    /// The names of all topics.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// Whether a topic is deleted for sure. NB: one that is not here may also be one that is not here yet.
    fn is_gone(&self, topic: KnownTopic) -> bool {
        self.version() >= topic.known_at && self.name(topic.id).is_none()
    }
}

impl Catalog for Image {
    fn version(&self) -> u64 {
        self.applied().0
    }

    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        let topic = self.topic_named(name)?;
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        Some((topic.id, count))
    }

    fn name(&self, id: TopicId) -> Option<&str> {
        self.topic(id).map(|topic| topic.name.as_str())
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.topics().map(|topic| topic.name.as_str()))
    }
}
