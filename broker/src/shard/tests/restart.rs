//! What a restart finds.

use raft::types::{Index, NodeId};

use super::cluster::{FoundBy, directory};
use super::lifecycle::{finish, set_target};
use super::*;
use crate::metadata::tests::registration;
use crate::metadata::{Command, Registration};
use crate::shard::{Order, Plan};

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

fn retention_checks(cluster: &Cluster, node: NodeId) -> Vec<(Option<u64>, Option<u64>)> {
    let orders = cluster.broker(node).orders.iter();
    let checks = orders.filter_map(|order| match order {
        Order::CheckRetention {
            retention_ms,
            retention_bytes,
            ..
        } => Some((*retention_ms, *retention_bytes)),
        _ => None,
    });
    checks.collect()
}

/// After a crash the image is as old as the last state record: the topic is known only once the committed entries are
/// applied again, when its group is long open.
#[test]
fn a_topic_has_its_own_configs_after_a_crash() {
    let configs = [("retention.ms", "-1"), ("retention.bytes", "77")];
    let mut cluster = Cluster::with(1, |_| {}, &configs);
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    cluster.at(ONE).disk.lower_metadata_commit(Index(0));
    cluster.restart(ONE);
    let image = cluster.shard(ONE).image().unwrap();
    assert!(image.partition(GROUP).is_none(), "the image is older");
    assert!(cluster.shard(ONE).replica(GROUP).is_some());
    cluster.lead(ONE);
    cluster.run(3000);
    let checks = retention_checks(&cluster, ONE);
    assert!(!checks.is_empty());
    assert!(
        checks.iter().all(|c| *c == (None, Some(77))),
        "never a default: {checks:?}"
    );
}

#[test]
fn nothing_is_deleted_by_an_image_that_is_older_than_this_life() {
    let mut cluster = Cluster::with(1, |_| {}, &[("retention.bytes", "77")]);
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    cluster.config.boot = 999;
    cluster.restart(ONE);
    cluster.lead(ONE);
    cluster.run(3000);
    assert!(!cluster.shard(ONE).is_current());
    assert_eq!(retention_checks(&cluster, ONE), []);
    let again = Registration {
        boot: 999,
        ..registration(1, directory(ONE).0)
    };
    cluster.command(Command::RegisterBroker(again));
    cluster.run(3000);
    assert!(!retention_checks(&cluster, ONE).is_empty());
}

#[test]
fn d1_a_damaged_replica_stays_closed_gives_no_vote_and_can_be_replaced() {
    d1_closed(FoundBy::Log);
}

#[test]
fn d1_a_replica_that_cannot_replay_its_log_stays_closed_and_can_be_replaced() {
    d1_closed(FoundBy::Replay);
}

fn d1_closed(found_by: FoundBy) {
    let mut cluster = Cluster::of(3);
    cluster.produce(ONE, batch(5), Acks::All);
    cluster.settle();
    cluster.run(50);
    let old = cluster.shard(TWO).replica(GROUP).unwrap();
    cluster.restart_without(TWO, Some((GROUP, found_by)));
    cluster.run(300);
    assert_eq!(cluster.shard(TWO).replica(GROUP), None);
    // With one voter gone and one closed there is no majority: an empty voter here would make one.
    cluster.cut.insert(ONE);
    cluster.run(1000);
    assert_eq!(cluster.status(THREE, GROUP).unwrap().leader, None);
    cluster.heal();
    cluster.lead(ONE);

    set_target(&mut cluster, &[1, 3]);
    finish(&mut cluster);
    cluster.run(300);
    assert_eq!(cluster.broker(TWO).disk.removed(), [(GROUP, old)]);
    set_target(&mut cluster, &[1, 2, 3]);
    finish(&mut cluster);
    cluster.run(300);
    assert!(cluster.shard(TWO).replica(GROUP).unwrap() > old);
    assert_eq!(cluster.status(TWO, GROUP).unwrap().offsets, (0, 5, 5));
}
