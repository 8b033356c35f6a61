//! Partitions whose older records are in a snapshot store only: what consumers get does not change by it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::*;
use tests::cluster::walser::{binary, get};
use tests::wait::wait_for;
use tests::wire::batch::Batch;
use tests::wire::{Connection, requests};

pub const TOPIC: &str = "stored";
const PARTITION: i32 = 0;
/// Batches, far more than the segments that a log keeps at least.
pub const BATCHES: usize = 128;
/// Bytes of each.
const BATCH_BYTES: usize = 400 << 10;
/// Times of the batches in ms, and between two of them.
const FIRST_MS: i64 = 1_700_000_000_000;
/// The store is there, but not to be read.
pub const STORAGE_ERROR: i16 = 56;
/// There is no room here, or not at a majority, or there was none for too long.
const NO_ROOM: [i16; 3] = [STORAGE_ERROR, 19, 7];
/// The leader has just changed.
const NOT_LED: [i16; 3] = [5, 6, 78];

/// Values that nobody could guess, half of them compressible.
fn value(at: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (at as u64 + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut value = Vec::with_capacity(BATCH_BYTES);
    while value.len() < BATCH_BYTES {
        let word = next();
        match at % 2 {
            0 => value.extend_from_slice(&word.to_be_bytes()),
            _ => value.extend_from_slice(format!("line {word:x} of batch {at}\n").as_bytes()),
        }
    }
    value
}

/// What of a batch is the producer's: everything but the base offset and the leader epoch.
pub fn sent(batch: &[u8]) -> Vec<u8> {
    [&batch[8..12], &batch[16..]].concat()
}

pub fn connect(cluster: &Cluster, node: i32) -> Connection {
    Connection::open(&cluster.node(node).kafka(), Duration::from_secs(10)).unwrap()
}

pub fn leader(cluster: &Cluster) -> i32 {
    let led = cluster.wait_led_by(TOPIC, 1, failover(), |_| true);
    led.unwrap_or_else(|late| cluster.fail(&late.to_string()))[0].leader
}

/// One figure of the topic's partition at a node.
pub fn figure(cluster: &Cluster, node: i32, family: &str) -> Option<f64> {
    let (_, text) = get(&cluster.node(node).admin(), "/metrics")?;
    let mut rows = text.lines().filter(|line| line.starts_with(family));
    let row = rows.find(|line| line.contains(&format!("topic=\"{TOPIC}\"")))?;
    row.rsplit_once(' ')?.1.parse().ok()
}

/// The sum of a family's rows at a node.
pub fn total(cluster: &Cluster, node: i32, family: &str) -> Option<f64> {
    let (_, text) = get(&cluster.node(node).admin(), "/metrics")?;
    let rows = text.lines().filter(|line| line.starts_with(family));
    rows.map(|row| row.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// Waits until every node's own log begins later than the partition.
pub fn wait_trimmed(cluster: &Cluster) {
    let trimmed = |node: i32| {
        let start = figure(cluster, node, "walser_local_start_offset")?;
        (start >= BATCHES as f64 / 4.0).then_some(())
    };
    let all = || (1..=3).try_for_each(trimmed);
    wait_for(
        "trimmed logs",
        failover() * 4,
        Duration::from_millis(100),
        all,
    )
    .unwrap_or_else(|late| cluster.fail(&late.to_string()));
}

/// Reads everything from the leader, as a consumer does, and compares every byte.
pub fn expect_all(cluster: &Cluster, batches: &[Vec<u8>], when: &str) {
    expect_all_but(cluster, batches, &[], when);
}

/// The same where these codes may be answered for a while.
pub fn expect_all_but(cluster: &Cluster, batches: &[Vec<u8>], codes: &[i16], when: &str) {
    let mut next = 0;
    let read = || {
        let mut connection = connect(cluster, leader(cluster));
        while next < batches.len() {
            let offset = next as i64;
            let fetched = requests::fetch(&mut connection, TOPIC, PARTITION, offset, 8 << 20);
            let (code, _, records) = fetched.ok()?;
            if code != 0 {
                assert!(
                    NOT_LED.contains(&code) || codes.contains(&code),
                    "{when}: code {code} at {offset}"
                );
                return None;
            }
            let mut rest = &records[..];
            while rest.len() > 12 {
                let length = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
                let Some(batch) = rest.get(..length) else {
                    break;
                };
                let base = i64::from_be_bytes(batch[..8].try_into().unwrap());
                assert_eq!(base, next as i64, "{when}");
                assert!(
                    sent(batch) == sent(&batches[next]),
                    "{when}: batch {next} is another"
                );
                next += 1;
                rest = &rest[length..];
            }
        }
        Some(())
    };
    wait_for("all records", failover(), Duration::from_millis(50), read)
        .unwrap_or_else(|late| cluster.fail(&format!("{when}: {late}")));
}

pub fn expect_code(cluster: &Cluster, offset: i64, wanted: i16, when: &str) {
    let mut last = None;
    let answered = || {
        let mut connection = connect(cluster, leader(cluster));
        let fetched = requests::fetch(&mut connection, TOPIC, PARTITION, offset, 1 << 20);
        last = fetched.ok().map(|(code, ..)| code);
        (last == Some(wanted)).then_some(())
    };
    wait_for("that code", failover(), Duration::from_millis(50), answered)
        .unwrap_or_else(|late| cluster.fail(&format!("{when}: {late}: {last:?}")));
}

/// A batch of one record, which is its offset.
pub fn batch(at: usize) -> Vec<u8> {
    let mut batch = Batch::of(&[&value(at)]);
    batch.time = FIRST_MS + at as i64;
    batch.encode()
}

/// Goes on producing until something was removed from the store: it is looked for with each snapshot.
fn wait_collected(cluster: &Cluster, batches: &mut Vec<Vec<u8>>) {
    let collected = || {
        let figures =
            (1..=3).filter_map(|node| total(cluster, node, "walser_snapshot_collected_total"));
        if figures.sum::<f64>() > 0.0 {
            return Some(());
        }
        let next = batch(batches.len());
        let mut connection = connect(cluster, leader(cluster));
        let produced = requests::produce(&mut connection, TOPIC, PARTITION, &next);
        assert_eq!(produced.unwrap(), (0, batches.len() as i64));
        batches.push(next);
        None
    };
    wait_for(
        "a collection",
        failover(),
        Duration::from_millis(250),
        collected,
    )
    .unwrap_or_else(|late| cluster.fail(&late.to_string()));
}

/// A cluster whose logs keep little of what the store holds.
pub fn options(store: &Path) -> Options {
    let extra = [
        format!("snapshot.store = \"{}\"", store.display()),
        "snapshot.max.lag = \"200ms\"".to_owned(),
        "snapshot.size = \"4MiB\"".to_owned(),
        // Every partition by itself: logs are cut behind snapshots, not behind tails.
        "snapshot.tail.size = 0".to_owned(),
        "snapshot.cache.size = \"1MiB\"".to_owned(),
        "snapshot.keep = 1".to_owned(),
        "snapshot.grace = \"1s\"".to_owned(),
        "retention.check.interval = \"500ms\"".to_owned(),
        "tail.cache.size = \"1MiB\"".to_owned(),
    ];
    Options {
        extra: extra.to_vec(),
        ..Options::default()
    }
}

/// Produces everything to a cluster.
pub fn fill(cluster: &Cluster) -> Vec<Vec<u8>> {
    let configs = [("local.retention.bytes", "1"), ("retention.ms", "-1")];
    cluster.create_topic(TOPIC, 1, &configs);
    let mut connection = connect(cluster, leader(cluster));
    let batches: Vec<Vec<u8>> = (0..BATCHES).map(batch).collect();
    for (at, batch) in batches.iter().enumerate() {
        let produced = requests::produce(&mut connection, TOPIC, PARTITION, batch);
        assert_eq!(produced.unwrap(), (0, at as i64));
    }
    batches
}

/// The command line, as a person uses it.
pub fn walser(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    // It takes its configuration from such variables; this one is the harness's own.
    command.env_remove("WALSER_BIN").args(arguments);
    command.output().unwrap()
}

pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let below = paths.flat_map(|path| match path.is_dir() {
        true => files_below(&path),
        false => vec![path],
    });
    below.collect()
}

/// `bucket verify` finds nothing, and after one bit of a chunk was flipped it says which.
fn expect_verified(store: &Path) {
    let url = store.to_str().unwrap();
    let sound = walser(&["bucket", "verify", url]);
    let said = String::from_utf8_lossy(&sound.stdout).into_owned();
    assert_eq!(sound.status.code(), Some(0), "{said}");
    let is_chunk = |path: &PathBuf| path.to_str().unwrap().ends_with(".gz");
    let chunk = files_below(store).into_iter().find(is_chunk).unwrap();
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&chunk, bytes).unwrap();
    let damaged = walser(&["bucket", "verify", url]);
    assert_eq!(damaged.status.code(), Some(11));
    let said = String::from_utf8_lossy(&damaged.stdout).into_owned();
    let name = chunk.strip_prefix(store).unwrap().to_str().unwrap();
    assert!(said.contains(name), "{name}: {said}");
}

#[test]
fn what_only_the_store_holds_is_read_like_everything() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut cluster = Cluster::start(3, &options(&store));
    let mut batches = fill(&cluster);
    wait_trimmed(&cluster);
    expect_all(&cluster, &batches, "after the trim");

    // What later snapshots replaced is removed once it is old enough, and nothing else, as is seen from here on.
    wait_collected(&cluster, &mut batches);
    expect_all(&cluster, &batches, "after a collection");
    let by_time = |at: usize| {
        let mut connection = connect(&cluster, leader(&cluster));
        let time = FIRST_MS + at as i64;
        requests::list_offset(&mut connection, TOPIC, PARTITION, time).unwrap()
    };
    for at in [0, 1, BATCHES / 8, BATCHES - 1] {
        assert_eq!(by_time(at), (0, at as i64), "by time");
    }

    // Its successor reads what another one wrote.
    let first = leader(&cluster);
    cluster.kill(first);
    let moved = cluster.wait_led_by(TOPIC, 1, failover(), |node| node != first);
    moved.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    expect_all(&cluster, &batches, "after the leader's death");

    // Not there is not gone: consumers wait, none is sent elsewhere.
    let away = folder.path().join("away");
    std::fs::rename(&store, &away).unwrap();
    expect_code(&cluster, 0, STORAGE_ERROR, "without the store");
    std::fs::rename(&away, &store).unwrap();
    expect_all(&cluster, &batches, "with the store again");
    expect_code(&cluster, batches.len() as i64 + 1, 1, "beyond the end");

    cluster.restart(first);
    for node in 1..=3 {
        cluster.kill(node);
    }
    for node in 1..=3 {
        cluster.spawn(node);
    }
    for node in 1..=3 {
        cluster
            .wait_ready(node)
            .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    }
    expect_all(&cluster, &batches, "after all were killed");

    let admin = cluster.node(first).admin();
    let name = format!("{TOPIC}/{PARTITION}");
    let created = walser(&["snapshot", "create", &name, "--admin", &admin]);
    let said = String::from_utf8_lossy(&created.stdout).into_owned();
    assert!(created.status.success(), "{created:?}");
    assert!(said.contains(&batches.len().to_string()), "{said}");
    expect_verified(&store);
}

/// The same path on three machines, which nobody has shared.
#[test]
fn what_another_broker_alone_has_stored_is_not_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut cluster = Cluster::prepare(3, Flavor::Walser, &options(&store));
    for node in cluster.nodes() {
        let file = node.folder.join("walser.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let own = format!("{}-{}", store.display(), node.id);
        std::fs::write(&file, text.replace(store.to_str().unwrap(), &own)).unwrap();
    }
    cluster.launch();
    let batches = fill(&cluster);
    let first = leader(&cluster);
    let start = |node: i32| figure(&cluster, node, "walser_local_start_offset");
    let trimmed = || (start(first)? >= BATCHES as f64 / 4.0).then_some(());
    wait_for(
        "a trimmed log",
        failover() * 4,
        Duration::from_millis(100),
        trimmed,
    )
    .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    for node in (1..=3).filter(|node| *node != first) {
        assert_eq!(start(node), Some(0.0), "broker {node} keeps everything");
    }
    // So nothing is lost with the broker that had it.
    cluster.kill(first);
    let moved = cluster.wait_led_by(TOPIC, 1, failover(), |node| node != first);
    moved.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    expect_all(&cluster, &batches, "after the death of who had stored it");
}

/// More than the log may take is produced to a topic that asks to keep everything: it waits for room at most, since a snapshot
/// frees what it holds.
fn fill_beyond_the_log(store: &str) {
    let extra = [
        format!("snapshot.store = \"{store}\""),
        "log.max = \"32MiB\"".to_owned(),
        "segment.size = \"4MiB\"".to_owned(),
        "entry.max = \"1MiB\"".to_owned(),
        "spares.size = \"8MiB\"".to_owned(),
        "unsorted.max = \"8MiB\"".to_owned(),
        "message.max.bytes = \"1MiB\"".to_owned(),
        // For lack of space, and for nothing else.
        "snapshot.max.lag = \"1h\"".to_owned(),
        "snapshot.size = \"1GiB\"".to_owned(),
        "snapshot.tail.size = 0".to_owned(),
        "tail.cache.size = \"1MiB\"".to_owned(),
    ];
    let options = Options {
        extra: extra.to_vec(),
        ..Options::default()
    };
    let mut cluster = Cluster::start(3, &options);
    cluster.create_topic(TOPIC, 1, &[("retention.ms", "-1")]);
    let mut connection = connect(&cluster, leader(&cluster));
    let (code, producer) = requests::init_producer_id(&mut connection).unwrap();
    assert_eq!(code, 0, "a producer id");
    let numbered = |at: usize| {
        let mut batch = Batch::of(&[&value(at)]);
        (batch.producer_id, batch.producer_epoch) = (producer, 0);
        batch.base_sequence = at as i32;
        batch.encode()
    };
    let batches: Vec<Vec<u8>> = (0..BATCHES).map(numbered).collect();
    for (at, batch) in batches.iter().enumerate() {
        // It waits and tries again, as every producer does, until there is room.
        let produce = || match requests::produce(&mut connection, TOPIC, PARTITION, batch) {
            Ok((code, _)) if NO_ROOM.contains(&code) => None,
            Ok(produced) if !NOT_LED.contains(&produced.0) => Some(produced),
            Ok(_) | Err(_) => {
                connection = connect(&cluster, leader(&cluster));
                None
            }
        };
        let produced = wait_for("room", failover() * 4, Duration::from_millis(50), produce);
        let produced = produced.unwrap_or_else(|late| cluster.fail(&late.to_string()));
        assert_eq!(produced, (0, at as i64));
    }
    for node in 1..=3 {
        let starts = || figure(&cluster, node, "walser_local_start_offset").filter(|at| *at > 0.0);
        wait_for(
            "a trimmed log",
            failover() * 4,
            Duration::from_millis(100),
            starts,
        )
        .unwrap_or_else(|late| cluster.fail(&format!("broker {node}: {late}")));
    }
    let taken = "walser_raft_snapshots_total{trigger=\"space\"}";
    let taken = (1..=3).filter_map(|node| total(&cluster, node, taken));
    assert!(taken.sum::<f64>() > 0.0, "snapshots for lack of space");
    expect_all(&cluster, &batches, "beyond what the log may take");
    for node in 1..=3 {
        cluster.kill(node);
    }
    for node in 1..=3 {
        cluster.spawn(node);
    }
    let settling = [STORAGE_ERROR];
    expect_all_but(&cluster, &batches, &settling, "after all were killed");
}

#[test]
fn a_log_that_gets_full_gives_up_what_the_store_holds() {
    let folder = tempfile::tempdir().unwrap();
    fill_beyond_the_log(folder.path().join("store").to_str().unwrap());
}

#[test]
fn a_log_that_gets_full_gives_up_what_own_copies_hold() {
    fill_beyond_the_log("local");
}
