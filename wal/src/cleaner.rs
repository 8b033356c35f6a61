//! The cleaner: takes segments, drops what is dead, puts each group's entries together, and swaps by one manifest
//! version. Rewritten frames keep the round and ordinal of their first write.
//!
//! A crash at any point leaves either the inputs (the outputs are named but nothing refers to them) or the outputs:
//! the swap is in memory until a checkpoint that refers to the outputs is named by a manifest.

use crate::directory::{Directory, Extent, span_of};
use crate::error::Error;
use crate::footer::{Run, RunIndex};
use crate::frame::{self, Frame};
use crate::jobs::{Task, write_footer};
use crate::layout::DATA_START;
use crate::log::{Log, unsorted};
use crate::manifest::Sealed;
use crate::mutant::{self, Mutant};
use crate::pages::{Pool, page_align};
use crate::record::Identity;
use crate::round::{self, FLAG_CLEANED, RoundHeader, unpadded_bytes};
use crate::segment::{Segment, SegmentHeader, encode_header};
use crate::spares::{Spare, Taker};
use raft::types::{GroupId, Index, ReplicaId};
use std::borrow::Cow;
use std::io;
use std::sync::Arc;

/// Bytes of frames that are written at once.
const PIECE_BYTES: usize = 128 << 10;

/// A live extent to be copied, with its segment pinned.
struct Piece {
    group: GroupId,
    replica: ReplicaId,
    extent: Extent,
    segment: Arc<Segment>,
    footer_at: u64,
}

/// A rewrite, ready to run on any thread.
pub(crate) struct CleanTask {
    pieces: Vec<Piece>,
    outputs: Vec<Arc<Segment>>,
    inputs: u64,
    identity: Identity,
    segment_bytes: u64,
    run_bytes_max: u64,
    pool: Arc<Pool>,
}

/// An extent and what it became.
struct Moved {
    group: GroupId,
    replica: ReplicaId,
    old: Extent,
    new: Vec<Extent>,
}

struct Output {
    segment: Arc<Segment>,
    index: Arc<RunIndex>,
    sealed: Sealed,
}

/// What a rewrite has written.
pub(crate) struct Cleaned {
    outputs: Vec<Output>,
    moved: Vec<Moved>,
    /// Entries that were not what was written: never copied, reported.
    damaged: Vec<(GroupId, Index)>,
    inputs: u64,
    failed: Option<io::Error>,
}

impl Log {
    /// A rewrite, if one is worth it now.
    pub(crate) fn clean_task(&mut self) -> Option<Task> {
        if !self.outputs.is_empty() {
            return None;
        }
        let chosen = self.choose()?;
        let mut outputs = Vec::new();
        for _ in 0..chosen.outputs {
            let Some(spare) = self.spares.take(Taker::Cleaner) else {
                self.return_spares(&outputs);
                return None;
            };
            outputs.push(self.new_life(spare));
        }
        self.outputs.clone_from(&outputs);
        // Outputs are named before anything is written into them. A failure has poisoned the log.
        self.commit(false).ok()?;
        let pieces = pieces(&self.shared.read(), &chosen.inputs);
        Some(Task::Clean(CleanTask {
            pieces,
            outputs,
            inputs: chosen.inputs.len() as u64,
            identity: self.identity,
            segment_bytes: self.config.segment_bytes,
            run_bytes_max: self.config.run_bytes_max,
            pool: Arc::clone(&self.pool),
        }))
    }

    fn return_spares(&mut self, outputs: &[Arc<Segment>]) {
        for output in outputs {
            let file = Arc::clone(&output.file);
            self.spares.put(Spare {
                number: output.number,
                file,
                zeroed: false,
            });
        }
    }

    fn choose(&self) -> Option<Chosen> {
        let directory = self.shared.read();
        let bytes = self.config.segment_bytes;
        let sealed = || {
            directory
                .segments
                .values()
                .filter(|state| state.index.is_none())
        };
        let live: u64 = sealed().map(|state| state.live_bytes).sum();
        let used = sealed().count() as u64 * bytes;
        let short_of_space = self.spares.free() == 0 && !self.may_create();
        if used > live + live / 10 * 3 + self.config.clean_slack_bytes || short_of_space {
            let chosen = most_dead(&directory, bytes);
            if chosen.is_some() && self.spares.for_cleaner() >= 1 {
                return chosen;
            }
        }
        let scattered: u64 = sealed()
            .filter(|state| unsorted(state))
            .map(|state| state.live_bytes)
            .sum();
        if scattered > self.config.unsorted_bytes_max && self.spares.for_cleaner() >= 2 {
            // Scattered entries only come together where at least two groups share long stretches: the oldest first.
            let inputs: Vec<u64> = sealed()
                .filter(|state| unsorted(state) && state.extents > 0)
                .take(2)
                .filter(|state| state.live_bytes <= output_room(bytes))
                .map(|state| state.segment.sequence)
                .collect();
            if !inputs.is_empty() {
                return Some(Chosen { outputs: 2, inputs });
            }
        }
        None
    }

    /// Takes a rewrite in: every extent is checked against what is alive now; what died or changed meanwhile is
    /// dropped from the swap.
    pub(crate) fn settle_clean(&mut self, cleaned: Cleaned) -> Result<(), Error> {
        if let Some(error) = cleaned.failed {
            return Err(self.poison("clean", &error));
        }
        let outputs = std::mem::take(&mut self.outputs);
        let mut unused: Vec<Arc<Segment>> = Vec::new();
        let mut directory = self.shared.write();
        for segment in outputs {
            match cleaned
                .outputs
                .iter()
                .find(|output| output.segment.number == segment.number)
            {
                Some(output) => {
                    directory
                        .segments
                        .insert(segment.sequence, output_state(output));
                    self.sealed.insert(segment.sequence, output.sealed);
                }
                None => unused.push(segment),
            }
        }
        for moved in &cleaned.moved {
            swap(&mut directory, moved);
        }
        for (group, index) in &cleaned.damaged {
            tracing::error!(%group, %index, "the cleaner met a damaged entry");
            directory.mark_faulty(*group, *index, *index, false);
        }
        directory.died = true;
        drop(directory);
        for output in &cleaned.outputs {
            self.shared
                .keep_footer(&output.segment, Arc::clone(&output.index));
        }
        self.return_spares(&unused);
        self.counters.segments_cleaned += cleaned.inputs;
        self.checkpoint_due = true;
        Ok(())
    }
}

struct Chosen {
    inputs: Vec<u64>,
    outputs: usize,
}

/// Live bytes that surely fit into one output, with its headers and footer.
fn output_room(segment_bytes: u64) -> u64 {
    segment_bytes / 4 * 3
}

/// The segments with the best (dead bytes x age) / live bytes whose live bytes fit into one output.
fn most_dead(directory: &Directory, segment_bytes: u64) -> Option<Chosen> {
    let newest = directory.segments.keys().next_back().copied().unwrap_or(0);
    let mut scored: Vec<(u128, u64, u64)> = directory
        .segments
        .iter()
        .filter(|(_, state)| state.index.is_none() && state.extents > 0)
        .map(|(sequence, state)| {
            let dead = segment_bytes.saturating_sub(state.live_bytes);
            let age = newest - sequence + 1;
            let score = u128::from(dead) * u128::from(age) * 1024;
            (
                score / u128::from(state.live_bytes.max(1)),
                *sequence,
                state.live_bytes,
            )
        })
        .collect();
    scored.sort_unstable_by(|a, b| b.cmp(a));
    let mut room = output_room(segment_bytes);
    let mut inputs = Vec::new();
    for (_, sequence, live_bytes) in scored {
        if live_bytes <= room {
            room -= live_bytes;
            inputs.push(sequence);
        }
    }
    // One for one gains nothing.
    (inputs.len() >= 2).then_some(Chosen { inputs, outputs: 1 })
}

fn pieces(directory: &Directory, inputs: &[u64]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (id, group) in &directory.groups {
        for extent in group
            .extents
            .iter()
            .filter(|extent| inputs.contains(&extent.segment))
        {
            if let Some(state) = directory.segments.get(&extent.segment) {
                pieces.push(Piece {
                    group: *id,
                    replica: group.replica,
                    extent: *extent,
                    segment: Arc::clone(&state.segment),
                    footer_at: state.footer_at,
                });
            }
        }
    }
    pieces
}

fn output_state(output: &Output) -> crate::directory::SegmentState {
    crate::directory::SegmentState {
        index: None,
        footer_at: output.sealed.footer_at,
        runs: output.sealed.runs,
        data_bytes: output.sealed.end - DATA_START,
        cleaned: true,
        ..crate::directory::SegmentState::open(Arc::clone(&output.segment))
    }
}

/// Replaces an extent by its copies, clipped to what of it is still alive.
fn swap(directory: &mut Directory, moved: &Moved) {
    let Some(group) = directory
        .groups
        .get_mut(&moved.group)
        .filter(|group| group.replica == moved.replica)
    else {
        return;
    };
    let same = |extent: &Extent| {
        extent.segment == moved.old.segment && extent.position == moved.old.position
    };
    let Some(at) = group.extents.iter().position(same) else {
        return;
    };
    let old = group.extents[at];
    let mut changes = vec![(old.segment, -old.bytes.cast_signed(), -1)];
    group.extents.remove(at);
    let mut to = at;
    for mut extent in moved.new.iter().copied() {
        if extent.last < old.first || extent.first > old.last {
            continue;
        }
        if !mutant::on(Mutant::SwapUnchecked) {
            extent.cut_front(old.first);
            extent.cut_back(old.last);
        }
        changes.push((extent.segment, extent.bytes.cast_signed(), 1));
        group.extents.insert(to, extent);
        to += 1;
    }
    assert!(to > at, "a copied extent has copies");
    group.extents_changed_from = group.extents_changed_from.min(old.first);
    group.changed = true;
    directory.account(&changes);
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
struct Copied {
    header: frame::FrameHeader,
    payload: Vec<u8>,
    piece: usize,
}

struct Rewrite {
    task: CleanTask,
    filling: Option<Filling>,
    unused: Vec<Arc<Segment>>,
    pending: Vec<Copied>,
    pending_bytes: usize,
    done: Vec<Output>,
    /// New extents by piece.
    new: Vec<Vec<Extent>>,
    damaged: Vec<(GroupId, Index)>,
    /// Pieces that stay where they are: damaged, or no room.
    kept: Vec<bool>,
}

impl CleanTask {
    /// Copies everything; one sync per output.
    pub(crate) fn run(self) -> Cleaned {
        let inputs = self.inputs;
        let count = self.pieces.len();
        let mut unused = self.outputs.clone();
        unused.reverse();
        let mut rewrite = Rewrite {
            task: self,
            filling: None,
            unused,
            pending: Vec::new(),
            pending_bytes: 0,
            done: Vec::new(),
            new: vec![Vec::new(); count],
            damaged: Vec::new(),
            kept: vec![false; count],
        };
        let failed = rewrite.copy_all().err();
        let Rewrite {
            task,
            done,
            new,
            damaged,
            kept,
            ..
        } = rewrite;
        let moved = task
            .pieces
            .iter()
            .zip(new)
            .zip(&kept)
            .filter(|((_, new), kept)| !**kept && !new.is_empty())
            .map(|((piece, new), _)| Moved {
                group: piece.group,
                replica: piece.replica,
                old: piece.extent,
                new,
            })
            .collect();
        Cleaned {
            outputs: done,
            moved,
            damaged,
            inputs,
            failed,
        }
    }
}

impl Rewrite {
    fn copy_all(&mut self) -> io::Result<()> {
        for piece in 0..self.task.pieces.len() {
            // Read first, append then: a damaged piece stays where it is as a whole.
            match self.read_piece(piece)? {
                Some(copied) => {
                    for frame in copied {
                        self.push(frame)?;
                    }
                }
                None => self.kept[piece] = true,
            }
        }
        self.flush()?;
        self.seal()
    }

    /// The frames of a piece; None when one is damaged.
    fn read_piece(&mut self, at: usize) -> io::Result<Option<Vec<Copied>>> {
        let piece = &self.task.pieces[at];
        let footer = crate::reader::load_footer(
            &piece.segment,
            piece.footer_at,
            self.task.segment_bytes,
            self.task.run_bytes_max,
        );
        let Ok(footer) = footer else {
            self.damaged.push((piece.group, Index(piece.extent.first)));
            return Ok(None);
        };
        let key = (piece.group, piece.replica);
        let runs = footer.within(key, piece.extent.position, piece.extent.end);
        let mut copied = Vec::new();
        let mut next = piece.extent.first;
        for run in runs {
            if run.last() < next || run.first > piece.extent.last {
                continue;
            }
            if !read_run(piece, run, at, &mut next, &mut copied)? {
                self.damaged.push((piece.group, Index(next)));
                return Ok(None);
            }
        }
        if next <= piece.extent.last {
            self.damaged.push((piece.group, Index(next)));
            return Ok(None);
        }
        Ok(Some(copied))
    }

    fn push(&mut self, frame: Copied) -> io::Result<()> {
        let bytes = frame::frame_bytes(frame.payload.len());
        if self.pending_bytes + bytes > PIECE_BYTES.min(self.task.segment_bytes as usize / 8) {
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
            self.seal()?;
            self.begin()?;
        }
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let Some(filling) = &mut self.filling else {
            // No output is left: these pieces stay where they are.
            for frame in pending {
                self.kept[frame.piece] = true;
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
            join(&mut self.new[copied.piece], extent);
        }
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

    fn seal(&mut self) -> io::Result<()> {
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
        });
        Ok(())
    }
}

/// Reads the frames of a run from `next` on, checks them, and moves `next` behind them. False for damage.
fn read_run(
    piece: &Piece,
    run: &Run,
    at: usize,
    next: &mut u64,
    copied: &mut Vec<Copied>,
) -> io::Result<bool> {
    let (pages, skip) = piece.segment.read_pages(run.position, run.bytes as usize)?;
    let mut offset = 0;
    while offset < run.bytes as usize {
        let place = piece.segment.place(run.position + offset as u64);
        let bytes = &pages[skip + offset..skip + run.bytes as usize];
        let Some((header, frame)) = frame::parse(place, bytes) else {
            return Ok(false);
        };
        if header.group != piece.group || header.replica != piece.replica {
            return Ok(false);
        }
        offset += frame.size();
        if header.index.0 == *next && *next <= piece.extent.last {
            copied.push(Copied {
                header,
                payload: frame.payload.into_owned(),
                piece: at,
            });
            *next += 1;
        }
    }
    Ok(true)
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
