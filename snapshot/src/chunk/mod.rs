//! A chunk: a run of record batches as independent gzip members, and an index over them as the last member.
//!
//! ```text
//! | member: whole batches, about 1 MiB raw | member | ... | index: sealed JSON |
//!                                                        ^ index_position
//! ```
//!
//! [`Writer`] makes one out of batches, a member at a time; [`Reader`] opens the index and single members. Neither
//! does I/O.

mod error;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::source::{Incarnation, Source};

pub use error::Error;
pub use reader::{Reader, check_batches};
pub use writer::{Finished, Writer};

/// The version of the format that is written.
pub const FORMAT: u32 = 1;
/// Bytes of an index that are believed: 64 GiB of raw records in members of 1 MiB.
const INDEX_BYTES_MAX: usize = 32 << 20;

/// How chunks are made. The same on all nodes: member boundaries are part of a chunk's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// A member ends with the batch that brings it to so many raw bytes. Larger members compress better, smaller ones
    /// waste less of a read in the middle.
    pub member_bytes: usize,
    /// gzip's level for records that producers did not compress.
    pub level: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            member_bytes: 1 << 20,
            level: 1,
        }
    }
}

/// What a chunk is, as manifests know it. Bytes and positions count stored bytes unless they are called raw.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Offset of its first record.
    pub first_offset: i64,
    /// First offset beyond it.
    pub next_offset: i64,
    /// The highest record timestamp in ms, -1 for none.
    pub max_timestamp: i64,
    /// Its record batches, one after the other.
    pub raw_bytes: u64,
    /// SHA-256 over the binary digests of its members: its identity.
    pub raw_sha256: Digest,
    /// Where its index begins.
    pub index_position: u64,
    /// The whole object.
    pub stored_bytes: u64,
    /// CRC-32 of the whole object: of this copy, which another compressor may have made otherwise.
    pub stored_crc32: u32,
}

impl Summary {
    /// The same of any copy: without what a compressor makes of the records.
    #[must_use]
    pub fn as_of_any(&self) -> Self {
        Self {
            index_position: 0,
            stored_bytes: 0,
            stored_crc32: 0,
            ..*self
        }
    }

    /// How long its index is in the object. None when it cannot be: no index is empty, or so long.
    #[must_use]
    pub fn index_bytes(&self) -> Option<usize> {
        let bytes = self.stored_bytes.checked_sub(self.index_position)?;
        let bytes = usize::try_from(bytes).ok()?;
        (1..=INDEX_BYTES_MAX).contains(&bytes).then_some(bytes)
    }
}

/// One member of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Offset of its first record.
    pub first_offset: i64,
    /// First offset beyond it.
    pub next_offset: i64,
    /// The highest record timestamp in ms, -1 for none.
    pub max_timestamp: i64,
    /// Where it begins in the object.
    pub position: u64,
    /// How long it is there.
    pub stored_bytes: u64,
    /// CRC-32 of it as it is stored.
    pub stored_crc32: u32,
    /// How long it is uncompressed.
    pub raw_bytes: u64,
    /// Of the uncompressed bytes.
    pub raw_sha256: Digest,
}

/// The last member of a chunk, uncompressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    source: Source,
    /// Of who wrote it.
    incarnation: Incarnation,
    members: Vec<Member>,
}
