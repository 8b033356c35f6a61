//! What is lost without a trace of its own: a replica whose first record is damaged was made all the same.

use crate::reference::*;
use raft::types::{EntryKind, GroupId, Index, ReplicaId};
use std::sync::Arc;
use wal::model::ModelDisk;
use wal::{Log, Record};

const OPEN: &str = "segment-00000000";
const FIRST_ROUND: usize = 8_192;
const R2: ReplicaId = ReplicaId(2);

/// A group with a vote and entries; the base has a round of its own, the first. Marked idle.
fn build() -> Arc<ModelDisk> {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0)]).unwrap();
    log.write(vec![hard_state(1, 4, 9)]).unwrap();
    log.write(vec![entries(1, 1, 3, 4, 200)]).unwrap();
    assert!(log.idle().unwrap());
    disk
}

/// Frames of the first round, from where its list ends to where the page's padding begins.
fn frames(disk: &ModelDisk) -> std::ops::Range<usize> {
    let bytes = disk.bytes(OPEN).unwrap();
    assert!(bytes[FIRST_ROUND..].starts_with(b"Rnd1"));
    let begin = FIRST_ROUND + 72 + 24;
    let used = (begin..FIRST_ROUND + 4_096).rfind(|at| bytes[*at] != 0);
    begin..used.unwrap() + 1
}

/// D1, X4: a new group's base is damaged. Without it the group must not count as one that was never made, or it would
/// begin anew, empty, as a voter.
#[test]
fn d1_x4_a_replica_whose_base_is_lost_is_faulty_not_unknown() {
    let disk = build();
    let frames = frames(&disk);
    assert!(frames.len() > 64, "header and payload: {frames:?}");
    for byte in frames {
        let flipped = disk.fork();
        flipped.flip_bit(OPEN, byte * 8 + byte % 8);
        for start in 0..2 {
            let (log, recovery) = open(&flipped).unwrap();
            let what = format!("byte {byte}, start {start}: {recovery:?}");
            let [group] = &recovery.groups[..] else {
                panic!("{what}")
            };
            assert_eq!((group.group, group.replica), (GroupId(1), R1), "{what}");
            let faulty = group.faulty.unwrap_or_else(|| panic!("{what}"));
            assert!(faulty.control && !recovery.suspect, "{what}");
            assert_eq!(group.last_index, Index(3), "{what}");
            log.close().unwrap();
        }
    }
}

/// The same over an older instance of the group: its entries are neither the newer one's nor simply dead.
#[test]
fn x4_a_newer_replica_whose_base_is_lost_is_the_faulty_one() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let newer = Record::Base {
        group: GroupId(1),
        replica: R2,
        base: base_at(5, 1),
    };
    log.write(vec![newer.clone()]).unwrap();
    drop(log);
    let at = frames(&disk).end - 9;
    let disk = ModelDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0), entries(1, 1, 3, 1, 200)])
        .unwrap();
    log.write(vec![newer]).unwrap();
    log.write(vec![Record::Entries {
        group: GroupId(1),
        replica: R2,
        entries: vec![entry(1, 6, 1, EntryKind::Records, 200)],
    }])
    .unwrap();
    log.idle().unwrap();
    drop(log);
    disk.flip_bit(OPEN, (at + 4_096) * 8);
    let (_, recovery) = open(&disk).unwrap();
    let [group] = &recovery.groups[..] else {
        panic!("{recovery:?}")
    };
    assert_eq!((group.replica, group.last_index), (R2, Index(6)));
    assert!(group.faulty.is_some_and(|faulty| faulty.control));
}

/// A whole round is gone, and only later frames tell of the group that it made; and of what nothing tells, at least
/// that is told, at every start.
#[test]
fn d1_a_lost_round_makes_suspects_of_groups_that_only_later_rounds_name() {
    let disk = build();
    disk.flip_bit(OPEN, (FIRST_ROUND + 30) * 8);
    for start in 0..3 {
        let (log, recovery) = open(&disk).unwrap();
        assert!(recovery.suspect, "start {start}: {recovery:?}");
        let [group] = &recovery.groups[..] else {
            panic!("{recovery:?}")
        };
        assert_eq!((group.replica, group.last_index), (R1, Index(3)));
        assert!(group.faulty.is_some_and(|faulty| faulty.control));
        if start == 1 {
            log.close().unwrap();
        }
    }
}

/// A faulty replica can be given up: its bytes are free, its id never comes back, a newer one may.
#[test]
fn d15_a_faulty_replica_is_removed_like_any_other() {
    let disk = ModelDisk::new(3);
    let (mut log, _) = open(&disk).unwrap();
    log.write(vec![base(1, 0, 0), base(2, 0, 0)]).unwrap();
    for index in 1..=20 {
        log.write(vec![entries(1, index, 1, 1, 9_000)]).unwrap();
    }
    run_jobs(&mut log).unwrap();
    log.write(vec![entries(2, 1, 1, 1, 100)]).unwrap();
    log.write(vec![entries(1, 21, 1, 1, 3_000)]).unwrap();
    log.idle().unwrap();
    drop(log);
    let (name, bytes) = last_entry(&disk, 21);
    disk.flip_bit(&name, (bytes + 100) * 8);
    let (mut log, recovery) = open(&disk).unwrap();
    let faulty: Vec<_> = recovery.groups.iter().map(|g| g.faulty.is_some()).collect();
    assert_eq!(faulty, [true, false], "{recovery:?}");
    give_up(&mut log);
    drop(log);
    disk.crash(1);
    let (mut log, recovery) = open(&disk).unwrap();
    assert_eq!(recovery.removed, [(GroupId(1), R1)]);
    let ids: Vec<_> = recovery.groups.iter().map(|g| g.group.0).collect();
    assert_eq!(ids, [2]);
    assert!(log.write(vec![base(1, 0, 0)]).is_err());
    let (group, replica, base) = (GroupId(1), R2, base_at(0, 0));
    log.write(vec![Record::Base {
        group,
        replica,
        base,
    }])
    .unwrap();
}

fn give_up(log: &mut Log) {
    let held = log.stats();
    assert!(held.live_bytes > 20 * 9_000, "{held:?}");
    let (group, replica) = (GroupId(1), R1);
    log.write(vec![Record::Remove { group, replica }]).unwrap();
    run_jobs(log).unwrap();
    let stats = log.stats();
    assert!(stats.live_bytes < 1_000, "{stats:?}");
    assert!(stats.segments_recycled >= 3, "{stats:?}");
}

/// Where group 1's entry lies: file and position of its frame.
fn last_entry(disk: &ModelDisk, index: u64) -> (String, usize) {
    for name in wal::Disk::list(disk).unwrap() {
        let bytes = disk.bytes(&name).unwrap();
        let is_it = |at: &usize| {
            bytes[*at..].starts_with(b"Rnd1")
                && bytes[at + 72..at + 80] == 1_u64.to_le_bytes()
                && bytes[at + 80..at + 88] == index.to_le_bytes()
        };
        if let Some(at) = (0..bytes.len()).step_by(4_096).find(is_it) {
            return (name, at + 72 + 24);
        }
    }
    panic!("entry {index} is nowhere")
}
