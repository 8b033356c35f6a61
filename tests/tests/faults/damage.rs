//! A bit that a disk did not keep: it is found, told, never handed out, and read from another disk.

use std::path::{Path, PathBuf};

use super::snapshots::{files_below, sent, walser};
use super::*;
use tests::cluster::Exit;
use tests::cluster::walser::get;
use tests::wait::wait_for;
use tests::wire::batch::Batch;
use tests::wire::{Connection, requests};

const TOPIC: &str = "damaged";
const BATCHES: usize = 40;
/// The one that is damaged.
const VICTIM: usize = 20;
const STORAGE_ERROR: i16 = 56;

fn value(at: usize) -> Vec<u8> {
    format!("the value of record {at:08}, and nobody else's ")
        .repeat(200)
        .into_bytes()
}

fn connect(cluster: &Cluster, node: i32) -> Connection {
    Connection::open(&cluster.node(node).kafka(), Duration::from_secs(10)).unwrap()
}

fn leader(cluster: &Cluster) -> i32 {
    let led = cluster.wait_led_by(TOPIC, 1, failover(), |_| true);
    led.unwrap_or_else(|late| cluster.fail(&late.to_string()))[0].leader
}

/// Waits for something, with a look at it now and then.
fn wait<T>(cluster: &Cluster, what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for(what, failover(), Duration::from_millis(50), look)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()))
}

/// Flips one bit in the middle of these bytes, wherever they lie in a log.
fn flip(data: &Path, wanted: &[u8]) -> PathBuf {
    let is_segment = |path: &PathBuf| path.to_str().unwrap().contains("/segment-");
    for path in files_below(&data.join("log"))
        .into_iter()
        .filter(is_segment)
    {
        let mut bytes = std::fs::read(&path).unwrap();
        let found = bytes
            .windows(wanted.len())
            .position(|window| window == wanted);
        if let Some(at) = found {
            bytes[at + wanted.len() / 2] ^= 16;
            std::fs::write(&path, bytes).unwrap();
            return path;
        }
    }
    panic!("the record is in no segment");
}

/// `disk verify` of a node's directory: exit code and what it prints.
fn verify(cluster: &Cluster, node: i32) -> (Option<i32>, String) {
    let data = cluster.node(node).data();
    let output = walser(&["disk", "verify", data.to_str().unwrap()]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Asks the leader for every record, and compares each.
fn expect_all(cluster: &Cluster, batches: &[Vec<u8>]) {
    let mut next = 0;
    wait(cluster, "all records", || {
        let mut connection = connect(cluster, leader(cluster));
        while let Some(batch) = batches.get(next) {
            let fetched = requests::fetch(&mut connection, TOPIC, 0, next as i64, 1);
            let (code, _, records) = fetched.ok()?;
            if code != 0 {
                return None;
            }
            assert!(sent(&records) == sent(batch), "record {next} is another");
            next += 1;
        }
        Some(())
    });
}

/// X11, D1: found offline with its partition and offset; as a leader's it is an error, and the leader hands over.
#[test]
fn x11_a_flipped_bit_is_found_never_served_and_read_from_another_disk() {
    if is_only_for_walser(TOPIC) {
        return;
    }
    let mut cluster = Cluster::start(3, &Options::default());
    cluster.create_topic(TOPIC, 1, &[]);
    let batches: Vec<Vec<u8>> = (0..BATCHES)
        .map(|at| Batch::of(&[&value(at)]).encode())
        .collect();
    let node = leader(&cluster);
    let mut connection = connect(&cluster, node);
    for (at, batch) in batches.iter().enumerate() {
        let produced = requests::produce(&mut connection, TOPIC, 0, batch);
        assert_eq!(produced.unwrap(), (0, at as i64));
    }
    let (code, said) = verify(&cluster, node);
    assert_eq!(code, Some(1), "a running broker's directory: {said}");
    let exit = cluster.terminate(node, Duration::from_secs(40));
    assert_eq!(exit.unwrap(), Exit::Code(0));
    let (code, said) = verify(&cluster, node);
    assert_eq!(code, Some(0), "{said}");

    flip(&cluster.node(node).data(), &value(VICTIM));
    let (code, said) = verify(&cluster, node);
    assert_eq!(code, Some(11), "{said}");
    let place = format!("{TOPIC}/0");
    let offsets = format!("{VICTIM}..{}", VICTIM + 1);
    assert!(said.contains(&place) && said.contains(&offsets), "{said}");

    cluster.restart(node);
    cluster.wait_in_sync(TOPIC, 1).unwrap();
    let admin = cluster.node(node).admin();
    let bootstrap = cluster.bootstrap();
    let to = node.to_string();
    // As a leader it is asked for the record: an error, and somebody else leads.
    let refused = wait(&cluster, "the refusal", || {
        if leader(&cluster) != node {
            let transfer = ["partition", "transfer-leader", &place, "--to", &to];
            walser(&[&transfer[..], &["--admin", &admin, "-b", &bootstrap]].concat());
        }
        let mut connection = connect(&cluster, node);
        let fetched = requests::fetch(&mut connection, TOPIC, 0, VICTIM as i64, 1 << 20);
        let (code, _, records) = fetched.ok()?;
        assert!(code != 0, "{} bytes of a damaged record", records.len());
        (code == STORAGE_ERROR).then_some(code)
    });
    assert_eq!(refused, STORAGE_ERROR);
    wait(&cluster, "another leader", || {
        (leader(&cluster) != node).then_some(())
    });
    expect_all(&cluster, &batches);
    let (_, text) = get(&admin, "/metrics").unwrap();
    let counted = |line: &&str| line.starts_with("walser_corruptions_detected_total");
    let counted = text.lines().find(counted).unwrap();
    assert!(!counted.ends_with(" 0"), "{counted}");
}
