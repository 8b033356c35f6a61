//! A tail: one object with the newest committed entries of many partitions' logs, for what no manifest holds yet. Many
//! quiet partitions cost a store as many requests as one. A restore reads it; who consumes does not: what is in a tail is
//! still in its partition's log.
//!
//! A part continues a manifest, or another part, of the same incarnation by its indexes alone: it holds committed entries
//! only, and what is committed up to an index never changes. So nobody has to say which tail is true, and whoever writes
//! one, deposed or not, writes what is true.

mod entries;
mod find;
mod writer;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::Digest;
use crate::key::{self, Key};
use crate::member;
use crate::sealed;
use crate::source::Incarnation;
use crate::store::{self, Listed, Store};

pub use entries::{Entry, RECORDS};
pub use find::{Found, Parts};
pub use writer::Writer;
pub(crate) use writer::part_of;

/// The version of the format that is written.
pub const FORMAT: u32 = 1;
/// Stored directories longer than this are not believed to be any.
const DIRECTORY_BYTES_MAX: u64 = 64 << 20;
/// The same of one that was inflated.
const DIRECTORY_RAW_MAX: usize = 512 << 20;
/// Parts longer than this, raw or stored, are not believed to be any.
const PART_BYTES_MAX: u64 = 1 << 30;

/// Which tail, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The life of the cluster that wrote it.
    pub incarnation: Incarnation,
    /// The broker that wrote it.
    pub broker: i32,
    /// When, by its clock, in ms since 1970. It decides nothing.
    pub created_ms: i64,
    /// So long is the directory, which comes first.
    pub directory_bytes: u64,
    /// CRC-32 of it as it lies there.
    pub directory_crc32: u32,
}

impl Name {
    /// Where it lies.
    #[must_use]
    pub fn key(&self) -> Key {
        key::tail(self)
    }
}

/// What a tail holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose store it is.
    pub cluster_id: String,
    /// The life of the cluster that wrote it.
    pub incarnation: Incarnation,
    /// The broker that wrote it.
    pub broker: i32,
    /// When, by its clock.
    pub created_ms: i64,
    /// One for each partition, in the order in which they lie in the object.
    pub parts: Vec<Part>,
}

/// Entries of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The first index of the partition's Raft log that it holds.
    pub first_index: u64,
    /// The last one.
    pub last_index: u64,
    /// Where it lies, from the end of the directory on.
    pub position: u64,
    /// How long it is there.
    pub stored_bytes: u64,
    /// CRC-32 of it as it lies there.
    pub stored_crc32: u32,
    /// Length of what it inflates to.
    pub raw_bytes: u64,
    /// SHA-256 of that.
    pub raw_sha256: Digest,
}

impl Part {
    /// Whether everything that another part holds is in this one.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        self.first_index <= other.first_index && self.last_index >= other.last_index
    }
}

/// Why a tail cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Its directory is damaged.
    #[error("{key}: {why}")]
    Directory {
        /// Which.
        key: Key,
        /// What is wrong.
        why: String,
    },
    /// A part of it is damaged.
    #[error("{key}: partition {partition} of topic {topic_id}: {why}")]
    Part {
        /// Which.
        key: Key,
        /// Of this topic.
        topic_id: Uuid,
        /// And partition.
        partition: i32,
        /// What is wrong.
        why: String,
    },
}

/// All tails, by name.
///
/// # Errors
/// When the store cannot be asked.
pub async fn list(store: &dyn Store) -> Result<Vec<(Name, Listed)>, store::Error> {
    let mut all = Vec::new();
    crate::inventory::each(store, key::TAILS_PREFIX, |listed| {
        if let Some(name) = key::tail_name(&listed.key) {
            all.push((name, listed));
        }
    })
    .await?;
    Ok(all)
}

impl Directory {
    /// Reads that of a tail.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn read(store: &dyn Store, name: &Name, store_id: &str) -> Result<Self, Error> {
        let key = name.key();
        let bad = |why: String| Error::Directory {
            key: key.clone(),
            why,
        };
        if name.directory_bytes > DIRECTORY_BYTES_MAX {
            return Err(bad("its directory is longer than any".to_owned()));
        }
        let length = usize::try_from(name.directory_bytes).map_err(|why| bad(why.to_string()))?;
        let stored = store.range(&key, 0, length).await?;
        Self::decode(&stored, name, store_id).map_err(bad)
    }

    /// From its stored bytes.
    pub(crate) fn decode(stored: &[u8], name: &Name, store_id: &str) -> Result<Self, String> {
        if crc32fast::hash(stored) != name.directory_crc32 {
            return Err("the CRC-32 of its directory does not match".to_owned());
        }
        let raw = member::inflate_bounded(stored, DIRECTORY_RAW_MAX)?;
        let read: Self = sealed::decode(&raw).map_err(|why| why.to_string())?;
        read.check(name, store_id)?;
        Ok(read)
    }

    fn check(&self, name: &Name, store_id: &str) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "format {} is not known to this version",
                self.format
            ));
        }
        let own = (self.incarnation, self.broker, self.created_ms);
        if own != (name.incarnation, name.broker, name.created_ms) || self.cluster_id != store_id {
            return Err("it does not say of itself what its name says".to_owned());
        }
        let mut at = 0;
        for part in &self.parts {
            let is_sized = |bytes: u64| (1..=PART_BYTES_MAX).contains(&bytes);
            let is_sound = part.position == at
                && part.first_index > 0
                && part.first_index <= part.last_index
                && is_sized(part.stored_bytes)
                && is_sized(part.raw_bytes);
            if !is_sound {
                let Part {
                    topic_id,
                    partition,
                    ..
                } = part;
                return Err(format!("what it says of {topic_id}/{partition} cannot be"));
            }
            at += part.stored_bytes;
        }
        Ok(())
    }

    /// So long is the whole object.
    #[must_use]
    pub fn object_bytes(&self, name: &Name) -> u64 {
        let parts: u64 = self.parts.iter().map(|part| part.stored_bytes).sum();
        name.directory_bytes + parts
    }
}

/// Reads a part of a tail: its entries, without a gap from its first index to its last one.
///
/// # Errors
/// See [`Error`].
pub async fn read(store: &dyn Store, name: &Name, part: &Part) -> Result<Vec<Entry>, Error> {
    let key = name.key();
    let bad = |why: String| Error::Part {
        key: key.clone(),
        topic_id: part.topic_id,
        partition: part.partition,
        why,
    };
    let length = |bytes: u64| usize::try_from(bytes).map_err(|why| bad(why.to_string()));
    let position = name.directory_bytes + part.position;
    let stored = store
        .range(&key, position, length(part.stored_bytes)?)
        .await?;
    decode(&stored, part).map_err(bad)
}

/// A part's entries, from its stored bytes.
pub(crate) fn decode(stored: &[u8], part: &Part) -> Result<Vec<Entry>, String> {
    if crc32fast::hash(stored) != part.stored_crc32 {
        return Err("its CRC-32 does not match".to_owned());
    }
    let raw_bytes = usize::try_from(part.raw_bytes).map_err(|why| why.to_string())?;
    let raw = member::inflate(stored, raw_bytes)?;
    if Digest::of(&raw) != part.raw_sha256 {
        return Err("its SHA-256 does not match".to_owned());
    }
    entries::decode(raw.into(), part.first_index, part.last_index)
}

#[cfg(test)]
mod tests;
