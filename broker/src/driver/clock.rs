//! The two clocks: one that only differences are taken of, and one for Kafka's timestamps.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raft::types::Tick;

/// The driver's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// The wall clock at `start`.
    start_wall_ms: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            start_wall_ms: wall_ms(),
        }
    }
}

impl Clock {
    /// Milliseconds since the process began. Never goes back.
    #[must_use]
    pub fn now(&self) -> Tick {
        Tick(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The tick at which a wait that begins now ends.
    #[must_use]
    pub fn after(&self, wait: Duration) -> Tick {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Tick(self.now().0.saturating_add(wait))
    }

    /// When that tick begins.
    #[must_use]
    pub fn instant(&self, tick: Tick) -> Instant {
        self.start + Duration::from_millis(tick.0)
    }

    /// The wall clock in ms since 1970. May jump.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        wall_ms()
    }

    /// How far the wall clock has been set forward (or back, negative) since the process began, in ms: what it says
    /// more than the time that has passed. A machine that slept counts as set forward.
    #[must_use]
    pub fn jump_ms(&self) -> i64 {
        let passed = i64::try_from(self.now().0).unwrap_or(i64::MAX);
        self.wall_ms() - self.start_wall_ms - passed
    }
}

/// A wall clock that was set further than this since the start is not believed.
const JUMP_MAX_MS: u64 = 3_600_000;

/// Whether the wall clock is believed when records are deleted by their age.
#[derive(Debug, Default)]
pub struct ClockTrust {
    suspended: Cell<bool>,
}

impl ClockTrust {
    /// Whether a clock that was set by so much is believed. Says so when that changes.
    pub fn judge(&self, jump_ms: i64) -> bool {
        let trusted = jump_ms.unsigned_abs() <= JUMP_MAX_MS;
        let suspended = self.suspended.replace(!trusted);
        if !trusted && !suspended {
            tracing::error!(
                target: "broker",
                seconds = jump_ms / 1000,
                "the clock was set: nothing is deleted by its age; set it right, or restart this broker if it is right"
            );
        } else if trusted && suspended {
            tracing::info!(target: "broker", "the clock is right again: records are deleted by their age");
        }
        trusted
    }

    /// Whether the last judgement was no.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspended.get()
    }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let mut clock = Clock::default();
        assert!(clock.jump_ms().abs() < 60_000);
        clock.start_wall_ms -= 7_200_000;
        let jump = clock.jump_ms();
        assert!((7_140_000..7_260_000).contains(&jump), "{jump}");
        clock.start_wall_ms += 14_400_000;
        assert!(clock.jump_ms() < -7_140_000);
        let trust = ClockTrust::default();
        assert!(trust.judge(59 * 60_000) && trust.judge(-59 * 60_000));
        assert!(!trust.judge(jump) && trust.is_suspended());
        assert!(!trust.judge(-jump));
        assert!(trust.judge(0) && !trust.is_suspended());
    }
}
