//! Zeros ahead of the log's end: as few writes as are needed, in segments that need them, and nothing rests on them.

use crate::reference::*;
use std::sync::Arc;
use wal::model::{Call, Fault, ModelDisk};
use wal::{Config, Log};

const SEGMENT_BYTES: u64 = 4 << 20;

fn open_large(disk: &Arc<ModelDisk>) -> Log {
    let config = Config {
        segment_bytes: SEGMENT_BYTES,
        ..Config::dev()
    };
    open_with(disk, config).unwrap().0
}

/// The writes and the syncs of one call.
fn calls_of_ahead(disk: &ModelDisk, log: &mut Log) -> (u64, u64) {
    let before = [Call::Write, Call::Sync].map(|call| disk.calls_of(call));
    log.zero_ahead();
    let after = [Call::Write, Call::Sync].map(|call| disk.calls_of(call));
    (after[0] - before[0], after[1] - before[1])
}

#[test]
fn a_new_segment_is_zeroed_before_small_rounds_come_to_it() {
    let disk = ModelDisk::new(1);
    let mut log = open_large(&disk);
    log.write(vec![base(1, 0, 0)]).unwrap();
    assert_eq!(
        calls_of_ahead(&disk, &mut log),
        (1, 0),
        "no sync of its own"
    );
    let mut writes = 0;
    for index in 1..=500 {
        log.write(vec![entries(1, index, 1, 1, 100)]).unwrap();
        writes += calls_of_ahead(&disk, &mut log).0;
    }
    // A little less than 2 MiB of rounds, and a write for each half MiB of them.
    assert_eq!(writes, 3);
    // Rounds that are large are not written twice.
    for index in 501..=504 {
        log.write(vec![entries(1, index, 1, 1, 200 << 10)]).unwrap();
        assert_eq!(calls_of_ahead(&disk, &mut log), (0, 0));
    }
}

#[test]
fn a_segment_that_was_written_before_is_not_zeroed_again() {
    let disk = ModelDisk::new(2);
    let mut log = open_large(&disk);
    log.write(vec![base(1, 0, 0)]).unwrap();
    run_jobs(&mut log).unwrap();
    assert!(log.stats().segments_zeroed > 0);
    let (mut index, mut turned) = (0, 0);
    // The first two segments were named before any spare was zeroed.
    while turned < 2 {
        index += 1;
        let round = log.write(vec![entries(1, index, 1, 1, 100 << 10)]);
        turned += usize::from(round.unwrap().rolled.is_some());
        run_jobs(&mut log).unwrap();
    }
    for _ in 0..300 {
        index += 1;
        log.write(vec![entries(1, index, 1, 1, 100)]).unwrap();
        assert_eq!(calls_of_ahead(&disk, &mut log), (0, 0));
    }
}

#[test]
fn spares_are_not_zeroed_while_large_rounds_are_written() {
    let disk = ModelDisk::new(4);
    let mut log = open_large(&disk);
    log.write(vec![base(1, 0, 0)]).unwrap();
    log.write(vec![entries(1, 1, 1, 1, 200 << 10)]).unwrap();
    run_jobs(&mut log).unwrap();
    let stats = log.stats();
    assert_eq!(stats.segments_zeroed, 0);
    assert!(stats.segments_spare > 1, "they are made");
    log.idle().unwrap();
    run_jobs(&mut log).unwrap();
    assert!(log.stats().segments_zeroed > 0);
}

#[test]
fn a_log_goes_on_without_zeros() {
    let disk = ModelDisk::new(3);
    let mut log = open_large(&disk);
    log.write(vec![base(1, 0, 0)]).unwrap();
    let writes = disk.calls_of(Call::Write);
    disk.fail_kind(Call::Write, writes + 1, Fault::Io);
    assert_eq!(calls_of_ahead(&disk, &mut log), (1, 0));
    assert_eq!(disk.injected(), 1);
    for index in 1..=300 {
        log.write(vec![entries(1, index, 1, 1, 100)]).unwrap();
        assert_eq!(calls_of_ahead(&disk, &mut log), (0, 0), "it was tried");
    }
    drop(log);
    disk.crash(3);
    let reader = open_large(&disk).reader();
    let (_, last) = reader.bounds(raft::types::GroupId(1), R1).unwrap();
    assert_eq!(last.0, 300);
}
