//! Why an item of a request failed, in Kafka's codes.

use protocol::error_code::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::metadata::{Rejected, form};

/// An error for one item of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Failure {
    /// Kafka's code; never `None`.
    #[serde(with = "form")]
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
}

impl Failure {
    /// An error with this message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        assert!(code != ErrorCode::None, "a failure is not a success");
        Self {
            code,
            message: message.into(),
        }
    }

    /// Whether Kafka's clients try again.
    #[must_use]
    pub fn retriable(&self) -> bool {
        self.code.retriable()
    }
}

impl From<&Rejected> for Failure {
    fn from(why: &Rejected) -> Self {
        let code = match why {
            // Leadership changed between the plan and the entry: ask again.
            Rejected::AlreadyApplied(_) => ErrorCode::NotController,
            Rejected::TopicExists(_) => ErrorCode::TopicAlreadyExists,
            Rejected::UnknownTopic(_) | Rejected::UnknownGroup(_) => {
                ErrorCode::UnknownTopicOrPartition
            }
            Rejected::UnknownBroker(_) => ErrorCode::BrokerIdNotRegistered,
            Rejected::UnknownReplica(_) | Rejected::InvalidAssignment(_) => {
                ErrorCode::InvalidReplicaAssignment
            }
            Rejected::Stale { .. } | Rejected::NotTheTarget => ErrorCode::InvalidUpdateVersion,
            Rejected::PartitionCountChanged { .. } => ErrorCode::InvalidPartitions,
            Rejected::InvalidRegistration(_) => ErrorCode::InvalidRegistration,
            Rejected::DirectoryInUse(_) => ErrorCode::DuplicateBrokerRegistration,
            Rejected::NoReassignment(_) => ErrorCode::NoReassignmentInProgress,
            Rejected::BrokerInUse { .. }
            | Rejected::NothingToChange
            | Rejected::NoProducerIds(_) => ErrorCode::InvalidRequest,
        };
        Self::new(code, why.to_string())
    }
}
