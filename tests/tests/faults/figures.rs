//! Raft's figures, read over HTTP as Prometheus does: each moves for its cause.

use super::*;
use tests::cluster::walser::get;
use tests::wait::wait_until;

/// The sum of all series of a family that carry these labels.
fn sum(cluster: &Cluster, node: i32, family: &str, labels: &[&str]) -> f64 {
    let (status, text) = get(&cluster.node(node).admin(), "/metrics").unwrap_or_default();
    assert_eq!(status, 200, "node {node}");
    let of_family = text.lines().filter(|line| {
        line.strip_prefix(family)
            .is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    let mut found = None;
    for line in of_family.filter(|line| labels.iter().all(|label| line.contains(label))) {
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        found = Some(found.unwrap_or(0.0) + value);
    }
    found.unwrap_or_else(|| panic!("node {node} shows no {family} with {labels:?}"))
}

/// The same over several nodes.
fn all(cluster: &Cluster, nodes: &[i32], family: &str, labels: &[&str]) -> f64 {
    nodes
        .iter()
        .map(|node| sum(cluster, *node, family, labels))
        .sum()
}

#[test]
fn a_killed_leader_moves_the_figures_of_elections_and_messages() {
    let topic = "figures";
    if is_only_for_walser(topic) {
        return;
    }
    let mut cluster = three(topic);
    let load = flowing(&cluster, topic);
    let (leader, led) = busiest(&partitions(&cluster, topic));
    let others: Vec<i32> = (1..=3).filter(|node| *node != leader).collect();
    let group = "group=\"partition\"";
    let target = format!("target_node=\"{leader}\"");
    let of_topic = format!("topic=\"{topic}\"");

    // Before: a load that replicates, and nobody lost.
    for node in 1..=3 {
        for rpc in ["append", "heartbeat", "vote", "prevote", "snapshot"] {
            sum(
                &cluster,
                node,
                "walser_raft_rpcs_total",
                &[&format!("rpc=\"{rpc}\"")],
            );
        }
    }
    assert!(
        sum(
            &cluster,
            leader,
            "walser_raft_append_entries_sent_total",
            &[]
        ) > 0.0
    );
    assert!(
        all(
            &cluster,
            &others,
            "walser_raft_append_entries_received_total",
            &[]
        ) > 0.0
    );
    assert!(
        sum(
            &cluster,
            leader,
            "walser_raft_rpcs_total",
            &["rpc=\"append\"", "result=\"ok\""]
        ) > 0.0
    );
    assert!(
        sum(
            &cluster,
            leader,
            "walser_raft_rpc_seconds_count",
            &["rpc=\"append\""]
        ) > 0.0
    );
    assert!(
        sum(
            &cluster,
            leader,
            "walser_raft_append_entries_size_bytes_sum",
            &[group]
        ) > 0.0
    );
    assert!(
        sum(
            &cluster,
            leader,
            "walser_raft_commit_batch_size_count",
            &[group]
        ) > 0.0
    );
    let lost = |node| {
        sum(
            &cluster,
            node,
            "walser_leader_unavailable_seconds_count",
            &[group],
        )
    };
    let (lost_before, won_before) = (
        others.iter().map(|node| lost(*node)).sum::<f64>(),
        all(
            &cluster,
            &others,
            "walser_raft_elections_total",
            &[&of_topic, "result=\"won\""],
        ),
    );
    let elections = |cluster: &Cluster| {
        all(
            cluster,
            &others,
            "walser_raft_election_duration_seconds_count",
            &[group],
        )
    };
    let elections_before = elections(&cluster);
    let refused = ["error=\"connection_refused\"", &target];
    assert_eq!(
        all(&cluster, &others, "walser_raft_rpc_errors_total", &refused),
        0.0
    );

    cluster.kill(leader);
    expect_progress(&cluster, &load, "after the leader was killed");
    let moved = wait_until("every figure of a lost leader", failover(), || {
        let won = all(
            &cluster,
            &others,
            "walser_raft_elections_total",
            &[&of_topic, "result=\"won\""],
        );
        let lost = all(
            &cluster,
            &others,
            "walser_leader_unavailable_seconds_count",
            &[group],
        );
        let refused = all(&cluster, &others, "walser_raft_rpc_errors_total", &refused);
        won >= won_before + led.len() as f64
            && lost >= lost_before + led.len() as f64
            && elections(&cluster) >= elections_before + led.len() as f64
            && refused > 0.0
            && all(&cluster, &others, "walser_raft_votes_requested_total", &[]) > 0.0
    });
    moved.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    // Who leads now sees that one follower falls behind, for longer and longer.
    let behind = wait_until("a lag of seconds", failover(), || {
        let follower = [of_topic.as_str(), &format!("follower_id=\"{leader}\"")].map(str::to_owned);
        let labels: Vec<&str> = follower.iter().map(String::as_str).collect();
        others.iter().any(|node| {
            let text = get(&cluster.node(*node).admin(), "/metrics")
                .unwrap_or_default()
                .1;
            let mut lines = text.lines();
            lines.any(|line| {
                line.starts_with("walser_raft_follower_lag_seconds{")
                    && labels.iter().all(|label| line.contains(label))
                    && line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()) > Some(2.0)
            })
        })
    });
    behind.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    cluster.restart(leader);
    cluster
        .wait_in_sync(topic, PARTITIONS)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    conclude(cluster, load, topic);
}
