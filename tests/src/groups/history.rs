//! What members of one group did and saw, in the order in which it ended, in microseconds since it began.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use judge::{Event, What};

/// Where members record.
#[derive(Debug, Clone)]
pub struct History {
    start: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            events: Arc::default(),
        }
    }
}

impl History {
    /// Now.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Records what began then and ends now.
    pub fn record(&self, member: usize, begun: u64, what: What) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.now();
        events.push(Event {
            member,
            begun,
            ended,
            what,
        });
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.clone()
    }
}
