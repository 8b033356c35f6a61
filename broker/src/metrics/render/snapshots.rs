//! Families of the snapshot store. Without a store there are none.

// Prometheus has no other numbers than f64: what is above 2^53 is rounded.
#![allow(clippy::cast_precision_loss)]

use std::time::Duration;

use super::families::{Families, OfGroup};
use crate::metrics::NodeMetrics;
use crate::metrics::node::SnapshotMetrics;

/// Writes them.
pub fn write(metrics: &NodeMetrics, out: &mut Families) {
    let Some(snapshots) = &metrics.snapshots else {
        return;
    };
    taken(snapshots, out);
    reads(snapshots, out);
    own(snapshots, out);
    let gauges: [OfGroup; 4] = [
        (
            "walser_local_start_offset",
            "First offset in this broker's own log; what is older is in the snapshot store.",
            |g| g.local_start_offset as f64,
        ),
        (
            "walser_snapshot_next_offset",
            "First offset that the newest snapshot does not hold.",
            |g| g.snapshot_next_offset as f64,
        ),
        (
            "walser_raft_snapshot_last_index",
            "Last index that the newest snapshot sums up.",
            |g| g.snapshot_index as f64,
        ),
        (
            "walser_snapshot_lag_seconds",
            "At the leader: how long the snapshot store has lacked something of the partition.",
            |g| g.snapshot_lag_seconds,
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help).groups(&metrics.groups, value).end();
    }
}

fn taken(snapshots: &SnapshotMetrics, out: &mut Families) {
    out.gauge(
        "walser_snapshot_store_claimed",
        "1 when the store is known to be this cluster's: before, no snapshot is taken.",
    )
    .row(&[], u64::from(snapshots.claimed))
    .end();
    out.gauge(
        "walser_snapshot_damaged_objects",
        "Objects of the store that are damaged or missing and that nobody has a copy of, as far as this broker knows.",
    )
    .row(&[], snapshots.damaged)
    .end();
    let held = Duration::from_millis(snapshots.cut_hold_ms).as_secs_f64();
    out.gauge(
        "walser_snapshot_cut_hold_seconds",
        "How long the last cut that this broker made, as controller, put off what clients could see.",
    )
    .value(&[], held)
    .end();
    out.counter(
        "walser_raft_snapshots_total",
        "Snapshots taken, by what caused them.",
    )
    .each(&snapshots.taken, |family, (trigger, count)| {
        family.row(&[("trigger", trigger)], *count)
    })
    .end();
    out.histogram(
        "walser_raft_snapshot_create_seconds",
        "Seconds that a snapshot takes.",
    )
    .buckets(&[], &snapshots.seconds)
    .end();
    let counters = [
        (
            "walser_snapshot_failures_total",
            "Snapshots and tails that did not get into the store, and are tried again.",
            snapshots.failed,
        ),
        (
            "walser_snapshot_healed_objects_total",
            "Objects of the store that were damaged or missing and that this broker has made anew.",
            snapshots.healed,
        ),
        (
            "walser_snapshot_cuts_total",
            "Cuts of the whole cluster that are in the store, made by this broker as controller.",
            snapshots.cuts,
        ),
        (
            "walser_snapshot_cut_failures_total",
            "Cuts that were given up.",
            snapshots.cuts_failed,
        ),
        (
            "walser_snapshot_tails_total",
            "Tails in the store: one object each for what many partitions have changed.",
            snapshots.tails,
        ),
        (
            "walser_snapshot_tail_bytes_total",
            "Bytes of these tails in the store.",
            snapshots.tail_bytes,
        ),
        (
            "walser_snapshot_collected_total",
            "Objects that were removed from the store because nothing refers to them.",
            snapshots.collected,
        ),
        (
            "walser_snapshot_collected_bytes_total",
            "Bytes of the objects that were removed from the store.",
            snapshots.collected_bytes,
        ),
        (
            "walser_snapshot_raw_bytes_total",
            "Bytes of records that were put into chunks.",
            snapshots.raw_bytes,
        ),
        (
            "walser_snapshot_stored_bytes_total",
            "Bytes of these chunks in the store.",
            snapshots.stored_bytes,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(name, help).row(&[], value).end();
    }
}

fn reads(snapshots: &SnapshotMetrics, out: &mut Families) {
    let reads = &snapshots.reads;
    let counters = [
        (
            "walser_snapshot_cache_hits_total",
            "Parts of the store that a read found in memory.",
            reads.hits,
        ),
        (
            "walser_snapshot_cache_misses_total",
            "Parts of the store that a read had to ask for.",
            reads.misses,
        ),
        (
            "walser_snapshot_read_bytes_total",
            "Bytes that reads got from the store.",
            reads.read_bytes,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(name, help).row(&[], value).end();
    }
    out.gauge(
        "walser_snapshot_cache_bytes",
        "Memory that parts of the store take here.",
    )
    .row(&[], reads.held_bytes)
    .end();
}

fn own(snapshots: &SnapshotMetrics, out: &mut Families) {
    let Some(own) = &snapshots.own else { return };
    let gauges = [
        (
            "walser_snapshot_own_bytes",
            "Bytes of this broker's own copies, as of the last look some seconds ago.",
            own.bytes,
        ),
        (
            "walser_snapshot_own_lacking",
            "Replicas here whose log and own copies together lack something: it is fetched from other replicas.",
            own.lacking,
        ),
        (
            "walser_snapshot_own_differing",
            "Replicas here whose log differs from what was committed as a snapshot: they keep all of it.",
            own.differing,
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help).row(&[], value).end();
    }
    let counters = [
        (
            "walser_snapshot_own_differences_total",
            "Chunks made from this broker's log that had another digest than the committed one.",
            own.differences,
        ),
        (
            "walser_snapshot_own_failures_total",
            "Times that own copies could not be brought up to a snapshot; it is tried again.",
            own.failures,
        ),
        (
            "walser_snapshot_own_damaged_total",
            "Chunks of own copies that were found damaged or gone.",
            own.damaged,
        ),
        (
            "walser_snapshot_own_fetched_total",
            "Chunks that came from other replicas.",
            own.fetched,
        ),
        (
            "walser_snapshot_own_fetched_bytes_total",
            "Bytes of the chunks that came from other replicas.",
            own.fetched_bytes,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(name, help).row(&[], value).end();
    }
}
