//! Snapshots as of a cut: what they need is set aside when the hold begins, and they are taken when the cut has come
//! about.

use std::collections::{BTreeMap, BTreeSet};

use raft::types::{GroupId, Tick};

use super::Shard;
use super::group::Group;
use super::output::Order;
use super::snapshots::{Policy, Trigger, Wanted};
use crate::partition::state::PartitionState;

/// Whoever makes the cut has to ask for the snapshots within this time.
const ASKED_WITHIN_MS: u64 = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct Captures {
    cut: u128,
    /// Set aside.
    waiting: BTreeMap<GroupId, Wanted>,
    running: BTreeSet<GroupId>,
    /// They are to be taken; else they are forgotten after a while.
    is_asked: bool,
    forgotten_at: Tick,
    /// The first that was not taken.
    lost: Option<GroupId>,
}

/// How far the snapshots of a cut are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    /// Some are still to be taken.
    Waiting,
    /// All are in the store.
    Stored,
    /// This one is not.
    Lost(GroupId),
    /// Nothing is known of this cut.
    Unknown,
}

impl Captures {
    /// Sets aside what the snapshots of all partitions need that are led here and that the store lacks something of.
    pub(super) fn of<'a>(groups: impl Iterator<Item = &'a Group>, cut: u128, now: Tick) -> Self {
        let led = groups.filter(|group| group.node.is_leader_established());
        let wanted = led.filter_map(|group| Some((group.id, group.wanted_now(Trigger::Cut)?)));
        Self {
            cut,
            waiting: wanted.collect(),
            forgotten_at: Tick(now.0 + ASKED_WITHIN_MS),
            ..Self::default()
        }
    }

    /// Whether another cut has to wait.
    pub(super) fn is_busy(&self, now: Tick) -> bool {
        let is_left = !self.waiting.is_empty() || !self.running.is_empty();
        is_left && (self.is_asked || now < self.forgotten_at)
    }

    /// A snapshot of this partition has ended.
    pub(super) fn taken(&mut self, id: GroupId, is_stored: bool) {
        if self.running.remove(&id) && !is_stored {
            self.lose(id);
        }
    }

    /// One that is missing makes the others worthless.
    fn lose(&mut self, id: GroupId) {
        self.lost.get_or_insert(id);
        self.waiting.clear();
    }
}

impl Shard {
    /// Has the snapshots of a cut taken that were set aside.
    pub fn capture(&mut self, cut: u128) {
        if self.snapshots.captures.cut == cut {
            self.snapshots.captures.is_asked = true;
            self.plan_captures();
        }
    }

    /// The cut has not come about: what was set aside for it is not needed.
    pub fn forget_captures(&mut self, cut: u128) {
        if self.snapshots.captures.cut == cut {
            self.snapshots.captures.waiting.clear();
        }
    }

    /// How far they are.
    #[must_use]
    pub fn captured(&self, cut: u128) -> Captured {
        let captures = &self.snapshots.captures;
        match captures.lost {
            _ if captures.cut != cut || !captures.is_asked => Captured::Unknown,
            Some(id) => Captured::Lost(id),
            None if captures.waiting.is_empty() && captures.running.is_empty() => Captured::Stored,
            None => Captured::Waiting,
        }
    }

    /// Begins with those for which there is room.
    pub(super) fn plan_captures(&mut self) {
        let Some(Policy { at_once, .. }) = self.config.snapshots else {
            return;
        };
        if !self.snapshots.captures.is_asked {
            return;
        }
        let waiting = self.snapshots.captures.waiting.keys();
        let idle: Vec<GroupId> = waiting
            .filter(|id| !self.snapshots.is_running(**id))
            .copied()
            .collect();
        for id in idle {
            if self.snapshots.running_count() >= at_once {
                return;
            }
            let Some(mut wanted) = self.snapshots.captures.waiting.remove(&id) else {
                return;
            };
            let leads = |group: &&Group| group.is_leader() && group.node.term() == wanted.term;
            let Some(group) = self.groups.get(&id).filter(leads) else {
                // The next leader knows nothing of the cut.
                self.snapshots.captures.lose(id);
                return;
            };
            // Another one may have been taken meanwhile, and what it holds be gone from the log.
            let stored = group.partition().and_then(PartitionState::stored);
            if let Some(stored) = stored.filter(|stored| stored.index <= wanted.index.0) {
                wanted.before = Some(stored);
            }
            wanted.local_start = group.local_start();
            self.snapshots.captures.running.insert(id);
            self.snapshots.begin(id);
            self.io.orders.push(Order::TakeSnapshot(Box::new(wanted)));
        }
    }
}
