//! Who waits for a partition to move: fetches in their long poll.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use raft::types::GroupId;
use tokio::sync::Notify;

/// A wait for one of several partitions to move.
pub struct Progress {
    _registered: Rc<Notify>,
    moved: Pin<Box<dyn Future<Output = ()>>>,
}

impl Future for Progress {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.moved.as_mut().poll(context)
    }
}

/// Who waits for what.
pub struct Waiters {
    by_group: HashMap<GroupId, Vec<Weak<Notify>>>,
    /// With so many groups those that nobody waits for any longer are looked for.
    prune_at: usize,
}

impl Default for Waiters {
    fn default() -> Self {
        let by_group = HashMap::new();
        let prune_at = GROUPS_MIN;
        Self { by_group, prune_at }
    }
}

/// Below this many, waiters that went away are not looked for.
const PRUNE_FROM: usize = 16;
/// Below this many groups none is looked for.
const GROUPS_MIN: usize = 1024;

impl Waiters {
    /// A wait for these.
    pub fn wait_for(&mut self, groups: &[GroupId]) -> Progress {
        if self.by_group.len() >= self.prune_at {
            self.by_group.retain(|_, waiters| {
                waiters.retain(|w| w.strong_count() > 0);
                !waiters.is_empty()
            });
            self.prune_at = (self.by_group.len() * 2).max(GROUPS_MIN);
        }
        let notify = Rc::new(Notify::new());
        for group in groups {
            let waiters = self.by_group.entry(*group).or_default();
            if waiters.len() >= PRUNE_FROM && waiters.len() == waiters.capacity() {
                waiters.retain(|w| w.strong_count() > 0);
            }
            waiters.push(Rc::downgrade(&notify));
        }
        let waiting = notify.clone();
        let moved = Box::pin(async move { waiting.notified().await });
        Progress {
            _registered: notify,
            moved,
        }
    }

    /// These moved.
    pub fn wake(&mut self, groups: &BTreeSet<GroupId>) {
        for group in groups {
            let Some(waiters) = self.by_group.get_mut(group) else {
                continue;
            };
            for waiter in waiters.drain(..).filter_map(|w| w.upgrade()) {
                waiter.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_nobody_waits_for_are_forgotten() {
        let mut waiters = Waiters::default();
        let waiting = waiters.wait_for(&[GroupId(0)]);
        for group in 1..=10 * GROUPS_MIN as u64 {
            drop(waiters.wait_for(&[GroupId(group)]));
            waiters.wake(&BTreeSet::from([GroupId(group)]));
            assert!(waiters.by_group.len() <= 2 * GROUPS_MIN);
        }
        assert!(waiters.by_group.contains_key(&GroupId(0)), "somebody waits");
        drop(waiting);
    }
}
