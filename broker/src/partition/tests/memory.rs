//! Finding a batch in memory.

use proptest::prelude::*;
use raft::types::{EntryKind, Index};

use super::Log;
use crate::partition::state::{BatchFacts, PartitionState};

#[derive(Clone, Debug)]
enum Step {
    Records(usize),
    Command(i64),
    /// A membership entry or a no-op: an index without an offset.
    Other,
    /// Commit this share of what is open, in percent.
    Commit(u64),
    /// Evict this share of what is committed, in percent.
    Evict(u64),
    /// Truncate this share of what is open, in percent.
    Truncate(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..4_usize).prop_map(Step::Records),
        3 => (0..40_i64).prop_map(Step::Command),
        1 => Just(Step::Other),
        2 => (0..=100_u64).prop_map(Step::Commit),
        2 => (0..=100_u64).prop_map(Step::Evict),
        1 => (0..=100_u64).prop_map(Step::Truncate),
    ];
    prop::collection::vec(step, 1..80)
}

fn naive(log: &Log, evicted_below: Index, offset: i64) -> Option<Index> {
    let in_memory = log.entries.iter().filter(|e| e.index >= evicted_below);
    let mut batches = in_memory.filter(|e| e.kind == EntryKind::Records);
    let found = batches.find(|e| {
        let facts = BatchFacts::of(&e.payload).unwrap();
        (facts.base_offset..facts.base_offset + facts.span).contains(&offset)
    });
    found.map(|e| e.index)
}

fn naive_pending(log: &Log, applied: Index, offset: i64) -> Option<Index> {
    let mut batches = log
        .entries
        .iter()
        .filter(|e| e.index > applied && e.kind == EntryKind::Records);
    let found = batches.find(|e| BatchFacts::of(&e.payload).unwrap().base_offset == offset);
    found.map(|e| e.index)
}

fn share(of: u64, percent: u64) -> u64 {
    of * percent / 100
}

proptest! {
    #[test]
    fn search_agrees_with_a_look_at_every_batch(steps in steps()) {
        let (mut log, mut committed, mut evicted_below) = (Log::new(), Index(0), Index(0));
        for step in steps {
            let open = log.last().0 - committed.0;
            match step {
                Step::Records(count) => drop(log.records(count)),
                Step::Command(offset) => drop(log.advance(offset)),
                Step::Other => drop(log.push(EntryKind::Noop, bytes::Bytes::new())),
                Step::Commit(percent) => {
                    committed = Index(committed.0 + share(open, percent));
                    log.commit(committed);
                }
                Step::Evict(percent) => {
                    evicted_below = evicted_below.max(Index(share(committed.0, percent) + 1));
                    log.state.evicted(evicted_below);
                }
                Step::Truncate(percent) => {
                    log.truncate(Index(committed.0 + share(open, percent) + 1));
                }
            }
            let state: &PartitionState = &log.state;
            for offset in -1..=state.log_end() + 1 {
                prop_assert_eq!(
                    state.index_in_memory(offset),
                    naive(&log, evicted_below, offset),
                    "offset {} of {:?}", offset, log.offsets()
                );
                prop_assert_eq!(
                    state.pending_index(offset),
                    naive_pending(&log, committed, offset)
                );
            }
        }
    }
}
