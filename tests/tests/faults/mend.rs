//! What the store has lost is made anew by the brokers, from what they have.

use std::path::{Path, PathBuf};

use super::snapshots::{
    batch, connect, expect_all, expect_code, files_below, fill, leader, options, total,
    wait_trimmed, walser,
};
use super::*;
use tests::wait::wait_for;
use tests::wire::requests;

const TOPIC: &str = "stored";
const STORAGE_ERROR: i16 = 56;
const CORRUPTION: i32 = 11;
/// Batches that all logs keep.
const SOME: usize = 24;

/// The objects of the store whose names have this in them, by name.
fn objects(store: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = files_below(store);
    found.retain(|path| {
        path.strip_prefix(store)
            .unwrap()
            .to_str()
            .unwrap()
            .contains(part)
    });
    found.sort();
    found
}

/// Changes bytes of an object where it lies.
fn change(path: &Path, bytes: std::ops::Range<usize>, mask: u8) {
    let mut whole = std::fs::read(path).unwrap();
    whole[bytes].iter_mut().for_each(|byte| *byte ^= mask);
    std::fs::write(path, whole).unwrap();
}

fn expect_exit(arguments: &[&str], code: i32) -> String {
    let ended = walser(arguments);
    let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

fn wait<T>(cluster: &Cluster, what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for(what, failover() * 2, Duration::from_millis(100), look)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()))
}

fn sum(cluster: &Cluster, family: &str) -> f64 {
    let nodes = (1..=3).filter_map(|node| total(cluster, node, family));
    nodes.sum()
}

/// The chunks of the newest manifest, by offset.
fn chunks(store: &Path) -> Vec<PathBuf> {
    let manifest = objects(store, "/manifests/").pop().unwrap();
    let text = std::fs::read_to_string(manifest).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let all = manifest["chunks"].as_array().unwrap().iter();
    all.map(|chunk| store.join(chunk["key"].as_str().unwrap()))
        .collect()
}

/// No log has these records any more: one bit is turned back when a consumer meets it.
#[test]
fn what_a_consumer_meets_damaged_in_the_store_is_healed() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let cluster = Cluster::start(3, &options(&store));
    let batches = fill(&cluster);
    wait_trimmed(&cluster);
    expect_all(&cluster, &batches, "after the trim");
    // Nothing new comes, so this chunk stays.
    let chunk = chunks(&store).remove(0);
    let whole = std::fs::read(&chunk).unwrap();
    change(&chunk, 1000..1001, 4);
    let url = store.to_str().unwrap();
    expect_exit(&["bucket", "verify", url], CORRUPTION);
    expect_code(&cluster, 0, STORAGE_ERROR, "with a damaged chunk");
    expect_code(&cluster, 0, 0, "with the healed one");
    assert!(std::fs::read(&chunk).unwrap() == whole, "byte for byte");
    expect_all(&cluster, &batches, "after the healing");
    expect_exit(&["bucket", "verify", url], 0);
    let aside = store
        .join("quarantine")
        .join(chunk.strip_prefix(&store).unwrap());
    assert!(aside.is_file(), "{}", aside.display());
    assert_eq!(sum(&cluster, "walser_snapshot_healed_objects_total"), 1.0);
    assert_eq!(sum(&cluster, "walser_snapshot_damaged_objects"), 0.0);

    // More than a bit: nobody has it when no older snapshot has. Consumers wait until an operator brings a copy.
    let mut older = objects(&store, "/manifests/");
    older.pop();
    older
        .iter()
        .for_each(|path| std::fs::remove_file(path).unwrap());
    change(&chunk, 1000..1100, 0xff);
    expect_code(&cluster, 0, STORAGE_ERROR, "without a copy");
    wait(&cluster, "it to be counted", || {
        (sum(&cluster, "walser_snapshot_damaged_objects") == 1.0).then_some(())
    });
    let admin = cluster.node(1).admin();
    let said = expect_exit(
        &["snapshot", "verify", "--heal", "--admin", &admin],
        CORRUPTION,
    );
    assert!(said.contains("nobody has a copy of offsets 0 to"), "{said}");
    std::fs::write(&chunk, &whole).unwrap();
    expect_all(&cluster, &batches, "after it was brought back");
    wait(&cluster, "it not to be counted", || {
        (sum(&cluster, "walser_snapshot_damaged_objects") == 0.0).then_some(())
    });
}

/// The logs have everything, and so do the brokers: whatever is lost of the store is there again.
#[test]
fn what_the_logs_have_is_healed_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut options = options(&store);
    options.extra.retain(|line| line != "snapshot.keep = 1");
    options.extra.push("snapshot.keep = 3".to_owned());
    let cluster = Cluster::start(3, &options);
    cluster.create_topic(TOPIC, 1, &[("retention.ms", "-1")]);
    let batches: Vec<Vec<u8>> = (0..SOME).map(batch).collect();
    let mut connection = connect(&cluster, leader(&cluster));
    for batch in &batches {
        let produced = requests::produce(&mut connection, TOPIC, 0, batch);
        assert_eq!(produced.unwrap().0, 0);
    }
    let admin = cluster.node(1).admin();
    let of_leader = cluster.node(leader(&cluster)).admin();
    let name = format!("{TOPIC}/0");
    expect_exit(&["snapshot", "create", &name, "--admin", &of_leader], 0);
    let verify = ["snapshot", "verify", "--admin", &admin];
    expect_exit(&verify, 0);
    let newest = chunks(&store).pop().unwrap();
    let whole = std::fs::read(&newest).unwrap();
    for lost in [false, true] {
        match lost {
            true => std::fs::remove_file(&newest).unwrap(),
            false => change(&newest, 500..700, 0x55),
        }
        let said = expect_exit(&verify, CORRUPTION);
        assert!(said.contains("--heal"), "{said}");
        let said = expect_exit(
            &["snapshot", "verify", TOPIC, "--heal", "--admin", &admin],
            0,
        );
        assert!(said.contains("healed: topics/"), "{said}");
        assert!(std::fs::read(&newest).unwrap() == whole, "byte for byte");
    }

    // The manifest: another one takes its place, where nobody has a copy. And what is of the whole cluster.
    let manifest = objects(&store, "/manifests/").pop().unwrap();
    std::fs::write(&manifest, "nothing").unwrap();
    for path in objects(&store, "metadata/") {
        change(&path, 30..31, 2);
    }
    change(&store.join("owner.json"), 20..21, 1);
    let heal = ["snapshot", "verify", "--heal", "--admin", &admin];
    wait(&cluster, "a new manifest", || {
        (walser(&heal).status.code() == Some(0)).then_some(())
    });
    let newer = objects(&store, "/manifests/").pop().unwrap();
    if newer > manifest {
        // It is not the newest one any more, and nobody needs it.
        std::fs::remove_file(&manifest).unwrap();
    }
    expect_exit(&["bucket", "verify", store.to_str().unwrap()], 0);
    expect_all(&cluster, &batches, "in the end");
}
