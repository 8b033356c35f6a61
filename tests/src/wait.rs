//! The one place that waits: a bounded number of tries for a condition that nobody announces.

use std::fmt;
use std::time::{Duration, Instant};

/// A condition that did not come true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How often it was looked at.
    pub tries: u32,
    /// For how long.
    pub waited: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.waited.as_secs_f64();
        write!(
            out,
            "{} did not happen: {} tries in {seconds:.1} s",
            self.what, self.tries
        )
    }
}

impl std::error::Error for TimedOut {}

/// Looks every `step` until there is an answer, at most for `within`.
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    step: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let started = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        if let Some(answer) = look() {
            return Ok(answer);
        }
        let waited = started.elapsed();
        if waited >= within {
            return Err(TimedOut {
                what: what.to_owned(),
                tries,
                waited,
            });
        }
        std::thread::sleep(step);
    }
}

/// [`wait_for`] a condition, looking every 20 ms.
pub fn wait_until(
    what: &str,
    within: Duration,
    mut holds: impl FnMut() -> bool,
) -> Result<(), TimedOut> {
    wait_for(what, within, Duration::from_millis(20), || {
        holds().then_some(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_the_answer_or_after_the_bound() {
        let mut tries = 0;
        let third = wait_for("third", Duration::from_secs(5), Duration::ZERO, || {
            tries += 1;
            (tries == 3).then_some(tries)
        });
        assert_eq!(third, Ok(3));
        let never = wait_until("never", Duration::from_millis(50), || false).unwrap_err();
        assert!(
            never.tries >= 2 && never.waited >= Duration::from_millis(50),
            "{never}"
        );
    }
}
