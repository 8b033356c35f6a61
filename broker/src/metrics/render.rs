//! The text that Prometheus reads.
//!
//! Families that have no labels, or labels that are known beforehand, are there from the start with value 0.

mod broker;
mod consumers;
mod families;
mod raft;
mod snapshots;

use prometheus::{Encoder, TextEncoder};

use super::NodeMetrics;
use families::Families;

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All families as text.
///
/// # Errors
/// The library refuses a family: a defect here.
pub fn render(metrics: &NodeMetrics) -> Result<Vec<u8>, prometheus::Error> {
    let mut families = Families::default();
    broker::write(metrics, &mut families);
    raft::write(metrics, &mut families);
    snapshots::write(metrics, &mut families);
    consumers::write(&metrics.consumers, &mut families);
    let mut text = Vec::with_capacity(64 << 10);
    TextEncoder::new().encode(&families.into_vec(), &mut text)?;
    Ok(text)
}
