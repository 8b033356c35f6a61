//! Bytes to types and back: Kafka frames, headers, messages, record batches, error codes; the peer protocol.

pub mod api;
pub mod error_code;
pub mod frame;
pub mod header;
pub mod messages;
pub mod record_batch;
pub mod wire;
