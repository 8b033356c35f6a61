//! What a full disk keeps waiting: the records of partitions that have new entries, while everything that frees space
//! goes on.
//!
//! What the shard accepted before it knew of the full disk is on its way already. Of such a group nothing is written
//! out of order: its later records wait behind. Its removal ends the wait, because then nobody needs them; and a command
//! among them may be what frees space, a log start that advances or a snapshot's news: what waits before it goes into the
//! reserve with it, if it is not much.

use std::collections::BTreeSet;

use raft::types::{Entry, EntryKind, GroupId};
use wal::{Purpose, Record};

/// See the module.
#[derive(Default)]
pub(super) struct Held {
    groups: BTreeSet<GroupId>,
    records: Vec<Record>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups that wait.
    pub(super) fn groups(&self) -> Vec<GroupId> {
        self.groups.iter().copied().collect()
    }

    /// Everything that waits, to be tried again.
    pub(super) fn records(&self) -> Vec<Record> {
        self.records.clone()
    }

    /// All of it is written.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Keeps what belongs behind something that waits; gives back the rest.
    pub(super) fn divert(&mut self, records: Vec<Record>) -> Vec<Record> {
        if self.is_empty() {
            return records;
        }
        let mut rest = Vec::with_capacity(records.len());
        for record in records {
            let group = record.group();
            if !self.groups.contains(&group) {
                rest.push(record);
            } else if matches!(record, Record::Remove { .. }) {
                self.groups.remove(&group);
                self.records.retain(|held| held.group() != group);
                rest.push(record);
            } else {
                self.records.push(record);
            }
        }
        rest
    }

    /// Takes out everything of the groups that have a command among what waits.
    pub(super) fn take_commanded(&mut self) -> Vec<Record> {
        let is_command = |entry: &Entry| entry.kind == EntryKind::Command;
        let has_command = |record: &&Record| match record {
            Record::Entries { entries, .. } => entries.iter().any(is_command),
            _ => false,
        };
        let commanded = self.records.iter().filter(has_command);
        let groups: BTreeSet<GroupId> = commanded.map(Record::group).collect();
        if groups.is_empty() {
            return Vec::new();
        }
        self.groups.retain(|group| !groups.contains(group));
        let records = std::mem::take(&mut self.records).into_iter();
        let (taken, kept) = records.partition(|record| groups.contains(&record.group()));
        self.records = kept;
        taken
    }

    /// There is no room for entries: keeps the groups that have some, gives back the rest.
    pub(super) fn hold(&mut self, records: Vec<Record>) -> Vec<Record> {
        let needs_room = records.iter().filter(|r| r.purpose() == Purpose::Entries);
        self.groups.extend(needs_room.map(Record::group));
        self.divert(records)
    }

    /// There is no room for anything at all: keeps everything.
    pub(super) fn hold_all(&mut self, records: Vec<Record>) -> Vec<Record> {
        self.groups.extend(records.iter().map(Record::group));
        self.records.extend(records);
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft::types::{HardState, Index, ReplicaId, Term};

    use super::*;

    fn entries(group: u64) -> Record {
        entry(group, EntryKind::Records)
    }

    fn entry(group: u64, kind: EntryKind) -> Record {
        let (index, term, payload) = (Index(1), Term(1), Bytes::new());
        let entry = Entry {
            index,
            term,
            kind,
            payload,
        };
        Record::Entries {
            group: GroupId(group),
            replica: ReplicaId(1),
            entries: vec![entry],
        }
    }

    fn state(group: u64) -> Record {
        let state = HardState::default();
        Record::HardState {
            group: GroupId(group),
            replica: ReplicaId(1),
            state,
        }
    }

    fn removal(group: u64) -> Record {
        Record::Remove {
            group: GroupId(group),
            replica: ReplicaId(1),
        }
    }

    #[test]
    fn a_full_disk_lets_other_groups_pass() {
        let mut held = Held::default();
        let rest = held.hold(vec![state(1), entries(1), state(2), state(1)]);
        assert_eq!(rest, [state(2)]);
        assert_eq!(held.records(), [state(1), entries(1), state(1)]);
        assert_eq!(held.divert(vec![state(3), state(1)]), [state(3)]);
        assert_eq!(held.records().len(), 4);
        assert_eq!(held.groups(), [GroupId(1)]);
    }

    #[test]
    fn a_removal_ends_the_wait_of_its_group() {
        let mut held = Held::default();
        assert!(held.hold(vec![entries(1), entries(2)]).is_empty());
        assert_eq!(held.divert(vec![state(1), removal(1)]), [removal(1)]);
        assert_eq!(held.records(), [entries(2)]);
        assert_eq!(held.groups(), [GroupId(2)]);
    }

    #[test]
    fn a_command_takes_with_it_what_waits_before_it() {
        let mut held = Held::default();
        assert!(held.hold(vec![entries(1), entries(2)]).is_empty());
        assert!(held.take_commanded().is_empty());
        let command = entry(1, EntryKind::Command);
        assert!(held.divert(vec![command.clone(), state(1)]).is_empty());
        assert_eq!(held.take_commanded(), [entries(1), command, state(1)]);
        assert_eq!(held.records(), [entries(2)]);
        assert_eq!(held.groups(), [GroupId(2)]);
    }

    #[test]
    fn nothing_waits_while_there_is_room() {
        let mut held = Held::default();
        assert_eq!(held.divert(vec![entries(1)]), [entries(1)]);
        assert!(held.is_empty());
    }
}
