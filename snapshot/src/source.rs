//! What a snapshot is of.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The partition that an object holds something of. Objects of another source are refused wherever they are met.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The cluster whose store it is: the first one's id, which stays through restores.
    pub cluster_id: String,
    /// The topic's id: a topic that is deleted and created again has another one.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster_id,
            topic_id,
            partition,
        } = self;
        write!(
            f,
            "partition {partition} of topic {topic_id} in cluster {cluster_id}"
        )
    }
}

/// Which life of a cluster: 1 when it is formed, one more with every restore from the bucket.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u32);

impl Incarnation {
    /// Of a cluster that was never restored.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}
