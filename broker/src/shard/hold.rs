//! Holding everything that clients could see at one point, for a moment, while all brokers do so: a cut of the cluster.
//!
//! From [`Shard::hold`] to [`Shard::release`] nothing that is committed is applied to any partition here: nobody is
//! answered that it is, and nobody is shown it. So what lies at or below the positions that were told was shown by
//! nobody after them, and what lies above by nobody yet; when all brokers have told theirs, whatever was caused by
//! something that one of them shows is beyond the positions, or its cause is not.
//!
//! - Whatever becomes of the cut, a hold ends by itself after [`HOLD_MS`].
//! - A leader that was deposed without hearing of it holds nothing: its successor shows more. So leaders are confirmed
//!   by majorities ([`Shard::confirm_leader`]) after all have told their positions, and before anybody is released.
//! - Records that are acknowledged before they are committed (acks of 1 or 0, `durability = relaxed`) are answered as
//!   little, but those that were before may lie beyond the cut.
//! - What a snapshot as of the position has to hold is set aside with it: it is the state of this moment.

use std::collections::BTreeMap;

use raft::types::{GroupId, Index, Term, Tick};
use serde::{Deserialize, Serialize};
use snapshot::cut;
use uuid::Uuid;

use super::captures::Captures;
use super::group::{Group, Machine};
use super::{Io, Shard};
use crate::partition::state::PartitionState;

/// A hold ends by itself after so long.
pub const HOLD_MS: u64 = 100;

/// How far a partition that is led here is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which.
    pub group: u64,
    /// The leader's term.
    pub term: u64,
    /// The last index that belongs to the cut.
    pub index: u64,
    /// The last one up to there that a snapshot has to hold.
    pub changed: u64,
    /// First offset that does not belong to the cut.
    pub next_offset: i64,
}

/// A hold that goes on.
pub(super) struct Hold {
    cut: u128,
    until: Tick,
    positions: Vec<Position>,
    /// What is committed and not applied.
    committed: BTreeMap<GroupId, Index>,
}

/// Why nothing is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// Another cut goes on.
    #[error("another cut is being made")]
    Other,
    /// There is no store.
    #[error("it has no snapshot store: set snapshot.store on every broker")]
    NoStore,
}

impl Position {
    fn of(group: &Group, state: &PartitionState) -> Self {
        Self {
            group: group.id.0,
            term: group.node.term().0,
            index: state.applied().0,
            changed: state.changed().0,
            next_offset: state.high_watermark(),
        }
    }

    /// As a cut has it, of which partition this is.
    #[must_use]
    pub fn of_partition(&self, topic_id: Uuid, partition: i32) -> cut::Position {
        cut::Position {
            topic_id,
            partition,
            index: self.index,
            changed: self.changed,
            next_offset: self.next_offset,
        }
    }
}

impl Io {
    /// Puts off what is committed while partitions are held. False when they are not.
    pub(super) fn put_off(&mut self, group: &Group, index: Index) -> bool {
        let is_partition = matches!(group.machine, Machine::Partition(_));
        let Some(hold) = self.hold.as_mut().filter(|_| is_partition) else {
            return false;
        };
        let committed = hold.committed.entry(group.id).or_default();
        *committed = index.max(*committed);
        true
    }
}

impl Shard {
    /// Begins to hold for a cut; tells the position of each partition that is led here. What snapshots as of there need
    /// is set aside ([`Shard::capture`]).
    ///
    /// # Errors
    /// When something else goes on.
    pub fn hold(&mut self, now: Tick, cut: u128) -> Result<Vec<Position>, NotHeld> {
        self.end_late_hold(now);
        if self.config.snapshots.is_none() {
            return Err(NotHeld::NoStore);
        }
        if self.io.hold.is_some() || self.snapshots.captures.is_busy(now) {
            return Err(NotHeld::Other);
        }
        let led = self.groups.values();
        let led = led.filter(|group| group.node.is_leader_established());
        let position = |group: &Group| Some(Position::of(group, group.partition()?));
        let positions: Vec<Position> = led.filter_map(position).collect();
        self.io.hold = Some(Hold {
            cut,
            until: Tick(now.0 + HOLD_MS),
            positions: positions.clone(),
            committed: BTreeMap::new(),
        });
        self.snapshots.captures = Captures::of(self.groups.values(), cut, now);
        Ok(positions)
    }

    /// What was told when a hold began that goes on.
    #[must_use]
    pub fn held(&self, cut: u128) -> Option<&[Position]> {
        let hold = self.io.hold.as_ref().filter(|hold| hold.cut == cut);
        hold.map(|hold| &hold.positions[..])
    }

    /// Whether this broker leads a partition in the term in which it told its position. What a majority confirms is
    /// the leader of now.
    #[must_use]
    pub fn still_leads(&self, position: &Position) -> bool {
        let group = self.groups.get(&GroupId(position.group));
        let leads = |group: &&Group| {
            group.node.is_leader_established() && group.node.term() == Term(position.term)
        };
        group.is_some_and(|group| leads(&group))
    }

    /// Ends a hold: what was put off is applied, and whoever waits for it is answered. False when it had ended before,
    /// by itself or because there was none: what was told is void then.
    pub fn release(&mut self, now: Tick, cut: u128) -> bool {
        self.end_late_hold(now);
        let is_held = self.held(cut).is_some();
        if is_held {
            self.end_hold(now);
        }
        is_held
    }

    pub(super) fn end_late_hold(&mut self, now: Tick) {
        let until = self.io.hold.as_ref().map(|hold| hold.until);
        if until.is_some_and(|until| until <= now) {
            self.end_hold(now);
        }
    }

    /// When a hold ends by itself.
    pub(super) fn hold_deadline(&self) -> Option<Tick> {
        self.io.hold.as_ref().map(|hold| hold.until)
    }

    fn end_hold(&mut self, now: Tick) {
        let Some(hold) = self.io.hold.take() else {
            return;
        };
        self.io.now = now;
        for (id, index) in hold.committed {
            // A base may have come meanwhile that is beyond it.
            let group = self.groups.get_mut(&id);
            if let Some(group) = group.filter(|group| index > group.applied()) {
                self.io.committed(group, index, &mut self.changes);
            }
        }
        for group in self.groups.values_mut() {
            self.io.answer_early(group);
        }
    }
}
