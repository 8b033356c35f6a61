//! The segments that hold entries or have room for them, and what the sealed ones hold together: looked at after every
//! round, however many there are.

use crate::footer::RunIndex;
use crate::segment::Segment;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// A segment with entries or room for them.
pub(crate) struct SegmentState {
    pub(crate) segment: Arc<Segment>,
    /// The runs of an unsealed segment; None once the footer says so.
    pub(crate) index: Option<Arc<RunIndex>>,
    /// Where the footer begins; 0 while unsealed.
    pub(crate) footer_at: u64,
    /// Bytes of live extents in it.
    pub(crate) live_bytes: u64,
    /// Live extents in it.
    pub(crate) extents: u64,
    /// Runs in it when it was sealed.
    pub(crate) runs: u32,
    /// Bytes of frames in it when it was sealed.
    pub(crate) data_bytes: u64,
    /// Whether the cleaner wrote it.
    pub(crate) cleaned: bool,
    /// Live bytes that a rewrite had to leave in it, or has packed into it; 0 when there was none.
    pub(crate) left_over_bytes: u64,
}

impl SegmentState {
    pub(crate) fn open(segment: Arc<Segment>) -> Self {
        Self {
            segment,
            index: Some(Arc::default()),
            footer_at: 0,
            live_bytes: 0,
            extents: 0,
            runs: 0,
            data_bytes: 0,
            cleaned: false,
            left_over_bytes: 0,
        }
    }

    /// Whether a sealed segment's runs are short on average: its groups lie scattered.
    pub(crate) fn is_unsorted(&self) -> bool {
        !self.cleaned && self.runs > 0 && self.data_bytes / u64::from(self.runs) < 64 << 10
    }

    fn unsorted_bytes(&self) -> u64 {
        if self.is_unsorted() {
            self.live_bytes
        } else {
            0
        }
    }
}

/// Sums over the sealed segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) segments: u64,
    pub(crate) live_bytes: u64,
    /// Of these, in segments whose runs are short.
    pub(crate) unsorted_bytes: u64,
}

/// By sequence. What counts in the sums is changed by these functions only.
#[derive(Default)]
pub(crate) struct Segments {
    by_sequence: BTreeMap<u64, SegmentState>,
    sealed: Sums,
}

impl Deref for Segments {
    type Target = BTreeMap<u64, SegmentState>;

    fn deref(&self) -> &Self::Target {
        &self.by_sequence
    }
}

impl Segments {
    pub(crate) fn insert(&mut self, sequence: u64, state: SegmentState) {
        self.sealed.add(&state);
        let before = self.by_sequence.insert(sequence, state);
        assert!(before.is_none(), "a sequence is given out once");
    }

    pub(crate) fn remove(&mut self, sequence: u64) -> Option<SegmentState> {
        let state = self.by_sequence.remove(&sequence)?;
        self.sealed.subtract(&state);
        Some(state)
    }

    /// The runs of an unsealed segment.
    pub(crate) fn runs_mut(&mut self, sequence: u64) -> Option<&mut RunIndex> {
        let state = self.by_sequence.get_mut(&sequence)?;
        state.index.as_mut().map(Arc::make_mut)
    }

    /// Extents came to life or died in a segment. How many it has now.
    pub(crate) fn change(&mut self, sequence: u64, bytes: i64, extents: i64) -> Option<u64> {
        let state = self.by_sequence.get_mut(&sequence)?;
        self.sealed.subtract(state);
        state.live_bytes = state.live_bytes.saturating_add_signed(bytes);
        state.extents = state.extents.saturating_add_signed(extents);
        self.sealed.add(state);
        Some(state.extents)
    }

    /// From now on its footer says where its runs are.
    pub(crate) fn seal(&mut self, sequence: u64, footer_at: u64, runs: u32, data_bytes: u64) {
        if let Some(state) = self.by_sequence.get_mut(&sequence) {
            self.sealed.subtract(state);
            state.index = None;
            state.footer_at = footer_at;
            state.runs = runs;
            state.data_bytes = data_bytes;
            self.sealed.add(state);
        }
    }

    /// What is alive there now is best left there.
    pub(crate) fn leave_over(&mut self, sequence: u64) {
        if let Some(state) = self.by_sequence.get_mut(&sequence) {
            state.left_over_bytes = state.live_bytes;
        }
    }

    /// As if nothing were alive; the extents are counted anew.
    pub(crate) fn forget_extents(&mut self) {
        self.sealed = Sums::default();
        for state in self.by_sequence.values_mut() {
            state.live_bytes = 0;
            state.extents = 0;
            self.sealed.add(state);
        }
    }

    pub(crate) fn sealed(&self) -> Sums {
        debug_assert_eq!(self.sealed, self.count(), "the sums are kept up");
        self.sealed
    }

    fn count(&self) -> Sums {
        let mut sums = Sums::default();
        self.by_sequence.values().for_each(|state| sums.add(state));
        sums
    }
}

impl Sums {
    fn add(&mut self, state: &SegmentState) {
        if state.index.is_none() {
            self.segments += 1;
            self.live_bytes += state.live_bytes;
            self.unsorted_bytes += state.unsorted_bytes();
        }
    }

    fn subtract(&mut self, state: &SegmentState) {
        if state.index.is_none() {
            self.segments -= 1;
            self.live_bytes -= state.live_bytes;
            self.unsorted_bytes -= state.unsorted_bytes();
        }
    }
}
