//! `walser bench groups` against real brokers: every cell is measured, and the coordinator that it kills is dead.

use super::*;
use std::process::Command;
use tests::cluster::Node;
use tests::cluster::walser::binary;

#[test]
fn groups_are_measured_up_to_the_death_of_their_coordinator() {
    let topic = "bench";
    if is_only_for_walser(topic) {
        return;
    }
    let cluster = three(topic);
    let pid = |node: &Node| node.process.as_ref().expect("it runs").pid();
    let nodes = cluster.nodes().iter();
    let processes: Vec<String> = nodes.map(|n| format!("{}={}", n.kafka(), pid(n))).collect();
    let output = Command::new(binary())
        .args([
            "bench",
            "groups",
            "--json",
            "--members",
            "3",
            "--repeats",
            "1",
        ])
        .args(["--seconds", "1", "-b", &cluster.bootstrap()])
        .arg(format!("--kill={}", processes.join(",")))
        .output()
        .expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let rows: Vec<serde_json::Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a row is JSON"))
        .collect();
    let names: Vec<&str> = rows.iter().filter_map(|row| row["cell"].as_str()).collect();
    assert_eq!(
        names,
        [
            "join-1",
            "join-3",
            "rebalance-3-join",
            "rebalance-3-leave",
            "commit-x1",
            "commit-x32",
            "coordinator-killed"
        ]
    );
    for row in &rows {
        assert!(row["count"].as_u64() > Some(0), "{row}");
        assert!(row["took_ms"]["p50"].as_f64() > Some(0.0), "{row}");
    }
    let answers = |node: &&Node| std::net::TcpStream::connect(node.kafka()).is_ok();
    let alive = cluster.nodes().iter().filter(answers).count();
    assert_eq!(alive, 2, "one coordinator was killed");
}

/// Every trial once and tiny, on the cluster that the suite starts. What the figures are is nobody's business here; that
/// there are some, that brokers synced for them and that what was acknowledged is there, is.
#[test]
fn the_suite_fills_stops_and_kills_a_cluster_of_its_own() {
    if is_only_for_walser("bench") {
        return;
    }
    let output = Command::new(binary())
        .args(["bench", "--tiny", "--json", "--cells"])
        .arg("1k-x1,saturation,end-to-end,fetch-warm,fetch-cold,catch-up,planned-move,failover,restart,idle,snapshot,hang")
        .args(["--dir", env!("CARGO_TARGET_TMPDIR")])
        .output()
        .expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr);
    // 13: a row is void, because it was late, say. That is a matter of this machine.
    assert!(matches!(output.status.code(), Some(0 | 13)), "{said}");
    let rows: Vec<serde_json::Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a row is JSON"))
        .filter(|row: &serde_json::Value| row["schema"] != "walser.bench.machine/1")
        .collect();
    let names: Vec<&str> = rows.iter().filter_map(|row| row["cell"].as_str()).collect();
    assert_eq!(
        names,
        [
            "1k-x1",
            "load-25%",
            "load-50%",
            "load-75%",
            "load-90%",
            "end-to-end",
            "fetch-warm",
            "fetch-cold",
            "catch-up",
            "planned-move",
            "failover",
            "restart-clean-1MiB",
            "restart-kill-1MiB",
            "idle-1",
            "idle-20",
            "snapshot",
            "restore-read",
            "hang"
        ],
        "{said}"
    );
    for row in &rows {
        let is_idle = row["cell"]
            .as_str()
            .is_some_and(|cell| cell.starts_with("idle"));
        assert!(is_idle || row["acked"].as_u64() > Some(0), "{row}");
        assert!(
            is_idle || row["read_back"]["acked"].as_u64() > Some(0),
            "{row}"
        );
        let back = &row["read_back"];
        assert_eq!(back["found"], back["acked"], "{row}");
        let is_trial = row["schema"] == "walser.bench.trial/1";
        assert!(!is_trial || row["count"].as_u64() > Some(0), "{row}");
        assert!(
            !is_trial || is_idle || row["fsyncs"].as_u64() > Some(0),
            "{row}"
        );
    }
    the_store_was_filled_and_read(&rows);
}

/// What went into the store is more than the payload of the tiny case, the logs hold less afterwards, and it was the store that
/// was read.
fn the_store_was_filled_and_read(rows: &[serde_json::Value]) {
    let of_cell = |cell: &str| {
        let found = rows.iter().find(|row| row["cell"] == cell);
        found.unwrap_or_else(|| panic!("no row {cell}"))
    };
    let (taken, read) = (of_cell("snapshot"), of_cell("restore-read"));
    let store = &taken["store"];
    assert!(store["store_bytes"].as_u64() > taken["log_bytes"].as_u64());
    let live = |at: usize| store["live_bytes"][at].as_u64().expect("live bytes");
    assert!(live(1) < live(0), "{taken}");
    assert!(store["saved"].as_f64() > Some(0.0), "{taken}");
    assert!(read["log_bytes"].as_u64() > Some(0), "{read}");
    assert!(read["store"]["store_bytes"].as_u64() > Some(0), "{read}");
    assert!(read["bytes_per_second"].as_f64() > Some(0.0), "{read}");
}
