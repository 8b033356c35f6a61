//! Commands that do not fit change nothing.

use super::*;
use crate::metadata::ConfigScope;

/// Applies, expects the refusal, and that nothing but the applied index moved.
fn refused(log: &mut Log, command: Command) -> Rejected {
    let mut before = log.image.clone();
    let why = log.apply(command).unwrap_err();
    before.skip(log.index);
    assert_eq!(before.encode(), log.image.encode());
    why
}

fn create(id: u128, name: &str, assignments: &[&[i32]]) -> Command {
    let nodes = |nodes: &&[i32]| nodes.iter().copied().map(NodeId).collect();
    Command::CreateTopic {
        topic: TopicId(id),
        name: name.to_owned(),
        assignments: assignments.iter().map(nodes).collect(),
        configs: BTreeMap::new(),
    }
}

#[test]
fn an_entry_is_applied_once() {
    let mut log = Log::with_brokers(1);
    let command = Command::AllocateProducerIds {
        node: NodeId(1),
        count: 1000,
    };
    log.ok(command.clone());
    let bytes = log.image.encode();
    let index = log.index;
    assert_eq!(
        log.image.apply(index, &command),
        Err(Rejected::AlreadyApplied(index))
    );
    assert_eq!(log.image.encode(), bytes);
}

#[test]
fn topics() {
    let mut log = Log::with_brokers(2);
    let topic = log.create(9, "orders", &[&[1, 2]]);
    let exists = Rejected::TopicExists("orders".to_owned());
    assert_eq!(refused(&mut log, create(10, "orders", &[&[1]])), exists);
    let same_id = Rejected::TopicExists("other".to_owned());
    assert_eq!(refused(&mut log, create(9, "other", &[&[1]])), same_id);
    for (command, what) in [
        (create(0, "a", &[&[1]]), "a topic without an id or a name"),
        (create(1, "", &[&[1]]), "a topic without an id or a name"),
        (create(1, "a", &[]), "no partitions"),
        (create(1, "a", &[&[]]), "no replicas"),
        (create(1, "a", &[&[1, 2], &[1, 1]]), "a node is named twice"),
    ] {
        assert_eq!(
            refused(&mut log, command),
            Rejected::InvalidAssignment(what)
        );
    }
    let unknown = create(1, "a", &[&[1, 3]]);
    assert_eq!(
        refused(&mut log, unknown),
        Rejected::UnknownBroker(NodeId(3))
    );
    let assignments = vec![vec![NodeId(1)]];
    let stale = Command::AddPartitions {
        topic,
        first: 2,
        assignments,
    };
    let why = Rejected::PartitionCountChanged {
        expected: 2,
        actual: 1,
    };
    assert_eq!(refused(&mut log, stale), why);
    log.ok(Command::DeleteTopic { topic });
    assert_eq!(
        refused(&mut log, Command::DeleteTopic { topic }),
        Rejected::UnknownTopic(topic)
    );
    let changes = [("retention.ms".to_owned(), None)].into();
    let late = Command::SetTopicConfigs { topic, changes };
    assert_eq!(refused(&mut log, late), Rejected::UnknownTopic(topic));
}

#[test]
fn c12_registrations() {
    let mut log = Log::with_brokers(2);
    let good = registration(3, 103);
    let mut wrong = vec![good.clone(); 6];
    wrong[0].node = NodeId(0);
    wrong[1].node = NodeId(-4);
    wrong[2].directory = DirectoryId(0);
    wrong[3].host = String::new();
    wrong[4].port = 0;
    wrong[5].peer = String::new();
    for registration in wrong {
        let why = refused(&mut log, Command::RegisterBroker(registration));
        assert!(matches!(why, Rejected::InvalidRegistration(_)), "{why}");
    }
    let taken = Command::RegisterBroker(registration(3, 101));
    assert_eq!(
        refused(&mut log, taken),
        Rejected::DirectoryInUse(NodeId(1))
    );
    log.ok(Command::RegisterBroker(good));
}

#[test]
fn brokers() {
    let mut log = Log::with_brokers(4);
    log.create(9, "orders", &[&[4]]);
    let in_use = Rejected::BrokerInUse {
        node: NodeId(4),
        replicas: 1,
    };
    assert_eq!(
        refused(&mut log, Command::UnregisterBroker { node: NodeId(4) }),
        in_use
    );
    let voter = Rejected::BrokerInUse {
        node: NodeId(1),
        replicas: 1,
    };
    assert_eq!(
        refused(&mut log, Command::UnregisterBroker { node: NodeId(1) }),
        voter
    );
    let (node, unknown) = (NodeId(9), Rejected::UnknownBroker(NodeId(9)));
    let scope = ConfigScope::Node(node);
    let changes: super::super::ConfigChanges = [("a".to_owned(), Some("b".to_owned()))].into();
    for command in [
        Command::UnregisterBroker { node },
        Command::SetDraining {
            node,
            draining: true,
        },
        Command::AllocateProducerIds { node, count: 1 },
        Command::SetBrokerConfigs { scope, changes },
    ] {
        assert_eq!(refused(&mut log, command), unknown);
    }
    let level = Command::SetMetadataVersion { level: 1 };
    assert_eq!(refused(&mut log, level), Rejected::NothingToChange);
}

#[test]
fn producer_ids_are_never_given_twice_and_end() {
    let mut log = Log::with_brokers(2);
    let take = |node, count| Command::AllocateProducerIds {
        node: NodeId(node),
        count,
    };
    let mut given = Vec::new();
    for node in [1, 2, 1] {
        let changes = log.ok(take(node, 1000));
        let Change::ProducerIdsAllocated { first, count, .. } = changes[0] else {
            panic!()
        };
        given.push((first, count));
    }
    assert_eq!(given, [(0, 1000), (1000, 1000), (2000, 1000)]);
    assert_eq!(refused(&mut log, take(1, 0)), Rejected::NoProducerIds(0));
    log.image.next_producer_id = i64::MAX - 5;
    assert_eq!(refused(&mut log, take(1, 6)), Rejected::NoProducerIds(6));
    log.ok(take(1, 5));
}

#[test]
fn moves_decided_on_an_older_state() {
    let mut log = Log::with_brokers(3);
    log.create(9, "orders", &[&[1, 2]]);
    let (group, as_of, replica) = (GroupId(1), Index(1), ReplicaId(5));
    let actual = log.version(1);
    let stale = Rejected::Stale {
        expected: as_of,
        actual,
    };
    for command in [
        Command::SetTarget {
            group,
            nodes: vec![NodeId(3)],
            as_of,
        },
        Command::CancelReassignment { group, as_of },
        Command::FinishReassignment {
            group,
            voters: vec![replica],
            as_of,
        },
        Command::ReplaceReplica {
            group,
            replica,
            as_of,
        },
        Command::SetPreferredLeader {
            group,
            replica,
            as_of,
        },
    ] {
        assert_eq!(refused(&mut log, command), stale);
    }
    let missing = Command::CancelReassignment {
        group: GroupId(7),
        as_of,
    };
    assert_eq!(
        refused(&mut log, missing),
        Rejected::UnknownGroup(GroupId(7))
    );
    let none = Command::CancelReassignment {
        group,
        as_of: actual,
    };
    assert_eq!(refused(&mut log, none), Rejected::NoReassignment(group));
    let nodes = vec![NodeId(1), NodeId(2)];
    let same = Command::SetTarget {
        group,
        nodes,
        as_of: actual,
    };
    assert_eq!(refused(&mut log, same), Rejected::NothingToChange);
}

#[test]
fn configs_that_change_nothing() {
    let mut log = Log::with_brokers(1);
    let topic = log.create(9, "orders", &[&[1]]);
    let set = |value: Option<&str>| Command::SetTopicConfigs {
        topic,
        changes: [("retention.ms".to_owned(), value.map(str::to_owned))].into(),
    };
    log.ok(set(Some("5")));
    assert_eq!(refused(&mut log, set(Some("5"))), Rejected::NothingToChange);
    log.ok(set(None));
    assert_eq!(refused(&mut log, set(None)), Rejected::NothingToChange);
}
