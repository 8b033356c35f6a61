//! The log of one group in memory: terms of everything above the base, payloads of the tail only.

use crate::types::{Base, Entry, Index, Term};
use bytes::Bytes;
use std::collections::VecDeque;

/// What an entry costs beside its payload, in the limits counted in bytes.
pub(crate) const ENTRY_OVERHEAD_BYTES: u64 = 32;

pub(crate) fn entry_bytes(entry: &Entry) -> u64 {
    entry.payload.len() as u64 + ENTRY_OVERHEAD_BYTES
}

/// Base, term runs and tail; all three end at `last`.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// State is left empty: the driver has it.
    base: Base,
    /// Runs of one term above the base, by first index; terms and indexes ascend.
    terms: Vec<(Term, Index)>,
    last: Index,
    /// Contiguous up to `last`; may be empty.
    tail: VecDeque<Entry>,
}

impl Log {
    pub(crate) fn new(base: Base, last: Index, terms: Vec<(Term, Index)>) -> Self {
        assert!(last >= base.index, "a log does not end before its base");
        assert_eq!(terms.is_empty(), last == base.index, "terms cover the log");
        assert!(
            terms.first().is_none_or(|run| run.1 == base.index.next()),
            "terms begin at the base"
        );
        assert!(
            terms.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1),
            "terms ascend"
        );
        assert!(
            terms.last().is_none_or(|run| run.1 <= last),
            "terms end with the log"
        );
        assert!(
            terms.first().is_none_or(|run| run.0 >= base.term),
            "terms ascend from the base"
        );
        Self {
            base: without_state(base),
            terms,
            last,
            tail: VecDeque::new(),
        }
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    pub(crate) fn last_index(&self) -> Index {
        self.last
    }

    pub(crate) fn last_term(&self) -> Term {
        self.terms.last().map_or(self.base.term, |run| run.0)
    }

    pub(crate) fn first_in_memory(&self) -> Index {
        Index(self.last.0 + 1 - self.tail.len() as u64)
    }

    /// The term of an entry; of the base too. None below the base and above the end: never a
    /// made-up 0.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last {
            return None;
        }
        let run = self.terms.partition_point(|run| run.1 <= index);
        assert!(run > 0, "terms cover the log");
        Some(self.terms[run - 1].0)
    }

    /// The highest index at most `index` whose term is at most `term`; never below the base. Where
    /// two logs differ, everything above it differs (Raft, section 5.3, by term instead of by
    /// entry).
    pub(crate) fn last_at_most(&self, index: Index, term: Term) -> Index {
        let index = index.min(self.last);
        if index <= self.base.index {
            return self.base.index;
        }
        let runs = self.terms.partition_point(|run| run.0 <= term);
        let Some(after) = self.terms.get(runs) else {
            return index;
        };
        index.min(after.1.prev()).max(self.base.index)
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last.next(), "entries are contiguous");
        assert!(entry.term >= self.last_term(), "terms never go down");
        if self.terms.last().is_none_or(|run| run.0 < entry.term) {
            self.terms.push((entry.term, entry.index));
        }
        self.last = entry.index;
        self.tail.push_back(entry);
    }

    /// Drops entries at and above `from`.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(
            from > self.base.index && from <= self.last,
            "truncate within the log"
        );
        let keep = from.0.saturating_sub(self.first_in_memory().0) as usize;
        self.tail.truncate(keep);
        self.terms
            .truncate(self.terms.partition_point(|run| run.1 < from));
        self.last = from.prev();
        assert!(
            self.tail
                .back()
                .is_none_or(|entry| entry.index == self.last),
            "tail ends the log"
        );
    }

    /// Drops entries at and below `base.index`, which the log holds.
    pub(crate) fn trim(&mut self, base: Base) {
        assert!(
            base.index > self.base.index && base.index <= self.last,
            "trim within the log"
        );
        assert_eq!(
            self.term_at(base.index),
            Some(base.term),
            "a base has its entry's term"
        );
        while self
            .tail
            .front()
            .is_some_and(|entry| entry.index <= base.index)
        {
            self.tail.pop_front();
        }
        self.terms
            .drain(..self.terms.partition_point(|run| run.1 <= base.index) - 1);
        if base.index == self.last {
            self.terms.clear();
        } else if self
            .terms
            .get(1)
            .is_some_and(|run| run.1 == base.index.next())
        {
            self.terms.remove(0);
        } else {
            self.terms[0].1 = base.index.next();
        }
        self.base = without_state(base);
    }

    /// Forgets everything for this base.
    pub(crate) fn replace(&mut self, base: Base) {
        assert!(base.index > self.base.index, "an install moves forward");
        *self = Self::new(base.clone(), base.index, Vec::new());
    }

    /// Drops payloads up to here from memory.
    pub(crate) fn evict(&mut self, upto: Index) {
        while self.tail.front().is_some_and(|entry| entry.index <= upto) {
            self.tail.pop_front();
        }
    }

    /// Entries in memory from `from` on: at least one, then while they fit `max_bytes`. Also their
    /// bytes.
    pub(crate) fn collect(&self, from: Index, max_bytes: u64) -> (Vec<Entry>, u64) {
        assert!(
            from >= self.first_in_memory() && from <= self.last,
            "collect from memory"
        );
        let skip = (from.0 - self.first_in_memory().0) as usize;
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.tail.range(skip..) {
            let size = entry_bytes(entry);
            if !entries.is_empty() && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            entries.push(entry.clone());
        }
        (entries, bytes)
    }

    /// The entries in memory from `from` on.
    pub(crate) fn tail(&self, from: Index) -> impl Iterator<Item = &Entry> {
        let skip = from.0.saturating_sub(self.first_in_memory().0) as usize;
        self.tail.range(skip.min(self.tail.len())..)
    }
}

fn without_state(base: Base) -> Base {
    Base {
        state: Bytes::new(),
        ..base
    }
}

#[cfg(test)]
mod tests;
