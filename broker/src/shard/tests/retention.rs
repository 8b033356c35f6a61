//! Deleting from the front: a committed log start, then a trim of each replica's log.

use protocol::error_code::ErrorCode;
use raft::types::Index;
use wal::Record;

use super::*;
use crate::shard::Order;

/// Four batches of three records.
fn twelve(brokers: i32) -> Cluster {
    let mut cluster = Cluster::of(brokers);
    for _ in 0..4 {
        cluster.produce(ONE, batch(3), Acks::All);
    }
    cluster.settle();
    cluster.run(50);
    cluster
}

#[test]
fn x1_deleted_records_are_gone_at_every_replica_and_their_log_is_trimmed() {
    let mut cluster = twelve(3);
    let ticket = cluster.delete_records(ONE, 7);
    cluster.flush(ONE);
    assert_eq!(cluster.log_start(ONE, ticket), None, "not committed yet");
    cluster.settle();
    assert_eq!(cluster.log_start(ONE, ticket), Some(&Ok(7)));
    cluster.run(50);
    for node in [ONE, TWO, THREE] {
        let status = cluster.status(node, GROUP).unwrap();
        assert_eq!(status.offsets, (7, 12, 12), "at {node}");
        assert_eq!(status.base_index, Index(0), "not located yet");
        assert_eq!(cluster.locate_trims(node), [7], "at {node}");
        let flushed = cluster.flush(node);
        let (_, records) = flushed.append.expect("a base record");
        let Some(Record::Base { base, .. }) =
            records.iter().find(|r| matches!(r, Record::Base { .. }))
        else {
            panic!("{records:?}")
        };
        let first = cluster.broker(node).disk.locate(GROUP, 7).unwrap();
        assert_eq!(base.index, first.0.prev(), "the batch with offset 7 stays");
        cluster.sync(node);
        assert_eq!(cluster.broker(node).disk.locate(GROUP, 5), None);
        assert!(cluster.broker(node).disk.locate(GROUP, 6).is_some());
    }
    let read = cluster.shard(ONE).plan_read(&fetch(6)).unwrap_err();
    assert_eq!(read.code, ErrorCode::OffsetOutOfRange);
    assert!(cluster.shard(ONE).plan_read(&fetch(7)).is_ok());
}

#[test]
fn x1_a_log_without_records_goes_on_where_it_was_after_a_restart() {
    let mut cluster = twelve(1);
    cluster.produce(ONE, of_producer(1, 0, 0), Acks::All);
    cluster.settle();
    let ticket = cluster.delete_records(ONE, -1);
    cluster.settle();
    assert_eq!(cluster.log_start(ONE, ticket), Some(&Ok(13)));
    assert_eq!(cluster.locate_trims(ONE), [13]);
    cluster.settle();
    let disk = &cluster.broker(ONE).disk;
    assert_eq!(disk.locate(GROUP, 12), None, "everything is trimmed");
    cluster.restart(ONE);
    cluster.lead(ONE);
    assert_eq!(cluster.status(ONE, GROUP).unwrap().offsets, (13, 13, 13));
    let again = cluster.produce(ONE, of_producer(1, 0, 0), Acks::All);
    let next = cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, again)), 12, "a duplicate");
    assert_eq!(base_offset(cluster.answer(ONE, next)), 13);
}

#[test]
fn only_the_leader_deletes_and_only_what_is_committed() {
    let mut cluster = twelve(3);
    let refused = |cluster: &Cluster, node, ticket, code| matches!(cluster.log_start(node, ticket), Some(Err(why)) if why.code == code);
    let elsewhere = cluster.delete_records(TWO, 3);
    cluster.produce(ONE, batch(1), Acks::All);
    let beyond = cluster.delete_records(ONE, 13);
    let negative = cluster.delete_records(ONE, -2);
    cluster.flush(ONE);
    cluster.flush(TWO);
    let not_leader = ErrorCode::NotLeaderOrFollower;
    assert!(refused(&cluster, TWO, elsewhere, not_leader));
    let out_of_range = ErrorCode::OffsetOutOfRange;
    assert!(refused(&cluster, ONE, beyond, out_of_range));
    assert!(refused(&cluster, ONE, negative, out_of_range));

    let back = cluster.delete_records(ONE, 5);
    cluster.settle();
    assert_eq!(cluster.log_start(ONE, back), Some(&Ok(5)));
    let back = cluster.delete_records(ONE, 2);
    cluster.flush(ONE);
    assert_eq!(cluster.log_start(ONE, back), Some(&Ok(5)), "never back");
}

#[test]
fn advances_during_a_trim_are_trimmed_next() {
    let mut cluster = twelve(1);
    cluster.delete_records(ONE, 4);
    cluster.settle();
    cluster.delete_records(ONE, 10);
    cluster.settle();
    assert_eq!(cluster.locate_trims(ONE), [4], "one at a time");
    cluster.settle();
    assert_eq!(cluster.locate_trims(ONE), [10]);
    cluster.settle();
    assert_eq!(cluster.locate_trims(ONE), [0_i64; 0]);
    assert_eq!(cluster.broker(ONE).disk.locate(GROUP, 8), None);
    assert!(cluster.broker(ONE).disk.locate(GROUP, 10).is_some());
}

#[test]
fn a_log_start_that_is_not_found_trims_nothing() {
    let mut cluster = twelve(1);
    cluster.delete_records(ONE, 4);
    cluster.settle();
    let now = cluster.now;
    cluster.at(ONE).shard.trim_at(now, GROUP, None);
    cluster.settle();
    assert_eq!(cluster.status(ONE, GROUP).unwrap().base_index, Index(0));
    cluster.at(ONE).orders.clear();
    cluster.delete_records(ONE, 5);
    cluster.settle();
    assert_eq!(
        cluster.locate_trims(ONE),
        [5],
        "tried with the next advance"
    );
}

#[test]
fn x10_only_the_leader_looks_for_what_is_old() {
    let mut cluster = twelve(3);
    cluster.run(1200);
    let looks = |cluster: &Cluster, node| {
        let orders = cluster.broker(node).orders.iter();
        orders
            .filter(|o| {
                matches!(
                    o,
                    Order::CheckRetention {
                        high_watermark: 12,
                        ..
                    }
                )
            })
            .count()
    };
    assert!(looks(&cluster, ONE) >= 1);
    assert_eq!(looks(&cluster, TWO), 0);
    assert_eq!(looks(&cluster, THREE), 0);
}

#[test]
fn a_follower_below_the_leaders_base_gets_the_base() {
    let mut cluster = twelve(3);
    cluster.cut.insert(THREE);
    cluster.run(300);
    for sequence in 0..3 {
        cluster.produce(ONE, of_producer(1, 0, sequence), Acks::All);
    }
    cluster.settle();
    cluster.delete_records(ONE, 14);
    cluster.settle();
    assert_eq!(cluster.locate_trims(ONE), [14]);
    cluster.settle();
    let behind = cluster.status(THREE, GROUP).unwrap();
    assert_eq!(behind.offsets.2, 12, "the fault happened");
    cluster.heal();
    cluster.run(400);
    assert_eq!(cluster.status(THREE, GROUP).unwrap().offsets, (14, 15, 15));
    assert!(cluster.broker(THREE).disk.base(GROUP).unwrap().index > Index(0));
    // Its state is the leader's: it knows the producers.
    cluster.lead(THREE);
    let again = cluster.produce(THREE, of_producer(1, 0, 1), Acks::All);
    let next = cluster.produce(THREE, of_producer(1, 0, 3), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(THREE, again)), 13);
    assert_eq!(base_offset(cluster.answer(THREE, next)), 15);
}

#[test]
fn a_trim_whose_place_was_not_found_is_tried_again() {
    let mut cluster = twelve(1);
    cluster.delete_records(ONE, 6);
    cluster.settle();
    let now = cluster.now;
    let broker = cluster.at(ONE);
    let ordered = broker
        .orders
        .iter()
        .any(|o| matches!(o, Order::LocateTrim { .. }));
    assert!(ordered);
    broker.orders.clear();
    broker.shard.trim_at(now, GROUP, None);
    cluster.settle();
    assert!(cluster.locate_trims(ONE).is_empty(), "not at once");
    cluster.run(1100);
    assert_eq!(cluster.locate_trims(ONE), [6]);
    cluster.settle();
    assert_eq!(cluster.broker(ONE).disk.locate(GROUP, 5), None);
    cluster.run(1100);
    assert!(cluster.locate_trims(ONE).is_empty(), "it is done");
}

#[test]
fn a_trim_that_a_restart_interrupted_is_ordered_again() {
    let mut cluster = twelve(1);
    cluster.delete_records(ONE, 6);
    cluster.settle();
    // The log start is in the derived state, the trim never happened.
    cluster.at(ONE).shard.save_all_derived();
    cluster.settle();
    cluster.restart(ONE);
    cluster.lead(ONE);
    assert_eq!(cluster.status(ONE, GROUP).unwrap().offsets.0, 6);
    assert!(cluster.broker(ONE).disk.locate(GROUP, 5).is_some());
    cluster.run(100);
    assert_eq!(cluster.locate_trims(ONE), [6]);
    cluster.settle();
    assert_eq!(cluster.broker(ONE).disk.locate(GROUP, 5), None);
}

/// Producer 1 goes on, producer 2 is silent; the times in their batches say nothing.
#[test]
fn silent_producers_are_forgotten_by_all_replicas_alike() {
    let mut cluster = Cluster::with(3, |config| config.producer_expiration_ms = 5000, &[]);
    for id in [1, 2] {
        cluster.produce(ONE, of_producer(id, 0, 0), Acks::All);
        cluster.settle();
    }
    for sequence in 1..14 {
        cluster.run(1000);
        cluster.produce(ONE, of_producer(1, 0, sequence), Acks::All);
        cluster.settle();
        if sequence == 4 {
            let early = cluster.produce(ONE, of_producer(2, 0, 0), Acks::All);
            cluster.settle();
            let answer = cluster.answer(ONE, early);
            assert_eq!(
                base_offset(answer),
                1,
                "a duplicate: not silent for so long"
            );
        }
    }
    let end = cluster.shard(ONE).offsets(GROUP).unwrap().log_end;
    for (leader, sequence, end) in [(ONE, 5, end), (TWO, 6, end + 1)] {
        cluster.lead(leader);
        let known = cluster.produce(leader, of_producer(1, 0, 13), Acks::All);
        let unknown = cluster.produce(leader, of_producer(3, 0, 1), Acks::All);
        // What was forgotten may go on where it likes; what was never here begins at 0.
        let goes_on = cluster.produce(leader, of_producer(2, 0, sequence), Acks::All);
        cluster.settle();
        assert_eq!(
            base_offset(cluster.answer(leader, known)),
            14,
            "a duplicate"
        );
        assert_eq!(base_offset(cluster.answer(leader, goes_on)), end);
        let answer = cluster.answer(leader, unknown);
        assert!(
            is_refused(answer, ErrorCode::OutOfOrderSequenceNumber),
            "{answer:?}"
        );
    }
}
