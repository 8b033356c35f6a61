//! Own copies, brought up to a committed snapshot.
//!
//! What is here already is kept. What this replica's log has is made from it, and has to be what was committed. The rest is
//! fetched. The manifest, which describes these copies, comes last: as long as it is not here the former one holds.

use std::sync::Arc;

use snapshot::archive::Archive;
use snapshot::chunk::Summary;
use snapshot::copy::{self, Donor};
use snapshot::digest::Digest;
use snapshot::inventory::Objects;
use snapshot::key::{self, Key};
use snapshot::manifest::{self, Chunk, Manifest, Name};
use snapshot::source::{Incarnation, Source};
use snapshot::store::{self, Condition, Store, Upload};

use super::super::build::{self, Build, Piece};
use super::super::name_of;
use super::super::take::{self, Place};
use crate::partition::stored::Stored;
use crate::shard::Holding;

/// Why own copies are not what they should be. Those of the former snapshot are as they were.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The own folder.
    #[error("the folder of own copies: {0}")]
    Store(#[from] store::Error),
    /// Not the time.
    #[error(transparent)]
    NotNow(#[from] take::Error),
    /// The own log cannot be read.
    #[error("cannot make chunks from the log: {0}")]
    Build(#[from] build::Error),
    /// What the log holds is not what was committed.
    #[error(
        "offsets {first_offset} to {next_offset} ({key}): the committed snapshot says SHA-256 {wanted}, this replica has {found}"
    )]
    Differs {
        /// The chunk.
        key: Key,
        /// Its first offset.
        first_offset: i64,
        /// The first one behind it.
        next_offset: i64,
        /// The committed digest of its records.
        wanted: Digest,
        /// The own one's.
        found: Digest,
    },
    /// Every other replica says that it does not have it.
    #[error("no other replica has {key}")]
    Lost {
        /// Which object.
        key: Key,
        /// The newest one before it of which everything is here, where that was not known.
        former: Option<Stored>,
    },
    /// Nobody could be asked who has it.
    #[error("{key} is not to be had now: {why}")]
    NotToBeHad {
        /// Which object.
        key: Key,
        /// What the last one said who was asked.
        why: String,
    },
    /// The own disk does not keep what is written.
    #[error("{0} was read back otherwise")]
    NotKept(Key),
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::snapshots) struct Brought {
    /// Chunks that were here once, and are not what was written.
    pub(in crate::snapshots) damaged: u64,
    /// Chunks from other replicas.
    pub(in crate::snapshots) fetched: u64,
    /// Their bytes, as they lie there.
    pub(in crate::snapshots) fetched_bytes: u64,
}

/// See the module.
pub(in crate::snapshots) struct Bring<'a, D> {
    pub(in crate::snapshots) archive: &'a Archive,
    pub(in crate::snapshots) reader: Arc<wal::Reader>,
    pub(in crate::snapshots) source: &'a Source,
    pub(in crate::snapshots) incarnation: Incarnation,
    pub(in crate::snapshots) holding: &'a Holding,
    /// Chunks that somebody could not read.
    pub(in crate::snapshots) suspects: &'a std::collections::BTreeSet<Key>,
    /// The other replicas, the leader first.
    pub(in crate::snapshots) donors: &'a [D],
    pub(in crate::snapshots) place: Place,
    pub(in crate::snapshots) has_room: &'a dyn Fn() -> bool,
}

impl<D: Donor> Bring<'_, D> {
    /// Does it. Dropped in the middle, or ended by an error, it leaves chunks that nobody refers to.
    pub(in crate::snapshots) async fn run(&self) -> Result<Brought, Error> {
        let identity = self.holding.stored.identity;
        let identity = identity.expect("what is held by each replica has an identity");
        let name = name_of(self.source, &self.holding.stored);
        let mut brought = Brought::default();
        if !self.suspects.is_empty() {
            self.archive.forget(&name);
        }
        let own = self.own_manifest(&name).await?;
        let own = own.filter(|own| own.identity() == identity);
        let is_new = own.is_none();
        let mut manifest = match own {
            Some(own) => own,
            None => self.manifest(&name, identity).await?,
        };
        // What it says of copies is another replica's; the former manifest knows those that are here.
        let before = match self.holding.before {
            Some(before) if is_new => self.own_manifest(&name_of(self.source, &before)).await?,
            _ => None,
        };
        let mut is_changed = is_new;
        for at in 0..manifest.chunks.len() {
            let named = manifest.chunks[at].clone();
            let here = self.here(&named, is_new, before.as_ref()).await?;
            let chunk = match here {
                Some(chunk) => chunk,
                None => {
                    if !is_new {
                        brought.damaged += 1;
                        tracing::error!(
                            target: "snapshot", group = self.holding.group.0, key = %named.key,
                            "a chunk of this replica's own copies is damaged or gone"
                        );
                    }
                    self.make(&name, identity, &named, &mut brought).await?
                }
            };
            is_changed |= chunk != named.chunk;
            manifest.chunks[at].chunk = chunk;
        }
        if is_changed {
            self.put(&name, &manifest).await?;
        }
        Ok(brought)
    }

    fn store(&self) -> &dyn Store {
        &**self.archive.store()
    }

    /// A manifest in the own folder. One that is damaged is one that is not there.
    async fn own_manifest(&self, name: &Name) -> Result<Option<Manifest>, Error> {
        let key = name.key();
        let read = self.store().get(&key, manifest::BYTES_MAX).await;
        let Some((bytes, _)) = store::there(read)? else {
            return Ok(None);
        };
        let read = Manifest::decode(&bytes, &key, self.source);
        if let Err(why) = &read {
            tracing::error!(target: "snapshot", %key, %why, "a manifest of own copies is damaged");
        }
        Ok(read.ok())
    }

    /// The committed manifest, from whoever has it.
    async fn manifest(&self, name: &Name, identity: Digest) -> Result<Manifest, Error> {
        let mut last = None;
        for donor in self.donors {
            match copy::manifest(donor, name, identity).await {
                Ok(found) => return Ok(found),
                Err(copy::Error::NotThere { .. }) => {}
                Err(why) => last = Some(why.to_string()),
            }
        }
        match last {
            Some(why) => Err(Error::NotToBeHad {
                key: name.key(),
                why,
            }),
            None => Err(Error::Lost {
                key: name.key(),
                former: self.former(name).await?,
            }),
        }
    }

    /// The newest snapshot before this one of which everything is here; None when it is known what is held.
    async fn former(&self, wanted: &Name) -> Result<Option<Stored>, Error> {
        if self.holding.before.is_some() {
            return Ok(None);
        }
        let prefix = key::manifests_prefix(self.source);
        let manifests = Objects::list(self.store(), &prefix).await?.manifests;
        let older = manifests.into_iter().map(|(age, _)| age);
        for age in older.filter(|age| *age < wanted.age()).rev() {
            let name = Name {
                source: self.source.clone(),
                incarnation: age.incarnation,
                leader_epoch: age.leader_epoch,
                index: age.index,
            };
            let Some(manifest) = self.own_manifest(&name).await? else {
                continue;
            };
            if self.has_all(&manifest).await? {
                return Ok(Some(Stored {
                    incarnation: age.incarnation.0,
                    leader_epoch: age.leader_epoch,
                    index: age.index,
                    next_offset: manifest.next_offset,
                    identity: Some(manifest.identity()),
                }));
            }
        }
        Ok(None)
    }

    async fn has_all(&self, manifest: &Manifest) -> Result<bool, Error> {
        for Chunk { key, chunk, .. } in &manifest.chunks {
            if !copy::is_as_written(self.store(), key, chunk).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is here of a chunk, as it was written: known from an own manifest, or else read from end to end.
    async fn here(
        &self,
        named: &Chunk,
        is_new: bool,
        before: Option<&Manifest>,
    ) -> Result<Option<Summary>, Error> {
        let is_it = |chunk: &&Chunk| {
            chunk.key == named.key && chunk.chunk.as_of_any() == named.chunk.as_of_any()
        };
        let known = match is_new {
            true => before.and_then(|before| before.chunks.iter().find(is_it)),
            false => Some(named),
        };
        let chunk = known.unwrap_or(named);
        let is_here = if known.is_none() || self.suspects.contains(&named.key) {
            copy::is_as_written(self.store(), &named.key, &chunk.chunk).await?
        } else {
            copy::has_index(self.store(), self.source, chunk).await?
        };
        Ok(is_here.then(|| chunk.chunk.clone()))
    }

    async fn make(
        &self,
        name: &Name,
        identity: Digest,
        named: &Chunk,
        brought: &mut Brought,
    ) -> Result<Summary, Error> {
        if !(self.has_room)() {
            return Err(take::Error::NotNow("the disk is nearly full").into());
        }
        if named.chunk.first_offset >= self.holding.local_start {
            match self.build(named).await {
                // Dropped since it was ordered.
                Err(Error::Build(build::Error::Gone(_))) => {}
                built => return built,
            }
        }
        let chunk = self.fetch(name, identity, named).await?;
        brought.fetched += 1;
        brought.fetched_bytes += chunk.stored_bytes;
        Ok(chunk)
    }

    /// Makes a chunk from the own log. What comes out of it has to be what was committed, else nothing is written.
    async fn build(&self, named: &Chunk) -> Result<Summary, Error> {
        let holding = self.holding;
        let build = Build {
            reader: Arc::clone(&self.reader),
            group: holding.group,
            replica: holding.replica,
            source: self.source.clone(),
            incarnation: self.incarnation,
            from: named.chunk.first_offset,
            next_offset: named.chunk.next_offset,
            until: raft::types::Index(holding.stored.index),
            chunk_bytes: u64::MAX,
            // This replica's log grows until it is done.
            is_late: true,
        };
        let mut pieces = match self.place {
            Place::Thread => build.start().map_err(take::Error::Thread)?,
            Place::Here => build.all(),
        };
        let mut upload: Option<Box<dyn Upload>> = None;
        while let Some(piece) = pieces.recv().await {
            match piece? {
                Piece::Begin(_) => upload = Some(self.store().upload(&named.key).await?),
                Piece::Bytes(bytes) => {
                    let upload = upload.as_mut().expect("a chunk has begun");
                    upload.write(bytes).await?;
                }
                Piece::End(finished) => {
                    let made = finished.summary;
                    if made.as_of_any() != named.chunk.as_of_any() {
                        return Err(Error::Differs {
                            key: named.key.clone(),
                            first_offset: named.chunk.first_offset,
                            next_offset: named.chunk.next_offset,
                            wanted: named.chunk.raw_sha256,
                            found: made.raw_sha256,
                        });
                    }
                    let mut upload = upload.take().expect("a chunk has begun");
                    upload.write(finished.rest).await?;
                    upload.finish(Condition::None).await?;
                    let is_kept = copy::is_as_written(self.store(), &named.key, &made).await?;
                    return match is_kept {
                        true => Ok(made),
                        false => Err(Error::NotKept(named.key.clone())),
                    };
                }
            }
        }
        Err(build::Error::Gone(named.chunk.first_offset).into())
    }

    /// Fetches a chunk from another replica, whose manifest says what its copy is.
    async fn fetch(&self, name: &Name, identity: Digest, named: &Chunk) -> Result<Summary, Error> {
        let mut last = "there is no other replica".to_owned();
        for donor in self.donors {
            let theirs = match copy::manifest(donor, name, identity).await {
                Ok(theirs) => theirs,
                Err(why) => {
                    last = why.to_string();
                    continue;
                }
            };
            let chunk = theirs.chunks.iter().find(|chunk| chunk.key == named.key);
            let chunk = chunk.expect("it has the same identity");
            let epochs = &theirs.leader_epochs;
            match copy::chunk(donor, self.store(), self.source, chunk, epochs).await {
                Ok(()) => return Ok(chunk.chunk.clone()),
                Err(copy::Error::Store(why)) => return Err(why.into()),
                Err(why) => last = why.to_string(),
            }
        }
        Err(Error::NotToBeHad {
            key: named.key.clone(),
            why: last,
        })
    }

    async fn put(&self, name: &Name, manifest: &Manifest) -> Result<(), Error> {
        let (key, bytes) = (name.key(), manifest.encode());
        self.store()
            .put(&key, bytes.clone(), Condition::None)
            .await?;
        self.archive.forget(name);
        let (found, _) = self.store().get(&key, bytes.len()).await?;
        match found == bytes {
            true => Ok(()),
            false => Err(Error::NotKept(key)),
        }
    }
}
