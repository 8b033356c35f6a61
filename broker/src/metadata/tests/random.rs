//! Random commands: whatever comes, the image agrees with itself and no id is used twice.

use proptest::prelude::*;
use std::collections::BTreeSet;

use super::*;

/// A command in terms of small numbers; `as_of` is filled in from the image, right or (rarely) wrong.
#[derive(Clone, Debug)]
enum Step {
    Register {
        node: i32,
        disk: u128,
    },
    Unregister {
        node: i32,
    },
    Create {
        id: u128,
        assignments: Vec<Vec<i32>>,
    },
    Delete {
        id: u128,
    },
    Grow {
        id: u128,
        nodes: Vec<i32>,
    },
    Target {
        group: u64,
        nodes: Vec<i32>,
    },
    Cancel {
        group: u64,
    },
    Finish {
        group: u64,
        stale: bool,
    },
    Replace {
        group: u64,
        place: usize,
    },
    Prefer {
        group: u64,
        place: usize,
    },
    Confirm {
        disk: u128,
    },
    ProducerIds {
        node: i32,
        count: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1..6_i32;
    let nodes = proptest::collection::vec(node.clone(), 1..4);
    let disk = 101..112_u128;
    let (id, group, place) = (1..5_u128, 0..12_u64, 0..3_usize);
    prop_oneof![
        3 => (node.clone(), disk.clone()).prop_map(|(node, disk)| Step::Register { node, disk }),
        1 => node.clone().prop_map(|node| Step::Unregister { node }),
        4 => (id.clone(), proptest::collection::vec(nodes.clone(), 1..4))
            .prop_map(|(id, assignments)| Step::Create { id, assignments }),
        1 => id.clone().prop_map(|id| Step::Delete { id }),
        1 => (id, nodes.clone()).prop_map(|(id, nodes)| Step::Grow { id, nodes }),
        6 => (group.clone(), nodes).prop_map(|(group, nodes)| Step::Target { group, nodes }),
        2 => group.clone().prop_map(|group| Step::Cancel { group }),
        5 => (group.clone(), proptest::bool::weighted(0.2))
            .prop_map(|(group, stale)| Step::Finish { group, stale }),
        3 => (group.clone(), place.clone())
            .prop_map(|(group, place)| Step::Replace { group, place }),
        1 => (group, place).prop_map(|(group, place)| Step::Prefer { group, place }),
        2 => disk.prop_map(|disk| Step::Confirm { disk }),
        1 => (node, 0..9_u32).prop_map(|(node, count)| Step::ProducerIds { node, count }),
    ]
}

fn command(image: &Image, step: Step) -> Command {
    let node_ids = |nodes: Vec<i32>| nodes.into_iter().map(NodeId).collect::<Vec<_>>();
    let seen = |group: u64| image.partition(GroupId(group));
    let as_of = |group| seen(group).map_or(Index(0), |p| p.version);
    let replica = |group, place: usize| {
        seen(group)
            .and_then(|p| p.desired().get(place))
            .map_or(ReplicaId(0), |m| m.replica)
    };
    match step {
        Step::Register { node, disk } => Command::RegisterBroker(registration(node, disk)),
        Step::Unregister { node } => Command::UnregisterBroker { node: NodeId(node) },
        Step::Create { id, assignments } => Command::CreateTopic {
            topic: TopicId(id),
            name: format!("topic-{}", id % 3),
            assignments: assignments.into_iter().map(node_ids).collect(),
            configs: BTreeMap::new(),
        },
        Step::Delete { id } => Command::DeleteTopic { topic: TopicId(id) },
        Step::Grow { id, nodes } => Command::AddPartitions {
            topic: TopicId(id),
            first: image
                .topic(TopicId(id))
                .map_or(0, |t| t.partitions.len() as i32),
            assignments: vec![node_ids(nodes)],
        },
        Step::Target { group, nodes } => Command::SetTarget {
            group: GroupId(group),
            nodes: node_ids(nodes),
            as_of: as_of(group),
        },
        Step::Cancel { group } => Command::CancelReassignment {
            group: GroupId(group),
            as_of: as_of(group),
        },
        Step::Finish { group, stale } => Command::FinishReassignment {
            group: GroupId(group),
            voters: seen(group).map_or(Vec::new(), |p| {
                p.desired().iter().map(|m| m.replica).collect()
            }),
            as_of: if stale {
                as_of(group).prev()
            } else {
                as_of(group)
            },
        },
        Step::Replace { group, place } => Command::ReplaceReplica {
            group: GroupId(group),
            replica: replica(group, place),
            as_of: as_of(group),
        },
        Step::Prefer { group, place } => Command::SetPreferredLeader {
            group: GroupId(group),
            replica: replica(group, place),
            as_of: as_of(group),
        },
        Step::Confirm { disk } => Command::ConfirmRemovals {
            directory: DirectoryId(disk),
            replicas: image
                .removals(DirectoryId(disk))
                .map(|(replica, _)| replica)
                .collect(),
        },
        Step::ProducerIds { node, count } => Command::AllocateProducerIds {
            node: NodeId(node),
            count,
        },
    }
}

/// Every (replica, group, node, disk) and producer id ever seen.
#[derive(Default)]
struct Seen {
    lives: BTreeMap<ReplicaId, (GroupId, NodeId, DirectoryId)>,
    groups: BTreeMap<GroupId, (TopicId, i32, Index)>,
    producer_ids: i64,
}

impl Seen {
    fn note(&mut self, image: &Image, changes: &[Change]) {
        for partition in image.partitions() {
            let topic = image.topic(partition.topic).unwrap();
            let identity = (partition.topic, partition.partition, topic.created);
            assert_eq!(
                *self.groups.entry(partition.group).or_insert(identity),
                identity
            );
            for member in partition.holders() {
                let life = (partition.group, member.node, member.directory);
                assert_eq!(*self.lives.entry(member.replica).or_insert(life), life);
            }
        }
        for change in changes {
            if let Change::ProducerIdsAllocated { first, count, .. } = change {
                assert!(*first >= self.producer_ids);
                self.producer_ids = first + i64::from(*count);
            }
        }
    }
}

/// Nobody who could count before is gone without a finished move, a deleted topic, and a note for its disk.
fn check_departures(before: &Image, after: &Image, changes: &[Change]) {
    let mut excused = BTreeSet::new();
    for change in changes {
        match change {
            Change::ReassignmentFinished { removed, .. } => excused.extend(removed.clone()),
            Change::PartitionRemoved { replicas, .. } => excused.extend(replicas.clone()),
            _ => {}
        }
    }
    let holders = |image: &Image| {
        image
            .groups
            .values()
            .flat_map(|p| p.holders())
            .collect::<BTreeSet<_>>()
    };
    let gone: BTreeSet<_> = holders(before)
        .difference(&holders(after))
        .copied()
        .collect();
    assert_eq!(gone, excused);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_consistent(steps in proptest::collection::vec(step(), 1..80)) {
        let mut log = Log::with_brokers(4);
        let mut seen = Seen::default();
        let mut history = Vec::new();
        for step in steps {
            let command = command(&log.image, step);
            let before = log.image.clone();
            history.push(command.clone());
            let applied = log.apply(command);
            if applied.is_err() {
                let mut same = before.clone();
                same.skip(log.index);
                prop_assert_eq!(&same, &log.image);
            }
            let changes = applied.unwrap_or_default();
            check_departures(&before, &log.image, &changes);
            seen.note(&log.image, &changes);
            prop_assert!(before.next_group <= log.image.next_group);
            prop_assert!(before.next_replica <= log.image.next_replica);
        }
        let bytes = log.image.encode();
        prop_assert_eq!(&Image::decode(&bytes).unwrap(), &log.image);
        let mut again = Log::with_brokers(4);
        for command in history {
            let _ = again.apply(Command::decode(&command.encode()).unwrap());
        }
        prop_assert_eq!(again.image.encode(), bytes);
    }
}
