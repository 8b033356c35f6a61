//! Cuts: nothing is shown beyond what was told while partitions are held, and snapshots are taken as of there.

use raft::types::Index;

use super::snapshots::{POLICY, taken, wanted};
use super::*;
use crate::shard::{Captured, HOLD_MS, NotHeld, Position, Trigger, Wanted};

const CUT: u128 = 7;

fn with_store() -> Cluster {
    Cluster::with(3, |config| config.snapshots = Some(POLICY), &[])
}

/// Without anything that waits for the store.
fn hold(cluster: &mut Cluster, node: NodeId) -> Vec<Position> {
    let now = cluster.now;
    let shard = &mut cluster.at(node).shard;
    shard.hold(now, CUT).expect("nothing else goes on")
}

fn release(cluster: &mut Cluster, node: NodeId) -> bool {
    let now = cluster.now;
    cluster.at(node).shard.release(now, CUT)
}

fn high_watermark(cluster: &Cluster) -> i64 {
    cluster.shard(ONE).offsets(GROUP).unwrap().high_watermark
}

#[test]
fn while_it_is_held_nothing_is_answered_or_shown_and_after_it_everything() {
    let mut cluster = with_store();
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
    let positions = hold(&mut cluster, ONE);
    let [position] = positions[..] else {
        panic!("{positions:?}")
    };
    assert_eq!((position.group, position.next_offset), (GROUP.0, 3));
    let all = cluster.produce(ONE, batch(2), Acks::All);
    let one = cluster.produce(ONE, batch(2), Acks::Leader);
    cluster.run(HOLD_MS - 20);
    let committed = cluster.status(ONE, GROUP).unwrap().commit;
    assert!(committed > Index(position.index), "Raft goes on");
    assert_eq!(high_watermark(&cluster), 3);
    assert!(cluster.answer(ONE, all).is_none() && cluster.answer(ONE, one).is_none());
    assert!(release(&mut cluster, ONE));
    cluster.settle();
    assert_eq!(high_watermark(&cluster), 7);
    assert_eq!(base_offset(cluster.answer(ONE, all)), 3);
    assert_eq!(base_offset(cluster.answer(ONE, one)), 5);
    assert!(!release(&mut cluster, ONE), "there is none");
}

/// Whoever makes the cut may be gone.
#[test]
fn a_hold_ends_by_itself_and_says_so() {
    let mut cluster = with_store();
    hold(&mut cluster, ONE);
    let ticket = cluster.produce(ONE, batch(2), Acks::All);
    cluster.run(HOLD_MS - 5);
    assert!(cluster.answer(ONE, ticket).is_none());
    assert!(cluster.shard(ONE).held(CUT).is_some());
    cluster.run(10);
    assert_eq!(base_offset(cluster.answer(ONE, ticket)), 0);
    assert!(cluster.shard(ONE).held(CUT).is_none());
    assert!(!release(&mut cluster, ONE), "it was not held to the end");
}

/// Who becomes the leader while its broker is held shows nothing either.
#[test]
fn a_leader_of_a_held_broker_shows_nothing_and_the_deposed_one_knows() {
    let mut cluster = with_store();
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
    let told = hold(&mut cluster, ONE)[0];
    assert!(cluster.shard(ONE).still_leads(&told));
    assert!(hold(&mut cluster, TWO).is_empty(), "it leads nothing");
    let lost = cluster.produce(ONE, batch(2), Acks::All);
    cluster.run(5);
    let now = cluster.now;
    cluster.at(TWO).shard.campaign(now, GROUP, true);
    cluster.run(40);
    assert!(!cluster.shard(ONE).still_leads(&told));
    assert!(is_refused(
        cluster.answer(ONE, lost),
        ErrorCode::NotLeaderOrFollower
    ));
    let there = cluster.produce(TWO, batch(1), Acks::All);
    cluster.run(20);
    assert!(cluster.answer(TWO, there).is_none(), "it is held");
    let end = cluster.shard(TWO).offsets(GROUP).map_err(|why| why.code);
    let end = end.map(|offsets| offsets.high_watermark);
    assert_eq!(end, Err(ErrorCode::OffsetNotAvailable), "it is not known");
    assert!(release(&mut cluster, TWO));
    cluster.settle();
    assert_eq!(base_offset(cluster.answer(TWO, there)), 5);
}

#[test]
fn snapshots_are_taken_as_of_the_hold_whatever_has_come_since() {
    let mut cluster = with_store();
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
    let told = hold(&mut cluster, ONE)[0];
    assert!(release(&mut cluster, ONE));
    cluster.produce(ONE, batch(4), Acks::All);
    cluster.settle();
    assert_eq!(cluster.shard(ONE).captured(CUT), Captured::Unknown);
    let before = wanted(&mut cluster, ONE);
    assert!(before.iter().all(|wanted| wanted.trigger != Trigger::Cut));
    for other in &before {
        taken(&mut cluster, ONE, other);
    }
    cluster.at(ONE).shard.capture(CUT);
    cluster.settle();
    let orders = wanted(&mut cluster, ONE);
    let of_cut = |w: &&Wanted| w.trigger == Trigger::Cut;
    let order = orders.iter().find(of_cut).expect("it is wanted");
    assert_eq!(order.index, Index(told.index));
    assert_eq!((order.next_offset, high_watermark(&cluster)), (3, 7));
    let now = cluster.now;
    assert_eq!(
        cluster.at(ONE).shard.hold(now, CUT + 1),
        Err(NotHeld::Other),
        "not before this one is through"
    );
    assert_eq!(cluster.shard(ONE).captured(CUT), Captured::Waiting);
    taken(&mut cluster, ONE, order);
    assert_eq!(cluster.shard(ONE).captured(CUT), Captured::Stored);
    assert!(cluster.at(ONE).shard.hold(now, CUT + 1).is_ok());
}

#[test]
fn a_snapshot_that_is_not_taken_makes_the_cut_void() {
    let mut cluster = with_store();
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
    hold(&mut cluster, ONE);
    assert!(release(&mut cluster, ONE));
    cluster.at(ONE).shard.capture(CUT);
    cluster.settle();
    let order = wanted(&mut cluster, ONE).pop().expect("it is wanted");
    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.snapshot_taken(now, GROUP, order.term, None);
    assert_eq!(shard.captured(CUT), Captured::Lost(GROUP));

    // And so does another leader, who has nothing set aside.
    let mut cluster = with_store();
    cluster.produce(ONE, batch(3), Acks::All);
    cluster.settle();
    hold(&mut cluster, ONE);
    assert!(release(&mut cluster, ONE));
    let now = cluster.now;
    cluster.at(TWO).shard.campaign(now, GROUP, true);
    cluster.run_until("another leader", |c| c.shard(TWO).offsets(GROUP).is_ok());
    cluster.at(ONE).shard.capture(CUT);
    assert_eq!(cluster.shard(ONE).captured(CUT), Captured::Lost(GROUP));
}

#[test]
fn without_a_store_nothing_is_held() {
    let mut cluster = Cluster::of(1);
    let now = cluster.now;
    assert_eq!(cluster.at(ONE).shard.hold(now, CUT), Err(NotHeld::NoStore));
}
