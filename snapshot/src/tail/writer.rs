use uuid::Uuid;

use super::entries::{self, Entry};
use super::{Directory, FORMAT, Name, Part};
use crate::digest::Digest;
use crate::key::Key;
use crate::member;
use crate::sealed;
use crate::source::Incarnation;
use bytes::Bytes;

/// Fast, and it is read seldom.
const LEVEL: u32 = 1;

/// What a part with these entries is, raw and as it is stored.
pub(crate) fn part_of(entries: &[Entry]) -> (Vec<u8>, Vec<u8>) {
    let raw = raw_of(entries);
    let stored = member::deflate(&raw, LEVEL, Vec::new());
    (raw, stored)
}

fn raw_of(added: &[Entry]) -> Vec<u8> {
    let mut raw = Vec::new();
    for entry in added {
        entries::encode(entry, &mut raw);
    }
    raw
}

/// Makes a tail, in memory.
#[derive(Debug)]
pub struct Writer {
    directory: Directory,
    parts: Vec<u8>,
}

impl Writer {
    /// One without parts.
    #[must_use]
    pub fn new(store_id: String, incarnation: Incarnation, broker: i32, created_ms: i64) -> Self {
        Self {
            directory: Directory {
                format: FORMAT,
                cluster_id: store_id,
                incarnation,
                broker,
                created_ms,
                parts: Vec::new(),
            },
            parts: Vec::new(),
        }
    }

    /// Adds committed entries of a partition, at least one.
    ///
    /// # Panics
    /// When there is none, or a gap between them.
    pub fn push(&mut self, topic_id: Uuid, partition: i32, added: &[Entry]) {
        let (first, last) = (added.first(), added.last());
        let (first, last) = first.zip(last).expect("a part holds entries");
        assert_eq!(
            last.index - first.index + 1,
            added.len() as u64,
            "entries follow each other"
        );
        let raw = raw_of(added);
        let before = self.parts.len();
        self.parts = member::deflate(&raw, LEVEL, std::mem::take(&mut self.parts));
        let stored = &self.parts[before..];
        self.directory.parts.push(Part {
            topic_id,
            partition,
            first_index: first.index,
            last_index: last.index,
            position: before as u64,
            stored_bytes: stored.len() as u64,
            stored_crc32: crc32fast::hash(stored),
            raw_bytes: raw.len() as u64,
            raw_sha256: Digest::of(&raw),
        });
    }

    /// Bytes of its parts so far.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.parts.len()
    }

    /// How many parts it has.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.directory.parts.len()
    }

    /// The object and its name.
    #[must_use]
    pub fn finish(self) -> (Key, Bytes) {
        let Self { directory, parts } = self;
        let mut object = member::deflate(&sealed::encode(&directory), LEVEL, Vec::new());
        let name = Name {
            incarnation: directory.incarnation,
            broker: directory.broker,
            created_ms: directory.created_ms,
            directory_bytes: object.len() as u64,
            directory_crc32: crc32fast::hash(&object),
        };
        object.extend_from_slice(&parts);
        (name.key(), object.into())
    }
}
