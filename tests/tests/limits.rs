//! What is legal at its largest, what is one more, and what would fill the memory: the brokers stand.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use tests::cluster::{Cluster, Flavor, Node, Options};
use tests::wire::Connection;
use tests::wire::batch::Batch;
use tests::wire::codec::Writer;
use tests::wire::requests::{self, code};

const WITHIN: Duration = Duration::from_secs(30);
const INVALID_CONFIG: i16 = 40;

fn open(node: &Node) -> Connection {
    Connection::open(&node.kafka(), WITHIN).unwrap()
}

fn leader<'a>(cluster: &'a Cluster, topic: &str) -> &'a Node {
    let partitions = cluster.wait_in_sync(topic, 1);
    cluster.node(partitions.unwrap()[0].leader)
}

/// A batch of one record with exactly so many bytes.
fn batch_of(bytes: usize) -> Vec<u8> {
    let of = |value: usize| Batch::of(&[&vec![7; value]]).encode();
    let around = of(bytes).len() - bytes;
    let batch = of(bytes - around);
    assert_eq!(batch.len(), bytes);
    batch
}

/// The largest batch that a topic may take in a cluster of the tests' entry size, a quarter of a segment. One above
/// used to be sent to the followers before the log refused it.
#[test]
fn the_largest_batch_is_stored_by_all_and_one_above_by_nobody() {
    const LARGEST: usize = (4 << 20) - (64 << 10);
    let mut cluster = Cluster::start(3, &Options::default());
    let largest = LARGEST.to_string();
    cluster.create_topic("large", 1, &[("max.message.bytes", &largest)]);
    let mut connection = open(leader(&cluster, "large"));
    let mut produce = |bytes| requests::produce(&mut connection, "large", 0, &batch_of(bytes));
    assert_eq!(produce(LARGEST).unwrap(), (code::NONE, 0));
    assert_eq!(produce(LARGEST + 1).unwrap().0, code::MESSAGE_TOO_LARGE);
    assert_eq!(produce(1000).unwrap(), (code::NONE, 1));
    let fetched = requests::fetch(&mut connection, "large", 0, 0, 8 << 20).unwrap();
    assert!(fetched.0 == code::NONE && fetched.2.len() >= LARGEST);
    if cluster.flavor() == Flavor::Walser {
        let mut connection = open(cluster.node(1));
        let above = [("max.message.bytes", "5242880")];
        let refused = requests::create_topic(&mut connection, "larger", 1, 3, &above);
        assert_eq!(refused.unwrap(), INVALID_CONFIG);
    }
    assert_all_run(&mut cluster);
}

fn assert_all_run(cluster: &mut Cluster) {
    for id in 1..=cluster.nodes().len() as i32 {
        // A process that has ended answers nobody.
        let mut connection = open(cluster.node(id));
        assert_eq!(requests::api_versions(&mut connection).unwrap().0, 0);
    }
}

/// An unsigned varint.
fn unsigned(out: &mut Writer, mut value: usize) {
    while value > 0x7f {
        out.i8((value as u8 | 0x80) as i8);
        value >>= 7;
    }
    out.i8(value as i8);
}

fn compact(out: &mut Writer, text: &str) {
    unsigned(out, text.len() + 1);
    out.raw(text.as_bytes());
}

/// A string of the newer formats has no bound of its own: five megabytes of a value are five megabytes of the metadata.
#[test]
fn a_config_value_longer_than_kafkas_is_refused_and_nobody_minds() {
    let mut cluster = Cluster::start(3, &Options::default());
    cluster.create_topic("configured", 1, &[]);
    let alter = |value: &str| {
        let mut body = Writer::default();
        // Tags of the header; one resource, a topic, with one config to set.
        body.i8(0).i8(2).i8(2);
        compact(&mut body, "configured");
        body.i8(2);
        compact(&mut body, "leader.replication.throttled.replicas");
        body.i8(0);
        compact(&mut body, value);
        // Tags of config and resource, no dry run, tags.
        body.i8(0).i8(0).i8(0).i8(0);
        let answer = open(cluster.node(2)).request(44, 1, &body.0).unwrap();
        // Tags, throttle time, one response: its code.
        i16::from_be_bytes([answer[6], answer[7]])
    };
    assert_eq!(alter("0:1,0:2"), code::NONE);
    assert_eq!(alter(&["0:1"; 1_300_000].join(",")), INVALID_CONFIG);
    assert_eq!(alter("0:2"), code::NONE);
    assert_all_run(&mut cluster);
}

/// The most memory that the process had, in bytes.
fn peak_bytes(node: &Node) -> u64 {
    let pid = node.process.as_ref().unwrap().pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

#[test]
fn pipelined_requests_whose_answers_nobody_takes_do_not_fill_the_memory() {
    const REQUESTS: usize = 25_000;
    const GROWTH_MAX: u64 = 48 << 20;
    let options = Options {
        extra: vec!["connection.response.max = \"1MiB\"".to_owned()],
        ..Options::default()
    };
    let cluster = Cluster::start(1, &options);
    cluster.create_topic("wide", 300, &[]);
    cluster.wait_in_sync("wide", 300).unwrap();
    let node = cluster.node(1);
    let mut connection = open(node);
    // Metadata 1 of all topics.
    let all = (-1_i32).to_be_bytes();
    let answer = connection.request(3, 1, &all).unwrap().len() + 8;
    let would_take = (answer * REQUESTS) as u64;
    assert!(
        would_take > 2 * GROWTH_MAX,
        "{answer} bytes an answer prove nothing"
    );
    let before = peak_bytes(node);
    let requests: Vec<u8> = (0..REQUESTS)
        .flat_map(|_| connection.frame(3, 1, &all))
        .collect();
    connection.send(&requests).unwrap();
    // Others are served meanwhile.
    let mut other = open(node);
    for _ in 0..20 {
        requests::metadata(&mut other, &["wide"]).unwrap();
    }
    for _ in 0..REQUESTS {
        assert_eq!(connection.receive_any().unwrap().1.len() + 8, answer);
    }
    let growth = peak_bytes(node).saturating_sub(before);
    assert!(
        growth < GROWTH_MAX,
        "{growth} bytes for {REQUESTS} requests"
    );
}
