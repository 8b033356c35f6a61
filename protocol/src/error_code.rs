//! Kafka's error codes: number, name, and whether the client tries again.

macro_rules! codes {
    ($($name:ident $code:literal $retriable:literal $text:literal;)*) => {
        /// An error code of a response. 0 is success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = concat!($text, " (", stringify!($code), ")")] $name = $code,)*
        }

        /// All codes, in their order.
        pub const CODES: &[ErrorCode] = &[$(ErrorCode::$name,)*];

        impl ErrorCode {
            /// The error with this number.
            #[must_use]
            pub fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Whether Kafka's clients send the same request again, perhaps elsewhere.
            #[must_use]
            pub fn retriable(self) -> bool {
                match self {
                    $(Self::$name => $retriable,)*
                }
            }

            /// What it means, in a few words.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The variant's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

codes! {
    UnknownServerError -1 false "an error that the broker did not expect";
    None 0 false "no error";
    OffsetOutOfRange 1 false "the offset is outside of the partition's log";
    CorruptMessage 2 true "the batch fails its checksum or is malformed";
    UnknownTopicOrPartition 3 true "this broker does not know the topic or partition";
    InvalidFetchSize 4 false "the fetch size is not valid";
    LeaderNotAvailable 5 true "there is no leader now";
    NotLeaderOrFollower 6 true "this broker does not lead the partition";
    RequestTimedOut 7 true "the time of the request is over";
    BrokerNotAvailable 8 false "the broker is not available";
    ReplicaNotAvailable 9 true "the replica is not there for this request";
    MessageTooLarge 10 false "the batch is larger than allowed";
    StaleControllerEpoch 11 false "the controller moved to another broker";
    OffsetMetadataTooLarge 12 false "the metadata of the offset is too long";
    NetworkException 13 true "the connection was lost before the response";
    CoordinatorLoadInProgress 14 true "the coordinator is loading";
    CoordinatorNotAvailable 15 true "there is no coordinator now";
    NotCoordinator 16 true "this broker is not the coordinator";
    InvalidTopic 17 false "the topic name is not valid";
    RecordListTooLarge 18 false "the batches are larger than a segment";
    NotEnoughReplicas 19 true "fewer replicas in sync than required";
    NotEnoughReplicasAfterAppend 20 true "written, but to fewer replicas in sync than required";
    InvalidRequiredAcks 21 false "acks has no valid value";
    IllegalGeneration 22 false "the generation of the group is not valid";
    InconsistentGroupProtocol 23 false "the member's protocols do not fit those of the group";
    InvalidGroupId 24 false "the group id is not valid";
    UnknownMemberId 25 false "the member is not known";
    InvalidSessionTimeout 26 false "the session timeout is out of its range";
    RebalanceInProgress 27 false "the group rebalances";
    InvalidCommitOffsetSize 28 false "the committed offset's data is too large";
    TopicAuthorizationFailed 29 false "not allowed on the topic";
    GroupAuthorizationFailed 30 false "not allowed on the group";
    ClusterAuthorizationFailed 31 false "not allowed on the cluster";
    InvalidTimestamp 32 false "the timestamp is out of its range";
    UnsupportedSaslMechanism 33 false "the SASL mechanism is not supported";
    IllegalSaslState 34 false "the request does not fit the SASL state";
    UnsupportedVersion 35 false "the version is not supported";
    TopicAlreadyExists 36 false "there is a topic of this name";
    InvalidPartitions 37 false "the number of partitions is not valid";
    InvalidReplicationFactor 38 false "the replication factor is not valid";
    InvalidReplicaAssignment 39 false "the assignment of replicas is not valid";
    InvalidConfig 40 false "the configuration is not valid";
    NotController 41 true "this broker is not the controller";
    InvalidRequest 42 false "the request makes no sense";
    UnsupportedForMessageFormat 43 false "the message format does not support the request";
    PolicyViolation 44 false "the request violates a policy";
    OutOfOrderSequenceNumber 45 false "the producer's sequence number has a gap";
    DuplicateSequenceNumber 46 false "the producer's sequence number was seen";
    InvalidProducerEpoch 47 false "the producer's epoch is old";
    InvalidTxnState 48 false "the transaction is in another state";
    InvalidProducerIdMapping 49 false "the producer id is not that of the transactional id";
    InvalidTransactionTimeout 50 false "the transaction timeout is above the limit";
    ConcurrentTransactions 51 false "the producer's last transaction is not over yet";
    TransactionCoordinatorFenced 52 false "the transaction coordinator has been replaced";
    TransactionalIdAuthorizationFailed 53 false "not allowed on the transactional id";
    SecurityDisabled 54 false "security features are off";
    OperationNotAttempted 55 false "the operation was not tried";
    KafkaStorageError 56 true "the disk failed";
    LogDirNotFound 57 false "there is no such log directory";
    SaslAuthenticationFailed 58 false "the authentication failed";
    UnknownProducerId 59 false "nothing is known of the producer";
    ReassignmentInProgress 60 false "the partition is being reassigned";
    DelegationTokenAuthDisabled 61 false "delegation tokens are off";
    DelegationTokenNotFound 62 false "there is no such delegation token";
    DelegationTokenOwnerMismatch 63 false "the delegation token has another owner";
    DelegationTokenRequestNotAllowed 64 false "no delegation tokens on this connection";
    DelegationTokenAuthorizationFailed 65 false "not allowed on the delegation token";
    DelegationTokenExpired 66 false "the delegation token is expired";
    InvalidPrincipalType 67 false "the principal type is not supported";
    NonEmptyGroup 68 false "the group has members";
    GroupIdNotFound 69 false "there is no such group";
    FetchSessionIdNotFound 70 true "there is no such fetch session";
    InvalidFetchSessionEpoch 71 true "the fetch session has another epoch";
    ListenerNotFound 72 true "the leader has no listener of this name";
    TopicDeletionDisabled 73 false "topics cannot be deleted here";
    FencedLeaderEpoch 74 true "the request's leader epoch is older than the broker's";
    UnknownLeaderEpoch 75 true "the request's leader epoch is newer than the broker's";
    UnsupportedCompressionType 76 false "the compression is not supported";
    StaleBrokerEpoch 77 false "the broker epoch is old";
    OffsetNotAvailable 78 true "the new leader does not know the high watermark yet";
    MemberIdRequired 79 false "the member must join with the id that it is given";
    PreferredLeaderNotAvailable 80 true "the preferred leader is not available";
    GroupMaxSizeReached 81 false "the group is full";
    FencedInstanceId 82 false "another member took over the static instance id";
    EligibleLeadersNotAvailable 83 true "no eligible leader is available";
    ElectionNotNeeded 84 true "the leader is already the wanted one";
    NoReassignmentInProgress 85 false "there is no reassignment";
    GroupSubscribedToTopic 86 false "the group is subscribed to the topic";
    InvalidRecord 87 false "a record failed validation";
    UnstableOffsetCommit 88 true "there are offsets that a transaction has not committed yet";
    ThrottlingQuotaExceeded 89 true "the quota is exhausted";
    ProducerFenced 90 false "a newer producer has the transactional id";
    ResourceNotFound 91 false "there is no such resource";
    DuplicateResource 92 false "there is such a resource";
    UnacceptableCredential 93 false "the credential does not meet the rules";
    InconsistentVoterSet 94 false "the voter sets differ";
    InvalidUpdateVersion 95 false "the update has an invalid version";
    FeatureUpdateFailed 96 false "the features could not be updated";
    PrincipalDeserializationFailure 97 false "the forwarded principal cannot be read";
    SnapshotNotFound 98 false "there is no such snapshot";
    PositionOutOfRange 99 false "the position is outside of the snapshot";
    UnknownTopicId 100 true "this broker does not know the topic id";
    DuplicateBrokerRegistration 101 false "the broker id is in use";
    BrokerIdNotRegistered 102 false "the broker id is not registered";
    InconsistentTopicId 103 true "the topic id is not that of the name";
    InconsistentClusterId 104 false "the request is for another cluster";
    TransactionalIdNotFound 105 false "there is no such transactional id";
    FetchSessionTopicIdError 106 true "the fetch session has another topic id";
    IneligibleReplica 107 false "the replica cannot be in the ISR";
    NewLeaderElected 108 false "the change of partition elected another leader";
    OffsetMovedToTieredStorage 109 false "the offset is in tiered storage";
    FencedMemberEpoch 110 false "the member's epoch is fenced";
    UnreleasedInstanceId 111 false "the instance id is still in use";
    UnsupportedAssignor 112 false "the assignor is not supported";
    StaleMemberEpoch 113 false "the member's epoch is old";
    MismatchedEndpointType 114 false "the request was sent to the wrong kind of endpoint";
    UnsupportedEndpointType 115 false "the endpoint type is not supported";
    UnknownControllerId 116 false "the controller id is not known";
    UnknownSubscriptionId 117 false "the subscription id is old";
    TelemetryTooLarge 118 false "the telemetry is too large";
    InvalidRegistration 119 false "the registration is not valid";
    TransactionAbortable 120 false "the transaction must be aborted";
    InvalidRecordState 121 false "the acknowledged record is in another state";
    ShareSessionNotFound 122 true "there is no such share session";
    InvalidShareSessionEpoch 123 true "the share session has another epoch";
    FencedStateEpoch 124 false "the share coordinator's epoch is fenced";
    InvalidVoterKey 125 false "the voter's key is not valid";
    DuplicateVoter 126 false "the voter is already in the set";
    VoterNotFound 127 false "the voter is not in the set";
    InvalidRegularExpression 128 false "the regular expression is not valid";
    RebootstrapRequired 129 false "the client must bootstrap again";
    StreamsInvalidTopology 130 false "the streams topology is not valid";
    StreamsInvalidTopologyEpoch 131 false "the streams topology epoch is not valid";
    StreamsTopologyFenced 132 false "the streams topology epoch is old";
    ShareSessionLimitReached 133 true "there are too many share sessions";
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> i16 {
        self as i16
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.text())
    }
}
