//! What is on disk and what is on its way: persists are numbered, completions may come in any
//! order.

use crate::effect::After;
use crate::types::{Index, PersistSeq};
use std::collections::VecDeque;

/// The persists of one member in this process life.
#[derive(Clone, Debug)]
pub(crate) struct Durability {
    issued: PersistSeq,
    done: PersistSeq,
    /// The log as it is now is synced up to here. Goes down only by truncation.
    index: Index,
    /// Issued and not done, by number, each with the last index *of the log as it is now* that it
    /// covers: truncation clamps it, so the completion of a write that was made void proves nothing
    /// (the ABA race).
    pending: VecDeque<(PersistSeq, Index)>,
    /// The persist that carries the current term and vote.
    hard_state: PersistSeq,
}

impl Durability {
    pub(crate) fn new(index: Index) -> Self {
        Self {
            issued: PersistSeq(0),
            done: PersistSeq(0),
            index,
            pending: VecDeque::new(),
            hard_state: PersistSeq(0),
        }
    }

    pub(crate) fn index(&self) -> Index {
        self.index
    }

    /// Numbers a persist after which the log ends at `last`.
    pub(crate) fn issue(&mut self, last: Index, hard_state: bool) -> PersistSeq {
        assert!(
            self.pending.back().is_none_or(|p| p.1 <= last),
            "truncation clamps what is pending"
        );
        self.issued = PersistSeq(self.issued.0 + 1);
        self.pending.push_back((self.issued, last));
        if hard_state {
            self.hard_state = self.issued;
        }
        self.issued
    }

    /// Everything up to `seq` is synced. A number that was already covered changes nothing.
    pub(crate) fn complete(&mut self, seq: PersistSeq) {
        assert!(seq <= self.issued, "only what was issued can be done");
        while self.pending.front().is_some_and(|p| p.0 <= seq) {
            if let Some((done, last)) = self.pending.pop_front() {
                self.done = done;
                self.index = self.index.max(last);
            }
        }
    }

    /// The log now ends below `from`; what was written there is void.
    pub(crate) fn truncate(&mut self, from: Index) {
        self.index = self.index.min(from.prev());
        for pending in &mut self.pending {
            pending.1 = pending.1.min(from.prev());
        }
    }

    /// When the current term and vote are synced.
    pub(crate) fn after_hard_state(&self) -> After {
        self.after(self.hard_state)
    }

    /// When the log is synced up to `index`, and the current term too.
    pub(crate) fn after_index(&self, index: Index) -> After {
        if index <= self.index {
            return self.after_hard_state();
        }
        let pending = self.pending.iter().find(|p| p.1 >= index);
        let seq = pending.map(|p| p.0);
        assert!(
            seq.is_some(),
            "an index of the log is synced or being synced"
        );
        self.after(seq.unwrap_or(self.issued).max(self.hard_state))
    }

    pub(crate) fn is_hard_state_done(&self) -> bool {
        self.hard_state <= self.done
    }

    fn after(&self, seq: PersistSeq) -> After {
        if seq <= self.done {
            After::Now
        } else {
            After::Persisted(seq)
        }
    }
}
