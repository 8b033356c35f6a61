//! Bytes that nobody wrote: refused, never a panic, never an allocation by their word.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use raft::types::{Entry, EntryKind, Index, Term};

use super::Log;
use crate::partition::command::PartitionCommand;
use crate::partition::epochs::Epochs;
use crate::partition::max_timestamp::MaxTimestamp;
use crate::partition::producers::Producers;
use crate::partition::state::{BadEntry, BatchFacts, PartitionState};

fn real() -> Bytes {
    let mut log = Log::new();
    log.of_producer(1, 0, 0, 2);
    log.term = 3;
    log.of_producer(2, 4, 9, 1);
    let last = log.of_producer(1, 0, 2, 1);
    log.commit(last);
    log.state.encode(log.state.high_watermark())
}

#[test]
fn a_count_beyond_the_bytes_is_refused() {
    let mut bytes = BytesMut::new();
    bytes.put_u32(u32::MAX);
    bytes.put_bytes(0, 64);
    assert_eq!(Epochs::decode(&mut &bytes[..]), None);
    let mut producers = BytesMut::new();
    producers.put_i64(-1);
    producers.put_slice(&bytes);
    assert_eq!(Producers::decode(&mut &producers[..]), None);
    let most = BytesMut::from(&[255_u8; 300][..]);
    assert_eq!(MaxTimestamp::decode(&mut &most[..]), None);
}

#[test]
fn a_state_cut_short_or_with_something_behind_it_is_refused() {
    let bytes = real();
    assert!(PartitionState::restore(Index(3), &bytes).is_some());
    for length in 1..bytes.len() {
        assert_eq!(
            PartitionState::restore(Index(3), &bytes[..length]),
            None,
            "cut at {length}"
        );
    }
    let mut longer = BytesMut::from(&bytes[..]);
    longer.put_u8(0);
    assert_eq!(PartitionState::restore(Index(3), &longer), None);
    let mut newer = BytesMut::from(&bytes[..]);
    newer[0] += 1;
    assert_eq!(PartitionState::restore(Index(3), &newer), None);
}

#[test]
fn an_unknown_command_is_refused() {
    assert_eq!(PartitionCommand::decode(&[]), None);
    assert_eq!(PartitionCommand::decode(&[3, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    assert_eq!(
        PartitionCommand::decode(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        None
    );
    let command = PartitionCommand::AdvanceLogStart(-5);
    assert_eq!(PartitionCommand::decode(&command.encode()), Some(command));
    let command = PartitionCommand::ForgetProducers(7);
    assert_eq!(PartitionCommand::decode(&command.encode()), Some(command));
}

#[test]
fn entries_that_do_not_continue_the_log_are_named() {
    let log = Log::new();
    let bad = |kind, payload: Bytes| {
        let (index, term) = (Index(1), Term(1));
        let entry = Entry {
            index,
            term,
            kind,
            payload,
        };
        log.state.clone().appended(&entry)
    };
    let refused = Err(BadEntry { index: Index(1) });
    let gap = super::batch(1, 1, 0, None);
    assert_eq!(bad(EntryKind::Records, gap), refused);
    let garbage = Bytes::from_static(b"no batch");
    assert_eq!(bad(EntryKind::Records, garbage.clone()), refused);
    assert_eq!(bad(EntryKind::Command, garbage), refused);
    assert_eq!(bad(EntryKind::Records, super::batch(0, 1, 0, None)), Ok(()));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = PartitionState::restore(Index(1), &bytes);
        let _ = PartitionCommand::decode(&bytes);
        let _ = BatchFacts::of(&Bytes::from(bytes.clone()));
        for start in 0..bytes.len().min(3) {
            let _ = Epochs::decode(&mut &bytes[start..]);
            let _ = Producers::decode(&mut &bytes[start..]);
            let _ = MaxTimestamp::decode(&mut &bytes[start..]);
        }
    }

    #[test]
    fn a_damaged_state_is_refused_or_read(at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = BytesMut::from(&real()[..]);
        let at = at.index(bytes.len());
        bytes[at] = with;
        if let Some(state) = PartitionState::restore(Index(3), &bytes) {
            let again = state.encode(state.high_watermark());
            prop_assert!(again.len() <= bytes.len());
        }
    }
}
