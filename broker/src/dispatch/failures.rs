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
        R::OffsetCommit(_)
        | R::OffsetFetch(_)
        | R::OffsetDelete(_)
        | R::JoinGroup(_)
        | R::SyncGroup(_)
        | R::Heartbeat(_)
        | R::LeaveGroup(_)
        | R::DescribeGroups(_)
        | R::ConsumerGroupHeartbeat(_)
        | R::ConsumerGroupDescribe(_)
        | R::ListGroups(_)
        | R::DeleteGroups(_) => of_group(response),
    }
}

/// The same of what is about groups. A new member's id and a rebalance are told by codes, and are no errors.
fn of_group(response: &AnyResponse) -> bool {
    use AnyResponse as R;
    let usual = [
        ErrorCode::None,
        ErrorCode::MemberIdRequired,
        ErrorCode::RebalanceInProgress,
    ];
    let bad = |code: i16| usual.iter().all(|known| known.code() != code);
    match response {
        R::OffsetCommit(r) => {
            let mut rows = r.topics.iter().flat_map(|t| &t.partitions);
            rows.any(|row| bad(row.error_code))
        }
        R::OffsetFetch(r) => {
            let mut single = r.topics.iter().flat_map(|t| &t.partitions);
            let topics = r.groups.iter().flat_map(|g| &g.topics);
            let mut batched = topics.flat_map(|t| &t.partitions);
            bad(r.error_code)
                || r.groups.iter().any(|g| bad(g.error_code))
                || single.any(|row| bad(row.error_code))
                || batched.any(|row| bad(row.error_code))
        }
        R::OffsetDelete(r) => {
            let mut rows = r.topics.iter().flat_map(|t| &t.partitions);
            bad(r.error_code) || rows.any(|row| bad(row.error_code))
        }
        R::JoinGroup(r) => bad(r.error_code),
        R::SyncGroup(r) => bad(r.error_code),
        R::Heartbeat(r) => bad(r.error_code),
        R::LeaveGroup(r) => bad(r.error_code) || r.members.iter().any(|m| bad(m.error_code)),
        R::DescribeGroups(r) => r.groups.iter().any(|g| bad(g.error_code)),
        R::ConsumerGroupHeartbeat(r) => bad(r.error_code),
        R::ConsumerGroupDescribe(r) => r.groups.iter().any(|g| bad(g.error_code)),
        R::ListGroups(r) => bad(r.error_code),
        R::DeleteGroups(r) => r.results.iter().any(|g| bad(g.error_code)),
        other => unreachable!("{:?} is not about groups", other.key()),
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
    fn what_every_rebalance_says_is_no_error() {
        use protocol::messages::HeartbeatResponse;
        for (code, is_error) in [
            (ErrorCode::None, false),
            (ErrorCode::RebalanceInProgress, false),
            (ErrorCode::MemberIdRequired, false),
            (ErrorCode::NotCoordinator, true),
            (ErrorCode::UnknownMemberId, true),
        ] {
            let answer = HeartbeatResponse {
                error_code: code.code(),
                ..Default::default()
            };
            assert_eq!(
                has_error(&AnyResponse::Heartbeat(answer)),
                is_error,
                "{code}"
            );
        }
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
