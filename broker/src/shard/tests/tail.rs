//! What stays in memory.

use super::*;
use crate::shard::Plan;

/// Each batch of 200 bytes and its overhead count about 400: three fit.
fn small() -> Cluster {
    Cluster::with(1, |config| config.tail_bytes_max = 1400, &[])
}

fn is_ready(cluster: &Cluster, offset: i64) -> bool {
    match cluster.shard(ONE).plan_read(&fetch(offset)).unwrap() {
        Plan::Ready(fetched) => {
            let first = &fetched.batches[0];
            let header = protocol::record_batch::BatchHeader::parse(first).unwrap();
            assert_eq!(header.base_offset, offset, "begins where it was asked to");
            true
        }
        Plan::Disk { .. } => false,
        Plan::Store { .. } => panic!("there is no store"),
    }
}

#[test]
fn the_oldest_go_to_the_disk_first_and_the_newest_stay() {
    let mut cluster = small();
    for _ in 0..20 {
        cluster.produce(ONE, sized(1, 200), Acks::All);
        cluster.settle();
    }
    let ready: Vec<bool> = (0..20).map(|offset| is_ready(&cluster, offset)).collect();
    let first = ready.iter().position(|r| *r).expect("some are in memory");
    assert!(first > 10, "the budget is kept: {ready:?}");
    assert!(ready[first..].iter().all(|r| *r), "a suffix: {ready:?}");
    assert!(cluster.shard(ONE).tail_bytes() <= 1400);
    let Plan::Disk { until, offsets, .. } = cluster.shard(ONE).plan_read(&fetch(0)).unwrap() else {
        panic!("evicted")
    };
    assert_eq!(offsets.high_watermark, 20);
    assert_eq!(until, cluster.status(ONE, GROUP).unwrap().commit);
    let found = cluster.broker(ONE).disk.locate(GROUP, 0);
    assert!(found.is_some_and(|(index, _)| index <= until));
}

#[test]
fn what_is_not_committed_stays_whatever_the_budget() {
    let mut cluster = small();
    let before = cluster.entries_in_memory(ONE);
    for _ in 0..20 {
        cluster.produce(ONE, sized(1, 200), Acks::All);
        cluster.flush(ONE);
    }
    let held = cluster.entries_in_memory(ONE);
    assert!(held >= 20, "{before} before, {held} now");
    assert!(cluster.shard(ONE).tail_bytes() > 1400, "over the budget");
    cluster.settle();
    cluster.flush(ONE);
    assert!(cluster.shard(ONE).tail_bytes() <= 1400, "and given back");
    assert!(!is_ready(&cluster, 0));
    assert!(is_ready(&cluster, 19));
}

#[test]
fn a_follower_behind_the_tail_is_served_from_the_disk() {
    let mut cluster = Cluster::with(3, |config| config.tail_bytes_max = 1400, &[]);
    cluster.cut.insert(THREE);
    cluster.run(50);
    for _ in 0..20 {
        cluster.produce(ONE, sized(1, 200), Acks::All);
        cluster.settle();
    }
    assert!(!is_ready(&cluster, 0), "the fault happened");
    cluster.heal();
    cluster.run(500);
    assert_eq!(cluster.status(THREE, GROUP).unwrap().offsets, (0, 20, 20));
}

#[test]
fn a_fetch_is_bounded_by_bytes_but_for_its_first_batch() {
    let mut cluster = Cluster::of(1);
    for _ in 0..3 {
        cluster.produce(ONE, sized(2, 100), Acks::All);
    }
    cluster.settle();
    let batches = |offset, max_bytes| {
        let at = FetchAt {
            max_bytes,
            ..fetch(offset)
        };
        match cluster.shard(ONE).plan_read(&at).unwrap() {
            Plan::Ready(fetched) => fetched.batches.len(),
            Plan::Disk { .. } | Plan::Store { .. } => panic!("it is in memory"),
        }
    };
    assert_eq!(batches(0, 0), 1);
    assert_eq!(batches(0, 1 << 20), 3);
    assert_eq!(batches(3, 1 << 20), 2, "from the middle of a batch");
    assert_eq!(batches(0, 600), 2);
    assert_eq!(batches(6, 1 << 20), 0, "at the high watermark");
}
