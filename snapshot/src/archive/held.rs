//! What is held, for whoever lacks it in the store. Nobody is asked for it, and nothing is counted.

use std::sync::Arc;

use bytes::Bytes;

use super::cache::{Held, Part, Place};
use super::{Archive, Manifest, Name, Reader};
use crate::manifest::Chunk;
use crate::source::Source;

impl Archive {
    pub(crate) fn held_manifest(&self, name: &Name) -> Option<Arc<Manifest>> {
        match self.loader.cache.peek(&Part::Manifest(name.clone()))? {
            Held::Manifest(manifest) => Some(manifest),
            other => unreachable!("a manifest was looked for, not {other:?}"),
        }
    }

    pub(crate) fn held_reader(&self, source: &Source, chunk: &Chunk) -> Option<Arc<Reader>> {
        self.held_index(&place_of(source, chunk))
    }

    /// The records of the member with this number.
    pub(crate) fn held_records(
        &self,
        source: &Source,
        chunk: &Chunk,
        number: usize,
    ) -> Option<Bytes> {
        let part = Part::Member(place_of(source, chunk), number);
        match self.loader.cache.peek(&part)? {
            Held::Member(opened) => Some(opened.raw()),
            other => unreachable!("a member was looked for, not {other:?}"),
        }
    }
}

fn place_of(source: &Source, chunk: &Chunk) -> Arc<Place> {
    Arc::new(Place {
        source: source.clone(),
        chunk: chunk.clone(),
    })
}
