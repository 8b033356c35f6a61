//! The meta file: the highest round known to be synced. A log that ends before it is faulty, not short.
//!
//! Two slots are written in turn, each in two copies, so that a power cut while one is written leaves the other.

use crate::codec::{Decoder, Encode};
use crate::disk::File;
use crate::layout::{META_MAGIC, VERSION};
use crate::pages::{PAGE_BYTES, Pages};
use raft::types::DirectoryId;
use std::io;
use std::sync::Arc;

/// What the meta file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// Counts writes; the highest is the newest.
    pub(crate) generation: u64,
    /// The highest round that was synced.
    pub(crate) round: u64,
    /// The newest manifest then.
    pub(crate) manifest: u64,
}

/// Size of the file.
pub(crate) const META_BYTES: u64 = 4 * PAGE_BYTES as u64;
const MARK_BYTES: usize = 8 + 4 + 16 + 8 + 8 + 8 + 4;

/// The open meta file and the newest mark in it.
pub(crate) struct Meta {
    pub(crate) file: Arc<dyn File>,
    pub(crate) directory: DirectoryId,
    pub(crate) mark: Mark,
}

impl Meta {
    /// Writes a mark if it says more than the newest one. Returns whether it wrote (and synced).
    pub(crate) fn advance(&mut self, round: u64, manifest: u64) -> io::Result<bool> {
        if round <= self.mark.round && manifest <= self.mark.manifest {
            return Ok(false);
        }
        let mark = Mark {
            generation: self.mark.generation + 1,
            round: round.max(self.mark.round),
            manifest: manifest.max(self.mark.manifest),
        };
        self.write(mark)?;
        Ok(true)
    }

    /// Writes a mark into the slot of its generation.
    pub(crate) fn write(&mut self, mark: Mark) -> io::Result<()> {
        let bytes = encode(mark, self.directory);
        let mut pages = Pages::with_capacity(2 * PAGE_BYTES);
        for _ in 0..2 {
            pages.extend(&bytes);
            pages.pad_to(PAGE_BYTES);
        }
        self.file
            .write_at(mark.generation % 2 * 2 * PAGE_BYTES as u64, &pages)?;
        self.file.sync()?;
        self.mark = mark;
        Ok(())
    }
}

fn encode(mark: Mark, directory: DirectoryId) -> Vec<u8> {
    let mut out = Vec::with_capacity(MARK_BYTES);
    out.put_u64(META_MAGIC);
    out.put_u32(VERSION);
    out.put_u128(directory.0);
    out.put_u64(mark.generation);
    out.put_u64(mark.round);
    out.put_u64(mark.manifest);
    let crc = crc32fast::hash(&out);
    out.put_u32(crc);
    out
}

/// The newest mark of this directory, from any of the four copies; None when none is valid.
pub(crate) fn read(file: &dyn File, directory: DirectoryId) -> Option<Mark> {
    let marks = copies(file, directory).into_iter();
    let marks = marks.filter_map(|copy| copy.mark);
    marks.max_by_key(|mark| mark.generation)
}

/// What each of the four copies says, slot by slot; None for one that is not whole.
pub(crate) fn copies(file: &dyn File, directory: DirectoryId) -> [MarkCopy; 4] {
    [0, 1, 2, 3].map(|copy| {
        let position = copy * PAGE_BYTES as u64;
        let mut page = Pages::zeroed(PAGE_BYTES);
        let read = file.read_at(position, &mut page);
        // An unreadable copy is what the other ones are for.
        if let Err(error) = &read {
            tracing::error!(copy, %error, "a copy of the meta file cannot be read");
        }
        MarkCopy {
            position,
            mark: decode(&page, directory).filter(|_| read.is_ok()),
            padded: page[MARK_BYTES..].iter().all(|byte| *byte == 0),
        }
    })
}

/// One copy of a mark.
#[derive(Clone, Copy)]
pub(crate) struct MarkCopy {
    pub(crate) position: u64,
    pub(crate) mark: Option<Mark>,
    /// Whether the rest of its page is as it was written: zeros.
    pub(crate) padded: bool,
}

fn decode(page: &[u8], directory: DirectoryId) -> Option<Mark> {
    let bytes = page.get(..MARK_BYTES)?;
    let mut from = Decoder::new(bytes);
    if from.u64()? != META_MAGIC || from.u32()? != VERSION || from.u128()? != directory.0 {
        return None;
    }
    let mark = Mark {
        generation: from.u64()?,
        round: from.u64()?,
        manifest: from.u64()?,
    };
    (from.u32()? == crc32fast::hash(&bytes[..MARK_BYTES - 4])).then_some(mark)
}
