//! Taking a damaged segment apart: every stretch of whole entries moves, with copies in the place of damaged ones; what
//! there is no copy of stays where it is.

use super::Piece;
use super::rewrite::{Copied, Rewrite};
use crate::frame::FrameHeader;
use crate::heal::frame_of;
use crate::salvage::{Salvaged, salvage};
use raft::types::Entry;
use std::collections::BTreeMap;
use std::io;

/// A part ends after this share of a segment: where the outputs have no room for all, most of it moves.
const PARTS_PER_SEGMENT: u64 = 16;

impl Rewrite {
    /// Copies what is whole of a piece, and what was donated of it.
    pub(super) fn take_apart(&mut self, at: usize) -> io::Result<()> {
        let piece = &self.task.pieces[at];
        let (extent, key) = (piece.extent, (piece.group, piece.replica));
        let footer = crate::footers::load_footer(
            &piece.segment,
            piece.footer_at,
            self.task.segment_bytes,
            self.task.run_bytes_max,
        );
        // Without a footer and without rounds to make one of there are only the copies.
        let footer = footer.unwrap_or_default();
        let mut next = extent.first;
        for run in footer.within(key, extent.position, extent.end) {
            if run.last() < next || run.first > extent.last {
                continue;
            }
            let piece = &self.task.pieces[at];
            let found = salvage(&piece.segment, key, run).into_iter();
            let mut found = found.map(|s| (s.header.index.0, s)).collect();
            next = self.take_until(at, next, run.last().min(extent.last), &mut found)?;
        }
        self.take_until(at, next, extent.last, &mut BTreeMap::new())?;
        Ok(())
    }

    /// Copies entries up to one, and says which is the next.
    fn take_until(
        &mut self,
        at: usize,
        first: u64,
        last: u64,
        found: &mut BTreeMap<u64, Salvaged>,
    ) -> io::Result<u64> {
        let part_bytes = self.task.segment_bytes / PARTS_PER_SEGMENT;
        for index in first..=last {
            let piece = &self.task.pieces[at];
            let key = (piece.group, piece.replica, index);
            let donated = self.task.donated.as_ref().and_then(|all| all.get(&key));
            let Some(mut copied) = choose(piece, found.remove(&index), donated) else {
                self.stays(at);
                continue;
            };
            let goes_on = self.parts.last().is_some_and(|part| {
                part.piece == at && part.last + 1 == index && part.bytes < part_bytes
            });
            if !goes_on {
                self.begin_part(at, index);
            }
            copied.part = self.parts.len() - 1;
            self.push(copied)?;
        }
        Ok(first.max(last + 1))
    }
}

/// An entry as it lies there if it is whole, else the copy if it can be one.
fn choose(piece: &Piece, found: Option<Salvaged>, donated: Option<&Entry>) -> Option<Copied> {
    let (header, payload) = match found {
        Some(Salvaged {
            header,
            payload: Some(payload),
        }) => {
            return Some(Copied {
                header,
                payload,
                part: 0,
                donated: false,
            });
        }
        Some(Salvaged { header, .. }) => {
            let entry = donated?;
            if !is_copy(&header, entry) {
                let (group, index) = (piece.group, entry.index);
                tracing::error!(%group, %index, "another replica's entry is not what was written here");
                return None;
            }
            (header, entry.payload.clone())
        }
        None => {
            let entry = donated?;
            let frame = frame_of(piece.group, piece.replica, entry);
            (FrameHeader::of(&frame), entry.payload.clone())
        }
    };
    Some(Copied {
        header,
        payload,
        part: 0,
        donated: true,
    })
}

/// Whether an entry is the one that a header speaks of.
fn is_copy(header: &FrameHeader, entry: &Entry) -> bool {
    header.term == entry.term
        && header.kind == entry.kind as u8
        && header.payload_bytes == entry.payload.len()
        && header.payload_crc == crc32fast::hash(&entry.payload)
}
