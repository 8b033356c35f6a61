use std::time::Duration;

use protocol::api::{ApiKey, KEYS};

use super::node::{
    ConsumerGroupMetrics, ConsumerMetrics, FollowerMetrics, GroupMetrics, NodeState, RpcMetrics,
};
use super::requests::{Outcome, RequestMetrics};
use super::{Histogram, NodeMetrics, Reading, render};
use crate::coordinator::reply::GroupStateName;
use crate::lag::{Lag, Position, Time};

fn text(metrics: &NodeMetrics) -> String {
    String::from_utf8(render::render(metrics).expect("families that the library takes"))
        .expect("text")
}

/// A node that measures everything, and has seen nothing yet.
fn measured() -> NodeMetrics {
    let mut metrics = NodeMetrics::default();
    metrics.raft.events_measured = true;
    metrics
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|l| l == line)
}

#[test]
fn families_are_there_with_zero_before_their_first_event() {
    let requests = RequestMetrics::default().read();
    let text = text(&NodeMetrics {
        requests,
        ..measured()
    });
    for line in [
        "walser_wal_fsyncs_total 0",
        "walser_wal_rounds_total 0",
        "walser_wal_bytes_written_total 0",
        "walser_wal_fsync_seconds_count 0",
        "walser_wal_poisoned 0",
        "walser_corruptions_detected_total 0",
        "walser_damaged_entries_total 0",
        "walser_repairs_total 0",
        "walser_damaged_entries 0",
        "walser_damaged_segments 0",
        "walser_connections 0",
        "walser_connections_refused_total 0",
        "walser_offline_partitions 0",
        "walser_retention_suspended 0",
        "walser_cleaner_rewritten_bytes_total{reason=\"dead\"} 0",
        "walser_raft_commit_latency_seconds_count{group=\"metadata\"} 0",
        "walser_leader_unavailable_seconds_count{group=\"partition\"} 0",
        "walser_raft_append_entries_rejected_total{reason=\"stale_term\"} 0",
        "walser_requests_total{api=\"Produce\",result=\"closed\"} 0",
        "walser_request_seconds_count{api=\"Fetch\"} 0",
    ] {
        assert!(has(&text, line), "no line {line} in\n{text}");
    }
}

#[test]
fn figures_of_a_group_carry_its_labels() {
    let group = GroupMetrics {
        topic: "orders".to_owned(),
        partition: 3,
        state: NodeState::Leader,
        high_watermark: 42,
        elections_won: 2,
        followers: vec![
            FollowerMetrics {
                node: 2,
                lag_entries: 5,
                ..Default::default()
            },
            FollowerMetrics {
                node: 3,
                lag_entries: 9,
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    let mut metrics = NodeMetrics {
        node_id: 1,
        groups: vec![group],
        ..measured()
    };
    metrics.raft.rpcs.push(RpcMetrics {
        rpc: "append",
        node: 2,
        sent: 7,
        ..Default::default()
    });
    let text = text(&metrics);
    for line in [
        "walser_raft_leader_count{node_id=\"1\"} 1",
        "walser_raft_follower_count{node_id=\"1\"} 0",
        "walser_high_watermark{topic=\"orders\",partition=\"3\"} 42",
        "walser_raft_elections_total{topic=\"orders\",partition=\"3\",result=\"won\"} 2",
        "walser_raft_follower_lag_entries{topic=\"orders\",partition=\"3\",follower_id=\"2\"} 5",
        "walser_raft_max_follower_lag_entries{topic=\"orders\",partition=\"3\"} 9",
        "walser_raft_append_entries_sent_total{target_node=\"2\"} 7",
    ] {
        assert!(has(&text, line), "no line {line} in\n{text}");
    }
}

#[test]
fn a_request_moves_its_own_api_only() {
    let requests = RequestMetrics::default();
    for key in KEYS {
        requests.begin(*key, 1);
    }
    requests.begin(ApiKey::Fetch, 99);
    requests.finish(ApiKey::Fetch, Outcome::Error, Duration::from_millis(3), 500);
    for row in requests.read() {
        let is_fetch = row.api == "Fetch";
        assert_eq!(row.outcomes, [0, u64::from(is_fetch), 0], "{}", row.api);
        assert_eq!(
            row.received_bytes,
            if is_fetch { 100 } else { 1 },
            "{}",
            row.api
        );
        assert_eq!(
            row.sent_bytes,
            if is_fetch { 500 } else { 0 },
            "{}",
            row.api
        );
        assert_eq!(row.seconds.count(), u64::from(is_fetch));
    }
}

#[test]
fn a_value_falls_into_the_bucket_that_holds_its_bound() {
    let histogram = Histogram::new(&[1.0, 2.0]);
    for value in [0.5, 1.0, 1.5, 2.0, 3.0] {
        histogram.observe(value);
    }
    assert_eq!(
        histogram.read(),
        Reading {
            bounds: &[1.0, 2.0],
            counts: vec![2, 2, 1],
            sum: 8.0
        }
    );
}

#[test]
fn a_thousand_partitions_render_fast() {
    let group = |partition| GroupMetrics {
        topic: "many".to_owned(),
        partition,
        ..Default::default()
    };
    let metrics = NodeMetrics {
        groups: (0..1000).map(group).collect(),
        ..measured()
    };
    let started = std::time::Instant::now();
    let text = text(&metrics);
    assert!(
        text.lines()
            .filter(|l| l.contains("partition=\"999\""))
            .count()
            > 20
    );
    // 50 ms in a release build on an idle machine; here only a runaway is caught.
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

fn consumers(group: &str) -> ConsumerMetrics {
    let at = |end, time| {
        let first = 40;
        Some(Position { first, end, time })
    };
    let lag = |partition, position| {
        let place = ("orders".to_owned(), partition, 40);
        (group.to_owned(), Lag::new(10_000, place, position))
    };
    ConsumerMetrics {
        groups: vec![ConsumerGroupMetrics {
            name: group.to_owned(),
            state: GroupStateName::Stable,
            members: 3,
            rebalances: 4,
        }],
        lags: vec![
            lag(0, at(42, Time::At(7500))),
            lag(1, at(43, Time::Unknown)),
            lag(2, None),
        ],
        groups_left_out: 5,
        lags_left_out: 6,
    }
}

#[test]
fn groups_of_consumers_have_rows_and_what_is_unknown_has_none() {
    let text = text(&NodeMetrics {
        consumers: consumers("g"),
        ..measured()
    });
    let of = |partition| format!("group=\"g\",topic=\"orders\",partition=\"{partition}\"");
    for line in [
        format!("walser_group_lag_records{{{}}} 2", of(0)),
        format!("walser_group_lag_records{{{}}} 3", of(1)),
        format!("walser_group_lag_seconds{{{}}} 2.5", of(0)),
        "walser_group_members{group=\"g\"} 3".to_owned(),
        "walser_group_rebalances_total{group=\"g\"} 4".to_owned(),
        "walser_group_state{group=\"g\",state=\"Stable\"} 1".to_owned(),
        "walser_group_state{group=\"g\",state=\"Empty\"} 0".to_owned(),
        "walser_group_rows_left_out{of=\"groups\"} 5".to_owned(),
        "walser_group_rows_left_out{of=\"offsets\"} 6".to_owned(),
    ] {
        assert!(has(&text, &line), "no line {line} in\n{text}");
    }
    let seconds = text.lines();
    let seconds = seconds.filter(|line| line.starts_with("walser_group_lag_seconds{"));
    assert_eq!(seconds.count(), 1, "an unknown age is no age");
    assert!(!text.contains(&of(2)), "{text}");
}

#[test]
fn a_name_of_a_group_cannot_break_a_line() {
    let text = text(&NodeMetrics {
        consumers: consumers("a\"b\nc"),
        ..measured()
    });
    assert!(
        has(&text, "walser_group_members{group=\"a\\\"b\\nc\"} 3"),
        "{text}"
    );
}

#[test]
fn what_is_not_measured_is_not_shown_as_zero() {
    let group = GroupMetrics {
        topic: "orders".to_owned(),
        ..Default::default()
    };
    let text = text(&NodeMetrics {
        groups: vec![group],
        ..NodeMetrics::default()
    });
    for family in ["elections_total", "commit_latency", "in_bytes_total"] {
        assert!(!text.contains(family), "{family} in\n{text}");
    }
}
