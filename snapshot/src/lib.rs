//! Snapshots of partitions: their records as gzip chunks, manifests that say what a partition is, and the stores that
//! hold both (a folder, S3). `FORMAT.md` describes every object, for readers without this code.
//!
//! Invariants:
//!
//! - A chunk never changes and holds whole record batches, as producers sent them, each with a CRC-32C that was true
//!   when it was written.
//! - What a chunk *is* rests on its uncompressed bytes: two copies by two compressors are the same chunk.
//! - A manifest reaches everything from its log start to its next offset, without a gap and without an overlap, and
//!   names the cluster, topic, partition and incarnation that it is of. So does every chunk.
//! - A tail ([`tail`]) holds committed entries of logs, and continues manifests by their indexes alone.
//! - A cut ([`cut`]) names indexes, not manifests: whatever manifest sums a partition up to just there is the one.
//! - Which manifest is the newest follows from (incarnation, leader epoch, index), never from an object's name or time.
//! - Every byte that is read is bounded by what a manifest declared before it is inflated, and checked after.
//! - A flipped bit in any object is an error that says where, never other records.
//!
//! - What [`archive`] hands out was verified when it was read; what could not be read is an error that tells a store
//!   that cannot be asked from an object that is damaged or gone.
//! - [`collect`] is the only one that removes objects: manifests before the chunks that only they reach, nothing that is
//!   young, and nothing at all where it cannot read what has to stay.
//!
//! - [`mend`] is the only one that writes over an object: one that is damaged, with the bytes that were there.
//! - A copy of a chunk has its name only when it was verified: fetched from another replica ([`copy`]), each member was
//!   inflated and compared with the committed digest before.
//!
//! It decides nothing: when a snapshot is taken, what is committed and what may be trimmed is the broker's business.
//!
//! - A store belongs to the cluster of its last incarnation ([`owner`]); what an earlier one does is refused, or changes
//!   nothing.
//!
//! Start at [`manifest`], then [`chunk`], then [`store`]; [`archive`] is how the records are read.

pub mod archive;
mod aside;
pub mod chunk;
pub mod cluster;
pub mod collect;
pub mod copy;
pub mod cut;
pub mod digest;
pub mod inventory;
pub mod key;
pub mod left;
pub mod manifest;
mod member;
pub mod mend;
pub mod owner;
pub mod sealed;
pub mod source;
pub mod store;
pub mod tail;
#[cfg(test)]
mod testing;
pub mod verify;
