//! How long to wait before the next dial: doubling, with jitter, so that restarted nodes do not dial in step.

use std::time::Duration;

pub(super) struct Backoff {
    min_ms: u64,
    max_ms: u64,
    next_ms: u64,
    random: u64,
}

impl Backoff {
    pub fn new(min_ms: u64, max_ms: u64, seed: u64) -> Self {
        Self {
            min_ms,
            max_ms,
            next_ms: min_ms,
            random: seed,
        }
    }

    /// Between half of the present wait and all of it; the next one is twice as long, up to the maximum.
    pub fn wait(&mut self) -> Duration {
        let whole = self.next_ms;
        self.next_ms = (whole * 2).min(self.max_ms);
        // splitmix64's output function on a counter: jitter needs no better.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let micros = whole * 1000;
        Duration::from_micros(micros / 2 + (mixed >> 20) % (micros / 2 + 1))
    }

    pub fn reset(&mut self) {
        self.next_ms = self.min_ms;
    }
}
