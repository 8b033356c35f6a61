//! Who leads, and what those who wait are told when that changes.

use protocol::error_code::ErrorCode;
use raft::types::{GroupId, NodeId, ReplicaId, Term};

use super::*;
use crate::shard::{Order, Plan};

#[test]
fn a_cluster_that_was_just_founded_waits_for_no_timeout() {
    let mut cluster = Cluster::founded(3, |_| {});
    let began = cluster.now;
    cluster.settle();
    assert_eq!(cluster.controller(), Some(ONE));
    assert_eq!(cluster.now, began);
}

#[test]
fn r16_a_leader_that_steps_down_answers_everybody_once() {
    let mut cluster = Cluster::of(3);
    cluster.cut.insert(ONE);
    let waiting: Vec<_> = [Acks::All, Acks::Leader, Acks::All]
        .map(|acks| cluster.produce(ONE, batch(1), acks))
        .into();
    let deleted = cluster.delete_records(ONE, -1);
    cluster.flush(ONE);
    // Nothing of it is synced when another leader is heard.
    cluster.wire.clear();
    let now = cluster.now;
    cluster.at(TWO).shard.campaign(now, GROUP, true);
    let held = std::mem::take(&mut cluster.at(ONE).unsynced);
    cluster.run_until("another leader", |c| c.shard(TWO).offsets(GROUP).is_ok());
    cluster.heal();
    cluster.run(200);
    for ticket in &waiting {
        let answer = cluster.answer(ONE, *ticket);
        assert!(
            is_refused(answer, ErrorCode::NotLeaderOrFollower),
            "{answer:?}"
        );
    }
    assert_eq!(
        cluster.log_start(ONE, deleted),
        Some(&Ok(0)),
        "nothing was there to delete"
    );
    assert!(!held.is_empty(), "the fault happened");
    let there = cluster.produce(TWO, batch(1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(TWO, there)), 0);
}

/// A leader that was deposed without hearing of it confirms nothing, though it takes itself for the leader.
#[test]
fn who_leads_is_confirmed_by_a_majority_and_by_nobody_else() {
    let mut cluster = Cluster::of(3);
    let asked = cluster.confirm_leader(ONE);
    cluster.settle();
    assert_eq!(cluster.confirmed(ONE, asked), Some(&Ok(())));
    let follower = cluster.confirm_leader(TWO);
    cluster.flush(TWO);
    let refused = cluster.confirmed(TWO, follower).expect("at once");
    let code = refused.as_ref().map_err(|why| why.code);
    assert_eq!(code, Err(ErrorCode::NotLeaderOrFollower));
    cluster.cut.insert(ONE);
    let asked = cluster.confirm_leader(ONE);
    cluster.run(20);
    assert!(cluster.shard(ONE).offsets(GROUP).is_ok(), "it leads");
    assert_eq!(cluster.confirmed(ONE, asked), None, "nobody has answered");
    cluster.run(500);
    let refused = cluster.confirmed(ONE, asked).expect("it has resigned");
    let code = refused.as_ref().map_err(|why| why.code);
    assert_eq!(code, Err(ErrorCode::NotLeaderOrFollower));
}

#[test]
fn r16_a_leader_that_nobody_hears_answers_by_itself() {
    let mut cluster = Cluster::of(3);
    cluster.cut.insert(ONE);
    let all = cluster.produce(ONE, batch(1), Acks::All);
    let one = cluster.produce(ONE, batch(1), Acks::Leader);
    cluster.run(500);
    assert_eq!(base_offset(cluster.answer(ONE, one)), 1, "its own sync");
    let answer = cluster.answer(ONE, all);
    assert!(
        is_refused(answer, ErrorCode::NotLeaderOrFollower),
        "{answer:?}"
    );
    let late = cluster.produce(ONE, batch(1), Acks::All);
    cluster.run(50);
    let answer = cluster.answer(ONE, late);
    assert!(
        is_refused(answer, ErrorCode::NotLeaderOrFollower),
        "{answer:?}"
    );
}

#[test]
fn k2_what_a_new_leader_does_not_hold_may_be_sent_again() {
    let mut cluster = Cluster::of(3);
    let kept = cluster.produce(ONE, of_producer(1, 0, 0), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, kept)), 0);
    cluster.cut.insert(ONE);
    let lost = cluster.produce(ONE, of_producer(1, 0, 1), Acks::All);
    cluster.run(500);
    let refused = cluster.answer(ONE, lost);
    assert!(
        is_refused(refused, ErrorCode::NotLeaderOrFollower),
        "{refused:?}"
    );
    let leader = cluster.leader().filter(|&l| l != ONE).expect("another one");
    let again = cluster.produce(leader, of_producer(1, 0, 0), Acks::All);
    let next = cluster.produce(leader, of_producer(1, 0, 1), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(leader, again)), 0, "a duplicate");
    assert_eq!(base_offset(cluster.answer(leader, next)), 1);
    cluster.heal();
    cluster.run(300);
    let offsets = |node| cluster.status(node, GROUP).unwrap().offsets;
    for node in [ONE, TWO, THREE] {
        assert_eq!(offsets(node), (0, 2, 2), "{node}");
    }
    let lost = cluster.at(ONE).disk.locate(GROUP, 1);
    let kept = cluster.at(leader).disk.locate(GROUP, 1);
    assert_eq!(lost, kept, "the same entry everywhere");
}

#[test]
fn a_wait_that_is_too_long_is_answered_once_and_may_still_be_committed() {
    let mut cluster = Cluster::of(3);
    let ticket = cluster.produce_within(ONE, batch(1), Acks::All, 50);
    let patient = cluster.produce(ONE, batch(1), Acks::All);
    cluster.flush(ONE);
    cluster.now.0 += 45;
    let now = cluster.now;
    cluster.at(ONE).shard.tick(now);
    cluster.flush(ONE);
    assert!(cluster.answer(ONE, ticket).is_none(), "not yet");
    cluster.now.0 += 25;
    let now = cluster.now;
    cluster.at(ONE).shard.tick(now);
    cluster.flush(ONE);
    let answer = cluster.answer(ONE, ticket);
    assert!(is_refused(answer, ErrorCode::RequestTimedOut), "{answer:?}");
    cluster.settle();
    cluster.run(100);
    assert!(cluster.answer(ONE, ticket).is_some(), "and never again");
    assert_eq!(base_offset(cluster.answer(ONE, patient)), 1);
    assert_eq!(cluster.shard(ONE).offsets(GROUP).unwrap().high_watermark, 2);
}

#[test]
fn a_new_leader_shows_nothing_before_it_knows_what_is_committed() {
    let mut cluster = Cluster::of(3);
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
    // The followers hold the records and do not know that they are committed.
    cluster.cut.insert(ONE);
    let now = cluster.now;
    cluster.at(TWO).shard.campaign(now, GROUP, true);
    let leads = |c: &Cluster| c.leader() == Some(TWO);
    for _ in 0..20 {
        if leads(&cluster) {
            break;
        }
        for node in [TWO, THREE] {
            cluster.flush(node);
            cluster.sync(node);
            cluster.flush(node);
        }
        cluster.deliver_to(THREE);
        cluster.deliver_to(TWO);
    }
    assert!(leads(&cluster), "elected, its first entry is not committed");
    let refused = cluster.shard(TWO).plan_read(&fetch(0)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::OffsetNotAvailable);
    let refused = cluster.shard(TWO).offsets(GROUP).unwrap_err();
    assert_eq!(refused.code, ErrorCode::OffsetNotAvailable);
    cluster.run(50);
    assert_eq!(cluster.shard(TWO).offsets(GROUP).unwrap().high_watermark, 3);
    let plan = cluster.shard(TWO).plan_read(&fetch(0));
    assert!(matches!(plan, Ok(Plan::Ready(f)) if f.batches.len() == 1));
}

#[test]
fn epochs_of_a_client_are_compared_with_the_leaders() {
    let cluster = Cluster::of(3);
    let term = i32::try_from(cluster.status(ONE, GROUP).unwrap().term.0).unwrap();
    let at = |current_leader_epoch| FetchAt {
        current_leader_epoch,
        ..fetch(0)
    };
    let read = |epoch| cluster.shard(ONE).plan_read(&at(epoch));
    assert!(read(term).is_ok());
    assert_eq!(
        read(term - 1).unwrap_err().code,
        ErrorCode::FencedLeaderEpoch
    );
    assert_eq!(
        read(term + 1).unwrap_err().code,
        ErrorCode::UnknownLeaderEpoch
    );
    let end = cluster.shard(ONE).epoch_end(GROUP, -1, term).unwrap();
    assert_eq!(
        (end.epoch, end.end_offset),
        (term, 0),
        "an epoch without a record is known"
    );
}

#[test]
fn leadership_is_handed_over_and_announced() {
    let mut cluster = Cluster::of(3);
    let before = cluster.status(ONE, GROUP).unwrap().term;
    let now = cluster.now;
    assert!(cluster.at(ONE).shard.transfer(now, GROUP, THREE));
    assert!(
        !cluster.at(TWO).shard.transfer(now, GROUP, ONE),
        "no leader"
    );
    cluster.run(100);
    assert_eq!(cluster.leader(), Some(THREE));
    for node in [ONE, TWO, THREE] {
        let view = cluster.shard(node).leader(GROUP).expect("known");
        assert_eq!(view.node, THREE, "at {node}");
        assert!(view.term > before);
        assert_eq!(view.in_sync, [ONE, TWO, THREE], "at {node}");
    }
}

/// X11: a replica that cannot read a part of its log goes on as a follower, and does not keep a leadership it is given.
#[test]
fn x11_a_leader_with_damage_in_its_log_hands_over_and_rests_in_between() {
    let mut cluster = Cluster::of(3);
    let damaged = |cluster: &mut Cluster| {
        let now = cluster.now;
        cluster.at(ONE).shard.note_unreadable(now, GROUP);
    };
    damaged(&mut cluster);
    cluster.run(100);
    let leader = cluster.leader().expect("somebody leads");
    assert_ne!(leader, ONE);
    // One that follows has nothing to hand over.
    damaged(&mut cluster);
    cluster.run(100);
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(cluster.shard(ONE).measures().corruptions_detected, 2);
    // Where the leadership comes back it stays for a while: the others may lack something else.
    let now = cluster.now;
    assert!(cluster.at(leader).shard.transfer(now, GROUP, ONE));
    cluster.run(100);
    assert_eq!(cluster.leader(), Some(ONE));
    damaged(&mut cluster);
    cluster.run(1_000);
    assert_eq!(cluster.leader(), Some(ONE));
    cluster.run(30_000);
    assert_ne!(cluster.leader(), Some(ONE));
    assert!(cluster.leader().is_some());
}

/// X11: damage that the log itself has found, whoever met it, is a reason to hand over until it is healed, and no longer.
#[test]
fn x11_what_was_healed_is_led_again() {
    let mut cluster = Cluster::of(3);
    let replica = cluster.shard(ONE).replica(GROUP).expect("a replica");
    let asked = |cluster: &Cluster, replica| cluster.shard(ONE).donors(GROUP, replica);
    let donors = asked(&cluster, replica).expect("other members");
    assert_eq!(donors.nodes, [TWO, THREE]);
    let (_, committed) = cluster.shard(ONE).committed_of(GROUP).expect("a replica");
    assert_eq!(donors.until, committed);
    assert_eq!(asked(&cluster, ReplicaId(replica.0 + 99)), None);
    let note = |cluster: &mut Cluster, damaged: &[GroupId]| {
        let (now, damaged) = (cluster.now, damaged.iter().copied().collect());
        cluster.at(ONE).shard.note_damaged(now, &damaged);
    };
    for _ in 0..2 {
        note(&mut cluster, &[GROUP]);
        cluster.run(100);
    }
    let leader = cluster.leader().expect("somebody leads");
    assert_ne!(leader, ONE);
    assert!(cluster.shard(ONE).is_unreadable(GROUP));
    let measures = cluster.shard(ONE).measures();
    assert_eq!(measures.corruptions_detected, 1, "it was met once");
    let donors = asked(&cluster, replica).expect("other members");
    assert_eq!(donors.nodes[0], leader, "the leader is asked first");
    note(&mut cluster, &[]);
    assert!(!cluster.shard(ONE).is_unreadable(GROUP));
    let now = cluster.now;
    assert!(cluster.at(leader).shard.transfer(now, GROUP, ONE));
    cluster.run(40_000);
    assert_eq!(cluster.leader(), Some(ONE));
}

/// Nobody else holds what it holds: it leads on, and serves what it can read.
#[test]
fn x11_a_damaged_log_without_a_successor_in_sync_is_led_on() {
    let mut cluster = Cluster::of(1);
    let now = cluster.now;
    cluster.at(ONE).shard.note_unreadable(now, GROUP);
    cluster.run(1_000);
    assert_eq!(cluster.leader(), Some(ONE));
}

#[test]
fn a_peer_that_falls_silent_is_given_up_and_its_leadership_forgotten() {
    let mut cluster = Cluster::of(3);
    cluster.run(50);
    assert_eq!(cluster.shard(TWO).leader(GROUP).map(|l| l.node), Some(ONE));
    cluster.cut.insert(ONE);
    cluster.run(195);
    assert!(cluster.shard(TWO).is_alive(ONE), "within the time-out");
    cluster.run(30);
    for node in [TWO, THREE] {
        assert!(!cluster.shard(node).is_alive(ONE));
        let gone = Order::Disconnect(ONE);
        let times = cluster.broker(node).orders.iter().filter(|o| **o == gone);
        assert_eq!(times.count(), 1, "at {node}");
    }
    let orders = &cluster.broker(ONE).orders;
    for peer in [TWO, THREE] {
        assert!(orders.contains(&Order::Disconnect(peer)));
    }
    assert_ne!(
        cluster.shard(TWO).leader(GROUP).map(|l| l.node),
        Some(ONE),
        "nobody knows that it leads"
    );
    cluster.run(500);
    assert!(cluster.leader().is_some_and(|l: NodeId| l != ONE));
    assert!(cluster.leader().is_some());
    assert!(cluster.status(TWO, GROUP).unwrap().term > Term(0));
}

#[test]
fn k3_a_deposed_leader_judges_no_producer() {
    let mut cluster = Cluster::of(3);
    let first = cluster.produce(ONE, of_producer(1, 0, 0), Acks::All);
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(ONE, first)), 0);
    cluster.cut.insert(ONE);
    let now = cluster.now;
    cluster.at(TWO).shard.campaign(now, GROUP, true);
    let deposed = |c: &Cluster| c.shard(TWO).offsets(GROUP).is_ok();
    cluster.run_until("another leader", deposed);
    let second = cluster.produce(TWO, of_producer(1, 0, 1), Acks::All);
    cluster.run_until("its commit", |c| c.answer(TWO, second).is_some());
    assert!(
        cluster.shard(ONE).offsets(GROUP).is_ok(),
        "it has not heard of it"
    );
    // The third batch comes to whom the client still takes for the leader.
    let third = cluster.produce(ONE, of_producer(1, 0, 2), Acks::All);
    let fenced = cluster.produce(ONE, of_producer(1, -1, 2), Acks::All);
    cluster.flush(ONE);
    for ticket in [third, fenced] {
        assert_eq!(
            cluster.answer(ONE, ticket),
            None,
            "first it asks the others"
        );
    }
    cluster.run(500);
    for ticket in [third, fenced] {
        let answer = cluster.answer(ONE, ticket);
        assert!(
            is_refused(answer, ErrorCode::NotLeaderOrFollower),
            "{answer:?}"
        );
    }
    let third = cluster.produce(TWO, of_producer(1, 0, 2), Acks::All);
    cluster.heal();
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(TWO, third)), 2);
}

#[test]
fn a_refusal_that_nobody_confirms_ends_at_its_deadline() {
    let mut cluster = Cluster::of(3);
    cluster.produce(ONE, of_producer(1, 0, 0), Acks::All);
    cluster.settle();
    cluster.cut.insert(ONE);
    let late = cluster.produce_within(ONE, of_producer(1, 0, 7), Acks::All, 1);
    cluster.run_until("the deadline", |c| c.answer(ONE, late).is_some());
    assert!(
        cluster.shard(ONE).offsets(GROUP).is_ok(),
        "it leads, for all it knows"
    );
    let answer = cluster.answer(ONE, late);
    assert!(
        is_refused(answer, ErrorCode::NotLeaderOrFollower),
        "{answer:?}"
    );
}
