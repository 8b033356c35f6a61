//! What appending, truncating and committing do to a partition.

use proptest::prelude::*;
use raft::types::{EntryKind, Index};

use super::{Log, batch, mark};
use crate::partition::command::PartitionCommand;
use crate::partition::producers::Verdict;
use crate::partition::state::{Applied, PartitionState};
use crate::partition::stored::Stored;

#[test]
fn appending_gives_offsets_and_committing_shows_them() {
    let mut log = Log::new();
    log.push(EntryKind::Noop, bytes::Bytes::new());
    let first = log.records(3);
    let second = log.records(2);
    assert_eq!(log.offsets(), (0, 0, 5));
    assert!(log.state.committed(first).high_watermark);
    assert_eq!(log.offsets(), (0, 3, 5));
    log.commit(second);
    assert_eq!(log.offsets(), (0, 5, 5));
    assert_eq!(log.state.applied(), second);
    assert_eq!(
        log.state.committed(second),
        Applied::default(),
        "nothing is committed twice"
    );
}

#[test]
fn what_has_no_offset_moves_no_offset() {
    let mut log = Log::new();
    let noop = log.push(EntryKind::Noop, bytes::Bytes::new());
    assert_eq!(log.state.committed(noop), Applied::default());
    assert_eq!(log.state.applied(), noop);
    assert_eq!(log.offsets(), (0, 0, 0));
}

#[test]
fn k2_truncation_gives_offsets_and_sequences_back() {
    let mut log = Log::new();
    let kept = log.of_producer(1, 0, 0, 2);
    log.commit(kept);
    let pending = log.of_producer(1, 0, 2, 1);
    let before = log.clone();
    let lost = log.of_producer(1, 0, 3, 1);
    log.of_producer(2, 0, 0, 1);
    log.truncate(lost);
    assert_eq!(log.state, before.state);
    assert_eq!(log.state.judge(&mark(1, 0, 3, 1)), Verdict::Next);
    assert_eq!(log.state.judge(&mark(2, 0, 0, 1)), Verdict::Next);
    assert_eq!(
        log.state.judge(&mark(2, 0, 1, 1)),
        Verdict::OutOfOrder,
        "its first batch is gone, so it must come again"
    );
    let base_offset = 2;
    assert_eq!(
        log.state.judge(&mark(1, 0, 2, 1)),
        Verdict::Duplicate { base_offset }
    );
    log.truncate(pending);
    assert_eq!(log.state.judge(&mark(1, 0, 2, 1)), Verdict::Next);
    assert_eq!(
        log.state.judge(&mark(1, 0, 0, 2)),
        Verdict::Duplicate { base_offset: 0 },
        "what is committed stays known"
    );
}

#[test]
fn k2_truncation_takes_an_epoch_bump_back() {
    let mut log = Log::new();
    let kept = log.of_producer(1, 0, 0, 2);
    log.commit(kept);
    let lost = log.of_producer(1, 1, 0, 1);
    assert_eq!(log.state.judge(&mark(1, 0, 2, 1)), Verdict::Fenced);
    log.truncate(lost);
    assert_eq!(log.state.judge(&mark(1, 0, 2, 1)), Verdict::Next);
}

#[test]
fn x2_another_leaders_records_take_the_place_of_what_was_truncated() {
    let mut log = Log::new();
    log.term = 3;
    let kept = log.records(100);
    log.commit(kept);
    let lost = log.records(11);
    log.truncate(lost);
    log.term = 4;
    let last = log.of_producer(9, 0, 0, 6);
    log.commit(last);
    assert_eq!(log.offsets(), (0, 106, 106));
    assert_eq!(log.state.epochs().end_offset(3, 4, 106), (3, 100));
    assert_eq!(log.state.epochs().end_offset(4, 4, 106), (4, 106));
}

#[test]
fn truncating_a_command_only_leaves_the_offsets() {
    let mut log = Log::new();
    let records = log.records(5);
    log.commit(records);
    let command = log.advance(3);
    let before = log.offsets();
    log.truncate(command);
    assert_eq!(log.offsets(), before);
    log.commit(log.last());
    assert_eq!(log.offsets(), (0, 5, 5), "it never took effect");
}

#[test]
#[should_panic(expected = "nothing applied is ever truncated")]
fn what_is_committed_is_never_truncated() {
    let mut log = Log::new();
    let records = log.records(1);
    log.commit(records);
    log.truncate(records);
}

#[test]
fn x1_the_log_start_only_moves_forward_and_only_over_what_is_committed() {
    let mut log = Log::new();
    log.records(10);
    let to_four = log.advance(4);
    assert_eq!(log.offsets(), (0, 0, 10), "appended is not committed");
    let applied = log.state.committed(to_four);
    assert!(applied.log_start && applied.high_watermark);
    assert_eq!(log.offsets(), (4, 10, 10));
    let back = log.advance(2);
    assert!(!log.state.committed(back).log_start);
    assert_eq!(log.offsets(), (4, 10, 10));
    let beyond = log.advance(1000);
    log.records(5);
    log.commit(beyond);
    assert_eq!(
        log.offsets(),
        (10, 10, 15),
        "x10: no clock and no command deletes what is not committed"
    );
}

#[test]
fn x1_a_log_without_a_record_keeps_its_offsets_over_a_restart() {
    let mut log = Log::new();
    log.of_producer(1, 0, 0, 10);
    let all = log.advance(10);
    log.commit(all);
    log.state.trimmed(10);
    let base = log.state.encode(10);
    let restored = PartitionState::restore(all, &base).unwrap();
    assert_eq!(restored.log_start(), 10);
    assert_eq!(restored.high_watermark(), 10);
    assert_eq!(restored.log_end(), 10);
    assert_eq!(restored.max_timestamp(), None);
    assert_eq!(
        restored.judge(&mark(1, 0, 0, 10)),
        Verdict::Duplicate { base_offset: 0 }
    );
}

#[test]
fn k2_the_state_survives_its_bytes() {
    let mut log = Log::new();
    log.of_producer(1, 0, 0, 3);
    log.term = 5;
    log.of_producer(2, 1, 40, 1);
    let last = log.advance(1);
    log.commit(last);
    let bytes = log.state.encode(log.state.high_watermark());
    let mut restored = PartitionState::restore(last, &bytes).unwrap();
    log.state.evicted(last.next());
    restored.evicted(last.next());
    assert_eq!(restored, log.state);
}

#[test]
fn a_state_is_the_same_before_and_after_its_log_is_trimmed() {
    let mut log = Log::new();
    log.push(EntryKind::Records, batch(0, 3, 200, None));
    log.push(EntryKind::Records, batch(3, 3, 100, None));
    let all = log.advance(4);
    log.commit(all);
    let before = log.state.encode(6);
    log.state.trimmed(3);
    let after = log.state.encode(6);
    assert_ne!(before, after, "it has forgotten the first batch");
    assert!(PartitionState::are_alike(&before, &after));
    let more = log.records(1);
    log.commit(more);
    assert!(!PartitionState::are_alike(&after, &log.state.encode(7)));
    let unknown = [&b"no state"[..], b"nor is that"];
    assert!(PartitionState::are_alike(unknown[0], unknown[0]));
    assert!(!PartitionState::are_alike(unknown[0], unknown[1]));
}

#[test]
fn what_is_not_committed_is_no_part_of_the_bytes() {
    let mut log = Log::new();
    let committed = log.of_producer(1, 0, 0, 3);
    log.commit(committed);
    let before = log.state.encode(3);
    log.term = 6;
    log.of_producer(1, 0, 3, 1);
    log.of_producer(5, 0, 0, 1);
    log.advance(2);
    assert_eq!(log.state.encode(log.state.high_watermark()), before);
}

#[test]
fn a_base_whose_producers_are_ahead_of_it_is_replayed_once() {
    let mut log = Log::new();
    for n in 0..6 {
        log.of_producer(1, 0, n, 1);
    }
    let last = log.advance(3);
    log.commit(last);
    // A trim below the batch at offset 3: the base ends there, its producers know the batches 3 to 5 already.
    log.state.trimmed(3);
    let base = log.state.encode(3);
    let restored = log.replayed(Index(3), &base, last);
    assert_eq!(restored.log_start(), 3);
    assert_eq!(restored.high_watermark(), 6);
    for n in 1..6 {
        let base_offset = i64::from(n);
        let verdict = restored.judge(&mark(1, 0, n, 1));
        assert_eq!(verdict, Verdict::Duplicate { base_offset }, "batch {n}");
    }
    assert_eq!(restored.judge(&mark(1, 0, 6, 1)), Verdict::Next);
    assert_eq!(restored.max_timestamp(), log.state.max_timestamp());
    let end = |state: &PartitionState| state.epochs().end_offset(1, 2, 6);
    assert_eq!(end(&restored), end(&log.state));
}

#[test]
fn the_highest_timestamp_is_of_a_committed_batch() {
    let mut log = Log::new();
    let first = log.push(EntryKind::Records, batch(0, 1, 500, None));
    log.push(EntryKind::Records, batch(1, 1, 900, None));
    log.commit(first);
    assert_eq!(log.state.max_timestamp(), Some((500, 0)));
    log.commit(log.last());
    assert_eq!(log.state.max_timestamp(), Some((900, 1)));
}

#[derive(Clone, Debug)]
enum Step {
    Produce { id: i64, count: usize },
    Advance(i64),
    Commit(u64),
    Truncate(u64),
    NewTerm,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..3_i64, 1..4_usize).prop_map(|(id, count)| Step::Produce { id, count }),
        1 => (0..60_i64).prop_map(Step::Advance),
        2 => (0..=100_u64).prop_map(Step::Commit),
        1 => (0..=100_u64).prop_map(Step::Truncate),
        1 => Just(Step::NewTerm),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// At every point: a restart from a state record, and one from the whole log, are the running state.
    #[test]
    fn k2_restarts_change_nothing(steps in steps()) {
        let (mut log, mut committed) = (Log::new(), Index(0));
        let mut start = 0;
        for step in steps {
            let open = log.last().0 - committed.0;
            match step {
                Step::Produce { id, count } => {
                    let next = (0..1000).find(|&s| {
                        log.state.judge(&mark(id, 0, s, i32::try_from(count).unwrap())) == Verdict::Next
                    });
                    log.of_producer(id, 0, next.unwrap(), count);
                }
                Step::Advance(offset) => drop(log.advance(offset)),
                Step::Commit(percent) => {
                    committed = Index(committed.0 + open * percent / 100);
                    log.commit(committed);
                }
                Step::Truncate(percent) => log.truncate(Index(committed.0 + open * percent / 100 + 1)),
                Step::NewTerm => log.term += 1,
            }
            let (log_start, high_watermark, log_end) = log.offsets();
            prop_assert!(start <= log_start && log_start <= high_watermark && high_watermark <= log_end);
            start = log_start;
            let derived = log.state.encode(high_watermark);
            for restored in [
                log.replayed(committed, &derived, committed),
                log.replayed(Index(0), &[], committed),
            ] {
                prop_assert_eq!(restored.encode(high_watermark), derived.clone());
                prop_assert_eq!(restored.log_start(), log_start);
                prop_assert_eq!(restored.high_watermark(), high_watermark);
                prop_assert_eq!(restored.log_end(), log_end);
                for (id, sequence) in (0..3).flat_map(|id| (0..40).map(move |s| (id, s))) {
                    let mark = mark(id, 0, sequence, 2);
                    prop_assert_eq!(restored.judge(&mark), log.state.judge(&mark));
                }
            }
        }
    }
}

/// A snapshot as of an index, of everything below an offset.
fn snapshot(leader_epoch: i32, index: u64, next_offset: i64) -> Stored {
    Stored {
        incarnation: 1,
        leader_epoch,
        index,
        next_offset,
        identity: None,
    }
}

#[test]
fn what_is_stored_never_goes_back() {
    let mut log = Log::new();
    log.records(3);
    let mut tell = |stored: Stored| {
        let news = PartitionCommand::Stored(stored).encode();
        let index = log.push(EntryKind::Command, news);
        let accepted = log.state.committed(index).stored;
        (accepted, log.state.stored().unwrap())
    };
    let (older, newer) = (snapshot(1, 2, 3), snapshot(2, 4, 3));
    assert_eq!(tell(older), (true, older));
    assert_eq!(tell(newer), (true, newer), "of no more records, but later");
    assert_eq!(tell(older), (false, newer), "of as many records, but older");
    assert_eq!(
        tell(newer),
        (true, newer),
        "known from a base, and told again"
    );
    let shorter = snapshot(3, 9, 2);
    assert_eq!(
        tell(shorter),
        (false, newer),
        "what it lacks may be dropped"
    );
}

#[test]
fn a_state_begins_with_what_the_base_knows_of_the_store() {
    let with = |stored: Option<Stored>| {
        let mut log = Log::new();
        log.records(3);
        if let Some(stored) = stored {
            let news = PartitionCommand::Stored(stored).encode();
            log.push(EntryKind::Command, news);
        }
        log.commit(log.last());
        log.state
    };
    let (older, newer) = (snapshot(1, 2, 1), snapshot(1, 4, 3));
    for (own, base, held) in [
        (None, Some(newer), Some(newer)),
        (Some(older), Some(newer), Some(newer)),
        (Some(newer), Some(older), Some(newer)),
        (Some(newer), None, Some(newer)),
    ] {
        let mut state = with(own);
        state.begins_with(&with(base));
        assert_eq!(state.stored(), held, "{own:?} {base:?}");
    }
}

#[test]
fn the_version_of_the_assignment_only_moves_forward_and_survives_in_this_cluster() {
    let mut log = Log::new();
    let tell = |log: &mut Log, version| {
        let command = PartitionCommand::Assigned(Index(version)).encode();
        log.push(EntryKind::Command, command)
    };
    let first = tell(&mut log, 7);
    let known = |log: &Log| (log.state.assigned().0, log.state.assigned_at_end().0);
    assert_eq!(known(&log), (0, 7), "not committed");
    log.truncate(first);
    assert_eq!(known(&log), (0, 0));
    let first = tell(&mut log, 7);
    assert!(!log.state.committed(first).changed, "no snapshot lacks it");
    let later = tell(&mut log, 5);
    log.commit(later);
    assert_eq!(known(&log), (7, 7), "an older one takes nothing back");

    let bytes = log.state.encode(0);
    let again = |bytes: &[u8]| PartitionState::restore(later, bytes).unwrap();
    assert_eq!(again(&bytes).assigned(), Index(7));
    let mut new = Log::new().state;
    new.begins_with(&log.state);
    assert_eq!(new.assigned(), Index(7));
    // As it was written before there were any versions.
    let former = [&[2], &bytes[1..25], &bytes[33..]].concat();
    assert_eq!(again(&former).assigned(), Index(0));
    assert_eq!(again(&former).encode(0)[33..], bytes[33..]);
    // In another life of the cluster its metadata has other indexes.
    let reborn = log.state.reborn(snapshot(1, 2, 0), |_| {});
    assert_eq!(again(&reborn).assigned(), Index(0));
}
