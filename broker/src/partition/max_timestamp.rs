//! The batch with the highest timestamp, under trimming from the front.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, BytesMut};

/// How many candidates are remembered; more matter only where timestamps fall for this many batches.
const CANDIDATES_MAX: usize = 64;

/// A sliding-window maximum: candidates with falling timestamps and rising offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaxTimestamp {
    candidates: VecDeque<(i64, i64)>,
    /// Batches that begin below this offset have been seen.
    seen_below: i64,
}

impl MaxTimestamp {
    /// A committed batch. One that was seen before (replayed over a newer state) changes nothing.
    pub fn append(&mut self, timestamp_ms: i64, base_offset: i64) {
        if base_offset < self.seen_below {
            return;
        }
        self.seen_below = base_offset + 1;
        while self
            .candidates
            .back()
            .is_some_and(|&(older, _)| older < timestamp_ms)
        {
            self.candidates.pop_back();
        }
        if self.candidates.len() < CANDIDATES_MAX {
            self.candidates.push_back((timestamp_ms, base_offset));
        }
    }

    /// Batches that end at or below `offset` are gone; `base_offset` of the first that stays may be below it.
    pub fn trim(&mut self, first_base_offset: i64) {
        while self
            .candidates
            .front()
            .is_some_and(|&(_, base)| base < first_base_offset)
        {
            self.candidates.pop_front();
        }
    }

    /// (timestamp, base offset of its batch).
    #[must_use]
    pub fn get(&self) -> Option<(i64, i64)> {
        self.candidates.front().copied()
    }

    /// As bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::try_from(self.candidates.len()).expect("at most CANDIDATES_MAX"));
        out.put_i64(self.seen_below);
        for &(timestamp, base) in &self.candidates {
            out.put_i64(timestamp);
            out.put_i64(base);
        }
    }

    /// None when the bytes are not what `encode` wrote.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let count = bytes.try_get_u8().ok()? as usize;
        let seen_below = bytes.try_get_i64().ok()?;
        if count > CANDIDATES_MAX || count > bytes.len() / 16 {
            return None;
        }
        let candidates = (0..count)
            .map(|_| (bytes.get_i64(), bytes.get_i64()))
            .collect();
        Some(Self {
            candidates,
            seen_below,
        })
    }
}
