//! Families of the client listener, the log, the topics and the cluster.

// Prometheus has no other numbers than f64: what is above 2^53 is rounded.
#![allow(clippy::cast_precision_loss)]

use super::families::{Families, OfGroup};
use crate::metrics::NodeMetrics;
use crate::metrics::node::{ClusterMetrics, GroupMetrics, WalMetrics};
use crate::metrics::requests::Outcome;

/// Writes them.
pub fn write(metrics: &NodeMetrics, out: &mut Families) {
    listener(metrics, out);
    requests(metrics, out);
    log(&metrics.wal, out);
    log_space(&metrics.wal, out);
    if metrics.raft.events_measured {
        traffic(&metrics.groups, out);
    }
    offsets(&metrics.groups, out);
    cluster(&metrics.cluster, out);
}

fn listener(metrics: &NodeMetrics, out: &mut Families) {
    let server = &metrics.server;
    let gauge = |out: &mut Families, name, help, value| out.gauge(name, help).row(&[], value).end();
    gauge(
        out,
        "walser_connections",
        "Client connections open.",
        server.connections as u64,
    );
    gauge(
        out,
        "walser_request_memory_bytes",
        "Bytes of requests that are received or being answered.",
        server.memory_bytes as u64,
    );
    gauge(
        out,
        "walser_request_memory_capacity_bytes",
        "Bytes of request memory; sockets are not read when it is used up.",
        metrics.request_memory_capacity_bytes,
    );
    out.counter(
        "walser_connections_accepted_total",
        "Client connections accepted.",
    )
    .row(&[], server.accepted)
    .end();
    out.counter(
        "walser_connections_refused_total",
        "Client connections turned away at a limit.",
    )
    .row(&[], server.refused)
    .end();
    out.counter(
        "walser_sent_bytes_total",
        "Bytes written to client connections.",
    )
    .row(&[], server.sent_bytes)
    .end();
}

fn requests(metrics: &NodeMetrics, out: &mut Families) {
    let rows = &metrics.requests;
    out.counter(
        "walser_requests_total",
        "Requests by API and how they ended.",
    )
    .each(rows, |family, row| {
        family.each(Outcome::ALL, |family, (outcome, result)| {
            family.row(
                &[("api", row.api), ("result", result)],
                row.outcomes[outcome as usize],
            )
        })
    })
    .end();
    out.histogram(
        "walser_request_seconds",
        "From a request's dispatch until its answer is ready.",
    )
    .each(rows, |family, row| {
        family.buckets(&[("api", row.api)], &row.seconds)
    })
    .end();
    out.counter("walser_request_bytes_total", "Bytes of requests received.")
        .each(rows, |family, row| {
            family.row(&[("api", row.api)], row.received_bytes)
        })
        .end();
    out.counter("walser_response_bytes_total", "Bytes of answers made.")
        .each(rows, |family, row| {
            family.row(&[("api", row.api)], row.sent_bytes)
        })
        .end();
}

fn log(wal: &WalMetrics, out: &mut Families) {
    let counters = [
        (
            "walser_wal_fsyncs_total",
            "fdatasync calls on the log, marks and manifests included.",
            wal.fsyncs,
        ),
        (
            "walser_wal_rounds_total",
            "Commit rounds: one write, one sync.",
            wal.rounds,
        ),
        (
            "walser_wal_bytes_written_total",
            "Bytes written to the log.",
            wal.bytes_written,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(name, help).row(&[], value).end();
    }
    out.histogram(
        "walser_wal_fsync_seconds",
        "Duration of a round's write and sync.",
    )
    .buckets(&[], &wal.fsync_seconds)
    .end();
    out.histogram(
        "walser_wal_commit_round_entries",
        "Entries per commit round.",
    )
    .buckets(&[], &wal.round_entries)
    .end();
    out.histogram("walser_wal_commit_round_bytes", "Bytes per commit round.")
        .buckets(&[], &wal.round_bytes)
        .end();
    out.counter(
        "walser_corruptions_detected_total",
        "Reads of the log that met damage.",
    )
    .row(&[], wal.corruptions_detected)
    .end();
    damage(wal, out);
    background(wal, out);
}

fn damage(wal: &WalMetrics, out: &mut Families) {
    let counters = [
        (
            "walser_damaged_entries_total",
            "Entries of the log that were found damaged.",
            wal.damaged_found,
        ),
        (
            "walser_repairs_total",
            "Damaged entries that were written again from another replica's copy.",
            wal.repairs,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(name, help).row(&[], value).end();
    }
    let gauges = [
        (
            "walser_damaged_entries",
            "Entries of the log that are damaged and wait for a copy.",
            wal.damaged_entries,
        ),
        (
            "walser_damaged_segments",
            "Segment files with damage that still hold something.",
            wal.damaged_segments,
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help).row(&[], value).end();
    }
}

fn background(wal: &WalMetrics, out: &mut Families) {
    out.counter(
        "walser_cleaner_rewritten_bytes_total",
        "Bytes that the cleaner rewrote, and why.",
    )
    .row(&[("reason", "scattered")], wal.cleaner_scattered_bytes)
    .row(&[("reason", "dead")], wal.cleaner_dead_bytes)
    .row(&[("reason", "damaged")], wal.cleaner_damaged_bytes)
    .end();
    out.counter(
        "walser_cleaner_seconds_total",
        "Time that the cleaner worked.",
    )
    .value(&[], wal.cleaner_seconds)
    .end();
    out.gauge(
        "walser_wal_recovery_seconds",
        "How long the last start took to recover the log.",
    )
    .value(&[], wal.recovery_seconds)
    .end();
}

fn log_space(wal: &WalMetrics, out: &mut Families) {
    out.gauge("walser_wal_segments", "Segment files of the log.")
        .row(&[("state", "open")], wal.segments_open)
        .row(&[("state", "sealed")], wal.segments_sealed)
        .row(&[("state", "spare")], wal.segments_spare)
        .end();
    out.gauge(
        "walser_wal_spares_zeroed",
        "Spare segment files that were written from end to end before, so that a write to them is faster.",
    )
    .row(&[], wal.segments_zeroed)
    .end();
    let bytes = |segments: u64| segments * wal.segment_bytes;
    out.gauge("walser_wal_bytes", "Bytes of the log's segment files.")
        .row(&[("state", "open")], bytes(wal.segments_open))
        .row(&[("state", "sealed")], bytes(wal.segments_sealed))
        .row(&[("state", "spare")], bytes(wal.segments_spare))
        .end();
    let gauges = [
        (
            "walser_wal_limit_bytes",
            "Bytes that the log's segment files may take: log.max, or what the disk has for them.",
            wal.limit_bytes,
        ),
        (
            "walser_wal_live_bytes",
            "Bytes of the log that some group needs.",
            wal.live_bytes,
        ),
        (
            "walser_wal_dead_bytes",
            "Bytes of the log that no group needs.",
            wal.dead_bytes,
        ),
        (
            "walser_wal_unsorted_bytes",
            "Live bytes in short runs.",
            wal.unsorted_bytes,
        ),
        (
            "walser_wal_poisoned",
            "1 after a write or sync failed.",
            u64::from(wal.poisoned),
        ),
        (
            "walser_acked_not_fsynced_bytes",
            "Acknowledged bytes that are not synced.",
            wal.acked_not_fsynced_bytes,
        ),
        (
            "walser_disk_free_bytes",
            "Free bytes of the log's file system.",
            wal.disk_free_bytes,
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help).row(&[], value).end();
    }
}

fn traffic(groups: &[GroupMetrics], out: &mut Families) {
    let counters: [OfGroup; 3] = [
        ("walser_topic_in_bytes_total", "Bytes produced.", |g| {
            g.bytes_in as f64
        }),
        ("walser_topic_in_records_total", "Records produced.", |g| {
            g.records_in as f64
        }),
        ("walser_topic_out_bytes_total", "Bytes fetched.", |g| {
            g.bytes_out as f64
        }),
    ];
    for (name, help, value) in counters {
        out.counter(name, help).groups(groups, value).end();
    }
}

fn offsets(groups: &[GroupMetrics], out: &mut Families) {
    let gauges: [OfGroup; 3] = [
        (
            "walser_log_start_offset",
            "First offset still there.",
            |g| g.log_start_offset as f64,
        ),
        (
            "walser_high_watermark",
            "First offset not committed.",
            |g| g.high_watermark as f64,
        ),
        ("walser_log_end_offset", "First offset not appended.", |g| {
            g.log_end_offset as f64
        }),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help).groups(groups, value).end();
    }
}

fn cluster(cluster: &ClusterMetrics, out: &mut Families) {
    let gauges = [
        (
            "walser_active_controller",
            "1 where this node leads the metadata group.",
            u64::from(cluster.active_controller),
        ),
        (
            "walser_offline_partitions",
            "Partitions without a leader.",
            cluster.offline_partitions,
        ),
        (
            "walser_under_replicated_partitions",
            "Partitions with a voter out of sync.",
            cluster.under_replicated_partitions,
        ),
        (
            "walser_preferred_leader_imbalance",
            "Partitions led by another than their preferred leader.",
            cluster.preferred_leader_imbalance,
        ),
        (
            "walser_retention_suspended",
            "1 while nothing is deleted by its age here, because the clock was set far off.",
            u64::from(cluster.retention_suspended),
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help).row(&[], value).end();
    }
}
