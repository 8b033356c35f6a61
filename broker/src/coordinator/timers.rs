//! What happens when nothing happens: one ordered set of deadlines for all groups of a coordinator.

use std::collections::{BTreeMap, BTreeSet};

use raft::types::Tick;

/// What is due. Each is set at most once at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The group has waited long enough for members to join.
    Join(String),
    /// The group has waited long enough for members to sync.
    Sync(String),
    /// That the group is empty has to be proposed again.
    Empty(String),
    /// A member of a group, or an id that was given out, was silent too long.
    Session(String, String),
    /// A member of a group of the consumer protocol has not given up partitions in time.
    Revocation(String, String),
    /// A member of the classic protocol, in a group of the consumer protocol, has not joined again in time, or has
    /// joined and not asked for its assignment.
    Rejoin(String, String),
    /// Offsets may have expired.
    Expiry,
    /// Offsets of deleted topics may be there.
    Forget,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Tick>,
    /// The same, by time.
    order: BTreeSet<(Tick, Timer)>,
}

impl Timers {
    /// Instead of when it was due before.
    pub(super) fn set(&mut self, timer: Timer, at: Tick) {
        self.cancel(&timer);
        self.order.insert((at, timer.clone()));
        self.at.insert(timer, at);
    }

    /// Does nothing when it is not set.
    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.at.remove_entry(timer) {
            self.order.remove(&(at, timer));
        }
    }

    /// Whether it will be due.
    pub(super) fn is_set(&self, timer: &Timer) -> bool {
        self.at.contains_key(timer)
    }

    /// The earliest that is due.
    pub(super) fn pop(&mut self, now: Tick) -> Option<Timer> {
        if self.deadline()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }

    /// How many are due.
    pub(super) fn due(&self, now: Tick) -> usize {
        self.order.iter().take_while(|(at, _)| *at <= now).count()
    }

    /// When the earliest is due.
    pub(super) fn deadline(&self) -> Option<Tick> {
        self.order.first().map(|(at, _)| *at)
    }
}
