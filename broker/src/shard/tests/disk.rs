//! What a log makes of its records, in memory: what is synced, and how a restart finds it.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::types::{Base, Entry, EntryKind, GroupId, HardState, Index, Membership, ReplicaId, Term};
use wal::Record;

use crate::partition::state::BatchFacts;
use crate::shard::Restored;

#[derive(Clone, Debug, Default)]
struct Stored {
    replica: ReplicaId,
    base: Base,
    hard_state: HardState,
    entries: Vec<Entry>,
    derived: Option<(Index, Bytes)>,
}

impl Stored {
    fn last_index(&self) -> Index {
        self.entries.last().map_or(self.base.index, |e| e.index)
    }
}

/// The synced records of one broker.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    groups: BTreeMap<GroupId, Stored>,
    removed: BTreeMap<GroupId, ReplicaId>,
}

impl Disk {
    pub(super) fn write(&mut self, record: Record) {
        let id = record.group();
        match record {
            Record::Remove { replica, .. } => {
                self.removed.insert(id, replica);
                if self.groups.get(&id).is_some_and(|s| s.replica == replica) {
                    self.groups.remove(&id);
                }
            }
            Record::Base { replica, base, .. } => {
                let removed = self.removed.get(&id);
                assert!(removed.is_none_or(|&r| replica > r), "no log takes it back");
                let stored = self.groups.entry(id).or_default();
                if stored.replica != replica {
                    *stored = Stored::default();
                }
                stored.replica = replica;
                stored.entries.retain(|e| e.index > base.index);
                stored.base = base;
            }
            Record::Truncate { from, .. } => {
                self.stored(id).entries.retain(|e| e.index < from);
            }
            Record::HardState { state, .. } => self.stored(id).hard_state = state,
            Record::Derived { index, state, .. } => {
                self.stored(id).derived = Some((index, state));
            }
            Record::Entries { entries, .. } => {
                let stored = self.stored(id);
                for entry in entries {
                    assert_eq!(entry.index, stored.last_index().next(), "without a gap");
                    stored.entries.push(entry);
                }
            }
        }
    }

    fn stored(&mut self, id: GroupId) -> &mut Stored {
        self.groups.get_mut(&id).expect("a base comes first")
    }

    /// The metadata as another broker holds it, all of it committed.
    pub(super) fn adopt_metadata(&mut self, other: &Self) {
        let theirs = &other.groups[&GroupId::METADATA];
        let mine = self.stored(GroupId::METADATA);
        mine.base = theirs.base.clone();
        mine.entries = theirs.entries.clone();
        mine.hard_state = HardState {
            vote: None,
            commit: theirs.last_index(),
            ..theirs.hard_state
        };
    }

    /// The last notes of the metadata's commit index did not reach the disk.
    pub(super) fn lower_metadata_commit(&mut self, commit: Index) {
        self.stored(GroupId::METADATA).hard_state.commit = commit;
    }

    pub(super) fn metadata_commit(&self) -> Index {
        self.groups[&GroupId::METADATA].hard_state.commit
    }

    pub(super) fn removed(&self) -> Vec<(GroupId, ReplicaId)> {
        self.removed.iter().map(|(g, r)| (*g, *r)).collect()
    }

    pub(super) fn forget_removals(&mut self) {
        self.removed.clear();
    }

    pub(super) fn groups(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    pub(super) fn base(&self, id: GroupId) -> Option<&Base> {
        self.groups.get(&id).map(|s| &s.base)
    }

    pub(super) fn entries(&self, id: GroupId, from: Index, until: Index) -> Vec<Entry> {
        let entries = self.groups.get(&id).map_or(&[][..], |s| &s.entries[..]);
        let wanted = entries
            .iter()
            .filter(|e| e.index >= from && e.index <= until);
        wanted.cloned().collect()
    }

    /// The entry that contains an offset, and its batch's base offset.
    pub(super) fn locate(&self, id: GroupId, offset: i64) -> Option<(Index, i64)> {
        let entries = self.entries(id, Index(0), Index(u64::MAX));
        let batches = entries.iter().filter(|e| e.kind == EntryKind::Records);
        batches
            .filter_map(|e| Some((e.index, BatchFacts::of(&e.payload)?)))
            .find(|(_, facts)| {
                (facts.base_offset..facts.base_offset + facts.span).contains(&offset)
            })
            .map(|(index, facts)| (index, facts.base_offset))
    }

    pub(super) fn restored(&self, id: GroupId) -> Restored {
        let stored = &self.groups[&id];
        let mut terms: Vec<(Term, Index)> = Vec::new();
        for entry in &stored.entries {
            if terms.last().is_none_or(|&(term, _)| term < entry.term) {
                terms.push((entry.term, entry.index));
            }
        }
        let memberships = stored
            .entries
            .iter()
            .filter(|e| e.kind == EntryKind::Membership)
            .map(|e| (e.index, Membership::decode(&e.payload).unwrap()))
            .collect();
        Restored {
            group: id,
            replica: stored.replica,
            base: stored.base.clone(),
            hard_state: stored.hard_state,
            last_index: stored.last_index(),
            terms,
            memberships,
            derived: stored.derived.clone(),
        }
    }
}
