//! Which membership is in force at which index.

use super::History;
use crate::types::{Base, DirectoryId, Index, Member, Membership, NodeId, ReplicaId};

fn members(replicas: &[u64]) -> Vec<Member> {
    let member = |&replica: &u64| Member {
        replica: ReplicaId(replica),
        node: NodeId(1),
        directory: DirectoryId(1),
    };
    replicas.iter().map(member).collect()
}

fn membership(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Membership {
    Membership {
        voters: members(voters),
        outgoing: members(outgoing),
        learners: members(learners),
    }
}

/// A replica that began with nobody trims its log below the change that brought it, leads, and gives
/// its base to a newcomer: an install that names no voters would be refused for ever.
#[test]
fn who_began_with_nobody_knows_who_was_there_before_its_first_change() {
    let mut history = History::new(&Base::default(), Vec::new());
    history.append(Index(50), membership(&[1, 2, 3], &[], &[4]));
    history.append(Index(60), membership(&[2, 3, 4], &[1, 2, 3], &[]));
    assert_eq!(history.at(Index(47)).voters, members(&[1, 2, 3]));
    history.trim(Index(47));
    assert_eq!(history.at(Index(47)).voters, members(&[1, 2, 3]));
    assert_eq!(history.at(Index(50)), membership(&[1, 2, 3], &[], &[4]));
    assert!(history.at(Index(60)).is_joint());
}

#[test]
fn before_a_joint_membership_the_outgoing_voters_were_alone() {
    let joint = membership(&[2, 3, 4], &[1, 2, 3], &[9]);
    let history = History::new(&Base::default(), vec![(Index(5), joint)]);
    assert_eq!(history.at(Index(4)), membership(&[1, 2, 3], &[], &[4, 9]));
    assert!(history.at(Index(4)).is_valid());
}

#[test]
fn who_was_told_nothing_knows_nobody() {
    let history = History::new(&Base::default(), Vec::new());
    assert!(history.at(Index(3)).is_empty());
}
