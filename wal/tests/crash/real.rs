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
    RealDisk::open(directory.path()).unwrap();
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
