//! A file system without O_DIRECT: the page cache shows what the device has lost.

use crate::reference::*;
use raft::types::{GroupId, Index};
use wal::model::{Call, Fault, ModelDisk};
use wal::{Config, Error};

/// D5, rule 16: after a failed sync the cache calls everything clean and shows it all the same. What the next start
/// reports is what the device holds, and survives the power cut after it.
#[test]
fn d5_what_only_the_page_cache_shows_is_never_reported() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..200 {
        let disk = ModelDisk::buffered(seed);
        let (mut log, _) = open(&disk).unwrap();
        log.write(vec![base(1, 0, 0), entries(1, 1, 2, 1, 300)])
            .unwrap();
        disk.fail_kind(Call::Sync, disk.calls_of(Call::Sync) + 1, Fault::Io);
        assert!(log.write(vec![entries(1, 3, 2, 1, 300)]).is_err());
        // kill -9: the cache lives on.
        drop(log);
        disk.heal();
        let (mut log, recovery) = open(&disk).unwrap();
        assert!(recovery.damages.is_empty(), "seed {seed}: {recovery:?}");
        let last = recovery.groups[0].last_index.0;
        assert!(last == 2 || last == 4, "seed {seed}: {recovery:?}");
        kept += u64::from(last == 4);
        lost += u64::from(last == 2);
        log.write(vec![entries(1, last + 1, 1, 1, 300)]).unwrap();
        drop(log);
        disk.crash(seed);
        let (log, recovery) = open(&disk).unwrap();
        assert!(recovery.damages.is_empty(), "seed {seed}: {recovery:?}");
        assert_eq!(recovery.groups[0].last_index, Index(last + 1));
        read_all(&log.reader(), GroupId(1), R1, 0, last + 1).unwrap();
    }
    assert!(kept > 0 && lost > 0, "both happened: {kept}, {lost}");
}

/// X6: a checkpoint that the disk acknowledged and never wrote is noticed before the log rests on it, though the cache
/// shows it.
#[test]
fn x6_a_checkpoint_that_never_reached_the_device_is_noticed() {
    for disk in [ModelDisk::new(3), ModelDisk::buffered(3)] {
        let (mut log, _) = open(&disk).unwrap();
        log.write(vec![base(1, 0, 0)]).unwrap();
        let mut index = 1;
        while log
            .write(vec![entries(1, index, 1, 1, 9_000)])
            .unwrap()
            .rolled
            .is_none()
        {
            index += 1;
        }
        let seal = log.next_job().unwrap().unwrap();
        log.finish(seal.run()).unwrap();
        let checkpoint = log.next_job().unwrap().unwrap();
        assert!(checkpoint.urgent());
        let writes = disk.calls_of(Call::Write);
        for copy in 1..=2 {
            disk.fail_kind(Call::Write, writes + copy, Fault::Lost);
        }
        let done = checkpoint.run();
        assert_eq!(disk.injected(), 2, "two copies were lost");
        let finished = log.finish(done);
        assert!(matches!(finished, Err(Error::Poisoned { .. })));
        drop(log);
        disk.crash(1);
        let (_, recovery) = open(&disk).unwrap();
        assert_eq!(recovery.groups[0].last_index.0, index);
    }
}

/// The whole history of the explorer, cut at every call, behind a page cache.
#[test]
fn w1_history_behind_a_page_cache_survives_failed_syncs() {
    for nth in 1.. {
        let disk = ModelDisk::buffered(nth);
        let (mut log, _) = open_with(&disk, Config::tiny()).unwrap();
        disk.fail_kind(Call::Sync, disk.calls_of(Call::Sync) + nth, Fault::Io);
        let mut acknowledged = 0;
        let history = crate::explorer::history();
        let mut states = vec![Reference::default()];
        for records in &history {
            let mut next = states.last().unwrap().clone();
            next.apply_all(records);
            states.push(next);
            if log.write(records.clone()).is_err() || run_some_jobs(&mut log, 4).is_err() {
                break;
            }
            acknowledged += 1;
        }
        drop(log);
        if disk.injected() == 0 {
            assert!(nth > 20, "some syncs failed");
            return;
        }
        disk.heal();
        for power in [false, true] {
            if power {
                disk.crash(nth);
            }
            let (log, recovery) = open(&disk).unwrap();
            assert!(recovery.damages.is_empty(), "sync {nth}: {recovery:?}");
            let reader = log.reader();
            let fits = |state: &&Reference| state.difference(&recovery, &reader).is_none();
            let found = states[acknowledged..].iter().find(fits);
            assert!(found.is_some(), "sync {nth}, power {power}: {recovery:?}");
        }
    }
}
