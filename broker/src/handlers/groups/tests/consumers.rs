//! Groups of the consumer protocol: heartbeats and descriptions.

use protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, TopicPartitions,
};

use super::*;
use crate::coordinator::consumer::partitions::Partitions;
use crate::coordinator::reply::{
    ConsumerBeaten, ConsumerDescribed, ConsumerMember, GroupStateName, NamedPartitions,
};
use crate::coordinator::request::{ConsumerBeat, MemberRef};
use crate::metadata::TopicId;

/// One who comes, and says everything that all versions have.
fn beat() -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: text("g"),
        member_id: text("me"),
        member_epoch: 0,
        instance_id: Some(text("static")),
        rack_id: Some(text("here")),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![text("orders")]),
        server_assignor: Some(text("range")),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn beats(
    fake: &Fake,
    request: &ConsumerGroupHeartbeatRequest,
    check: impl Fn(i16, protocol::messages::ConsumerGroupHeartbeatResponse),
) {
    let run = async |version, request| {
        consumer_group_heartbeat::handle(fake.clone(), version, request).await
    };
    in_every_version(request, run, check);
}

fn asked_beats(request: &ConsumerGroupHeartbeatRequest) -> Vec<ConsumerBeat> {
    let fake = Fake::failing(ErrorCode::UnknownMemberId);
    beats(&fake, request, |_, answer| {
        assert_eq!(answer.error_code, 25)
    });
    let asked = fake.asked().into_iter().map(|asked| match asked {
        GroupRequest::ConsumerBeat(beat) => beat,
        other => panic!("{other:?}"),
    });
    asked.collect()
}

#[test]
fn a_heartbeat_asks_what_each_version_says() {
    let expected = ConsumerBeat {
        group: "g".to_owned(),
        member: MemberRef {
            id: "me".to_owned(),
            instance: Some("static".to_owned()),
        },
        epoch: 0,
        client: Fake::silent().client(),
        rack: Some("here".to_owned()),
        rebalance_timeout_ms: Some(60_000),
        topics: Some(vec!["orders".to_owned()]),
        regex: None,
        assignor: Some("range".to_owned()),
        owned: Some(Partitions::default()),
    };
    assert_eq!(asked_beats(&beat()), [expected.clone(), expected]);
    // Later it says what has changed, and what it owns.
    let owned = TopicPartitions {
        topic_id: Uuid(7),
        partitions: vec![2, 0],
    };
    let later = ConsumerGroupHeartbeatRequest {
        group_id: text("g"),
        member_id: text("me"),
        member_epoch: 3,
        rebalance_timeout_ms: -1,
        topic_partitions: Some(vec![owned]),
        ..Default::default()
    };
    let expected = ConsumerBeat {
        group: "g".to_owned(),
        member: MemberRef {
            id: "me".to_owned(),
            instance: None,
        },
        epoch: 3,
        client: Fake::silent().client(),
        owned: Some([(TopicId(7), 0), (TopicId(7), 2)].into_iter().collect()),
        ..ConsumerBeat::default()
    };
    assert_eq!(asked_beats(&later), [expected.clone(), expected]);
}

#[test]
fn a_pattern_is_of_version_1() {
    let fake = Fake::failing(ErrorCode::InvalidRegularExpression);
    let request = ConsumerGroupHeartbeatRequest {
        subscribed_topic_regex: Some(text("or.*")),
        ..beat()
    };
    let request = wire(1, &request);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let run = consumer_group_heartbeat::handle(fake.clone(), 1, request);
    let answer = LocalSet::new().block_on(&runtime, run);
    assert_eq!(
        answer.error_code,
        ErrorCode::InvalidRegularExpression.code()
    );
    let asked = fake.asked();
    let [GroupRequest::ConsumerBeat(asked)] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(asked.regex.as_deref(), Some("or.*"));
}

#[test]
fn an_assignment_is_told_by_ids_and_none_is_null() {
    let partitions = [(TopicId(7), 2), (TopicId(7), 0), (TopicId(9), 1)];
    for assignment in [None, Some(partitions.into_iter().collect())] {
        let is_told = assignment.is_some();
        let fake = Fake::replying(GroupReply::ConsumerBeaten(ConsumerBeaten {
            member: "me".to_owned(),
            epoch: 4,
            interval_ms: 5_000,
            assignment,
        }));
        beats(&fake, &beat(), |_, answer| {
            assert_eq!((answer.error_code, answer.error_message), (0, None));
            assert_eq!(answer.member_id, Some(text("me")));
            assert_eq!(
                (answer.member_epoch, answer.heartbeat_interval_ms),
                (4, 5_000)
            );
            assert_eq!(answer.assignment.is_some(), is_told);
            let topics = answer.assignment.unwrap_or_default().topic_partitions;
            let topics = topics.into_iter().map(|t| (t.topic_id, t.partitions));
            let expected = [(Uuid(7), vec![0, 2]), (Uuid(9), vec![1])];
            let expected = &expected[..if is_told { 2 } else { 0 }];
            assert_eq!(topics.collect::<Vec<_>>(), expected);
        });
    }
}

#[test]
fn what_makes_no_sense_asks_nobody() {
    let none = Vec::new();
    let owns = vec![TopicPartitions::default()];
    let wrong = |change: &dyn Fn(&mut ConsumerGroupHeartbeatRequest)| {
        let mut request = beat();
        change(&mut request);
        request
    };
    let invalid = ErrorCode::InvalidRequest;
    for (request, code) in [
        (wrong(&|request| request.group_id = Str::new()), invalid),
        (
            wrong(&|request| request.instance_id = Some(Str::new())),
            invalid,
        ),
        (
            wrong(&|request| request.rack_id = Some(Str::new())),
            invalid,
        ),
        (wrong(&|request| request.rebalance_timeout_ms = -1), invalid),
        (wrong(&|request| request.topic_partitions = None), invalid),
        (
            wrong(&|request| request.topic_partitions = Some(owns.clone())),
            invalid,
        ),
        (
            wrong(&|request| request.subscribed_topic_names = None),
            invalid,
        ),
        (wrong(&|request| request.member_epoch = -3), invalid),
        (
            wrong(&|request| {
                request.member_epoch = -2;
                request.instance_id = None;
                request.topic_partitions = Some(none.clone());
            }),
            invalid,
        ),
        (
            wrong(&|request| request.server_assignor = Some(text("best"))),
            ErrorCode::UnsupportedAssignor,
        ),
    ] {
        beats(&Fake::silent(), &request, |_, answer| {
            assert_eq!(answer.error_code, code.code(), "{request:?}");
            assert!(answer.error_message.is_some(), "{request:?}");
        });
    }
}

#[test]
fn an_assignor_that_the_broker_does_not_offer_is_refused() {
    let mut broker = Fake::silent();
    let inner = Rc::get_mut(&mut broker.0).expect("nobody else has it");
    inner.assignors = "range".parse().expect("a list of one");
    let request = ConsumerGroupHeartbeatRequest {
        server_assignor: Some(text("uniform")),
        ..beat()
    };
    beats(&broker, &request, |_, answer| {
        assert_eq!(answer.error_code, ErrorCode::UnsupportedAssignor.code());
        let words = "ServerAssignor uniform is not supported. Supported assignors: range.";
        assert_eq!(answer.error_message.as_deref(), Some(words));
    });
}

#[test]
fn a_group_is_described_with_what_each_version_has() {
    let places = |partitions: &[i32]| {
        vec![NamedPartitions {
            name: "orders".to_owned(),
            topic: TopicId(7),
            partitions: partitions.to_vec(),
        }]
    };
    let described = ConsumerDescribed {
        state: GroupStateName::Reconciling,
        epoch: 5,
        target_epoch: 4,
        assignor: "uniform",
        members: vec![ConsumerMember {
            id: "me".to_owned(),
            instance: Some("static".to_owned()),
            rack: Some("here".to_owned()),
            epoch: 3,
            client: Fake::silent().client(),
            topics: vec!["orders".to_owned()],
            regex: Some("or.*".to_owned()),
            assigned: places(&[0]),
            target: places(&[0, 1]),
            is_classic: true,
        }],
    };
    let fake = Fake::answering(move |group, _| match group {
        "g" => Ok(GroupReply::ConsumerDescribed(described.clone())),
        _ => Ok(GroupReply::failed(ErrorCode::GroupIdNotFound)),
    });
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![text("absent"), text("g"), text("")],
        include_authorized_operations: false,
    };
    let run = async |_, request| consumer_group_describe::handle(fake.clone(), request).await;
    in_every_version(&request, run, |version, answer| {
        let codes = answer.groups.iter().map(|group| group.error_code);
        assert_eq!(codes.collect::<Vec<_>>(), [69, 0, 24]);
        let group = &answer.groups[1];
        assert_eq!(
            (&*group.group_id, &*group.group_state),
            ("g", "Reconciling")
        );
        assert_eq!((group.group_epoch, group.assignment_epoch), (5, 4));
        assert_eq!(
            (&*group.assignor_name, group.authorized_operations),
            ("uniform", i32::MIN)
        );
        let [member] = group.members.as_slice() else {
            panic!("{:?}", group.members);
        };
        assert_eq!((&*member.member_id, member.member_epoch), ("me", 3));
        assert_eq!(member.instance_id, Some(text("static")));
        assert_eq!(member.rack_id, Some(text("here")));
        assert_eq!(
            (&*member.client_id, &*member.client_host),
            ("test", "/127.0.0.1")
        );
        assert_eq!(member.subscribed_topic_names, [text("orders")]);
        assert_eq!(member.subscribed_topic_regex, Some(text("or.*")));
        assert_eq!(member.member_type, if version >= 1 { 0 } else { -1 });
        for (assignment, expected) in [
            (&member.assignment, vec![0]),
            (&member.target_assignment, vec![0, 1]),
        ] {
            let [topic] = assignment.topic_partitions.as_slice() else {
                panic!("{assignment:?}");
            };
            assert_eq!((topic.topic_id, &*topic.topic_name), (Uuid(7), "orders"));
            assert_eq!(topic.partitions, expected);
        }
    });
}
