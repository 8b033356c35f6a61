//! Bringing groups back from the log at start.

use bytes::Bytes;
use raft::types::{Base, Entry, GroupId, HardState, Index, Membership, ReplicaId, Term, Tick};

use super::Shard;
use super::group::Machine;
use super::metadata::MetadataState;
use crate::partition::state::{BadEntry, PartitionState};

/// A group as the log recovered it.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Which.
    pub group: GroupId,
    /// Its replica here.
    pub replica: ReplicaId,
    /// Where its log begins.
    pub base: Base,
    /// Its term and vote.
    pub hard_state: HardState,
    /// Its last entry.
    pub last_index: Index,
    /// The terms above the base, each with its first index.
    pub terms: Vec<(Term, Index)>,
    /// The membership entries above the base.
    pub memberships: Vec<(Index, Membership)>,
    /// The newest state of its machine, as of a committed index.
    pub derived: Option<(Index, Bytes)>,
}

/// Why a group cannot be brought back. Nothing is deleted: the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The state record cannot be read.
    #[error("group {0}: its state record cannot be read")]
    State(GroupId),
    /// An entry contradicts the state.
    #[error("group {0}: {1}")]
    Entry(GroupId, BadEntry),
    /// The metadata's own log is damaged. Opened empty it would vote as one that holds everything.
    #[error(
        "the metadata log on this disk is damaged: set the data directory aside and start with an empty one, as in \
         ops/runbooks/lost-disk.md; the other brokers hold what it held"
    )]
    Damaged,
    /// The log cannot be read.
    #[error("group {0}: the log cannot be read: {1}")]
    Log(GroupId, String),
}

impl Shard {
    /// Opens a recovered group. `read` gives the entries from an index on, at least one, up to the last.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn restore(
        &mut self,
        now: Tick,
        restored: Restored,
        mut read: impl FnMut(Index, Index) -> Result<Vec<Entry>, String>,
    ) -> Result<(), RestoreError> {
        let id = restored.group;
        let (from, state) = match restored.derived {
            Some((index, state)) if index > restored.base.index => (index, state),
            _ => (restored.base.index, restored.base.state.clone()),
        };
        let machine = if id == GroupId::METADATA {
            let state = MetadataState::restore(from, &state);
            Machine::Metadata(Box::new(state.map_err(|_| RestoreError::State(id))?))
        } else {
            let read = |index, state: &Bytes| {
                PartitionState::restore(index, state).ok_or(RestoreError::State(id))
            };
            let mut state = read(from, &state)?;
            state.begins_with(&read(restored.base.index, &restored.base.state)?);
            Machine::Partition(Box::new(state))
        };
        let last = restored.last_index.max(restored.base.index);
        let mut hard_state = restored.hard_state;
        hard_state.commit = hard_state.commit.max(from).min(last);
        // What it began with can be all that it had written.
        hard_state.term = hard_state.term.max(restored.base.term);
        let start = raft::Start {
            me: self.member_here(restored.replica),
            hard_state,
            base: restored.base,
            last_index: last,
            terms: restored.terms,
            memberships: restored.memberships,
            seed: self.seed_of(id),
            priority: 0,
        };
        self.insert_group(now, id, start, machine);
        let group = self.groups.get_mut(&id).expect("just inserted");
        group.derived = from;
        group.shown = from;
        let mut next = from.next();
        while next <= last {
            let entries = read(next, last).map_err(|why| RestoreError::Log(id, why))?;
            let Some(newest) = entries.last() else {
                return Err(RestoreError::Log(id, format!("no entry at {next}")));
            };
            next = newest.index.next();
            for entry in &entries {
                group
                    .appended(entry)
                    .map_err(|bad| RestoreError::Entry(id, bad))?;
            }
        }
        // NB: what was just replayed is known, but its payloads are on disk only.
        let from = group.node.first_in_memory();
        if let Some(state) = group.partition_mut() {
            state.evicted(from);
        }
        let commit = group.node.commit();
        self.io.committed(group, commit, &mut self.changes);
        Ok(())
    }

    /// Tells which replicas this disk has dropped: none of them is opened again, whatever the metadata says.
    pub fn recall_dropped(&mut self, dropped: impl IntoIterator<Item = (GroupId, ReplicaId)>) {
        for (group, replica) in dropped {
            self.note_dropped(group, replica);
        }
    }

    /// This replica's log is damaged: it stays closed until the metadata removes it, and is never opened empty. An empty
    /// one in its place would vote as one that holds everything.
    pub fn keep_closed(&mut self, group: GroupId, replica: ReplicaId) {
        self.damaged.insert((group, replica));
    }

    /// What [`Self::restore`] had to replay of this replica's log cannot be read: it stays closed like one that is damaged.
    pub fn give_up(&mut self, group: GroupId, replica: ReplicaId) {
        self.groups.remove(&group);
        self.keep_closed(group, replica);
    }

    /// Every recovered group is open: begin. Opens what the metadata gives to this disk besides.
    pub fn start(&mut self, now: Tick) {
        self.changes.clear();
        self.reconcile_image(now);
    }

    /// Puts the machine's state into the log, so that a restart replays less.
    pub(super) fn save_derived(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let index = group.applied();
        if index <= group.derived {
            return;
        }
        group.derived = index;
        let state = group.derived_state();
        let replica = group.me.replica;
        self.io.pipeline.append(wal::Record::Derived {
            group: id,
            replica,
            index,
            state,
        });
    }

    /// The last words before a clean stop: every machine's state.
    pub fn save_all_derived(&mut self) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in groups {
            self.save_derived(id);
        }
    }
}
