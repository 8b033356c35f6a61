//! Kafka's names of the error codes that groups meet.

const NAMES: [(i64, &str); 32] = [
    (-1, "UNKNOWN_SERVER_ERROR"),
    (0, "NONE"),
    (3, "UNKNOWN_TOPIC_OR_PARTITION"),
    (7, "REQUEST_TIMED_OUT"),
    (12, "OFFSET_METADATA_TOO_LARGE"),
    (14, "COORDINATOR_LOAD_IN_PROGRESS"),
    (15, "COORDINATOR_NOT_AVAILABLE"),
    (16, "NOT_COORDINATOR"),
    (17, "INVALID_TOPIC_EXCEPTION"),
    (22, "ILLEGAL_GENERATION"),
    (23, "INCONSISTENT_GROUP_PROTOCOL"),
    (24, "INVALID_GROUP_ID"),
    (25, "UNKNOWN_MEMBER_ID"),
    (26, "INVALID_SESSION_TIMEOUT"),
    (27, "REBALANCE_IN_PROGRESS"),
    (28, "INVALID_COMMIT_OFFSET_SIZE"),
    (35, "UNSUPPORTED_VERSION"),
    (42, "INVALID_REQUEST"),
    (44, "POLICY_VIOLATION"),
    (68, "NON_EMPTY_GROUP"),
    (69, "GROUP_ID_NOT_FOUND"),
    (79, "MEMBER_ID_REQUIRED"),
    (81, "GROUP_MAX_SIZE_REACHED"),
    (82, "FENCED_INSTANCE_ID"),
    (86, "GROUP_SUBSCRIBED_TO_TOPIC"),
    (88, "UNSTABLE_OFFSET_COMMIT"),
    (100, "UNKNOWN_TOPIC_ID"),
    (110, "FENCED_MEMBER_EPOCH"),
    (111, "UNRELEASED_INSTANCE_ID"),
    (112, "UNSUPPORTED_ASSIGNOR"),
    (113, "STALE_MEMBER_EPOCH"),
    (128, "INVALID_REGULAR_EXPRESSION"),
];

/// The name, or the number of one that has none here.
pub fn of(code: i64) -> String {
    let name = NAMES.iter().find(|(own, _)| *own == code);
    name.map_or_else(|| code.to_string(), |(_, name)| (*name).to_owned())
}
