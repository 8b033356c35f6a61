//! A Kafka client for benchmarks: one record a request, the same bytes to any broker.

mod client;
mod fetch;
mod prime;
mod produce;
mod read_back;
mod record;
mod text;

pub(crate) use client::{Client, connect};
pub use client::{Cluster, Topic};
pub(crate) use fetch::Reader;
pub(crate) use prime::prime;
pub use produce::Produce;
pub(crate) use produce::producers;
pub(crate) use read_back::first_record;
pub use read_back::{ReadBack, read_back};
use record::single_record;
pub(crate) use record::{PAYLOAD_BYTES_MIN, batches_of, noise};
pub(crate) use text::text;

use protocol::error_code::ErrorCode;

/// What the client calls itself.
const CLIENT_ID: &str = "walser-bench";
/// How long a broker may take for one request.
const TIMEOUT_MS: i32 = 30_000;

pub(crate) fn error_name(code: i16) -> String {
    match ErrorCode::from_code(code) {
        Some(known) => known.name().into(),
        None => format!("error {code}"),
    }
}
