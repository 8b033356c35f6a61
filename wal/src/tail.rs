//! The newest rounds, in the memory that they were written from.

use bytes::Bytes;
use std::collections::VecDeque;

struct TailRound {
    sequence: u64,
    position: u64,
    bytes: Bytes,
    held_bytes: usize,
}

/// A queue of rounds, bounded in bytes.
pub(crate) struct Tail {
    rounds: VecDeque<TailRound>,
    held_bytes: u64,
    bytes_max: u64,
}

impl Tail {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            rounds: VecDeque::new(),
            held_bytes: 0,
            bytes_max,
        }
    }

    /// Keeps a synced round; the oldest ones go. `held_bytes` is the memory behind it.
    pub(crate) fn push(&mut self, sequence: u64, position: u64, bytes: Bytes, held_bytes: usize) {
        self.held_bytes += held_bytes as u64;
        self.rounds.push_back(TailRound {
            sequence,
            position,
            bytes,
            held_bytes,
        });
        while self.held_bytes > self.bytes_max
            && let Some(oldest) = self.rounds.pop_front()
        {
            self.held_bytes -= oldest.held_bytes as u64;
        }
    }

    /// The bytes from a position to the end of its round, if the round is here.
    pub(crate) fn find(&self, sequence: u64, position: u64) -> Option<Bytes> {
        let after = self
            .rounds
            .partition_point(|round| (round.sequence, round.position) <= (sequence, position));
        let round = self.rounds.get(after.checked_sub(1)?)?;
        let offset = usize::try_from(position.checked_sub(round.position)?).ok()?;
        (round.sequence == sequence && offset < round.bytes.len())
            .then(|| round.bytes.slice(offset..))
    }
}
