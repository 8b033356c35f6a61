//! Tails: what partitions have changed since their last snapshots goes into the store as one object for all that this
//! broker leads, a while after the first change. So a quiet partition costs no requests of its own.
//!
//! A tail holds what came since the last one; every [`EVERY`]th one what came since the last such one, which makes those
//! in between superfluous. A partition with much of its own, or one that was in tails for [`EVERY`] times [`EVERY`] of
//! them, gets a snapshot, and then the tails before it hold nothing that is needed.

use std::collections::BTreeSet;

use raft::types::{GroupId, Index, ReplicaId, Term, Tick};

use super::Shard;
use super::group::Group;
use super::output::Order;
use super::snapshots::{Policy, Trigger};
use crate::partition::state::PartitionState;

/// Tails between two larger ones, and larger ones between two snapshots of everything.
pub const EVERY: u64 = 8;

/// A tail to be written. Everything in it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailWanted {
    /// What it is to hold.
    pub parts: Vec<TailPart>,
    /// A part of more bytes is left out: a snapshot is taken instead.
    pub part_bytes: u64,
}

/// Entries of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailPart {
    /// Of this group.
    pub group: GroupId,
    /// Its replica here, whose log is read.
    pub replica: ReplicaId,
    /// The leader's term.
    pub term: Term,
    /// The first one.
    pub first: Index,
    /// The last one.
    pub last: Index,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailFate {
    /// It is in the store.
    Stored,
    /// It is too large, or no longer in the log: a snapshot is needed.
    Snapshot,
    /// There was no room for it: another tail is needed.
    Later,
}

/// What waits for the next tail.
#[derive(Default)]
pub(super) struct Tails {
    /// Partitions with changes since the last tail of each size or of a larger one; the last: since the last round of
    /// snapshots.
    changed: [BTreeSet<GroupId>; 3],
    /// When the next one is due.
    due: Option<Tick>,
    /// The one that is being written.
    running: Option<Running>,
    /// How many were begun.
    count: u64,
}

struct Running {
    parts: Vec<TailPart>,
    is_large: bool,
    began: Tick,
}

impl Group {
    /// The last index that the store holds, in a snapshot or a tail.
    pub(super) fn covered(&self) -> Index {
        self.covered_without(false)
    }

    /// The same, without tails that are not large if `is_large`.
    fn covered_without(&self, is_large: bool) -> Index {
        let stored = self.partition().and_then(PartitionState::stored);
        let stored = Index(stored.map_or(0, |stored| stored.index));
        stored.max(self.tailed[usize::from(is_large)])
    }

    /// The part of the next tail; None when there is nothing for it.
    fn tail_part(&self, is_large: bool) -> Option<TailPart> {
        let state = self.partition()?;
        let covered = self.covered_without(is_large);
        // NB: a majority may hold an entry before the own disk does, from which it is read.
        let last = state.applied().min(self.node.durable_index());
        (state.changed() > covered && last > covered).then(|| TailPart {
            group: self.id,
            replica: self.me.replica,
            term: self.node.term(),
            first: covered.next(),
            last,
        })
    }
}

impl Shard {
    /// A partition has changed: at the latest then, a tail is due.
    pub(super) fn wait_for_tail(&mut self, id: GroupId, at: Tick) {
        self.tails.changed[0].insert(id);
        self.tails.due.get_or_insert(at);
    }

    /// Begins with a tail when one is due.
    pub(super) fn plan_tail(&mut self, now: Tick, policy: Policy) {
        let part_bytes = policy.tail_bytes;
        let is_due = self.tails.due.is_some_and(|at| at <= now);
        if !is_due || self.tails.running.is_some() {
            return;
        }
        self.tails.due = None;
        self.tails.count += 1;
        let is_large = self.tails.count.is_multiple_of(EVERY);
        let [small, large, all] = &mut self.tails.changed;
        let mut candidates = std::mem::take(small);
        if is_large {
            candidates.append(large);
            all.extend(&candidates);
        } else {
            large.extend(&candidates);
        }
        let (mut parts, mut again) = (Vec::new(), Vec::new());
        let (soon, next) = (now.0 + policy.rest_ms, now.0 + policy.lag_max_ms / 2);
        for id in candidates {
            let Some(group) = self.groups.get_mut(&id).filter(|group| group.is_leader()) else {
                continue;
            };
            if !group.node.is_leader_established() {
                again.push((id, Tick(soon)));
                continue;
            }
            group.is_noted = false;
            if group.node.durable_index() < group.applied() {
                again.push((id, Tick(next)));
            }
            let Some(part) = group.tail_part(is_large) else {
                continue;
            };
            if group.unstored_bytes > part_bytes {
                self.snapshots.want(id, Trigger::Time);
            } else {
                parts.push(part);
            }
        }
        for (id, at) in again {
            self.wait_for_tail(id, at);
        }
        if self.tails.count.is_multiple_of(EVERY * EVERY) {
            for id in std::mem::take(&mut self.tails.changed[2]) {
                self.snapshots.want(id, Trigger::Time);
            }
        }
        if parts.is_empty() {
            return;
        }
        self.io.orders.push(Order::WriteTail(Box::new(TailWanted {
            parts: parts.clone(),
            part_bytes,
        })));
        self.tails.running = Some(Running {
            parts,
            is_large,
            began: now,
        });
    }

    /// The answer to [`Order::WriteTail`]: what became of each part, in their order; None when the tail is not in the
    /// store.
    ///
    /// # Panics
    /// When none is being written, or the answer is another one's.
    pub fn tail_written(&mut self, now: Tick, fates: Option<Vec<TailFate>>) {
        let running = self.tails.running.take();
        let Running {
            parts,
            is_large,
            began,
        } = running.expect("one is being written");
        let rest_ms = self.config.snapshot_rest_ms();
        let Some(fates) = fates else {
            for part in parts {
                self.wait_for_tail(part.group, Tick(now.0 + rest_ms));
            }
            return;
        };
        assert_eq!(fates.len(), parts.len(), "every part has its fate");
        for (part, fate) in parts.into_iter().zip(fates) {
            let is_same = |group: &&mut Group| group.node.term() == part.term && group.is_leader();
            let Some(group) = self.groups.get_mut(&part.group).filter(is_same) else {
                continue;
            };
            match fate {
                TailFate::Stored => {
                    group.tailed[0] = part.last;
                    if is_large {
                        group.tailed[1] = part.last;
                    }
                    let changed = group.partition().map(PartitionState::changed);
                    let lacks = changed > Some(group.covered());
                    group.unstored_since = lacks.then_some(began);
                }
                TailFate::Snapshot => self.snapshots.want(part.group, Trigger::Time),
                TailFate::Later => self.wait_for_tail(part.group, now),
            }
        }
    }
}
