//! The tail cache's budget: which entries are in memory, oldest first over all groups.

use std::collections::VecDeque;

use raft::types::{GroupId, Index};

pub(super) struct Memory {
    bytes: u64,
    bytes_max: u64,
    entries: VecDeque<(GroupId, Index, u32)>,
}

/// What an entry costs beside its payload.
const OVERHEAD_BYTES: u32 = 128;

impl Memory {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes: 0,
            bytes_max,
            entries: VecDeque::new(),
        }
    }

    /// An entry with a payload of this size is in memory now.
    pub(super) fn add(&mut self, group: GroupId, index: Index, payload_bytes: usize) {
        let bytes = u32::try_from(payload_bytes)
            .unwrap_or(u32::MAX)
            .saturating_add(OVERHEAD_BYTES);
        self.bytes += u64::from(bytes);
        self.entries.push_back((group, index, bytes));
    }

    /// The oldest entry, while the budget is exceeded.
    pub(super) fn surplus(&self) -> Option<(GroupId, Index)> {
        let over = self.bytes > self.bytes_max;
        self.entries
            .front()
            .filter(|_| over)
            .map(|&(group, index, _)| (group, index))
    }

    /// The oldest entry is gone.
    pub(super) fn drop_front(&mut self) {
        if let Some((_, _, bytes)) = self.entries.pop_front() {
            self.bytes -= u64::from(bytes);
        }
    }

    /// The oldest entry is still needed: look at it again later.
    pub(super) fn defer_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.entries.push_back(entry);
        }
    }

    /// How many entries are in memory.
    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
