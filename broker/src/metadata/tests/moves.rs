//! Reassignments, replacements of wiped disks, preference.

use super::*;
use crate::metadata::Standing;

fn nodes(members: &[Member]) -> Vec<i32> {
    members.iter().map(|m| m.node.0).collect()
}

#[test]
fn a_move_keeps_every_holder_until_it_is_finished() {
    let mut log = Log::with_brokers(4);
    log.create(9, "orders", &[&[1, 2, 3]]);
    let before = log.replicas(1);
    assert_eq!(
        log.set_target(1, &[4, 2, 3]),
        [Change::TargetChanged { group: GroupId(1) }]
    );
    let partition = log.image.partition(GroupId(1)).unwrap().clone();
    assert_eq!(nodes(&partition.adding()), [4]);
    assert_eq!(nodes(&partition.removing()), [1]);
    assert_eq!(partition.replicas, before);
    assert_eq!(
        partition.desired()[1..],
        before[1..],
        "who stays keeps the replica id"
    );
    assert_eq!(partition.holders().len(), 4);
    let changes = log.finish(1);
    let removed = vec![before[0]];
    assert_eq!(
        changes,
        [Change::ReassignmentFinished {
            group: GroupId(1),
            removed
        }]
    );
    assert_eq!(nodes(&log.replicas(1)), [4, 2, 3]);
    let standing = log
        .image
        .standing(DirectoryId(101), GroupId(1), before[0].replica);
    assert_eq!(standing, Standing::Removed);
    assert_eq!(
        log.image.groups_on(NodeId(1)).count(),
        1,
        "only the metadata group"
    );
}

#[test]
fn giving_a_move_up_is_a_move_back_and_drops_nobody_yet() {
    let mut log = Log::with_brokers(2);
    log.create(9, "orders", &[&[1]]);
    log.set_target(1, &[2]);
    let as_of = log.version(1);
    let newcomer = log.image.partition(GroupId(1)).unwrap().adding()[0];
    log.ok(Command::CancelReassignment {
        group: GroupId(1),
        as_of,
    });
    let partition = log.image.partition(GroupId(1)).unwrap().clone();
    assert!(partition.is_moving());
    assert_eq!(nodes(partition.desired()), [1]);
    assert_eq!(partition.removing(), [newcomer]);
    assert_eq!(
        log.image.removals(DirectoryId(102)).count(),
        0,
        "it may be the only voter by now"
    );
    // The leader that had reached the first target reports too late.
    let late = Command::FinishReassignment {
        group: GroupId(1),
        voters: vec![newcomer.replica],
        as_of,
    };
    assert!(matches!(log.apply(late), Err(Rejected::Stale { .. })));
    log.finish(1);
    assert_eq!(nodes(&log.replicas(1)), [1]);
    assert_eq!(log.image.removals(DirectoryId(102)).count(), 1);
}

#[test]
fn a_move_over_a_move_remembers_the_first_target() {
    let mut log = Log::with_brokers(4);
    log.create(9, "orders", &[&[1]]);
    log.set_target(1, &[2]);
    log.set_target(1, &[3]);
    let partition = log.image.partition(GroupId(1)).unwrap().clone();
    assert_eq!(nodes(&partition.leaving), [2]);
    let second = partition.leaving[0];
    // Back to node 2: the same replica, which was never dropped.
    log.set_target(1, &[2]);
    let partition = log.image.partition(GroupId(1)).unwrap().clone();
    assert_eq!(partition.desired(), [second]);
    assert_eq!(nodes(&partition.leaving), [3]);
    let Change::ReassignmentFinished { removed, .. } = log.finish(1).remove(0) else {
        panic!()
    };
    assert_eq!(nodes(&removed), [1, 3]);
}

#[test]
fn a_replica_id_does_not_come_back_with_its_node() {
    let mut log = Log::with_brokers(2);
    log.create(9, "orders", &[&[1, 2]]);
    let first = log.replicas(1)[1];
    log.set_target(1, &[1]);
    log.finish(1);
    log.set_target(1, &[1, 2]);
    log.finish(1);
    let second = log.replicas(1)[1];
    assert_eq!(second.node, first.node);
    assert!(second.replica > first.replica);
    assert_eq!(
        log.image
            .standing(DirectoryId(102), GroupId(1), first.replica),
        Standing::Removed
    );
    assert_eq!(
        log.image
            .standing(DirectoryId(102), GroupId(1), second.replica),
        Standing::Holder
    );
}

#[test]
fn only_the_reached_target_finishes_a_move() {
    let mut log = Log::with_brokers(4);
    log.create(9, "orders", &[&[1, 2, 3]]);
    let group = GroupId(1);
    let voters: Vec<_> = log.replicas(1).iter().map(|m| m.replica).collect();
    let as_of = log.version(1);
    let finish = Command::FinishReassignment {
        group,
        voters: voters.clone(),
        as_of,
    };
    assert_eq!(log.apply(finish), Err(Rejected::NoReassignment(group)));
    log.set_target(1, &[4, 2, 3]);
    let as_of = log.version(1);
    let finish = Command::FinishReassignment {
        group,
        voters,
        as_of,
    };
    assert_eq!(log.apply(finish), Err(Rejected::NotTheTarget));
    assert!(log.image.partition(group).unwrap().is_moving());
}

#[test]
fn another_order_is_not_a_move() {
    let mut log = Log::with_brokers(3);
    log.create(9, "orders", &[&[1, 2, 3]]);
    let group = GroupId(1);
    assert_eq!(
        log.set_target(1, &[3, 1, 2]),
        [Change::PreferenceChanged { group }]
    );
    assert!(!log.image.partition(group).unwrap().is_moving());
    let (replica, as_of) = (log.replicas(1)[2].replica, log.version(1));
    log.ok(Command::SetPreferredLeader {
        group,
        replica,
        as_of,
    });
    assert_eq!(nodes(&log.replicas(1)), [2, 3, 1]);
    let again = Command::SetPreferredLeader {
        group,
        replica,
        as_of: log.version(1),
    };
    assert_eq!(log.apply(again), Err(Rejected::NothingToChange));
}

#[test]
fn m9_wiped_disk_comes_back_as_another_replica() {
    let mut log = Log::with_brokers(3);
    log.create(9, "orders", &[&[1, 2, 3]]);
    let dead = log.replicas(1)[0];
    let old_metadata = log.image.broker(NodeId(1)).unwrap().metadata;
    log.ok(Command::RegisterBroker(registration(1, 901)));
    let new_metadata = log.image.broker(NodeId(1)).unwrap().metadata;
    assert_ne!(old_metadata, new_metadata);
    let metadata = log.image.desired_membership(GroupId::METADATA).unwrap();
    assert!(metadata.learners.contains(&member(new_metadata.0, 1, 901)));
    for (group, replica) in [
        (GroupId(1), dead.replica),
        (GroupId::METADATA, old_metadata),
    ] {
        let as_of = log.image.partition(group).unwrap().version;
        log.ok(Command::ReplaceReplica {
            group,
            replica,
            as_of,
        });
        let partition = log.image.partition(group).unwrap();
        assert_eq!(partition.desired()[0].directory, DirectoryId(901));
        assert_ne!(partition.desired()[0].replica, replica);
        assert_eq!(partition.removing().len(), 1);
        log.finish(group.0);
    }
    assert_eq!(
        log.image.partition(GroupId::METADATA).unwrap().replicas[0].replica,
        new_metadata
    );
    assert_eq!(
        log.image.removals(DirectoryId(901)).count(),
        0,
        "the dead disk owes nothing"
    );
    let standing = log
        .image
        .standing(DirectoryId(901), GroupId::METADATA, new_metadata);
    assert_eq!(standing, Standing::Holder);
}

#[test]
fn a_disk_wiped_during_a_move_is_replaced_in_the_target() {
    let mut log = Log::with_brokers(4);
    log.create(9, "orders", &[&[1, 2, 3]]);
    log.set_target(1, &[4, 2, 3]);
    let group = GroupId(1);
    let dead = log.image.partition(group).unwrap().desired()[0];
    log.ok(Command::RegisterBroker(registration(4, 904)));
    let as_of = log.version(1);
    log.ok(Command::ReplaceReplica {
        group,
        replica: dead.replica,
        as_of,
    });
    let partition = log.image.partition(group).unwrap().clone();
    assert_eq!(partition.desired()[0].directory, DirectoryId(904));
    assert_eq!(partition.leaving, [dead]);
    log.finish(1);
    assert_eq!(nodes(&log.replicas(1)), [4, 2, 3]);
    assert_eq!(log.image.removals(DirectoryId(904)).count(), 0);
    assert_eq!(log.image.removals(DirectoryId(101)).count(), 1);
}

#[test]
fn only_a_replica_on_a_lost_disk_is_replaced() {
    let mut log = Log::with_brokers(3);
    log.create(9, "orders", &[&[1, 2, 3]]);
    let (group, replica, as_of) = (GroupId(1), log.replicas(1)[0].replica, log.version(1));
    let replace = Command::ReplaceReplica {
        group,
        replica,
        as_of,
    };
    assert_eq!(log.apply(replace), Err(Rejected::NothingToChange));
    let replace = Command::ReplaceReplica {
        group,
        replica: ReplicaId(99),
        as_of,
    };
    assert_eq!(
        log.apply(replace),
        Err(Rejected::UnknownReplica(ReplicaId(99)))
    );
}

#[test]
fn a_voter_that_leaves_the_metadata_quorum_still_follows() {
    let mut log = Log::with_brokers(4);
    log.set_target(0, &[4, 2, 3]);
    log.finish(0);
    let first = log.image.broker(NodeId(1)).unwrap().clone();
    let membership = log.image.desired_membership(GroupId::METADATA).unwrap();
    assert_eq!(membership.learners, [log.image.metadata_member(&first)]);
    assert_eq!(log.image.removals(DirectoryId(101)).count(), 0);
    let standing = log
        .image
        .standing(DirectoryId(101), GroupId::METADATA, first.metadata);
    assert_eq!(standing, Standing::Holder);
    log.ok(Command::UnregisterBroker { node: NodeId(1) });
}
