//! The cleaner: takes segments, drops what is dead, puts each group's entries together, and swaps by one manifest
//! version. Rewritten frames keep the round and ordinal of their first write.
//!
//! A crash at any point leaves either the inputs (the outputs are named but nothing refers to them) or the outputs:
//! the swap is in memory until a checkpoint that refers to the outputs is named by a manifest.

mod rewrite;

use crate::directory::{Directory, Extent, SegmentState, Sums};
use crate::error::Error;
use crate::footer::RunIndex;
use crate::jobs::Task;
use crate::layout::DATA_START;
use crate::log::Log;
use crate::manifest::Sealed;
use crate::mutant::{self, Mutant};
use crate::pages::{PAGE_BYTES, Pool};
use crate::record::Identity;
use crate::segment::Segment;
use crate::spares::{Spare, Taker};
use raft::types::{GroupId, Index, ReplicaId};
use rewrite::piece_bytes;
use std::io;
use std::sync::Arc;

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
    inputs: Vec<u64>,
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
    /// Entries that were not what was written, or cannot be read: never copied, reported. A range's first and last.
    damaged: Vec<(GroupId, Index)>,
    inputs: Vec<u64>,
    failed: Option<io::Error>,
}

impl Log {
    /// A rewrite, if one is worth it now.
    pub(crate) fn clean_task(&mut self) -> Option<Task> {
        if !self.outputs.is_empty() {
            return None;
        }
        let sums = self.shared.read().segments.sealed();
        let short_of_space = self.spares.free() == 0 && !self.may_create();
        let outlook = (sums, self.spares.for_cleaner(), short_of_space);
        if self.nothing_to_clean == Some(outlook) {
            return None;
        }
        let Some(chosen) = self.choose(sums, short_of_space) else {
            self.nothing_to_clean = Some(outlook);
            return None;
        };
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
            inputs: chosen.inputs,
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

    fn choose(&self, sums: Sums, short_of_space: bool) -> Option<Chosen> {
        let directory = self.shared.read();
        let bytes = self.config.segment_bytes;
        let sealed = || {
            directory
                .segments
                .values()
                .filter(|state| state.index.is_none())
        };
        let (live, used) = (sums.live_bytes, sums.segments * bytes);
        if used > live + live / 10 * 3 + self.config.clean_slack_bytes || short_of_space {
            let chosen = most_dead(&directory, bytes);
            if chosen.is_some() && self.spares.for_cleaner() >= 1 {
                return chosen;
            }
        }
        if sums.unsorted_bytes > self.config.unsorted_bytes_max && self.spares.for_cleaner() >= 2 {
            // Scattered entries only come together where at least two groups share long stretches: the oldest first.
            let inputs: Vec<u64> = sealed()
                .filter(|state| state.is_unsorted() && is_worth_it(state))
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
        for input in &cleaned.inputs {
            directory.segments.leave_over(*input);
        }
        drop(directory);
        for output in &cleaned.outputs {
            self.shared
                .keep_footer(&output.segment, Arc::clone(&output.index));
        }
        self.return_spares(&unused);
        self.counters.segments_cleaned += cleaned.inputs.len() as u64;
        self.checkpoint_due = true;
        Ok(())
    }
}

struct Chosen {
    inputs: Vec<u64>,
    outputs: usize,
}

/// Live bytes that as a rule fit into one output, with its headers and footer, and with what each piece wastes on its
/// list of frames and its last page.
fn output_room(segment_bytes: u64) -> u64 {
    let piece = piece_bytes(segment_bytes);
    segment_bytes / 4 * 3 * piece / (piece + 2 * PAGE_BYTES as u64)
}

/// Whether something is alive there that a rewrite could move.
///
/// NB: what a rewrite had to leave where it was (the output was full, an entry is damaged) it would leave there again:
/// until something more has died, trying again would go on for ever.
fn is_worth_it(state: &SegmentState) -> bool {
    state.extents > 0 && state.live_bytes != state.left_over_bytes
}

/// The segments with the best (dead bytes x age) / live bytes whose live bytes fit into one output.
fn most_dead(directory: &Directory, segment_bytes: u64) -> Option<Chosen> {
    let newest = directory.segments.keys().next_back().copied().unwrap_or(0);
    let mut scored: Vec<(u128, u64, u64)> = directory
        .segments
        .iter()
        .filter(|(_, state)| state.index.is_none() && is_worth_it(state))
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

fn output_state(output: &Output) -> SegmentState {
    SegmentState {
        index: None,
        footer_at: output.sealed.footer_at,
        runs: output.sealed.runs,
        data_bytes: output.sealed.end - DATA_START,
        cleaned: true,
        ..SegmentState::open(Arc::clone(&output.segment))
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
