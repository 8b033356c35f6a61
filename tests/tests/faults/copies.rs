//! Copies of each broker's own (`snapshot.store = "local"`): logs shrink, and nothing is lost with a disk, or a bit of one.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::snapshots::{
    BATCHES, STORAGE_ERROR, TOPIC, expect_all_but, figure, files_below, fill, leader, total,
    wait_trimmed, walser,
};
use super::*;
use tests::wait::wait_for;

fn options() -> Options {
    let extra = [
        "snapshot.store = \"local\"",
        "snapshot.size = \"4MiB\"",
        "snapshot.cache.size = \"1MiB\"",
        "retention.check.interval = \"500ms\"",
        "tail.cache.size = \"1MiB\"",
    ];
    Options {
        extra: extra.map(str::to_owned).to_vec(),
        ..Options::default()
    }
}

fn folder(cluster: &Cluster, node: i32) -> PathBuf {
    cluster.node(node).data().join("snapshots")
}

fn chunks(cluster: &Cluster, node: i32) -> Vec<PathBuf> {
    let mut files = files_below(&folder(cluster, node));
    files.retain(|path| path.extension().is_some_and(|kind| kind == "gz"));
    files.sort();
    files
}

fn wait<T>(cluster: &Cluster, what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for(what, failover() * 4, Duration::from_millis(100), look)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()))
}

/// A figure of a node's own copies.
fn own(cluster: &Cluster, node: i32, family: &str) -> f64 {
    total(cluster, node, &format!("walser_snapshot_own_{family} ")).unwrap_or(-1.0)
}

fn lead(cluster: &Cluster, node: i32) {
    let (place, to) = (format!("{TOPIC}/0"), node.to_string());
    let bootstrap = cluster.bootstrap();
    wait(cluster, "the leadership", || {
        if leader(cluster) == node {
            return Some(());
        }
        let admin = cluster.node(leader(cluster)).admin();
        let transfer = ["partition", "transfer-leader", &place, "--to", &to];
        walser(&[&transfer[..], &["--admin", &admin, "-b", &bootstrap]].concat());
        None
    });
}

/// Everything is read from each node in turn.
fn read_from_each(cluster: &Cluster, batches: &[Vec<u8>], when: &str) {
    for node in 1..=3 {
        lead(cluster, node);
        let when = format!("{when}, from broker {node}");
        expect_all_but(cluster, batches, &[], &when);
    }
}

#[test]
fn own_copies_are_read_like_everything_and_mended_from_others() {
    if is_only_for_walser("own copies") {
        return;
    }
    let cluster = Cluster::start(3, &options());
    let batches = fill(&cluster);
    wait_trimmed(&cluster);
    for node in 1..=3 {
        assert!(
            !chunks(&cluster, node).is_empty(),
            "broker {node} has its own"
        );
        assert_eq!(own(&cluster, node, "differences_total"), 0.0);
        assert_eq!(
            own(&cluster, node, "fetched_total"),
            0.0,
            "each made its own"
        );
    }
    read_from_each(&cluster, &batches, "after the trim");

    // One chunk is gone, and another one has lost a bit.
    let victim = leader(&cluster);
    let files = chunks(&cluster, victim);
    assert!(files.len() >= 2, "{files:?}");
    let gone = std::fs::read(&files[0]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    let bytes = std::fs::read(&files[1]).unwrap();
    let middle = bytes.len() / 3;
    let file = std::fs::File::options()
        .write(true)
        .open(&files[1])
        .unwrap();
    file.write_all_at(&[bytes[middle] ^ 4], middle as u64)
        .unwrap();
    file.sync_all().unwrap();
    expect_all_but(&cluster, &batches, &[STORAGE_ERROR], "with a damaged copy");
    wait(&cluster, "mended copies", || {
        let damaged = own(&cluster, victim, "damaged_total") >= 2.0;
        (damaged && own(&cluster, victim, "lacking") == 0.0).then_some(())
    });
    assert!(own(&cluster, victim, "fetched_total") >= 1.0);
    assert!(std::fs::read(&files[0]).unwrap() == gone);
    assert!(std::fs::read(&files[1]).unwrap() == bytes);

    let admin = cluster.node(victim).admin();
    let cut = walser(&["snapshot", "cut", "--admin", &admin]);
    let said = String::from_utf8_lossy(&cut.stderr).into_owned();
    assert!(!cut.status.success() && said.contains("local"), "{said}");
    for node in 1..=3 {
        let own = folder(&cluster, node);
        let verified = walser(&["bucket", "verify", own.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert_eq!(verified.status.code(), Some(0), "broker {node}: {said}");
    }

    // With the topic its copies go.
    let bootstrap = cluster.bootstrap();
    let deleted = walser(&["topic", "delete", TOPIC, "--yes", "-b", &bootstrap]);
    assert!(deleted.status.success(), "{deleted:?}");
    wait(&cluster, "empty folders", || {
        (1..=3)
            .all(|node| chunks(&cluster, node).is_empty())
            .then_some(())
    });
}

/// X5: each broker in turn comes back with an empty disk. The last one that had made a record's copy itself is gone then.
#[test]
fn brokers_with_empty_disks_one_after_the_other_lose_nothing() {
    if is_only_for_walser("replaced brokers") {
        return;
    }
    let mut cluster = Cluster::start(3, &options());
    let batches = fill(&cluster);
    wait_trimmed(&cluster);
    for node in 1..=3 {
        cluster.kill(node);
        cluster.wipe(node);
        cluster.restart(node);
        // It votes again only when its folder and log hold everything.
        cluster
            .wait_in_sync(TOPIC, 1)
            .unwrap_or_else(|late| cluster.fail(&late.to_string()));
        let start = figure(&cluster, node, "walser_local_start_offset");
        assert!(
            start > Some(BATCHES as f64 / 4.0),
            "it has old records from others only: {start:?}"
        );
        assert_eq!(
            own(&cluster, node, "lacking"),
            0.0,
            "broker {node} is whole"
        );
        assert!(
            own(&cluster, node, "fetched_total") > 0.0,
            "broker {node} has fetched"
        );
    }
    read_from_each(&cluster, &batches, "after three replacements");
}
