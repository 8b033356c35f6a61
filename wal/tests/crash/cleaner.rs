//! The cleaner comes to rest, whatever it meets.

use crate::reference::*;
use wal::model::ModelDisk;
use wal::{Config, Disk, Log, Record};

fn cleaning() -> Config {
    Config {
        clean_slack_bytes: 0,
        ..Config::tiny()
    }
}

/// Fills segments with entries of many groups; of every third group what is older than `kept` entries dies.
fn fill(
    log: &mut Log,
    state: &mut Reference,
    groups: u64,
    writes: u64,
    size: impl Fn(u64) -> usize,
) {
    let mut write = |log: &mut Log, records: Vec<Record>| {
        state.apply_all(&records);
        log.write(records).unwrap();
    };
    write(log, (1..=groups).map(|group| base(group, 0, 0)).collect());
    for at in 1..=writes {
        let records = (1..=groups).map(|group| entries(group, at, 1, 1, size(at + group)));
        write(log, records.collect());
        if at % 16 == 0 {
            let dead = (1..=groups).filter(|group| group % 3 != at / 16 % 3);
            write(log, dead.map(|group| base(group, at - 4, 1)).collect());
            run_jobs(log).unwrap();
        }
    }
}

/// A rewrite whose output overflows leaves its inputs alive: it gains nothing, and must not be done again for ever.
#[test]
fn the_cleaner_comes_to_rest_with_entries_of_any_size() {
    let mut cleaned = 0;
    for (groups, size) in [
        (40, 1),
        (40, 60),
        (12, 300),
        (6, 2_000),
        (5, 4_200),
        (3, 7_900),
    ] {
        for alternating in [false, true] {
            let disk = ModelDisk::new(5);
            let (mut log, _) = open_with(&disk, cleaning()).unwrap();
            let mut state = Reference::default();
            let of = |at: u64| {
                if alternating && at.is_multiple_of(2) {
                    1
                } else {
                    size
                }
            };
            fill(&mut log, &mut state, groups, 96, of);
            cleaned += log.stats().segments_cleaned;
            assert_eq!(state.difference_read(&log.reader()), None);
            drop(log);
            disk.crash(1);
            let (log, recovery) = open_with(&disk, cleaning()).unwrap();
            assert_eq!(state.difference(&recovery, &log.reader()), None);
        }
    }
    assert!(cleaned > 100, "{cleaned} segments were cleaned");
}

/// What the cleaner cannot read stays where it is; the rest is cleaned, the log goes on, and nobody turns in circles.
#[test]
fn the_cleaner_comes_to_rest_beside_what_it_cannot_read() {
    for broken in [true, false] {
        let disk = ModelDisk::new(6);
        let (mut log, _) = open_with(&disk, Config::tiny()).unwrap();
        let mut state = Reference::default();
        fill(&mut log, &mut state, 6, 15, |_| 1_000);
        run_jobs(&mut log).unwrap();
        let name = "segment-00000000".to_owned();
        assert!(disk.list().unwrap().contains(&name));
        if broken {
            disk.break_sector(&name, 16_384);
        } else {
            disk.flip_bit(&name, (16_384 + 700) * 8);
        }
        drop(log);
        let (mut log, _) = open_with(&disk, cleaning()).unwrap();
        run_jobs(&mut log).unwrap();
        for at in 1..=40 {
            log.write(vec![entries(1, 15 + at, 1, 1, 4_000)]).unwrap();
            run_jobs(&mut log).unwrap();
            if at % 10 == 0 {
                log.write(vec![base(1, 15 + at - 2, 1)]).unwrap();
                run_jobs(&mut log).unwrap();
            }
        }
        assert!(log.stats().segments_cleaned > 0 && !log.stats().poisoned);
    }
}

/// D18, X11: a bad sector under a live run costs the entries in it, which stay where they are; the log goes on, now and
/// after a restart.
#[test]
fn d18_x11_a_bad_sector_met_by_the_cleaner_is_no_failure_of_the_log() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open_with(&disk, Config::tiny()).unwrap();
    log.write(vec![base(1, 0, 0), base(2, 0, 0)]).unwrap();
    for at in 1..=24 {
        log.write(vec![entries(1, at, 1, 1, 500), entries(2, at, 1, 1, 9_000)])
            .unwrap();
    }
    run_jobs(&mut log).unwrap();
    log.write(vec![base(2, 23, 1)]).unwrap();
    log.close().unwrap();
    // The first rounds of the first segment: group 1's frames come first in each.
    let begins = 8_192 + 4_096;
    let (name, whole) = ("segment-00000000", disk.fork());
    disk.break_sector(name, begins);
    let (mut log, recovery) = open_with(&disk, cleaning()).unwrap();
    assert!(recovery.damages.is_empty(), "{:?}", recovery.damages);
    run_jobs(&mut log).unwrap();
    let stats = log.stats();
    assert!(!stats.poisoned && stats.segments_cleaned > 0, "{stats:?}");
    assert!(log.reader().any_damage(), "it is told");
    let lacking = log.reader().survey();
    assert!(lacking.iter().all(|l| l.group.0 == 1), "{lacking:?}");
    assert_eq!(lacking[0].first.0, 1);
    assert!(lacking.last().unwrap().last.0 < 24, "{lacking:?}");
    log.write(vec![entries(1, 25, 1, 1, 500)]).unwrap();
    log.close().unwrap();
    // What was promised is as it was: the replica is open.
    let (mut log, recovery) = open_with(&disk, cleaning()).unwrap();
    assert!(recovery.groups.iter().all(|group| group.faulty.is_none()));
    run_jobs(&mut log).unwrap();
    assert!(log.reader().any_damage(), "it is met again");
    let (mut log, _) = open_with(&whole, cleaning()).unwrap();
    run_jobs(&mut log).unwrap();
    assert!(!log.reader().any_damage());
}
