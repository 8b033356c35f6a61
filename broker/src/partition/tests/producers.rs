//! The table of idempotent producers.

use bytes::BytesMut;
use proptest::prelude::*;

use super::mark;
use crate::partition::producers::{Mark, Producers, Verdict};

const ID: i64 = 7;

fn after(batches: &[(i16, i32, i32, i64)]) -> Producers {
    let mut producers = Producers::default();
    for &(epoch, first, count, offset) in batches {
        let mark = mark(ID, epoch, first, count);
        assert_eq!(producers.judge(&mark), Verdict::Next, "{mark:?}");
        producers.append(&mark, offset);
    }
    producers
}

/// Seven batches of two records; the last five are remembered.
fn seven() -> Producers {
    let batches: Vec<_> = (0..7).map(|n| (0, n * 2, 2, i64::from(n) * 10)).collect();
    after(&batches)
}

#[test]
fn k1_each_of_the_last_five_batches_is_a_duplicate_with_its_first_offset() {
    let producers = seven();
    for n in 2..7 {
        let again = producers.judge(&mark(ID, 0, n * 2, 2));
        let base_offset = i64::from(n) * 10;
        assert_eq!(again, Verdict::Duplicate { base_offset }, "batch {n}");
    }
    for n in 0..2 {
        let again = producers.judge(&mark(ID, 0, n * 2, 2));
        assert_eq!(again, Verdict::OutOfOrder, "batch {n} is beyond the window");
    }
}

#[test]
fn k1_only_the_same_sequences_are_a_duplicate() {
    let producers = seven();
    assert_eq!(
        producers.judge(&mark(ID, 0, 12, 1)),
        Verdict::OutOfOrder,
        "a shorter batch at a known sequence"
    );
    assert_eq!(producers.judge(&mark(ID, 0, 12, 3)), Verdict::OutOfOrder);
    assert_eq!(producers.judge(&mark(ID, 0, 11, 3)), Verdict::OutOfOrder);
}

#[test]
fn k1_the_next_sequence_goes_on_and_a_gap_does_not() {
    let producers = seven();
    assert_eq!(producers.judge(&mark(ID, 0, 14, 5)), Verdict::Next);
    assert_eq!(producers.judge(&mark(ID, 0, 15, 1)), Verdict::OutOfOrder);
    assert_eq!(producers.judge(&mark(ID, 0, 0, 1)), Verdict::OutOfOrder);
}

#[test]
fn k5_a_new_epoch_begins_at_zero_and_fences_the_older_one() {
    let mut producers = seven();
    assert_eq!(producers.judge(&mark(ID, 1, 14, 1)), Verdict::OutOfOrder);
    assert_eq!(producers.judge(&mark(ID, 1, 1, 1)), Verdict::OutOfOrder);
    assert_eq!(producers.judge(&mark(ID, 1, 0, 1)), Verdict::Next);
    producers.append(&mark(ID, 1, 0, 1), 70);
    assert_eq!(producers.judge(&mark(ID, 0, 14, 1)), Verdict::Fenced);
    assert_eq!(
        producers.judge(&mark(ID, 0, 12, 2)),
        Verdict::Fenced,
        "also what was a duplicate in its epoch"
    );
    assert_eq!(producers.judge(&mark(ID, 1, 1, 1)), Verdict::Next);
    let base_offset = 70;
    assert_eq!(
        producers.judge(&mark(ID, 1, 0, 1)),
        Verdict::Duplicate { base_offset }
    );
}

/// Its first batch was refused, its pipelined second one is not: taken, the retry of the first would be out of
/// order, which clients read as a duplicate of what is there.
#[test]
fn k4_a_producer_that_was_never_here_begins_at_zero() {
    let mut producers = seven();
    assert_eq!(
        producers.judge(&mark(ID + 1, 0, 2, 2)),
        Verdict::OutOfOrder,
        "the second batch of one whose first was refused"
    );
    assert_eq!(
        producers.judge(&mark(ID + 1, 3, 1, 2)),
        Verdict::OutOfOrder,
        "nor in a later epoch"
    );
    assert_eq!(producers.judge(&mark(ID + 1, 3, 0, 2)), Verdict::Next);
    producers.append(&mark(ID + 1, 3, 0, 2), 70);
    assert_eq!(producers.judge(&mark(ID + 1, 3, 2, 1)), Verdict::Next);
    assert_eq!(producers.judge(&mark(ID + 1, 3, 3, 1)), Verdict::OutOfOrder);
}

/// One producer too many: 1, which was silent longest, is forgotten.
fn crowded() -> Producers {
    let mut producers = Producers::default();
    for id in 0..20_000 {
        producers.append(&mark(id, 0, 0, 1), id);
    }
    producers.append(&mark(0, 0, 1, 1), 20_000);
    producers.append(&mark(20_000, 0, 0, 1), 20_001);
    producers
}

#[test]
fn k4_a_producer_that_may_have_been_forgotten_begins_anywhere() {
    let mut producers = crowded();
    let returning = mark(1, 0, 1234, 2);
    assert_eq!(producers.judge(&returning), Verdict::Next);
    assert_eq!(
        producers.judge(&mark(20_001, 0, 1234, 2)),
        Verdict::OutOfOrder,
        "its id is above every forgotten one: it was never here"
    );
    producers.append(&returning, 20_002);
    assert_eq!(producers.judge(&mark(1, 0, 1237, 1)), Verdict::OutOfOrder);
    assert_eq!(producers.judge(&mark(1, 0, 1236, 1)), Verdict::Next);
}

#[test]
fn k2_what_was_forgotten_stays_so_in_the_state() {
    let producers = crowded();
    let mut bytes = BytesMut::new();
    producers.encode(&mut bytes);
    let restored = Producers::decode(&mut &bytes[..]).expect("what was encoded");
    assert_eq!(restored, producers);
    assert_eq!(restored.judge(&mark(1, 0, 1234, 2)), Verdict::Next);
}

#[test]
fn sequences_wrap_to_zero_after_the_highest() {
    let last = mark(ID, 0, i32::MAX - 1, 2);
    assert_eq!(last.last_sequence, i32::MAX);
    let across = mark(ID, 0, i32::MAX - 1, 4);
    assert_eq!(across.last_sequence, 1);

    let mut to_the_end = Producers::default();
    to_the_end.append(&last, 0);
    assert_eq!(to_the_end.judge(&mark(ID, 0, 0, 1)), Verdict::Next);
    assert_eq!(to_the_end.judge(&mark(ID, 0, 1, 1)), Verdict::OutOfOrder);

    let mut over_the_end = Producers::default();
    over_the_end.append(&across, 5);
    assert_eq!(over_the_end.judge(&mark(ID, 0, 2, 1)), Verdict::Next);
    assert_eq!(
        over_the_end.judge(&across),
        Verdict::Duplicate { base_offset: 5 }
    );
}

#[test]
fn batches_without_a_producer_have_no_mark() {
    assert_eq!(Mark::new(-1, -1, -1, 1), None);
    assert_eq!(Mark::new(5, 0, 0, 0), None);
    assert!(Mark::new(0, 0, 0, 1).is_some(), "0 is an id");
}

#[test]
fn k4_the_producer_that_was_silent_longest_is_forgotten_first() {
    let producers = crowded();
    assert_eq!(producers.len(), 20_000);
    assert_eq!(
        producers.judge(&mark(1, 0, 99, 1)),
        Verdict::Next,
        "1 was silent longest and is unknown now"
    );
    assert_eq!(
        producers.judge(&mark(0, 0, 99, 1)),
        Verdict::OutOfOrder,
        "0 has appended since"
    );
    assert_eq!(producers.judge(&mark(2, 0, 99, 1)), Verdict::OutOfOrder);
}

/// What a producer may do next, driven by numbers: (producer, epoch step, gap, count).
fn appends() -> impl Strategy<Value = Vec<(i64, bool, i32)>> {
    prop::collection::vec((0..4_i64, prop::bool::weighted(0.1), 1..4_i32), 1..60)
}

proptest! {
    #[test]
    fn bytes_and_replay_change_nothing(steps in appends(), from in 0..60_usize) {
        let mut producers = Producers::default();
        let mut next = [(0_i16, 0_i32); 4];
        let mut log = Vec::new();
        for (offset, (id, bump, count)) in steps.into_iter().enumerate() {
            let (epoch, sequence) = &mut next[usize::try_from(id).unwrap()];
            if bump {
                (*epoch, *sequence) = (*epoch + 1, 0);
            }
            let mark = mark(id, *epoch, *sequence, count);
            prop_assert_eq!(producers.judge(&mark), Verdict::Next);
            let offset = i64::try_from(offset).unwrap();
            producers.append(&mark, offset);
            *sequence += count;
            log.push((mark, offset));
        }
        let mut bytes = BytesMut::new();
        producers.encode(&mut bytes);
        let mut rest = &bytes[..];
        let mut back = Producers::decode(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(&back, &producers);
        for (mark, offset) in log.iter().skip(from) {
            back.append(mark, *offset);
        }
        prop_assert_eq!(&back, &producers, "replayed over the newer state");
        for (mark, offset) in &log {
            match producers.judge(mark) {
                Verdict::Duplicate { base_offset } => prop_assert_eq!(base_offset, *offset),
                Verdict::OutOfOrder | Verdict::Fenced => {}
                Verdict::Next => prop_assert!(false, "{:?} could be appended twice", mark),
            }
        }
    }
}

#[test]
fn what_is_forgotten_is_remembered_as_forgotten() {
    let mut producers = Producers::default();
    for id in [5, 9, 12] {
        producers.append(&mark(id, 0, 0, 1), id);
    }
    assert!(!producers.has_below(5) && producers.has_below(6));
    producers.forget_below(10);
    assert_eq!(producers.len(), 1);
    assert_eq!(
        producers.judge(&mark(9, 0, 4, 1)),
        Verdict::Next,
        "it can have been here"
    );
    assert_eq!(
        producers.judge(&mark(7, 0, 4, 1)),
        Verdict::Next,
        "so can this one"
    );
    assert_eq!(
        producers.judge(&mark(10, 0, 4, 1)),
        Verdict::OutOfOrder,
        "never here"
    );
    assert_eq!(producers.judge(&mark(12, 0, 1, 1)), Verdict::Next);
    let mut bytes = BytesMut::new();
    producers.encode(&mut bytes);
    assert_eq!(Producers::decode(&mut &bytes[..]), Some(producers));
}
