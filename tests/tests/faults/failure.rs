//! Leaders lost, minorities lost, majorities lost, and back.

use std::time::Duration;

use super::*;
use tests::wire::Connection;
use tests::wire::batch::Batch;
use tests::wire::requests::{self, code};

#[test]
fn killed_leader_is_replaced_and_returns() {
    let topic = "killed-leader";
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    let before = partitions(&cluster, topic);
    let (leader, _) = busiest(&before);
    cluster.kill(leader);
    expect_reelected(&cluster, topic, &before, leader);
    expect_progress(&cluster, &load, "after the leader was killed");
    cluster.restart(leader);
    cluster
        .wait_in_sync(topic, PARTITIONS)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    expect_progress(&cluster, &load, "after it returned");
    conclude(cluster, load, topic);
}

#[test]
fn paused_leader_is_replaced_and_accepts_it() {
    let topic = "paused-leader";
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    let before = partitions(&cluster, topic);
    let (leader, led) = busiest(&before);
    cluster.pause(leader);
    // Asked of the others: the paused one would still name itself.
    let others: Vec<i32> = (1..=3).filter(|id| *id != leader).collect();
    let moved = tests::wait::wait_until("leaders moved", failover(), || {
        cluster
            .metadata(&[topic], &[leader])
            .is_some_and(|metadata| {
                let now = metadata.partitions(topic);
                led.iter().all(|id| {
                    now.iter()
                        .any(|one| one.id == *id && others.contains(&one.leader))
                })
            })
    });
    moved.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    expect_progress(&cluster, &load, "while the old leader is paused");
    cluster.resume(leader);
    cluster
        .wait_in_sync(topic, PARTITIONS)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    expect_progress(&cluster, &load, "after it went on");
    conclude(cluster, load, topic);
}

#[test]
fn repeated_short_pauses_of_every_node_lose_nothing() {
    let topic = "short-pauses";
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    for round in 0..6 {
        let node = round % 3 + 1;
        cluster.pause(node);
        // Long enough for an election in some rounds, too short in others.
        let pause = Duration::from_millis(200 + 300 * u64::from(round as u32));
        let _ = load.progress(u64::MAX >> 1, pause);
        cluster.resume(node);
        expect_progress(&cluster, &load, "after a pause");
    }
    conclude(cluster, load, topic);
}

#[test]
fn cascade_to_no_quorum_stops_acknowledging_and_comes_back() {
    let topic = "cascade";
    // Written to by hand, so that what is not the workload's stays out of its history.
    let by_hand = "cascade-by-hand";
    let mut cluster = three(topic);
    cluster.create_topic(by_hand, PARTITIONS, &[]);
    let load = flowing(&cluster, topic);
    cluster.kill(1);
    expect_progress(&cluster, &load, "with two of three");
    cluster.kill(2);
    let quiet = load.standstill(Duration::from_secs(3), failover());
    quiet.unwrap_or_else(|late| cluster.fail(&format!("acknowledged without quorum: {late}")));
    refuses_to_acknowledge(&cluster, by_hand);
    cluster.spawn(2);
    expect_progress(&cluster, &load, "after one of two returned");
    cluster.spawn(1);
    cluster
        .wait_in_sync(topic, PARTITIONS)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    expect_progress(&cluster, &load, "after both returned");
    conclude(cluster, load, topic);
}

/// The survivor of three is asked directly, with acks=all: any answer but success.
fn refuses_to_acknowledge(cluster: &Cluster, topic: &str) {
    let mut survivor = Connection::open(&cluster.node(3).kafka(), Duration::from_secs(15)).unwrap();
    for partition in 0..PARTITIONS {
        let records = Batch::of(&[b"without quorum"]).encode();
        let answer = requests::produce(&mut survivor, topic, partition, &records);
        let Ok((error, _)) = answer else {
            panic!("the survivor does not even answer: {answer:?}");
        };
        let allowed = [
            code::NOT_LEADER_OR_FOLLOWER,
            code::REQUEST_TIMED_OUT,
            code::NOT_ENOUGH_REPLICAS,
            code::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            code::LEADER_NOT_AVAILABLE,
        ];
        assert!(
            allowed.contains(&error),
            "partition {partition}: error {error}"
        );
    }
}
