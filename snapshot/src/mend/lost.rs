//! What a manifest named that is lost: its chunks, which say of themselves what they are.

use std::collections::BTreeMap;

use super::Mender;
use super::copies::{manifests, part};
use crate::chunk::{Reader, Summary};
use crate::inventory::Objects;
use crate::key::{self, Key};
use crate::manifest::{Chunk, Manifest, Name};
use crate::source::Source;
use crate::store::{self, Listed};

/// Bytes at the end of a chunk in which its index is looked for, at first and at last.
const INDEX_BYTES: [u64; 2] = [64 << 10, 32 << 20];
/// Bytes that are read at once.
const PIECE_BYTES: u64 = 8 << 20;

impl Mender<'_> {
    /// Chunks that hold what a lost manifest named, one after the other from the log start on, as far as they reach: those
    /// that other manifests name, and those that were written until then and are whole. NB: of its own life of the cluster
    /// only. An earlier one may have written what a restore has left behind.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn chunks_of_lost(
        &self,
        lost: &Name,
        log_start: i64,
    ) -> Result<Vec<Chunk>, store::Error> {
        let source = &lost.source;
        let prefix = key::partition_prefix(source.topic_id, source.partition);
        let objects = Objects::list(self.store(), &prefix).await?;
        let mut all: BTreeMap<Key, Chunk> = BTreeMap::new();
        let manifests = manifests(self.store(), source).await?;
        let is_of_life = |m: &Manifest| m.incarnation == lost.incarnation && m.age() <= lost.age();
        for manifest in manifests.into_iter().filter(is_of_life) {
            all.extend(manifest.chunks.into_iter().map(|c| (c.key.clone(), c)));
        }
        for listed in objects.chunks {
            let written = key::chunk_written(&listed.key);
            let is_of_then =
                written.is_some_and(|(life, at)| life == lost.incarnation && at <= lost.index);
            if is_of_then && !all.contains_key(&listed.key) {
                let described = self.describe(source, &listed).await?;
                all.extend(described.map(|chunk| (chunk.key.clone(), chunk)));
            }
        }
        Ok(chain(all.into_values().collect(), log_start))
    }

    /// What a chunk is, as it says itself; None unless it is whole.
    async fn describe(
        &self,
        source: &Source,
        listed: &Listed,
    ) -> Result<Option<Chunk>, store::Error> {
        let mut wanted = INDEX_BYTES[0];
        let (reader, index_bytes) = loop {
            let length = wanted.min(listed.bytes);
            let bytes = usize::try_from(length).expect("an index is bounded");
            let end = part(self.store(), &listed.key, listed.bytes - length, bytes).await?;
            let Some(end) = end else { return Ok(None) };
            if let Some(found) = Reader::find(&end, source) {
                break found;
            }
            if length == listed.bytes || wanted >= INDEX_BYTES[1] {
                return Ok(None);
            }
            wanted *= 8;
        };
        let Some(stored_crc32) = self.crc_of(listed).await? else {
            return Ok(None);
        };
        let summary = Summary {
            index_position: listed.bytes - index_bytes as u64,
            stored_bytes: listed.bytes,
            stored_crc32,
            ..reader.summary()
        };
        let named = Chunk {
            key: listed.key.clone(),
            chunk: summary,
        };
        let mut report = crate::verify::Report::default();
        crate::verify::chunk(self.store(), source, &named, &[], &mut report).await?;
        Ok(report.findings.is_empty().then_some(named))
    }

    async fn crc_of(&self, listed: &Listed) -> Result<Option<u32>, store::Error> {
        let mut crc = crc32fast::Hasher::new();
        let mut at = 0;
        while at < listed.bytes {
            let length = PIECE_BYTES.min(listed.bytes - at);
            let bytes = usize::try_from(length).expect("a piece is small");
            let Some(piece) = part(self.store(), &listed.key, at, bytes).await? else {
                return Ok(None);
            };
            crc.update(&piece);
            at += length;
        }
        Ok(Some(crc.finalize()))
    }
}

/// Of these chunks those that follow each other from an offset on; of two that begin at the same one, the one that reaches
/// farther.
fn chain(mut all: Vec<Chunk>, log_start: i64) -> Vec<Chunk> {
    all.sort_by_key(|c| (c.chunk.first_offset, c.chunk.next_offset));
    let holds = |c: &&Chunk| c.chunk.first_offset <= log_start && log_start < c.chunk.next_offset;
    let first = all.iter().filter(holds);
    let mut chain: Vec<Chunk> = first
        .max_by_key(|c| c.chunk.next_offset)
        .cloned()
        .into_iter()
        .collect();
    while let Some(last) = chain.last().map(|c| c.chunk.next_offset) {
        let next = all.iter().filter(|c| c.chunk.first_offset == last);
        match next.max_by_key(|c| c.chunk.next_offset) {
            Some(next) => chain.push(next.clone()),
            None => break,
        }
    }
    chain
}
