//! Replicas that are not the same: nothing notices it but who compares them.

use std::path::Path;

use broker::data_directory::DataDirectory;
use raft::types::{DirectoryId, Entry, EntryKind, GroupId, Index, NodeId, ReplicaId};
use wal::{Log, RealDisk, Record};

use super::snapshots::walser;
use super::*;
use tests::cluster::walser::get;
use tests::wait::wait_for;
use tests::wire::batch::Batch;
use tests::wire::{Connection, requests};

const TOPIC: &str = "compared";
const BATCHES: usize = 30;
/// The one that becomes another.
const VICTIM: usize = 17;
const CORRUPTION: i32 = 11;

fn leader(cluster: &Cluster) -> i32 {
    let led = cluster.wait_led_by(TOPIC, 1, failover(), |_| true);
    led.unwrap_or_else(|late| cluster.fail(&late.to_string()))[0].leader
}

/// Group and replica of the topic's partition at a node.
fn replica(cluster: &Cluster, node: i32) -> (GroupId, ReplicaId) {
    let (_, text) = get(&cluster.node(node).admin(), "/status").unwrap();
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    let groups = status["groups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["topic"] == TOPIC).unwrap();
    let number = |name: &str| group[name].as_u64().unwrap();
    (GroupId(number("group")), ReplicaId(number("replica")))
}

/// Gives a record of a stopped broker's log another value, with all checksums right.
fn plant(data: &Path, node: i32, (group, replica): (GroupId, ReplicaId), value: &[u8]) {
    let directory = DataDirectory::open(data, NodeId(node), DirectoryId(1)).unwrap();
    let identity = directory.identity();
    let identity = wal::Identity {
        cluster: identity.cluster.unwrap().0,
        node: identity.node,
        directory: identity.directory,
    };
    let config = wal::Config {
        segment_bytes: 16 << 20,
        ..wal::Config::default()
    };
    let disk = RealDisk::open(directory.log_path()).unwrap();
    let (mut log, _) = Log::open(disk, config, identity).unwrap();
    let reader = log.reader();
    let (base, last) = reader.bounds(group, replica).unwrap();
    let entries = reader
        .entries(group, replica, base.next(), last, u64::MAX)
        .unwrap();
    let holds = |entry: &Entry| {
        let is_batch = entry.kind == EntryKind::Records;
        is_batch
            && entry
                .payload
                .windows(value.len())
                .any(|window| window == value)
    };
    let at = entries.iter().position(holds).unwrap();
    let mut changed = entries[at..].to_vec();
    let mut payload = changed[0].payload.to_vec();
    let end = payload.len() - 2;
    payload[end] ^= 1;
    let crc = protocol::record_batch::crc_of(&payload);
    payload[17..21].copy_from_slice(&crc.to_be_bytes());
    changed[0].payload = payload.into();
    let from: Index = changed[0].index;
    let truncate = Record::Truncate {
        group,
        replica,
        from,
    };
    let entries = Record::Entries {
        group,
        replica,
        entries: changed,
    };
    log.write(vec![truncate, entries]).unwrap();
}

#[test]
fn a_replica_that_is_another_is_named_with_its_offsets() {
    let folder = tempfile::tempdir().unwrap();
    let extra = vec![
        format!(
            "snapshot.store = \"{}\"",
            folder.path().join("store").display()
        ),
        "snapshot.tail.size = 0".to_owned(),
        "snapshot.max.lag = \"300ms\"".to_owned(),
    ];
    let options = Options {
        extra,
        ..Options::default()
    };
    let mut cluster = Cluster::start(3, &options);
    cluster.create_topic(TOPIC, 1, &[]);
    let value = |at: usize| format!("the value of record {at:04}, and no other one").into_bytes();
    let address = cluster.node(leader(&cluster)).kafka();
    let mut connection = Connection::open(&address, Duration::from_secs(10)).unwrap();
    for at in 0..BATCHES {
        let batch = Batch::of(&[&value(at)]).encode();
        let produced = requests::produce(&mut connection, TOPIC, 0, &batch);
        assert_eq!(produced.unwrap(), (0, at as i64));
    }
    let victim = (1..=3).find(|node| *node != leader(&cluster)).unwrap();
    let other = (1..=3)
        .find(|node| ![victim, leader(&cluster)].contains(node))
        .unwrap();
    let name = format!("{TOPIC}/0");
    let verify = |cluster: &Cluster| {
        let admin = cluster.node(other).admin();
        let ended = walser(&["partition", "verify", &name, "--admin", &admin]);
        let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
        (ended.status.code(), said)
    };
    // Whoever has not heard of the last commit yet has fewer entries to compare.
    let same = || {
        let (code, said) = verify(&cluster);
        (code == Some(0) && said.contains("with store: 1 members of chunks")).then_some(said)
    };
    let said = wait_for("a snapshot", failover(), Duration::from_millis(100), same);
    let said = said.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    assert!(said.contains(&format!("with broker {victim}: ")), "{said}");

    let replica = replica(&cluster, victim);
    cluster.kill(victim);
    let (code, said) = verify(&cluster);
    assert_eq!(code, Some(CORRUPTION), "{said}");
    assert!(said.contains("it does not answer"), "{said}");
    let data = cluster.node(victim).data();
    plant(&data, victim, replica, &value(VICTIM));
    cluster.restart(victim);
    let found = || {
        // It may not know yet that this is committed.
        let (code, said) = verify(&cluster);
        let offsets = format!("{VICTIM}..{}", VICTIM + 1);
        let row = said
            .lines()
            .find(|line| line.contains("it is not what the leader has"));
        let row = row.filter(|row| row.contains(&offsets) && code == Some(CORRUPTION));
        row.map(str::to_owned)
    };
    let row = wait_for(
        "the difference",
        failover(),
        Duration::from_millis(100),
        found,
    );
    let row = row.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    // Who leads by now says who differs: the changed replica, or all others and the store, seen from it.
    let led_by_it = leader(&cluster) == victim;
    assert!(
        led_by_it || row.contains(&format!("broker {victim}")),
        "{row}"
    );
}
