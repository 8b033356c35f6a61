//! Reads partitions out of a store, through a cache that is bounded in bytes.
//!
//! - Held are manifests, chunks' indexes and inflated members, each verified when it was read. What was used the longest
//!   ago goes first. An error is never held.
//! - Of many who want the same at once, one asks the store.
//! - Who reads on from one member into the next gets several with one request.
//! - Handed out are slices of a whole member, which stays in memory as long as one of them does: beside the cache.
//! - Where there is a runtime, requests are tasks of their own, and parts are opened on its blocking threads. Where there
//!   is none, who began a request brings it to its end; when he gives up, another one of those who wait begins anew.
//!
//! Futures are cancel-safe.

mod cache;
mod error;
mod held;
mod load;
mod member;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::chunk::{Member, Reader};
use crate::manifest::{Manifest, Name};
use crate::store::Store;
use cache::{Cache, Held, Part, Place};
use load::{Loader, Members, Wanted};
use member::Opened;

pub use error::Error;

/// How much is held, and how far is read ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Everything that is held at most, in bytes. More spares requests to the store when many read old records.
    pub cache_bytes: u64,
    /// Members that are read at most with one request. They stay within half of the cache.
    pub readahead_members: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            readahead_members: 4,
        }
    }
}

/// What was asked for so far, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Parts that were held when they were wanted.
    pub hits: u64,
    /// Parts that somebody else was reading already.
    pub joined: u64,
    /// Parts that had to be read.
    pub misses: u64,
    /// Bytes held, at most [`Config::cache_bytes`].
    pub held_bytes: u64,
    /// Bytes that the store answered.
    pub read_bytes: u64,
    /// Requests to the store, with those that failed.
    pub requests: u64,
}

/// See the module. Shared by all readers of a store.
#[derive(Debug)]
pub struct Archive {
    config: Config,
    loader: Loader,
}

impl Archive {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, config: Config) -> Self {
        let cache = Cache::new(config.cache_bytes);
        Self {
            config,
            loader: Loader { store, cache },
        }
    }

    /// Where it reads.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.loader.store
    }

    /// See [`Figures`].
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.loader.cache.figures()
    }

    /// The manifest of that name. That its chunks are there is another question.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn manifest(&self, name: &Name) -> Result<Arc<Manifest>, Error> {
        match self.loader.bring(&Wanted::Manifest(name.clone())).await? {
            Held::Manifest(manifest) => Ok(manifest),
            other => unreachable!("a manifest was wanted, not {other:?}"),
        }
    }

    /// A manifest that was read is read again when it is wanted next: a copy of a chunk was replaced by one that another
    /// compressor made.
    pub fn forget(&self, name: &Name) {
        self.loader.cache.forget(&Part::Manifest(name.clone()));
    }

    /// Whole batches in the order of their offsets, from the one on that holds `offset`, or the next one where
    /// compaction has left a hole. At least one, and no more than `max_bytes` unless the first alone is longer. There
    /// may be more that would fit: it does not wait for another request once it has something.
    ///
    /// Empty only where compaction left nothing from `offset` to the manifest's next offset, where reading goes on.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless the manifest holds that offset; else see [`Error`].
    pub async fn batches(
        &self,
        manifest: &Manifest,
        offset: i64,
        max_bytes: u64,
    ) -> Result<Vec<Bytes>, Error> {
        let mut taken = Taken::new(max_bytes);
        let mut next = offset;
        loop {
            let goes_on = !taken.batches.is_empty();
            if goes_on && (taken.room == 0 || !self.is_at_hand(manifest, next)) {
                break;
            }
            let member = match self.member_at(manifest, next, taken.room).await {
                // Whoever reads on from there is told.
                Err(_) if goes_on => break,
                member => member?,
            };
            let is_full = !taken.take(member.since_offset(next));
            next = member.next_offset();
            if is_full || next >= manifest.next_offset {
                break;
            }
        }
        Ok(taken.batches)
    }

    /// The batches of one member, from the first one on that promises a record of this time or later and holds one at
    /// or after the offset `from`; and the offset where to go on when no record there keeps the promise. None when no
    /// batch of the manifest promises one. The first batch may begin before `from`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn at_time(
        &self,
        manifest: &Manifest,
        timestamp_ms: i64,
        from: i64,
    ) -> Result<Option<(Vec<Bytes>, i64)>, Error> {
        for (at, named) in manifest.chunks.iter().enumerate() {
            let chunk = &named.chunk;
            if chunk.next_offset <= from || chunk.max_timestamp < timestamp_ms {
                continue;
            }
            let (place, index) = self.chunk(manifest, at).await?;
            for (number, member) in index.members().iter().enumerate() {
                if member.next_offset <= from || member.max_timestamp < timestamp_ms {
                    continue;
                }
                let opened = self
                    .members(manifest, &place, &index, number..number + 1)
                    .await?;
                if let Some(batches) = opened.since_time(timestamp_ms, from) {
                    return Ok(Some((batches, opened.next_offset())));
                }
            }
        }
        Ok(None)
    }

    /// What the members of a manifest's chunk are, in the order of their offsets.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// # Panics
    /// When the manifest has no chunk with this number.
    pub async fn members_of(&self, manifest: &Manifest, at: usize) -> Result<Vec<Member>, Error> {
        let (_, index) = self.chunk(manifest, at).await?;
        Ok(index.members().to_vec())
    }

    /// The member that holds an offset. With it come, as far as they are needed for so many bytes or for a reader who
    /// reads one after the other, those behind it.
    async fn member_at(
        &self,
        manifest: &Manifest,
        offset: i64,
        bytes: u64,
    ) -> Result<Arc<Opened>, Error> {
        let at = chunk_number(manifest, offset)?;
        let (place, index) = self.chunk(manifest, at).await?;
        let number = number_at(&index, offset);
        let reads_on = self.has_before(manifest, at, &place, number);
        let numbers = self.ahead(&index, number, bytes, reads_on);
        self.members(manifest, &place, &index, numbers).await
    }

    async fn members(
        &self,
        manifest: &Manifest,
        place: &Arc<Place>,
        index: &Arc<Reader>,
        numbers: Range<usize>,
    ) -> Result<Arc<Opened>, Error> {
        let members = Members {
            place: place.clone(),
            index: index.clone(),
            numbers,
            epochs: manifest.leader_epochs[..].into(),
        };
        match self.loader.bring(&Wanted::Members(members)).await? {
            Held::Member(opened) => Ok(opened),
            other => unreachable!("a member was wanted, not {other:?}"),
        }
    }

    /// A manifest's chunk, with its index.
    async fn chunk(
        &self,
        manifest: &Manifest,
        at: usize,
    ) -> Result<(Arc<Place>, Arc<Reader>), Error> {
        let place = place(manifest, at);
        match self.loader.bring(&Wanted::Index(place.clone())).await? {
            Held::Index(index) => Ok((place, index)),
            other => unreachable!("an index was wanted, not {other:?}"),
        }
    }

    /// An index that is held already.
    fn held_index(&self, place: &Arc<Place>) -> Option<Arc<Reader>> {
        match self.loader.cache.peek(&Part::Index(place.clone()))? {
            Held::Index(index) => Some(index),
            other => unreachable!("an index was looked for, not {other:?}"),
        }
    }

    /// Whether the member that holds an offset is held, or on its way.
    fn is_at_hand(&self, manifest: &Manifest, offset: i64) -> bool {
        let Ok(at) = chunk_number(manifest, offset) else {
            return false;
        };
        let place = place(manifest, at);
        self.held_index(&place).is_some_and(|index| {
            let number = number_at(&index, offset);
            self.loader.cache.is_at_hand(&Part::Member(place, number))
        })
    }

    /// Whether the member before is held: then somebody reads one after the other.
    fn has_before(
        &self,
        manifest: &Manifest,
        at: usize,
        place_of: &Arc<Place>,
        number: usize,
    ) -> bool {
        let before = match (number.checked_sub(1), at.checked_sub(1)) {
            (Some(before), _) => Some((place_of.clone(), before)),
            (None, Some(at)) => {
                let place = place(manifest, at);
                let index = self.held_index(&place);
                index.and_then(|index| Some((place, index.members().len().checked_sub(1)?)))
            }
            (None, None) => None,
        };
        before.is_some_and(|(place, number)| {
            let part = Part::Member(place, number);
            self.loader.cache.is_at_hand(&part)
        })
    }

    /// Which members are to be read at once.
    fn ahead(&self, index: &Reader, number: usize, bytes: u64, reads_on: bool) -> Range<usize> {
        let raw_max = self.config.cache_bytes / 2;
        let mut raw = 0_u64;
        let mut count = 0;
        for member in &index.members()[number..] {
            let is_needed = raw < bytes || reads_on;
            let has_room = raw.saturating_add(member.raw_bytes) <= raw_max;
            if count > 0 && (count >= self.config.readahead_members || !is_needed || !has_room) {
                break;
            }
            raw = raw.saturating_add(member.raw_bytes);
            count += 1;
        }
        number..number + count
    }
}

/// Batches up to a number of bytes, the first one whatever it has.
struct Taken {
    batches: Vec<Bytes>,
    room: u64,
}

impl Taken {
    fn new(max_bytes: u64) -> Self {
        Self {
            batches: Vec::new(),
            room: max_bytes,
        }
    }

    /// Whether there was room for all.
    fn take(&mut self, batches: impl Iterator<Item = Bytes>) -> bool {
        for batch in batches {
            let bytes = batch.len() as u64;
            if bytes > self.room && !self.batches.is_empty() {
                return false;
            }
            self.room = self.room.saturating_sub(bytes);
            self.batches.push(batch);
        }
        true
    }
}

fn chunk_number(manifest: &Manifest, offset: i64) -> Result<usize, Error> {
    let chunks = &manifest.chunks;
    let at = chunks.partition_point(|named| named.chunk.next_offset <= offset);
    let first_offset = chunks
        .first()
        .map_or(manifest.next_offset, |named| named.chunk.first_offset);
    if offset < first_offset || at == chunks.len() {
        return Err(Error::OutOfRange {
            key: manifest.key(),
            offset,
            first_offset,
            next_offset: manifest.next_offset,
        });
    }
    Ok(at)
}

/// The number of the member that holds an offset of the chunk. There is one: the index reaches as far as the chunk.
fn number_at(index: &Reader, offset: i64) -> usize {
    index
        .members()
        .partition_point(|member| member.next_offset <= offset)
}

fn place(manifest: &Manifest, at: usize) -> Arc<Place> {
    Arc::new(Place {
        source: manifest.source.clone(),
        chunk: manifest.chunks[at].clone(),
    })
}
