//! What the log should hold, kept as simply as possible, and the means to compare.

use bytes::Bytes;
use raft::types::{
    Base, DirectoryId, Entry, EntryKind, GroupId, HardState, Index, Member, Membership, NodeId,
    ReplicaId, Term,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use wal::model::ModelDisk;
use wal::{Config, Disk, Error, Identity, Log, Reader, Record, Recovery};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefGroup {
    pub replica: ReplicaId,
    pub base: Base,
    pub hard_state: HardState,
    pub entries: BTreeMap<u64, Entry>,
    pub derived: Option<(Index, Bytes)>,
}

impl RefGroup {
    pub fn last(&self) -> u64 {
        self.entries
            .keys()
            .next_back()
            .copied()
            .unwrap_or(self.base.index.0)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    pub groups: BTreeMap<u64, RefGroup>,
}

impl Reference {
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Base {
                group,
                replica,
                base,
            } => {
                let found = self.groups.entry(group.0).or_default();
                if found.replica != *replica {
                    *found = RefGroup {
                        replica: *replica,
                        ..RefGroup::default()
                    };
                }
                found.base = base.clone();
                found.entries.retain(|index, _| *index > base.index.0);
            }
            Record::Remove { group, .. } => {
                self.groups.remove(&group.0);
            }
            Record::Entries { group, entries, .. } => {
                let found = self.groups.get_mut(&group.0).unwrap();
                for entry in entries {
                    assert_eq!(entry.index.0, found.last() + 1);
                    found.entries.insert(entry.index.0, entry.clone());
                }
            }
            Record::HardState { group, state, .. } => {
                self.groups.get_mut(&group.0).unwrap().hard_state = *state;
            }
            Record::Truncate { group, from, .. } => {
                let found = self.groups.get_mut(&group.0).unwrap();
                found.entries.retain(|index, _| *index < from.0);
            }
            Record::Derived {
                group,
                index,
                state,
                ..
            } => {
                self.groups.get_mut(&group.0).unwrap().derived = Some((*index, state.clone()));
            }
        }
    }

    pub fn apply_all(&mut self, records: &[Record]) {
        for record in records {
            self.apply(record);
        }
    }

    /// None if the recovered log is exactly this; else what differs first.
    pub fn difference(&self, recovery: &Recovery, reader: &Reader) -> Option<String> {
        let found: Vec<u64> = recovery.groups.iter().map(|group| group.group.0).collect();
        let expected: Vec<u64> = self.groups.keys().copied().collect();
        if found != expected {
            return Some(format!("groups {found:?} instead of {expected:?}"));
        }
        for (got, (id, want)) in recovery.groups.iter().zip(&self.groups) {
            let terms = terms_of(want);
            let mut hard_state = want.hard_state;
            let last_term = terms.last().map_or(want.base.term, |(term, _)| *term);
            if hard_state.term < last_term {
                hard_state = HardState {
                    term: last_term,
                    vote: None,
                    ..hard_state
                };
            }
            let memberships: Vec<&Entry> = want
                .entries
                .values()
                .filter(|entry| entry.kind == EntryKind::Membership)
                .collect();
            if got.faulty.is_some() {
                return Some(format!("group {id} faulty: {:?}", got.faulty));
            }
            if got.replica != want.replica
                || got.base != want.base
                || got.hard_state != hard_state
                || got.last_index.0 != want.last()
                || got.terms != terms
                || got.derived != want.derived
                || got.membership_entries.iter().collect::<Vec<_>>() != memberships
            {
                return Some(format!(
                    "group {id}: {got:?}\ninstead of base {:?} {hard_state:?} last {} terms {terms:?}",
                    want.base,
                    want.last()
                ));
            }
        }
        self.difference_read(reader)
    }

    /// Compares every entry as read.
    pub fn difference_read(&self, reader: &Reader) -> Option<String> {
        for (id, want) in &self.groups {
            match read_all(
                reader,
                GroupId(*id),
                want.replica,
                want.base.index.0,
                want.last(),
            ) {
                Ok(entries) => {
                    let expected: Vec<Entry> = want.entries.values().cloned().collect();
                    if entries != expected {
                        return Some(format!("group {id}: other entries"));
                    }
                }
                Err(error) => return Some(format!("group {id}: {error}")),
            }
        }
        None
    }
}

fn terms_of(group: &RefGroup) -> Vec<(Term, Index)> {
    let mut terms: Vec<(Term, Index)> = Vec::new();
    for entry in group.entries.values() {
        if terms.last().is_none_or(|(term, _)| *term != entry.term) {
            terms.push((entry.term, entry.index));
        }
    }
    terms
}

/// All entries above `base`, in calls of odd sizes.
pub fn read_all(
    reader: &Reader,
    group: GroupId,
    replica: ReplicaId,
    base: u64,
    last: u64,
) -> Result<Vec<Entry>, wal::ReadError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = base + 1;
    while next <= last {
        let more = reader.entries(group, replica, Index(next), Index(last), 5_000)?;
        assert!(!more.is_empty() && more[0].index.0 == next);
        next += more.len() as u64;
        entries.extend(more);
    }
    assert!(
        reader
            .entries(group, replica, Index(base), Index(last), 1)
            .is_err()
    );
    assert!(
        reader
            .entries(group, replica, Index(last + 1), Index(last + 9), 1)
            .is_err()
    );
    Ok(entries)
}

pub const R1: ReplicaId = ReplicaId(1);

pub fn identity() -> Identity {
    Identity {
        cluster: 7,
        node: NodeId(1),
        directory: DirectoryId(42),
    }
}

pub fn open(disk: &Arc<ModelDisk>) -> Result<(Log, Recovery), Error> {
    open_with(disk, Config::tiny())
}

pub fn open_with(disk: &Arc<ModelDisk>, config: Config) -> Result<(Log, Recovery), Error> {
    let disk: Arc<dyn Disk> = disk.clone();
    Log::open(disk, config, identity())
}

pub fn base_at(index: u64, term: u64) -> Base {
    let member = |replica| Member {
        replica: ReplicaId(replica),
        node: NodeId(1),
        directory: DirectoryId(42),
    };
    Base {
        index: Index(index),
        term: Term(term),
        membership: Membership {
            voters: vec![member(1)],
            ..Membership::default()
        },
        state: Bytes::from(format!("state as of {index}")),
    }
}

pub fn base(group: u64, index: u64, term: u64) -> Record {
    Record::Base {
        group: GroupId(group),
        replica: R1,
        base: base_at(index, term),
    }
}

/// One entry with a payload that no other entry has.
pub fn entry(group: u64, index: u64, term: u64, kind: EntryKind, bytes: usize) -> Entry {
    let mut payload = vec![0; bytes.max(24)];
    let mut random = group << 48 ^ index << 16 ^ term;
    for byte in &mut payload {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *byte = (random >> 56) as u8;
    }
    Entry {
        index: Index(index),
        term: Term(term),
        kind,
        payload: payload.into(),
    }
}

/// A record batch's header with offsets and time, and some payload behind it.
pub fn batch(offset: i64, count: i32, timestamp: i64, bytes: usize) -> Bytes {
    let mut payload = vec![0x5a; bytes.max(61)];
    payload[0..8].copy_from_slice(&offset.to_be_bytes());
    let length = i32::try_from(payload.len() - 12).unwrap();
    payload[8..12].copy_from_slice(&length.to_be_bytes());
    payload[16] = 2;
    payload[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    payload[35..43].copy_from_slice(&timestamp.to_be_bytes());
    payload.into()
}

pub fn entries(group: u64, from: u64, count: u64, term: u64, bytes: usize) -> Record {
    Record::Entries {
        group: GroupId(group),
        replica: R1,
        entries: (from..from + count)
            .map(|index| entry(group, index, term, EntryKind::Records, bytes))
            .collect(),
    }
}

pub fn hard_state(group: u64, term: u64, vote: u64) -> Record {
    let state = HardState {
        term: Term(term),
        vote: Some(ReplicaId(vote)),
        commit: Index(0),
    };
    Record::HardState {
        group: GroupId(group),
        replica: R1,
        state,
    }
}

pub fn truncate(group: u64, from: u64) -> Record {
    Record::Truncate {
        group: GroupId(group),
        replica: R1,
        from: Index(from),
    }
}

/// Runs every job that there is, inline.
pub fn run_jobs(log: &mut Log) -> Result<(), Error> {
    for _ in 0..1000 {
        let Some(job) = log.next_job()? else {
            return Ok(());
        };
        log.finish(job.run())?;
    }
    panic!("jobs without end");
}

/// Nobody writes; whoever drives the log looks when it says that there may be something to do. How often that was.
pub fn rest(log: &mut Log, disk: &ModelDisk) -> Result<usize, Error> {
    log.idle()?;
    run_jobs(log)?;
    for looked in 0..100 {
        let Some(wait) = log.due() else {
            return Ok(looked);
        };
        disk.set_elapsed(disk.elapsed() + wait);
        run_jobs(log)?;
    }
    panic!("a log at rest is looked at without end: {:?}", log.stats());
}

/// Runs urgent jobs only.
pub fn run_some_jobs(log: &mut Log, most: usize) -> Result<(), Error> {
    for _ in 0..most {
        let Some(job) = log.next_job()? else {
            return Ok(());
        };
        log.finish(job.run())?;
    }
    Ok(())
}

pub fn slow() -> bool {
    std::env::var_os("WALSER_SLOW_TESTS").is_some()
}
