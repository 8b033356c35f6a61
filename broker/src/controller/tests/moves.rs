//! Reassignments on request, wiped disks, drained brokers.

use super::*;

fn reassign(placement: Placement) -> ControllerRequest {
    let (topic, partition) = ("orders".to_owned(), 0);
    let partitions = vec![PartitionMove {
        topic,
        partition,
        placement,
    }];
    ControllerRequest::Reassign {
        partitions,
        allow_replication_factor_change: true,
    }
}

fn to(nodes: &[i32]) -> ControllerRequest {
    reassign(Placement::Nodes(
        nodes.iter().copied().map(NodeId).collect(),
    ))
}

fn world(brokers: i32) -> World {
    let mut world = World::new(brokers);
    world.create(manual("orders", &[(0, &[1, 2, 3])])).unwrap();
    world
}

#[test]
fn a_reassignment_from_start_to_finish() {
    let mut world = world(4);
    world.one(to(&[4, 2, 3])).unwrap();
    let moves: Vec<_> = reassignments(world.image()).collect();
    assert_eq!(moves.len(), 1);
    assert_eq!(moves[0].replicas, [4, 2, 3, 1].map(NodeId));
    assert_eq!(
        (&moves[0].adding[..], &moves[0].removing[..]),
        (&[NodeId(4)][..], &[NodeId(1)][..])
    );
    assert_eq!(
        world.plan(&to(&[4, 2, 3]))[0].action,
        None,
        "it is under way"
    );
    let partition = world.image().partition(moves[0].group).unwrap();
    let voters = partition.desired().iter().map(|m| m.replica).collect();
    let (group, as_of) = (partition.group, partition.version);
    let finish = Command::FinishReassignment {
        group,
        voters,
        as_of,
    };
    world
        .one(ControllerRequest::Report(finish.clone()))
        .unwrap();
    assert_eq!(reassignments(world.image()).count(), 0);
    assert_eq!(world.nodes("orders"), [[4, 2, 3]]);
    let late = world.one(ControllerRequest::Report(finish)).unwrap_err();
    assert_eq!(late.code, ErrorCode::InvalidUpdateVersion);
}

#[test]
fn a_cancelled_reassignment_goes_back() {
    let mut world = world(4);
    assert_eq!(
        world.code(reassign(Placement::Cancel)),
        ErrorCode::NoReassignmentInProgress
    );
    world.one(to(&[4, 2, 3])).unwrap();
    world.one(reassign(Placement::Cancel)).unwrap();
    let back = reassignments(world.image()).next().unwrap();
    assert_eq!((back.adding, back.removing), (vec![], vec![NodeId(4)]));
    assert_eq!(
        world.plan(&reassign(Placement::Cancel))[0].action,
        None,
        "it is on its way back"
    );
    world.finish_moves();
    assert_eq!(world.nodes("orders"), [[1, 2, 3]]);
    assert_eq!(
        world.code(reassign(Placement::Cancel)),
        ErrorCode::NoReassignmentInProgress
    );
}

#[test]
fn reassignments_that_are_refused() {
    let mut world = world(4);
    for nodes in [&[][..], &[1, 1, 2], &[1, 2, 9], &[-1, 2, 3]] {
        assert_eq!(
            world.code(to(nodes)),
            ErrorCode::InvalidReplicaAssignment,
            "{nodes:?}"
        );
    }
    let unknown = |topic: &str, partition| {
        let placement = Placement::Nodes(vec![NodeId(1)]);
        let partitions = vec![PartitionMove {
            topic: topic.to_owned(),
            partition,
            placement,
        }];
        ControllerRequest::Reassign {
            partitions,
            allow_replication_factor_change: true,
        }
    };
    for (topic, partition) in [("none", 0), ("orders", 1), ("orders", -1)] {
        let code = world.code(unknown(topic, partition));
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    }
    let ControllerRequest::Reassign { partitions, .. } = to(&[1, 2]) else {
        panic!()
    };
    let strict = ControllerRequest::Reassign {
        partitions,
        allow_replication_factor_change: false,
    };
    assert_eq!(world.code(strict), ErrorCode::InvalidReplicationFactor);
    assert_eq!(world.plan(&to(&[1, 2, 3]))[0].action, None, "it is there");
}

#[test]
fn single_replicas_come_and_go() {
    let mut world = world(4);
    let invalid = ErrorCode::InvalidReplicaAssignment;
    assert_eq!(world.code(reassign(Placement::Add(NodeId(2)))), invalid);
    assert_eq!(world.code(reassign(Placement::Remove(NodeId(4)))), invalid);
    world.one(reassign(Placement::Add(NodeId(4)))).unwrap();
    world.finish_moves();
    assert_eq!(world.nodes("orders"), [[1, 2, 3, 4]]);
    for node in [1, 2, 3] {
        world
            .one(reassign(Placement::Remove(NodeId(node))))
            .unwrap();
        world.finish_moves();
    }
    assert_eq!(world.code(reassign(Placement::Remove(NodeId(4)))), invalid);
}

#[test]
fn metadata_votes_move_like_any_group() {
    let mut world = World::new(5);
    let voters = |nodes: &[i32]| ControllerRequest::SetMetadataVoters {
        nodes: nodes.iter().copied().map(NodeId).collect(),
    };
    for wrong in [&[][..], &[1, 2], &[1, 2, 9], &[1, 1, 2]] {
        assert_eq!(
            world.code(voters(wrong)),
            ErrorCode::InvalidReplicaAssignment
        );
    }
    world.one(voters(&[1, 2, 3, 4, 5])).unwrap();
    world.finish_moves();
    let membership = world.image().desired_membership(GroupId::METADATA).unwrap();
    assert_eq!((membership.voters.len(), membership.learners.len()), (5, 0));
    assert_eq!(world.plan(&voters(&[1, 2, 3, 4, 5]))[0].action, None);
}

#[test]
fn only_reports_pass_as_reports() {
    let mut world = world(3);
    let topic = world.image().topic_named("orders").unwrap().id;
    let sneaky = ControllerRequest::Report(Command::DeleteTopic { topic });
    assert_eq!(world.code(sneaky), ErrorCode::InvalidRequest);
    assert!(world.image().topic_named("orders").is_some());
}

fn replacements(actions: &[Action]) -> Vec<GroupId> {
    let group = |action: &Action| match action {
        Action::Propose(Command::ReplaceReplica { group, .. }) => Some(*group),
        _ => None,
    };
    actions.iter().filter_map(group).collect()
}

#[test]
fn m9_a_wiped_disk_is_replaced_in_every_group_with_a_quorum() {
    let mut world = world(3);
    world.create(manual("single", &[(0, &[1])])).unwrap();
    world.create(manual("pair", &[(0, &[2, 1])])).unwrap();
    let mut controller = Controller::new(world.policy.clone());
    assert_eq!(controller.tick(Tick(0), world.image(), &world), []);
    world.wipe(1, 901);
    let actions = controller.tick(Tick(1000), world.image(), &world);
    // The metadata group first. Not the single replica, which is lost, nor the pair, whose other half is no majority.
    assert_eq!(replacements(&actions), [GroupId(0), GroupId(1)]);
    world.apply_actions(&actions);
    assert_eq!(
        replacements(&controller.tick(Tick(2000), world.image(), &world)),
        []
    );
    world.finish_moves();
    assert_eq!(world.nodes("orders"), [[1, 2, 3]]);
    let first = world.image().partition(GroupId(1)).unwrap().replicas[0];
    assert_eq!(first.directory, raft::types::DirectoryId(901));
}

#[test]
fn a_wiped_disk_waits_for_the_quorum_of_the_rest() {
    let mut world = world(3);
    world.down.insert(NodeId(2));
    world.wipe(1, 901);
    let mut controller = Controller::new(world.policy.clone());
    assert_eq!(
        controller.tick(Tick(0), world.image(), &world),
        [],
        "only broker 3 has the data"
    );
    world.down.remove(&NodeId(2));
    let actions = controller.tick(Tick(1), world.image(), &world);
    assert_eq!(replacements(&actions), [GroupId(0), GroupId(1)]);
}

#[test]
fn a_wiped_disk_waits_for_an_operator_if_told_so() {
    let mut world = world(3);
    world.wipe(1, 901);
    world.policy.replace_wiped = false;
    let mut controller = Controller::new(world.policy.clone());
    assert_eq!(controller.tick(Tick(0), world.image(), &world), []);
    // The operator's word: the same nodes again, which on the new disk is a move.
    world.one(to(&[1, 2, 3])).unwrap();
    assert!(world.image().partition(GroupId(1)).unwrap().is_moving());
}

#[test]
fn replacements_are_bounded_and_all_come() {
    let mut world = World::new(3);
    world.create(topic("t", 40, 3)).unwrap();
    world.wipe(2, 902);
    world.policy.moves_max = 15;
    let mut controller = Controller::new(world.policy.clone());
    let mut replaced = Vec::new();
    for tick in 0..4 {
        let actions = controller.tick(Tick(tick * 1000), world.image(), &world);
        let groups = replacements(&actions);
        assert!(groups.iter().filter(|g| g.0 > 0).count() <= 15);
        replaced.extend(groups);
        world.apply_actions(&actions);
        world.finish_moves();
    }
    assert_eq!(replaced.len(), 41);
    let old = raft::types::DirectoryId(102);
    assert!(
        world
            .image()
            .partitions()
            .all(|p| p.replicas.iter().all(|m| m.directory != old))
    );
}

#[test]
fn a_drained_broker_ends_empty_and_can_leave() {
    let mut world = World::new(4);
    world.create(topic("t", 12, 3)).unwrap();
    world.lead_as_preferred();
    let node = NodeId(2);
    world
        .one(ControllerRequest::SetDraining {
            node,
            draining: true,
        })
        .unwrap();
    let mut controller = Controller::new(world.policy.clone());
    for tick in 0..8 {
        let actions = controller.tick(Tick(tick * 40_000), world.image(), &world);
        world.apply_actions(&actions);
        world.finish_moves();
    }
    assert_eq!(
        world.image().groups_on(node).count(),
        0,
        "its vote in the metadata group too"
    );
    assert!(world.nodes("t").iter().flatten().all(|n| *n != 2));
    let leave = ControllerRequest::UnregisterBroker { node };
    assert_eq!(
        world.code(leave.clone()),
        ErrorCode::InvalidRequest,
        "it is alive"
    );
    world.down.insert(node);
    world.one(leave).unwrap();
    assert!(world.image().broker(node).is_none());
}

#[test]
fn a_drain_without_another_place_moves_nothing() {
    let mut world = world(3);
    world
        .one(ControllerRequest::SetDraining {
            node: NodeId(2),
            draining: true,
        })
        .unwrap();
    let mut controller = Controller::new(world.policy.clone());
    assert_eq!(controller.tick(Tick(0), world.image(), &world), []);
}
