//! The manifest of a partition: everything that the partition is as of one index of its log.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::chunk::Summary;
use crate::digest::Digest;
use crate::key::{self, Key};
use crate::sealed;
use crate::source::{Incarnation, Source};

/// The version of the format that is written.
pub const FORMAT: u32 = 1;
/// Objects longer than this are not believed to be manifests.
pub const BYTES_MAX: usize = 256 << 20;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose it is.
    pub source: Source,
    /// The topic's name when it was written.
    pub topic: String,
    /// The life of the cluster that wrote it.
    pub incarnation: Incarnation,
    /// The epoch of the leader that made it.
    pub leader_epoch: i32,
    /// The last index of the partition's Raft log that it sums up.
    pub index: u64,
    /// The term of the entry there.
    pub term: u64,
    /// When it was made, by the leader's clock, in ms. For people: nothing is decided by it.
    pub created_ms: i64,
    /// The first offset that is not deleted.
    pub log_start: i64,
    /// The first offset that it does not hold.
    pub next_offset: i64,
    /// Leader epochs with their first offsets, rising.
    pub leader_epochs: Vec<EpochStart>,
    /// The topic's configs that are set.
    pub configs: BTreeMap<String, String>,
    /// Voters at the index, as broker ids. A restored cluster begins with other replicas.
    pub voters: Vec<i32>,
    /// The partition's state machine at the index, as the broker encodes it: offsets, epochs, producers with their last
    /// batches, the batch with the highest timestamp, consumer groups with members and committed offsets.
    #[serde(with = "hex")]
    pub state: Bytes,
    /// Aborted transactions. Transactions do not exist yet: always empty.
    pub aborted_transactions: Vec<AbortedTransaction>,
    /// The records, by offset, without gaps.
    pub chunks: Vec<Chunk>,
}

/// From where on a leader appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochStart {
    /// The leader's epoch.
    pub epoch: i32,
    /// The first offset that it appended.
    pub start_offset: i64,
}

/// A transaction whose records consumers do not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
    /// Its marker.
    pub last_offset: i64,
}

/// A chunk of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// The object. It may have been written in an earlier incarnation.
    pub key: Key,
    /// What it has to be.
    pub chunk: Summary,
}

/// Which of two manifests of one partition is the newer one: the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// The life of the cluster.
    pub incarnation: Incarnation,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// The index.
    pub index: u64,
}

/// Which manifest: everything that its key is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Whose it is.
    pub source: Source,
    /// The life of the cluster that wrote it.
    pub incarnation: Incarnation,
    /// The epoch of the leader that made it.
    pub leader_epoch: i32,
    /// The last index of the partition's Raft log that it sums up.
    pub index: u64,
}

impl Name {
    /// Where it lies.
    #[must_use]
    pub fn key(&self) -> Key {
        key::manifest(
            &self.source,
            self.incarnation,
            self.leader_epoch,
            self.index,
        )
    }

    /// Its place among the partition's manifests.
    #[must_use]
    pub fn age(&self) -> Age {
        Age {
            incarnation: self.incarnation,
            leader_epoch: self.leader_epoch,
            index: self.index,
        }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is damaged.
    #[error(transparent)]
    Sealed(#[from] sealed::Error),
    /// Written by a version that this one does not know.
    #[error("its format {0} is not known to this version")]
    Format(u32),
    /// It is another partition's, or another cluster's.
    #[error("it is of {found}, not of {wanted}")]
    Foreign {
        /// What was looked for.
        wanted: Box<Source>,
        /// What it says of itself.
        found: Box<Source>,
    },
    /// It lies under another manifest's name.
    #[error("it lies under the name {name}, and says that it is {key}")]
    Name {
        /// Where it was.
        name: Key,
        /// Where it should be.
        key: Key,
    },
    /// It does not hold what it says.
    #[error("it is not whole: {0}")]
    NotWhole(String),
}

impl Manifest {
    /// Its name, as a value.
    #[must_use]
    pub fn name(&self) -> Name {
        Name {
            source: self.source.clone(),
            incarnation: self.incarnation,
            leader_epoch: self.leader_epoch,
            index: self.index,
        }
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> Key {
        key::manifest(
            &self.source,
            self.incarnation,
            self.leader_epoch,
            self.index,
        )
    }

    /// Its place among the partition's manifests.
    #[must_use]
    pub fn age(&self) -> Age {
        Age {
            incarnation: self.incarnation,
            leader_epoch: self.leader_epoch,
            index: self.index,
        }
    }

    /// What it says, whoever's copies of the chunks it describes: two replicas that hold the same have the same one.
    /// SHA-256 of its JSON, as the object has it, with 0 for everything that belongs to a copy ([`Summary::as_of_any`]).
    #[must_use]
    pub fn identity(&self) -> Digest {
        let mut any = self.clone();
        for named in &mut any.chunks {
            named.chunk = named.chunk.as_of_any();
        }
        Digest::of(&serde_json::to_vec(&any).expect("its maps have names for keys"))
    }

    /// The object.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        sealed::encode(self)
    }

    /// Reads the object of this name. It is undamaged, of this partition, and whole in itself; that its chunks are
    /// there is another question.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8], name: &Key, source: &Source) -> Result<Self, Error> {
        let manifest: Self = sealed::decode(bytes)?;
        if manifest.format != FORMAT {
            return Err(Error::Format(manifest.format));
        }
        if manifest.source != *source {
            return Err(Error::Foreign {
                wanted: Box::new(source.clone()),
                found: Box::new(manifest.source),
            });
        }
        if manifest.key() != *name {
            return Err(Error::Name {
                name: name.clone(),
                key: manifest.key(),
            });
        }
        manifest.check_whole().map_err(Error::NotWhole)?;
        Ok(manifest)
    }

    /// The chunk that holds an offset.
    #[must_use]
    pub fn chunk_at(&self, offset: i64) -> Option<&Chunk> {
        let at = self
            .chunks
            .partition_point(|c| c.chunk.next_offset <= offset);
        self.chunks
            .get(at)
            .filter(|c| c.chunk.first_offset <= offset)
    }

    /// Whether the chunks hold everything from the log start to the next offset, without a gap or an overlap.
    fn check_whole(&self) -> Result<(), String> {
        let Self {
            log_start,
            next_offset,
            ..
        } = *self;
        if log_start < 0 || next_offset < log_start {
            return Err(format!("it reaches from {log_start} to {next_offset}"));
        }
        let mut at = self
            .chunks
            .first()
            .map_or(log_start, |c| c.chunk.first_offset);
        if at > log_start {
            return Err(format!(
                "it begins at {at}, after the log start {log_start}"
            ));
        }
        for Chunk { key, chunk } in &self.chunks {
            if chunk.first_offset != at || chunk.next_offset <= at {
                let Summary {
                    first_offset,
                    next_offset,
                    ..
                } = chunk;
                return Err(format!(
                    "{key} reaches from {first_offset} to {next_offset} where {at} should follow"
                ));
            }
            at = chunk.next_offset;
        }
        if at != next_offset {
            return Err(format!("it ends at {at}, not at {next_offset}"));
        }
        let epochs = self.leader_epochs.windows(2);
        let rising = |pair: &[EpochStart]| {
            pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset
        };
        if !epochs.into_iter().all(rising) {
            return Err("its leader epochs do not rise".to_owned());
        }
        Ok(())
    }
}

mod hex {
    use std::fmt::Write;

    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            write!(text, "{byte:02x}").expect("writing to memory does not fail");
        }
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let pairs = text.as_bytes().chunks(2).map(|pair| {
            let &[high, low] = pair else { return None };
            u8::try_from(digit(high)? << 4 | digit(low)?).ok()
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        bytes
            .map(Bytes::from)
            .ok_or_else(|| serde::de::Error::custom("not pairs of hexadecimal digits"))
    }
}
