//! What gzip itself can do here: the denominator of what a snapshot costs.

use crate::kafka::batches_of;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::io::Write;

/// As in a snapshot's chunks: each member on its own, at this level.
const MEMBER_BYTES: usize = 1 << 20;
const LEVEL: u32 = 1;
/// Members that are made.
const MEMBERS: usize = 64;

/// Raw bytes per second of this thread's own time, into memory: batches of one record with this payload, as the log holds
/// them, by the same library as a snapshot's.
pub(super) fn raw_bytes_per_second(payload: &[u8]) -> f64 {
    let raw = batches_of(payload, MEMBER_BYTES);
    let mut out = Vec::new();
    let began = own_seconds();
    for _ in 0..MEMBERS {
        out.clear();
        let mut encoder = GzEncoder::new(out, Compression::new(LEVEL));
        out = encoder
            .write_all(&raw)
            .and_then(|()| encoder.finish())
            .expect("writing to memory does not fail");
    }
    (MEMBERS * raw.len()) as f64 / (own_seconds() - began)
}

/// What this thread has used of a processor. Others that run meanwhile do not count.
fn own_seconds() -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}
