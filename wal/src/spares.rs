//! Segment files that stand ready, with the reserves that are never lent.

use crate::disk::File;
use crate::layout::{CLEANER_RESERVE, HOUSEKEEPING_RESERVE};
use crate::segment::Segment;
use std::collections::VecDeque;
use std::sync::Arc;

/// A file without a life.
#[derive(Clone)]
pub(crate) struct Spare {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn File>,
    /// Written from end to end before: a write to it allocates nothing and commits no journal.
    pub(crate) zeroed: bool,
}

/// Who takes a spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taker {
    Entries,
    Housekeeping,
    Cleaner,
}

/// The pool.
#[derive(Default)]
pub(crate) struct Spares {
    ready: VecDeque<Spare>,
    /// Dead segments that a reader still holds.
    pinned: Vec<Arc<Segment>>,
    /// Dead segments with damage: their files are removed once no reader holds them.
    retired: Vec<Arc<Segment>>,
    /// How much of the reserves is there.
    cleaner: usize,
    housekeeping: usize,
    /// No file of this number or above was ever made.
    pub(crate) next_number: u64,
}

impl Spares {
    /// Puts a file in; the reserves fill up first, and the first is the cleaner's, who makes more of it.
    pub(crate) fn put(&mut self, spare: Spare) {
        self.next_number = self.next_number.max(spare.number + 1);
        if spare.zeroed {
            self.ready.push_front(spare);
        } else {
            self.ready.push_back(spare);
        }
        if self.cleaner > 0 && self.housekeeping < HOUSEKEEPING_RESERVE {
            self.housekeeping += 1;
        } else if self.cleaner < CLEANER_RESERVE {
            self.cleaner += 1;
        }
    }

    /// Puts the file of a dead segment in, once no reader holds it any longer.
    pub(crate) fn recycle(&mut self, segment: Arc<Segment>) {
        self.pinned.push(segment);
        self.unpin();
    }

    /// Takes note of the file of a dead segment that is not to be used again.
    pub(crate) fn retire(&mut self, segment: Arc<Segment>) {
        self.retired.push(segment);
    }

    /// The number of such a file that no reader holds any longer.
    pub(crate) fn take_retired(&mut self) -> Option<u64> {
        let free = |segment: &Arc<Segment>| Arc::strong_count(segment) == 1;
        let at = self.retired.iter().position(free)?;
        Some(self.retired.swap_remove(at).number)
    }

    /// Looks whether readers have let go of dead segments.
    pub(crate) fn unpin(&mut self) {
        let mut still = Vec::new();
        for segment in std::mem::take(&mut self.pinned) {
            // Nobody can get a new pin: the directory has forgotten the segment.
            if Arc::strong_count(&segment) > 1 {
                still.push(segment);
            } else {
                segment.file.unmap();
                let file = Arc::clone(&segment.file);
                self.put(Spare {
                    number: segment.number,
                    file,
                    zeroed: true,
                });
            }
        }
        self.pinned = still;
    }

    /// Takes one, if this taker may.
    pub(crate) fn take(&mut self, taker: Taker) -> Option<Spare> {
        self.unpin();
        if self.free() == 0 {
            let reserve = match taker {
                Taker::Entries => return None,
                Taker::Housekeeping => &mut self.housekeeping,
                Taker::Cleaner => &mut self.cleaner,
            };
            *reserve = reserve.checked_sub(1)?;
        }
        self.ready.pop_front()
    }

    /// Spares beyond the reserves.
    pub(crate) fn free(&self) -> usize {
        self.ready
            .len()
            .saturating_sub(self.cleaner + self.housekeeping)
    }

    /// What the cleaner may take.
    pub(crate) fn for_cleaner(&self) -> usize {
        self.free() + self.cleaner
    }

    /// What housekeeping may take.
    pub(crate) fn for_housekeeping(&self) -> usize {
        self.free() + self.housekeeping
    }

    /// How many spares are missing until the reserves and `ahead` more are there.
    pub(crate) fn missing(&self, ahead: usize) -> usize {
        (CLEANER_RESERVE + HOUSEKEEPING_RESERVE + ahead).saturating_sub(self.len())
    }

    /// All of them.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.pinned.len()
    }

    /// Takes one out that was never written from end to end, to write it.
    pub(crate) fn take_unzeroed(&mut self) -> Option<Spare> {
        let at = self.ready.iter().position(|spare| !spare.zeroed)?;
        // The last resort stays available: a spare that is being zeroed cannot be taken.
        (self.free() > 1).then(|| self.ready.remove(at)).flatten()
    }

    /// Takes one out that is more than the reserves and `ahead`, to remove its file.
    pub(crate) fn take_surplus(&mut self, ahead: usize) -> Option<Spare> {
        let most = CLEANER_RESERVE + HOUSEKEEPING_RESERVE + ahead;
        (self.ready.len() > most)
            .then(|| self.ready.pop_back())
            .flatten()
    }

    /// Whether readers hold dead segments.
    pub(crate) fn any_pinned(&self) -> bool {
        !self.pinned.is_empty() || !self.retired.is_empty()
    }

    /// How many were written before.
    pub(crate) fn zeroed_count(&self) -> usize {
        self.ready.iter().filter(|spare| spare.zeroed).count()
    }

    /// The numbers of the files that were written before.
    pub(crate) fn zeroed(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self
            .ready
            .iter()
            .filter(|spare| spare.zeroed)
            .map(|spare| spare.number)
            .collect();
        numbers.sort_unstable();
        numbers
    }
}
