//! The state of one replica's log in Kafka's terms.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::types::{Entry, EntryKind, Index, Term};

use super::command::PartitionCommand;
use super::epochs::Epochs;
use super::max_timestamp::MaxTimestamp;
use super::producers::{LastBatch, Mark, Producers, Verdict};
use super::stored::Stored;
use crate::coordinator::state::Groups;

const STATE_VERSION: u8 = 3;
/// The same without the version of the assignment.
const STATE_VERSION_UNASSIGNED: u8 = 2;

/// The fields of a record batch header that the state machine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFacts {
    /// Offset of the first record (as given by the leader).
    pub base_offset: i64,
    /// Records in offset space: last offset delta + 1, at least 1.
    pub span: i64,
    /// The highest record timestamp, -1 for none.
    pub max_timestamp_ms: i64,
    /// The idempotent producer's mark.
    pub mark: Option<Mark>,
    /// How long the batch is.
    pub bytes: usize,
}

impl BatchFacts {
    /// The facts of a stored batch. None when the bytes are no batch header.
    #[must_use]
    pub fn of(batch: &Bytes) -> Option<Self> {
        let header = protocol::record_batch::BatchHeader::parse(batch).ok()?;
        Some(Self {
            base_offset: header.base_offset,
            span: i64::from(header.last_offset_delta) + 1,
            max_timestamp_ms: header.max_timestamp,
            mark: Mark::new(
                header.producer_id,
                header.producer_epoch,
                header.base_sequence,
                header.count,
            ),
            bytes: batch.len(),
        })
    }

    /// How many offsets it takes.
    #[must_use]
    pub fn records(&self) -> u64 {
        u64::try_from(self.span).unwrap_or(0)
    }

    fn next_offset(&self) -> i64 {
        self.base_offset + self.span
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Batch(BatchFacts),
    Command(PartitionCommand),
}

/// An entry that is not applied yet, or still in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Recent {
    index: Index,
    term: Term,
    kind: Kind,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// Entries above `applied`, and before them those whose payload is still in memory. Rising indexes.
    recent: VecDeque<Recent>,
    /// Everything up to here is applied.
    applied: Index,
    /// Payloads from this index on are in memory.
    in_memory_from: Index,
    log_end: i64,
    high_watermark: i64,
    log_start: i64,
    epochs: Epochs,
    /// As of `applied`.
    committed_producers: Producers,
    /// The same with everything appended.
    producers: Producers,
    max_timestamp: MaxTimestamp,
    /// Consumer groups, in a partition of the internal topic. As of `applied`.
    groups: Groups,
    /// The newest snapshot in the store.
    stored: Option<Stored>,
    /// The last applied entry that a snapshot of an earlier index lacks: any but the news of a snapshot,
    /// and of an assignment.
    changed: Index,
    /// The version of the group's assignment that its leaders act on, 0 before they acted on any. It is an index of this
    /// cluster's metadata log.
    assigned: Index,
}

/// What applying committed entries changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The high watermark moved.
    pub high_watermark: bool,
    /// The log start moved.
    pub log_start: bool,
    /// Something that a snapshot would have to hold.
    pub changed: bool,
    /// Bytes of batches.
    pub bytes: usize,
    /// There is a newer snapshot.
    pub stored: bool,
}

impl PartitionState {
    /// The state as of a base or a derived-state record. Empty bytes are a new partition. None when the bytes are
    /// not a state.
    #[must_use]
    pub fn restore(index: Index, bytes: &[u8]) -> Option<Self> {
        let fresh = Self {
            applied: index,
            in_memory_from: index.next(),
            ..Self::default()
        };
        if bytes.is_empty() {
            return Some(fresh);
        }
        let mut bytes = bytes;
        let version = bytes.try_get_u8().ok()?;
        if !matches!(version, STATE_VERSION | STATE_VERSION_UNASSIGNED) || bytes.len() < 16 {
            return None;
        }
        let (log_end, log_start) = (bytes.get_i64(), bytes.get_i64());
        let changed = Index(bytes.try_get_u64().ok()?);
        let assigned = match version {
            STATE_VERSION_UNASSIGNED => Index(0),
            _ => Index(bytes.try_get_u64().ok()?),
        };
        let stored = match bytes.try_get_u8().ok()? {
            0 => None,
            1 => Some(Stored::decode(&mut bytes, false)?),
            2 => Some(Stored::decode(&mut bytes, true)?),
            _ => return None,
        };
        let epochs = Epochs::decode(&mut bytes)?;
        let committed_producers = Producers::decode(&mut bytes)?;
        let max_timestamp = MaxTimestamp::decode(&mut bytes)?;
        let groups = Groups::decode(&mut bytes)?;
        let producers = committed_producers.clone();
        let high_watermark = log_end;
        let state = Self {
            log_end,
            high_watermark,
            log_start,
            epochs,
            producers,
            stored,
            changed,
            assigned,
            ..fresh
        };
        bytes.is_empty().then_some(Self {
            committed_producers,
            max_timestamp,
            groups,
            ..state
        })
    }

    /// The committed state as bytes, for a record that speaks of a log that ends at `log_end` (the high watermark
    /// for a derived state, the first offset of the log for a base). Producers may be ahead of it: applying a batch
    /// twice changes nothing.
    ///
    /// It is what bases, derived states and snapshots hold of a partition besides its records.
    #[must_use]
    pub fn encode(&self, log_end: i64) -> Bytes {
        // NB: a new field does not compile until somebody has decided here whether it must survive.
        let Self {
            recent: _,
            applied: _,
            in_memory_from: _,
            log_end: _,
            high_watermark: _,
            log_start,
            epochs,
            committed_producers,
            producers: _,
            max_timestamp,
            groups,
            stored,
            changed,
            assigned,
        } = self;
        let mut out = BytesMut::with_capacity(64);
        out.put_u8(STATE_VERSION);
        out.put_i64(log_end);
        out.put_i64(*log_start);
        out.put_u64(changed.0);
        out.put_u64(assigned.0);
        out.put_u8(stored.map_or(0, |stored| 1 + u8::from(stored.identity.is_some())));
        if let Some(stored) = stored {
            stored.encode(&mut out);
        }
        epochs.encode_below(log_end, &mut out);
        committed_producers.encode(&mut out);
        max_timestamp.encode(&mut out);
        groups.encode(&mut out);
        out.freeze()
    }

    /// Whether what was encoded is the same state, as of the same end: what is below the log's start may be forgotten in one of
    /// them, for each replica forgets it when it trims its log.
    #[must_use]
    pub fn are_alike(one: &[u8], other: &[u8]) -> bool {
        let remembered = |bytes: &[u8]| {
            let mut state = Self::restore(Index(0), bytes)?;
            state.max_timestamp.trim(state.log_start);
            Some(state)
        };
        one == other || remembered(one).is_some_and(|one| Some(one) == remembered(other))
    }

    /// What the partition begins with in another life of the cluster, in which this snapshot is all that it had.
    #[must_use]
    pub fn reborn(mut self, stored: Stored, groups: impl FnOnce(&mut Groups)) -> Bytes {
        self.stored = Some(stored);
        self.assigned = Index(0);
        groups(&mut self.groups);
        self.encode(self.high_watermark)
    }

    /// The same partition as far as its producers are not known, as bytes.
    #[must_use]
    pub fn without_producers(mut self) -> Bytes {
        self.committed_producers = Producers::default();
        self.encode(self.high_watermark)
    }

    /// The log end that an encoded state speaks of; 0 for what is none.
    #[must_use]
    pub fn log_end_of(state: &[u8]) -> i64 {
        let bytes = state.get(1..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes))
    }

    /// First offset not appended.
    #[must_use]
    pub fn log_end(&self) -> i64 {
        self.log_end
    }

    /// First offset not committed.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// First offset still there.
    #[must_use]
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// The last applied index.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The epochs of the log.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// (timestamp, base offset) of the committed batch with the highest timestamp.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<(i64, i64)> {
        self.max_timestamp.get()
    }

    /// Whether a producer's last committed batch lies below an offset.
    #[must_use]
    pub fn has_producers_below(&self, offset: i64) -> bool {
        self.committed_producers.has_below(offset)
    }

    /// The consumer groups as of the applied index.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The newest snapshot in the store, as of the applied index.
    #[must_use]
    pub fn stored(&self) -> Option<Stored> {
        self.stored
    }

    /// The last applied index that a snapshot has to hold.
    #[must_use]
    pub fn changed(&self) -> Index {
        self.changed
    }

    /// The version of the assignment that the group's leaders act on, as of the applied index.
    #[must_use]
    pub fn assigned(&self) -> Index {
        self.assigned
    }

    /// The same as of everything appended.
    #[must_use]
    pub fn assigned_at_end(&self) -> Index {
        let pending = self.recent.iter().rev();
        let pending = pending.take_while(|r| r.index > self.applied);
        let versions = pending.filter_map(|r| match r.kind {
            Kind::Command(PartitionCommand::Assigned(version)) => Some(version),
            _ => None,
        });
        versions.fold(self.assigned, Index::max)
    }

    /// Whether the store lacks something of the state as of the applied index.
    #[must_use]
    pub fn is_unstored(&self) -> bool {
        self.changed.0 > self.stored.map_or(0, |stored| stored.index)
    }

    /// Judges an idempotent producer's batch against everything appended.
    #[must_use]
    pub fn judge(&self, mark: &Mark) -> Verdict {
        self.producers.judge(mark)
    }

    /// The last committed batch of every producer.
    pub fn last_batches(&self) -> impl Iterator<Item = LastBatch> {
        self.committed_producers.last_batches()
    }

    /// Entries were appended to the log.
    ///
    /// # Panics
    /// When a batch does not continue the log: offsets are contiguous, whoever appended it was wrong.
    pub fn appended(&mut self, entry: &Entry) -> Result<(), BadEntry> {
        let kind = match entry.kind {
            EntryKind::Noop | EntryKind::Membership => return Ok(()),
            EntryKind::Records => {
                let facts =
                    BatchFacts::of(&entry.payload).ok_or(BadEntry { index: entry.index })?;
                if facts.base_offset != self.log_end || facts.span < 1 {
                    return Err(BadEntry { index: entry.index });
                }
                self.log_end = facts.next_offset();
                let epoch =
                    i32::try_from(entry.term.0).map_err(|_| BadEntry { index: entry.index });
                self.epochs.append(epoch?, facts.base_offset);
                if let Some(mark) = &facts.mark {
                    self.producers.append(mark, facts.base_offset);
                }
                Kind::Batch(facts)
            }
            EntryKind::Command => {
                let command = PartitionCommand::decode(&entry.payload);
                Kind::Command(command.ok_or(BadEntry { index: entry.index })?)
            }
        };
        assert!(
            entry.index > self.recent.back().map_or(self.applied, |r| r.index),
            "entries are appended in order"
        );
        self.recent.push_back(Recent {
            index: entry.index,
            term: entry.term,
            kind,
        });
        Ok(())
    }

    /// Entries at and above `from` were never committed and are gone.
    pub fn truncated(&mut self, from: Index) {
        assert!(from > self.applied, "nothing applied is ever truncated");
        let mut batches = false;
        while self.recent.back().is_some_and(|r| r.index >= from) {
            if let Some(Recent {
                kind: Kind::Batch(facts),
                ..
            }) = self.recent.pop_back()
            {
                self.log_end = facts.base_offset;
                batches = true;
            }
        }
        if !batches {
            return;
        }
        self.epochs.truncate(self.log_end);
        self.producers = self.committed_producers.clone();
        for recent in self.recent.iter().filter(|r| r.index > self.applied) {
            if let Kind::Batch(BatchFacts {
                mark: Some(mark),
                base_offset,
                ..
            }) = &recent.kind
            {
                self.producers.append(mark, *base_offset);
            }
        }
    }

    /// Everything up to `index` is committed.
    pub fn committed(&mut self, index: Index) -> Applied {
        let mut changed = Applied::default();
        for at in self.behind(self.applied)..self.behind(index) {
            if !matches!(
                self.recent[at].kind,
                Kind::Command(PartitionCommand::Stored(_) | PartitionCommand::Assigned(_))
            ) {
                self.changed = self.changed.max(self.recent[at].index);
                changed.changed = true;
            }
            match &self.recent[at].kind {
                Kind::Batch(facts) => {
                    assert_eq!(facts.base_offset, self.high_watermark, "committed in order");
                    self.high_watermark = facts.next_offset();
                    changed.high_watermark = true;
                    changed.bytes += facts.bytes;
                    if let Some(mark) = &facts.mark {
                        self.committed_producers.append(mark, facts.base_offset);
                    }
                    self.max_timestamp
                        .append(facts.max_timestamp_ms, facts.base_offset);
                }
                Kind::Command(PartitionCommand::AdvanceLogStart(offset)) => {
                    let offset = (*offset).min(self.high_watermark);
                    if offset > self.log_start {
                        self.log_start = offset;
                        self.epochs.trim(offset);
                        changed.log_start = true;
                    }
                }
                Kind::Command(PartitionCommand::ForgetProducers(offset)) => {
                    self.committed_producers.forget_below(*offset);
                    self.producers.forget_below(*offset);
                }
                Kind::Command(PartitionCommand::Groups(command)) => self.groups.apply(command),
                Kind::Command(PartitionCommand::Stored(stored)) => {
                    // A leader has one under way at a time and begins with what is committed: later is newer. What it
                    // may not do is to take back what replicas have dropped already. An older one is met where a log is
                    // replayed whose base knows a newer one.
                    let is_as_new =
                        |held: Stored| *stored >= held && stored.next_offset >= held.next_offset;
                    if self.stored.is_none_or(is_as_new) {
                        self.stored = Some(*stored);
                        changed.stored = true;
                    }
                }
                Kind::Command(PartitionCommand::Assigned(version)) => {
                    self.assigned = self.assigned.max(*version);
                }
            }
        }
        self.applied = self.applied.max(index);
        self.forget_evicted();
        changed
    }

    /// Where in what is recent the entries behind `index` begin. NB: they are counted, for they are few and just came: a search
    /// from the middle waits for memory that nobody has touched for long, at each commit.
    fn behind(&self, index: Index) -> usize {
        let behind = self.recent.iter().rev().take_while(|r| r.index > index);
        self.recent.len() - behind.count()
    }

    /// Payloads below `from` are no longer in memory.
    pub fn evicted(&mut self, from: Index) {
        self.in_memory_from = self.in_memory_from.max(from);
        self.forget_evicted();
    }

    fn forget_evicted(&mut self) {
        let (applied, memory) = (self.applied, self.in_memory_from);
        while self
            .recent
            .front()
            .is_some_and(|r| r.index <= applied && r.index < memory)
        {
            self.recent.pop_front();
        }
    }

    /// The log begins with this base, whose state may be the newer one: what of the partition was dropped from the log
    /// then is in a snapshot that it knows.
    pub fn begins_with(&mut self, base: &Self) {
        self.stored = self.stored.max(base.stored);
        self.assigned = self.assigned.max(base.assigned);
    }

    /// The log was trimmed below a batch: forget what only the trimmed part knew.
    pub fn trimmed(&mut self, first_base_offset: i64) {
        self.max_timestamp.trim(first_base_offset);
    }

    /// The index of the batch in memory that contains `offset`; None when it is only on disk, or beyond the end.
    #[must_use]
    pub fn index_in_memory(&self, offset: i64) -> Option<Index> {
        let recent = &self.recent;
        let in_memory = recent.partition_point(|r| r.index < self.in_memory_from);
        // Commands carry no offsets: search over the batches' ends, skipping commands by their neighbours.
        let mut low = in_memory;
        let mut high = recent.len();
        while low < high {
            let middle = low + (high - low) / 2;
            match self.batch_at_or_after(middle, high) {
                Some((at, facts)) if facts.next_offset() <= offset => low = at + 1,
                _ => high = middle,
            }
        }
        let (at, facts) = self.batch_at_or_after(low, recent.len())?;
        (facts.base_offset <= offset && offset < facts.next_offset()).then(|| recent[at].index)
    }

    fn batch_at_or_after(&self, from: usize, until: usize) -> Option<(usize, &BatchFacts)> {
        (from..until).find_map(|at| match &self.recent[at].kind {
            Kind::Batch(facts) => Some((at, facts)),
            Kind::Command(_) => None,
        })
    }

    /// The index of the appended batch that begins at `base_offset`, if it is not applied yet.
    #[must_use]
    pub fn pending_index(&self, base_offset: i64) -> Option<Index> {
        let pending = self
            .recent
            .iter()
            .rev()
            .take_while(|r| r.index > self.applied);
        pending
            .filter_map(|r| match &r.kind {
                Kind::Batch(facts) if facts.base_offset == base_offset => Some(r.index),
                _ => None,
            })
            .next()
    }
}

/// An entry that no correct leader appends: the replica must stop rather than guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry at {index} is no continuation of the partition's log")]
pub struct BadEntry {
    /// Where.
    pub index: Index,
}
