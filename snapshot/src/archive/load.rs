//! From the store into the cache.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use super::Error;
use super::cache::{Cache, Claim, Held, Part, Place, Whereabouts};
use super::member::Opened;
use crate::chunk::{self, Member, Reader};
use crate::key::Key;
use crate::manifest::{self, EpochStart, Manifest, Name};
use crate::store::{self, Store};

/// What is to be read, and all that it takes to do so.
#[derive(Clone)]
pub(super) enum Wanted {
    Manifest(Name),
    Index(Arc<Place>),
    Members(Members),
}

/// Members of one chunk, side by side. Only the first one is really wanted.
#[derive(Clone)]
pub(super) struct Members {
    pub(super) place: Arc<Place>,
    pub(super) index: Arc<Reader>,
    pub(super) numbers: Range<usize>,
    pub(super) epochs: Arc<[EpochStart]>,
}

impl Wanted {
    fn key(&self) -> Key {
        match self {
            Self::Manifest(name) => name.key(),
            Self::Index(place) => place.chunk.key.clone(),
            Self::Members(members) => members.place.chunk.key.clone(),
        }
    }

    fn parts(&self) -> Vec<Part> {
        match self {
            Self::Manifest(name) => vec![Part::Manifest(name.clone())],
            Self::Index(place) => vec![Part::Index(place.clone())],
            Self::Members(members) => {
                let part = |number| Part::Member(members.place.clone(), number);
                members.numbers.clone().map(part).collect()
            }
        }
    }
}

/// Reads from a store into a cache.
#[derive(Clone, Debug)]
pub(super) struct Loader {
    pub(super) store: Arc<dyn Store>,
    pub(super) cache: Arc<Cache>,
}

impl Loader {
    /// What is wanted: held, awaited or read.
    pub(super) async fn bring(&self, wanted: &Wanted) -> Result<Held, Error> {
        let parts = wanted.parts();
        loop {
            match self.cache.look_up(&parts) {
                Whereabouts::Held(held) => return Ok(held),
                Whereabouts::Flying(flight) => {
                    if let Some(landed) = flight.landed().await {
                        return landed;
                    }
                }
                Whereabouts::Claimed(claims) => return self.begin(wanted, claims).await,
            }
        }
    }

    /// Where there is a runtime, what was begun does not depend on who began it: he may stop polling, and others wait.
    async fn begin(&self, wanted: &Wanted, claims: Vec<Claim>) -> Result<Held, Error> {
        let Ok(runtime) = Handle::try_current() else {
            return self.load(wanted, claims).await;
        };
        let (loader, begun) = (self.clone(), wanted.clone());
        let running = runtime.spawn(async move { loader.load(&begun, claims).await });
        joined(&wanted.key(), running).await
    }

    async fn load(&self, wanted: &Wanted, mut claims: Vec<Claim>) -> Result<Held, Error> {
        match wanted {
            Wanted::Members(members) => return self.load_members(members, claims).await,
            Wanted::Manifest(name) => {
                let read = self.whole_manifest(name).await;
                let name = name.clone();
                let claim = claims.pop().expect("the manifest's");
                open(claim, read, move |bytes| open_manifest(&bytes, &name))
            }
            Wanted::Index(place) => {
                let read = self.index_of(place).await;
                let place = place.clone();
                let claim = claims.pop().expect("the index's");
                open(claim, read, move |bytes| open_index(&bytes, &place))
            }
        }
        .done()
        .await
    }

    async fn whole_manifest(&self, name: &Name) -> Result<Bytes, Error> {
        let key = name.key();
        let read = self.store.get(&key, manifest::BYTES_MAX).await;
        self.counted(&key, read.map(|(bytes, _)| bytes))
    }

    async fn index_of(&self, place: &Place) -> Result<Bytes, Error> {
        let key = &place.chunk.key;
        let summary = &place.chunk.chunk;
        let Some(length) = summary.index_bytes() else {
            let why = "its index is said to be of a length that none has";
            return Err(Error::damaged(key, chunk::Error::Disagrees(why)));
        };
        let read = self.store.range(key, summary.index_position, length).await;
        self.counted(key, read)
    }

    /// Reads what is claimed with one request, and waits for the first of it.
    async fn load_members(&self, members: &Members, mut claims: Vec<Claim>) -> Result<Held, Error> {
        let key = &members.place.chunk.key;
        let first = members.numbers.start;
        let all = &members.index.members()[first..];
        let start = all[0].position;
        let mut read = self.members_at(key, &all[..claims.len()]).await;
        if claims.len() > 1 && matches!(read, Err(Error::Damaged { .. })) {
            // The object ends too early for all; what is wanted may be whole.
            claims.truncate(1);
            read = self.members_at(key, &all[..1]).await;
        }
        let mut wanted = None;
        for (claim, member) in claims.into_iter().zip(all) {
            let (member, key) = (member.clone(), key.clone());
            let part = read.clone().map(|stored| part_of(&stored, start, &member));
            let epochs = members.epochs.clone();
            let opening = open(claim, part, move |stored| {
                open_member(&stored, &key, &member, &epochs)
            });
            wanted.get_or_insert(opening);
        }
        wanted.expect("a member is claimed").done().await
    }

    async fn members_at(&self, key: &Key, members: &[Member]) -> Result<Bytes, Error> {
        let bytes: u64 = members.iter().map(|member| member.stored_bytes).sum();
        // They lie within what the manifest declares, as the index was compared with it.
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let read = self.store.range(key, members[0].position, length).await;
        self.counted(key, read)
    }

    fn counted(&self, key: &Key, read: Result<Bytes, store::Error>) -> Result<Bytes, Error> {
        self.cache
            .count_request(read.as_ref().map_or(0, Bytes::len));
        read.map_err(|why| Error::of_store(key, why))
    }
}

/// The stored bytes of one member; fewer when there are no more, which opening it tells.
fn part_of(stored: &Bytes, start: u64, member: &Member) -> Bytes {
    let within = |position: u64| {
        let position = usize::try_from(position - start).unwrap_or(usize::MAX);
        position.min(stored.len())
    };
    stored.slice(within(member.position)..within(member.position + member.stored_bytes))
}

fn open_manifest(bytes: &[u8], name: &Name) -> Result<(Held, u64), Error> {
    let key = name.key();
    let manifest =
        Manifest::decode(bytes, &key, &name.source).map_err(|why| Error::damaged(&key, why))?;
    // Its JSON is longer than what becomes of it.
    Ok((Held::Manifest(Arc::new(manifest)), bytes.len() as u64))
}

fn open_index(bytes: &[u8], place: &Place) -> Result<(Held, u64), Error> {
    let index = Reader::open(bytes, &place.chunk.chunk, &place.source)
        .map_err(|why| Error::damaged(&place.chunk.key, why))?;
    let bytes = size_of_val(index.members()) as u64;
    Ok((Held::Index(Arc::new(index)), bytes))
}

fn open_member(
    stored: &[u8],
    key: &Key,
    member: &Member,
    epochs: &[EpochStart],
) -> Result<(Held, u64), Error> {
    let opened = Opened::open(member, stored, epochs).map_err(|why| Error::damaged(key, why))?;
    let bytes = opened.bytes();
    Ok((Held::Member(Arc::new(opened)), bytes))
}

/// A part that is being opened, or was.
enum Opening {
    Done(Result<Held, Error>),
    Running(Key, JoinHandle<Result<Held, Error>>),
}

impl Opening {
    async fn done(self) -> Result<Held, Error> {
        match self {
            Self::Done(opened) => opened,
            Self::Running(key, running) => joined(&key, running).await,
        }
    }
}

async fn joined(key: &Key, running: JoinHandle<Result<Held, Error>>) -> Result<Held, Error> {
    match running.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime is shutting down.
        Err(Err(ending)) => {
            let (name, why) = (key.to_string(), ending.to_string());
            Err(Error::of_store(
                key,
                store::Error::Unavailable { key: name, why },
            ))
        }
    }
}

/// Opens what was read and lands it: on a thread that may take its time, where there is a runtime that has any.
fn open(
    claim: Claim,
    read: Result<Bytes, Error>,
    work: impl FnOnce(Bytes) -> Result<(Held, u64), Error> + Send + 'static,
) -> Opening {
    match (read, Handle::try_current()) {
        (Err(why), _) => Opening::Done(claim.land(Err(why))),
        (Ok(bytes), Err(_)) => Opening::Done(claim.land(work(bytes))),
        (Ok(bytes), Ok(runtime)) => {
            let key = claim.key();
            let running = runtime.spawn_blocking(move || claim.land(work(bytes)));
            Opening::Running(key, running)
        }
    }
}
