//! The cleaner: takes segments, drops what is dead, puts each group's entries together, and swaps by one manifest
//! version. Rewritten frames keep the round and ordinal of their first write.
//!
//! A crash at any point leaves either the inputs (the outputs are named but nothing refers to them) or the outputs:
//! the swap is in memory until a checkpoint that refers to the outputs is named by a manifest.

mod choose;
mod rewrite;

use crate::directory::{Directory, Extent, SegmentState};
use crate::error::Error;
use crate::footer::RunIndex;
use crate::jobs::Task;
use crate::layout::DATA_START;
use crate::log::Log;
use crate::manifest::Sealed;
use crate::mutant::{self, Mutant};
use crate::pages::Pool;
use crate::record::Identity;
use crate::segment::Segment;
use crate::spares::{Spare, Taker};
pub(crate) use choose::Outlook;
use raft::types::{GroupId, Index, ReplicaId};
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
    /// The next entry did not fit.
    full: bool,
}

/// What a rewrite has written.
pub(crate) struct Cleaned {
    outputs: Vec<Output>,
    moved: Vec<Moved>,
    /// Entries that were not what was written, or cannot be read: never copied, reported. A range's first and last.
    damaged: Vec<(GroupId, Index)>,
    inputs: Vec<u64>,
    /// Inputs with something that had to stay there.
    stuck: Vec<u64>,
    failed: Option<io::Error>,
}

impl Log {
    /// A rewrite, if one is worth it now.
    pub(crate) fn clean_task(&mut self) -> Option<Task> {
        if !self.outputs.is_empty() {
            return None;
        }
        let outlook = self.outlook();
        if self.nothing_to_clean == Some(outlook) {
            return None;
        }
        let Some(chosen) = self.choose(&outlook) else {
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
        let pieces = choose::pieces(&self.shared.read(), &chosen, &self.config);
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
                    self.counters.bytes_cleaned += output.sealed.end - DATA_START;
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
        let full = cleaned.outputs.iter().filter(|output| output.full);
        let full = full.map(|output| output.segment.sequence);
        for sequence in full.chain(cleaned.stuck) {
            directory.segments.leave_over(sequence);
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
