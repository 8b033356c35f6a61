//! How fast followers are sent what memory does not hold any more.
//!
//! They are served in order, a few reads at a time. While producers are active here they get so many bytes a second, or
//! twice what is produced where that is more: they come nearer whatever is produced, and producers are not felt to wait.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Reads at once.
const READS_MAX: usize = 4;
/// What was produced is looked at so often. Where nothing was in between, nobody waits.
const WINDOW: Duration = Duration::from_secs(1);
/// Time that was not used counts for so long.
const SAVED: Duration = Duration::from_millis(10);

/// The order and the pace.
pub(crate) struct CatchUp {
    reads: Semaphore,
    /// Bytes a second while producers are active. 0: as fast as it goes.
    rate: u64,
    /// When the next read may begin.
    next: Cell<Instant>,
    /// All bytes that were produced here.
    produced: Cell<u64>,
    window: Cell<Window>,
}

#[derive(Clone, Copy)]
struct Window {
    began: Instant,
    produced: u64,
    /// Bytes a second in the window before.
    rate: f64,
}

impl CatchUp {
    pub(crate) fn new(rate: u64) -> Self {
        let now = Instant::now();
        Self {
            reads: Semaphore::new(READS_MAX),
            rate,
            next: Cell::new(now),
            produced: Cell::new(0),
            window: Cell::new(Window {
                began: now,
                produced: 0,
                rate: 0.0,
            }),
        }
    }

    /// Somebody produced.
    pub(crate) fn produced(&self, bytes: usize) {
        self.produced.set(self.produced.get() + bytes as u64);
    }

    /// Until a read may begin. Cancel-safe.
    pub(crate) async fn turn(&self) -> SemaphorePermit<'_> {
        let permit = self.reads.acquire().await.expect("it is never closed");
        tokio::time::sleep_until(self.next.get().into()).await;
        permit
    }

    /// So many bytes were read.
    pub(crate) fn read(&self, now: Instant, bytes: u64) {
        let rate = self.allowed(now);
        if rate.is_finite() {
            let from = self.next.get().max(now.checked_sub(SAVED).unwrap_or(now));
            self.next
                .set(from + Duration::from_secs_f64(bytes as f64 / rate));
        } else {
            self.next.set(now);
        }
    }

    /// Bytes a second that followers may get now.
    fn allowed(&self, now: Instant) -> f64 {
        let mut window = self.window.get();
        let age = now.saturating_duration_since(window.began);
        let produced = self.produced.get();
        if age >= WINDOW {
            // What is long over says nothing of now.
            let rate = (produced - window.produced) as f64 / age.as_secs_f64();
            window = Window {
                began: now,
                produced,
                rate,
            };
            self.window.set(window);
        }
        let is_active = window.rate > 0.0 || produced > window.produced;
        if self.rate == 0 || !is_active {
            return f64::INFINITY;
        }
        (2.0 * window.rate).max(self.rate as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1 << 20;

    fn waits(catch_up: &CatchUp, now: Instant) -> Duration {
        catch_up.next.get().saturating_duration_since(now)
    }

    #[test]
    fn nobody_waits_where_nothing_is_produced() {
        let catch_up = CatchUp::new(RATE);
        let now = Instant::now();
        catch_up.read(now, 64 * RATE);
        assert_eq!(waits(&catch_up, now), Duration::ZERO);
    }

    #[test]
    fn producers_bring_the_pace_and_its_end() {
        let catch_up = CatchUp::new(RATE);
        let begin = Instant::now();
        catch_up.produced(1);
        catch_up.read(begin, RATE);
        let wait = waits(&catch_up, begin);
        assert!(
            wait > Duration::from_millis(980) && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
        // A second later it is known what that second brought, another one later that it brought nothing.
        let later = begin + WINDOW;
        catch_up.read(later, RATE);
        assert!(waits(&catch_up, later) > Duration::from_millis(900));
        let quiet = later + 2 * WINDOW;
        catch_up.read(quiet, RATE);
        assert_eq!(waits(&catch_up, quiet), Duration::ZERO);
    }

    #[test]
    fn who_falls_behind_fast_producers_gets_twice_what_they_send() {
        let catch_up = CatchUp::new(RATE);
        let begin = Instant::now();
        catch_up.produced(16 * RATE as usize);
        let later = begin + 2 * WINDOW;
        catch_up.read(later, 16 * RATE);
        // 8 a second came in, 16 may go out.
        let wait = waits(&catch_up, later);
        assert!(
            wait > Duration::from_millis(950) && wait < Duration::from_millis(1100),
            "{wait:?}"
        );
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let catch_up = CatchUp::new(0);
        let now = Instant::now();
        catch_up.produced(1);
        catch_up.read(now, 64 * RATE);
        assert_eq!(waits(&catch_up, now), Duration::ZERO);
    }
}
