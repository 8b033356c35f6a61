//! A topic out of a cluster's store goes into another store, under another name in it: the same records at the same
//! offsets, batch by batch as they are. Every object says whose it is, so chunks are written anew.
//!
//! What producers have sent is forgotten: their ids are of the cluster that was, and mean others in the new one.

use raft::types::Index;
use snapshot::archive::Archive;
use snapshot::chunk::{self, Writer};
use snapshot::key;
use snapshot::manifest::{Chunk, Manifest};
use snapshot::source::{Incarnation, Source};
use snapshot::store::{Condition, Store, Upload};

use super::plan::{Error, PartitionPlan, TopicPlan};
use super::reborn::Reborn;
use crate::coordinator::rebirth::Rebirth;
use crate::partition::state::PartitionState;
use crate::partition::stored::Stored;

/// Raw bytes that are copied at once.
const PIECE_BYTES: u64 = 4 << 20;

/// Where a copy comes from, and what it is to be.
#[derive(Debug)]
pub struct Copy<'a> {
    /// Reads the store that it comes from.
    pub from: &'a Archive,
    /// The store that it goes into.
    pub to: &'a dyn Store,
    /// To what that store's objects are bound.
    pub store_id: &'a str,
    /// The life of the cluster that has it.
    pub incarnation: Incarnation,
    /// Now, in wall-clock ms.
    pub now_ms: i64,
}

impl Copy<'_> {
    /// Copies a partition, as what it is in a topic that is new. Tells raw bytes as they are copied. What a replica of it
    /// begins with.
    ///
    /// # Errors
    /// See [`Error`]. What was written until then nothing refers to.
    pub async fn partition(
        &self,
        topic: &TopicPlan,
        partition: &PartitionPlan,
        mut told: impl FnMut(u64),
    ) -> Result<Stored, Error> {
        let source = Source {
            cluster_id: self.store_id.to_owned(),
            topic_id: topic.topic.id,
            partition: partition.source.partition,
        };
        let own = PartitionPlan {
            source: source.clone(),
            ..partition.clone()
        };
        let rebirth = Rebirth {
            now_ms: self.now_ms,
            ..Rebirth::default()
        };
        let mut reborn = Reborn::new(topic, &own, self.incarnation, &rebirth)?;
        let index = Index(reborn.manifest.index);
        let state = PartitionState::restore(index, &reborn.manifest.state);
        let state = state.ok_or_else(|| Error::State(reborn.manifest.key()))?;
        reborn.manifest.state = state.without_producers();
        reborn.manifest.chunks.clear();
        if let Some(before) = partition.manifest.as_deref() {
            for named in &before.chunks {
                let chunk = self.chunk(before, named, &reborn.manifest).await?;
                told(chunk.chunk.raw_bytes);
                reborn.manifest.chunks.push(chunk);
            }
        }
        reborn.put_from(&**self.from.store(), self.to).await?;
        Ok(reborn.origin)
    }

    async fn chunk(&self, of: &Manifest, named: &Chunk, into: &Manifest) -> Result<Chunk, Error> {
        let (mut at, end) = (named.chunk.first_offset, named.chunk.next_offset);
        let life = into.incarnation;
        let key = key::chunk(&into.source, life, at, into.leader_epoch, into.index);
        let mut writer = Writer::new(chunk::Config::default(), into.source.clone(), life, at);
        let mut upload: Box<dyn Upload> = self.to.upload(&key).await?;
        while at < end {
            let batches = self.from.batches(of, at, PIECE_BYTES).await?;
            for batch in &batches {
                if writer.next_offset() >= end {
                    break;
                }
                let pushed = writer.push(batch);
                pushed.map_err(|why| Error::Copy(named.key.clone(), why))?;
            }
            // NB: where nothing is left up to the end there are no more batches.
            at = match batches.is_empty() {
                true => end,
                false => writer.next_offset(),
            };
            upload.write(writer.take()).await?;
        }
        let finished = writer.finish(end);
        upload.write(finished.rest).await?;
        upload.finish(Condition::None).await?;
        let chunk = finished.summary;
        Ok(Chunk { key, chunk })
    }
}
