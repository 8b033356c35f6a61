//! Whether an answer carries an error, for the metrics: one place for all APIs, so that none is forgotten.

use protocol::error_code::ErrorCode;
use protocol::messages::AnyResponse;

/// Whether any part of the answer is an error.
pub(super) fn has_error(response: &AnyResponse) -> bool {
    use AnyResponse as R;
    let bad = |code: i16| code != ErrorCode::None.code();
    match response {
        R::Produce(r) => {
            let mut rows = r.responses.iter().flat_map(|t| &t.partition_responses);
            rows.any(|row| bad(row.error_code))
        }
        R::Fetch(r) => {
            let mut rows = r.responses.iter().flat_map(|t| &t.partitions);
            bad(r.error_code) || rows.any(|row| bad(row.error_code))
        }
        R::ListOffsets(r) => {
            let mut rows = r.topics.iter().flat_map(|t| &t.partitions);
            rows.any(|row| bad(row.error_code))
        }
        R::Metadata(r) => bad(r.error_code) || r.topics.iter().any(|t| bad(t.error_code)),
        R::FindCoordinator(r) => {
            bad(r.error_code) || r.coordinators.iter().any(|c| bad(c.error_code))
        }
        R::ApiVersions(r) => bad(r.error_code),
        R::CreateTopics(r) => r.topics.iter().any(|t| bad(t.error_code)),
        R::DeleteTopics(r) => r.responses.iter().any(|t| bad(t.error_code)),
        R::DeleteRecords(r) => {
            let mut rows = r.topics.iter().flat_map(|t| &t.partitions);
            rows.any(|row| bad(row.error_code))
        }
        R::InitProducerId(r) => bad(r.error_code),
        R::OffsetForLeaderEpoch(r) => {
            let mut rows = r.topics.iter().flat_map(|t| &t.partitions);
            rows.any(|row| bad(row.error_code))
        }
        R::DescribeConfigs(r) => r.results.iter().any(|row| bad(row.error_code)),
        R::AlterConfigs(r) => r.responses.iter().any(|row| bad(row.error_code)),
        R::IncrementalAlterConfigs(r) => r.responses.iter().any(|row| bad(row.error_code)),
        R::DescribeLogDirs(r) => {
            bad(r.error_code) || r.results.iter().any(|row| bad(row.error_code))
        }
        R::CreatePartitions(r) => r.results.iter().any(|row| bad(row.error_code)),
        R::ElectLeaders(r) => {
            let results = r.replica_election_results.iter();
            let mut rows = results.flat_map(|t| &t.partition_result);
            bad(r.error_code) || rows.any(|row| bad(row.error_code))
        }
        R::AlterPartitionReassignments(r) => {
            let mut rows = r.responses.iter().flat_map(|t| &t.partitions);
            bad(r.error_code) || rows.any(|row| bad(row.error_code))
        }
        R::ListPartitionReassignments(r) => bad(r.error_code),
        R::DescribeCluster(r) => bad(r.error_code),
        R::DescribeProducers(r) => {
            let mut rows = r.topics.iter().flat_map(|t| &t.partitions);
            rows.any(|row| bad(row.error_code))
        }
        R::DescribeTopicPartitions(r) => r.topics.iter().any(|t| bad(t.error_code)),
    }
}

#[cfg(test)]
mod tests {
    use protocol::messages::create_topics::{CreatableTopicResult, CreateTopicsResponse};
    use protocol::messages::list_offsets::{
        ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
    };

    use super::*;

    fn offsets(codes: &[ErrorCode]) -> AnyResponse {
        let row = |code: &ErrorCode| ListOffsetsPartitionResponse {
            error_code: code.code(),
            ..Default::default()
        };
        let topic = ListOffsetsTopicResponse {
            partitions: codes.iter().map(row).collect(),
            ..Default::default()
        };
        AnyResponse::ListOffsets(ListOffsetsResponse {
            topics: vec![topic],
            ..Default::default()
        })
    }

    #[test]
    fn one_bad_partition_is_an_error() {
        assert!(!has_error(&offsets(&[ErrorCode::None, ErrorCode::None])));
        let mixed = offsets(&[ErrorCode::None, ErrorCode::NotLeaderOrFollower]);
        assert!(has_error(&mixed));
    }

    #[test]
    fn one_bad_topic_is_an_error() {
        let topic = CreatableTopicResult {
            error_code: ErrorCode::TopicAlreadyExists.code(),
            ..Default::default()
        };
        let response = CreateTopicsResponse {
            topics: vec![CreatableTopicResult::default(), topic],
            ..Default::default()
        };
        assert!(has_error(&AnyResponse::CreateTopics(response)));
    }
}
