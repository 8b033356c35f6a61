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
#[derive(Default)]
pub struct Waiters {
    by_group: HashMap<GroupId, Vec<Weak<Notify>>>,
}

/// Below this many, waiters that went away are not looked for.
const PRUNE_FROM: usize = 16;

impl Waiters {
    /// A wait for these.
    pub fn wait_for(&mut self, groups: &[GroupId]) -> Progress {
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
