//! What was read, bounded in bytes, and what is being read, by one reader for all that want it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::watch;

use super::member::Opened;
use super::{Error, Figures};
use crate::chunk::Reader;
use crate::key::Key;
use crate::manifest::{Chunk, Manifest, Name};
use crate::source::Source;

/// What an entry costs beside its contents: its name twice, its place in the list and in the table.
const ENTRY_BYTES: u64 = 512;

/// A chunk as a manifest describes it: two manifests that describe one differently share nothing here.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) source: Source,
    pub(super) chunk: Chunk,
}

/// What can be held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Manifest(Name),
    Index(Arc<Place>),
    /// The member with this number.
    Member(Arc<Place>, usize),
}

#[derive(Clone, Debug)]
pub(super) enum Held {
    Manifest(Arc<Manifest>),
    Index(Arc<Reader>),
    Member(Arc<Opened>),
}

type Landed = Option<Result<Held, Error>>;

/// A part that somebody else is reading.
pub(super) struct Flight(watch::Receiver<Landed>);

impl Flight {
    /// What came of it. None when it was given up: whoever still wants the part has to read it.
    pub(super) async fn landed(mut self) -> Landed {
        let landed = self.0.wait_for(Option::is_some).await;
        landed.ok()?.clone()
    }
}

/// Where a part is.
pub(super) enum Whereabouts {
    Held(Held),
    Flying(Flight),
    /// Nowhere: the caller reads it, and the ones after it that came with it.
    Claimed(Vec<Claim>),
}

#[derive(Debug)]
pub(super) struct Cache {
    bytes_max: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// With their bytes.
    held: LruCache<Part, (Held, u64)>,
    flights: HashMap<Part, watch::Receiver<Landed>>,
    figures: Figures,
}

impl Cache {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            inner: Mutex::new(Inner {
                held: LruCache::unbounded(),
                flights: HashMap::new(),
                figures: Figures::default(),
            }),
        })
    }

    /// Where the first of these parts is. When it is nowhere, it is claimed, and so are those after it up to the first
    /// one that is somewhere: they lie side by side and one request brings them all.
    pub(super) fn look_up(self: &Arc<Self>, parts: &[Part]) -> Whereabouts {
        let mut inner = self.lock();
        let first = parts.first().expect("something is looked for");
        if let Some((held, _)) = inner.held.get(first) {
            let held = held.clone();
            inner.figures.hits += 1;
            return Whereabouts::Held(held);
        }
        if let Some(flight) = inner.flights.get(first) {
            let flight = Flight(flight.clone());
            inner.figures.joined += 1;
            return Whereabouts::Flying(flight);
        }
        inner.figures.misses += 1;
        let mut claims = Vec::new();
        for part in parts {
            if inner.is_at_hand(part) {
                break;
            }
            let (sender, receiver) = watch::channel(None);
            inner.flights.insert(part.clone(), receiver);
            claims.push(Claim {
                cache: self.clone(),
                part: part.clone(),
                sender,
                landed: false,
            });
        }
        Whereabouts::Claimed(claims)
    }

    /// Whether a part is held, or is being read already.
    pub(super) fn is_at_hand(&self, part: &Part) -> bool {
        self.lock().is_at_hand(part)
    }

    /// A part that is held, as if nobody had asked.
    pub(super) fn peek(&self, part: &Part) -> Option<Held> {
        let inner = self.lock();
        inner.held.peek(part).map(|(held, _)| held.clone())
    }

    /// Holds a part no longer.
    pub(super) fn forget(&self, part: &Part) {
        let mut inner = self.lock();
        if let Some((_, freed)) = inner.held.pop(part) {
            inner.figures.held_bytes -= freed;
        }
    }

    /// A request was made and brought so many bytes.
    pub(super) fn count_request(&self, bytes: usize) {
        let figures = &mut self.lock().figures;
        figures.requests += 1;
        figures.read_bytes += bytes as u64;
    }

    pub(super) fn figures(&self) -> Figures {
        self.lock().figures
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics between two changes that belong together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_at_hand(&self, part: &Part) -> bool {
        self.held.contains(part) || self.flights.contains_key(part)
    }

    /// Holds a part in place of those that were used the longest ago. One that is larger than all is not held.
    fn hold(&mut self, part: Part, held: Held, bytes: u64, bytes_max: u64) {
        let bytes = bytes.saturating_add(ENTRY_BYTES);
        if bytes > bytes_max {
            return;
        }
        while self.figures.held_bytes + bytes > bytes_max {
            let (_, (_, freed)) = self.held.pop_lru().expect("what is held has its bytes");
            self.figures.held_bytes -= freed;
        }
        let before = self.held.put(part, (held, bytes));
        assert!(before.is_none(), "a part is read once at a time");
        self.figures.held_bytes += bytes;
    }
}

/// The duty to read a part. Dropped before it is fulfilled, it falls to one of those who wait.
#[derive(Debug)]
pub(super) struct Claim {
    cache: Arc<Cache>,
    part: Part,
    sender: watch::Sender<Landed>,
    landed: bool,
}

impl Claim {
    /// The object that the part is in.
    pub(super) fn key(&self) -> Key {
        match &self.part {
            Part::Manifest(name) => name.key(),
            Part::Index(place) | Part::Member(place, _) => place.chunk.key.clone(),
        }
    }

    /// Tells all who wait, and holds what was read. An error is told and forgotten.
    pub(super) fn land(mut self, read: Result<(Held, u64), Error>) -> Result<Held, Error> {
        self.landed = true;
        let told = {
            let mut inner = self.cache.lock();
            inner.flights.remove(&self.part);
            read.map(|(held, bytes)| {
                inner.hold(self.part.clone(), held.clone(), bytes, self.cache.bytes_max);
                held
            })
        };
        self.sender.send_replace(Some(told.clone()));
        told
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.landed {
            self.cache.lock().flights.remove(&self.part);
        }
    }
}
