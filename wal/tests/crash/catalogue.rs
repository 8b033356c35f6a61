//! Single cases by their id in the catalogue.

use crate::reference::*;
use bytes::Bytes;
use raft::types::{Base, Entry, EntryKind, GroupId, Index, ReplicaId, Term};
use std::sync::Arc;
use wal::model::{Call, ModelDisk, SectorFate};
use wal::{Config, Disk, Error, File, Log, ReadError, Record};

fn crash_all(disk: &ModelDisk, fate: SectorFate) {
    disk.crash_with(|_, _| fate, fate == SectorFate::Old);
}

/// Fills segments with one group's entries from an index on; returns the next index.
fn fill(log: &mut Log, group: u64, from: u64, writes: u64) -> u64 {
    for index in from..from + writes {
        log.write(vec![entries(group, index, 1, 1, 9_000)]).unwrap();
    }
    from + writes
}

#[test]
fn d3_names_are_durable_before_anything_rests_on_them() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    let next = fill(&mut log, 1, 1, 40);
    run_jobs(&mut log).unwrap();
    drop(log);
    crash_all(&disk, SectorFate::Old);
    let (_, recovery) = open(&disk).unwrap();
    assert_eq!(recovery.groups[0].last_index.0, next - 1);
}

/// D4: the next segment's first round is never there without the last round of the one before.
#[test]
fn d4_a_new_segment_needs_the_end_of_the_old_one() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    let (mut index, mut before) = (1, disk.fork());
    let rolled = loop {
        let copy = disk.fork();
        let round = log.write(vec![entries(1, index, 1, 1, 9_000)]).unwrap();
        index += 1;
        if let Some(rolled) = round.rolled {
            break rolled;
        }
        before = copy;
    };
    assert_eq!(rolled.groups, [GroupId(1)]);
    drop(log);
    // The old segment loses its last round; the new one has its first.
    let name = disk
        .list()
        .unwrap()
        .into_iter()
        .find(|name| {
            name.starts_with("segment-")
                && disk.bytes(name) != before.bytes(name)
                && disk.bytes(name).unwrap()[8192..] != before.bytes(name).unwrap()[8192..]
        })
        .unwrap();
    disk.set_bytes(&name, before.bytes(&name).unwrap());
    let (log, recovery) = open(&disk).unwrap();
    assert!(
        !recovery.damages.is_empty(),
        "a missing round in the middle is damage"
    );
    assert!(recovery.groups[0].faulty.is_some());
    let hole = Index(index - 2);
    let error = log
        .reader()
        .entries(GroupId(1), R1, hole, hole, 1)
        .unwrap_err();
    assert!(
        matches!(error, ReadError::Corrupt { .. }),
        "a hole is no end: {error}"
    );
    // And it is not forgotten by the next start.
    log.close().unwrap();
    let (_, recovery) = open(&disk).unwrap();
    assert!(recovery.groups[0].faulty.is_some());
}

/// D5: a round that only the page cache held is either made durable at the restart or never seen again.
#[test]
fn d5_what_a_restart_reports_survives_the_next_power_cut() {
    for seed in 0..60 {
        let disk = ModelDisk::new(seed);
        let (mut log, _) = open(&disk).unwrap();
        log.write(vec![base(1, 0, 0), entries(1, 1, 2, 1, 700)])
            .unwrap();
        let nth = disk.calls_of(Call::Sync) + 1;
        disk.fail_kind(Call::Sync, nth, wal::model::Fault::Io);
        assert!(log.write(vec![entries(1, 3, 2, 1, 700)]).is_err());
        // kill -9: everything written is still readable.
        drop(log);
        disk.heal();
        let (mut log, recovery) = open(&disk).unwrap();
        let last = recovery.groups[0].last_index.0;
        assert_eq!(last, 4);
        log.write(vec![entries(1, last + 1, 1, 1, 700)]).unwrap();
        drop(log);
        disk.crash(seed);
        let (log, recovery) = open(&disk).unwrap();
        assert_eq!(recovery.groups[0].last_index.0, last + 1);
        read_all(&log.reader(), GroupId(1), R1, 0, last + 1).unwrap();
    }
}

/// Rule 16: after an unclean start no page of the old tail is written again, and the log goes on in another segment.
#[test]
fn d5_the_old_tail_is_sealed_after_an_unclean_start() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0), entries(1, 1, 2, 1, 700)])
        .unwrap();
    drop(log);
    disk.crash(1);
    let (mut log, recovery) = open(&disk).unwrap();
    assert!(recovery.unclean);
    let sealed = log.stats().segments_sealed;
    assert_eq!((sealed, log.stats().segments_open), (1, 1));
    log.close().unwrap();
    let (log_again, recovery) = open(&disk).unwrap();
    assert!(!recovery.unclean, "a clean stop is a clean start");
    assert_eq!(recovery.rounds_replayed, 0);
    log = log_again;
    assert_eq!(
        log.stats().segments_sealed,
        sealed,
        "and goes on where it was"
    );
}

/// S15, X2: a truncated suffix never comes back, in whatever segments its entries and the truncation lie.
#[test]
fn s15_x2_a_truncated_suffix_stays_dead() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let mut state = Reference::default();
    let mut write = |log: &mut Log, records: Vec<Record>| {
        state.apply_all(&records);
        log.write(records).unwrap();
    };
    write(&mut log, vec![base(1, 99, 2)]);
    write(&mut log, vec![entries(1, 100, 11, 3, 900)]);
    // Into the next segment, then the truncation and other entries there.
    for at in 1..=8 {
        if at == 1 {
            write(&mut log, vec![base(2, 0, 0)]);
        }
        write(&mut log, vec![entries(2, at, 1, 1, 9_000)]);
    }
    run_jobs(&mut log).unwrap();
    write(&mut log, vec![truncate(1, 100), entries(1, 100, 6, 4, 900)]);
    for closed in [false, true] {
        if closed {
            log.close().unwrap();
        } else {
            drop(log);
            disk.crash(5);
        }
        let (opened, recovery) = open(&disk).unwrap();
        assert_eq!(state.difference(&recovery, &opened.reader()), None);
        assert_eq!(recovery.groups[0].last_index.0, 105);
        assert_eq!(recovery.groups[0].terms, [(Term(4), Index(100))]);
        log = opened;
    }
}

/// X1: everything expired and recycled: the log start, the last index and the hard state stay.
#[test]
fn x1_base_outlives_every_entry() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0), hard_state(1, 6, 3)]).unwrap();
    let mut next = 1;
    for _ in 0..10 {
        next = fill(&mut log, 1, next, 6);
        log.write(vec![base(1, next - 1, 1)]).unwrap();
        run_jobs(&mut log).unwrap();
    }
    assert_eq!(log.stats().live_bytes, 0);
    let files = disk
        .list()
        .unwrap()
        .iter()
        .filter(|name| name.starts_with("segment-"))
        .count();
    assert!(files <= 9, "{files} files: dead segments are used again");
    drop(log);
    disk.crash(2);
    let (_, recovery) = open(&disk).unwrap();
    let group = &recovery.groups[0];
    assert_eq!(
        (group.base.index.0, group.last_index.0),
        (next - 1, next - 1)
    );
    assert_eq!(
        group.base.state,
        Bytes::from(format!("state as of {}", next - 1))
    );
    assert_eq!(
        (group.hard_state.term, group.hard_state.vote),
        (Term(6), Some(ReplicaId(3)))
    );
}

/// X4: the segment with the newest hard state is recycled, footers are damaged: the vote is not forgotten.
#[test]
fn x4_votes_do_not_depend_on_the_segment_they_were_written_to() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0), base(2, 0, 0), hard_state(2, 9, 4)])
        .unwrap();
    let mut next = 1;
    for _ in 0..8 {
        next = fill(&mut log, 1, next, 6);
        log.write(vec![base(1, next - 2, 1)]).unwrap();
        run_jobs(&mut log).unwrap();
    }
    drop(log);
    // Every footer (the last page of every segment file) is damaged.
    for name in disk
        .list()
        .unwrap()
        .iter()
        .filter(|name| name.starts_with("segment-"))
    {
        let mut bytes = disk.bytes(name).unwrap();
        let last = bytes.len() - 4096;
        bytes[last..].fill(0xee);
        disk.set_bytes(name, bytes);
    }
    let (log, recovery) = open(&disk).unwrap();
    let vote = recovery.groups[1].hard_state;
    assert_eq!((vote.term, vote.vote), (Term(9), Some(ReplicaId(4))));
    read_all(&log.reader(), GroupId(1), R1, next - 2, next - 1).unwrap();
    drop(log);
    // Without any checkpoint nothing is made up.
    for name in disk
        .list()
        .unwrap()
        .iter()
        .filter(|name| name.starts_with("checkpoint-"))
    {
        let bytes = vec![0; disk.bytes(name).unwrap().len()];
        disk.set_bytes(name, bytes);
    }
    assert!(matches!(open(&disk), Err(Error::Corrupt(_))));
}

/// A footer is rebuilt from the rounds: entries in sealed segments stay readable.
#[test]
fn x4_a_damaged_footer_is_rebuilt_from_the_rounds() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    let next = fill(&mut log, 1, 1, 30);
    run_jobs(&mut log).unwrap();
    drop(log);
    for name in disk
        .list()
        .unwrap()
        .iter()
        .filter(|name| name.starts_with("segment-"))
    {
        let mut bytes = disk.bytes(name).unwrap();
        if bytes[bytes.len() - 4096..].starts_with(b"WlsrFoot") {
            let last = bytes.len() - 4000;
            bytes[last] ^= 1;
            disk.set_bytes(name, bytes);
        }
    }
    let (log, _) = open(&disk).unwrap();
    read_all(&log.reader(), GroupId(1), R1, 0, next - 1).unwrap();
}

/// X3: the follower truncates and appends while the cleaner copies; power cut before and after each step.
#[test]
fn x3_a_stale_copy_of_the_cleaner_never_wins() {
    let config = Config {
        clean_slack_bytes: 0,
        ..Config::tiny()
    };
    let mut cleaned = 0;
    for cut in 0..400_u64 {
        let disk = ModelDisk::new(cut);
        let (mut log, _) = open_with(&disk, config.clone()).unwrap();
        let mut state = Reference::default();
        let mut write = |log: &mut Log, records: Vec<Record>| {
            state.apply_all(&records);
            log.write(records).unwrap();
        };
        write(&mut log, vec![base(1, 0, 0), base(2, 0, 0)]);
        for at in 1..=24 {
            write(
                &mut log,
                vec![entries(1, at, 1, 1, 3_000), entries(2, at, 1, 1, 9_000)],
            );
        }
        write(&mut log, vec![base(2, 24, 1)]);
        // Up to the cleaner's job; spares and checkpoints on the way.
        let mut job = None;
        for _ in 0..200 {
            let Some(next) = log.next_job().unwrap() else {
                break;
            };
            if !next.urgent() && !log_outputs(&log) {
                log.finish(next.run()).unwrap();
                continue;
            }
            if next.urgent() {
                log.finish(next.run()).unwrap();
            } else {
                job = Some(next);
                break;
            }
        }
        let Some(job) = job else {
            panic!("nothing was cleaned")
        };
        write(&mut log, vec![truncate(1, 7), entries(1, 7, 3, 2, 500)]);
        let done = job.run();
        write(
            &mut log,
            vec![truncate(1, 5), entries(1, 5, 2, 3, 500), base(1, 2, 1)],
        );
        disk.fail_at(disk.calls() + 1 + cut % 40, wal::model::Fault::PowerCut);
        let finished = log.finish(done).and_then(|()| run_some_jobs(&mut log, 9));
        cleaned += u64::from(finished.is_ok() && log.stats().segments_cleaned > 0);
        let reader = log.reader();
        let difference = state.difference_read(&reader);
        assert!(
            disk.injected() > 0 || difference.is_none(),
            "cut {cut}: {difference:?}"
        );
        drop(log);
        disk.crash(cut);
        let (log, recovery) = open_with(&disk, config.clone()).unwrap();
        assert_eq!(
            state.difference(&recovery, &log.reader()),
            None,
            "cut {cut}"
        );
    }
    assert!(cleaned > 0, "some runs got through");
}

/// Whether the cleaner has taken its outputs: its job is the one under way.
fn log_outputs(log: &Log) -> bool {
    log.cleaning()
}

/// The cleaner keeps what is alive, frees what is not, and everything reads as before.
#[test]
fn cleaner_puts_live_entries_together_and_frees_the_rest() {
    let config = Config {
        clean_slack_bytes: 0,
        ..Config::tiny()
    };
    let disk = ModelDisk::new(1);
    let (mut log, _) = open_with(&disk, config.clone()).unwrap();
    let mut state = Reference::default();
    let mut write = |log: &mut Log, records: Vec<Record>| {
        state.apply_all(&records);
        log.write(records).unwrap();
    };
    write(&mut log, vec![base(1, 0, 0), base(2, 0, 0)]);
    for at in 1..=40 {
        write(
            &mut log,
            vec![entries(1, at, 1, 1, 500), entries(2, at, 1, 1, 9_000)],
        );
        if at % 8 == 0 {
            write(&mut log, vec![base(2, at, 1)]);
            run_jobs(&mut log).unwrap();
        }
    }
    run_jobs(&mut log).unwrap();
    let stats = log.stats();
    assert!(stats.segments_cleaned > 2, "{stats:?}");
    assert!(stats.segments_sealed <= 4, "{stats:?}");
    assert_eq!(state.difference_read(&log.reader()), None);
    drop(log);
    disk.crash(1);
    let (log, recovery) = open_with(&disk, config).unwrap();
    assert_eq!(state.difference(&recovery, &log.reader()), None);
}

/// X6: a manifest write that the disk acknowledged and never did.
#[test]
fn x6_a_lost_manifest_write_is_corruption() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    let mut next = fill(&mut log, 1, 1, 10);
    run_jobs(&mut log).unwrap();
    let version = log.stats().manifest;
    let slot = format!("manifest-{}", (version + 1) % 2);
    let old = disk.bytes(&slot).unwrap();
    while log.stats().manifest == version {
        next = fill(&mut log, 1, next, 1);
        run_some_jobs(&mut log, 1).unwrap();
    }
    assert_eq!(log.stats().manifest, version + 1);
    log.write(vec![entries(1, next, 1, 1, 100)]).unwrap();
    drop(log);
    disk.set_bytes(&slot, old);
    assert!(matches!(open(&disk), Err(Error::Corrupt(_))));
}

/// X21: a reader holds a segment while it dies; its file is not used again before, and no other life is read.
#[test]
fn x21_a_pinned_segment_is_not_recycled() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0), entries(1, 1, 5, 1, 2_000)])
        .unwrap();
    let reader = log.reader();
    let held = reader
        .entries(GroupId(1), R1, Index(1), Index(5), u64::MAX)
        .unwrap();
    let copy: Vec<Vec<u8>> = held.iter().map(|entry| entry.payload.to_vec()).collect();
    let mut next = 6;
    for _ in 0..12 {
        next = fill(&mut log, 1, next, 6);
        log.write(vec![base(1, next - 1, 1)]).unwrap();
        run_jobs(&mut log).unwrap();
    }
    assert!(
        held.iter()
            .zip(&copy)
            .all(|(entry, copy)| entry.payload == copy[..])
    );
    let error = reader
        .entries(GroupId(1), R1, Index(1), Index(5), 1)
        .unwrap_err();
    assert!(matches!(error, ReadError::NotFound { .. }), "{error}");
}

/// R2: entries are readable as soon as the write has returned, and only then.
#[test]
fn r2_nothing_is_readable_before_it_is_synced() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    let reader = log.reader();
    let syncs = disk.calls_of(Call::Sync);
    log.write(vec![entries(1, 1, 1, 1, 100)]).unwrap();
    assert_eq!(disk.calls_of(Call::Sync), syncs + 1);
    assert_eq!(
        reader
            .entries(GroupId(1), R1, Index(1), Index(9), 1)
            .unwrap()
            .len(),
        1
    );
    disk.fail_kind(
        Call::Write,
        disk.calls_of(Call::Write) + 1,
        wal::model::Fault::Io,
    );
    assert!(log.write(vec![entries(1, 2, 1, 1, 100)]).is_err());
    assert!(
        reader
            .entries(GroupId(1), R1, Index(2), Index(9), 1)
            .is_err()
    );
    assert_eq!(reader.bounds(GroupId(1), R1), Some((Index(0), Index(1))));
}

/// X25: what fits is decided by the segment size, the same on all nodes; it is refused before anything is written.
#[test]
fn x25_too_large_an_entry_is_refused_and_the_largest_is_stored() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let most = usize::try_from(Config::tiny().entry_bytes_max()).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    let writes = disk.calls_of(Call::Write);
    let error = log.write(vec![entries(1, 1, 1, 1, most + 1)]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(disk.calls_of(Call::Write), writes);
    log.write(vec![entries(1, 1, 3, 1, most)]).unwrap();
    let entries = log
        .reader()
        .entries(GroupId(1), R1, Index(1), Index(3), u64::MAX)
        .unwrap();
    assert!(entries.len() == 3 && entries.iter().all(|entry| entry.payload.len() == most));
}

#[test]
fn contradictions_are_refused_before_anything_is_written() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 5, 1), entries(1, 6, 2, 1, 50)])
        .unwrap();
    let group = GroupId(1);
    let stale = Record::Base {
        group,
        replica: ReplicaId(0),
        base: Base::default(),
    };
    let calls = disk.calls();
    for records in [
        vec![entries(1, 9, 1, 1, 50)],
        vec![entries(1, 7, 1, 1, 50)],
        vec![entries(2, 1, 1, 1, 50)],
        vec![truncate(1, 5)],
        vec![base(1, 4, 1)],
        vec![stale],
        vec![hard_state(1, 2, 1), hard_state(3, 2, 1)],
        vec![Record::Remove { group, replica: R1 }, base(1, 9, 1)],
    ] {
        let error = log.write(records.clone()).unwrap_err();
        assert!(
            matches!(error, Error::Invalid { .. }),
            "{records:?}: {error}"
        );
    }
    assert_eq!(disk.calls(), calls);
    log.write(vec![Record::Remove { group, replica: R1 }])
        .unwrap();
    assert!(
        log.write(vec![base(1, 9, 1)]).is_err(),
        "a removed replica never comes back"
    );
    let replica = ReplicaId(2);
    log.write(vec![Record::Base {
        group,
        replica,
        base: base_at(9, 1),
    }])
    .unwrap();
    drop(log);
    let (_, recovery) = open(&disk).unwrap();
    assert_eq!(
        (recovery.groups[0].replica, recovery.groups[0].base.index.0),
        (replica, 9)
    );
    assert_eq!(recovery.removed, [(group, R1)]);
}

/// Lookups by Kafka offset and by time, in open and sealed segments, over truncations and trims.
#[test]
fn offsets_and_times_are_found_where_they_live() {
    for tail_bytes in [0, 1 << 20] {
        let disk = ModelDisk::new(1);
        let config = Config {
            tail_bytes,
            ..Config::tiny()
        };
        let (mut log, _) = open_with(&disk, config).unwrap();
        log.write(vec![base(1, 0, 0), base(2, 0, 0)]).unwrap();
        let (group, replica) = (GroupId(1), R1);
        let records = |index: u64, offset: i64, time: i64| Record::Entries {
            group,
            replica,
            entries: vec![Entry {
                index: Index(index),
                term: Term(1),
                kind: EntryKind::Records,
                payload: batch(offset, 10, time, 3_000),
            }],
        };
        for at in 0..40_u64 {
            let offset = i64::try_from(at).unwrap() * 10;
            let noise = entries(2, at + 1, 1, 1, 700);
            log.write(vec![records(at + 1, offset, 1_000 + offset), noise])
                .unwrap();
        }
        log.write(vec![truncate(1, 36), records(36, 350, 9_000)])
            .unwrap();
        run_jobs(&mut log).unwrap();
        log.write(vec![base(1, 7, 1)]).unwrap();
        assert!(log.stats().segments_sealed > 1);
        let reader = log.reader();
        let offset = |offset| reader.index_of_offset(group, replica, offset).unwrap();
        let time = |time| reader.index_for_timestamp(group, replica, time).unwrap();
        assert_eq!(offset(69), None, "below the base");
        for at in 7..36_u64 {
            let first = i64::try_from(at).unwrap() * 10;
            assert_eq!(offset(first), Some(Index(at + 1)));
            assert_eq!(offset(first + 9), Some(Index(at + 1)));
        }
        assert_eq!(offset(360), None, "above the end");
        assert_eq!(time(0), Some(Index(8)));
        assert_eq!(time(1_101), Some(Index(12)));
        assert_eq!(time(1_340), Some(Index(35)));
        assert_eq!(
            time(1_341),
            Some(Index(36)),
            "truncated batches are no answer"
        );
        assert_eq!(time(9_001), None);
        let bytes = reader.group_bytes(group, replica);
        assert!((29 * 3_000..29 * 3_200).contains(&bytes), "{bytes}");
        let half = reader.index_for_bytes(group, replica, bytes / 2).unwrap();
        assert!((Index(10)..Index(37)).contains(&half), "{half}");
        let newest = reader.index_for_bytes(group, replica, 1).unwrap();
        assert!(
            half <= newest && newest <= Index(36),
            "{newest}: not all of it"
        );
    }
}

/// One round, one write, one sync: for one record and for a thousand partitions.
#[test]
fn one_sync_per_round() {
    let disk = ModelDisk::new(1);
    let config = Config {
        segment_bytes: 8 << 20,
        round_bytes_max: 4 << 20,
        runs_max: 65_536,
        ..Config::tiny()
    };
    let (mut log, _) = open_with(&disk, config).unwrap();
    log.write((0..1_000).map(|group| base(group, 0, 0)).collect())
        .unwrap();
    let before = (disk.calls_of(Call::Write), disk.calls_of(Call::Sync));
    for index in 1..=3 {
        let records = (0..1_000)
            .map(|group| entries(group, index, 1, 1, 200))
            .collect();
        let round = log.write(records).unwrap();
        assert_eq!(
            (round.rounds, round.entries, round.frames),
            (1, 1_000, 1_000)
        );
    }
    let after = (disk.calls_of(Call::Write), disk.calls_of(Call::Sync));
    assert_eq!((after.0 - before.0, after.1 - before.1), (3, 3));
    println!("fdatasync per round: {}", (after.1 - before.1) as f64 / 3.0);
}

/// A bad sector under a sealed segment is an error for those who read it; the log goes on.
#[test]
fn d18_x11_a_bad_sector_is_an_error_and_the_log_goes_on() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    let next = fill(&mut log, 1, 1, 12);
    run_jobs(&mut log).unwrap();
    let reader = log.reader();
    let sealed = disk
        .list()
        .unwrap()
        .into_iter()
        .find(|name| name == "segment-00000000")
        .unwrap();
    disk.break_sector(&sealed, 16_384);
    let mut failed = 0;
    for index in 1..next {
        match reader.entries(GroupId(1), R1, Index(index), Index(index), 1) {
            Ok(entries) => assert_eq!(entries[0].index.0, index),
            Err(error) => {
                assert!(matches!(error, ReadError::Io { .. }), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 1);
    log.write(vec![entries(1, next, 1, 1, 100)]).unwrap();
}

/// W14: another version is refused, and nothing is changed.
#[test]
fn w14_unknown_version_is_refused_untouched() {
    let disk = ModelDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    log.close().unwrap();
    for name in ["manifest-0", "manifest-1"] {
        let mut bytes = disk.bytes(name).unwrap();
        let half = bytes.len() / 2;
        for start in [0, half] {
            bytes[start + 8] = 9;
            let crc = crc32fast::hash(&bytes[start..start + 48]);
            bytes[start + 48..start + 52].copy_from_slice(&crc.to_le_bytes());
        }
        disk.set_bytes(name, bytes);
    }
    let writes = disk.calls_of(Call::Write);
    assert!(matches!(
        open(&disk),
        Err(Error::UnknownVersion { version: 9, .. })
    ));
    assert_eq!(disk.calls_of(Call::Write), writes);
}

/// The wrong node, directory or cluster is refused.
#[test]
fn another_identity_is_refused() {
    let disk = ModelDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    log.close().unwrap();
    let mut other = identity();
    other.directory = raft::types::DirectoryId(1);
    let shared: Arc<dyn Disk> = disk.clone();
    assert!(matches!(
        Log::open(shared.clone(), Config::tiny(), other),
        Err(Error::WrongIdentity { .. })
    ));
    let mut other = identity();
    other.cluster = 8;
    assert!(matches!(
        Log::open(shared, Config::tiny(), other),
        Err(Error::WrongIdentity { .. })
    ));
    let file: Arc<dyn File> = disk.open("meta").unwrap();
    assert_eq!(file.size().unwrap(), 16_384);
}

/// A format that was cut short is begun again; a directory that lost its manifests is not.
#[test]
fn format_is_begun_again_after_every_power_cut() {
    let whole = ModelDisk::new(1);
    open(&whole).unwrap();
    for cut in 1..=whole.calls() {
        for seed in 0..4 {
            let disk = ModelDisk::new(1);
            disk.fail_at(cut, wal::model::Fault::PowerCut);
            assert!(open(&disk).is_err(), "cut at {cut}");
            disk.crash(seed);
            let (mut log, _) = open(&disk).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            log.write(vec![base(1, 0, 0)]).unwrap();
        }
    }
}

/// An idle log writes one mark and no more.
#[test]
fn idle_marks_once() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    assert!(log.idle().unwrap());
    let calls = disk.calls();
    assert!(!log.idle().unwrap());
    assert_eq!(disk.calls(), calls);
}

/// Derived state and memberships come back, the newest of each.
#[test]
fn derived_state_and_memberships_survive() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let (group, replica) = (GroupId(1), R1);
    let member = entry(1, 2, 1, EntryKind::Membership, 60);
    log.write(vec![base(1, 0, 0), entries(1, 1, 1, 1, 50)])
        .unwrap();
    log.write(vec![Record::Entries {
        group,
        replica,
        entries: vec![member.clone()],
    }])
    .unwrap();
    for index in [1, 2] {
        let state = Bytes::from(format!("derived {index}"));
        log.write(vec![Record::Derived {
            group,
            replica,
            index: Index(index),
            state,
        }])
        .unwrap();
        run_jobs(&mut log).unwrap();
    }
    log.close().unwrap();
    let (_, recovery) = open(&disk).unwrap();
    assert_eq!(recovery.groups[0].membership_entries, [member]);
    assert_eq!(
        recovery.groups[0].derived,
        Some((Index(2), Bytes::from("derived 2")))
    );
}

/// The log moves to its thread, jobs to others, readers everywhere.
#[test]
fn handles_may_go_where_they_are_used() {
    fn send<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    send::<Log>();
    send::<wal::Job>();
    send::<wal::JobDone>();
    shared::<wal::Reader>();
}

/// X2: a truncation without new entries, in an incremental checkpoint, while the log that holds it is replayed no more.
#[test]
fn x2_a_truncation_reaches_the_next_checkpoint() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0), base(2, 0, 0), entries(1, 1, 9, 1, 900)])
        .unwrap();
    let next = fill(&mut log, 2, 1, 5);
    run_jobs(&mut log).unwrap();
    log.write(vec![truncate(1, 4)]).unwrap();
    fill(&mut log, 2, next, 5);
    run_jobs(&mut log).unwrap();
    log.close().unwrap();
    let (log, recovery) = open(&disk).unwrap();
    assert_eq!(recovery.rounds_replayed, 0);
    assert_eq!(recovery.groups[0].last_index, Index(3));
    let group = GroupId(1);
    assert_eq!(
        log.reader()
            .entries(group, R1, Index(1), Index(9), u64::MAX)
            .unwrap()
            .len(),
        3
    );
}

/// X6: the disk loses the last rounds together with the mark behind them; only the meta file still knows.
#[test]
fn x6_a_lost_stretch_with_its_own_marks_is_corruption() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0), entries(1, 1, 2, 1, 100)])
        .unwrap();
    let before = disk.bytes("segment-00000000").unwrap();
    log.write(vec![entries(1, 3, 2, 1, 100)]).unwrap();
    assert!(log.idle().unwrap());
    drop(log);
    assert_ne!(disk.bytes("segment-00000000").unwrap(), before);
    disk.set_bytes("segment-00000000", before);
    let (_, recovery) = open(&disk).unwrap();
    assert!(recovery.suspect, "{recovery:?}");
    assert!(recovery.groups[0].faulty.is_some());
}

/// D16: a round of another node, of the same sequence, place, number and chain, is no round here: the seed differs.
#[test]
fn d16_a_round_of_another_node_is_no_round() {
    let name = "segment-00000000";
    let write = |seed, writes: u64| {
        let disk = ModelDisk::new(seed);
        let (mut log, _) = open(&disk).unwrap();
        log.write(vec![base(1, 0, 0)]).unwrap();
        for index in 1..=writes {
            log.write(vec![entries(1, index, 1, 1, 100)]).unwrap();
        }
        disk
    };
    let (ours, theirs) = (write(1, 3), write(2, 4));
    let mut bytes = ours.bytes(name).unwrap();
    // Format writes no round: base and three entries take a page each.
    let next = 8_192 + 4 * 4_096;
    assert!(bytes[next - 4_096..].starts_with(b"Rnd1") && !bytes[next..].starts_with(b"Rnd1"));
    let foreign = theirs.bytes(name).unwrap();
    assert!(foreign[next..].starts_with(b"Rnd1"));
    bytes[next..next + 4_096].copy_from_slice(&foreign[next..next + 4_096]);
    ours.set_bytes(name, bytes);
    let (_, recovery) = open(&ours).unwrap();
    assert!(recovery.damages.is_empty(), "{:?}", recovery.damages);
    assert_eq!(recovery.groups[0].last_index, Index(3));
}
