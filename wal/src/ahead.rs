//! Zeros ahead of the log's end.
//!
//! The first write to a block that was only allocated changes the file's extents, so that the sync behind it writes
//! the inode too: 250 us for a page instead of 140, on one virtual disk. Segments that had an earlier life and zeroed
//! spares have no such blocks; the first ones of a log, and those made when no spare was ready, consist of them.

use crate::log::Log;
use crate::pages::Pages;

/// Zeros ahead of the end, at most: 256 small rounds.
const AHEAD_BYTES: u64 = 1 << 20;

/// Rounds above this gain little: they change the extents of many blocks at once, and zeros would be half of what is
/// written.
const ROUND_BYTES_MAX: u64 = 128 << 10;

impl Log {
    /// Whether the last round was large, and no idle mark came behind it.
    pub(crate) fn writes_large_rounds(&self) -> bool {
        self.last_round_bytes > ROUND_BYTES_MAX
    }

    /// Writes zeros behind the log's end if its segment was never written there, and the last round was small. They are
    /// synced by the next round. To be called after each round, when those who waited for it have been told.
    ///
    /// Nothing rests on these zeros: where they cannot be written, the log goes on without them.
    pub fn zero_ahead(&mut self) {
        if self.open.segment.written_before || self.poisoned.is_some() || self.writes_large_rounds()
        {
            return;
        }
        let size = self.config.segment_bytes;
        let open = &mut self.open;
        if open.zeroed_to.saturating_sub(open.position) > AHEAD_BYTES / 2 {
            return;
        }
        let from = open.zeroed_to.max(open.position);
        let to = (open.position + AHEAD_BYTES).min(size);
        let length = usize::try_from(to.saturating_sub(from)).expect("at most 1 MiB");
        open.zeroed_to = to;
        if length == 0 {
            return;
        }
        if let Err(error) = open.segment.file.write_at(from, &Pages::zeroed(length)) {
            tracing::warn!(%error, number = open.segment.number, "no zeros ahead of the log");
            open.zeroed_to = size;
        }
    }
}
