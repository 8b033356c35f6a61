//! What tails add to a partition's newest snapshot: the rest of its log, as far as the store has it.

use raft::types::{Entry, EntryKind, Index, Term};
use snapshot::chunk::{self, Writer};
use snapshot::key;
use snapshot::manifest::{Chunk, EpochStart, Manifest};
use snapshot::source::{Incarnation, Source};
use snapshot::store::{Condition, Store};
use snapshot::tail::{self, Found, Parts};

use super::plan::Error;
use crate::partition::state::PartitionState;

/// See the module.
#[derive(Clone, Debug)]
pub struct Added {
    /// The parts, each beyond the one before it.
    found: Vec<Found>,
    /// The last index of what the partition's snapshot holds.
    after: u64,
    /// First offset that the snapshot does not hold.
    first_offset: i64,
    /// The partition's state machine in the end.
    pub state: PartitionState,
    /// When the last of it was written.
    pub created_ms: i64,
}

impl Added {
    /// Reads what continues a manifest, or an empty log; None when nothing does.
    ///
    /// # Errors
    /// When a tail cannot be read, or does not hold what a log holds.
    pub async fn read(
        store: &dyn Store,
        source: &Source,
        manifest: Option<&Manifest>,
        parts: &Parts,
    ) -> Result<Option<Self>, Error> {
        let base = manifest.map(|manifest| (manifest.incarnation, manifest.index));
        let found = parts.chain((source.topic_id, source.partition), base);
        let Some(last) = found.last() else {
            return Ok(None);
        };
        let after = base.map_or(0, |(_, index)| index);
        let bytes = manifest.map_or(&[][..], |manifest| &manifest.state);
        let state = PartitionState::restore(Index(after), bytes);
        let state =
            state.ok_or_else(|| Error::State(manifest.map_or_else(key::owner, Manifest::key)))?;
        let mut added = Self {
            created_ms: last.name.created_ms,
            found: found.into_iter().cloned().collect(),
            after,
            first_offset: manifest.map_or(0, |manifest| manifest.next_offset),
            state,
        };
        for at in 0..added.found.len() {
            for entry in added.entries(store, at).await? {
                added.apply(at, entry)?;
            }
        }
        Ok(Some(added))
    }

    /// The entries of one part that none before it holds.
    async fn entries(&self, store: &dyn Store, at: usize) -> Result<Vec<tail::Entry>, Error> {
        let Found { name, part } = &self.found[at];
        let before = at.checked_sub(1);
        let reached = before.map_or(self.after, |before| self.found[before].part.last_index);
        let mut entries = tail::read(store, name, part).await?;
        entries.retain(|entry| entry.index > reached);
        Ok(entries)
    }

    fn apply(&mut self, at: usize, entry: tail::Entry) -> Result<(), Error> {
        let index = Index(entry.index);
        let bad = |why: String| Error::Tail {
            key: self.found[at].name.key(),
            why,
        };
        let kind = EntryKind::from_u8(entry.kind);
        let kind = kind.ok_or_else(|| bad(format!("index {index} is of no known kind")))?;
        let entry = Entry {
            index,
            term: Term(entry.term),
            kind,
            payload: entry.payload,
        };
        let appended = self.state.appended(&entry);
        appended.map_err(|why| bad(why.to_string()))?;
        self.state.committed(index);
        self.state.evicted(index.next());
        Ok(())
    }

    /// Leader epochs with their first offsets, as of its end.
    #[must_use]
    pub fn leader_epochs(&self) -> Vec<EpochStart> {
        let epochs = self
            .state
            .epochs()
            .starts_below(self.state.high_watermark());
        let start = |(epoch, start_offset)| EpochStart {
            epoch,
            start_offset,
        };
        epochs.into_iter().map(start).collect()
    }

    /// Puts the records among it into a store as a chunk; None when there are none. Doing it again makes the same one.
    ///
    /// # Errors
    /// When a tail cannot be read any more, or the store cannot do it.
    pub async fn put_chunk(
        &self,
        tails: &dyn Store,
        store: &dyn Store,
        source: &Source,
        (incarnation, epoch): (Incarnation, i32),
    ) -> Result<Option<Chunk>, Error> {
        let next_offset = self.state.high_watermark();
        if next_offset == self.first_offset {
            return Ok(None);
        }
        let index = self.state.applied().0;
        let key = key::chunk(source, incarnation, self.first_offset, epoch, index);
        let config = chunk::Config::default();
        let mut writer = Writer::new(config, source.clone(), incarnation, self.first_offset);
        let mut upload = store.upload(&key).await?;
        for at in 0..self.found.len() {
            for entry in self.entries(tails, at).await? {
                if entry.kind == tail::RECORDS {
                    let pushed = writer.push(&entry.payload);
                    pushed.map_err(|why| Error::Tail {
                        key: self.found[at].name.key(),
                        why: why.to_string(),
                    })?;
                }
            }
            upload.write(writer.take()).await?;
        }
        let finished = writer.finish(next_offset);
        upload.write(finished.rest).await?;
        upload.finish(Condition::None).await?;
        let chunk = finished.summary;
        Ok(Some(Chunk { key, chunk }))
    }
}
