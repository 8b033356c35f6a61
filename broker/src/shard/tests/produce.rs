//! When a produce is answered, and how.

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::message::{AppendResult, Body};
use raft::types::{NodeId, Tick};

use super::cluster::TOPIC;
use super::*;
use crate::metadata::Command;
use crate::shard::{PeerBatch, Ticket};

/// Entries that a frame carries.
fn entries_in(batch: &PeerBatch) -> usize {
    let appends = batch.messages.iter().map(|(_, m)| match &m.body {
        Body::Append(append) => append.entries.len(),
        _ => 0,
    });
    appends.sum()
}

/// Whether a frame says that entries are synced.
fn acknowledges(batch: &PeerBatch) -> bool {
    batch.messages.iter().any(|(_, m)| {
        matches!(&m.body, Body::AppendResponse(r) if matches!(r.result, AppendResult::Matched(_)))
    })
}

fn answered(cluster: &Cluster, tickets: &[Ticket]) -> Vec<bool> {
    let answer = |&ticket| cluster.answer(ONE, ticket).is_some();
    tickets.iter().map(answer).collect()
}

#[test]
fn only_acks_0_is_answered_before_the_log_is_synced() {
    let mut cluster = Cluster::of(1);
    let tickets = ALL.map(|acks| cluster.produce(ONE, batch(2), acks));
    cluster.flush(ONE);
    assert_eq!(answered(&cluster, &tickets), [true, false, false]);
    cluster.flush(ONE);
    assert_eq!(answered(&cluster, &tickets), [true, false, false]);
    assert!(cluster.sync(ONE));
    cluster.flush(ONE);
    assert_eq!(answered(&cluster, &tickets), [true; 3]);
    let offsets = tickets.map(|ticket| base_offset(cluster.answer(ONE, ticket)));
    assert_eq!(offsets, [0, 2, 4]);
}

#[test]
fn entries_leave_for_the_followers_before_the_leaders_own_sync() {
    let mut cluster = Cluster::of(3);
    cluster.produce(ONE, batch(1), Acks::All);
    let flushed = cluster.flush(ONE);
    assert_eq!(flushed.entries(GROUP), 1, "in the same flush as the append");
    let to: Vec<NodeId> = flushed
        .frames
        .iter()
        .filter(|(_, frame)| entries_in(frame) == 1)
        .map(|(to, _)| *to)
        .collect();
    assert_eq!(to, [TWO, THREE]);
}

#[test]
fn acks_all_waits_for_the_sync_of_a_majority_and_acks_1_for_the_own() {
    let mut cluster = Cluster::of(3);
    let tickets = ALL.map(|acks| cluster.produce(ONE, batch(1), acks));
    cluster.flush(ONE);
    assert_eq!(answered(&cluster, &tickets), [true, false, false]);
    cluster.sync(ONE);
    cluster.flush(ONE);
    assert_eq!(answered(&cluster, &tickets), [true, true, false]);

    cluster.deliver_to(TWO);
    let received = cluster.flush(TWO);
    assert_eq!(received.entries(GROUP), 3);
    let early = received.frames.iter().any(|(_, frame)| acknowledges(frame));
    assert!(!early, "a follower that has not synced says nothing");
    cluster.deliver_to(ONE);
    cluster.flush(ONE);
    assert_eq!(answered(&cluster, &tickets), [true, true, false]);

    cluster.sync(TWO);
    let synced = cluster.flush(TWO);
    assert!(synced.frames.iter().any(|(_, frame)| acknowledges(frame)));
    cluster.deliver_to(ONE);
    cluster.flush(ONE);
    assert_eq!(
        answered(&cluster, &tickets),
        [true; 3],
        "three never synced"
    );
}

#[test]
fn a_leader_counts_itself_only_when_it_has_synced() {
    let mut cluster = Cluster::of(3);
    let one = cluster.produce(ONE, batch(1), Acks::Leader);
    let all = cluster.produce(ONE, batch(1), Acks::All);
    cluster.flush(ONE);
    for follower in [TWO, THREE] {
        assert_eq!(
            answered(&cluster, &[one, all]),
            [false, false],
            "before {follower}"
        );
        cluster.deliver_to(follower);
        cluster.flush(follower);
        cluster.sync(follower);
        cluster.flush(follower);
        cluster.deliver_to(ONE);
        cluster.flush(ONE);
    }
    assert_eq!(
        answered(&cluster, &[one, all]),
        [false, true],
        "two followers are a majority; the leader's own disk has not answered"
    );
    cluster.sync(ONE);
    cluster.flush(ONE);
    assert_eq!(answered(&cluster, &[one, all]), [true, true]);
}

#[test]
fn what_one_tick_brings_is_one_append_and_one_frame_per_peer() {
    let mut cluster = Cluster::of(3);
    let tickets: Vec<Ticket> = (0..7)
        .map(|_| cluster.produce(ONE, batch(1), Acks::All))
        .collect();
    let flushed = cluster.flush(ONE);
    assert_eq!(flushed.entries(GROUP), 7);
    let (_, records) = flushed.append.as_ref().unwrap();
    assert_eq!(records.len(), 1, "one run of entries");
    let frames: Vec<(NodeId, usize)> = flushed
        .frames
        .iter()
        .map(|(to, frame)| (*to, entries_in(frame)))
        .collect();
    assert_eq!(frames, [(TWO, 7), (THREE, 7)]);
    assert!(cluster.flush(ONE).append.is_none(), "nothing is left over");
    cluster.settle();
    assert_eq!(answered(&cluster, &tickets), [true; 7]);
}

#[test]
fn who_does_not_lead_says_who_does() {
    let mut cluster = Cluster::of(3);
    let term = cluster.status(ONE, GROUP).unwrap().term;
    for acks in ALL {
        let ticket = cluster.produce(TWO, batch(1), acks);
        cluster.flush(TWO);
        let answer = cluster.answer(TWO, ticket);
        let Some(Err(why)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(why.code, ErrorCode::NotLeaderOrFollower);
        let leader = why.leader.as_ref().expect("the leader is known");
        assert_eq!((leader.node, leader.term), (ONE, term));
    }
}

#[test]
fn a_partition_that_is_not_here_and_bytes_that_are_no_batch_are_refused() {
    let mut cluster = Cluster::of(1);
    let (ticket, now) = (cluster.ticket(), cluster.now);
    let shard = &mut cluster.at(ONE).shard;
    shard.produce(
        now,
        0,
        GroupId(9),
        batch(1),
        Acks::All,
        Tick(u64::MAX),
        ticket,
    );
    let garbage = cluster.produce(ONE, Bytes::from_static(b"no batch"), Acks::All);
    let metadata = cluster.ticket();
    let shard = &mut cluster.at(ONE).shard;
    let (at, deadline) = (GroupId::METADATA, Tick(u64::MAX));
    shard.produce(now, 0, at, batch(1), Acks::All, deadline, metadata);
    assert!(cluster.flush(ONE).append.is_none(), "nothing is appended");
    let refused = |ticket, code| is_refused(cluster.answer(ONE, ticket), code);
    assert!(refused(ticket, ErrorCode::NotLeaderOrFollower));
    assert!(refused(garbage, ErrorCode::CorruptMessage));
    assert!(refused(metadata, ErrorCode::NotLeaderOrFollower));
}

#[test]
fn k1_a_duplicate_of_a_pending_batch_waits_for_its_commit() {
    let mut cluster = Cluster::of(3);
    cluster.produce(ONE, batch(5), Acks::All);
    let first = cluster.produce(ONE, of_producer(1, 0, 0), Acks::All);
    let other = cluster.produce(ONE, batch(1), Acks::All);
    cluster.flush(ONE);
    let again = cluster.produce(ONE, of_producer(1, 0, 0), Acks::All);
    cluster.flush(ONE);
    cluster.sync(ONE);
    let flushed = cluster.flush(ONE);
    assert_eq!(flushed.answers, 0, "synced here, committed nowhere");
    assert_eq!(flushed.entries(GROUP), 0, "it is not appended again");
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, first)), 5);
    assert_eq!(base_offset(cluster.answer(ONE, again)), 5);
    assert_eq!(base_offset(cluster.answer(ONE, other)), 6);

    let later = cluster.produce(ONE, of_producer(1, 0, 0), Acks::All);
    cluster.flush(ONE);
    let answer = cluster.answer(ONE, later);
    assert_eq!(base_offset(answer), 5, "committed: answered at once");
    assert_eq!(cluster.shard(ONE).offsets(GROUP).unwrap().log_end, 7);
}

#[test]
fn k1_a_duplicate_with_acks_1_waits_for_the_own_sync() {
    let mut cluster = Cluster::of(3);
    let first = cluster.produce(ONE, of_producer(1, 0, 0), Acks::Leader);
    cluster.flush(ONE);
    let again = cluster.produce(ONE, of_producer(1, 0, 0), Acks::Leader);
    cluster.flush(ONE);
    assert_eq!(answered(&cluster, &[first, again]), [false, false]);
    cluster.sync(ONE);
    let synced = cluster.produce(ONE, of_producer(1, 0, 0), Acks::Leader);
    cluster.flush(ONE);
    assert_eq!(
        answered(&cluster, &[first, again, synced]),
        [true; 3],
        "what is synced and not committed is answered at once"
    );
}

#[test]
fn sequences_out_of_order_and_old_epochs_are_refused_and_not_appended() {
    let mut cluster = Cluster::of(1);
    cluster.produce(ONE, of_producer(1, 3, 0), Acks::All);
    let gap = cluster.produce(ONE, of_producer(1, 3, 2), Acks::All);
    let bumped = cluster.produce(ONE, of_producer(1, 4, 1), Acks::All);
    let fenced = cluster.produce(ONE, of_producer(1, 2, 1), Acks::All);
    cluster.settle();
    let refused = |ticket, code| is_refused(cluster.answer(ONE, ticket), code);
    assert!(refused(gap, ErrorCode::OutOfOrderSequenceNumber));
    assert!(refused(bumped, ErrorCode::OutOfOrderSequenceNumber));
    assert!(refused(fenced, ErrorCode::InvalidProducerEpoch));
    assert_eq!(cluster.shard(ONE).offsets(GROUP).unwrap().log_end, 1);
    let next = cluster.produce(ONE, of_producer(1, 3, 1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, next)), 1);
}

#[test]
fn x9_a_full_disk_refuses_records_and_takes_them_again_when_there_is_room() {
    let mut cluster = Cluster::of(1);
    let before = cluster.produce(ONE, batch(3), Acks::All);
    cluster.at(ONE).disk_full = true;
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, before)), 0, "it was synced");

    let refused = ALL.map(|acks| cluster.produce(ONE, batch(1), acks));
    assert!(cluster.flush(ONE).append.is_none(), "nothing is appended");
    for ticket in refused {
        let answer = cluster.answer(ONE, ticket);
        assert!(
            is_refused(answer, ErrorCode::KafkaStorageError),
            "{answer:?}"
        );
    }
    assert!(
        cluster.shard(ONE).plan_read(&fetch(0)).is_ok(),
        "reads go on"
    );

    let deleted = cluster.delete_records(ONE, 3);
    cluster.settle();
    assert_eq!(
        cluster.log_start(ONE, deleted),
        Some(&Ok(3)),
        "what frees space is taken"
    );
    cluster.set_full(ONE, false);
    let after = cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, after)), 3);
}

#[test]
fn x9_a_follower_without_room_does_not_stop_the_others() {
    let mut cluster = Cluster::of(3);
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    cluster.set_full(TWO, true);
    let ticket = cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, ticket)), 1);
    let end = |c: &Cluster| c.status(TWO, GROUP).unwrap().offsets.2;
    assert_eq!(end(&cluster), 1, "it takes no more records");

    cluster.set_full(TWO, false);
    cluster.run(200);
    assert_eq!(end(&cluster), 2);
}

#[test]
fn a_group_that_is_opened_on_a_full_disk_takes_no_records() {
    let mut cluster = Cluster::without_topic(3, |_| {});
    cluster.set_full(TWO, true);
    cluster.create_topic(&[1, 2, 3], &[]);
    cluster.lead(ONE);
    let ticket = cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, ticket)), 0);
    assert_eq!(cluster.status(THREE, GROUP).unwrap().offsets.2, 1);
    assert_eq!(cluster.status(TWO, GROUP).unwrap().offsets.2, 0);
}

#[test]
fn too_few_voters_in_sync_refuse_before_anything_is_appended() {
    let mut cluster = Cluster::with(3, |_| {}, &[("min.insync.replicas", "3")]);
    let ticket = cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, ticket)), 0);

    cluster.cut.insert(THREE);
    cluster.run(400);
    assert_eq!(cluster.status(ONE, GROUP).unwrap().in_sync, [ONE, TWO]);
    let refused = cluster.produce(ONE, batch(1), Acks::All);
    assert_eq!(cluster.flush(ONE).entries(GROUP), 0);
    let answer = cluster.answer(ONE, refused);
    assert!(
        is_refused(answer, ErrorCode::NotEnoughReplicas),
        "{answer:?}"
    );
    assert_eq!(cluster.shard(ONE).offsets(GROUP).unwrap().log_end, 1);

    cluster.heal();
    cluster.run(400);
    let again = cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, again)), 1);
}

#[test]
fn a_leader_alone_takes_nothing_that_it_cannot_commit() {
    let mut cluster = Cluster::of(3);
    for node in [TWO, THREE] {
        let now = cluster.now;
        cluster.at(ONE).shard.peer_down(now, node);
    }
    let refused = cluster.produce(ONE, batch(1), Acks::All);
    assert_eq!(cluster.flush(ONE).entries(GROUP), 0);
    let answer = cluster.answer(ONE, refused);
    assert!(
        is_refused(answer, ErrorCode::NotEnoughReplicas),
        "{answer:?}"
    );
}

#[test]
fn a_batch_is_stored_as_it_came_but_for_offset_and_epoch() {
    let mut cluster = Cluster::of(1);
    cluster.produce(ONE, batch(4), Acks::All);
    let sent = batch(2);
    cluster.produce(ONE, sent.clone(), Acks::All);
    cluster.settle();
    let Ok(crate::shard::Plan::Ready(fetched)) = cluster.shard(ONE).plan_read(&fetch(5)) else {
        panic!("it is in memory")
    };
    let header = protocol::record_batch::BatchHeader::parse(&fetched.batches[0]).unwrap();
    let term = i32::try_from(fetched.offsets.term.0).unwrap();
    assert_eq!(
        (header.base_offset, header.partition_leader_epoch),
        (4, term)
    );
    // Length at 8, magic and all that the checksum covers from 16 on.
    assert_eq!(fetched.batches[0][16..], sent[16..]);
    assert_eq!(fetched.batches[0][8..12], sent[8..12]);
}

#[test]
fn what_no_log_would_take_is_refused_before_anything_is_sent() {
    let most = batch(2).len() as u64;
    let mut cluster = Cluster::with(3, |_| {}, &[]);
    for node in [ONE, TWO, THREE] {
        cluster.at(node).shard.config.entry_bytes_max = most;
    }
    let largest = cluster.produce(ONE, batch(2), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, largest)), 0);

    let above = cluster.produce(ONE, batch(3), Acks::All);
    let flushed = cluster.flush(ONE);
    assert_eq!(flushed.entries(GROUP), 0);
    assert!(
        flushed
            .frames
            .iter()
            .all(|(_, frame)| entries_in(frame) == 0)
    );
    let answer = cluster.answer(ONE, above);
    assert!(is_refused(answer, ErrorCode::MessageTooLarge), "{answer:?}");
    let next = cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, next)), 2);
}

#[test]
fn a_metadata_command_that_no_log_would_take_is_refused() {
    let mut cluster = Cluster::of(1);
    cluster.at(ONE).shard.config.entry_bytes_max = 256;
    let (now, ticket) = (cluster.now, Ticket(u64::MAX));
    let changes = [("retention.ms".to_owned(), Some("1".repeat(256)))];
    let command = crate::metadata::Command::SetTopicConfigs {
        topic: super::cluster::TOPIC,
        changes: changes.into(),
    };
    let shard = &mut cluster.at(ONE).shard;
    shard.propose_metadata(now, &command, Tick(now.0 + 1000), ticket);
    let flushed = cluster.flush(ONE);
    assert_eq!(flushed.entries(raft::types::GroupId::METADATA), 0);
    let refused = cluster.broker(ONE).answers.iter().any(|answer| {
        matches!(answer, Answer::Applied(of, Err(why)) if *of == ticket && why.code == ErrorCode::PolicyViolation)
    });
    assert!(refused);
}

#[test]
fn x23_a_relaxed_topic_is_answered_when_a_majority_has_received_it() {
    let relaxed = [("durability", "relaxed")];
    let mut cluster = Cluster::with(3, |_| {}, &relaxed);
    let ticket = cluster.produce(ONE, batch(3), Acks::All);
    cluster.flush(ONE);
    assert_eq!(answered(&cluster, &[ticket]), [false], "received by one");
    cluster.deliver_to(TWO);
    cluster.flush(TWO);
    cluster.deliver_to(ONE);
    cluster.flush(ONE);
    assert_eq!(base_offset(cluster.answer(ONE, ticket)), 0);
    let status = cluster.status(ONE, GROUP).unwrap();
    assert_eq!(status.offsets, (0, 0, 3), "nothing is shown to consumers");
    assert!(status.acked_unsynced_bytes > 0);
    let again = cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, again)), 3);
    let status = cluster.status(ONE, GROUP).unwrap();
    assert_eq!(
        (status.offsets, status.acked_unsynced_bytes),
        ((0, 4, 4), 0)
    );
}

/// What was acknowledged and not synced may go with its power; what consumers have seen never does.
#[test]
fn x23_a_power_cut_on_a_minority_takes_no_relaxed_record_that_was_read() {
    let relaxed = [("durability", "relaxed")];
    let mut cluster = Cluster::with(3, |_| {}, &relaxed);
    let synced = cluster.produce(ONE, batch(2), Acks::All);
    cluster.settle();
    cluster.run(50);
    assert_eq!(base_offset(cluster.answer(ONE, synced)), 0);
    let early = cluster.produce(ONE, batch(1), Acks::All);
    cluster.flush(ONE);
    cluster.deliver_to(TWO);
    cluster.flush(TWO);
    cluster.deliver_to(ONE);
    cluster.flush(ONE);
    assert_eq!(base_offset(cluster.answer(ONE, early)), 2);
    cluster.restart(ONE);
    cluster.run_until("a leader", |c| {
        c.leader()
            .is_some_and(|l| c.shard(l).offsets(GROUP).is_ok())
    });
    cluster.run(100);
    for node in [ONE, TWO, THREE] {
        let (_, high, _) = cluster.status(node, GROUP).unwrap().offsets;
        assert!(high >= 2, "{node} shows {high}");
    }
}

#[test]
fn durability_changes_with_the_topic_s_config_while_producers_wait() {
    let mut cluster = Cluster::of(3);
    let produce = |cluster: &mut Cluster| {
        let ticket = cluster.produce(ONE, batch(1), Acks::All);
        cluster.flush(ONE);
        cluster.deliver_to(TWO);
        cluster.flush(TWO);
        cluster.deliver_to(ONE);
        cluster.flush(ONE);
        let early = answered(cluster, &[ticket])[0];
        cluster.settle();
        assert_eq!(answered(cluster, &[ticket]), [true]);
        early
    };
    assert!(!produce(&mut cluster), "synced first");
    for (value, early) in [("relaxed", true), ("fsync", false)] {
        let changes = [("durability".to_owned(), Some(value.to_owned()))];
        cluster.command(Command::SetTopicConfigs {
            topic: TOPIC,
            changes: changes.into(),
        });
        cluster.run(100);
        assert_eq!(produce(&mut cluster), early, "{value}");
    }
}
