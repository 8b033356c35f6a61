//! Registration, and what brokers get.

use super::*;
use crate::metadata::Registration;

fn register(registration: Registration) -> ControllerRequest {
    ControllerRequest::RegisterBroker(registration)
}

#[test]
fn a_registration_is_answered_with_epoch_and_metadata_replica() {
    let mut world = World::new(3);
    let answer = world.one(register(registration(4, 104))).unwrap();
    let broker = world.image().broker(NodeId(4)).unwrap();
    let (epoch, metadata) = (broker.epoch, broker.metadata);
    assert_eq!(answer, Answer::Registered { epoch, metadata });
    // A restart keeps the replica and gets a new epoch.
    let again = world.one(register(registration(4, 104))).unwrap();
    let Answer::Registered {
        epoch: later,
        metadata: same,
    } = again
    else {
        panic!("{again:?}")
    };
    assert!(later > epoch);
    assert_eq!(same, metadata);
}

#[test]
fn c12_ids_and_addresses_are_validated() {
    let mut world = World::new(2);
    let good = registration(3, 103);
    let mut wrong = Vec::new();
    for (node, directory) in [(0, 103), (-1, 103), (3, 0)] {
        wrong.push(registration(node, directory));
    }
    for host in [
        "",
        "0.0.0.0",
        "::",
        "a b",
        "host/path",
        "224.0.0.1",
        &"h".repeat(256),
    ] {
        wrong.push(Registration {
            host: host.to_owned(),
            ..good.clone()
        });
    }
    wrong.push(Registration {
        port: 0,
        ..good.clone()
    });
    for peer in [
        "",
        "host",
        "host:",
        ":9193",
        "host:0",
        "host:65536",
        "0.0.0.0:9193",
        "[::]:1",
        "a:b:1",
    ] {
        wrong.push(Registration {
            peer: peer.to_owned(),
            ..good.clone()
        });
    }
    // The addresses of a live broker.
    wrong.push(Registration {
        peer: "broker-1:9193".to_owned(),
        ..good.clone()
    });
    wrong.push(Registration {
        host: "broker-1".to_owned(),
        ..good.clone()
    });
    for registration in wrong {
        let why = world.one(register(registration.clone())).unwrap_err();
        assert_eq!(
            why.code,
            ErrorCode::InvalidRegistration,
            "{registration:?}: {why}"
        );
    }
    let v6 = Registration {
        host: "::1".to_owned(),
        peer: "[::1]:9193".to_owned(),
        ..good
    };
    world.one(register(v6)).unwrap();
}

#[test]
fn c12_a_live_node_id_is_not_taken_over() {
    let mut world = World::new(3);
    let duplicate = ErrorCode::DuplicateBrokerRegistration;
    // Two processes with one node id: both are heard again and again, the registered one stays.
    let (node, old, new) = (NodeId(2), DirectoryId(102), DirectoryId(902));
    world.processes.extend([(node, old), (node, new)]);
    assert_eq!(world.code(register(registration(2, 902))), duplicate);
    // Back with another disk: the node is alive, the old disk is not heard any more.
    world.processes.remove(&(node, old));
    world.one(register(registration(2, 902))).unwrap();
    assert_eq!(world.image().broker(node).unwrap().directory(), new);
}

#[test]
fn c12_a_disk_does_not_change_its_node() {
    let mut world = World::new(3);
    let someone_elses = Registration {
        directory: DirectoryId(101),
        ..registration(3, 1)
    };
    let code = world.code(register(someone_elses));
    assert_eq!(code, ErrorCode::DuplicateBrokerRegistration);
}

#[test]
fn an_address_moves_with_a_dead_brokers_successor() {
    let mut world = World::new(3);
    world.down.insert(NodeId(1));
    let heir = Registration {
        host: "broker-1".to_owned(),
        peer: "broker-1:9193".to_owned(),
        ..registration(4, 104)
    };
    world.one(register(heir)).unwrap();
}

#[test]
fn producer_id_blocks_do_not_overlap() {
    let mut world = World::new(2);
    let mut next = 0;
    for node in [1, 2, 2, 1] {
        let request = ControllerRequest::AllocateProducerIds { node: NodeId(node) };
        let answer = world.one(request).unwrap();
        assert_eq!(
            answer,
            Answer::ProducerIds {
                first: next,
                count: 1000
            }
        );
        next += 1000;
    }
    let stranger = ControllerRequest::AllocateProducerIds { node: NodeId(7) };
    assert_eq!(world.code(stranger), ErrorCode::BrokerIdNotRegistered);
}

#[test]
fn brokers_in_use_do_not_leave() {
    let mut world = World::new(4);
    world.create(manual("orders", &[(0, &[4])])).unwrap();
    let leave = |node| ControllerRequest::UnregisterBroker { node: NodeId(node) };
    assert_eq!(world.code(leave(9)), ErrorCode::BrokerIdNotRegistered);
    world.down.extend([NodeId(1), NodeId(4)]);
    let why = world.one(leave(4)).unwrap_err();
    assert!(why.message.contains("1 replica"), "{why}");
    let why = world.one(leave(1)).unwrap_err();
    assert!(why.message.contains("votes"), "{why}");
    world
        .one(ControllerRequest::DeleteTopics {
            topics: vec![TopicRef::Name("orders".to_owned())],
        })
        .unwrap();
    world.one(leave(4)).unwrap();
}

#[test]
fn the_last_broker_is_not_drained() {
    let mut world = World::new(2);
    let drain = |node, draining| ControllerRequest::SetDraining {
        node: NodeId(node),
        draining,
    };
    world.one(drain(1, true)).unwrap();
    world.one(drain(1, true)).unwrap();
    assert_eq!(world.code(drain(2, true)), ErrorCode::InvalidRequest);
    assert_eq!(world.code(drain(5, true)), ErrorCode::BrokerIdNotRegistered);
    world.one(drain(1, false)).unwrap();
    world.one(drain(2, true)).unwrap();
}

#[test]
fn every_rejection_has_a_code() {
    use raft::types::{Index, ReplicaId};
    let (node, group) = (NodeId(1), GroupId(1));
    let all = [
        Rejected::AlreadyApplied(Index(1)),
        Rejected::TopicExists("t".to_owned()),
        Rejected::UnknownTopic(TopicId(1)),
        Rejected::UnknownGroup(group),
        Rejected::UnknownBroker(node),
        Rejected::UnknownReplica(ReplicaId(1)),
        Rejected::Stale {
            expected: Index(1),
            actual: Index(2),
        },
        Rejected::PartitionCountChanged {
            expected: 1,
            actual: 2,
        },
        Rejected::InvalidAssignment(""),
        Rejected::InvalidRegistration(""),
        Rejected::DirectoryInUse(node),
        Rejected::BrokerInUse { node, replicas: 1 },
        Rejected::NoReassignment(group),
        Rejected::NotTheTarget,
        Rejected::NothingToChange,
        Rejected::NoProducerIds(0),
    ];
    for why in all {
        let failure = Failure::from(&why);
        assert!(
            !matches!(
                failure.code,
                ErrorCode::None | ErrorCode::UnknownServerError
            ),
            "{why}"
        );
    }
}

#[test]
fn malformed_messages_are_errors() {
    for bytes in [
        &b""[..],
        b"\x02{}",
        b"\x01",
        b"\x01{\"no_such\":{}}",
        b"\x01[1]",
    ] {
        assert!(ControllerRequest::decode(bytes).is_err());
        assert!(ControllerResponse::decode(bytes).is_err());
    }
}
