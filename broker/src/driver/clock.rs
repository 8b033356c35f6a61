//! The two clocks: one that only differences are taken of, and one for Kafka's timestamps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raft::types::Tick;

/// The driver's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
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
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
