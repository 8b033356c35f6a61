//! So many bytes into a topic, as fast as they are acknowledged.

use crate::error::{Error, Result};
use crate::generator::{self, Ack, Load};
use crate::kafka::{Topic, noise, producers};
use std::time::{Duration, Instant};

pub(super) const SIZE_BYTES: usize = 64 << 10;
const INFLIGHT: usize = 8;
const LONGEST: Duration = Duration::from_secs(3_600);

/// Fills all partitions evenly; what was acknowledged.
///
/// # Errors
/// When anything was not: then it is not known what the log holds.
pub(super) fn fill(topic: &Topic, bytes: u64) -> Result<Vec<Ack>> {
    fill_with(topic, &noise(SIZE_BYTES), bytes)
}

/// The same with records of this payload.
///
/// # Errors
/// As [`fill`].
pub(super) fn fill_with(topic: &Topic, payload: &[u8], bytes: u64) -> Result<Vec<Ack>> {
    let load = Load {
        inflight: INFLIGHT,
        rate: None,
        requests: Some(bytes / payload.len() as u64),
        warm: Duration::ZERO,
        measured: LONGEST,
    };
    let clients = producers(topic, topic.by_leader.len(), -1, payload)?;
    let outcome = generator::run(&load, Instant::now(), clients)?;
    if outcome.errors_total() > 0 {
        let (name, errors) = (&topic.name, &outcome.errors);
        return Err(Error::Cluster(format!("filling {name}: {errors:?}")));
    }
    Ok(outcome.acked)
}
