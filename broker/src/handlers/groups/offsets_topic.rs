//! The topic that holds the groups: created when the first client looks for a coordinator.

use std::time::Duration;

use protocol::error_code::ErrorCode;
use tracing::{info, warn};

use crate::controller::{ControllerRequest, CreateTopic};
use crate::coordinator::OFFSETS_TOPIC;
use crate::dispatch::Context;
use crate::handlers::topics;
use crate::metadata::Image;

/// How long a client that looks for a coordinator waits for the topic before it is told to ask again.
const CREATE_WAIT: Duration = Duration::from_secs(5);

/// As the configuration wants it.
pub fn wanted(cx: &Context) -> CreateTopic {
    let node = &cx.config.node;
    let brokers = brokers(&cx.broker.image()).max(node.cluster_seeds.len());
    CreateTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: node.offsets_topic_partitions,
        replication_factor: replicas(node.offsets_topic_replication_factor, brokers),
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

/// Creates it. That somebody else did is as good.
pub async fn create(cx: &Context) {
    let call = ControllerRequest::CreateTopics {
        topics: vec![wanted(cx)],
        validate_only: false,
    };
    for answer in topics::ask(cx, call, 1, CREATE_WAIT).await {
        match answer {
            Ok(_) => info!(topic = OFFSETS_TOPIC, "created the topic of the groups"),
            Err(failure) if failure.code == ErrorCode::TopicAlreadyExists => {}
            Err(failure) => {
                warn!(topic = OFFSETS_TOPIC, %failure, "cannot create the topic of the groups");
            }
        }
    }
}

/// Brokers that could hold a replica.
fn brokers(image: &Image) -> usize {
    image.brokers().filter(|broker| !broker.draining).count()
}

/// Replicas of each partition: as configured, but a small cluster has groups too.
///
/// NB: founding members count before they have registered. A topic with fewer replicas than it could have would stay
/// so; that it cannot be placed yet passes by itself.
fn replicas(configured: i16, brokers: usize) -> i16 {
    let brokers = i16::try_from(brokers.max(1)).unwrap_or(i16::MAX);
    configured.min(brokers)
}

#[cfg(test)]
mod tests {
    use super::replicas;

    #[test]
    fn a_small_cluster_has_fewer_replicas() {
        assert_eq!(replicas(3, 1), 1);
        assert_eq!(replicas(3, 2), 2);
        assert_eq!(replicas(3, 9), 3);
        assert_eq!(replicas(5, 100_000), 5);
        assert_eq!(
            replicas(3, 0),
            1,
            "the controller says that nobody is there"
        );
    }
}
