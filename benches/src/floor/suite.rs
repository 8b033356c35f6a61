//! The floor alone: what this machine and disk can do, and what the syncs cost it.

use super::{Floor, FloorCell};
use crate::error::Result;
use crate::generator::Load;
use crate::report::{Column, FloorFigures, json_lines, number, table};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

const LOG_BYTES: u64 = 256 << 20;
/// Payload and requests on the way.
const CELLS: [(usize, usize); 5] = [
    (1 << 10, 1),
    (1 << 10, 64),
    (16 << 10, 16),
    (64 << 10, 16),
    (1 << 20, 4),
];

/// One cell of the floor, with and without syncs in turn.
#[derive(Clone, Debug, Serialize)]
pub struct FloorRow {
    /// Shape of this object.
    pub schema: &'static str,
    /// Servers, the leader included.
    pub replication: usize,
    /// Whether each round was synced.
    pub fsync: bool,
    /// Payload of a frame.
    pub size_bytes: usize,
    /// Frames on the way.
    pub inflight: usize,
    /// What came of it.
    #[serde(flatten)]
    pub figures: FloorFigures,
}

/// Runs the cells, blocking, with progress on stderr; the logs stay in `dir` for the next time.
///
/// # Errors
/// When a file cannot be written or synced, or a socket fails.
pub fn floor_suite(dir: &Path, replication: usize, measured: Duration) -> Result<Vec<FloorRow>> {
    let mut floor = Floor::open(dir, replication, LOG_BYTES)?;
    let mut rows = Vec::new();
    for (size_bytes, inflight) in CELLS {
        for fsync in [true, false] {
            eprintln!("bench: floor, {size_bytes} bytes x {inflight}, fsync {fsync}");
            let load = Load {
                inflight,
                rate: None,
                requests: None,
                warm: measured / 4,
                measured,
            };
            let run = floor.run(&FloorCell {
                size_bytes,
                load,
                fsync,
            })?;
            rows.push(FloorRow {
                schema: "walser.bench.floor/1",
                replication,
                fsync,
                size_bytes,
                inflight,
                figures: FloorFigures::new(&run, &load),
            });
        }
    }
    Ok(rows)
}

/// The rows as one JSON object a line.
#[must_use]
pub fn floor_json_lines(rows: &[FloorRow]) -> String {
    json_lines(rows)
}

/// The rows as an aligned table.
#[must_use]
pub fn floor_table(rows: &[FloorRow]) -> String {
    table(COLUMNS, rows)
}

const COLUMNS: &[Column<FloorRow>] = &[
    ("fsync", |row| if row.fsync { "on" } else { "off" }.into()),
    ("R", |row| row.replication.to_string()),
    ("bytes", |row| row.size_bytes.to_string()),
    ("inflight", |row| row.inflight.to_string()),
    ("acks/s", |row| number(Some(row.figures.acks_per_second), 0)),
    ("MB/s", |row| {
        number(
            Some(row.figures.acks_per_second * row.size_bytes as f64 / 1e6),
            1,
        )
    }),
    ("p50 ms", |row| number(Some(row.figures.latency_ms.p50), 2)),
    ("p90", |row| number(Some(row.figures.latency_ms.p90), 2)),
    ("p99", |row| number(Some(row.figures.latency_ms.p99), 2)),
    ("p99.9", |row| number(Some(row.figures.latency_ms.p999), 2)),
    ("max", |row| number(Some(row.figures.latency_ms.max), 1)),
    ("rounds/s", |row| {
        number(Some(row.figures.rounds_per_second), 0)
    }),
];
