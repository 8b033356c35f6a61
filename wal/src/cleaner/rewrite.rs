//! The cleaner's job: copies live extents into output segments, frame by frame, each checked before it is copied.

use super::{CleanTask, Cleaned, Met, Moved, Output, Piece, Reason};
use crate::directory::{Extent, span_of};
use crate::footer::{Run, RunIndex};
use crate::frame::{self, Frame, FrameHeader};
use crate::jobs::write_footer;
use crate::layout::DATA_START;
use crate::manifest::Sealed;
use crate::pages::page_align;
use crate::round::{self, FLAG_CLEANED, RoundHeader, unpadded_bytes};
use crate::segment::{Segment, SegmentHeader, encode_header};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of frames that are written at once.
const PIECE_BYTES: u64 = 128 << 10;

/// Of a segment that is read as a whole, read at once.
const BROUGHT_BYTES: u64 = 256 << 10;
/// It rests after so much work, for as long: whoever waits for the disk or a processor waits no longer than that.
const WORK: Duration = Duration::from_millis(2);

/// The same, for segments of this size.
pub(super) fn piece_bytes(segment_bytes: u64) -> u64 {
    PIECE_BYTES.min(segment_bytes / 8)
}

/// The output segment being filled.
struct Filling {
    segment: Arc<Segment>,
    index: RunIndex,
    position: u64,
    number: u64,
    crc: u32,
}

/// A frame copied out of its segment.
pub(super) struct Copied {
    pub(super) header: FrameHeader,
    pub(super) payload: Bytes,
    pub(super) part: usize,
    /// It was damaged here; this is what another replica had.
    pub(super) donated: bool,
}

/// Entries of a piece that move together.
pub(super) struct Part {
    pub(super) piece: usize,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: u64,
    new: Vec<Extent>,
    /// It stays where it is: there was no room.
    kept: bool,
    donated: u64,
}

pub(super) struct Rewrite {
    pub(super) task: CleanTask,
    filling: Option<Filling>,
    unused: Vec<Arc<Segment>>,
    pending: Vec<Copied>,
    pending_bytes: usize,
    done: Vec<Output>,
    pub(super) parts: Vec<Part>,
    pub(super) damaged: Vec<Met>,
    /// Inputs with something that stays where it is: damaged, or no room.
    stuck: BTreeSet<u64>,
    /// Segments that the kernel has read.
    brought: BTreeMap<u64, Arc<Segment>>,
    /// When the last rest ended.
    rested: Duration,
}

impl CleanTask {
    /// Copies everything; one sync per output.
    pub(crate) fn run(self) -> Cleaned {
        let began = self.disk.elapsed();
        let mut unused = self.outputs.clone();
        unused.reverse();
        let mut rewrite = Rewrite {
            task: self,
            filling: None,
            unused,
            pending: Vec::new(),
            pending_bytes: 0,
            done: Vec::new(),
            parts: Vec::new(),
            damaged: Vec::new(),
            stuck: BTreeSet::new(),
            brought: BTreeMap::new(),
            rested: began,
        };
        let failed = rewrite.copy_all().err();
        for segment in rewrite.brought.values() {
            if let Err(error) = segment.file.forget() {
                tracing::debug!(segment = segment.sequence, %error, "stays in the page cache");
            }
        }
        let Rewrite {
            task,
            done,
            parts,
            damaged,
            mut stuck,
            ..
        } = rewrite;
        let mut moved = Vec::new();
        let mut healed = 0;
        for part in parts {
            let piece = &task.pieces[part.piece];
            if part.kept || part.new.is_empty() {
                stuck.insert(piece.extent.segment);
                continue;
            }
            healed += part.donated;
            moved.push(Moved {
                group: piece.group,
                replica: piece.replica,
                old: piece.extent,
                first: part.first,
                last: part.last,
                new: part.new,
            });
        }
        Cleaned {
            reason: task.reason,
            took: task.disk.elapsed().saturating_sub(began),
            outputs: done,
            stuck: stuck.into_iter().collect(),
            moved,
            damaged,
            healed,
            inputs: task.inputs,
            failed,
        }
    }
}

impl Rewrite {
    fn copy_all(&mut self) -> io::Result<()> {
        for piece in 0..self.task.pieces.len() {
            if self.task.donated.is_some() {
                self.take_apart(piece)?;
                continue;
            }
            if self.task.reason == Reason::Scattered {
                self.bring(piece);
            }
            // Read first, append then: a damaged piece stays where it is as a whole.
            match self.read_piece(piece) {
                Some(copied) => {
                    let extent = self.task.pieces[piece].extent;
                    self.begin_part(piece, extent.first);
                    for frame in copied {
                        self.push(frame)?;
                    }
                }
                None => self.stays(piece),
            }
        }
        self.flush()?;
        self.seal(false)
    }

    /// Has the kernel read a piece's segment as a whole, once and in order. Everything in it is copied, from short runs all
    /// over it, each of which would be a read of its own.
    fn bring(&mut self, at: usize) {
        let piece = &self.task.pieces[at];
        let (segment, end) = (Arc::clone(&piece.segment), piece.footer_at);
        let before = self.brought.insert(segment.sequence, Arc::clone(&segment));
        if before.is_some() {
            return;
        }
        let mut position = DATA_START;
        while position < end {
            let bytes = BROUGHT_BYTES.min(end - position);
            let length = usize::try_from(bytes).expect("a fraction of a MiB");
            let mut last = [0];
            let begun = segment.file.bring(position, length);
            let came =
                begun.and_then(|()| segment.file.read_brought(position + bytes - 1, &mut last));
            if let Err(error) = came {
                // What cannot be read is met again where it is copied, and named there.
                tracing::debug!(segment = segment.sequence, %error, "is not read ahead");
                return;
            }
            position += bytes;
            self.maybe_rest();
        }
    }

    /// What is only scattered can wait. Whether it did.
    fn maybe_rest(&mut self) -> bool {
        let worked = self.task.disk.elapsed().saturating_sub(self.rested);
        let is_due = self.task.reason == Reason::Scattered && worked >= WORK;
        if is_due {
            self.task.disk.rest(worked);
            self.rested = self.task.disk.elapsed();
        }
        is_due
    }

    /// Something of a piece stays where it is.
    pub(super) fn stays(&mut self, piece: usize) {
        self.stuck.insert(self.task.pieces[piece].extent.segment);
    }

    /// From now on what is pushed is of this part, which begins with this entry.
    pub(super) fn begin_part(&mut self, piece: usize, first: u64) {
        self.parts.push(Part {
            piece,
            first,
            last: first,
            bytes: 0,
            new: Vec::new(),
            kept: false,
            donated: 0,
        });
    }

    /// The frames of a piece; None when one is damaged or cannot be read: that is no reason to give up the log, only to
    /// trust those entries no longer.
    fn read_piece(&mut self, at: usize) -> Option<Vec<Copied>> {
        let piece = &self.task.pieces[at];
        let met = |first, last| Met {
            segment: piece.extent.segment,
            group: piece.group,
            first,
            last,
        };
        let footer = crate::footers::load_footer(
            &piece.segment,
            piece.footer_at,
            self.task.segment_bytes,
            self.task.run_bytes_max,
        );
        let Ok(footer) = footer else {
            self.damaged
                .push(met(piece.extent.first, piece.extent.last));
            return None;
        };
        let key = (piece.group, piece.replica);
        let runs = footer.within(key, piece.extent.position, piece.extent.end);
        let is_brought = self.brought.contains_key(&piece.extent.segment);
        let mut copied = Vec::new();
        let mut next = piece.extent.first;
        for run in runs {
            if run.last() < next || run.first > piece.extent.last {
                continue;
            }
            if let Err(last) = read_run(
                piece,
                run,
                self.parts.len(),
                is_brought,
                &mut next,
                &mut copied,
            ) {
                self.damaged
                    .push(met(next, last.clamp(next, piece.extent.last)));
                return None;
            }
        }
        if next <= piece.extent.last {
            self.damaged.push(met(next, next));
            return None;
        }
        Some(copied)
    }

    pub(super) fn push(&mut self, frame: Copied) -> io::Result<()> {
        let bytes = frame::frame_bytes(frame.payload.len());
        let part = &mut self.parts[frame.part];
        part.last = frame.header.index.0;
        part.bytes += bytes as u64;
        part.donated += u64::from(frame.donated);
        if (self.pending_bytes + bytes) as u64 > piece_bytes(self.task.segment_bytes) {
            self.flush()?;
        }
        self.pending_bytes += bytes;
        self.pending.push(frame);
        Ok(())
    }

    /// Writes the pending frames as one piece of output.
    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = page_align(unpadded_bytes(self.pending.len(), self.pending_bytes)) as u64;
        if !self.has_room(bytes) {
            self.seal(true)?;
            self.begin()?;
        }
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let Some(filling) = &mut self.filling else {
            // No output is left: these pieces stay where they are.
            for frame in pending {
                self.parts[frame.part].kept = true;
            }
            return Ok(());
        };
        let frames: Vec<Frame<'_>> = pending
            .iter()
            .map(|copied| Frame {
                payload: Cow::Borrowed(&copied.payload),
                ..copied.header.with(&[])
            })
            .collect();
        filling.number += 1;
        let header = RoundHeader {
            round: filling.number,
            watermark: 0,
            manifest: 0,
            chain: filling.crc,
            flags: FLAG_CLEANED,
        };
        let place = filling.segment.place(filling.position);
        let encoded = round::encode(&self.task.pool, place, header, &frames);
        filling
            .segment
            .file
            .write_at(filling.position, &encoded.pages)?;
        filling.position += encoded.pages.len() as u64;
        filling.crc = encoded.crc;
        for ((copied, frame), position) in pending.iter().zip(&frames).zip(&encoded.positions) {
            let key = (frame.group, frame.replica);
            let size = u32::try_from(frame.size()).expect("frames are below a segment");
            let span = span_of(frame);
            let index = frame.index.0;
            filling
                .index
                .add(key, index, *position, size, span, self.task.run_bytes_max);
            let extent = Extent {
                segment: filling.segment.sequence,
                first: index,
                last: index,
                position: *position,
                end: position + u64::from(size),
                bytes: u64::from(size),
                span,
                cut: false,
            };
            join(&mut self.parts[copied.part].new, extent);
        }
        self.maybe_rest();
        Ok(())
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.filling.as_ref().is_some_and(|filling| {
            let footer = filling.index.footer_bytes(self.pending.len());
            filling.position + bytes + footer <= self.task.segment_bytes
        })
    }

    fn begin(&mut self) -> io::Result<()> {
        let Some(segment) = self.unused.pop() else {
            return Ok(());
        };
        let header = SegmentHeader {
            identity: self.task.identity,
            sequence: segment.sequence,
            seed: segment.seed,
            segment_bytes: self.task.segment_bytes,
        };
        segment.file.write_at(0, &encode_header(&header))?;
        let index = RunIndex::default();
        self.filling = Some(Filling {
            segment,
            index,
            position: DATA_START,
            number: 0,
            crc: 0,
        });
        Ok(())
    }

    fn seal(&mut self, full: bool) -> io::Result<()> {
        let Some(filling) = self.filling.take() else {
            return Ok(());
        };
        write_footer(&filling.segment, &filling.index, self.task.segment_bytes)?;
        let sealed = Sealed {
            end: filling.position,
            last_round: filling.number,
            last_crc: filling.crc,
            footer_at: self.task.segment_bytes - filling.index.footer_bytes(0),
            runs: u32::try_from(filling.index.runs).expect("runs are bounded per segment"),
            cleaned: true,
        };
        assert!(
            sealed.footer_at >= sealed.end,
            "room is kept for the footer"
        );
        let index = Arc::new(filling.index);
        self.done.push(Output {
            segment: filling.segment,
            index,
            sealed,
            full,
        });
        Ok(())
    }
}

/// Reads the frames of a run from `next` on, checks them, and moves `next` behind them. An error from `next` to the
/// index that it names. Where the segment was brought, what is damaged is read again from the disk.
fn read_run(
    piece: &Piece,
    run: &Run,
    part: usize,
    is_brought: bool,
    next: &mut u64,
    copied: &mut Vec<Copied>,
) -> Result<(), u64> {
    if is_brought {
        let (began, before) = (*next, copied.len());
        let mut bytes = vec![0; run.bytes as usize];
        let read = piece.segment.file.read_brought(run.position, &mut bytes);
        if read.is_ok() && copy_run(piece, run, &bytes, part, next, copied).is_ok() {
            return Ok(());
        }
        *next = began;
        copied.truncate(before);
    }
    let read = || piece.segment.read_pages(run.position, run.bytes as usize);
    let (pages, skip) = read().or_else(|_| read()).map_err(|error| {
        tracing::error!(group = %piece.group, %error, "the cleaner cannot read a run");
        run.last()
    })?;
    let bytes = &pages[skip..skip + run.bytes as usize];
    copy_run(piece, run, bytes, part, next, copied)
}

/// The same, of bytes that were read.
fn copy_run(
    piece: &Piece,
    run: &Run,
    bytes: &[u8],
    part: usize,
    next: &mut u64,
    copied: &mut Vec<Copied>,
) -> Result<(), u64> {
    let mut offset = 0;
    while offset < bytes.len() {
        let place = piece.segment.place(run.position + offset as u64);
        let Some((header, frame)) = frame::parse(place, &bytes[offset..]) else {
            return Err(*next);
        };
        if header.group != piece.group || header.replica != piece.replica {
            return Err(*next);
        }
        offset += frame.size();
        if header.index.0 == *next && *next <= piece.extent.last {
            copied.push(Copied {
                header,
                payload: Bytes::copy_from_slice(&frame.payload),
                part,
                donated: false,
            });
            *next += 1;
        }
    }
    Ok(())
}

/// Appends an entry's extent to the last one if it continues it.
fn join(extents: &mut Vec<Extent>, entry: Extent) {
    match extents.last_mut() {
        Some(last) if last.segment == entry.segment && last.last + 1 == entry.first => {
            last.last = entry.last;
            last.end = entry.end;
            last.bytes += entry.bytes;
            last.span.add(entry.span);
        }
        _ => extents.push(entry),
    }
}
