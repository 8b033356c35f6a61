//! Families of Raft.

// Prometheus has no other numbers than f64: what is above 2^53 is rounded.
#![allow(clippy::cast_precision_loss)]

use super::families::{Families, OfGroup};
use crate::metrics::node::{
    FollowerMetrics, GroupMetrics, KindMetrics, NodeState, RaftMetrics, RpcMetrics,
};
use crate::metrics::{NodeMetrics, Reading};

/// Writes them.
pub fn write(metrics: &NodeMetrics, out: &mut Families) {
    let node = metrics.node_id.to_string();
    roles(&metrics.groups, &node, out);
    logs(&metrics.groups, out);
    followers(&metrics.groups, out);
    if metrics.raft.events_measured {
        totals(&metrics.raft, &node, out);
        commits(&metrics.groups, out);
        elections(&metrics.groups, out);
        membership(&metrics.groups, out);
        follower_times(&metrics.groups, out);
        kinds(&metrics.raft, out);
        rpcs(&metrics.raft.rpcs, out);
    }
}

fn roles(groups: &[GroupMetrics], node: &str, out: &mut Families) {
    let count = |state| groups.iter().filter(|group| group.state == state).count() as u64;
    let by_node: [(&'static str, &'static str, u64); 2] = [
        (
            "walser_raft_leader_count",
            "Groups that this node leads.",
            count(NodeState::Leader),
        ),
        (
            "walser_raft_follower_count",
            "Groups that this node follows.",
            count(NodeState::Follower),
        ),
    ];
    for (name, help, value) in by_node {
        out.gauge(name, help).row(&[("node_id", node)], value).end();
    }
    out.gauge(
        "walser_raft_node_state",
        "0 unknown, 1 leader, 2 candidate, 3 follower, 4 learner, 5 pre-candidate.",
    )
    .each(groups, |family, group| {
        let partition = group.partition.to_string();
        let labels = [
            ("topic", group.topic.as_str()),
            ("partition", partition.as_str()),
            ("node_id", node),
        ];
        family.row(&labels, group.state as u64)
    })
    .end();
}

fn totals(raft: &RaftMetrics, node: &str, out: &mut Families) {
    let counters = [
        (
            "walser_raft_votes_requested_total",
            "Votes and pre-votes asked for.",
            raft.votes_requested,
        ),
        (
            "walser_raft_heartbeats_total",
            "Heartbeats sent.",
            raft.heartbeats,
        ),
        (
            "walser_raft_state_changes_total",
            "Changes of role.",
            raft.state_changes,
        ),
        (
            "walser_raft_node_additions_total",
            "Nodes that joined.",
            raft.node_additions,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(name, help)
            .row(&[("node_id", node)], value)
            .end();
    }
    out.counter(
        "walser_raft_append_entries_rejected_total",
        "Appends that this node refused.",
    )
    .row(&[("reason", "stale_term")], raft.rejected_stale_term)
    .row(
        &[("reason", "log_inconsistency")],
        raft.rejected_inconsistency,
    )
    .row(&[("reason", "storage")], raft.rejected_storage)
    .end();
}

fn logs(groups: &[GroupMetrics], out: &mut Families) {
    let gauges: [OfGroup; 8] = [
        ("walser_raft_current_term", "The term.", |g| g.term as f64),
        ("walser_raft_isr_size", "Voters in sync.", |g| {
            g.in_sync as f64
        }),
        ("walser_raft_commit_index", "The commit index.", |g| {
            g.commit_index as f64
        }),
        ("walser_raft_last_applied", "The applied index.", |g| {
            g.last_applied as f64
        }),
        ("walser_raft_log_size_entries", "Entries of the log.", |g| {
            g.log_entries as f64
        }),
        ("walser_raft_log_size_bytes", "Bytes of the log.", |g| {
            g.log_bytes as f64
        }),
        ("walser_raft_cluster_size", "Voters and learners.", |g| {
            g.cluster_size as f64
        }),
        ("walser_raft_quorum_size", "Voters needed to commit.", |g| {
            g.quorum_size as f64
        }),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help).groups(groups, value).end();
    }
}

fn commits(groups: &[GroupMetrics], out: &mut Families) {
    let counters: [OfGroup; 3] = [
        ("walser_raft_commits_total", "Entries committed.", |g| {
            g.commits as f64
        }),
        (
            "walser_raft_batch_commits_total",
            "Advances of the commit index.",
            |g| g.batch_commits as f64,
        ),
        (
            "walser_raft_log_compactions_total",
            "Prefixes dropped.",
            |g| g.compactions as f64,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(name, help).groups(groups, value).end();
    }
}

fn elections(groups: &[GroupMetrics], out: &mut Families) {
    labelled(
        groups,
        "walser_raft_elections_total",
        "Elections of this node's replica, by result.",
        "result",
        &[
            ("won", |g| g.elections_won),
            ("lost", |g| g.elections_lost),
            ("timeout", |g| g.elections_timed_out),
        ],
        out,
    );
    out.gauge(
        "walser_raft_last_election_timestamp_seconds",
        "When the last election ended.",
    )
    .groups(groups, |g| g.last_election_seconds)
    .end();
    out.gauge(
        "walser_raft_votes_received",
        "Votes got in the last election.",
    )
    .groups(groups, |g| g.votes_received as f64)
    .end();
}

fn membership(groups: &[GroupMetrics], out: &mut Families) {
    labelled(
        groups,
        "walser_raft_config_changes_total",
        "Membership changes, by kind.",
        "change",
        &[
            ("add_learner", |g| g.learners_added),
            ("promote", |g| g.promotions),
            ("remove", |g| g.removals),
            ("replace", |g| g.replacements),
        ],
        out,
    );
}

type LabelledValue = (&'static str, fn(&GroupMetrics) -> u64);

fn labelled(
    groups: &[GroupMetrics],
    name: &'static str,
    help: &'static str,
    label: &str,
    values: &[LabelledValue],
    out: &mut Families,
) {
    out.counter(name, help)
        .each(groups, |family, group| {
            let partition = group.partition.to_string();
            family.each(values, |family, (text, value)| {
                let labels = [
                    ("topic", group.topic.as_str()),
                    ("partition", partition.as_str()),
                    (label, *text),
                ];
                family.row(&labels, value(group))
            })
        })
        .end();
}

type OfFollower = (&'static str, &'static str, fn(&FollowerMetrics) -> f64);

fn followers(groups: &[GroupMetrics], out: &mut Families) {
    per_follower(
        groups,
        (
            "walser_raft_follower_lag_entries",
            "Entries that a follower lacks.",
            |f| f.lag_entries as f64,
        ),
        out,
    );
    out.gauge(
        "walser_raft_max_follower_lag_entries",
        "Entries that the last follower lacks.",
    )
    .groups(groups, |g| {
        g.followers.iter().map(|f| f.lag_entries).max().unwrap_or(0) as f64
    })
    .end();
}

fn follower_times(groups: &[GroupMetrics], out: &mut Families) {
    let gauges: [OfFollower; 2] = [
        (
            "walser_raft_follower_lag_seconds",
            "How long a follower has lacked any.",
            |f| f.lag_seconds,
        ),
        (
            "walser_raft_last_heartbeat_timestamp_seconds",
            "When a follower was last heard.",
            |f| f.last_heartbeat_seconds,
        ),
    ];
    for gauge in gauges {
        per_follower(groups, gauge, out);
    }
}

fn per_follower(groups: &[GroupMetrics], (name, help, value): OfFollower, out: &mut Families) {
    out.gauge(name, help)
        .each(groups, |family, group| {
            let partition = group.partition.to_string();
            family.each(&group.followers, |family, follower| {
                let id = follower.node.to_string();
                let labels = [
                    ("topic", group.topic.as_str()),
                    ("partition", partition.as_str()),
                    ("follower_id", id.as_str()),
                ];
                family.value(&labels, value(follower))
            })
        })
        .end();
}

type OfKind = (&'static str, &'static str, fn(&KindMetrics) -> &Reading);

fn kinds(raft: &RaftMetrics, out: &mut Families) {
    let histograms: [OfKind; 6] = [
        (
            "walser_raft_election_duration_seconds",
            "Duration of elections.",
            |k| &k.election_seconds,
        ),
        (
            "walser_raft_commit_latency_seconds",
            "From propose to commit.",
            |k| &k.commit_seconds,
        ),
        (
            "walser_raft_commit_batch_size",
            "Entries per advance of the commit index.",
            |k| &k.commit_entries,
        ),
        (
            "walser_raft_command_seconds",
            "From propose to applied.",
            |k| &k.command_seconds,
        ),
        (
            "walser_leader_unavailable_seconds",
            "How long a group took no writes, per failover.",
            |k| &k.unavailable_seconds,
        ),
        (
            "walser_raft_append_entries_size_bytes",
            "Bytes of entries per append.",
            |k| &k.append_bytes,
        ),
    ];
    for (name, help, reading) in histograms {
        out.histogram(name, help)
            .buckets(&[("group", "metadata")], reading(&raft.metadata))
            .buckets(&[("group", "partition")], reading(&raft.partition))
            .end();
    }
}

fn rpcs(rows: &[RpcMetrics], out: &mut Families) {
    let each = |row: &RpcMetrics| row.node.to_string();
    out.counter(
        "walser_raft_rpcs_total",
        "Messages answered by other nodes, by result.",
    )
    .each(rows, |family, row| {
        let node = each(row);
        let labels = |result| {
            [
                ("rpc", row.rpc),
                ("target_node", node.as_str()),
                ("result", result),
            ]
        };
        family
            .row(&labels("ok"), row.ok)
            .row(&labels("refused"), row.refused)
    })
    .end();
    out.histogram("walser_raft_rpc_seconds", "From a message to its answer.")
        .each(rows, |family, row| {
            let node = each(row);
            family.buckets(
                &[("rpc", row.rpc), ("target_node", node.as_str())],
                &row.seconds,
            )
        })
        .end();
    out.counter(
        "walser_raft_rpc_errors_total",
        "Messages that got no answer, by cause.",
    )
    .each(rows, |family, row| {
        let node = each(row);
        let labels = |error| {
            [
                ("rpc", row.rpc),
                ("target_node", node.as_str()),
                ("error", error),
            ]
        };
        family
            .row(&labels("timeout"), row.timeouts)
            .row(&labels("connection_refused"), row.connection_refused)
            .row(&labels("network"), row.network)
            .row(&labels("other"), row.other)
    })
    .end();
    let appends = || rows.iter().filter(|row| row.rpc == "append");
    out.counter("walser_raft_append_entries_sent_total", "Appends sent.")
        .each(appends(), |family, row| {
            family.row(&[("target_node", each(row).as_str())], row.sent)
        })
        .end();
    out.counter(
        "walser_raft_append_entries_received_total",
        "Appends received.",
    )
    .each(appends(), |family, row| {
        family.row(&[("from_node", each(row).as_str())], row.received)
    })
    .end();
}
