//! Copies of each replica's own: who holds what, what a log then need not hold, and who may vote.

use raft::types::Member;
use snapshot::digest::Digest;

use super::lifecycle::{finish, set_target};
use super::snapshots::{KEEP_LITTLE, LAG_MS, POLICY, fill_twelve, stored, wanted};
use super::*;
use crate::partition::stored::Stored;
use crate::shard::{Config, Copied, Holding, Order, Plan, SnapshotPolicy};

const OWN: SnapshotPolicy = SnapshotPolicy {
    own_copies: true,
    ..POLICY
};

fn with_copies(brokers: i32) -> Cluster {
    // Local retention looks at copies as well, whenever its time has come.
    looked_at_every(3_600_000, brokers)
}

fn looked_at_every(retention_interval_ms: u64, brokers: i32) -> Cluster {
    let change = |config: &mut Config| {
        config.snapshots = Some(OWN);
        config.retention_interval_ms = retention_interval_ms;
    };
    Cluster::with(brokers, change, KEEP_LITTLE)
}

/// What copies were to be brought up at a node since the last look.
fn holdings(cluster: &mut Cluster, node: NodeId) -> Vec<Holding> {
    let mut found = Vec::new();
    cluster.at(node).orders.retain(|order| match order {
        Order::HoldSnapshot(holding) => {
            found.push((**holding).clone());
            false
        }
        _ => true,
    });
    found
}

/// Everything produced is in a snapshot that is committed; nobody has told that he holds it.
fn committed(cluster: &mut Cluster) -> Stored {
    cluster.run(LAG_MS + 200);
    let wanted = wanted(cluster, ONE).remove(0);
    let taken = Stored {
        identity: Some(Digest::of(b"what every copy has to be")),
        ..stored(&wanted)
    };
    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.snapshot_taken(now, GROUP, wanted.term, Some(taken));
    cluster.settle();
    cluster.run(50);
    taken
}

fn tell(cluster: &mut Cluster, node: NodeId, holding: &Holding, copied: Copied) {
    let now = cluster.now;
    cluster.at(node).shard.copied(now, holding, copied);
    cluster.settle();
}

/// Answers the question what may go, if it was asked.
fn cut(cluster: &mut Cluster, node: NodeId, offset: i64) -> bool {
    let broker = cluster.at(node);
    let before = broker.orders.len();
    let asks = |order: &Order| matches!(order, Order::CheckLocalRetention { .. });
    broker.orders.retain(|order| !asks(order));
    let is_asked = broker.orders.len() < before;
    broker.shard.local_cut(GROUP, offset);
    cluster.settle();
    cluster.locate_trims(node);
    cluster.settle();
    is_asked
}

fn local_start(cluster: &Cluster, node: NodeId) -> i64 {
    cluster.status(node, GROUP).unwrap().local_start
}

fn lacks(cluster: &Cluster, node: NodeId) -> bool {
    cluster.status(node, GROUP).unwrap().lacks_copies
}

fn three_more(cluster: &mut Cluster) {
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
}

/// One holds everything, and has it in its log.
fn held_by_one(cluster: &mut Cluster) -> Stored {
    let stored = committed(cluster);
    let holding = holdings(cluster, ONE).remove(0);
    tell(cluster, ONE, &holding, Copied::Whole);
    stored
}

/// One and two hold everything, and have nothing in their logs.
fn held_by_two(cluster: &mut Cluster) -> Stored {
    let stored = committed(cluster);
    for node in [ONE, TWO] {
        let holding = holdings(cluster, node).remove(0);
        tell(cluster, node, &holding, Copied::Whole);
        assert!(cut(cluster, node, 12));
        assert_eq!(local_start(cluster, node), 12);
    }
    stored
}

#[test]
fn each_replica_drops_what_its_own_copies_hold_and_nothing_before() {
    let mut cluster = with_copies(3);
    fill_twelve(&mut cluster);
    let stored = committed(&mut cluster);
    for node in [ONE, TWO, THREE] {
        let ordered = holdings(&mut cluster, node);
        let [holding] = &ordered[..] else {
            panic!("at {node}: {ordered:?}")
        };
        assert_eq!((holding.stored, holding.before), (stored, None));
        assert!(!cut(&mut cluster, node, 7), "at {node} before it is held");
        assert_eq!(local_start(&cluster, node), 0);
        tell(&mut cluster, node, holding, Copied::Whole);
        assert!(cut(&mut cluster, node, 7), "at {node}");
        assert_eq!(local_start(&cluster, node), 6);
        assert!(!lacks(&cluster, node));
    }
    let plan = cluster.shard(ONE).plan_read(&fetch(0)).unwrap();
    assert!(matches!(plan, Plan::Store { stored: Some(of), .. } if of == stored));
}

#[test]
fn a_replica_that_differs_keeps_its_log_and_one_that_failed_tries_again() {
    let mut cluster = with_copies(3);
    fill_twelve(&mut cluster);
    committed(&mut cluster);
    let holding = holdings(&mut cluster, THREE).remove(0);
    tell(&mut cluster, THREE, &holding, Copied::Failed);
    assert!(holdings(&mut cluster, THREE).is_empty(), "it rests");
    cluster.run(1000);
    assert_eq!(holdings(&mut cluster, THREE), [holding]);

    let holding = holdings(&mut cluster, TWO).remove(0);
    tell(&mut cluster, TWO, &holding, Copied::Differs);
    cluster.run(1000);
    assert!(
        holdings(&mut cluster, TWO).is_empty(),
        "nothing changes by itself"
    );
    assert!(!cut(&mut cluster, TWO, 12));
    assert_eq!(local_start(&cluster, TWO), 0);
    assert!(cluster.status(TWO, GROUP).unwrap().differs);
}

/// X5: who was sent a base has neither the records nor copies of them, and does not vote before it has.
#[test]
fn a_learner_votes_only_when_it_holds_everything() {
    let mut cluster = with_copies(3);
    set_target(&mut cluster, &[1, 2]);
    finish(&mut cluster);
    fill_twelve(&mut cluster);
    let stored = held_by_two(&mut cluster);
    set_target(&mut cluster, &[1, 2, 3]);
    cluster.run(3000);
    let learner = cluster.status(THREE, GROUP).unwrap();
    assert_eq!(learner.local_start, 12, "it was sent a base");
    assert!(lacks(&cluster, THREE));
    let voters = |cluster: &Cluster| {
        let members = cluster.status(ONE, GROUP).unwrap().members;
        members.iter().filter(|member| member.voter).count()
    };
    assert_eq!(voters(&cluster), 2, "it has caught up and does not vote");

    let asked =
        |cluster: &mut Cluster| -> Option<(raft::types::Term, raft::types::Index, Vec<Member>)> {
            let mut last = None;
            cluster.at(ONE).orders.retain(|order| match order {
                Order::AskWhole {
                    term,
                    index,
                    newcomers,
                    ..
                } => {
                    last = Some((*term, *index, newcomers.clone()));
                    false
                }
                _ => true,
            });
            last
        };
    let (term, index, newcomers) = asked(&mut cluster).expect("it is asked");
    assert_eq!(newcomers.len(), 1);
    let is_whole = |cluster: &Cluster| {
        let shard = cluster.shard(THREE);
        shard.is_whole(GROUP, newcomers[0].replica, index)
    };
    assert!(!is_whole(&cluster));
    let holding = holdings(&mut cluster, THREE).remove(0);
    assert_eq!((holding.stored, holding.local_start), (stored, 12));
    tell(&mut cluster, THREE, &holding, Copied::Whole);
    assert!(is_whole(&cluster));
    // A part of it is gone again.
    cluster.at(THREE).shard.note_copies_damaged(GROUP);
    assert!(!is_whole(&cluster));
    cluster.settle();
    let holding = holdings(&mut cluster, THREE).remove(0);
    tell(&mut cluster, THREE, &holding, Copied::Whole);

    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.newcomers_are_whole(now, GROUP, term, &[]);
    cluster.run(200);
    assert_eq!(voters(&cluster), 2, "another one was asked");
    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.newcomers_are_whole(now, GROUP, term, &newcomers);
    cluster.run(500);
    assert_eq!(voters(&cluster), 3);
}

#[test]
fn looks_that_never_end_in_time_do_not_hold_up_a_snapshot() {
    let mut cluster = looked_at_every(LAG_MS / 4, 1);
    fill_twelve(&mut cluster);
    held_by_one(&mut cluster);
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.run(LAG_MS + 200);
    let look = holdings(&mut cluster, ONE).remove(0);
    assert!(wanted(&mut cluster, ONE).is_empty(), "it waits for its end");
    tell(&mut cluster, ONE, &look, Copied::Whole);
    cluster.run(50);
    assert_eq!(holdings(&mut cluster, ONE), [], "the next one is due");
    assert_eq!(wanted(&mut cluster, ONE).len(), 1);
}

/// The others have dropped what only the one before the committed snapshot names: of a third one that rests upon that, a
/// part that is damaged here would be nowhere.
#[test]
fn a_leader_whose_copies_are_older_than_the_committed_snapshot_takes_none() {
    let mut cluster = with_copies(3);
    fill_twelve(&mut cluster);
    let first = held_by_two(&mut cluster);
    three_more(&mut cluster);
    let second = committed(&mut cluster);
    let mut holding = holdings(&mut cluster, ONE).remove(0);
    assert_eq!((holding.stored, holding.before), (second, Some(first)));
    three_more(&mut cluster);
    cluster.at(ONE).shard.ask_for_snapshot(GROUP).unwrap();
    for _ in 0..3 {
        tell(&mut cluster, ONE, &holding, Copied::Failed);
        cluster.run(1000);
        assert!(wanted(&mut cluster, ONE).is_empty(), "it holds the first");
        holding = holdings(&mut cluster, ONE).remove(0);
    }
    tell(&mut cluster, ONE, &holding, Copied::Whole);
    cluster.run(50);
    let next = wanted(&mut cluster, ONE).remove(0);
    assert_eq!((next.before, next.next_offset), (Some(second), 18));
}

#[test]
fn a_leader_whose_log_has_everything_needs_no_copies_for_a_snapshot() {
    let mut cluster = with_copies(3);
    fill_twelve(&mut cluster);
    let first = held_by_one(&mut cluster);
    three_more(&mut cluster);
    committed(&mut cluster);
    let holding = holdings(&mut cluster, ONE).remove(0);
    assert_eq!(
        (holding.before, local_start(&cluster, ONE)),
        (Some(first), 0)
    );
    tell(&mut cluster, ONE, &holding, Copied::Failed);
    three_more(&mut cluster);
    cluster.at(ONE).shard.ask_for_snapshot(GROUP).unwrap();
    cluster.run(50);
    let next = wanted(&mut cluster, ONE).remove(0);
    assert_eq!((next.before, next.next_offset), (None, 18));
}

#[test]
fn what_is_damaged_frees_nothing() {
    let mut cluster = with_copies(3);
    fill_twelve(&mut cluster);
    held_by_one(&mut cluster);
    cluster.at(ONE).shard.note_copies_damaged(GROUP);
    cluster.settle();
    let holding = holdings(&mut cluster, ONE).remove(0);
    assert!(cut(&mut cluster, ONE, 12), "it was asked before");
    assert_eq!(local_start(&cluster, ONE), 0);
    tell(&mut cluster, ONE, &holding, Copied::Whole);
    assert!(cut(&mut cluster, ONE, 12));
    assert_eq!(local_start(&cluster, ONE), 12);
}

#[test]
fn a_restarted_leader_goes_on_from_the_snapshot_before_one_that_is_lost() {
    let mut cluster = with_copies(3);
    fill_twelve(&mut cluster);
    let first = held_by_two(&mut cluster);
    three_more(&mut cluster);
    let second = committed(&mut cluster);
    cluster.restart(ONE);
    cluster.run(1000);
    cluster.lead(ONE);
    let older = holdings(&mut cluster, ONE).remove(0);
    assert_eq!(older.stored, first, "it was committed first");
    tell(&mut cluster, ONE, &older, Copied::Failed);
    cluster.run(50);
    let holding = holdings(&mut cluster, ONE).remove(0);
    assert_eq!((holding.stored, holding.before), (second, None));
    assert!(lacks(&cluster, ONE), "it does not know what its disk has");
    tell(&mut cluster, ONE, &holding, Copied::Lost(Some(first)));
    assert!(!lacks(&cluster, ONE));
    cluster.run(LAG_MS);
    let again = wanted(&mut cluster, ONE).remove(0);
    assert_eq!((again.before, again.next_offset), (Some(first), 15));
}

#[test]
fn a_leader_that_is_not_whole_takes_no_snapshot_and_a_lost_one_is_taken_again() {
    let mut cluster = with_copies(3);
    fill_twelve(&mut cluster);
    committed(&mut cluster);
    let holding = holdings(&mut cluster, ONE).remove(0);
    // Nobody has the manifest: its leader died with it. This one still has the records.
    tell(&mut cluster, ONE, &holding, Copied::Lost(None));
    cluster.run(LAG_MS);
    let again = wanted(&mut cluster, ONE).remove(0);
    assert_eq!((again.before, again.next_offset), (None, 12));
    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.snapshot_taken(now, GROUP, again.term, None);
    cluster.settle();

    let mut cluster = with_copies(3);
    fill_twelve(&mut cluster);
    held_by_two(&mut cluster);
    cluster.at(ONE).shard.note_copies_damaged(GROUP);
    cluster.settle();
    let holding = holdings(&mut cluster, ONE).remove(0);
    tell(&mut cluster, ONE, &holding, Copied::Failed);
    three_more(&mut cluster);
    cluster.at(ONE).shard.ask_for_snapshot(GROUP).unwrap();
    cluster.run(LAG_MS / 2);
    assert!(
        wanted(&mut cluster, ONE).is_empty(),
        "it lacks what that would continue"
    );
}

#[test]
fn a_leader_that_cannot_take_the_place_of_a_lost_one_hands_over_now_and_then() {
    let mut cluster = with_copies(3);
    fill_twelve(&mut cluster);
    held_by_two(&mut cluster);
    three_more(&mut cluster);
    committed(&mut cluster);
    let lost = |cluster: &mut Cluster, node| {
        let holding = holdings(cluster, node).remove(0);
        cluster.at(node).shard.note_copies_damaged(GROUP);
        tell(cluster, node, &holding, Copied::Lost(None));
        cluster.run(200);
    };
    lost(&mut cluster, ONE);
    assert_ne!(cluster.leader(), Some(ONE), "another one may be whole");
    cluster.lead(ONE);
    lost(&mut cluster, ONE);
    assert_eq!(cluster.leader(), Some(ONE), "they have just given it back");
    cluster.run(30_000);
    lost(&mut cluster, ONE);
    assert_ne!(cluster.leader(), Some(ONE));
}

/// Whoever is preferred may be the one that has just handed over, because it lacks what another snapshot takes.
#[test]
fn a_leader_that_takes_the_place_of_a_lost_one_leads_until_it_has() {
    let lost = || {
        let mut cluster = with_copies(3);
        fill_twelve(&mut cluster);
        committed(&mut cluster);
        let holding = holdings(&mut cluster, ONE).remove(0);
        tell(&mut cluster, ONE, &holding, Copied::Lost(None));
        cluster
    };
    let mut cluster = lost();
    let now = cluster.now;
    assert!(!cluster.at(ONE).shard.transfer(now, GROUP, TWO));
    cluster.run(LAG_MS);
    let again = wanted(&mut cluster, ONE).remove(0);
    let taken = Stored {
        identity: Some(Digest::of(b"another one")),
        ..stored(&again)
    };
    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.snapshot_taken(now, GROUP, again.term, Some(taken));
    cluster.settle();
    cluster.run(50);
    let holding = holdings(&mut cluster, ONE).remove(0);
    assert_eq!(holding.stored, taken);
    tell(&mut cluster, ONE, &holding, Copied::Whole);
    let now = cluster.now;
    assert!(cluster.at(ONE).shard.transfer(now, GROUP, TWO));

    // A broker that stops waits for nothing.
    let mut cluster = lost();
    let now = cluster.now;
    cluster.at(ONE).shard.resign_all(now);
    cluster.run(200);
    assert_ne!(cluster.leader(), Some(ONE));
}
