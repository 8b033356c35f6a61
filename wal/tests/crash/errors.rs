//! W5: every call fails once, in every way. After the first failed write or sync nothing is acknowledged, and a
//! restart finds every acknowledged write.

use crate::explorer::history;
use crate::reference::*;
use std::sync::Arc;
use std::time::Duration;
use wal::model::{Call, Fault, ModelDisk};
use wal::{Error, Log};

/// Runs the history; returns the acknowledged writes, whether anything was acknowledged after a failure, and the log.
fn run(disk: &Arc<ModelDisk>) -> (usize, usize, Option<Log>) {
    let Ok((mut log, _)) = open(disk) else {
        return (0, 0, None);
    };
    let (mut acknowledged, mut attempted) = (0, 0);
    let mut poisoned = false;
    for (at, records) in history().into_iter().enumerate() {
        let result = log.write(records);
        assert!(
            !(poisoned && result.is_ok()),
            "acknowledged after the log had failed"
        );
        match result {
            Ok(_) => {
                assert_eq!(acknowledged, at, "no write is left out");
                acknowledged += 1;
                attempted = acknowledged;
                log.zero_ahead();
            }
            Err(Error::Poisoned { .. }) => {
                if !poisoned {
                    attempted = at + 1;
                }
                poisoned = true;
            }
            Err(error) => panic!("{error}"),
        }
        if at % 3 == 2 {
            let jobs = run_some_jobs(&mut log, 8);
            let idle = log.idle();
            assert!(
                !(poisoned && idle.is_ok()),
                "synced after the log had failed"
            );
            poisoned |= jobs.is_err() || idle.is_err();
        }
    }
    assert_eq!(log.stats().poisoned, poisoned);
    (acknowledged, attempted.max(acknowledged), Some(log))
}

fn check(fault: Fault, calls: &[u64], arm: impl Fn(&ModelDisk, u64)) -> u64 {
    let mut met = 0;
    for nth in calls {
        let disk = ModelDisk::new(11);
        arm(&disk, *nth);
        let (acknowledged, attempted, log) = run(&disk);
        met += u64::from(disk.injected() > 0);
        drop(log);
        disk.heal();
        for (names_lost, seed) in [(false, 1), (true, 2)] {
            let crashed = disk.fork();
            crashed.crash(seed + nth);
            let what = format!("{fault:?} at {nth}, names lost {names_lost}");
            let (log, recovery) = match open(&crashed) {
                Ok(opened) => opened,
                Err(error) => panic!("{what}: {error}"),
            };
            assert!(
                recovery.damages.is_empty(),
                "{what}: {:?}",
                recovery.damages
            );
            let reader = log.reader();
            let states = states();
            let found = (acknowledged..=attempted)
                .find(|count| states[*count].difference(&recovery, &reader).is_none());
            let why = states[acknowledged].difference(&recovery, &reader);
            assert!(
                found.is_some(),
                "{what}: {acknowledged} acknowledged: {why:?}"
            );
        }
    }
    met
}

fn states() -> Vec<Reference> {
    let mut states = vec![Reference::default()];
    for records in history() {
        let mut next = states.last().unwrap().clone();
        next.apply_all(&records);
        states.push(next);
    }
    states
}

fn total_calls() -> u64 {
    let disk = ModelDisk::new(11);
    let (acknowledged, attempted, _log) = run(&disk);
    assert_eq!(
        (acknowledged, attempted),
        (history().len(), history().len())
    );
    disk.calls()
}

#[test]
fn w5_d7_no_acknowledgement_after_any_failed_call() {
    let calls: Vec<u64> = (1..=total_calls()).collect();
    for fault in [Fault::Io, Fault::NoSpace, Fault::TooManyFiles] {
        let met = check(fault, &calls, |disk, nth| disk.fail_at(nth, fault));
        assert_eq!(met, calls.len() as u64, "every fault happened");
    }
}

#[test]
fn w5_d6_a_write_cut_short_at_every_sector_is_the_last_one() {
    let disk = ModelDisk::new(11);
    run(&disk);
    let writes: Vec<u64> = (1..=disk.calls_of(Call::Write)).collect();
    let lengths: &[usize] = if slow() {
        &[0, 512, 1024, 2560, 4096, 4608]
    } else {
        &[512, 4096]
    };
    for bytes in lengths {
        let fault = Fault::Short(*bytes);
        let met = check(fault, &writes, |disk, nth| {
            disk.fail_kind(Call::Write, nth, fault)
        });
        assert_eq!(met, writes.len() as u64, "every fault happened");
    }
}

/// D7: a failed sync is not retried, and what it covered is decided anew at the restart.
#[test]
fn d7_failed_sync_poisons_at_once() {
    let disk = ModelDisk::new(2);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    let syncs = disk.calls_of(Call::Sync);
    disk.fail_kind(Call::Sync, syncs + 1, Fault::Io);
    assert!(matches!(
        log.write(vec![entries(1, 1, 1, 1, 100)]),
        Err(Error::Poisoned { .. })
    ));
    assert_eq!(disk.calls_of(Call::Sync), syncs + 1, "one attempt");
    assert!(matches!(
        log.write(vec![entries(1, 1, 1, 1, 100)]),
        Err(Error::Poisoned { .. })
    ));
    assert!(matches!(log.idle(), Err(Error::Poisoned { .. })));
    assert!(log.next_job().is_err());
    assert_eq!(disk.calls_of(Call::Sync), syncs + 1, "never retried");
    assert!(
        log.reader()
            .entries(
                raft::types::GroupId(1),
                R1,
                raft::types::Index(1),
                raft::types::Index(1),
                1
            )
            .is_err(),
        "what was not synced is not read"
    );
    assert!(log.close().is_err());
}

/// E2: a vote is durable before the call that persists it returns; a crash right after cannot take it back.
#[test]
fn e2_vote_survives_the_power_cut_right_after_its_sync() {
    for seed in 0..50 {
        let disk = ModelDisk::new(seed);
        let (mut log, _) = open(&disk).unwrap();
        log.write(vec![base(1, 0, 0), hard_state(1, 4, 9)]).unwrap();
        assert!(disk.dirty_sectors().is_empty());
        drop(log);
        disk.crash(seed);
        let (_, recovery) = open(&disk).unwrap();
        let state = recovery.groups[0].hard_state;
        assert_eq!((state.term.0, state.vote.map(|vote| vote.0)), (4, Some(9)));
    }
}

/// Full disk: records are refused before anything is written, housekeeping goes on, and a trim frees the log without
/// a restart.
#[test]
fn x9_full_disk_refuses_records_and_recovers_without_a_restart() {
    let disk = ModelDisk::new(4);
    let (mut log, _) = open(&disk).unwrap();
    run_jobs(&mut log).unwrap();
    let free = wal::Disk::free_bytes(&*disk).unwrap();
    disk.set_capacity(u64::MAX - free);
    log.write(vec![base(1, 0, 0), base(2, 0, 0)]).unwrap();
    let mut index = 1;
    let full = loop {
        match log.write(vec![entries(1, index, 1, 1, 9_000)]) {
            Ok(_) => index += 1,
            Err(error) => break error,
        }
        run_jobs(&mut log).unwrap();
        assert!(index < 1_000, "the disk never fills up");
    };
    assert!(full.retriable(), "{full}");
    let room = log.room();
    assert!(!room.entries && room.housekeeping, "{room:?}");
    log.write(vec![hard_state(2, 5, 1)]).unwrap();
    log.write(vec![base(1, index - 1, 1)]).unwrap();
    run_jobs(&mut log).unwrap();
    assert!(log.room().entries, "{:?}", log.stats());
    for _ in 0..30 {
        log.write(vec![entries(1, index, 1, 1, 9_000)]).unwrap();
        log.write(vec![base(1, index, 1)]).unwrap();
        index += 1;
        run_jobs(&mut log).unwrap();
    }
    drop(log);
    disk.crash(3);
    let (_, recovery) = open(&disk).unwrap();
    assert_eq!(recovery.groups[0].last_index.0, index - 1);
}

/// A spare that cannot be made is not tried again at once: the log thread asks for the next job when one is finished,
/// and would do nothing else.
#[test]
fn a_spare_that_cannot_be_made_is_tried_again_later() {
    let disk = ModelDisk::new(3);
    let (mut log, _) = open(&disk).unwrap();
    let before = disk.calls_of(Call::Create);
    (1..=50).for_each(|nth| disk.fail_kind(Call::Create, before + nth, Fault::TooManyFiles));
    let spares = log.stats().segments_spare;
    run_jobs(&mut log).unwrap();
    assert_eq!(disk.calls_of(Call::Create), before + 1, "tried once");
    log.write(vec![base(1, 0, 0), entries(1, 1, 1, 1, 100)])
        .unwrap();
    run_jobs(&mut log).unwrap();
    assert_eq!(disk.calls_of(Call::Create), before + 1, "not yet again");
    disk.heal();
    disk.set_elapsed(Duration::from_secs(2));
    run_jobs(&mut log).unwrap();
    assert!(log.stats().segments_spare > spares, "{:?}", log.stats());
}

/// A quota that is used up is a full disk: records wait, nothing has failed.
#[test]
fn x9_a_used_up_quota_is_a_full_disk() {
    let disk = ModelDisk::new(4);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0), base(2, 0, 0)]).unwrap();
    let creations = disk.calls_of(Call::Create);
    for nth in 1..=200 {
        disk.fail_kind(Call::Create, creations + nth, Fault::Quota);
    }
    let mut index = 1;
    let full = loop {
        match log.write(vec![entries(1, index, 1, 1, 9_000)]) {
            Ok(_) => index += 1,
            Err(error) => break error,
        }
        run_jobs(&mut log).unwrap();
    };
    assert!(matches!(full, Error::Full), "{full}");
    let met = disk.injected();
    assert!((1..200).contains(&met), "{met} creations failed");
    log.write(vec![hard_state(2, 5, 1), base(1, index - 1, 1)])
        .unwrap();
    run_jobs(&mut log).unwrap();
    log.write(vec![entries(1, index, 1, 1, 9_000)]).unwrap();
}

/// Every unclean start takes a segment. Starts that follow each other before the cleaner has done anything find
/// room all the same, on a disk that has none left.
#[test]
fn x9_a_crash_loop_on_a_full_disk_always_starts() {
    let disk = ModelDisk::new(4);
    let (mut log, _) = open(&disk).unwrap();
    run_jobs(&mut log).unwrap();
    let free = wal::Disk::free_bytes(&*disk).unwrap();
    disk.set_capacity(u64::MAX - free);
    log.write(vec![base(1, 0, 0), base(2, 0, 0)]).unwrap();
    let mut index = 1;
    while log.write(vec![entries(1, index, 1, 1, 9_000)]).is_ok() {
        index += 1;
    }
    for life in 1..=30 {
        drop(log);
        disk.crash(life);
        let opened = open(&disk);
        let (reopened, recovery) = opened.unwrap_or_else(|error| panic!("life {life}: {error}"));
        log = reopened;
        assert_eq!(recovery.groups[1].last_index.0, life - 1);
        let noop = entry(2, life, life, raft::types::EntryKind::Noop, 24);
        let (group, replica) = (raft::types::GroupId(2), R1);
        let record = wal::Record::Entries {
            group,
            replica,
            entries: vec![noop],
        };
        log.write(vec![record, hard_state(2, life, 1)]).unwrap();
    }
    log.write(vec![base(1, index - 1, 1)]).unwrap();
    run_jobs(&mut log).unwrap();
    log.write(vec![entries(1, index, 1, 1, 9_000)]).unwrap();
}

/// Rule 9: a commit that fails while a job is looked for is told by that call, where nobody waits for a write.
#[test]
fn d7_a_failure_while_looking_for_a_job_is_told() {
    let config = wal::Config {
        clean_slack_bytes: 0,
        ..wal::Config::tiny()
    };
    let disk = ModelDisk::new(1);
    let (mut log, _) = open_with(&disk, config).unwrap();
    log.write(vec![base(1, 0, 0), base(2, 0, 0)]).unwrap();
    for at in 1..=24 {
        log.write(vec![entries(1, at, 1, 1, 500), entries(2, at, 1, 1, 9_000)])
            .unwrap();
    }
    log.write(vec![base(2, 24, 1)]).unwrap();
    for _ in 0..200 {
        disk.fail_at(disk.calls() + 1, Fault::Io);
        match log.next_job() {
            Ok(Some(job)) => {
                disk.heal();
                log.finish(job.run()).unwrap();
            }
            Ok(None) => break,
            Err(error) => {
                assert!(matches!(error, Error::Poisoned { .. }), "{error}");
                return;
            }
        }
    }
    panic!("nothing was cleaned");
}

/// Rule 10: the manifest's slots have room for many more segments than there are: none is made anew on a full disk.
#[test]
fn x9_manifests_are_reserved_when_the_directory_is_formatted() {
    let segment_bytes = 4 << 20;
    let config = wal::Config {
        segment_bytes,
        ..wal::Config::tiny()
    };
    let disk = ModelDisk::new(1);
    open_with(&disk, config).unwrap();
    for name in ["manifest-0", "manifest-1"] {
        let bytes = disk.bytes(name).unwrap().len() as u64;
        assert!(bytes >= segment_bytes / 64, "{name}: {bytes} bytes");
    }
}
