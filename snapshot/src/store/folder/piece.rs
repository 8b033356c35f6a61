//! Memory for a write past the page cache.

use super::files::PAGE_BYTES;

/// Of larger ones a disk is busy for so long that whoever syncs something else on it notices, a log.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// Bytes that wait until there are enough of them for a write, where the kernel can take them from.
#[derive(Debug)]
pub(super) struct Piece {
    memory: Vec<u8>,
    /// Where the first whole page of the memory begins.
    start: usize,
    filled: usize,
}

impl Piece {
    pub(super) fn new() -> Self {
        let memory = vec![0; PIECE_BYTES + PAGE_BYTES];
        Self {
            start: memory.as_ptr().align_offset(PAGE_BYTES),
            memory,
            filled: 0,
        }
    }

    /// Takes as many as there is room for; how many.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(PIECE_BYTES - self.filled);
        let at = self.start + self.filled;
        self.memory[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        taken
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == PIECE_BYTES
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.filled]
    }

    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }
}
