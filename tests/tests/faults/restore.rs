//! A whole cluster is lost, and comes back from its snapshot store.

use std::path::Path;

use super::snapshots::{files_below, sent, walser};
use super::*;
use tests::cluster::walser::{get, unstored_ms};
use tests::wait::wait_for;
use tests::wire::batch::Batch;
use tests::wire::{Connection, groups, requests};

/// With an idempotent producer in partition 0.
const TOPIC: &str = "kept";
const EMPTY: &str = "empty";
const DELETED: &str = "deleted";
const GROUP: &str = "readers";
const RECORDS: i32 = 10;

fn connect(cluster: &Cluster, node: i32) -> Connection {
    Connection::open(&cluster.node(node).kafka(), Duration::from_secs(10)).unwrap()
}

fn leader(cluster: &Cluster, topic: &str, partitions: i32, partition: i32) -> Connection {
    let led = cluster.wait_led_by(topic, partitions, failover(), |_| true);
    let led = led.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    let it = led.iter().find(|one| one.id == partition).unwrap();
    connect(cluster, it.leader)
}

/// Snapshots are taken when the test asks for one.
fn start(store: &Path) -> Cluster {
    start_with(store, "1h")
}

fn start_with(store: &Path, lag: &str) -> Cluster {
    let extra = [
        format!("snapshot.store = \"{}\"", store.display()),
        format!("snapshot.max.lag = \"{lag}\""),
        "offsets.topic.num.partitions = 1".to_owned(),
    ];
    let extra = extra.to_vec();
    Cluster::start(
        3,
        &Options {
            extra,
            ..Options::default()
        },
    )
}

fn snapshot(cluster: &Cluster, partition: &str) {
    let admin = cluster.node(1).admin();
    let taken = walser(&["snapshot", "create", partition, "--admin", &admin]);
    assert!(taken.status.success(), "{taken:?}");
}

/// A batch; with a producer's mark where there is one.
fn batch(producer_id: i64, at: i32) -> Vec<u8> {
    let values: Vec<Vec<u8>> = (0..RECORDS)
        .map(|number| format!("value {at}.{number}").into_bytes())
        .collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let mut batch = Batch::of(&values);
    if producer_id >= 0 {
        batch.producer_id = producer_id;
        batch.producer_epoch = 0;
        batch.base_sequence = at * RECORDS;
    }
    batch.encode()
}

fn expect_batches(cluster: &Cluster, partition: i32, wanted: &[Vec<u8>]) {
    let mut connection = leader(cluster, TOPIC, 2, partition);
    let mut found = Vec::new();
    while found.len() < wanted.len() {
        let offset = found.len() as i64 * i64::from(RECORDS);
        let fetched = requests::fetch(&mut connection, TOPIC, partition, offset, 1 << 20);
        let (code, end, records) = fetched.unwrap();
        let told = wanted.len() as i64 * i64::from(RECORDS);
        assert_eq!((code, end), (0, told), "partition {partition} at {offset}");
        let mut rest = &records[..];
        while rest.len() > 12 {
            let length = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
            let base = i64::from_be_bytes(rest[..8].try_into().unwrap());
            assert_eq!(base, found.len() as i64 * i64::from(RECORDS));
            found.push(sent(&rest[..length]));
            rest = &rest[length..];
        }
    }
    let wanted: Vec<Vec<u8>> = wanted.iter().map(|batch| sent(batch)).collect();
    assert!(found == wanted, "partition {partition}: other records");
}

fn committed(cluster: &Cluster) -> i64 {
    let asked = || {
        let coordinator = cluster.coordinator(GROUP)?;
        let mut connection = connect(cluster, coordinator);
        match groups::committed(&mut connection, GROUP, TOPIC, 0).ok()? {
            (0, offset) => Some(offset),
            _ => None,
        }
    };
    wait_for(
        "a coordinator",
        failover(),
        Duration::from_millis(50),
        asked,
    )
    .unwrap_or_else(|late| cluster.fail(&late.to_string()))
}

fn commit(cluster: &Cluster, offset: i64) {
    let done = || {
        let coordinator = cluster.coordinator(GROUP)?;
        let mut connection = connect(cluster, coordinator);
        let code = groups::commit(&mut connection, GROUP, (-1, ""), (TOPIC, 0), offset);
        (code.ok()? == 0).then_some(())
    };
    wait_for("a commit", failover(), Duration::from_millis(50), done)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
}

/// Waits until the store's newest metadata knows which topics there are.
fn wait_metadata(cluster: &Cluster, store: &Path) {
    let is_known = || {
        let folder = Some(store.join("metadata")).filter(|folder| folder.is_dir());
        let mut all = files_below(&folder?);
        all.sort();
        let text = std::fs::read_to_string(all.last()?).ok()?;
        let has = |topic: &str| text.contains(&format!("\"{topic}\""));
        (has(TOPIC) && has(EMPTY) && has("__consumer_offsets") && !has(DELETED)).then_some(())
    };
    wait_for("metadata", failover(), Duration::from_millis(100), is_known)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
}

/// Waits until the store lacks nothing that is committed, and looks that it is in tails.
fn wait_stored(cluster: &Cluster, store: &Path) {
    let lacks = |node: i32| unstored_ms(&cluster.node(node).admin());
    let is_there = || ((1..=3).all(|node| lacks(node) == Some(0))).then_some(());
    wait_for("a tail", failover(), Duration::from_millis(100), is_there)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    let tails = files_below(&store.join("tails"));
    let of_life = |file: &std::path::PathBuf| file.display().to_string().contains("/00000003-");
    assert!(tails.iter().any(of_life), "{tails:?}");
}

/// Standard output of a restore that succeeds.
fn restore(store: &Path, options: &[&str]) -> String {
    let mut arguments = vec!["restore", "--from", store.to_str().unwrap()];
    arguments.extend(options);
    let restored = walser(&arguments);
    assert!(restored.status.success(), "{restored:?}");
    String::from_utf8(restored.stdout).unwrap()
}

fn restore_into(cluster: &Cluster, store: &Path) -> String {
    restore(store, &["--yes", "--admin", &cluster.node(2).admin()])
}

fn kill_all(cluster: &mut Cluster) {
    for node in 1..=3 {
        cluster.kill(node);
    }
}

/// Nobody of a cluster writes to a store that is another one's now.
fn expect_fenced(cluster: &mut Cluster) {
    for node in 1..=3 {
        cluster.spawn(node);
    }
    let problem = || {
        let (_, status) = get(&cluster.node(1).admin(), "/status")?;
        let is_told = status.contains("(incarnation 2), not to");
        is_told.then_some(())
    };
    wait_for("a refusal", failover(), Duration::from_millis(100), problem)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    let admin = cluster.node(1).admin();
    let refused = walser(&[
        "snapshot",
        "create",
        "kept/0",
        "--timeout",
        "1",
        "--admin",
        &admin,
    ]);
    assert!(!refused.status.success(), "{refused:?}");
}

#[test]
fn a_lost_cluster_comes_back_from_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut old = start(&store);
    old.create_topic(TOPIC, 2, &[("retention.ms", "-1")]);
    old.create_topic(EMPTY, 1, &[]);
    old.create_topic(DELETED, 1, &[]);
    let (code, producer) = requests::init_producer_id(&mut connect(&old, 1)).unwrap();
    assert_eq!(code, 0);
    let mut marked: Vec<Vec<u8>> = (0..31).map(|at| batch(producer, at)).collect();
    let plain: Vec<Vec<u8>> = (0..7).map(|at| batch(-1, at)).collect();
    let produce = |cluster: &Cluster, partition: i32, batch: &[u8], offset: i64| {
        let mut connection = leader(cluster, TOPIC, 2, partition);
        let answer = requests::produce(&mut connection, TOPIC, partition, batch);
        assert_eq!(answer.unwrap(), (0, offset));
    };
    for (at, batch) in marked.iter().take(30).enumerate() {
        produce(&old, 0, batch, at as i64 * i64::from(RECORDS));
    }
    for (at, batch) in plain.iter().enumerate() {
        produce(&old, 1, batch, at as i64 * i64::from(RECORDS));
    }
    let mut connection = leader(&old, DELETED, 1, 0);
    requests::produce(&mut connection, DELETED, 0, &plain[0]).unwrap();
    for partition in ["kept/0", "kept/1", "deleted/0"] {
        snapshot(&old, partition);
    }
    let bootstrap = old.bootstrap();
    let deleted = walser(&[
        "topic",
        "delete",
        DELETED,
        "--yes",
        "--bootstrap",
        &bootstrap,
    ]);
    assert!(deleted.status.success(), "{deleted:?}");
    // What only the brokers have, and what a group has read of it.
    produce(&old, 0, &marked[30], 300);
    commit(&old, 305);
    snapshot(&old, "__consumer_offsets/0");
    wait_metadata(&old, &store);
    kill_all(&mut old);
    marked.pop();

    let told = restore(&store, &["--dry-run"]);
    let back = "group readers: kept/0 goes back from 305 to 300, the end";
    assert!(
        told.contains("would restore 3 topics") && told.contains(back),
        "{told}"
    );
    let mut new = start(&store);
    let told = restore_into(&new, &store);
    assert!(
        told.contains(back) && told.contains("this is incarnation 2"),
        "{told}"
    );

    expect_batches(&new, 0, &marked);
    expect_batches(&new, 1, &plain);
    assert_eq!(committed(&new), 300);
    let mut connection = leader(&new, EMPTY, 1, 0);
    let end = requests::list_offset(&mut connection, EMPTY, 0, -1);
    assert_eq!(end.unwrap(), (0, 0));
    let there = new.metadata(&[DELETED], &[]).unwrap();
    assert!(there.partitions(DELETED).is_empty(), "{there:?}");

    // The producer goes on: what it had sent is known, what follows is taken.
    produce(&new, 0, &marked[29], 290);
    marked.push(batch(producer, 30));
    produce(&new, 0, &marked[30], 300);
    let (code, fresh) = requests::init_producer_id(&mut connect(&new, 1)).unwrap();
    assert!(code == 0 && fresh >= 1 << 32, "{code}, {fresh}");
    commit(&new, 310);
    expect_batches(&new, 0, &marked);

    // Again, as after a lost connection: nothing is done twice.
    restore_into(&new, &store);
    assert_eq!(committed(&new), 310);
    expect_fenced(&mut old);

    // And a second time, with what the restored cluster has added.
    for partition in ["kept/0", "__consumer_offsets/0"] {
        snapshot(&new, partition);
    }
    wait_metadata(&new, &store);
    kill_all(&mut new);
    let mut third = start_with(&store, "400ms");
    let told = restore_into(&third, &store);
    assert!(told.contains("this is incarnation 3"), "{told}");
    expect_batches(&third, 0, &marked);
    expect_batches(&third, 1, &plain);
    assert_eq!(committed(&third), 310);

    // A third time, with what only tails hold: nobody has taken a snapshot in this life.
    marked.push(batch(producer, 31));
    produce(&third, 0, &marked[31], 310);
    commit(&third, 320);
    wait_stored(&third, &store);
    kill_all(&mut third);
    let fourth = start(&store);
    restore_into(&fourth, &store);
    expect_batches(&fourth, 0, &marked);
    assert_eq!(committed(&fourth), 320);
    // The producer's last batch is known, and not taken twice.
    produce(&fourth, 0, &marked[31], 310);
    let sound = walser(&["bucket", "verify", store.to_str().unwrap()]);
    assert!(sound.status.success(), "{sound:?}");
}
