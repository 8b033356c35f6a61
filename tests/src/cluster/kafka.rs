//! The reference: a real Apache Kafka in KRaft mode from its own jars, which
//! `tests/clients/kafka/fetch.sh` puts into the tests' cache.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{Node, Options};
use crate::wire::{Connection, requests};

pub(super) fn configure(nodes: &[Node], options: &Options) {
    let voter = |node: &Node| format!("{}@127.0.0.1:{}", node.id, node.ports.peer);
    let voters: Vec<String> = nodes.iter().map(voter).collect();
    let copies = nodes.len().min(3);
    let in_sync = if nodes.len() < 2 { 1 } else { 2 };
    for node in nodes {
        let mut lines = vec![
            "process.roles=broker,controller".to_owned(),
            format!("node.id={}", node.id),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!(
                "listeners=PLAINTEXT://{},CONTROLLER://127.0.0.1:{}",
                node.kafka(),
                node.ports.peer
            ),
            format!("advertised.listeners=PLAINTEXT://{}", node.kafka()),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
            format!("log.dirs={}", node.data().display()),
            format!("default.replication.factor={copies}"),
            format!("min.insync.replicas={in_sync}"),
            format!("offsets.topic.replication.factor={copies}"),
            "broker.session.timeout.ms=2000".to_owned(),
            "broker.heartbeat.interval.ms=500".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            // Else what a member is to own is told some time later.
            "group.consumer.assignment.interval.ms=0".to_owned(),
            "group.consumer.assignor.offload.enable=false".to_owned(),
        ];
        // The keys that both brokers have are written the same way but for quotes and spaces.
        let plain = |line: &String| line.replace('"', "").replace(" = ", "=");
        lines.extend(options.extra.iter().map(plain));
        let file = node.folder.join("server.properties");
        std::fs::write(file, lines.join("\n") + "\n").expect("harness: cannot write a config");
        format(node);
    }
}

fn format(node: &Node) {
    let mut command = java(node);
    command
        .arg("kafka.tools.StorageTool")
        .arg("format")
        .arg("--ignore-formatted");
    command.args(["-t", "AAAAAAAAQACAAAAAAAAAAA", "-c", "server.properties"]);
    let output = command.output().expect("harness: java");
    assert!(
        output.status.success(),
        "harness: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn java(node: &Node) -> Command {
    let mut command = Command::new("java");
    let jars = cache().join("kafka/libs/*");
    command
        .args(["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-cp"])
        .arg(jars);
    command.current_dir(&node.folder);
    command
}

/// Where what is fetched for tests is kept: `WALSER_TESTS_CACHE`, or `cache` in this crate.
pub fn cache() -> PathBuf {
    match std::env::var_os("WALSER_TESTS_CACHE") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cache"),
    }
}

pub(super) fn command(node: &Node) -> Command {
    let mut command = java(node);
    command.arg("kafka.Kafka").arg("server.properties");
    command
}

pub(super) fn is_ready(node: &Node) -> bool {
    let connection = Connection::open(&node.kafka(), Duration::from_secs(1));
    connection
        .and_then(|mut broker| requests::api_versions(&mut broker))
        .is_ok()
}
