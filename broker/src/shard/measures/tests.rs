//! The figures' own arithmetic. What moves them in a cluster is tested with clusters.

use raft::types::{DirectoryId, Member};

use super::*;

fn member(replica: u64, node: i32) -> Member {
    Member {
        replica: ReplicaId(replica),
        node: NodeId(node),
        directory: DirectoryId(u128::from(replica)),
    }
}

fn membership(voters: &[Member], outgoing: &[Member], learners: &[Member]) -> Membership {
    Membership {
        voters: voters.to_vec(),
        outgoing: outgoing.to_vec(),
        learners: learners.to_vec(),
    }
}

#[test]
fn a_replacement_and_a_removal_are_told_apart() {
    let (one, two, three) = (member(1, 1), member(2, 2), member(3, 3));
    let new = member(4, 3);
    let steps = [
        membership(&[one, two, three], &[], &[]),
        membership(&[one, two, three], &[], &[new]),
        membership(&[one, two, new], &[one, two, three], &[]),
        membership(&[one, two, new], &[], &[]),
    ];
    let mut counts = Counts::default();
    for pair in steps.windows(2) {
        count_changes(&mut counts, &pair[0], &pair[1]);
    }
    let changes = |c: &Counts| (c.learners_added, c.promotions, c.removals, c.replacements);
    assert_eq!(changes(&counts), (1, 1, 0, 1));
    let smaller = membership(&[one, two], &[], &[]);
    count_changes(&mut counts, &steps[3], &smaller);
    assert_eq!(changes(&counts), (1, 1, 1, 1));
}

#[test]
fn a_lag_begins_when_the_follower_had_everything_last() {
    let mut lags = Lags::default();
    let follower = ReplicaId(2);
    let mut look = |at: u64, last: u64, matched: u64| {
        let followers = [(follower, Index(matched))];
        lags.look(Tick(at), Index(last), followers.into_iter());
        lags.behind.get(&follower).map(|since| since.0)
    };
    assert_eq!(look(1_000, 10, 10), None);
    assert_eq!(
        look(1_500, 99, 0),
        None,
        "between two looks nothing changes"
    );
    assert_eq!(look(2_000, 20, 15), Some(1_000), "it had 10 then");
    assert_eq!(
        look(3_000, 30, 25),
        Some(2_000),
        "slow, and not slower than before"
    );
    // It stops: the lag grows, also when the marks no longer reach back so far.
    for second in 4..40 {
        assert_eq!(look(second * 1_000, 30 + second, 25), Some(2_000));
    }
    assert_eq!(look(40_000, 100, 100), None);
}

#[test]
fn a_node_joins_once() {
    let mut measures = Measures::default();
    measures.knows_nodes([NodeId(1)].into_iter());
    for node in [1, 2, 2, 3] {
        measures.registered(NodeId(node));
    }
    assert_eq!(measures.nodes_joined, 2);
    measures.unregistered(NodeId(3));
    measures.registered(NodeId(3));
    assert_eq!(measures.nodes_joined, 3);
}
