//! Tests of the partition's state machine.

mod epochs;
mod hostile;
mod max_timestamp;
mod memory;
mod producers;
mod state;

use bytes::Bytes;
use protocol::record_batch::BatchBuilder;
use raft::types::{Entry, EntryKind, Index, Term};

use super::command::PartitionCommand;
use super::producers::Mark;
use super::state::PartitionState;

/// The mark of a batch of `count` records.
fn mark(producer_id: i64, epoch: i16, first_sequence: i32, count: i32) -> Mark {
    Mark::new(producer_id, epoch, first_sequence, count).unwrap()
}

/// A batch of `count` records at `offset`, the last of them with this timestamp.
fn batch(offset: i64, count: usize, timestamp: i64, of: Option<(i64, i16, i32)>) -> Bytes {
    let mut builder = BatchBuilder::new().base_offset(offset, 1);
    if let Some((id, epoch, sequence)) = of {
        builder = builder.producer(id, epoch, sequence);
    }
    for _ in 0..count {
        builder.value(timestamp, b"record");
    }
    builder.try_build().unwrap()
}

/// A state and the index and term of what is appended to it next: entries as a leader gives them.
#[derive(Clone)]
struct Log {
    state: PartitionState,
    entries: Vec<Entry>,
    term: u64,
}

impl Log {
    fn new() -> Self {
        let state = PartitionState::restore(Index(0), &[]).unwrap();
        Self {
            state,
            entries: Vec::new(),
            term: 1,
        }
    }

    fn last(&self) -> Index {
        self.entries.last().map_or(Index(0), |e| e.index)
    }

    fn push(&mut self, kind: EntryKind, payload: Bytes) -> Index {
        let (index, term) = (self.last().next(), Term(self.term));
        let entry = Entry {
            index,
            term,
            kind,
            payload,
        };
        self.state.appended(&entry).unwrap();
        self.entries.push(entry);
        index
    }

    fn records(&mut self, count: usize) -> Index {
        let offset = self.state.log_end();
        self.push(EntryKind::Records, batch(offset, count, offset, None))
    }

    fn of_producer(&mut self, id: i64, epoch: i16, sequence: i32, count: usize) -> Index {
        let offset = self.state.log_end();
        let of = Some((id, epoch, sequence));
        self.push(EntryKind::Records, batch(offset, count, offset, of))
    }

    fn advance(&mut self, offset: i64) -> Index {
        let command = PartitionCommand::AdvanceLogStart(offset);
        self.push(EntryKind::Command, command.encode())
    }

    fn truncate(&mut self, from: Index) {
        self.entries.retain(|e| e.index < from);
        self.state.truncated(from);
    }

    fn commit(&mut self, index: Index) {
        self.state.committed(index);
    }

    fn offsets(&self) -> (i64, i64, i64) {
        let state = &self.state;
        (state.log_start(), state.high_watermark(), state.log_end())
    }

    /// What a restart makes of a record of this state: the rest of the log is appended again and committed.
    fn replayed(&self, from: Index, state: &[u8], committed: Index) -> PartitionState {
        let mut restored = PartitionState::restore(from, state).unwrap();
        for entry in self.entries.iter().filter(|e| e.index > from) {
            restored.appended(entry).unwrap();
        }
        restored.committed(committed);
        restored
    }
}
