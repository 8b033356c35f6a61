//! Topics and partitions: what is created, and every refusal.

use super::*;

#[test]
fn defaults_are_filled_in() {
    let mut world = World::new(5);
    world.policy.default_partitions = 4;
    let created = world.create(topic("orders", -1, -1)).unwrap();
    assert_eq!((created.partitions, created.replication_factor), (4, 3));
    assert_ne!(created.topic, TopicId(0));
    assert_eq!(
        world.image().topic_named("orders").unwrap().id,
        created.topic
    );
    let mut small = World::new(2);
    assert_eq!(
        small
            .create(topic("orders", -1, -1))
            .unwrap()
            .replication_factor,
        2
    );
    small.policy.default_replication_factor = 1;
    assert_eq!(
        small
            .create(topic("clicks", -1, -1))
            .unwrap()
            .replication_factor,
        1
    );
}

#[test]
fn topic_names() {
    let mut world = World::new(1);
    let longest = "x".repeat(249);
    for good in ["a", "A.b-c_9", "...", "__consumer_offsets", &longest] {
        validate_topic_name(good).unwrap();
    }
    let too_long = "x".repeat(250);
    for bad in ["", ".", "..", "a b", "a/b", "ä", "a\0", "a:b", &too_long] {
        assert_eq!(
            validate_topic_name(bad).unwrap_err().code,
            ErrorCode::InvalidTopic,
            "{bad}"
        );
        assert_eq!(
            world.create(topic(bad, 1, 1)).unwrap_err().code,
            ErrorCode::InvalidTopic
        );
    }
}

#[test]
fn names_that_differ_in_dots_and_underscores_collide() {
    let mut world = World::new(1);
    world.create(topic("a.b_c", 1, 1)).unwrap();
    let why = world.create(topic("a_b.c", 1, 1)).unwrap_err();
    assert_eq!(why.code, ErrorCode::InvalidTopic);
    assert!(why.message.contains("a.b_c"), "{why}");
    world.create(topic("a-b-c", 1, 1)).unwrap();
    let topics = vec![topic("x.y", 1, 1), topic("x_y", 1, 1)];
    let items = world.run(ControllerRequest::CreateTopics {
        topics,
        validate_only: false,
    });
    assert!(items[0].is_ok());
    assert_eq!(items[1].as_ref().unwrap_err().code, ErrorCode::InvalidTopic);
}

#[test]
fn numbers_out_of_range() {
    let mut world = World::new(3);
    world.policy.topic_partitions_max = 10;
    world.policy.partitions_max = 15;
    let cases = [
        (0, 1, ErrorCode::InvalidPartitions),
        (-2, 1, ErrorCode::InvalidPartitions),
        (11, 1, ErrorCode::InvalidPartitions),
        (i32::MAX, 1, ErrorCode::InvalidPartitions),
        (1, 0, ErrorCode::InvalidReplicationFactor),
        (1, -2, ErrorCode::InvalidReplicationFactor),
        (1, 4, ErrorCode::InvalidReplicationFactor),
        (1, i16::MAX, ErrorCode::InvalidReplicationFactor),
    ];
    for (partitions, replicas, code) in cases {
        let why = world.create(topic("t", partitions, replicas)).unwrap_err();
        assert_eq!(
            why.code, code,
            "{partitions} partitions, {replicas} replicas: {why}"
        );
    }
    let topics = vec![topic("a", 10, 1), topic("b", 5, 1), topic("c", 1, 1)];
    let items = world.run(ControllerRequest::CreateTopics {
        topics,
        validate_only: false,
    });
    assert!(items[0].is_ok() && items[1].is_ok());
    assert_eq!(
        items[2].as_ref().unwrap_err().code,
        ErrorCode::PolicyViolation
    );
}

#[test]
fn existing_and_repeated_names() {
    let mut world = World::new(1);
    world.create(topic("orders", 1, 1)).unwrap();
    let why = world.create(topic("orders", 1, 1)).unwrap_err();
    assert_eq!(why.code, ErrorCode::TopicAlreadyExists);
    let topics = vec![
        topic("twice", 1, 1),
        topic("once", 1, 1),
        topic("twice", 2, 1),
    ];
    let items = world.run(ControllerRequest::CreateTopics {
        topics,
        validate_only: false,
    });
    let codes: Vec<_> = items
        .iter()
        .map(|i| i.as_ref().err().map(|e| e.code))
        .collect();
    let invalid = Some(ErrorCode::InvalidRequest);
    assert_eq!(codes, [invalid, None, invalid]);
    assert!(world.image().topic_named("twice").is_none());
}

#[test]
fn two_plans_for_one_name_make_one_topic() {
    let mut world = World::new(1);
    let topics = vec![topic("orders", 1, 1)];
    let request = ControllerRequest::CreateTopics {
        topics,
        validate_only: false,
    };
    let (first, second) = (
        world.plan(&request).remove(0),
        world.plan(&request).remove(0),
    );
    for (step, code) in [(first, None), (second, Some(ErrorCode::TopicAlreadyExists))] {
        let Some(Action::Propose(command)) = step.action.clone() else {
            panic!("{step:?}")
        };
        let outcome = world.log.apply(command);
        let answer = step.resolve(&outcome, &world.log.image);
        assert_eq!(answer.err().map(|e| e.code), code);
    }
}

#[test]
fn assignments_by_hand() {
    let mut world = World::new(4);
    world
        .create(manual("orders", &[(1, &[2, 3]), (0, &[4, 1])]))
        .unwrap();
    assert_eq!(world.nodes("orders"), [[4, 1], [2, 3]]);
    let invalid = ErrorCode::InvalidReplicaAssignment;
    type Placed<'a> = &'a [(i32, &'a [i32])];
    let cases: [(Placed<'_>, &str); 7] = [
        (&[(0, &[])], "empty replica list"),
        (&[(0, &[1, 9])], "no such broker"),
        (&[(0, &[-1])], "no such broker"),
        (&[(0, &[1, 2, 1])], "more than once"),
        (&[(0, &[1, 2]), (1, &[3])], "not consistent"),
        (&[(0, &[1]), (0, &[2])], "multiple manual"),
        (&[(0, &[1]), (2, &[2])], "consecutive"),
    ];
    for (assignments, part) in cases {
        let why = world.create(manual("t", assignments)).unwrap_err();
        assert_eq!(why.code, invalid, "{why}");
        assert!(why.message.contains(part), "{why}");
    }
    let both = CreateTopic {
        partitions: 1,
        ..manual("t", &[(0, &[1])])
    };
    assert_eq!(
        world.create(both).unwrap_err().code,
        ErrorCode::InvalidRequest
    );
    let both = CreateTopic {
        replication_factor: 1,
        ..manual("t", &[(0, &[1])])
    };
    assert_eq!(
        world.create(both).unwrap_err().code,
        ErrorCode::InvalidRequest
    );
}

#[test]
fn configs_of_a_new_topic() {
    let mut world = World::new(1);
    let with = |name: &str, value: Option<&str>| CreateTopic {
        configs: vec![(name.to_owned(), value.map(str::to_owned))],
        ..topic("t", 1, 1)
    };
    for (name, value) in [
        ("no.such.key", Some("1")),
        ("retention.ms", Some("-5")),
        ("retention.ms", None),
        ("cleanup.policy", Some("compact")),
        ("max.message.bytes", Some("2000000000")),
    ] {
        let why = world.create(with(name, value)).unwrap_err();
        assert_eq!(why.code, ErrorCode::InvalidConfig, "{name}: {why}");
    }
    let created = world.create(with("retention.ms", Some(" 5 "))).unwrap();
    assert_eq!(created.configs["retention.ms"], "5");
    assert_eq!(
        world.image().topic_named("t").unwrap().configs["retention.ms"],
        "5"
    );
}

#[test]
fn validate_only_changes_nothing() {
    let mut world = World::new(3);
    let before = world.image().encode();
    let request = ControllerRequest::CreateTopics {
        topics: vec![topic("orders", 2, 3), topic("", 1, 1)],
        validate_only: true,
    };
    let steps = world.plan(&request);
    assert!(steps.iter().all(|s| s.action.is_none()));
    assert!(steps[0].answer.is_ok() && steps[1].answer.is_err());
    assert_eq!(world.image().encode(), before);
}

#[test]
fn no_broker_alive() {
    let mut world = World::new(1);
    world.down.insert(NodeId(1));
    assert_eq!(
        world.create(topic("t", 1, 1)).unwrap_err().code,
        ErrorCode::BrokerNotAvailable
    );
}

#[test]
fn topics_are_deleted_by_name_and_id() {
    let mut world = World::new(1);
    let first = world.create(topic("a", 1, 1)).unwrap();
    world.create(topic("b", 1, 1)).unwrap();
    let topics = vec![
        TopicRef::Id(first.topic),
        TopicRef::Name("b".to_owned()),
        TopicRef::Name("a".to_owned()),
        TopicRef::Name("c".to_owned()),
        TopicRef::Id(TopicId(99)),
    ];
    let items = world.run(ControllerRequest::DeleteTopics { topics });
    let codes: Vec<_> = items
        .iter()
        .map(|i| i.as_ref().err().map(|e| e.code))
        .collect();
    let expected = [
        None,
        None,
        Some(ErrorCode::InvalidRequest),
        Some(ErrorCode::UnknownTopicOrPartition),
        Some(ErrorCode::UnknownTopicId),
    ];
    assert_eq!(codes, expected);
    assert_eq!(world.image().topics().count(), 0);
}

#[test]
fn partitions_are_added() {
    let mut world = World::new(3);
    world.create(topic("orders", 2, 2)).unwrap();
    let more = |topic: &str, count: i32, assignments: Option<&[&[i32]]>| {
        let nodes = |nodes: &&[i32]| nodes.iter().copied().map(NodeId).collect();
        let assignments = assignments.map(|a| a.iter().map(nodes).collect());
        let topics = vec![MorePartitions {
            topic: topic.to_owned(),
            count,
            assignments,
        }];
        ControllerRequest::CreatePartitions {
            topics,
            validate_only: false,
        }
    };
    assert_eq!(
        world.code(more("none", 3, None)),
        ErrorCode::UnknownTopicOrPartition
    );
    for count in [-1, 0, 1, 2, i32::MAX] {
        assert_eq!(
            world.code(more("orders", count, None)),
            ErrorCode::InvalidPartitions
        );
    }
    let wrong: [&[&[i32]]; 4] = [&[&[1, 2], &[2, 3]], &[&[1]], &[&[1, 1]], &[&[1, 7]]];
    for assignments in wrong {
        let request = more("orders", 3, Some(assignments));
        assert_eq!(world.code(request), ErrorCode::InvalidReplicaAssignment);
    }
    world.one(more("orders", 3, Some(&[&[3, 1]]))).unwrap();
    world.one(more("orders", 5, None)).unwrap();
    let nodes = world.nodes("orders");
    assert_eq!((nodes.len(), nodes[2].clone()), (5, vec![3, 1]));
    assert!(nodes.iter().all(|n| n.len() == 2));
}
