//! Replicas and preferred leaders are spread evenly, over racks where there are any.

use super::*;

fn counts(lists: impl Iterator<Item = i32>) -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    for node in lists {
        *counts.entry(node).or_default() += 1;
    }
    counts
}

fn spread_of(counts: &BTreeMap<i32, usize>, brokers: usize) -> usize {
    let least = if counts.len() < brokers {
        0
    } else {
        *counts.values().min().unwrap()
    };
    counts.values().max().unwrap() - least
}

#[test]
fn one_topic_is_even() {
    for (brokers, partitions, replicas) in [(3, 12, 3), (5, 50, 3), (5, 7, 2), (7, 100, 5)] {
        let mut world = World::new(brokers);
        world.create(topic("t", partitions, replicas)).unwrap();
        let nodes = world.nodes("t");
        let brokers = brokers as usize;
        let leaders = counts(nodes.iter().map(|n| n[0]));
        assert!(spread_of(&leaders, brokers) <= 1, "{leaders:?}");
        let all = counts(nodes.iter().flatten().copied());
        assert!(spread_of(&all, brokers) <= 2, "{all:?}");
        for nodes in nodes {
            let unique: BTreeSet<_> = nodes.iter().collect();
            assert_eq!(
                (nodes.len(), unique.len()),
                (replicas as usize, replicas as usize)
            );
        }
    }
}

#[test]
fn many_small_topics_are_even_together() {
    let mut world = World::new(5);
    let topics = (0..100).map(|n| topic(&format!("t{n}"), 1, 3)).collect();
    world.run(ControllerRequest::CreateTopics {
        topics,
        validate_only: false,
    });
    let nodes: Vec<_> = (0..100)
        .flat_map(|n| world.nodes(&format!("t{n}")))
        .collect();
    let leaders = counts(nodes.iter().map(|n| n[0]));
    assert!(spread_of(&leaders, 5) <= 1, "{leaders:?}");
    let all = counts(nodes.iter().flatten().copied());
    assert!(spread_of(&all, 5) <= 2, "{all:?}");
}

#[test]
fn the_followers_of_one_leader_differ() {
    let mut world = World::new(6);
    world.create(topic("t", 60, 3)).unwrap();
    let of_first: BTreeSet<_> = world.nodes("t").into_iter().filter(|n| n[0] == 1).collect();
    assert!(
        of_first.len() >= 4,
        "a dead broker's work is shared by many: {of_first:?}"
    );
}

#[test]
fn a_new_broker_does_not_get_a_whole_topic() {
    let mut world = World::new(3);
    world.create(topic("old", 300, 3)).unwrap();
    world.log.ok(Command::RegisterBroker(registration(4, 104)));
    world.create(topic("new", 8, 3)).unwrap();
    let leaders = counts(world.nodes("new").iter().map(|n| n[0]));
    assert_eq!(leaders.values().copied().collect::<Vec<_>>(), [2, 2, 2, 2]);
}

#[test]
fn racks_hold_one_replica_each() {
    let mut world = World::new(6);
    for node in 1..=6 {
        let mut with_rack = registration(node, 100 + node as u128);
        with_rack.rack = Some(format!("rack-{}", (node - 1) / 2));
        world.log.ok(Command::RegisterBroker(with_rack));
    }
    world.create(topic("t", 30, 3)).unwrap();
    for nodes in world.nodes("t") {
        let racks: BTreeSet<_> = nodes.iter().map(|n| (n - 1) / 2).collect();
        assert_eq!(racks.len(), 3, "{nodes:?}");
    }
    let leaders = counts(world.nodes("t").iter().map(|n| n[0]));
    assert!(spread_of(&leaders, 6) <= 1, "{leaders:?}");
    // More replicas than racks: every rack still has one.
    world.create(topic("wide", 6, 4)).unwrap();
    for nodes in world.nodes("wide") {
        let racks: BTreeSet<_> = nodes.iter().map(|n| (n - 1) / 2).collect();
        assert_eq!(racks.len(), 3, "{nodes:?}");
    }
}

#[test]
fn dead_and_draining_brokers_are_spared() {
    let mut world = World::new(5);
    world.down.insert(NodeId(2));
    world.log.ok(Command::SetDraining {
        node: NodeId(4),
        draining: true,
    });
    world.create(topic("t", 9, 3)).unwrap();
    let all = counts(world.nodes("t").into_iter().flatten());
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), [1, 3, 5]);
    // Four replicas need the dead broker, but it does not lead.
    world.create(topic("wide", 4, 4)).unwrap();
    assert!(
        world
            .nodes("wide")
            .iter()
            .all(|n| n.contains(&2) && n[0] != 2)
    );
    let why = world.create(topic("wider", 1, 5)).unwrap_err();
    assert_eq!(why.code, ErrorCode::InvalidReplicationFactor);
}
