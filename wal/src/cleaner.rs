//! The cleaner: takes segments, drops what is dead, puts each group's entries together, and swaps by one manifest
//! version. Rewritten frames keep the round and ordinal of their first write.
//!
//! A crash at any point leaves either the inputs (the outputs are named but nothing refers to them) or the outputs:
//! the swap is in memory until a checkpoint that refers to the outputs is named by a manifest.

mod apart;
mod choose;
mod rewrite;

use crate::directory::{Directory, Extent, SegmentState};
use crate::disk::Disk;
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
use raft::types::{Entry, GroupId, ReplicaId};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Why segments are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Little in them is alive.
    Dead,
    /// What lives in them lies in short runs.
    Scattered,
    /// Something in them is damaged.
    Damaged,
}

/// A live extent to be copied, with its segment pinned.
struct Piece {
    group: GroupId,
    replica: ReplicaId,
    extent: Extent,
    segment: Arc<Segment>,
    footer_at: u64,
}

/// Copies of damaged entries that others had.
pub(crate) type Donated = BTreeMap<(GroupId, ReplicaId, u64), Entry>;

/// A rewrite, ready to run on any thread.
pub(crate) struct CleanTask {
    reason: Reason,
    /// For its clock.
    disk: Arc<dyn Disk>,
    pieces: Vec<Piece>,
    /// Takes damaged segments apart: what stands for their damaged entries. Otherwise a damaged piece stays as a whole.
    donated: Option<Donated>,
    outputs: Vec<Arc<Segment>>,
    inputs: Vec<u64>,
    identity: Identity,
    segment_bytes: u64,
    run_bytes_max: u64,
    pool: Arc<Pool>,
}

/// Entries of an extent and what they became.
struct Moved {
    group: GroupId,
    replica: ReplicaId,
    old: Extent,
    /// Of the extent's entries, these have moved.
    first: u64,
    last: u64,
    new: Vec<Extent>,
}

/// Damage that was met in a segment, somewhere in a range of a group's entries.
struct Met {
    segment: u64,
    group: GroupId,
    first: u64,
    last: u64,
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
    reason: Reason,
    took: Duration,
    outputs: Vec<Output>,
    moved: Vec<Moved>,
    /// Entries that were not what was written, or cannot be read: never copied, reported.
    damaged: Vec<Met>,
    /// Copies of entries that were written in their place.
    healed: u64,
    inputs: Vec<u64>,
    /// Inputs with something that had to stay there.
    stuck: Vec<u64>,
    failed: Option<io::Error>,
}

impl CleanTask {
    fn new(
        log: &Log,
        reason: Reason,
        pieces: Vec<Piece>,
        outputs: Vec<Arc<Segment>>,
        inputs: Vec<u64>,
        donated: Option<Donated>,
    ) -> Self {
        Self {
            reason,
            disk: Arc::clone(&log.disk),
            pieces,
            donated,
            outputs,
            inputs,
            identity: log.identity,
            segment_bytes: log.config.segment_bytes,
            run_bytes_max: log.config.run_bytes_max,
            pool: Arc::clone(&log.pool),
        }
    }

    /// Takes a damaged segment apart.
    pub(crate) fn of_damaged(
        log: &Log,
        sequence: u64,
        outputs: Vec<Arc<Segment>>,
        donated: Donated,
    ) -> Self {
        let inputs = vec![sequence];
        let pieces = choose::all_pieces(&log.shared.read(), &inputs);
        let pieces = pieces.into_iter().map(|(_, piece)| piece).collect();
        Self::new(log, Reason::Damaged, pieces, outputs, inputs, Some(donated))
    }
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
        let task = CleanTask::new(self, chosen.reason, pieces, outputs, chosen.inputs, None);
        Some(Task::Clean(task))
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
        if let Some(segment) = self.healed_segment.take() {
            self.shared.quarantine().taken_apart(segment);
        }
        self.counters.entries_healed += cleaned.healed;
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
                    let bytes = output.sealed.end - DATA_START;
                    *self.counters.bytes_cleaned.of(cleaned.reason) += bytes;
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
        for met in &cleaned.damaged {
            tracing::error!(group = %met.group, met.first, met.last, "the cleaner met a damaged entry");
            let mut quarantine = self.shared.quarantine();
            quarantine.note(met.segment, met.group, met.first, met.last);
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
        self.counters.cleaning += cleaned.took;
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

/// Replaces entries of an extent by their copies, clipped to what of them is still alive.
fn swap(directory: &mut Directory, moved: &Moved) {
    let Some(group) = directory
        .groups
        .get_mut(&moved.group)
        .filter(|group| group.replica == moved.replica)
    else {
        return;
    };
    // NB: an extent of which the middle has moved is two with one position.
    let same = |extent: &Extent| {
        extent.segment == moved.old.segment
            && extent.position == moved.old.position
            && extent.first <= moved.last
            && moved.first <= extent.last
    };
    let Some(at) = group.extents.iter().position(same) else {
        return;
    };
    let old = group.extents[at];
    group.extents.remove(at);
    let mut new: Vec<Extent> = Vec::new();
    if old.first < moved.first {
        let mut before = old;
        before.cut_back(moved.first - 1);
        new.push(before);
    }
    let begins = new.len();
    for mut extent in moved.new.iter().copied() {
        if extent.last < old.first || extent.first > old.last {
            continue;
        }
        if !mutant::on(Mutant::SwapUnchecked) {
            extent.cut_front(old.first);
            extent.cut_back(old.last);
        }
        new.push(extent);
    }
    assert!(new.len() > begins, "a copied extent has copies");
    if old.last > moved.last {
        let mut behind = old;
        behind.cut_front(moved.last + 1);
        new.push(behind);
    }
    let mut changes = vec![old.change(-1)];
    for (to, extent) in (at..).zip(new) {
        changes.push(extent.change(1));
        group.extents.insert(to, extent);
    }
    group.extents_changed_from = group.extents_changed_from.min(old.first);
    group.changed = true;
    directory.account(&changes);
}
