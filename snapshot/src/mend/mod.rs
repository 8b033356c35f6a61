//! Damaged and missing objects are made anew, from good copies of what they held.
//!
//! - Written under a name is, byte for byte, what was there: a seal, a manifest or a tail's name says what that is. So nothing
//!   that refers to an object has to change, and whoever mends the same at the same time, deposed or not, writes the same.
//! - What is mended was looked at first and was not whole. It is kept aside ([`quarantine`]) before anything takes its place.
//! - Every copy proves itself: a batch by its checksum and its place, a member and a part by their SHA-256.
//! - What was written is read again, whole, before it counts as mended.
//! - Where copies make other stored bytes of the same records, for they were written by another compressor, that is told
//!   ([`Fate::OtherBytes`]): such a chunk gets another name ([`Mender::chunk_anew`]), and only a new manifest can name it.
//! - What nobody has a copy of stays as it is.
//!
//! Copies come from what is left of the object itself, from what the archive holds in memory, from the brokers' logs
//! ([`Donor`]), and from other chunks and tails of the store; and one bit that was flipped is turned back. A process that dies
//! in between leaves the damaged object, or the whole one.

mod chunk;
mod copies;
mod lost;
mod one_bit;
pub mod quarantine;
mod sealed;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use uuid::Uuid;

use crate::archive::Archive;
use crate::chunk::Config;
use crate::inventory::Objects;
use crate::key::{self, Key};
use crate::manifest::{Chunk, EpochStart, Manifest, Name};
use crate::source::Source;
use crate::store::{self, Condition, Store, Version};
use crate::tail::Entry;

/// What a donor gives later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Who may have what a store has lost. Nothing that it gives is believed.
pub trait Donor {
    /// Whole batches of a partition, one after the other: the first one begins at `first`, none of them at or after `below`.
    /// Empty when nobody has that one; there may be more to be had after the last one.
    fn batches<'a>(&'a self, source: &'a Source, first: i64, below: i64) -> Later<'a, Vec<Bytes>>;

    /// Committed entries of a partition's log, one after the other from `first` to at most `last`.
    fn entries<'a>(&'a self, place: (Uuid, i32), first: u64, last: u64) -> Later<'a, Vec<Entry>>;

    /// Sealed objects that it knows whole.
    fn objects(&self) -> BTreeMap<Key, Bytes>;
}

/// Has nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Donor for Nobody {
    fn batches<'a>(&'a self, _: &'a Source, _: i64, _: i64) -> Later<'a, Vec<Bytes>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn entries<'a>(&'a self, _: (Uuid, i32), _: u64, _: u64) -> Later<'a, Vec<Entry>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn objects(&self) -> BTreeMap<Key, Bytes> {
        BTreeMap::new()
    }
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is what it has to be.
    Sound,
    /// It was not, and is now.
    Mended,
    /// There are copies of its records, which make other stored bytes.
    OtherBytes,
    /// It is not what it has to be, and stays: this is why.
    Left(String),
}

/// What became of many. Those that are sound are not in it.
pub type Fates = Vec<(Key, Fate)>;

/// Why an object is not made anew.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Nobody has a copy.
    #[error("nobody has a copy of offsets {at} to {}", below - 1)]
    NoCopy {
        /// The first offset that is lacking.
        at: i64,
        /// The first one that may not be.
        below: i64,
    },
    /// There are copies, of something else.
    #[error("it cannot be made again: {0}")]
    Differs(String),
}

/// See the module.
pub struct Mender<'a> {
    /// The store, and what is held of it.
    pub archive: &'a Archive,
    /// To what its objects are bound.
    pub store_id: &'a str,
    /// Who may have copies.
    pub donor: &'a dyn Donor,
    /// How chunks are made.
    pub chunks: Config,
}

impl Mender<'_> {
    fn store(&self) -> &dyn Store {
        &**self.archive.store()
    }

    /// Looks at all manifests of a partition and at the chunks that are wanted, and mends them. A manifest that is known to
    /// be there is missing if it is not.
    ///
    /// # Errors
    /// When the store cannot be asked. What was mended until then is mended.
    pub async fn partition(
        &self,
        source: &Source,
        known: Option<&Name>,
        is_wanted: impl Fn(&Key) -> bool,
    ) -> Result<Fates, store::Error> {
        let listed = Objects::list(self.store(), &key::manifests_prefix(source)).await?;
        let name = |(age, _): &(crate::manifest::Age, _)| Name {
            source: source.clone(),
            incarnation: age.incarnation,
            leader_epoch: age.leader_epoch,
            index: age.index,
        };
        let mut names: Vec<Name> = listed.manifests.iter().map(name).collect();
        names.extend(known.filter(|known| !names.contains(known)).cloned());
        names.sort_by_key(Name::age);
        let mut fates = Fates::new();
        let mut chunks: BTreeMap<Key, (Chunk, Vec<EpochStart>)> = BTreeMap::new();
        for name in names {
            let (fate, manifest) = self.manifest(&name).await?;
            note(&mut fates, name.key(), fate);
            let Some(manifest) = manifest else { continue };
            for named in manifest.chunks {
                let epochs = manifest.leader_epochs.clone();
                chunks.insert(named.key.clone(), (named, epochs));
            }
        }
        chunks.retain(|key, _| is_wanted(key));
        for (key, (named, epochs)) in chunks {
            let fate = self.chunk(source, &named, &epochs).await?;
            note(&mut fates, key, fate);
        }
        Ok(fates)
    }

    /// Looks at a manifest, and mends it. Where it is whole in the end, it is told.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn manifest(&self, name: &Name) -> Result<(Fate, Option<Manifest>), store::Error> {
        let key = name.key();
        let decode = |bytes: &[u8]| Manifest::decode(bytes, &key, &name.source);
        let held = self.archive.held_manifest(name);
        let held = held.map(|manifest| manifest.encode());
        let fate = self.sealed(&key, held, |bytes| {
            decode(bytes).map(drop).map_err(|why| why.to_string())
        });
        let (fate, bytes) = fate.await?;
        Ok((fate, bytes.and_then(|bytes| decode(&bytes).ok())))
    }

    /// Puts an object in the place of a damaged one, or of none.
    async fn replace(
        &self,
        key: &Key,
        found: Option<Version>,
        whole: Bytes,
    ) -> Result<(), store::Error> {
        let condition = match found {
            Some(version) => {
                quarantine::keep_aside(self.store(), key).await?;
                Condition::Unchanged(version)
            }
            None => Condition::Absent,
        };
        match self.store().put(key, whole, condition).await {
            // Somebody else was faster; it is read again.
            Ok(_) | Err(store::Error::Conflict(_)) => Ok(()),
            Err(why) => Err(why),
        }
    }
}

fn note(fates: &mut Fates, key: Key, fate: Fate) {
    if fate != Fate::Sound {
        fates.push((key, fate));
    }
}
