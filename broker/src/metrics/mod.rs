//! What is counted, and how Prometheus reads it.
//!
//! On the broker's thread counters are plain cells; nothing is locked and nothing allocates. A scrape copies them into
//! [`node::NodeMetrics`], plain data, which the HTTP thread renders ([`render`]).

pub mod histogram;
pub mod messages;
pub mod node;
pub mod render;
pub mod requests;
#[cfg(test)]
mod tests;

pub use histogram::{Histogram, Reading};
pub use node::NodeMetrics;
