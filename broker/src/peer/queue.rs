//! What waits for a socket: whole frames, in pieces that share their memory with whoever made them.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

/// What a piece costs besides its bytes, so that many tiny ones count.
const PIECE_BYTES: usize = size_of::<Bytes>();

/// Pieces in one write: IOV_MAX is 1024, more than a few dozen gain nothing.
pub(super) const PIECES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    pieces: VecDeque<Bytes>,
    cost: usize,
}

impl WriteQueue {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait, with their overhead.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Takes all of the chain, or nothing of it if it would exceed `cost_max`.
    pub fn push(&mut self, chain: Vec<Bytes>, cost_max: usize) -> bool {
        let cost: usize = chain.iter().map(|piece| piece.len() + PIECE_BYTES).sum();
        if self.cost + cost > cost_max {
            return false;
        }
        for piece in chain.into_iter().filter(|piece| !piece.is_empty()) {
            self.cost += piece.len() + PIECE_BYTES;
            self.pieces.push_back(piece);
        }
        true
    }

    /// The front, for one vectored write.
    pub fn front<'a>(&'a self, slices: &mut [IoSlice<'a>; PIECES_MAX]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Drops what was written.
    pub fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let front = self
                .pieces
                .front_mut()
                .expect("no more is written than was there");
            let part = written.min(front.len());
            front.advance(part);
            written -= part;
            self.cost -= part;
            if front.is_empty() {
                self.cost -= PIECE_BYTES;
                self.pieces.pop_front();
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
