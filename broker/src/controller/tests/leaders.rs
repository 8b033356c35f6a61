//! Leadership: elections and transfers on request, and given back by itself.

use super::*;

fn elect(election: ElectionType, partitions: &[(&str, i32)]) -> ControllerRequest {
    let partitions = partitions
        .iter()
        .map(|(t, p)| ((*t).to_owned(), *p))
        .collect();
    ControllerRequest::ElectLeaders {
        election,
        partitions,
    }
}

fn world() -> World {
    let mut world = World::new(3);
    world
        .create(manual("orders", &[(0, &[1, 2, 3]), (1, &[2, 3, 1])]))
        .unwrap();
    world.lead_as_preferred();
    world
}

#[test]
fn preferred_elections() {
    let mut world = world();
    let request = elect(ElectionType::Preferred, &[("orders", 0)]);
    assert_eq!(world.code(request.clone()), ErrorCode::ElectionNotNeeded);
    world.leaders.insert(GroupId(1), NodeId(3));
    let steps = world.plan(&request);
    let to = world
        .image()
        .partition(GroupId(1))
        .unwrap()
        .preferred()
        .replica;
    let ask = Action::AskTransfer {
        group: GroupId(1),
        leader: NodeId(3),
        to,
    };
    assert_eq!(steps[0].action, Some(ask));
    world.lagging.insert((GroupId(1), NodeId(1)));
    assert_eq!(
        world.code(request.clone()),
        ErrorCode::PreferredLeaderNotAvailable
    );
    world.lagging.clear();
    world.down.insert(NodeId(1));
    assert_eq!(
        world.code(request.clone()),
        ErrorCode::PreferredLeaderNotAvailable
    );
    world.down.clear();
    world.leaders.remove(&GroupId(1));
    assert_eq!(
        world.code(request),
        ErrorCode::PreferredLeaderNotAvailable,
        "nobody to ask"
    );
    for wrong in [("orders", 2), ("none", 0)] {
        let code = world.code(elect(ElectionType::Preferred, &[wrong]));
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    }
}

#[test]
fn every_partition_of_an_election_is_answered_by_itself() {
    let mut world = world();
    world.leaders.insert(GroupId(2), NodeId(1));
    let all = elect(ElectionType::Preferred, &[("orders", 0), ("orders", 1)]);
    let (topic, group, to) = ("orders".to_owned(), GroupId(2), NodeId(2));
    let items = world.run(all.clone());
    let code = |at: usize| items[at].as_ref().map_err(|failure| failure.code);
    assert_eq!(code(0), Err(ErrorCode::ElectionNotNeeded));
    let asked = Answer::Asked {
        topic,
        partition: 1,
        group,
        to,
    };
    assert_eq!(code(1), Ok(&asked));
    world.down.insert(NodeId(2));
    let items = world.run(all);
    let code = |at: usize| items[at].as_ref().map_err(|failure| failure.code);
    assert_eq!(code(1), Err(ErrorCode::PreferredLeaderNotAvailable));
}

#[test]
fn unclean_elections_are_refused() {
    let mut world = world();
    let request = elect(ElectionType::Unclean, &[("orders", 0)]);
    assert_eq!(world.code(request.clone()), ErrorCode::ElectionNotNeeded);
    world.leaders.clear();
    assert_eq!(world.code(request), ErrorCode::EligibleLeadersNotAvailable);
}

#[test]
fn transfers_on_request() {
    let mut world = world();
    let transfer = |to| ControllerRequest::TransferLeader {
        topic: "orders".to_owned(),
        partition: 0,
        to: NodeId(to),
    };
    assert!(world.plan(&transfer(3))[0].action.is_some());
    assert_eq!(world.code(transfer(1)), ErrorCode::ElectionNotNeeded);
    assert_eq!(world.code(transfer(4)), ErrorCode::InvalidReplicaAssignment);
    world.down.insert(NodeId(3));
    assert_eq!(
        world.code(transfer(3)),
        ErrorCode::EligibleLeadersNotAvailable
    );
}

#[test]
fn leadership_returns_when_the_preferred_leader_is_stable() {
    let mut world = world();
    let mut controller = Controller::new(world.policy.clone());
    world.down.insert(NodeId(1));
    world.leaders.insert(GroupId(1), NodeId(2));
    assert_eq!(controller.tick(Tick(0), world.image(), &world), []);
    world.down.remove(&NodeId(1));
    assert_eq!(controller.tick(Tick(1000), world.image(), &world), []);
    assert_eq!(
        controller.tick(Tick(10_999), world.image(), &world),
        [],
        "not stable yet"
    );
    world.lagging.insert((GroupId(1), NodeId(1)));
    assert_eq!(
        controller.tick(Tick(11_000), world.image(), &world),
        [],
        "not in sync yet"
    );
    world.lagging.clear();
    let actions = controller.tick(Tick(12_000), world.image(), &world);
    let to = world
        .image()
        .partition(GroupId(1))
        .unwrap()
        .preferred()
        .replica;
    let ask = Action::AskTransfer {
        group: GroupId(1),
        leader: NodeId(2),
        to,
    };
    assert_eq!(actions, std::slice::from_ref(&ask));
    for second in [13, 18, 23, 28, 33, 38] {
        let actions = controller.tick(Tick(second * 1000), world.image(), &world);
        assert_eq!(actions, [], "asked less than half a minute ago");
    }
    assert_eq!(
        controller.tick(Tick(42_000), world.image(), &world),
        [ask],
        "asked again"
    );
}

#[test]
fn a_gap_in_liveness_begins_the_wait_anew() {
    let mut world = world();
    let mut controller = Controller::new(world.policy.clone());
    world.leaders.insert(GroupId(1), NodeId(2));
    controller.tick(Tick(0), world.image(), &world);
    world.down.insert(NodeId(1));
    controller.tick(Tick(9000), world.image(), &world);
    world.down.remove(&NodeId(1));
    assert_eq!(controller.tick(Tick(11_000), world.image(), &world), []);
    assert_eq!(
        controller.tick(Tick(21_000), world.image(), &world).len(),
        1
    );
}

#[test]
fn a_controller_that_was_deposed_begins_anew() {
    let mut world = world();
    let mut controller = Controller::new(world.policy.clone());
    world.leaders.insert(GroupId(1), NodeId(2));
    controller.tick(Tick(0), world.image(), &world);
    // Another broker was the controller meanwhile: who was alive in between is not known here.
    assert_eq!(controller.tick(Tick(60_000), world.image(), &world), []);
    assert_eq!(
        controller.tick(Tick(70_000), world.image(), &world).len(),
        1
    );
}

#[test]
fn transfers_are_bounded_and_all_come() {
    let mut world = World::new(3);
    world.create(topic("t", 50, 3)).unwrap();
    let wrong = world
        .image()
        .partitions()
        .map(|p| (p.group, p.desired()[1].node));
    world.leaders = wrong.collect();
    let mut controller = Controller::new(world.policy.clone());
    controller.tick(Tick(0), world.image(), &world);
    let mut asked = Vec::new();
    for tick in 10..13 {
        let actions = controller.tick(Tick(tick * 1000), world.image(), &world);
        asked.push(actions.len());
        world.apply_actions(&actions);
    }
    assert_eq!(asked, [20, 20, 10]);
    assert!(
        world
            .image()
            .partitions()
            .all(|p| world.leaders[&p.group] == p.preferred().node)
    );
}

#[test]
fn leadership_stays_where_it_is_if_told_so() {
    let mut world = world();
    world.policy.rebalance_leaders = false;
    world.leaders.insert(GroupId(1), NodeId(2));
    let mut controller = Controller::new(world.policy.clone());
    for second in [0, 10, 20] {
        let actions = controller.tick(Tick(second * 1000), world.image(), &world);
        assert_eq!(actions, []);
    }
    // Off a draining broker it goes all the same, to the first that can lead.
    world.log.ok(Command::SetDraining {
        node: NodeId(2),
        draining: true,
    });
    let actions = controller.tick(Tick(21_000), world.image(), &world);
    world.apply_actions(&actions);
    assert_eq!(world.leaders[&GroupId(1)], NodeId(1));
    assert_eq!(world.leaders[&GroupId(2)], NodeId(3));
}
