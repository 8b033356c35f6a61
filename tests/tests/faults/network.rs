//! Faults of the network between brokers, made by a proxy that counts what it did.

use std::time::Duration;

use super::*;
use tests::network::Network;
use tests::proxy::Rule;
use tests::wait::wait_until;
use tests::wire::Connection;
use tests::wire::batch::Batch;
use tests::wire::codec::Writer;
use tests::wire::requests;

fn behind_proxies(topic: &str) -> (Network, Cluster) {
    let (network, cluster) = Network::start(3, &[]);
    cluster.create_topic(topic, PARTITIONS, &[]);
    (network, cluster)
}

/// The leader is cut off from the other brokers; clients reach both sides all the time.
#[test]
fn isolated_leader_acknowledges_nothing_and_heals() {
    let topic = "split-brain";
    if is_only_for_walser(topic) {
        return;
    }
    let (network, cluster) = behind_proxies(topic);
    let load = flowing(&cluster, topic);
    // Written to by hand, so that what is not the workload's stays out of its history.
    let by_hand = "split-brain-by-hand";
    cluster.create_topic(by_hand, PARTITIONS, &[]);
    let (leader, led) = busiest(&partitions(&cluster, by_hand));
    network.isolate(leader);
    let direct = write_directly(&cluster, leader, by_hand, &led);
    let elsewhere = wait_until("a second leader on the other side", failover(), || {
        cluster
            .metadata(&[by_hand], &[leader])
            .is_some_and(|metadata| {
                let all = metadata.partitions(by_hand);
                let moved = |one: &Partition| one.leader > 0 && one.leader != leader;
                led.iter()
                    .all(|id| all.iter().any(|one| one.id == *id && moved(one)))
            })
    });
    elsewhere.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    expect_isolated_to_name_the_others(&cluster, leader, by_hand);
    expect_progress(&cluster, &load, "on the majority's side");
    assert!(
        network.count(|counters| &counters.stalled) > 0,
        "nothing was cut"
    );
    network.heal();
    cluster
        .wait_in_sync(topic, PARTITIONS)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    expect_progress(&cluster, &load, "after the heal");
    for (partition, answer) in direct.join().unwrap() {
        assert_ne!(
            answer,
            Some(0),
            "partition {partition} acknowledged by an isolated leader"
        );
    }
    conclude(cluster, load, topic);
}

/// A client that asks the one that is cut off, and forgets who is not listed, has to find the others again. It is asked
/// until it knows that it leads nothing any more. For a moment it misses one of them before the other.
fn expect_isolated_to_name_the_others(cluster: &Cluster, isolated: i32, topic: &str) {
    let ids = cluster.nodes().iter().map(|node| node.id);
    let others: Vec<i32> = ids.filter(|id| *id != isolated).collect();
    let known = wait_until("the isolated one to resign", failover(), || {
        let Some(metadata) = cluster.metadata(&[topic], &others) else {
            return false;
        };
        let all = metadata.partitions(topic);
        let has_resigned = all.iter().all(|one| one.leader != isolated);
        has_resigned && metadata.brokers.len() == others.len() + 1
    });
    known.unwrap_or_else(|late| cluster.fail(&late.to_string()));
}

/// Produces to the isolated node by hand, on its own connection, to the partitions it led.
fn write_directly(
    cluster: &Cluster,
    leader: i32,
    topic: &str,
    led: &[i32],
) -> std::thread::JoinHandle<Vec<(i32, Option<i16>)>> {
    let (address, topic, led) = (cluster.node(leader).kafka(), topic.to_owned(), led.to_vec());
    std::thread::spawn(move || {
        let ask = |partition: i32| {
            let mut connection = Connection::open(&address, Duration::from_secs(20)).ok()?;
            let records = Batch::of(&[b"isolated"]).encode();
            requests::produce(&mut connection, &topic, partition, &records)
                .ok()
                .map(|(code, _)| code)
        };
        led.iter()
            .map(|partition| (*partition, ask(*partition)))
            .collect()
    })
}

#[test]
fn latency_of_100_ms_between_brokers() {
    let topic = "latency";
    if is_only_for_walser(topic) {
        return;
    }
    let (network, cluster) = behind_proxies(topic);
    let load = flowing(&cluster, topic);
    network.all(Rule {
        delay: Duration::from_millis(50),
        ..Rule::default()
    });
    expect_progress(&cluster, &load, "with 100 ms of round trip");
    let delayed = network.count(|counters| &counters.delayed);
    assert!(delayed > 100, "only {delayed} pieces were delayed");
    network.heal();
    conclude(cluster, load, topic);
}

#[test]
fn loss_of_20_percent_between_brokers() {
    let topic = "loss";
    if is_only_for_walser(topic) {
        return;
    }
    let (network, cluster) = behind_proxies(topic);
    let load = flowing(&cluster, topic);
    network.all(Rule {
        loss: 0.2,
        ..Rule::default()
    });
    // How many pieces the same load takes differs: on a busy machine each holds more.
    let lost = || network.count(|counters| &counters.lost);
    for _ in 0..10 {
        expect_progress(&cluster, &load, "with a fifth of the packets lost");
        if lost() > 20 {
            break;
        }
    }
    assert!(lost() > 20, "only {} pieces were lost", lost());
    network.heal();
    conclude(cluster, load, topic);
}

/// Clients that ask for much and take nothing, stop in the middle of a request, or hold a
/// connection without a word: none of them holds anybody else up.
#[test]
fn slow_silent_and_half_closed_clients_hold_nobody_up() {
    let topic = "slow-clients";
    let cluster = three(topic);
    let load = flowing(&cluster, topic);
    let mut held = Vec::new();
    for node in cluster.nodes() {
        for at in 0..30 {
            let mut client = Connection::open(&node.kafka(), Duration::from_secs(5)).unwrap();
            let request = client.frame(1, 4, &greedy_fetch(topic));
            match at % 3 {
                0 => (0..20).for_each(|_| client.send(&request).unwrap()),
                1 => client.send(&request[..request.len() / 2]).unwrap(),
                _ => client.half_close().unwrap(),
            }
            held.push(client);
        }
    }
    expect_progress(&cluster, &load, "with ninety bad clients");
    drop(held);
    expect_progress(&cluster, &load, "after they went");
    conclude(cluster, load, topic);
}

/// The body of Fetch 4: all partitions from the beginning, 50 MiB at once.
fn greedy_fetch(topic: &str) -> Vec<u8> {
    let mut body = Writer::default();
    body.i32(-1).i32(100).i32(1).i32(50 << 20).i8(0);
    body.i32(1).string(Some(topic)).i32(PARTITIONS);
    for partition in 0..PARTITIONS {
        body.i32(partition).i64(0).i32(50 << 20);
    }
    body.0
}

#[test]
fn links_cut_one_after_the_other() {
    let topic = "links";
    if is_only_for_walser(topic) {
        return;
    }
    let (network, cluster) = behind_proxies(topic);
    let load = flowing(&cluster, topic);
    let stalled = || network.count(|counters| &counters.stalled);
    for (one, other) in [(1, 2), (2, 3), (1, 3)] {
        let before = stalled();
        // One link only: every node still reaches a majority through the third.
        network.link(
            one,
            other,
            Rule {
                stall: true,
                ..Rule::default()
            },
        );
        let is_felt = wait_until("the link holds something", failover(), || {
            stalled() > before
        });
        is_felt.unwrap_or_else(|late| cluster.fail(&late.to_string()));
        expect_progress(&cluster, &load, &format!("without the link {one}-{other}"));
        network.heal();
    }
    conclude(cluster, load, topic);
}
