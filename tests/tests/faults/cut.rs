//! Cuts of a cluster under load: no effect without its cause.
//!
//! Each writer writes one record after the other, each to the next partition, and each only when the one before it is
//! acknowledged: every record is the effect of all that the same writer wrote before.

use std::collections::btree_map::{BTreeMap, Entry};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::snapshots::{sent, walser};
use super::*;
use tests::wire::batch::Batch;
use tests::wire::{Connection, requests};

const TOPIC: &str = "chains";
const WRITERS: usize = 4;
/// Cuts that come about before the cluster is lost: more than stay.
const CUTS: usize = 5;

/// Partition and offset of each record of a writer, in the order in which it wrote them.
type Chain = Vec<(i32, i64)>;

fn start(store: &Path) -> Cluster {
    let extra = vec![
        format!("snapshot.store = \"{}\"", store.display()),
        "snapshot.max.lag = \"1h\"".to_owned(),
        "snapshot.cut.keep = 3".to_owned(),
    ];
    let options = Options {
        extra,
        ..Options::default()
    };
    Cluster::start(3, &options)
}

/// Writes on until it is told to stop. A record whose fate is unknown is written again: the copy is the one that counts.
fn write_chain(cluster: &Cluster, writer: usize, stop: &Arc<AtomicBool>) -> JoinHandle<Chain> {
    let addresses: BTreeMap<i32, String> = cluster
        .nodes()
        .iter()
        .map(|node| (node.id, node.kafka()))
        .collect();
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut connections: BTreeMap<i32, Connection> = BTreeMap::new();
        let mut leaders: BTreeMap<i32, i32> = BTreeMap::new();
        let mut chain = Chain::new();
        while !stop.load(Ordering::Relaxed) {
            let partition = (chain.len() + writer) as i32 % PARTITIONS;
            let records = record(writer, chain.len());
            let node = *leaders.entry(partition).or_insert(1);
            let answer = connect(&addresses, &mut connections, node)
                .and_then(|to| requests::produce(to, TOPIC, partition, &records).ok());
            match answer {
                Some((0, offset)) => chain.push((partition, offset)),
                Some(_) => {
                    leaders.insert(partition, node % 3 + 1);
                }
                None => {
                    connections.remove(&node);
                    leaders.insert(partition, node % 3 + 1);
                }
            }
        }
        chain
    })
}

fn record(writer: usize, at: usize) -> Vec<u8> {
    Batch::of(&[format!("{writer}:{at}").as_bytes()]).encode()
}

fn connect<'a>(
    addresses: &BTreeMap<i32, String>,
    connections: &'a mut BTreeMap<i32, Connection>,
    node: i32,
) -> Option<&'a mut Connection> {
    match connections.entry(node) {
        Entry::Occupied(there) => Some(there.into_mut()),
        Entry::Vacant(place) => {
            let made = Connection::open(&addresses[&node], Duration::from_secs(5)).ok()?;
            Some(place.insert(made))
        }
    }
}

/// The number of a cut; None when it was given up.
fn make_cut(cluster: &Cluster, node: i32) -> Option<u64> {
    let admin = cluster.node(node).admin();
    number_of(&walser(&[
        "snapshot", "cut", "--format", "json", "--admin", &admin,
    ]))
}

fn number_of(made: &std::process::Output) -> Option<u64> {
    let said: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap_or_default();
    let number = said["cuts"][0]["number"].as_u64();
    assert_eq!(number.is_some(), made.status.success(), "{made:?}");
    number
}

/// Where each partition ends in a cut, as a restore would have it.
fn ends_of(store: &Path, number: u64) -> BTreeMap<i32, i64> {
    let (store, number) = (store.to_str().unwrap(), number.to_string());
    let told = walser(&[
        "restore",
        "--from",
        store,
        "--cut",
        &number,
        "--dry-run",
        "--format",
        "json",
    ]);
    assert!(told.status.success(), "{told:?}");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let rows = told["partitions"].as_array().unwrap();
    let of_topic = rows.iter().filter(|row| row["topic"] == TOPIC);
    let end = |row: &serde_json::Value| {
        let partition = i32::try_from(row["partition"].as_i64().unwrap()).unwrap();
        (partition, row["end"].as_i64().unwrap())
    };
    of_topic.map(end).collect()
}

/// How many records of each chain a cut holds: the first ones, and no other.
fn expect_prefixes(number: u64, ends: &BTreeMap<i32, i64>, chains: &[Chain]) -> Vec<usize> {
    assert_eq!(ends.len(), PARTITIONS as usize, "cut {number}: {ends:?}");
    let is_in = |(partition, offset): &(i32, i64)| *offset < ends[partition];
    let prefix = |(writer, chain): (usize, &Chain)| {
        let held = chain.iter().take_while(|place| is_in(place)).count();
        let beyond = chain.iter().skip(held).position(is_in);
        assert_eq!(
            beyond, None,
            "cut {number}, writer {writer}: it holds {held} and a later one: an effect without its cause"
        );
        held
    };
    chains.iter().enumerate().map(prefix).collect()
}

/// Every batch of a topic as it was sent, by partition; each is one record.
fn read_all(cluster: &Cluster) -> BTreeMap<i32, Vec<Vec<u8>>> {
    let led = partitions(cluster, TOPIC);
    let batches = led.iter().map(|one| {
        let address = cluster.node(one.leader).kafka();
        let mut connection = Connection::open(&address, Duration::from_secs(10)).unwrap();
        let end = requests::list_offset(&mut connection, TOPIC, one.id, -1).unwrap();
        let mut batches = Vec::new();
        while (batches.len() as i64) < end.1 {
            let from = batches.len() as i64;
            let fetched = requests::fetch(&mut connection, TOPIC, one.id, from, 1 << 20);
            let (code, _, records) = fetched.unwrap();
            assert_eq!(code, 0);
            let mut rest = &records[..];
            while rest.len() > 12 {
                let length = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
                batches.push(sent(&rest[..length]));
                rest = &rest[length..];
            }
        }
        (one.id, batches)
    });
    batches.collect()
}

#[test]
fn a_restored_cut_holds_no_effect_without_its_cause() {
    if is_only_for_walser(TOPIC) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut old = start(&store);
    old.create_topic(TOPIC, PARTITIONS, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| write_chain(&old, writer, &stop))
        .collect();
    let mut made = Vec::new();
    let mut tries = 0;
    while made.len() < CUTS {
        tries += 1;
        assert!(tries < 60, "only {made:?} came about");
        // A broker dies while one of them is made; whatever becomes of that, the next one is as good.
        if tries == 3 {
            let (victim, _) = busiest(&partitions(&old, TOPIC));
            let admin = old.node(victim % 3 + 1).admin();
            let cutting = std::thread::spawn(move || {
                walser(&["snapshot", "cut", "--format", "json", "--admin", &admin])
            });
            old.kill(victim);
            made.extend(number_of(&cutting.join().unwrap()));
            old.restart(victim);
            old.wait_in_sync(TOPIC, PARTITIONS)
                .unwrap_or_else(|late| old.fail(&late.to_string()));
        }
        made.extend(make_cut(&old, tries % 3 + 1));
    }
    stop.store(true, Ordering::Relaxed);
    let chains: Vec<Chain> = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .collect();
    for node in 1..=3 {
        old.kill(node);
    }

    // The oldest ones are gone, and what only they needed.
    let (gone, kept) = made.split_at(CUTS - 3);
    let from = store.to_str().unwrap();
    let refused = walser(&[
        "restore",
        "--from",
        from,
        "--cut",
        &gone[0].to_string(),
        "--dry-run",
    ]);
    assert!(!refused.status.success(), "{refused:?}");
    let mut held = Vec::new();
    for number in kept {
        let ends = ends_of(&store, *number);
        held.push(expect_prefixes(*number, &ends, &chains));
    }
    let total = |held: &Vec<usize>| held.iter().sum::<usize>();
    let written: usize = chains.iter().map(Vec::len).sum();
    assert!(
        total(&held[0]) > 100 && total(&held[2]) <= written,
        "{held:?}"
    );
    assert!(
        total(&held[0]) < total(&held[1]) && total(&held[1]) < total(&held[2]),
        "{held:?}"
    );

    // One of them is restored, and read.
    let new = start(&store);
    let (number, admin) = (kept[1].to_string(), new.node(1).admin());
    let restored = walser(&[
        "restore", "--from", from, "--cut", &number, "--yes", "--admin", &admin,
    ]);
    assert!(restored.status.success(), "{restored:?}");
    let there = read_all(&new);
    for (writer, chain) in chains.iter().enumerate() {
        for (at, (partition, offset)) in chain.iter().enumerate() {
            let found = there[partition].get(*offset as usize);
            let wanted = (at < held[1][writer]).then(|| sent(&record(writer, at)));
            assert_eq!(found.cloned(), wanted, "writer {writer}, record {at}");
        }
    }
}
