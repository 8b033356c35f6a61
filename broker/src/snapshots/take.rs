//! One snapshot: chunks into the store, each opened again there, then the manifest that names them.

use std::collections::BTreeSet;
use std::sync::Arc;

use snapshot::archive::{self, Archive};
use snapshot::chunk::{self, Finished, Reader};
use snapshot::copy;
use snapshot::key;
use snapshot::manifest::{self, Chunk, EpochStart, Manifest, Name};
use snapshot::mend::{self, Donor, Mender, Nobody};
use snapshot::source::{Incarnation, Source};
use snapshot::store::{self, Condition, Store, Upload};

use super::build::{self, Build, Piece};
use super::plan::{Bounds, Plan};
use crate::partition::state::PartitionState;
use crate::partition::stored::Stored;
use crate::shard::Wanted;

/// Why there is no new snapshot. The last one holds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The last snapshot cannot be read.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// Chunks cannot be made.
    #[error("cannot make chunks: {0}")]
    Build(String),
    /// What was written is not what is there.
    #[error("{key} is not there as it was written: {why}")]
    NotThere {
        /// Which object.
        key: key::Key,
        /// What is wrong with it.
        why: String,
    },
    /// The partition is deleted, or the store is not this cluster's (yet).
    #[error("{0}")]
    NotNow(&'static str),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<build::Error> for Error {
    fn from(why: build::Error) -> Self {
        Self::Build(why.to_string())
    }
}

/// Of what a snapshot is, besides what the partition itself knows.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The partition.
    pub source: Source,
    /// The topic's name.
    pub topic: String,
    /// Its configs that are set.
    pub configs: std::collections::BTreeMap<String, String>,
    /// Broker ids of the voters.
    pub voters: Vec<i32>,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// What is in the store now.
    pub stored: Stored,
    /// Bytes of records that went into new chunks.
    pub raw_bytes: u64,
    /// What these chunks take in the store.
    pub stored_bytes: u64,
}

/// Where chunks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a thread of their own, a few pieces ahead of the store.
    Thread,
    /// By whoever polls, all at once: where everything has its order, as in a simulation.
    Here,
}

/// What is done about damage in the last snapshot.
pub struct Mend<'a> {
    /// Who may have copies.
    pub donor: &'a dyn Donor,
    /// Chunks that are made anew under other names.
    pub anew: BTreeSet<key::Key>,
}

impl Default for Mend<'_> {
    fn default() -> Self {
        Self {
            donor: &Nobody,
            anew: BTreeSet::new(),
        }
    }
}

/// A snapshot to be taken.
pub struct Take<'a> {
    /// What reads the store, and where that is.
    pub archive: &'a Archive,
    /// The log.
    pub reader: Arc<wal::Reader>,
    /// Of what.
    pub subject: Subject,
    /// The life of the cluster.
    pub incarnation: Incarnation,
    /// A chunk ends with the batch that brings it to so many bytes.
    pub chunk_bytes: u64,
    /// What the partition is.
    pub wanted: Wanted,
    /// By this broker's clock.
    pub now_ms: i64,
    /// Where chunks are made.
    pub place: Place,
    /// The store is this broker's own: what is committed is what every replica's copies have to be.
    pub is_own: bool,
    /// What is done about damage.
    pub mend: Mend<'a>,
}

impl Take<'_> {
    /// Does it. Dropped in the middle it leaves objects that nothing refers to.
    ///
    /// # Errors
    /// See [`Error`]: the last snapshot holds.
    pub async fn run(self) -> Result<Taken, Error> {
        let chunks = match &self.wanted.before {
            Some(stored) => self.chunks_before(&self.name_of(stored)).await?,
            None => Vec::new(),
        };
        let wanted = &self.wanted;
        let bounds = Bounds {
            log_start: wanted.log_start,
            local_start: wanted.local_start,
            new_bytes: wanted.bytes,
            chunk_bytes: self.chunk_bytes,
        };
        let Plan { keep, from } = Plan::new(&chunks, bounds);
        let keep = self.made_anew(keep).await?;
        let added = self.add_chunks(from).await?;
        let raw_bytes = added.iter().map(|chunk| chunk.chunk.raw_bytes).sum();
        let stored_bytes = added.iter().map(|chunk| chunk.chunk.stored_bytes).sum();
        let stored = self
            .put_manifest(keep.into_iter().chain(added).collect())
            .await?;
        Ok(Taken {
            stored,
            raw_bytes,
            stored_bytes,
        })
    }

    fn mender(&self) -> Mender<'_> {
        Mender {
            archive: self.archive,
            store_id: &self.subject.source.cluster_id,
            donor: self.mend.donor,
            chunks: chunk::Config::default(),
        }
    }

    /// What the last snapshot consists of. Where its manifest is lost, what the chunks say themselves.
    async fn chunks_before(&self, name: &Name) -> Result<Vec<Chunk>, Error> {
        let why = match self.archive.manifest(name).await {
            Ok(manifest) => return Ok(manifest.chunks.clone()),
            Err(why @ (archive::Error::Missing { .. } | archive::Error::Damaged { .. }))
                if !self.is_own =>
            {
                why
            }
            Err(why) => return Err(why.into()),
        };
        let mender = self.mender();
        if let (_, Some(manifest)) = mender.manifest(name).await? {
            tracing::warn!(target: "snapshot", %why, "it is made anew");
            return Ok(manifest.chunks);
        }
        let log_start = self.wanted.log_start;
        let chunks = mender.chunks_of_lost(name, log_start).await?;
        let reached = chunks.last().map(|last| last.chunk.next_offset);
        tracing::warn!(target: "snapshot", %why, chunks = chunks.len(), reached, "a new one is made of the chunks that are there");
        Ok(chunks)
    }

    /// The chunks that stay, with others in the place of those whose stored bytes nobody can make again.
    async fn made_anew(&self, keep: Vec<Chunk>) -> Result<Vec<Chunk>, Error> {
        let wanted = &self.wanted;
        let epochs: Vec<EpochStart> = wanted.epochs.iter().map(epoch_start).collect();
        let source = &self.subject.source;
        let mut kept = Vec::with_capacity(keep.len());
        for named in keep {
            if !self.mend.anew.contains(&named.key) {
                kept.push(named);
                continue;
            }
            let epoch = self.leader_epoch();
            let first = named.chunk.first_offset;
            let key = key::chunk(source, self.incarnation, first, epoch, wanted.index.0);
            let name = (key, self.incarnation);
            let made = self
                .mender()
                .chunk_anew(source, &named, &epochs, name)
                .await;
            kept.push(match made {
                Ok(made) => made,
                Err(mend::Error::Store(why)) => return Err(why.into()),
                Err(why) => {
                    tracing::error!(target: "snapshot", key = %named.key, %why, "it stays damaged");
                    named
                }
            });
        }
        Ok(kept)
    }

    fn name_of(&self, stored: &Stored) -> Name {
        super::name_of(&self.subject.source, stored)
    }

    fn leader_epoch(&self) -> i32 {
        i32::try_from(self.wanted.term.0).expect("terms stay below 2^31")
    }

    fn store(&self) -> &dyn Store {
        &**self.archive.store()
    }

    async fn add_chunks(&self, from: i64) -> Result<Vec<Chunk>, Error> {
        let wanted = &self.wanted;
        let build = Build {
            reader: self.reader.clone(),
            group: wanted.group,
            replica: wanted.replica,
            source: self.subject.source.clone(),
            incarnation: self.incarnation,
            from,
            next_offset: wanted.next_offset,
            until: wanted.index,
            chunk_bytes: self.chunk_bytes,
            is_late: wanted.bytes > 2 * self.chunk_bytes,
        };
        let mut pieces = match self.place {
            Place::Thread => build.start()?,
            Place::Here => build.all(),
        };
        let mut chunks = Vec::new();
        let mut open: Option<(key::Key, Box<dyn Upload>)> = None;
        while let Some(piece) = pieces.recv().await {
            match piece? {
                Piece::Begin(first_offset) => {
                    let key = key::chunk(
                        &self.subject.source,
                        self.incarnation,
                        first_offset,
                        self.leader_epoch(),
                        wanted.index.0,
                    );
                    let upload = self.store().upload(&key).await?;
                    open = Some((key, upload));
                }
                Piece::Bytes(bytes) => {
                    let (_, upload) = open.as_mut().expect("a chunk has begun");
                    upload.write(bytes).await?;
                }
                Piece::End(finished) => {
                    let (key, upload) = open.take().expect("a chunk has begun");
                    chunks.push(self.finish_chunk(key, upload, finished).await?);
                }
            }
        }
        Ok(chunks)
    }

    /// NB: whoever writes under this name writes the same: what is committed up to an index never changes, and the
    /// epoch is this process's alone. So a try whose answer was lost may be repeated.
    async fn finish_chunk(
        &self,
        key: key::Key,
        mut upload: Box<dyn Upload>,
        finished: Finished,
    ) -> Result<Chunk, Error> {
        upload.write(finished.rest).await?;
        upload.finish(Condition::None).await?;
        let chunk = finished.summary;
        let not_there = |why: String| Error::NotThere {
            key: key.clone(),
            why,
        };
        let length = chunk.stored_bytes - chunk.index_position;
        let length = usize::try_from(length).map_err(|why| not_there(why.to_string()))?;
        let index = self
            .store()
            .range(&key, chunk.index_position, length)
            .await?;
        let opened: Result<Reader, chunk::Error> =
            Reader::open(&index, &chunk, &self.subject.source);
        opened.map_err(|why| not_there(why.to_string()))?;
        // There is no other copy of it here, and the log is dropped for it.
        if self.is_own && !copy::is_as_written(self.store(), &key, &chunk).await? {
            return Err(not_there("it was read back otherwise".to_owned()));
        }
        Ok(Chunk { key, chunk })
    }

    async fn put_manifest(&self, chunks: Vec<Chunk>) -> Result<Stored, Error> {
        let wanted = &self.wanted;
        let mut manifest = Manifest {
            format: manifest::FORMAT,
            source: self.subject.source.clone(),
            topic: self.subject.topic.clone(),
            incarnation: self.incarnation,
            leader_epoch: self.leader_epoch(),
            index: wanted.index.0,
            term: wanted.index_term.0,
            created_ms: self.now_ms,
            log_start: wanted.log_start,
            next_offset: wanted.next_offset,
            leader_epochs: wanted.epochs.iter().map(epoch_start).collect(),
            configs: self.subject.configs.clone(),
            voters: self.subject.voters.clone(),
            state: wanted.state.clone(),
            aborted_transactions: Vec::new(),
            chunks,
        };
        let key = manifest.key();
        let not_there = |why: String| Error::NotThere {
            key: key.clone(),
            why,
        };
        // What would be refused when it is read must not be written.
        let bytes = manifest.encode();
        Manifest::decode(&bytes, &key, &self.subject.source)
            .map_err(|why| not_there(why.to_string()))?;
        let found_max = bytes.len().saturating_mul(2);
        // What is there is an earlier try of this very leader, whose answer was lost, or whose news were not committed.
        // It may have cut the chunks otherwise.
        if let Some(found) = store::put_once(self.store(), &key, bytes, found_max).await? {
            let found = Manifest::decode(&found, &key, &self.subject.source)
                .map_err(|why| not_there(why.to_string()))?;
            if !PartitionState::are_alike(&found.state, &manifest.state) {
                return Err(not_there("somebody else wrote it".to_owned()));
            }
            manifest = found;
        }
        Ok(Stored {
            incarnation: self.incarnation.0,
            leader_epoch: manifest.leader_epoch,
            index: manifest.index,
            next_offset: manifest.next_offset,
            identity: self.is_own.then(|| manifest.identity()),
        })
    }
}

fn epoch_start(&(epoch, start_offset): &(i32, i64)) -> EpochStart {
    EpochStart {
        epoch,
        start_offset,
    }
}
