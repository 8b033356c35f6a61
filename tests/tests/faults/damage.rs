//! A bit that a disk did not keep: it is found, told, never handed out, read from another disk and written again.

use std::os::unix::fs::FileExt;
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

/// Flips one bit in the middle of these bytes, wherever they lie in a log: in place, because a broker may have it open.
fn flip(data: &Path, wanted: &[u8]) -> PathBuf {
    let is_segment = |path: &PathBuf| path.to_str().unwrap().contains("/segment-");
    for path in files_below(&data.join("log"))
        .into_iter()
        .filter(is_segment)
    {
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes
            .windows(wanted.len())
            .position(|window| window == wanted);
        if let Some(at) = found {
            let at = at + wanted.len() / 2;
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&[bytes[at] ^ 16], at as u64).unwrap();
            file.sync_all().unwrap();
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

/// A figure of a node's log.
fn figure(cluster: &Cluster, node: i32, family: &str) -> Option<u64> {
    let (_, text) = get(&cluster.node(node).admin(), "/metrics")?;
    let mut words = text.lines().map(|line| line.split_once(' '));
    let found = words.find(|word| word.is_some_and(|(name, _)| name == family));
    found.flatten()?.1.parse().ok()
}

/// Waits until a node has found damage and has healed all of it; so many entries.
fn wait_healed(cluster: &Cluster, node: i32, entries: u64) {
    let what = format!("node {node} is healed");
    wait(cluster, &what, || {
        let repairs = figure(cluster, node, "walser_repairs_total")?;
        let left = figure(cluster, node, "walser_damaged_entries")?;
        (repairs >= entries && left == 0).then_some(())
    });
    let found = figure(cluster, node, "walser_damaged_entries_total");
    assert_eq!(found, Some(entries));
    let repairs = figure(cluster, node, "walser_repairs_total");
    assert_eq!(repairs, Some(entries));
    let apart = "walser_cleaner_rewritten_bytes_total{reason=\"damaged\"}";
    assert!(figure(cluster, node, apart) > Some(0), "node {node}");
}

/// Makes a node the leader and reads everything from it, whatever that takes.
fn read_all_from(cluster: &Cluster, node: i32, batches: &[Vec<u8>]) {
    let (admin, bootstrap) = (cluster.node(node).admin(), cluster.bootstrap());
    let (place, to) = (format!("{TOPIC}/0"), node.to_string());
    let mut next = 0;
    wait(cluster, "all records from one node", || {
        if leader(cluster) != node {
            let transfer = ["partition", "transfer-leader", &place, "--to", &to];
            walser(&[&transfer[..], &["--admin", &admin, "-b", &bootstrap]].concat());
        }
        let mut connection = connect(cluster, node);
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

/// Segments of 1 MiB: a few hundred records fill some.
fn small_segments() -> Options {
    Options {
        extra: vec![
            "segment.size = \"1MiB\"".to_owned(),
            "entry.max = \"256KiB\"".to_owned(),
            "message.max.bytes = \"128KiB\"".to_owned(),
        ],
        ..Options::default()
    }
}

/// A topic with so many records.
fn fill(cluster: &Cluster, batches: usize) -> Vec<Vec<u8>> {
    cluster.create_topic(TOPIC, 1, &[]);
    let batches: Vec<Vec<u8>> = (0..batches)
        .map(|at| Batch::of(&[&value(at)]).encode())
        .collect();
    let mut connection = connect(cluster, leader(cluster));
    for (at, batch) in batches.iter().enumerate() {
        let produced = requests::produce(&mut connection, TOPIC, 0, batch);
        assert_eq!(produced.unwrap(), (0, at as i64));
    }
    batches
}

/// After it nothing is in memory: what is read comes from the disk.
fn restart_all(cluster: &mut Cluster) {
    for node in 1..=cluster.nodes().len() as i32 {
        let exit = cluster.terminate(node, Duration::from_secs(40));
        assert_eq!(exit.unwrap(), Exit::Code(0));
        cluster.restart(node);
        cluster.wait_in_sync(TOPIC, 1).unwrap();
    }
}

/// X11, D1: found offline with its partition and offset; a start that meets it heals it, and what its node serves then is
/// what was written.
#[test]
fn x11_a_flipped_bit_is_found_offline_and_healed_by_a_start() {
    if is_only_for_walser(TOPIC) {
        return;
    }
    let mut cluster = Cluster::start(3, &Options::default());
    let batches = fill(&cluster, BATCHES);
    let node = leader(&cluster);
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
    wait_healed(&cluster, node, 1);
    read_all_from(&cluster, node, &batches);
    let exit = cluster.terminate(node, Duration::from_secs(40));
    assert_eq!(exit.unwrap(), Exit::Code(0));
    let (code, said) = verify(&cluster, node);
    assert_eq!(code, Some(0), "{said}");
}

/// D15, D18: a bit of one record is lost by one disk and a bit of another record by a second one, while the brokers run.
/// Consumers read everything from each of them; both disks are whole again then, and nobody did anything.
#[test]
fn d15_bits_flipped_on_two_disks_under_running_brokers_are_healed() {
    if is_only_for_walser(TOPIC) {
        return;
    }
    let mut cluster = Cluster::start(3, &small_segments());
    let batches = fill(&cluster, 240);
    restart_all(&mut cluster);
    let first = leader(&cluster);
    let second = first % 3 + 1;
    let mut files = Vec::new();
    for (node, victim) in [(first, VICTIM), (second, VICTIM + 5)] {
        files.push(flip(&cluster.node(node).data(), &value(victim)));
    }
    expect_all(&cluster, &batches);
    for node in [first, second] {
        read_all_from(&cluster, node, &batches);
        wait_healed(&cluster, node, 1);
    }
    // The files that did not keep what they were given are not used again.
    for file in &files {
        let file = file.display();
        wait(&cluster, &format!("{file} is gone"), || {
            (!Path::new(&file.to_string()).exists()).then_some(())
        });
    }
    for node in [first, second] {
        let exit = cluster.terminate(node, Duration::from_secs(40));
        assert_eq!(exit.unwrap(), Exit::Code(0));
        let (code, said) = verify(&cluster, node);
        assert_eq!(code, Some(0), "node {node}: {said}");
    }
}

/// X11: nobody has a copy. Who asks for that record hears an error, again and again; all others are read; it is counted.
#[test]
fn x11_a_damaged_record_without_a_copy_is_an_error_and_waited_for() {
    if is_only_for_walser(TOPIC) {
        return;
    }
    let mut cluster = Cluster::start(1, &small_segments());
    let batches = fill(&cluster, 240);
    restart_all(&mut cluster);
    flip(&cluster.node(1).data(), &value(VICTIM));
    let mut connection = connect(&cluster, leader(&cluster));
    for _ in 0..2 {
        for (at, batch) in batches.iter().enumerate() {
            let fetched = requests::fetch(&mut connection, TOPIC, 0, at as i64, 1);
            let (code, _, records) = fetched.unwrap();
            match code {
                0 => assert!(at != VICTIM && sent(&records) == sent(batch), "record {at}"),
                STORAGE_ERROR => assert_eq!(at, VICTIM),
                other => panic!("record {at}: error {other}"),
            }
        }
        wait(&cluster, "it is known what is damaged", || {
            (figure(&cluster, 1, "walser_damaged_entries")? == 1).then_some(())
        });
    }
    assert_eq!(figure(&cluster, 1, "walser_repairs_total"), Some(0));
    let status = get(&cluster.node(1).admin(), "/status").unwrap().1;
    assert_eq!(status.matches("\"damaged\":true").count(), 1, "{status}");
}
