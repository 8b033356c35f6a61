//! Tests of the metadata image.

mod moves;
mod random;
mod rejections;

use raft::types::{DirectoryId, GroupId, Index, Member, NodeId, ReplicaId};
use std::collections::BTreeMap;

use super::{Change, Command, CommandError, Image, Registration, Rejected, StateError, TopicId};

pub(crate) fn registration(node: i32, directory: u128) -> Registration {
    Registration {
        node: NodeId(node),
        directory: DirectoryId(directory),
        host: format!("broker-{node}"),
        port: 9092,
        peer: format!("broker-{node}:9193"),
        rack: None,
        boot: directory as u64,
    }
}

pub(crate) fn member(replica: u64, node: i32, directory: u128) -> Member {
    Member {
        replica: ReplicaId(replica),
        node: NodeId(node),
        directory: DirectoryId(directory),
    }
}

/// An image and the index of its last command.
pub(crate) struct Log {
    pub(crate) image: Image,
    pub(crate) index: Index,
}

impl Log {
    /// Brokers 1 to `brokers` on disks 101, 102, ...; the first three (or fewer) vote in the metadata group.
    pub(crate) fn with_brokers(brokers: i32) -> Self {
        let voters = (1..=brokers.min(3))
            .map(|n| member(n as u64, n, 100 + n as u128))
            .collect();
        let mut log = Self {
            image: Image::bootstrap(7, voters),
            index: Index(0),
        };
        for node in 1..=brokers {
            log.ok(Command::RegisterBroker(registration(
                node,
                100 + node as u128,
            )));
        }
        log
    }

    pub(crate) fn apply(&mut self, command: Command) -> Result<Vec<Change>, Rejected> {
        self.index = self.index.next();
        let applied = self.image.apply(self.index, &command);
        self.image.check().unwrap();
        applied
    }

    pub(crate) fn ok(&mut self, command: Command) -> Vec<Change> {
        self.apply(command.clone())
            .unwrap_or_else(|why| panic!("{command:?}: {why}"))
    }

    pub(crate) fn create(&mut self, id: u128, name: &str, assignments: &[&[i32]]) -> TopicId {
        let nodes = |nodes: &&[i32]| nodes.iter().copied().map(NodeId).collect();
        let assignments = assignments.iter().map(nodes).collect();
        let (topic, name, configs) = (TopicId(id), name.to_owned(), BTreeMap::new());
        self.ok(Command::CreateTopic {
            topic,
            name,
            assignments,
            configs,
        });
        topic
    }

    pub(crate) fn set_target(&mut self, group: u64, nodes: &[i32]) -> Vec<Change> {
        let (nodes, as_of) = (
            nodes.iter().copied().map(NodeId).collect(),
            self.version(group),
        );
        self.ok(Command::SetTarget {
            group: GroupId(group),
            nodes,
            as_of,
        })
    }

    pub(crate) fn finish(&mut self, group: u64) -> Vec<Change> {
        let as_of = self.version(group);
        let partition = self.image.partition(GroupId(group)).unwrap();
        let voters = partition.desired().iter().map(|m| m.replica).collect();
        self.ok(Command::FinishReassignment {
            group: GroupId(group),
            voters,
            as_of,
        })
    }

    pub(crate) fn version(&self, group: u64) -> Index {
        self.image.partition(GroupId(group)).unwrap().version
    }

    pub(crate) fn replicas(&self, group: u64) -> Vec<Member> {
        self.image
            .partition(GroupId(group))
            .unwrap()
            .replicas
            .clone()
    }
}

#[test]
fn the_same_commands_give_the_same_bytes() {
    let run = || {
        let mut log = Log::with_brokers(4);
        log.create(9, "orders", &[&[1, 2, 3], &[2, 3, 4]]);
        log.create(5, "clicks", &[&[4, 1]]);
        log.set_target(3, &[2, 3]);
        log.image.encode()
    };
    assert_eq!(run(), run());
}

#[test]
fn an_image_survives_its_bytes() {
    let mut log = Log::with_brokers(4);
    log.create(9, "orders", &[&[1, 2, 3], &[2, 3, 4]]);
    log.create(u128::MAX, "gone", &[&[3]]);
    log.ok(Command::DeleteTopic {
        topic: TopicId(u128::MAX),
    });
    log.set_target(1, &[4, 2, 3]);
    let changes = [("retention.ms".to_owned(), Some("5".to_owned()))].into();
    log.ok(Command::SetTopicConfigs {
        topic: TopicId(9),
        changes,
    });
    let bytes = log.image.encode();
    let back = Image::decode(&bytes).unwrap();
    assert_eq!(back, log.image);
    assert_eq!(back.encode(), bytes);
}

#[test]
fn every_command_survives_its_bytes() {
    let (group, as_of, topic) = (GroupId(3), Index(8), TopicId(u128::MAX - 1));
    let nodes = vec![NodeId(1), NodeId(2)];
    let configs = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let changes: super::ConfigChanges = [
        ("a".to_owned(), None),
        ("b".to_owned(), Some("c".to_owned())),
    ]
    .into();
    let (name, assignments) = ("t".to_owned(), vec![nodes.clone()]);
    let commands = [
        Command::RegisterBroker(registration(3, u128::MAX)),
        Command::UnregisterBroker { node: NodeId(1) },
        Command::SetDraining {
            node: NodeId(1),
            draining: true,
        },
        Command::CreateTopic {
            topic,
            name,
            assignments: assignments.clone(),
            configs,
        },
        Command::DeleteTopic { topic },
        Command::AddPartitions {
            topic,
            first: 3,
            assignments,
        },
        Command::SetTopicConfigs {
            topic,
            changes: changes.clone(),
        },
        Command::SetBrokerConfigs {
            scope: super::ConfigScope::Node(NodeId(4)),
            changes: changes.clone(),
        },
        Command::SetBrokerConfigs {
            scope: super::ConfigScope::Cluster,
            changes,
        },
        Command::AllocateProducerIds {
            node: NodeId(1),
            count: 1000,
        },
        Command::SetTarget {
            group,
            nodes,
            as_of,
        },
        Command::CancelReassignment { group, as_of },
        Command::FinishReassignment {
            group,
            voters: vec![ReplicaId(u64::MAX)],
            as_of,
        },
        Command::ReplaceReplica {
            group,
            replica: ReplicaId(9),
            as_of,
        },
        Command::SetPreferredLeader {
            group,
            replica: ReplicaId(9),
            as_of,
        },
        Command::ConfirmRemovals {
            directory: DirectoryId(1),
            replicas: vec![ReplicaId(2)],
        },
        Command::SetMetadataVersion { level: 2 },
    ];
    for command in commands {
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
}

#[test]
fn unknown_formats_and_fields_are_errors_not_guesses() {
    assert_eq!(Command::decode(b""), Err(CommandError::Empty));
    assert_eq!(
        Command::decode(b"\x02{}"),
        Err(CommandError::UnknownFormat(2))
    );
    let unknown = b"\x01{\"set_metadata_version\":{\"level\":1,\"other\":2}}";
    assert!(matches!(
        Command::decode(unknown),
        Err(CommandError::Malformed(_))
    ));
    assert!(matches!(
        Command::decode(b"\x01{\"x\":1}"),
        Err(CommandError::Malformed(_))
    ));
    assert_eq!(Image::decode(b""), Err(StateError::Empty));
    assert_eq!(Image::decode(b"\x07"), Err(StateError::UnknownFormat(7)));
    assert!(matches!(
        Image::decode(b"\x01{}"),
        Err(StateError::Malformed(_))
    ));
    let mut log = Log::with_brokers(3);
    log.create(9, "orders", &[&[1, 2, 3]]);
    log.image.next_replica = ReplicaId(3);
    assert!(matches!(
        Image::decode(&log.image.encode()),
        Err(StateError::Inconsistent(_))
    ));
}

#[test]
fn topic_ids_print_as_kafka_prints_them() {
    assert_eq!(TopicId(0).to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(TopicId(1).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    assert_eq!(TopicId(u128::MAX).to_string(), "_____________________w");
}

#[test]
fn lookups_agree() {
    let mut log = Log::with_brokers(3);
    let orders = log.create(9, "orders", &[&[1, 2, 3], &[2, 3, 1]]);
    let image = &log.image;
    assert_eq!(image.topic_named("orders").unwrap().id, orders);
    let second = image.partition_of(orders, 1).unwrap();
    assert_eq!(
        (second.group, second.topic, second.partition),
        (GroupId(2), orders, 1)
    );
    assert_eq!(second.preferred().node, NodeId(2));
    assert!(image.partition_of(orders, 2).is_none());
    assert!(image.partition_of(orders, -1).is_none());
    assert!(image.topic_named("Orders").is_none());
    let hosted: Vec<_> = image.groups_on(NodeId(1)).map(|p| p.group.0).collect();
    assert_eq!(hosted, [0, 1, 2]);
}

#[test]
fn a_deleted_topic_leaves_removals_until_each_disk_confirms() {
    let mut log = Log::with_brokers(2);
    let topic = log.create(9, "orders", &[&[1, 2]]);
    let replicas = log.replicas(1);
    let changes = log.ok(Command::DeleteTopic { topic });
    let removed = Change::PartitionRemoved {
        group: GroupId(1),
        topic,
        partition: 0,
        replicas: replicas.clone(),
    };
    assert_eq!(
        changes,
        [
            removed,
            Change::TopicRemoved {
                topic,
                name: "orders".to_owned()
            }
        ]
    );
    let (disk, group, replica) = (DirectoryId(101), GroupId(1), replicas[0].replica);
    assert_eq!(
        log.image.removals(disk).collect::<Vec<_>>(),
        [(replica, group)]
    );
    assert_eq!(
        log.image.standing(disk, group, replica),
        super::Standing::Removed
    );
    log.ok(Command::ConfirmRemovals {
        directory: disk,
        replicas: vec![replica],
    });
    assert_eq!(log.image.removals(disk).count(), 0);
    assert_eq!(log.image.removals(DirectoryId(102)).count(), 1);
    assert_eq!(
        log.image.standing(disk, group, replica),
        super::Standing::Unknown
    );
}

#[test]
fn ten_thousand_partitions_are_nothing_special() {
    let mut log = Log::with_brokers(5);
    let nodes: Vec<Vec<NodeId>> = (0..10_000)
        .map(|p| (0..3).map(|r| NodeId((p + r) % 5 + 1)).collect())
        .collect();
    let (topic, name) = (TopicId(1), "wide".to_owned());
    let create = Command::CreateTopic {
        topic,
        name,
        assignments: nodes,
        configs: BTreeMap::new(),
    };
    let bytes = create.encode();
    assert!(
        bytes.len() < 100_000,
        "a command names nodes only: {} bytes",
        bytes.len()
    );
    let changes = log.ok(create);
    assert_eq!(changes.len(), 10_001);
    assert_eq!(log.image.partition_count(), 10_000);
    assert_eq!(Image::decode(&log.image.encode()).unwrap(), log.image);
    assert_eq!(log.ok(Command::DeleteTopic { topic }).len(), 10_001);
    assert_eq!(log.image.partition_count(), 0);
}
