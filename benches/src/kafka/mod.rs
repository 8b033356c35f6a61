//! A Kafka client made of raw frames: one record a request, the same bytes to any broker.

mod client;
mod produce;
mod read_back;
mod record;
mod wire;

pub(crate) use client::connect;
pub use client::{Cluster, Topic};
pub use produce::Produce;
pub use read_back::{ReadBack, read_back};
pub(crate) use record::PAYLOAD_BYTES_MIN;
