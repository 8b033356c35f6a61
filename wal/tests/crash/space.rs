//! The disk is given back: what the log's files take together, under load and at rest. Bytes, not times.

use crate::reference::*;
use std::sync::Arc;
use std::time::Duration;
use wal::model::ModelDisk;
use wal::{Config, Disk, Log, Record, Stats};

/// Segments of 1 MiB, spares and slack as of a real log.
fn config() -> Config {
    Config {
        segment_bytes: 1 << 20,
        round_bytes_max: 256 << 10,
        run_bytes_max: 64 << 10,
        runs_max: 65_536,
        spares: 4,
        clean_slack_bytes: 4 << 20,
        quiet_after: Duration::from_secs(10),
        dead_interval: Duration::from_secs(1),
        ..Config::tiny()
    }
}

/// Bytes of segment files that are no spares.
fn taken(stats: &Stats) -> u64 {
    (stats.segments_open + stats.segments_sealed) * config().segment_bytes
}

/// Bytes of all segment files on the disk.
fn on_disk(disk: &ModelDisk) -> u64 {
    let names = disk.list().unwrap();
    let segments = names.iter().filter(|name| name.starts_with("segment-"));
    segments
        .map(|name| disk.bytes(name).unwrap().len() as u64)
        .sum()
}

/// Topics whose local records go soon after they came, beside one with small entries that stay.
fn fill_and_trim(log: &mut Log, disk: &Arc<ModelDisk>, state: &mut Reference) {
    let mut write = |log: &mut Log, records: Vec<Record>| {
        state.apply_all(&records);
        log.write(records).unwrap();
    };
    write(log, (1..=5).map(|group| base(group, 0, 0)).collect());
    for at in 1..=160 {
        let mut records: Vec<Record> = (1..=4).map(|g| entries(g, at, 1, 1, 60_000)).collect();
        records.push(entries(5, at, 1, 1, 300));
        write(log, records);
        if at % 8 == 0 {
            write(
                log,
                (1..=4).map(|g| base(g, at.saturating_sub(4), 1)).collect(),
            );
        }
        disk.set_elapsed(disk.elapsed() + Duration::from_millis(50));
        run_jobs(log).unwrap();
    }
}

/// 40 MiB went through, 1 MiB is alive: without another write the rest goes back to the file system, but for the spares.
#[test]
fn a_log_at_rest_gives_the_disk_back() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open_with(&disk, config()).unwrap();
    let mut state = Reference::default();
    fill_and_trim(&mut log, &disk, &mut state);
    let before = log.stats();
    let looked = rest(&mut log, &disk).unwrap();
    let stats = log.stats();
    let segment = config().segment_bytes;
    assert!(stats.used_bytes < before.used_bytes, "{before:?} {stats:?}");
    assert!(
        taken(&stats) <= stats.live_bytes / 10 * 13 + 2 * segment,
        "{stats:?}"
    );
    let spares = 4 + config().spares as u64 + 1;
    assert_eq!(
        stats.segments_spare, spares,
        "four reserves, the next one, those ahead"
    );
    assert_eq!(stats.used_bytes, on_disk(&disk));
    assert!((1..=4).contains(&looked), "{looked}");
    assert_eq!(state.difference_read(&log.reader()), None);
    drop(log);
    disk.crash(1);
    let (log, recovery) = open_with(&disk, config()).unwrap();
    assert_eq!(state.difference(&recovery, &log.reader()), None);
}

/// A dead segment that a reader holds goes back when the reader has let go, though nothing else happens.
#[test]
fn a_segment_that_was_pinned_goes_back_without_a_write() {
    let disk = ModelDisk::new(3);
    let (mut log, _) = open_with(&disk, config()).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    for at in 1..=40 {
        log.write(vec![entries(1, at, 1, 1, 200_000)]).unwrap();
        run_jobs(&mut log).unwrap();
    }
    assert!(log.due().is_some(), "the log will be quiet");
    log.write(vec![base(1, 40, 1)]).unwrap();
    let before = log.stats();
    assert!(before.segments_sealed > 5, "{before:?}");
    run_jobs(&mut log).unwrap();
    assert_eq!(log.stats().segments_sealed, before.segments_sealed);
    let wait = log.due().expect("what has died is freed in a moment");
    assert!(wait <= config().dead_interval, "{wait:?}");
    rest(&mut log, &disk).unwrap();
    assert_eq!(log.stats().segments_sealed, 0);
    assert_eq!(log.stats().segments_spare, 9);
}

/// X20: groups whose entries stay for a short time, a longer one and for ever, mixed in every round, at full load.
#[test]
fn x20_space_stays_bounded_under_mixed_retention() {
    let disk = ModelDisk::new(2);
    let (mut log, _) = open_with(&disk, config()).unwrap();
    // How many of a group's entries are kept: from a few to far more than are ever written.
    let kept = |group: u64| [4, 60, 250, 700, u64::MAX][group as usize % 5];
    let size = |group: u64, at: u64| [900, 5_000, 2_500][((group + at / 100) % 3) as usize];
    let mut last = [0; 31];
    let groups = 1..=30_u64;
    log.write(groups.clone().map(|group| base(group, 0, 0)).collect())
        .unwrap();
    for at in 1..=1_500 {
        // What stays for ever is little.
        let due = |group: &u64| kept(*group) < u64::MAX || at % 16 == group % 16;
        let records = groups.clone().filter(due).map(|group| {
            last[group as usize] += 1;
            entries(group, last[group as usize], 1, 1, size(group, at))
        });
        log.write(records.collect()).unwrap();
        if at % 10 == 0 {
            let dead = groups.clone().filter(|group| kept(*group) < at);
            let trims = dead.map(|group| base(group, at - kept(group), 1));
            log.write(trims.collect()).unwrap();
        }
        disk.set_elapsed(disk.elapsed() + Duration::from_millis(100));
        run_jobs(&mut log).unwrap();
        let stats = log.stats();
        let bound = stats.live_bytes / 10 * 13 + config().clean_slack_bytes;
        // An unsealed segment, and one whose death no checkpoint has told yet.
        let bound = bound + 2 * config().segment_bytes;
        assert!(taken(&stats) <= bound, "at {at}: {stats:?}");
    }
    let stats = log.stats();
    assert!(stats.bytes_written > 100 << 20, "{stats:?}");
    assert!(stats.bytes_cleaned.total() > 10 << 20, "{stats:?}");
    assert!(
        stats.bytes_cleaned.total() < 2 * stats.bytes_written,
        "no spiral: {stats:?}"
    );
    assert_eq!(stats.used_bytes, on_disk(&disk));
}
