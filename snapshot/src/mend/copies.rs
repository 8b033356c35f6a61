//! Where copies of lost records are looked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::record_batch::{BatchHeader, crc_of, total_length};

use super::Mender;
use crate::chunk::Reader;
use crate::inventory::Objects;
use crate::key::{self, Key};
use crate::manifest::{self, Chunk, Manifest};
use crate::member;
use crate::source::Source;
use crate::store::{self, Store};
use crate::tail::{self, Directory, Parts, RECORDS};

/// A longer object without an index is not read for what is left in it.
const SALVAGED_BYTES_MAX: u64 = 64 << 20;

/// Of one chunk that is damaged: everywhere else, and what is left of itself.
pub(super) struct Copies<'a> {
    mender: &'a Mender<'a>,
    source: &'a Source,
    /// The damaged one.
    named: &'a Chunk,
    /// What is left of it where its index is lost: members, by their first offsets.
    salvaged: BTreeMap<i64, Bytes>,
    /// Other chunks of the partition, and the parts of tails; listed when they are needed.
    others: Option<Others>,
}

struct Others {
    chunks: Vec<Chunk>,
    tails: Parts,
}

impl<'a> Copies<'a> {
    pub(super) fn new(mender: &'a Mender<'a>, source: &'a Source, named: &'a Chunk) -> Self {
        Self {
            mender,
            source,
            named,
            salvaged: BTreeMap::new(),
            others: None,
        }
    }

    pub(super) fn source(&self) -> &'a Source {
        self.source
    }

    fn store(&self) -> &'a dyn Store {
        &**self.mender.archive.store()
    }

    /// Reads whole members out of a chunk that has lost its index, up to the first that is damaged.
    pub(super) async fn salvage(&mut self) -> Result<(), store::Error> {
        let chunk = &self.named.chunk;
        if chunk.stored_bytes > SALVAGED_BYTES_MAX || chunk.raw_bytes > 4 * SALVAGED_BYTES_MAX {
            return Ok(());
        }
        let length = usize::try_from(chunk.index_position.min(chunk.stored_bytes));
        let length = length.expect("it is bounded");
        let raw_max = usize::try_from(chunk.raw_bytes).expect("it is bounded");
        let Some(stored) = part(self.store(), &self.named.key, 0, length).await? else {
            return Ok(());
        };
        let first = chunk.first_offset;
        let walk = move || {
            let raw = member::walk(&stored, raw_max);
            let with_offset = |raw: Vec<u8>| {
                let header = BatchHeader::parse(&raw).ok()?;
                Some((header.base_offset, Bytes::from(raw)))
            };
            raw.into_iter().filter_map(with_offset).collect()
        };
        self.salvaged = crate::aside::aside(walk).await;
        self.salvaged.retain(|offset, _| *offset >= first);
        Ok(())
    }

    /// Whole batches, one after the other, the first of which begins at an offset; none from another one on. Empty when
    /// nobody has that one.
    pub(super) async fn batches(
        &mut self,
        at: i64,
        below: i64,
    ) -> Result<Vec<Bytes>, store::Error> {
        if let Some(raw) = self.salvaged.get(&at) {
            let found = continuing(split(raw), at, below);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let given = self.mender.donor.batches(self.source, at, below).await;
        let found = continuing(given, at, below);
        if !found.is_empty() {
            return Ok(found);
        }
        if self.others.is_none() {
            self.others = Some(self.list_others().await?);
        }
        let others = self.others.as_ref().expect("it was just listed");
        for other in &others.chunks {
            let holds = other.chunk.first_offset <= at && at < other.chunk.next_offset;
            if !holds {
                continue;
            }
            let found = continuing(self.of_chunk(other, at).await?, at, below);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        for tail in others.tails.of(self.source.topic_id, self.source.partition) {
            let Ok(entries) = tail::read(self.store(), &tail.name, &tail.part).await else {
                continue;
            };
            let batches = entries.into_iter().filter(|entry| entry.kind == RECORDS);
            let payloads = batches.map(|entry| entry.payload).collect();
            let found = continuing(payloads, at, below);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// The batches of the member of another chunk that holds an offset; none when it cannot be read.
    async fn of_chunk(&self, other: &Chunk, at: i64) -> Result<Vec<Bytes>, store::Error> {
        let Some(length) = other.chunk.index_bytes() else {
            return Ok(Vec::new());
        };
        let position = other.chunk.index_position;
        let Some(index) = part(self.store(), &other.key, position, length).await? else {
            return Ok(Vec::new());
        };
        let Ok(reader) = Reader::open(&index, &other.chunk, self.source) else {
            return Ok(Vec::new());
        };
        let Some(member) = reader.at_offset(at).cloned() else {
            return Ok(Vec::new());
        };
        let length = usize::try_from(member.stored_bytes).unwrap_or(usize::MAX);
        let stored = part(self.store(), &other.key, member.position, length).await?;
        let Some(stored) = stored else {
            return Ok(Vec::new());
        };
        let inflate = move || Reader::inflate(&member, &stored).map(|raw| split(&raw));
        Ok(crate::aside::aside(inflate).await.unwrap_or_default())
    }

    /// What readable manifests and directories name. What is not readable has nothing to offer.
    async fn list_others(&self) -> Result<Others, store::Error> {
        let mut chunks: BTreeMap<Key, Chunk> = BTreeMap::new();
        for manifest in manifests(self.store(), self.source).await? {
            chunks.extend(manifest.chunks.into_iter().map(|c| (c.key.clone(), c)));
        }
        chunks.remove(&self.named.key);
        let mut tails = Parts::default();
        for (name, _) in tail::list(self.store()).await? {
            let read = Directory::read(self.store(), &name, &self.source.cluster_id).await;
            match read {
                Ok(directory) => tails.add(name, directory),
                Err(tail::Error::Store(why)) if why.retriable() => return Err(why),
                Err(_) => {}
            }
        }
        Ok(Others {
            chunks: chunks.into_values().collect(),
            tails,
        })
    }
}

/// The readable manifests of a partition.
pub(super) async fn manifests(
    store: &dyn Store,
    source: &Source,
) -> Result<Vec<Manifest>, store::Error> {
    let mut all = Vec::new();
    let listed = Objects::list(store, &key::manifests_prefix(source)).await?;
    for (_, listed) in listed.manifests {
        let read = store.get(&listed.key, manifest::BYTES_MAX).await;
        let Some((bytes, _)) = store::there(read)? else {
            continue;
        };
        all.extend(Manifest::decode(&bytes, &listed.key, source));
    }
    Ok(all)
}

/// A part of an object; None where it is not there.
pub(super) async fn part(
    store: &dyn Store,
    key: &Key,
    position: u64,
    length: usize,
) -> Result<Option<Bytes>, store::Error> {
    store::there(store.range(key, position, length).await)
}

/// Batches one by one, up to the first that is none.
pub(super) fn split(raw: &Bytes) -> Vec<Bytes> {
    let mut rest = raw.clone();
    let mut batches = Vec::new();
    while let Ok(length) = total_length(&rest) {
        if length > rest.len() {
            break;
        }
        batches.push(rest.split_to(length));
    }
    batches
}

/// Those of these batches, each of which is whole, that follow one after the other from an offset on, below another one.
fn continuing(batches: Vec<Bytes>, at: i64, below: i64) -> Vec<Bytes> {
    let mut next = at;
    let mut found = Vec::new();
    for batch in batches {
        let header = match BatchHeader::parse(&batch) {
            Ok(header) if header.total_length() == batch.len() => header,
            Ok(_) | Err(_) => break,
        };
        if header.last_offset() < next {
            continue;
        }
        let follows = header.base_offset == next && header.last_offset() < below;
        if !follows || crc_of(&batch) != header.crc {
            break;
        }
        next = header.last_offset() + 1;
        found.push(batch);
    }
    found
}
