//! The same log on the real file system.

use crate::reference::*;
use raft::types::{GroupId, Index};
use wal::{Config, Error, Log, ReadError, RealDisk};

#[test]
fn d12_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = RealDisk::open(directory.path()).unwrap();
    assert!(matches!(
        RealDisk::open(directory.path()),
        Err(Error::Locked { .. })
    ));
    drop(first);
    // Another test may be between fork and exec of a process: until then that process shares the lock.
    let began = std::time::Instant::now();
    while let Err(error) = RealDisk::open(directory.path()) {
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        assert!(
            began.elapsed().as_secs() < 10,
            "the lock outlives its process"
        );
        std::thread::yield_now();
    }
}

#[test]
fn real_disk_writes_reads_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = Reference::default();
    let mut next = 1;
    for life in 0..4 {
        let disk = RealDisk::open(directory.path()).unwrap();
        let (mut log, recovery) = Log::open(disk, Config::tiny(), identity()).unwrap();
        if life == 0 {
            assert!(recovery.formatted);
            let records = vec![base(1, 0, 0)];
            state.apply_all(&records);
            log.write(records).unwrap();
        } else {
            assert_eq!(
                state.difference(&recovery, &log.reader()),
                None,
                "life {life}"
            );
        }
        for _ in 0..30 {
            let records = vec![
                entries(1, next, 2, life + 1, 3_000),
                hard_state(1, life + 1, 2),
            ];
            next += 2;
            state.apply_all(&records);
            assert_eq!(log.write(records).unwrap().rounds, 1);
            run_jobs(&mut log).unwrap();
        }
        log.idle().unwrap();
        assert_eq!(state.difference_read(&log.reader()), None);
        if life % 2 == 0 {
            log.close().unwrap();
        }
    }
}

/// D10: somebody cuts open and sealed segments short under the reader: errors, no signal.
#[test]
fn d10_truncated_under_the_mapping_is_an_error_not_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    let (mut log, _) = Log::open(disk, Config::tiny(), identity()).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    for index in 1..=40 {
        log.write(vec![entries(1, index, 1, 1, 9_000)]).unwrap();
        run_jobs(&mut log).unwrap();
    }
    let reader = log.reader();
    read_all(&reader, GroupId(1), R1, 0, 40).unwrap();
    let mut cut = 0;
    for item in std::fs::read_dir(directory.path()).unwrap() {
        let item = item.unwrap();
        if item.file_name().to_string_lossy().starts_with("segment-") {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(item.path())
                .unwrap();
            file.set_len(8_192).unwrap();
            cut += 1;
        }
    }
    assert!(cut > 4);
    for index in 1..=40 {
        let error = reader
            .entries(GroupId(1), R1, Index(index), Index(index), 1)
            .unwrap_err();
        assert!(
            matches!(error, ReadError::Io { .. } | ReadError::Corrupt { .. }),
            "{index}: {error}"
        );
    }
}

#[test]
fn what_is_read_once_is_what_was_written_and_damage_in_it_is_an_error() {
    const LAST: u64 = 30;
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        segment_bytes: 1 << 20,
        ..Config::tiny()
    };
    let disk = RealDisk::open(directory.path()).unwrap();
    let (mut log, _) = Log::open(disk, config, identity()).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    // Large runs and small ones.
    let bytes = |index: u64| {
        if index.is_multiple_of(3) {
            700
        } else {
            100_000
        }
    };
    for index in 1..=LAST {
        log.write(vec![entries(1, index, 1, 1, bytes(index))])
            .unwrap();
        run_jobs(&mut log).unwrap();
    }
    let reader = log.reader();
    let read = |from: u64| {
        let (from, until) = (Index(from), Index(LAST));
        reader.entries_once(GroupId(1), R1, from, until, 350_000)
    };
    let mut next = 1;
    while next <= LAST {
        let all = read(next).unwrap();
        let size: usize = all.iter().map(|entry| entry.payload.len()).sum();
        assert!(
            next + all.len() as u64 > LAST || size >= 350_000,
            "the last entry would be read again"
        );
        for found in all {
            assert_eq!(found, entry(1, next, 1, found.kind, bytes(next)));
            next += 1;
        }
    }
    // One byte in each page of what is sealed; headers are read by nobody here.
    for item in std::fs::read_dir(directory.path()).unwrap() {
        let path = item.unwrap().path();
        if path.to_string_lossy().contains("segment-") {
            let mut all = std::fs::read(&path).unwrap();
            all.iter_mut()
                .skip(9_000)
                .step_by(4_096)
                .for_each(|b| *b ^= 1);
            std::fs::write(&path, all).unwrap();
        }
    }
    let error = read(1).unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
}

/// X21: readers on other threads while segments are sealed, cleaned and recycled under them: an entry is what was
/// written there, or an error says that it is gone; never bytes of another life.
#[test]
fn x21_readers_never_see_another_life() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    let config = Config {
        clean_slack_bytes: 0,
        ..Config::tiny()
    };
    let (mut log, _) = Log::open(disk, config, identity()).unwrap();
    log.write(vec![base(1, 0, 0), base(2, 0, 0)]).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let written = std::sync::atomic::AtomicU64::new(0);
    let reader = log.reader();
    let read: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=2_u64)
            .map(|group| {
                let (reader, stop, written) = (&reader, &stop, &written);
                scope.spawn(move || {
                    let mut good = 0;
                    let mut round = 0_u64;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        round += 1;
                        let last = written.load(std::sync::atomic::Ordering::Acquire);
                        let from = Index((last.saturating_sub(round % 60)).max(1));
                        let found =
                            reader.entries(GroupId(group), R1, from, Index(last.max(1)), 20_000);
                        match found {
                            Ok(entries) => {
                                for found in entries {
                                    let kind = found.kind;
                                    let bytes = found.payload.len();
                                    assert_eq!(found, entry(group, found.index.0, 1, kind, bytes));
                                    good += 1;
                                }
                            }
                            Err(ReadError::NotFound { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    good
                })
            })
            .collect();
        for index in 1..=400 {
            log.write(vec![
                entries(1, index, 1, 1, 3_000),
                entries(2, index, 1, 1, 700),
            ])
            .unwrap();
            written.store(index, std::sync::atomic::Ordering::Release);
            if index % 16 == 0 {
                log.write(vec![base(1, index - 8, 1), base(2, index.max(64) - 63, 1)])
                    .unwrap();
            }
            run_some_jobs(&mut log, 3).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    let stats = log.stats();
    assert!(
        read > 100 && stats.segments_cleaned > 0,
        "{read} read, {stats:?}"
    );
}
