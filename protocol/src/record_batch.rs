//! Kafka's record batch, magic 2: the unit that is kept verbatim from the producer's socket to the
//! consumer's.
//!
//! - [`BatchHeader`] is a view of the 61 bytes in front; [`total_length`] walks from batch to
//!   batch.
//! - [`validate`] decides whether a produced batch may be stored at all.
//! - [`patch`] and [`set_log_append_time`] are the only changes that are made in place.
//! - [`batches`] cuts what was fetched; [`records`] opens a batch, bounded; [`BatchBuilder`] makes
//!   one.
//!
//! The CRC-32C covers everything from the attributes on. Base offset, length, leader epoch and
//! magic lie before it, so assigning offsets leaves the producer's checksum true.

mod builder;
mod codec;
mod cursor;
mod error;
mod header;
#[cfg(feature = "codecs")]
mod lz4;
mod patch;
mod records;
#[cfg(feature = "codecs")]
mod snappy;
mod validate;

pub use builder::{BatchBuilder, NewRecord};
pub use codec::{CodecError, Compression, compress, decompress, inflated_max};
pub use error::BatchError;
pub use header::{BatchHeader, HEADER_LENGTH, LENGTH_OVERHEAD, crc_of, crc32c, total_length};
pub use patch::{patch, set_log_append_time};
pub use records::{Record, RecordHeader, Records, batches, records};
pub use validate::{Limits, Times, validate, validate_timed};
