//! Orderly stops: nobody new is let in, what was received is answered, the process ends by itself and in time.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::*;
use tests::cluster::Exit;
use tests::wait::wait_until;
use tests::wire::Connection;
use tests::wire::batch::Batch;
use tests::wire::codec::Writer;
use tests::wire::requests;

const SIGTERM: i32 = 15;
/// What a stop may take at most: `shutdown.max` and a little.
const STOPPED_WITHIN: Duration = Duration::from_secs(40);

fn stop(cluster: &mut Cluster, node: i32) {
    let began = Instant::now();
    let exit = cluster.terminate(node, STOPPED_WITHIN);
    let exit = exit.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    assert_eq!(exit, Exit::Code(0), "node {node}");
    eprintln!("node {node} stopped in {} ms", began.elapsed().as_millis());
}

/// Fetch 4 of partition 0 that waits so long for the first byte.
fn long_poll(topic: &str, offset: i64, wait: Duration) -> Vec<u8> {
    let mut body = Writer::default();
    let wait = i32::try_from(wait.as_millis()).unwrap();
    body.i32(-1).i32(wait).i32(1).i32(1 << 20).i8(0);
    body.i32(1).string(Some(topic)).i32(1).i32(0);
    body.i64(offset).i32(1 << 20);
    body.0
}

#[test]
fn a_stop_answers_what_it_has_received_and_lets_nobody_in() {
    let topic = "stop-answers";
    if is_only_for_walser(topic) {
        return;
    }
    let mut cluster = Cluster::start(1, &Options::default());
    cluster.create_topic(topic, 1, &[]);
    let address = cluster.node(1).kafka();
    let mut consumer = Connection::open(&address, Duration::from_secs(30)).unwrap();
    let records = Batch::of(&[b"one"]).encode();
    let stored = requests::produce(&mut consumer, topic, 0, &records).unwrap();
    assert_eq!(stored, (0, 0));
    // Nothing comes: it is answered, empty, when its time is over, which is long after the signal.
    let poll = long_poll(topic, 1, Duration::from_secs(5));
    let frame = consumer.frame(1, 4, &poll);
    consumer.send(&frame).unwrap();
    // What is answered to others later proves that the poll was received.
    let mut other = Connection::open(&address, Duration::from_secs(30)).unwrap();
    for _ in 0..10 {
        requests::api_versions(&mut other).unwrap();
    }
    cluster.node(1).process.as_ref().unwrap().signal(SIGTERM);
    let refused = wait_until("nobody is let in", Duration::from_secs(4), || {
        TcpStream::connect(&address).is_err()
    });
    refused.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    let answer = consumer.receive().unwrap();
    assert!(answer.len() > 8, "{answer:?}");
    assert_eq!(consumer.is_closed_by_peer(), (true, 0));
    assert!(other.is_closed_by_peer().0);
    stop(&mut cluster, 1);
    cluster.restart(1);
    let mut again = Connection::open(&address, Duration::from_secs(30)).unwrap();
    let end = requests::list_offset(&mut again, topic, 0, -1).unwrap();
    assert_eq!(end, (0, 1));
}

#[test]
fn a_lone_broker_stopped_under_load_keeps_what_it_acknowledged() {
    let topic = "stop-alone";
    if is_only_for_walser(topic) {
        return;
    }
    let mut cluster = Cluster::start(1, &Options::default());
    cluster.create_topic(topic, PARTITIONS, &[]);
    let load = flowing(&cluster, topic);
    for _ in 0..2 {
        stop(&mut cluster, 1);
        cluster.restart(1);
        expect_progress(&cluster, &load, "after an orderly stop");
    }
    conclude(cluster, load, topic);
}

#[test]
fn stops_under_load_hand_over_and_lose_nothing() {
    let topic = "stop-three";
    if is_only_for_walser(topic) {
        return;
    }
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    for node in 1..=3 {
        stop(&mut cluster, node);
        expect_progress(&cluster, &load, "with one node stopped");
        cluster.restart(node);
        cluster
            .wait_in_sync(topic, PARTITIONS)
            .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    }
    conclude(cluster, load, topic);
}
