//! One group in the directory.

use super::Change;
use crate::footer::Span;
use crate::mutant::{self, Mutant};
use crate::record::{Faulty, RecoveredGroup};
use bytes::Bytes;
use raft::types::{Base, Entry, GroupId, HardState, Index, ReplicaId, Term};
use std::collections::VecDeque;

/// A range of live entries in one segment. Which frame is which, the segment's runs within `position..end` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The segment's sequence.
    pub(crate) segment: u64,
    /// First live index.
    pub(crate) first: u64,
    /// Last live index.
    pub(crate) last: u64,
    /// Where the first frame began when the extent was made: at or before the first live one.
    pub(crate) position: u64,
    /// Behind the last frame: at or after the last live one.
    pub(crate) end: u64,
    /// Bytes of live frames; estimated once an end has been cut off.
    pub(crate) bytes: u64,
    /// Offsets and times; a bound once an end has been cut off.
    pub(crate) span: Span,
    /// Whether entries after `last` were truncated: then nothing joins it any longer.
    pub(crate) cut: bool,
}

impl Extent {
    pub(crate) fn count(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Bytes that would be left with so many entries.
    fn bytes_of(&self, count: u64) -> u64 {
        let share = u128::from(self.bytes) * u128::from(count) / u128::from(self.count());
        u64::try_from(share).expect("a share is at most the whole")
    }

    pub(crate) fn change(&self, sign: i64) -> Change {
        (self.segment, sign * self.bytes.cast_signed(), sign)
    }

    /// Drops entries below `first`.
    pub(crate) fn cut_front(&mut self, first: u64) {
        if first > self.first {
            self.bytes = self.bytes_of(self.last - first + 1);
            self.first = first;
        }
    }

    /// Drops entries above `last`.
    pub(crate) fn cut_back(&mut self, last: u64) {
        if last < self.last {
            self.bytes = self.bytes_of(last - self.first + 1);
            self.last = last;
            self.cut = true;
        }
    }
}

/// What the log knows of a group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) replica: ReplicaId,
    pub(crate) base: Base,
    pub(crate) hard_state: HardState,
    /// Last index; the base's when the log is empty.
    pub(crate) last: u64,
    /// Terms above the base with their first index there, ascending.
    pub(crate) terms: Vec<(Term, Index)>,
    /// Membership entries above the base, ascending.
    pub(crate) memberships: Vec<Entry>,
    pub(crate) derived: Option<(Index, Bytes)>,
    /// Live extents, by index.
    pub(crate) extents: VecDeque<Extent>,
    pub(crate) faulty: Option<Faulty>,
    /// Something changed since the last checkpoint.
    pub(crate) changed: bool,
    /// Extents from this index on changed since then; `u64::MAX` for none.
    pub(crate) extents_changed_from: u64,
    pub(crate) base_changed: bool,
    pub(crate) derived_changed: bool,
}

impl Group {
    pub(crate) fn new(replica: ReplicaId, base: Base) -> Self {
        Self {
            replica,
            last: base.index.0,
            base,
            hard_state: HardState::default(),
            terms: Vec::new(),
            memberships: Vec::new(),
            derived: None,
            extents: VecDeque::new(),
            faulty: None,
            changed: true,
            extents_changed_from: 0,
            base_changed: true,
            derived_changed: true,
        }
    }

    /// Everything of it is in the checkpoint now.
    pub(crate) fn set_unchanged(&mut self) {
        self.changed = false;
        self.extents_changed_from = u64::MAX;
        self.base_changed = false;
        self.derived_changed = false;
    }

    /// Term of the last entry or of the base.
    pub(crate) fn last_term(&self) -> Term {
        self.terms.last().map_or(self.base.term, |(term, _)| *term)
    }

    /// Takes in one entry (an extent of one) at the end.
    pub(crate) fn append(&mut self, entry: Extent, term: Term, changes: &mut Vec<Change>) {
        if self.terms.last().is_none_or(|(last, _)| *last != term) {
            self.terms.push((term, Index(entry.first)));
        }
        self.last = entry.last;
        match self.extents.back_mut() {
            Some(extent)
                if extent.segment == entry.segment
                    && !extent.cut
                    && extent.last + 1 == entry.first =>
            {
                self.extents_changed_from = self.extents_changed_from.min(extent.first);
                extent.last = entry.last;
                extent.end = entry.end;
                extent.bytes += entry.bytes;
                extent.span.add(entry.span);
                changes.push((entry.segment, entry.bytes.cast_signed(), 0));
            }
            _ => {
                self.extents_changed_from = self.extents_changed_from.min(entry.first);
                changes.push(entry.change(1));
                self.extents.push_back(entry);
            }
        }
    }

    /// Voids entries at and above `from`.
    pub(crate) fn truncate(&mut self, from: u64, changes: &mut Vec<Change>) {
        let from = from.max(self.base.index.0 + 1);
        if from > self.last {
            return;
        }
        while let Some(extent) = self.extents.back_mut() {
            if extent.last < from {
                break;
            }
            if !mutant::on(Mutant::TruncationNotCheckpointed) {
                self.extents_changed_from = self.extents_changed_from.min(extent.first);
            }
            changes.push(extent.change(-1));
            if extent.first < from {
                extent.cut_back(from - 1);
                changes.push(extent.change(1));
                break;
            }
            self.extents.pop_back();
        }
        self.terms.retain(|(_, first)| first.0 < from);
        self.memberships.retain(|entry| entry.index.0 < from);
        self.last = from - 1;
        self.changed = true;
    }

    /// Moves the base forward; entries at and below it die.
    pub(crate) fn set_base(&mut self, base: Base, changes: &mut Vec<Change>) {
        let below = base.index.0;
        while let Some(extent) = self.extents.front_mut() {
            if extent.first > below {
                break;
            }
            changes.push(extent.change(-1));
            if extent.last > below {
                extent.cut_front(below + 1);
                changes.push(extent.change(1));
                break;
            }
            self.extents.pop_front();
        }
        let first_left = self
            .terms
            .iter()
            .rposition(|(_, first)| first.0 <= below + 1);
        if let Some(first_left) = first_left {
            self.terms.drain(..first_left);
            self.terms[0].1 = Index(below + 1);
        }
        if self.last <= below {
            self.last = below;
            self.terms.clear();
        }
        self.memberships.retain(|entry| entry.index.0 > below);
        if self
            .faulty
            .is_some_and(|faulty| faulty.until.0 <= below && !faulty.control)
        {
            self.faulty = None;
        }
        self.base = base;
        self.base_changed = !mutant::on(Mutant::BaseNotCheckpointed);
        self.changed = true;
    }

    /// Everything dies.
    pub(crate) fn drop_all(&mut self, changes: &mut Vec<Change>) {
        changes.extend(self.extents.drain(..).map(|extent| extent.change(-1)));
    }

    /// The extent that holds an index.
    pub(crate) fn extent_of(&self, index: u64) -> Option<&Extent> {
        let at = self.extents.partition_point(|extent| extent.last < index);
        self.extents.get(at).filter(|extent| extent.first <= index)
    }

    /// The term of an entry above the base.
    pub(crate) fn term_of(&self, index: Index) -> Option<Term> {
        let behind = self.terms.partition_point(|(_, first)| *first <= index);
        behind.checked_sub(1).map(|at| self.terms[at].0)
    }

    /// Live bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.bytes).sum()
    }

    /// As it is told to the broker.
    pub(crate) fn recovered(&self, group: GroupId) -> RecoveredGroup {
        let mut hard_state = self.hard_state;
        if hard_state.term < self.last_term() {
            // An entry was synced, the hard state written behind it was not: no vote of that term was ever sent.
            hard_state = HardState {
                term: self.last_term(),
                vote: None,
                ..hard_state
            };
        }
        RecoveredGroup {
            group,
            replica: self.replica,
            base: self.base.clone(),
            hard_state,
            last_index: Index(self.last),
            terms: self.terms.clone(),
            membership_entries: self.memberships.clone(),
            derived: self.derived.clone(),
            faulty: self.faulty,
        }
    }
}
