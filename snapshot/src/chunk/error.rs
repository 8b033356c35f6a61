use protocol::record_batch::BatchError;

use crate::sealed;
use crate::source::Source;

/// Why a chunk cannot be made, or is not what its manifest says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A batch cannot be a batch.
    #[error("the record batch at offset {offset} cannot be read: {why}")]
    Batch {
        /// Where it should begin.
        offset: i64,
        /// What is wrong with it.
        why: BatchError,
    },
    /// A batch's own checksum does not match.
    #[error("the record batch at offset {offset} is damaged: its CRC-32C does not match")]
    BatchDamaged {
        /// Where it begins.
        offset: i64,
    },
    /// A batch does not continue what came before it.
    #[error("a record batch begins at offset {found}, below {expected}")]
    Overlap {
        /// The first offset that may come.
        expected: i64,
        /// What came.
        found: i64,
    },
    /// A batch is of another leader than the partition says.
    #[error("the record batch at offset {offset} has leader epoch {found}, not {wanted}")]
    Epoch {
        /// Where.
        offset: i64,
        /// As the partition knows it; of a chunk in the making, the least that may follow.
        wanted: i32,
        /// Its own.
        found: i32,
    },
    /// A member's stored bytes are not what was written.
    #[error("the member with offsets {first_offset} to {next_offset} is damaged: {why}")]
    MemberDamaged {
        /// Its first offset.
        first_offset: i64,
        /// The first offset beyond it.
        next_offset: i64,
        /// What does not match.
        why: &'static str,
    },
    /// The index is not what was written.
    #[error("the index is damaged: {0}")]
    Index(#[from] sealed::Error),
    /// The index says something else than the manifest.
    #[error("the index does not agree with the manifest: {0}")]
    Disagrees(&'static str),
    /// The chunk belongs to another partition.
    #[error("it is of {found}, not of {wanted}")]
    Foreign {
        /// What was looked for.
        wanted: Box<Source>,
        /// What it says of itself.
        found: Box<Source>,
    },
    /// Written by a version that this one does not know.
    #[error("its format {0} is not known to this version")]
    Format(u32),
    /// It is not gzip, or not all of it.
    #[error("its index cannot be inflated: {0}")]
    Inflate(&'static str),
}
