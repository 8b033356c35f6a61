//! What happened since the driver last looked: events of the peers, the log and the blocking threads.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::log_thread::LogEvent;
use crate::peer::PeerEvent;

/// Events of the peers, on the driver's own thread.
#[derive(Default)]
pub struct PeerInbox {
    events: RefCell<VecDeque<PeerEvent>>,
}

impl PeerInbox {
    /// Leaves an event.
    pub fn push(&self, event: PeerEvent) {
        self.events.borrow_mut().push_back(event);
    }

    /// Takes one.
    pub fn pop(&self) -> Option<PeerEvent> {
        self.events.borrow_mut().pop_front()
    }
}

/// Events of the log thread, and the wake-up that goes with them.
#[derive(Clone)]
pub struct LogInbox {
    events: Arc<Mutex<Vec<LogEvent>>>,
    wake: Arc<Notify>,
}

impl LogInbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            events: Arc::default(),
            wake: Arc::new(Notify::new()),
        }
    }

    /// Leaves an event; called on the log thread.
    pub fn push(&self, event: LogEvent) {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
        self.wake.notify_one();
    }

    /// Takes all.
    #[must_use]
    pub fn take(&self) -> Vec<LogEvent> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Resolves when there are some. Cancel-safe.
    pub async fn filled(&self) {
        self.wake.notified().await;
    }
}

impl Default for LogInbox {
    fn default() -> Self {
        Self::new()
    }
}
