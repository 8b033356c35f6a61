//! Snapshots: when they are wanted, what is true after them, what a log then need not hold.

use raft::types::Index;

use super::*;
use crate::broker::LeaderView;
use crate::partition::stored::Stored;
use crate::shard::{Order, Plan, SnapshotPolicy, Trigger, Wanted};

pub(super) const LAG_MS: u64 = 300;
pub(super) const REST_MS: u64 = 200;
const COLLECT_MS: u64 = 3000;

pub(super) const POLICY: SnapshotPolicy = SnapshotPolicy {
    lag_max_ms: LAG_MS,
    bytes: 10_000,
    tail_bytes: 0,
    at_once: 1,
    rest_ms: REST_MS,
    collect_ms: COLLECT_MS,
    own_copies: false,
};

fn with_store(brokers: i32, topic: &[(&str, &str)]) -> Cluster {
    Cluster::with(brokers, |config| config.snapshots = Some(POLICY), topic)
}

/// Four batches of three records.
pub(super) fn fill_twelve(cluster: &mut Cluster) {
    for _ in 0..4 {
        cluster.produce(ONE, batch(3), Acks::All);
    }
    cluster.settle();
}

/// The snapshots that were ordered at a node since the last look.
pub(super) fn wanted(cluster: &mut Cluster, node: NodeId) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    cluster.at(node).orders.retain(|order| match order {
        Order::TakeSnapshot(order) => {
            wanted.push((**order).clone());
            false
        }
        _ => true,
    });
    wanted
}

pub(super) fn stored(wanted: &Wanted) -> Stored {
    Stored {
        incarnation: 1,
        leader_epoch: i32::try_from(wanted.term.0).unwrap(),
        index: wanted.index.0,
        next_offset: wanted.next_offset,
        identity: None,
    }
}

/// Tells that a snapshot is in the store.
pub(super) fn taken(cluster: &mut Cluster, node: NodeId, wanted: &Wanted) {
    let now = cluster.now;
    let shard = &mut cluster.at(node).shard;
    shard.snapshot_taken(now, wanted.group, wanted.term, Some(stored(wanted)));
    cluster.settle();
    for of in collections(cluster, node) {
        assert_eq!(of, stored(wanted), "the newest one");
        cluster.at(node).shard.snapshots_collected(wanted.group);
    }
    // Followers hear of the commit with the next frame.
    cluster.run(50);
}

/// After which snapshots the store was to be cleaned up, since the last look.
fn collections(cluster: &mut Cluster, node: NodeId) -> Vec<Stored> {
    let mut after = Vec::new();
    cluster.at(node).orders.retain(|order| match order {
        Order::CollectSnapshots { stored, .. } => {
            after.push(*stored);
            false
        }
        _ => true,
    });
    after
}

/// Everything produced is in a snapshot that all replicas know.
pub(super) fn snapshotted(brokers: i32, topic: &[(&str, &str)]) -> (Cluster, Wanted) {
    let mut cluster = with_store(brokers, topic);
    fill_twelve(&mut cluster);
    cluster.run(LAG_MS + 200);
    let wanted = wanted(&mut cluster, ONE).remove(0);
    taken(&mut cluster, ONE, &wanted);
    (cluster, wanted)
}

fn known(cluster: &Cluster, node: NodeId) -> Option<Stored> {
    cluster.status(node, GROUP).unwrap().stored
}

#[test]
fn a_while_after_a_change_the_leader_takes_a_snapshot_of_what_is_committed() {
    let mut cluster = with_store(3, &[]);
    fill_twelve(&mut cluster);
    cluster.run(LAG_MS / 2);
    let early = wanted(&mut cluster, ONE);
    assert!(early.is_empty(), "not at once: {early:?}");
    cluster.run(LAG_MS);
    let ordered = wanted(&mut cluster, ONE);
    let [only] = &ordered[..] else {
        panic!("{ordered:?}")
    };
    assert_eq!(
        (only.log_start, only.local_start, only.next_offset),
        (0, 0, 12)
    );
    assert_eq!(only.trigger, Trigger::Time);
    assert_eq!(only.before, None);
    assert_eq!(only.epochs, [(i32::try_from(only.term.0).unwrap(), 0)]);
    for node in [TWO, THREE] {
        assert!(wanted(&mut cluster, node).is_empty(), "only the leader");
    }
}

#[test]
fn what_was_taken_is_true_when_it_is_committed_and_then_there_is_peace() {
    let (mut cluster, only) = snapshotted(3, &[]);
    for node in [ONE, TWO, THREE] {
        assert_eq!(known(&cluster, node), Some(stored(&only)), "at {node}");
    }
    // The news of a snapshot are not worth another one.
    cluster.run(LAG_MS * 10);
    assert!(wanted(&mut cluster, ONE).is_empty());
    assert_eq!(cluster.status(ONE, GROUP).unwrap().unstored_ms, 0);
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    cluster.run(LAG_MS + 200);
    let next = wanted(&mut cluster, ONE).remove(0);
    assert_eq!((next.before, next.next_offset), (Some(stored(&only)), 13));
}

#[test]
fn much_does_not_wait() {
    let mut cluster = with_store(1, &[]);
    cluster.produce(ONE, sized(1, 20_000), Acks::All);
    cluster.settle();
    cluster.run(LAG_MS / 4);
    let only = wanted(&mut cluster, ONE).remove(0);
    assert_eq!((only.trigger, only.next_offset), (Trigger::Size, 1));
    assert!(only.bytes >= 20_000);
}

#[test]
fn what_did_not_get_into_the_store_is_tried_again_after_a_rest() {
    let mut cluster = with_store(1, &[]);
    fill_twelve(&mut cluster);
    cluster.run(LAG_MS + 200);
    let first = wanted(&mut cluster, ONE).remove(0);
    cluster.run(LAG_MS * 5);
    assert!(wanted(&mut cluster, ONE).is_empty(), "one at a time");
    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.snapshot_taken(now, GROUP, first.term, None);
    cluster.run(REST_MS / 2);
    assert!(wanted(&mut cluster, ONE).is_empty());
    cluster.run(REST_MS * 2);
    assert_eq!(wanted(&mut cluster, ONE)[0].next_offset, 12);
}

#[test]
fn x13_a_deposed_leaders_snapshot_is_nobodys() {
    let mut cluster = with_store(3, &[]);
    fill_twelve(&mut cluster);
    cluster.run(LAG_MS + 200);
    let old = wanted(&mut cluster, ONE).remove(0);
    cluster.lead(TWO);
    taken(&mut cluster, ONE, &old);
    assert_eq!(known(&cluster, TWO), None);
    cluster.run(LAG_MS + 200);
    let new = wanted(&mut cluster, TWO).remove(0);
    assert_eq!((new.before, new.next_offset), (None, 12));
    taken(&mut cluster, TWO, &new);
    assert_eq!(known(&cluster, ONE), Some(stored(&new)));
    // Back in office, in another term: what it has of the old one changes nothing.
    cluster.lead(ONE);
    taken(&mut cluster, ONE, &old);
    assert_eq!(known(&cluster, ONE), Some(stored(&new)));
}

#[test]
fn what_the_store_lacks_is_told_also_while_an_earlier_snapshot_is_due() {
    let mut cluster = with_store(3, &[]);
    fill_twelve(&mut cluster);
    cluster.run(LAG_MS + 200);
    let old = wanted(&mut cluster, ONE).remove(0);
    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.snapshot_taken(now, GROUP, old.term, Some(stored(&old)));
    cluster.settle();
    // The followers hold the news of it, and do not know that it is committed: the next leader means to take one too.
    cluster.cut.insert(ONE);
    assert_eq!(known(&cluster, TWO), None);
    let now = cluster.now;
    cluster.at(TWO).shard.campaign(now, GROUP, true);
    cluster.run_until("a leader", |c| known(c, TWO).is_some());
    assert_eq!(cluster.status(TWO, GROUP).unwrap().unstored_ms, 0);
    cluster.produce(TWO, batch(3), Acks::All);
    cluster.settle();
    let is_due = wanted(&mut cluster, TWO);
    assert!(is_due.is_empty(), "not yet: {is_due:?}");
    assert!(cluster.status(TWO, GROUP).unwrap().unstored_ms > 0);
}

#[test]
fn a_restart_lacks_nothing_that_the_store_holds() {
    let mut cluster = with_store(1, &[]);
    fill_twelve(&mut cluster);
    cluster.run(LAG_MS + 200);
    let wanted = wanted(&mut cluster, ONE).remove(0);
    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.snapshot_taken(now, GROUP, wanted.term, Some(stored(&wanted)));
    cluster.settle();
    cluster.restart(ONE);
    cluster.run_until("a leader", |c| known(c, ONE).is_some());
    assert_eq!(cluster.status(ONE, GROUP).unwrap().unstored_ms, 0);
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
    assert!(cluster.status(ONE, GROUP).unwrap().unstored_ms > 0);
}

#[test]
fn without_a_store_nothing_is_ordered() {
    let mut cluster = Cluster::with(1, |_| {}, &[("local.retention.bytes", "1")]);
    fill_twelve(&mut cluster);
    cluster.run(LAG_MS * 20);
    assert!(wanted(&mut cluster, ONE).is_empty());
    assert!(cluster.shard(ONE).status().all(|s| s.stored.is_none()));
    let refused = cluster.at(ONE).shard.ask_for_snapshot(GROUP).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidConfig);
}

#[test]
fn an_operator_does_not_wait() {
    let mut cluster = with_store(3, &[]);
    fill_twelve(&mut cluster);
    cluster.at(ONE).shard.ask_for_snapshot(GROUP).unwrap();
    cluster.run(LAG_MS / 4);
    assert_eq!(wanted(&mut cluster, ONE)[0].trigger, Trigger::Manual);
    let refused = cluster.at(TWO).shard.ask_for_snapshot(GROUP).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotLeaderOrFollower);
    assert_eq!(
        refused.leader.map(|LeaderView { node, .. }| node),
        Some(ONE)
    );
}

/// Answers the questions what may go, with this; who asked.
pub(super) fn cut(cluster: &mut Cluster, offset: i64) -> Vec<NodeId> {
    let mut asked = Vec::new();
    for node in cluster.nodes() {
        let broker = cluster.at(node);
        let before = broker.orders.len();
        broker.orders.retain(|order| {
            !matches!(
                order,
                Order::CheckLocalRetention {
                    stored: Stored {
                        next_offset: 12,
                        ..
                    },
                    bytes: Some(1),
                    ..
                }
            )
        });
        if broker.orders.len() < before {
            asked.push(node);
            broker.shard.local_cut(GROUP, offset);
        }
    }
    cluster.settle();
    for node in cluster.nodes() {
        cluster.locate_trims(node);
    }
    cluster.settle();
    asked
}

pub(super) const KEEP_LITTLE: &[(&str, &str)] = &[("local.retention.bytes", "1")];

#[test]
fn each_replica_drops_what_the_store_holds_and_nothing_is_deleted_by_it() {
    let (mut cluster, only) = snapshotted(3, KEEP_LITTLE);
    assert_eq!(cut(&mut cluster, 7), [ONE, TWO, THREE]);
    for node in [ONE, TWO, THREE] {
        let status = cluster.status(node, GROUP).unwrap();
        assert_eq!(status.offsets, (0, 12, 12), "at {node}");
        assert_eq!(
            status.local_start, 6,
            "the batch with offset 7 stays at {node}"
        );
        assert_eq!(cluster.broker(node).disk.locate(GROUP, 5), None);
    }
    let plan = cluster.shard(ONE).plan_read(&fetch(5)).unwrap();
    assert!(matches!(plan, Plan::Store { stored: Some(of), .. } if of == stored(&only)));
    let plan = cluster.shard(ONE).plan_read(&fetch(7)).unwrap();
    assert!(!matches!(plan, Plan::Store { .. }));

    cluster.restart(ONE);
    cluster.run(1000);
    cluster.lead(ONE);
    let status = cluster.status(ONE, GROUP).unwrap();
    assert_eq!((status.offsets, status.local_start), ((0, 12, 12), 6));
    let plan = cluster.shard(ONE).plan_read(&fetch(0)).unwrap();
    assert!(matches!(plan, Plan::Store { stored: Some(of), .. } if of == stored(&only)));
}

#[test]
fn a_restarted_replica_knows_where_that_is_which_its_log_lacks() {
    let mut cluster = with_store(3, KEEP_LITTLE);
    fill_twelve(&mut cluster);
    // Newer than the base will be, older than the snapshot.
    cluster.at(THREE).shard.save_all_derived();
    cluster.settle();
    cluster.run(LAG_MS + 200);
    let only = wanted(&mut cluster, ONE).remove(0);
    taken(&mut cluster, ONE, &only);
    assert_eq!(cut(&mut cluster, 7), [ONE, TWO, THREE]);
    cluster.restart(THREE);
    let status = cluster.status(THREE, GROUP).unwrap();
    assert_eq!(status.local_start, 6, "the log was trimmed");
    assert_eq!(status.stored, Some(stored(&only)));
}

#[test]
fn s10_what_the_store_does_not_hold_stays_whatever_is_asked() {
    let (mut cluster, _) = snapshotted(1, KEEP_LITTLE);
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
    assert_eq!(cut(&mut cluster, 15), [ONE]);
    let status = cluster.status(ONE, GROUP).unwrap();
    assert_eq!((status.offsets, status.local_start), ((0, 15, 15), 12));
    assert!(cluster.broker(ONE).disk.locate(GROUP, 12).is_some());
}

#[test]
fn a_follower_that_was_away_gets_the_base_and_knows_the_store() {
    let (mut cluster, only) = snapshotted(3, KEEP_LITTLE);
    cluster.cut.insert(THREE);
    cluster.run(300);
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
    cluster.run(LAG_MS + 200);
    let next = wanted(&mut cluster, ONE).remove(0);
    taken(&mut cluster, ONE, &next);
    for node in [ONE, TWO] {
        cluster.at(node).shard.local_cut(GROUP, 15);
    }
    cluster.settle();
    for node in [ONE, TWO] {
        cluster.locate_trims(node);
    }
    cluster.settle();
    assert_eq!(cluster.status(ONE, GROUP).unwrap().local_start, 15);
    assert_eq!(
        known(&cluster, THREE),
        Some(stored(&only)),
        "the fault happened"
    );
    cluster.heal();
    cluster.run(1000);
    assert_eq!(known(&cluster, THREE), Some(stored(&next)));
    cluster.lead(THREE);
    let status = cluster.status(THREE, GROUP).unwrap();
    assert_eq!((status.offsets, status.local_start), ((0, 15, 15), 15));
    let plan = cluster.shard(THREE).plan_read(&fetch(0)).unwrap();
    assert!(matches!(plan, Plan::Store { stored: Some(of), .. } if of == stored(&next)));
}

#[test]
fn the_leader_cleans_up_after_a_snapshot_now_and_then_and_takes_none_meanwhile() {
    let mut cluster = with_store(3, &[]);
    let mut ends = Vec::new();
    for round in 0..6 {
        cluster.produce(ONE, batch(3), Acks::All);
        cluster.settle();
        cluster.run(LAG_MS + 200);
        let ordered = wanted(&mut cluster, ONE);
        let now = cluster.now;
        let [only] = &ordered[..] else {
            panic!("{round}: {ordered:?}")
        };
        let shard = &mut cluster.at(ONE).shard;
        shard.snapshot_taken(now, GROUP, only.term, Some(stored(only)));
        cluster.settle();
        let after = collections(&mut cluster, ONE);
        if after.is_empty() {
            continue;
        }
        assert_eq!(after, [stored(only)]);
        ends.push(round);
        cluster.produce(ONE, batch(3), Acks::All);
        cluster.settle();
        cluster.run(LAG_MS * 2);
        assert!(
            wanted(&mut cluster, ONE).is_empty(),
            "not while it cleans up"
        );
        cluster.at(ONE).shard.snapshots_collected(GROUP);
        cluster.run(50);
        let next = wanted(&mut cluster, ONE).remove(0);
        taken(&mut cluster, ONE, &next);
    }
    assert!(ends.len() == 2 && ends[0] == 0, "{ends:?}");
    for node in [TWO, THREE] {
        assert!(
            collections(&mut cluster, node).is_empty(),
            "only the leader"
        );
    }
}

#[test]
fn deleting_frees_the_log_whatever_the_store_does() {
    let mut cluster = with_store(1, &[]);
    fill_twelve(&mut cluster);
    cluster.delete_records(ONE, 9);
    cluster.settle();
    cluster.locate_trims(ONE);
    cluster.settle();
    let status = cluster.status(ONE, GROUP).unwrap();
    assert_eq!((status.offsets, status.local_start), ((9, 12, 12), 9));
    assert!(status.base_index > Index(0));
}
