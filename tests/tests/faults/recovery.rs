//! Nodes that come back: after an orderly stop, a kill, a long absence, without their disk.

use std::time::Duration;

use super::*;
use tests::cluster::Exit;
use tests::wire::Connection;
use tests::wire::requests;

fn wait_in_sync(cluster: &Cluster, topic: &str) {
    cluster
        .wait_in_sync(topic, PARTITIONS)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
}

/// Kills a node that is not `kept`, so that every acknowledgement needs `kept`, and looks for
/// progress: `kept` really takes part.
fn expect_needed(cluster: &mut Cluster, load: &Load, kept: i32) {
    let other = kept % 3 + 1;
    cluster.kill(other);
    expect_progress(
        cluster,
        load,
        "with the returned node as half of the quorum",
    );
    cluster.restart(other);
}

#[test]
fn stopped_by_sigterm_and_rejoined() {
    let topic = "sigterm";
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    let before = partitions(&cluster, topic);
    let (leader, _) = busiest(&before);
    let exit = cluster.terminate(leader, Duration::from_secs(30));
    let orderly = match cluster.flavor() {
        Flavor::Walser => Exit::Code(0),
        Flavor::Kafka => Exit::Code(143),
    };
    assert_eq!(
        exit.unwrap_or_else(|late| cluster.fail(&late.to_string())),
        orderly
    );
    expect_reelected(&cluster, topic, &before, leader);
    expect_progress(&cluster, &load, "after an orderly stop");
    cluster.restart(leader);
    wait_in_sync(&cluster, topic);
    expect_needed(&mut cluster, &load, leader);
    wait_in_sync(&cluster, topic);
    conclude(cluster, load, topic);
}

#[test]
fn killed_follower_far_behind_catches_up() {
    let topic = "far-behind";
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    let follower = busiest(&partitions(&cluster, topic)).0 % 3 + 1;
    cluster.kill(follower);
    let missed = 250 * PARTITIONS as u64 + some();
    load.progress(missed, failover() * 2)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    cluster.restart(follower);
    wait_in_sync(&cluster, topic);
    expect_needed(&mut cluster, &load, follower);
    wait_in_sync(&cluster, topic);
    conclude(cluster, load, topic);
}

#[test]
fn rolling_restart_under_load() {
    let topic = "rolling";
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    for node in 1..=3 {
        let stopped = cluster.terminate(node, Duration::from_secs(30));
        stopped.unwrap_or_else(|late| cluster.fail(&late.to_string()));
        expect_progress(&cluster, &load, "with one node stopped");
        cluster.restart(node);
        wait_in_sync(&cluster, topic);
        expect_progress(&cluster, &load, "after it returned");
    }
    assert!(cluster.nodes().iter().all(|node| node.lives == 2));
    conclude(cluster, load, topic);
}

#[test]
fn two_of_three_die_and_return() {
    let topic = "two-die";
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    let (leader, _) = busiest(&partitions(&cluster, topic));
    let other = leader % 3 + 1;
    cluster.kill(leader);
    cluster.kill(other);
    let quiet = load.standstill(Duration::from_secs(2), failover());
    quiet.unwrap_or_else(|late| cluster.fail(&format!("acknowledged without quorum: {late}")));
    cluster.spawn(other);
    cluster.spawn(leader);
    wait_in_sync(&cluster, topic);
    expect_progress(&cluster, &load, "after both returned");
    conclude(cluster, load, topic);
}

#[test]
fn all_killed_restart_unattended() {
    let topic = "all-killed";
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    for round in 0..2 {
        (1..=3).for_each(|node| cluster.kill(node));
        assert!(
            cluster.metadata(&[topic], &[]).is_none(),
            "somebody still answers"
        );
        cluster.launch();
        wait_in_sync(&cluster, topic);
        expect_progress(&cluster, &load, &format!("after restart {round} of all"));
    }
    conclude(cluster, load, topic);
}

#[test]
fn wiped_disk_returns_as_another_identity() {
    let topic = "wiped";
    if is_only_for_walser(topic) {
        return;
    }
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    let victim = busiest(&partitions(&cluster, topic)).0;
    let before = identity(&cluster, victim);
    cluster.kill(victim);
    expect_progress(&cluster, &load, "while it is down");
    cluster.wipe(victim);
    cluster.restart(victim);
    let after = identity(&cluster, victim);
    assert_ne!(before, after, "the wiped node claims its old identity");
    wait_in_sync(&cluster, topic);
    expect_needed(&mut cluster, &load, victim);
    wait_in_sync(&cluster, topic);
    conclude(cluster, load, topic);
}

/// After kill -9 a broker applies the metadata's history anew. What it tells meanwhile must not be history.
#[test]
fn what_a_killed_broker_tells_first_is_not_its_past() {
    let topic = "first-words";
    if is_only_for_walser(topic) {
        return;
    }
    let mut cluster = three(topic);
    let mut given = std::collections::BTreeSet::new();
    for round in 0..3 {
        for node in 1..=3 {
            for _ in 0..3 {
                let mut connection = first_connection(&cluster, node);
                let (error, id) = requests::init_producer_id(&mut connection).unwrap();
                assert_eq!(error, 0, "node {node}, round {round}");
                assert!(given.insert(id), "producer id {id} was given out twice");
            }
        }
        (1..=3).for_each(|node| cluster.kill(node));
        (1..=3).for_each(|node| cluster.spawn(node));
        for node in 1..=3 {
            let mut connection = first_connection(&cluster, node);
            let metadata = requests::metadata(&mut connection, &[topic]).unwrap();
            let known = metadata.partitions(topic).len();
            assert_eq!(known, PARTITIONS as usize, "node {node}, round {round}");
        }
    }
}

/// The first connection on which a broker that comes up answers anything.
fn first_connection(cluster: &Cluster, node: i32) -> Connection {
    tests::wait::wait_for(
        "the first answer",
        failover() * 2,
        Duration::from_millis(5),
        || {
            let mut connection =
                Connection::open(&cluster.node(node).kafka(), Duration::from_secs(15)).ok()?;
            requests::api_versions(&mut connection).ok()?;
            Some(connection)
        },
    )
    .unwrap_or_else(|late| cluster.fail(&late.to_string()))
}

/// The directory UUID that a node names in its status.
fn identity(cluster: &Cluster, node: i32) -> String {
    let (status, body) = tests::cluster::walser::get(&cluster.node(node).admin(), "/status")
        .unwrap_or_else(|| cluster.fail("no answer from /status"));
    assert_eq!(status, 200, "{body}");
    let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
    find_uuid(&parsed).unwrap_or_else(|| panic!("no directory UUID in {body}"))
}

fn find_uuid(value: &serde_json::Value) -> Option<String> {
    let object = value.as_object()?;
    let named = object.iter().find(|(name, value)| {
        (name.contains("directory") || name.contains("uuid")) && value.is_string()
    });
    let named = named.and_then(|(_, value)| value.as_str().map(str::to_owned));
    named.or_else(|| object.values().find_map(find_uuid))
}
