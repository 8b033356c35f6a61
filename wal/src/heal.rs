//! Damaged entries are written again, from copies that another replica had.
//!
//! The segment in which they are is taken apart as the cleaner does it: everything alive in it that is whole, and the
//! copies in their places, goes into an output, and the swap is one manifest version. So a crash at any point leaves the
//! damaged segment or what replaces it, and nothing that was promised changes: the same entries in the same terms. What
//! nobody had a copy of stays where it is and is waited for. The file is removed when nothing in it is alive.

use crate::cleaner::CleanTask;
use crate::directory::{Directory, span_of};
use crate::error::Error;
use crate::frame::{Frame, FrameType, Stamp};
use crate::jobs::Task;
use crate::log::Log;
use crate::spares::Taker;
use raft::types::{Entry, EntryKind, GroupId, ReplicaId};
use std::borrow::Cow;

/// Segments that a damaged one's contents may need: the copies are packed otherwise than the originals were.
const OUTPUTS: usize = 2;

impl Log {
    /// Takes copies of entries that a survey has found damaged here; a job writes them ([`Log::next_job`]). How many of
    /// them are taken: those that are still alive and damaged and that agree with all that is known of them.
    ///
    /// The caller answers for the contents: of committed entries only, because there the index alone says which entry it
    /// is. Ok is no promise; what has been written can be read.
    pub fn donate(&mut self, group: GroupId, replica: ReplicaId, entries: Vec<Entry>) -> usize {
        let mut taken = 0;
        for entry in entries {
            let segment = self.place_of(group, replica, &entry);
            if let Some(segment) = segment {
                let donated = self.donated.entry(segment).or_default();
                donated.insert((group, replica, entry.index.0), entry);
                taken += 1;
            }
        }
        taken
    }

    /// Whether copies wait to be written, or are being written.
    #[must_use]
    pub fn healing(&self) -> bool {
        !self.donated.is_empty() || self.healed_segment.is_some()
    }

    /// The segment where an entry is damaged, if this can be a copy of it.
    fn place_of(&self, group: GroupId, replica: ReplicaId, entry: &Entry) -> Option<u64> {
        let directory = self.shared.read();
        let segment = fitting(&directory, group, replica, entry)?;
        let size_bytes = entry.payload.len() as u64;
        let lacks = self
            .shared
            .quarantine()
            .lacks(segment, group, entry.index.0);
        (lacks && size_bytes <= self.config.entry_bytes_max()).then_some(segment)
    }

    /// What is to be taken apart takes no more rounds.
    pub(crate) fn roll_to_heal(&mut self) -> Result<(), Error> {
        if !self.donated.contains_key(&self.open.segment.sequence) {
            return Ok(());
        }
        match self.roll(Taker::Housekeeping) {
            Ok(_) => Ok(()),
            // The copies wait for room.
            Err(Error::Full) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The damaged segment to be taken apart now, if there is one.
    pub(crate) fn heal_task(&mut self) -> Option<Task> {
        if !self.outputs.is_empty() || self.healed_segment.is_some() {
            return None;
        }
        let sealed: Vec<u64> = {
            let directory = self.shared.read();
            let segment = |sequence: &u64| directory.segments.get(sequence);
            let lives = |sequence: &u64| segment(sequence).is_some_and(|state| state.extents > 0);
            // What has died meanwhile needs no copies.
            self.donated.retain(|sequence, _| lives(sequence));
            let flawed = self.shared.quarantine().whole_but_for_footers();
            let wanted = self.donated.keys().copied().chain(flawed);
            let is_sealed = |at: &u64| segment(at).is_some_and(|state| state.index.is_none());
            wanted.filter(|at| lives(at) && is_sealed(at)).collect()
        };
        let sequence = *sealed.first()?;
        let mut outputs = Vec::new();
        while outputs.len() < OUTPUTS
            && let Some(spare) = self.spares.take(Taker::Cleaner)
        {
            outputs.push(self.new_life(spare));
        }
        if outputs.is_empty() {
            return None;
        }
        self.outputs.clone_from(&outputs);
        // Outputs are named before anything is written into them. A failure has poisoned the log.
        self.commit(false).ok()?;
        self.healed_segment = Some(sequence);
        let donated = self.donated.remove(&sequence).unwrap_or_default();
        let task = CleanTask::of_damaged(self, sequence, outputs, donated);
        Some(Task::Clean(task))
    }
}

/// Where the entry lies that this may be a copy of: alive here, of this term, with offsets that it can have.
fn fitting(
    directory: &Directory,
    group: GroupId,
    replica: ReplicaId,
    entry: &Entry,
) -> Option<u64> {
    let found = directory.group(group, replica)?;
    let extent = found.extent_of(entry.index.0)?;
    if found.term_of(entry.index) != Some(entry.term) {
        return None;
    }
    let span = span_of(&frame_of(group, replica, entry));
    let within =
        span.base_offset >= extent.span.base_offset && span.next_offset <= extent.span.next_offset;
    (entry.kind != EntryKind::Records || within).then_some(extent.segment)
}

/// A copy as a frame. When the original was written is not known.
pub(crate) fn frame_of(group: GroupId, replica: ReplicaId, entry: &Entry) -> Frame<'_> {
    Frame {
        frame_type: FrameType::Entry,
        kind: entry.kind as u8,
        group,
        replica,
        term: entry.term,
        index: entry.index,
        stamp: Stamp::default(),
        payload: Cow::Borrowed(&entry.payload),
    }
}
