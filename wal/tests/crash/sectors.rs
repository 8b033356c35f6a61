//! Sectors that cannot be read: what is readable counts, what may have held a round is in doubt, and nothing of it is
//! taken for the end of the log.

use crate::reference::*;
use raft::types::Index;
use std::sync::Arc;
use wal::model::ModelDisk;
use wal::{Config, Disk, Log};

const FIRST_ROUND: u64 = 8_192;

/// The segment file whose first round has the highest number, and that number.
fn newest_segment(disk: &ModelDisk) -> (String, u64) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let first_round = |name: String| {
        let bytes = disk.bytes(&name).unwrap();
        let page = bytes.get(FIRST_ROUND as usize..)?;
        let number = || u64::from_le_bytes(page[24..32].try_into().unwrap());
        page.starts_with(b"Rnd1").then(|| (name, number()))
    };
    let names = shared.list().unwrap().into_iter();
    let found = names
        .filter(|name| name.starts_with("segment-"))
        .filter_map(first_round);
    found.max_by_key(|(_, number)| *number).unwrap()
}

/// A log that has just rolled: the seal of the old segment is still to be done, the new one holds three rounds of two
/// groups, each of three pages, and nothing but those rounds tells of them.
fn rolled() -> (Arc<ModelDisk>, Reference, String) {
    let disk = ModelDisk::new(3);
    let (mut log, _) = open(&disk).unwrap();
    let mut state = Reference::default();
    let write = |log: &mut Log, state: &mut Reference, records: Vec<wal::Record>| {
        state.apply_all(&records);
        log.write(records).unwrap()
    };
    write(&mut log, &mut state, vec![base(1, 0, 0), base(2, 0, 0)]);
    let mut index = 1;
    let mut rounds_left = 3;
    while rounds_left > 0 {
        let records = vec![
            entries(1, index, 1, 1, 3_000),
            entries(2, index, 1, 1, 6_000),
        ];
        let round = write(&mut log, &mut state, records);
        index += 1;
        if round.rolled.is_some() || rounds_left < 3 {
            rounds_left -= 1;
        }
    }
    assert_eq!(
        log.stats().segments_sealed,
        0,
        "the seal is still to be done"
    );
    drop(log);
    let (name, _) = newest_segment(&disk);
    (disk, state, name)
}

/// D18, rule 14: a bad sector behind the first round of the segment that the log has just rolled into.
#[test]
fn d18_a_bad_sector_in_the_next_segment_does_not_end_the_log_before_it() {
    let (disk, state, name) = rolled();
    disk.break_sector(&name, FIRST_ROUND + 12 * 4_096);
    let (log, recovery) = open(&disk).unwrap();
    assert!(recovery.damages.is_empty(), "{:?}", recovery.damages);
    assert_eq!(state.difference(&recovery, &log.reader()), None);
}

/// D18, rule 14 (d): where the next segment's first round would be, nothing can be read: whether there was one cannot
/// be told, and in doubt every group is faulty. What comes behind it is still there.
#[test]
fn d18_an_unreadable_first_round_of_the_next_segment_is_no_clean_end() {
    let (disk, state, name) = rolled();
    disk.break_sector(&name, FIRST_ROUND);
    let (_, recovery) = open(&disk).unwrap();
    assert!(recovery.suspect, "{recovery:?}");
    for group in &recovery.groups {
        assert!(group.faulty.is_some_and(|faulty| faulty.control));
        let last = state.groups[&group.group.0].last();
        assert_eq!(group.last_index, Index(last), "the rounds behind it count");
    }
}

/// D18: a round whose header can be read says whose frames cannot: only those groups are faulty, whichever round it is.
#[test]
fn d18_a_bad_sector_under_a_frame_is_that_group_s() {
    let (disk, state, name) = rolled();
    let first = newest_segment(&disk).1;
    for round in 0..3 {
        let broken = disk.fork();
        // The third page of each round holds the second group's entry only.
        broken.break_sector(&name, FIRST_ROUND + round * 3 * 4_096 + 2 * 4_096);
        let (log, recovery) = open(&broken).unwrap();
        let what = format!("round {}: {recovery:?}", first + round);
        assert!(!recovery.suspect && !recovery.damages.is_empty(), "{what}");
        let last = state.groups[&1].last();
        let index = Index(last - 2 + round);
        assert_eq!(recovery.groups[0].faulty, None, "{what}");
        let faulty = recovery.groups[1]
            .faulty
            .unwrap_or_else(|| panic!("{what}"));
        assert_eq!((faulty.from, faulty.until), (index, index), "{what}");
        let group = raft::types::GroupId(1);
        read_all(&log.reader(), group, R1, 0, last).unwrap();
    }
}

/// D18: a bad sector behind the end of the log, in bytes that nobody ever wrote, is nobody's loss.
#[test]
fn d18_a_bad_sector_behind_the_end_of_the_log_costs_nothing() {
    let disk = ModelDisk::new(3);
    let (mut log, _) = open(&disk).unwrap();
    let mut state = Reference::default();
    let records = vec![base(1, 0, 0), entries(1, 1, 3, 1, 500)];
    state.apply_all(&records);
    log.write(records).unwrap();
    drop(log);
    let (name, _) = newest_segment(&disk);
    for page in 1..12 {
        let broken = disk.fork();
        let tail = FIRST_ROUND + 4_096;
        broken.break_sector(&name, tail + page * 4_096 + 512);
        let (log, recovery) = open(&broken).unwrap();
        assert!(recovery.damages.is_empty(), "{page}: {recovery:?}");
        assert_eq!(state.difference(&recovery, &log.reader()), None);
    }
}

/// W6, X14: stale bytes that say to be the start of a long round cost no more reading than any others.
#[test]
fn w6_x14_stale_bytes_that_say_to_be_long_rounds_are_not_read_at_length() {
    let config = Config {
        segment_bytes: 8 << 20,
        round_bytes_max: 4 << 20,
        ..Config::tiny()
    };
    let disk = ModelDisk::new(3);
    let (mut log, _) = open_with(&disk, config.clone()).unwrap();
    log.write(vec![base(1, 0, 0), entries(1, 1, 3, 1, 500)])
        .unwrap();
    drop(log);
    let (name, _) = newest_segment(&disk);
    let mut bytes = disk.bytes(&name).unwrap();
    let real = bytes[FIRST_ROUND as usize..][..72].to_vec();
    for page in bytes[FIRST_ROUND as usize + 4_096..].chunks_mut(4_096) {
        page[..72].copy_from_slice(&real);
        page[56..60].copy_from_slice(&(4_u32 << 20).to_le_bytes());
    }
    disk.set_bytes(&name, bytes);
    let (_, recovery) = open_with(&disk, config.clone()).unwrap();
    assert!(recovery.damages.is_empty(), "{:?}", recovery.damages);
    assert_eq!(recovery.groups[0].last_index, Index(3));
    let bound = 4 * config.segment_bytes;
    assert!(recovery.bytes_read <= bound, "{} read", recovery.bytes_read);
}
