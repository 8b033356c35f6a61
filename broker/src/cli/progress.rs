//! How far a long read is.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// A line that is written again every second, for who sits before a terminal.
pub struct Progress {
    shown: Option<Instant>,
    written: bool,
}

impl Progress {
    /// Nothing is written yet.
    pub fn start() -> Self {
        let shown = std::io::stderr().is_terminal().then(Instant::now);
        Self {
            shown,
            written: false,
        }
    }

    /// So many bytes are read, of so many.
    pub fn told(&mut self, done: u64, total: u64) {
        let Some(shown) = self.shown else { return };
        if shown.elapsed() >= Duration::from_secs(1) {
            eprint!("\rread {} of {} MiB", done >> 20, total >> 20);
            self.shown = Some(Instant::now());
            self.written = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.written {
            eprintln!();
        }
    }
}
