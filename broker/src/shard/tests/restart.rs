//! What a restart finds.

use super::*;
use crate::shard::Plan;

#[test]
fn records_from_before_a_restart_are_read_from_the_disk_not_skipped() {
    let mut cluster = Cluster::of(1);
    for _ in 0..5 {
        cluster.produce(ONE, batch(1), Acks::All);
    }
    cluster.settle();
    cluster.restart(ONE);
    cluster.lead(ONE);
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    for offset in 0..5 {
        let plan = cluster.shard(ONE).plan_read(&fetch(offset)).unwrap();
        let Plan::Disk { until, offsets, .. } = plan else {
            panic!("offset {offset} is in no memory: {plan:?}")
        };
        assert_eq!(offsets.high_watermark, 6);
        let (index, base) = cluster.broker(ONE).disk.locate(GROUP, offset).unwrap();
        assert!(index <= until && base == offset);
    }
    let plan = cluster.shard(ONE).plan_read(&fetch(5)).unwrap();
    assert!(matches!(plan, Plan::Ready(f) if f.batches.len() == 1));
}

#[test]
fn k2_producers_are_known_after_a_restart_with_and_without_a_state_record() {
    for with_record in [false, true] {
        let mut cluster = Cluster::of(3);
        for sequence in 0..3 {
            cluster.produce(ONE, of_producer(1, 0, sequence), Acks::All);
        }
        cluster.settle();
        cluster.run(50);
        for node in [ONE, TWO, THREE] {
            if with_record {
                cluster.at(node).shard.save_all_derived();
                cluster.settle();
            }
            cluster.restart(node);
        }
        cluster.lead(TWO);
        let again = cluster.produce(TWO, of_producer(1, 0, 2), Acks::All);
        let next = cluster.produce(TWO, of_producer(1, 0, 3), Acks::All);
        cluster.settle();
        assert_eq!(base_offset(cluster.answer(TWO, again)), 2);
        assert_eq!(base_offset(cluster.answer(TWO, next)), 3);
    }
}

#[test]
fn what_was_not_synced_is_gone_and_was_never_acknowledged() {
    let mut cluster = Cluster::of(1);
    let kept = cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, kept)), 0);
    let lost = ALL.map(|acks| cluster.produce(ONE, batch(1), acks));
    cluster.flush(ONE);
    let answered = lost.map(|ticket| cluster.answer(ONE, ticket).is_some());
    assert_eq!(answered, [true, false, false], "acks=0 promises nothing");
    cluster.restart(ONE);
    cluster.lead(ONE);
    assert_eq!(cluster.status(ONE, GROUP).unwrap().offsets, (0, 1, 1));
}

#[test]
fn a_power_cut_on_all_keeps_what_was_acknowledged() {
    let mut cluster = Cluster::of(3);
    let ticket = cluster.produce(ONE, batch(4), Acks::All);
    cluster.flush(ONE);
    cluster.deliver_to(TWO);
    cluster.flush(TWO);
    cluster.sync(TWO);
    cluster.flush(TWO);
    cluster.sync(ONE);
    cluster.deliver_to(ONE);
    cluster.flush(ONE);
    assert_eq!(base_offset(cluster.answer(ONE, ticket)), 0);
    for node in [ONE, TWO, THREE] {
        cluster.restart(node);
    }
    cluster.run_until("a leader", |c| {
        c.leader()
            .is_some_and(|l| c.shard(l).offsets(GROUP).is_ok())
    });
    let leader = cluster.leader().unwrap();
    assert_eq!(
        cluster.shard(leader).offsets(GROUP).unwrap().high_watermark,
        4
    );
    cluster.run(100);
    let third = cluster.status(THREE, GROUP).unwrap();
    assert_eq!(third.offsets.2, 4, "it had nothing and was sent it");
}

#[test]
fn a_term_and_a_vote_survive_a_restart() {
    let mut cluster = Cluster::of(3);
    cluster.lead(TWO);
    cluster.lead(THREE);
    let term = cluster.status(ONE, GROUP).unwrap().term;
    for node in [ONE, TWO, THREE] {
        cluster.restart(node);
        assert!(cluster.status(node, GROUP).unwrap().term >= term);
    }
}
