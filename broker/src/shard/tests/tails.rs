//! Tails: what goes into each, and when a snapshot replaces them.

use raft::types::Index;

use super::snapshots::{LAG_MS, POLICY, REST_MS, taken, wanted};
use super::*;
use crate::shard::{EVERY, Order, SnapshotPolicy, TailFate, TailPart, Trigger};

const TAIL_BYTES: u64 = 6000;

/// What of a partition is small goes into tails.
fn with_tails(brokers: i32) -> Cluster {
    with_lag(brokers, LAG_MS)
}

fn with_lag(brokers: i32, lag_max_ms: u64) -> Cluster {
    let policy = SnapshotPolicy {
        tail_bytes: TAIL_BYTES,
        lag_max_ms,
        ..POLICY
    };
    Cluster::with(brokers, |config| config.snapshots = Some(policy), &[])
}

/// The tail that was ordered at a node since the last look, of one part.
fn tail(cluster: &mut Cluster, node: NodeId) -> Option<TailPart> {
    let mut tails = Vec::new();
    cluster.at(node).orders.retain(|order| match order {
        Order::WriteTail(wanted) => {
            tails.push((**wanted).clone());
            false
        }
        _ => true,
    });
    assert!(tails.len() <= 1, "one at a time: {tails:?}");
    let tail = tails.pop()?;
    assert_eq!((tail.parts.len(), tail.part_bytes), (1, TAIL_BYTES));
    Some(tail.parts[0])
}

fn written(cluster: &mut Cluster, fate: Option<TailFate>) {
    let now = cluster.now;
    let shard = &mut cluster.at(ONE).shard;
    shard.tail_written(now, fate.map(|fate| vec![fate]));
}

/// Produces a little, waits for the tail, and says that it is in the store.
fn round(cluster: &mut Cluster) -> TailPart {
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    cluster.run(LAG_MS / 2 + 200);
    let part = tail(cluster, ONE).expect("it is time");
    written(cluster, Some(TailFate::Stored));
    part
}

fn lag(cluster: &Cluster) -> u64 {
    cluster.status(ONE, GROUP).unwrap().unstored_ms
}

#[test]
fn a_little_goes_into_tails_each_of_which_continues_the_last_one() {
    let mut cluster = with_tails(3);
    let mut last = Index(0);
    for number in 1..=EVERY * 2 + 1 {
        let part = round(&mut cluster);
        // Every so many, all that came since the last such one.
        let large = number.is_multiple_of(EVERY);
        let wanted = match number / EVERY {
            1 if large => Index(1),
            2 if large => last,
            _ => part.first,
        };
        assert_eq!(part.first, wanted, "tail {number}");
        if number == EVERY {
            last = part.last.next();
        }
        assert_eq!(part.group, GROUP);
        assert_eq!(lag(&cluster), 0, "it is in the store");
        assert!(wanted_none(&mut cluster), "no snapshots");
    }
    for node in [TWO, THREE] {
        assert_eq!(tail(&mut cluster, node), None, "only the leader");
    }
    cluster.run(LAG_MS * 10);
    assert_eq!(tail(&mut cluster, ONE), None, "and then there is peace");
}

fn wanted_none(cluster: &mut Cluster) -> bool {
    wanted(cluster, ONE).is_empty()
}

#[test]
fn what_was_in_tails_for_long_gets_a_snapshot_and_what_is_much_at_once() {
    let mut cluster = with_tails(1);
    for _ in 1..EVERY * EVERY {
        round(&mut cluster);
        assert!(wanted_none(&mut cluster));
    }
    round(&mut cluster);
    let only = wanted(&mut cluster, ONE).remove(0);
    assert_eq!((only.trigger, only.next_offset), (Trigger::Time, 64));
    taken(&mut cluster, ONE, &only);
    let next = round(&mut cluster);
    assert!(next.first > only.index, "the snapshot is continued");
    assert!(wanted_none(&mut cluster));
    for _ in 0..100 {
        cluster.produce(ONE, batch(1), Acks::All);
    }
    cluster.settle();
    cluster.run(LAG_MS / 2 + 200);
    assert_eq!(tail(&mut cluster, ONE), None, "it is too much for one");
    let much = wanted(&mut cluster, ONE).remove(0);
    assert_eq!(much.next_offset, 64 + 1 + 100);
}

#[test]
fn a_tail_that_is_not_there_is_written_again_and_what_does_not_fit_gets_a_snapshot() {
    let mut cluster = with_tails(1);
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    cluster.run(LAG_MS / 2 + 200);
    let first = tail(&mut cluster, ONE).expect("it is time");
    // Meanwhile more came, and waits until that one has ended.
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    cluster.run(LAG_MS * 2);
    assert_eq!(tail(&mut cluster, ONE), None);
    written(&mut cluster, None);
    assert!(lag(&cluster) > 0);
    cluster.run(REST_MS + 200);
    let again = tail(&mut cluster, ONE).expect("again");
    assert_eq!(again.first, first.first);
    assert!(again.last > first.last);
    written(&mut cluster, Some(TailFate::Later));
    cluster.run(200);
    assert_eq!(tail(&mut cluster, ONE), Some(again), "at once");
    written(&mut cluster, Some(TailFate::Snapshot));
    assert!(lag(&cluster) > 0);
    cluster.run(200);
    let wanted = wanted(&mut cluster, ONE).remove(0);
    taken(&mut cluster, ONE, &wanted);
    assert_eq!(lag(&cluster), 0);
}

#[test]
fn a_new_leader_begins_behind_the_last_snapshot() {
    let mut cluster = with_tails(3);
    let first = round(&mut cluster);
    round(&mut cluster);
    cluster.at(ONE).shard.ask_for_snapshot(GROUP).unwrap();
    cluster.run(200);
    let only = wanted(&mut cluster, ONE).remove(0);
    taken(&mut cluster, ONE, &only);
    round(&mut cluster);
    assert!(first.first < only.index);
    let now = cluster.now;
    assert!(cluster.at(ONE).shard.transfer(now, GROUP, THREE));
    cluster.run(LAG_MS / 2 + 500);
    let part = tail(&mut cluster, THREE).expect("it knows of no tail");
    assert_eq!(part.first, only.index.next());
}

#[test]
fn a_leader_that_is_not_sure_yet_writes_its_tail_later() {
    let mut cluster = with_lag(3, 60);
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    let now = cluster.now;
    cluster.at(THREE).shard.campaign(now, GROUP, true);
    let is_elected = |cluster: &Cluster| {
        let status = cluster.status(THREE, GROUP);
        status.is_some_and(|status| status.role == raft::effect::Role::Leader)
    };
    for node in (0..30).flat_map(|_| [ONE, TWO, THREE]) {
        if !is_elected(&cluster) {
            cluster.flush(node);
            cluster.sync(node);
            cluster.flush(node);
            cluster.deliver_to(node);
        }
    }
    assert!(is_elected(&cluster));
    // Nobody hears its first entry before the tail is due.
    cluster.cut.insert(THREE);
    assert!(cluster.shard(THREE).offsets(GROUP).is_err(), "not sure yet");
    cluster.run(90);
    assert_eq!(tail(&mut cluster, THREE), None);
    cluster.heal();
    cluster.run(REST_MS + 300);
    let part = tail(&mut cluster, THREE).expect("now it knows");
    assert_eq!(part.first, Index(1));
}

/// A majority without the leader has it: what the leader's disk lacks cannot be read there, and is in the next tail.
#[test]
fn what_is_not_on_the_leader_s_disk_yet_is_in_the_next_tail() {
    let mut cluster = with_tails(3);
    let before = round(&mut cluster);
    cluster.produce(ONE, batch(1), Acks::All);
    cluster.settle();
    cluster.run(LAG_MS / 2 - 20);
    let asked = cluster.produce(ONE, batch(1), Acks::All);
    cluster.flush(ONE);
    for node in [TWO, THREE] {
        cluster.deliver_to(node);
        cluster.flush(node);
        cluster.sync(node);
        cluster.flush(node);
    }
    cluster.deliver_to(ONE);
    cluster.flush(ONE);
    let answer = cluster.answer(ONE, asked);
    assert!(matches!(answer, Some(Ok(_))), "it is committed: {answer:?}");
    cluster.now.0 += 40;
    let now = cluster.now;
    cluster.at(ONE).shard.tick(now);
    cluster.flush(ONE);
    let part = tail(&mut cluster, ONE).expect("it is time");
    assert_eq!(part.first, before.last.next());
    assert_eq!(part.last, part.first, "what is on its disk");
    written(&mut cluster, Some(TailFate::Stored));
    assert!(lag(&cluster) > 0, "the store lacks the other one");
    cluster.run(LAG_MS / 2 + 200);
    let next = tail(&mut cluster, ONE).expect("nobody has to produce again");
    assert_eq!(
        (next.first, next.last),
        (part.last.next(), part.last.next())
    );
    written(&mut cluster, Some(TailFate::Stored));
    assert_eq!(lag(&cluster), 0);
}
