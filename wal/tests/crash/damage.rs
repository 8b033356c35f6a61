//! W3, W4, W6: damage of what was synced is told, never taken for a shorter or another log.

use crate::reference::*;
use raft::types::{GroupId, Index};
use std::sync::Arc;
use wal::model::{ModelDisk, SECTOR_BYTES};
use wal::{Disk, Error, Log, Record, Recovery};

const CONTROL: [&str; 3] = ["manifest-0", "manifest-1", "meta"];

/// A small log with sealed segments, an open one, checkpoints, a trim and a truncation; marked idle.
fn build() -> (Arc<ModelDisk>, Reference) {
    let disk = ModelDisk::new(21);
    let (mut log, _) = open(&disk).unwrap();
    let mut state = Reference::default();
    let mut write = |log: &mut Log, records: Vec<Record>| {
        state.apply_all(&records);
        log.write(records).unwrap();
    };
    write(
        &mut log,
        vec![base(1, 0, 0), base(2, 0, 0), hard_state(1, 1, 1)],
    );
    for at in 0..12 {
        write(
            &mut log,
            vec![
                entries(1, at * 2 + 1, 2, 1, 2_500),
                entries(2, at + 1, 1, 1, 3_000),
            ],
        );
        if at == 6 {
            write(&mut log, vec![base(1, 3, 1), hard_state(2, 3, 1)]);
            run_jobs(&mut log).unwrap();
        }
    }
    write(
        &mut log,
        vec![
            truncate(2, 12),
            entries(2, 12, 1, 2, 100),
            hard_state(2, 4, 2),
        ],
    );
    run_jobs(&mut log).unwrap();
    write(&mut log, vec![entries(1, 25, 2, 2, 700)]);
    log.idle().unwrap();
    let reader = log.reader();
    assert_eq!(state.difference_read(&reader), None);
    let stats = log.stats();
    assert!(
        stats.segments_sealed >= 1 && stats.segments_open >= 1,
        "{stats:?}"
    );
    (disk, state)
}

/// What a damaged disk may do: refuse, report, or not care. Anything else is a silent loss.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    Reported,
    Harmless,
}

/// Opens a damaged disk. Every read of every group must be the original bytes or an error.
fn judge(disk: &Arc<ModelDisk>, state: &Reference, what: &dyn std::fmt::Display) -> Outcome {
    let (log, recovery) = match open(disk) {
        Ok(opened) => opened,
        Err(Error::Corrupt(_) | Error::UnknownVersion { .. } | Error::WrongIdentity { .. }) => {
            return Outcome::Refused;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    let reader = log.reader();
    if state.difference(&recovery, &reader).is_none() {
        return Outcome::Harmless;
    }
    check_reported(&recovery, &log, state, what);
    Outcome::Reported
}

/// Groups that are not marked faulty are whole but for entries whose reading is an error; and nothing is invented.
fn check_reported(recovery: &Recovery, log: &Log, state: &Reference, what: &dyn std::fmt::Display) {
    let reader = log.reader();
    for (id, want) in &state.groups {
        let got = recovery.groups.iter().find(|group| group.group.0 == *id);
        let Some(got) = got else {
            assert!(recovery.suspect, "{what}: group {id} is silently gone");
            continue;
        };
        if got.faulty.is_none() {
            assert_eq!(
                got.last_index.0,
                want.last(),
                "{what}: group {id} is silently shorter"
            );
            assert_eq!(got.base, want.base, "{what}: group {id}");
            // An entry of a later term lifts it, and voids the vote of the term before.
            let lifted =
                got.hard_state.term > want.hard_state.term && got.hard_state.vote.is_none();
            assert!(
                got.hard_state == want.hard_state || lifted,
                "{what}: group {id}"
            );
        }
        for (index, entry) in &want.entries {
            let (group, at) = (GroupId(*id), Index(*index));
            if let Ok(found) = reader.entries(group, want.replica, at, at, 1) {
                let control = got.faulty.is_some_and(|faulty| faulty.control);
                assert!(
                    control || found[0] == *entry,
                    "{what}: group {id} {index}: other bytes"
                );
            }
        }
    }
}

fn files(disk: &ModelDisk) -> Vec<String> {
    let log_file = |name: &String| {
        name.starts_with("segment-")
            || name.starts_with("checkpoint-")
            || CONTROL.contains(&&**name)
    };
    disk.list().unwrap().into_iter().filter(log_file).collect()
}

/// Which files hold something that matters: those whose bytes are not all zero.
fn used_files(disk: &ModelDisk) -> Vec<String> {
    let used = |name: &String| disk.bytes(name).unwrap().iter().any(|byte| *byte != 0);
    files(disk).into_iter().filter(used).collect()
}

#[test]
fn w3_d1_d2_every_flipped_bit_is_told_or_harmless() {
    let (disk, state) = build();
    // Fast: one bit of every byte in headers, a sample in payloads; slow: every bit of every byte.
    let mut counts = [0_u64; 3];
    for name in used_files(&disk) {
        let bytes = disk.bytes(&name).unwrap();
        let mut bit = 0;
        while bit < bytes.len() * 8 {
            let flipped = disk.fork();
            flipped.flip_bit(&name, bit);
            let outcome = judge(&flipped, &state, &format!("{name}, bit {bit}"));
            counts[outcome as usize] += 1;
            let page_byte = bit / 8 % 4096;
            bit += match (slow(), bytes[bit / 8]) {
                (true, _) => 1,
                (false, 0) => 8 * 509 + 1,
                (false, _) if page_byte < 160 => 8 * 7 + 1,
                (false, _) => 8 * 97 + 1,
            };
        }
    }
    println!("refused, reported, harmless: {counts:?}");
    // One bit never makes a refusal: whatever refuses when it is lost is there twice.
    assert!(
        counts[0] == 0 && counts[1] > 100 && counts[2] > 100,
        "{counts:?}"
    );
}

/// D1: damage to the last acknowledged round, which only the mark tells from a torn one.
#[test]
fn d1_every_byte_of_the_last_round_is_covered_by_the_mark() {
    let (disk, state) = build();
    let (segment, start) = last_round(&disk);
    let step = if slow() { 1 } else { 13 };
    let mut told = 0;
    for byte in (start..start + 1_900).step_by(step) {
        let flipped = disk.fork();
        flipped.flip_bit(&segment, byte * 8 + byte % 8);
        let outcome = judge(&flipped, &state, &format!("{segment}, byte {byte}"));
        assert_ne!(outcome, Outcome::Refused);
        told += u64::from(outcome == Outcome::Reported);
    }
    assert!(told > 100 / step as u64, "{told}");
}

/// The file and position of the last round with frames: two pages before the idle mark's end.
fn last_round(disk: &ModelDisk) -> (String, usize) {
    let mut found = (0, String::new(), 0);
    for name in files(disk)
        .into_iter()
        .filter(|name| name.starts_with("segment-"))
    {
        let bytes = disk.bytes(&name).unwrap();
        for (page, start) in bytes.chunks(4096).zip((0..).step_by(4096)) {
            let round = u64::from_le_bytes(page[24..32].try_into().unwrap());
            let frames = u32::from_le_bytes(page[52..56].try_into().unwrap());
            if page.starts_with(b"Rnd1") && frames > 0 && round > found.0 {
                found = (round, name.clone(), start);
            }
        }
    }
    (found.1, found.2)
}

#[test]
fn w4_d11_every_missing_file_is_told() {
    let (disk, state) = build();
    for name in used_files(&disk) {
        let lost = disk.fork();
        lost.lose(&name);
        let outcome = judge(&lost, &state, &format!("{name} missing"));
        if name.starts_with("segment-") && live(&disk, &name) {
            assert_eq!(outcome, Outcome::Refused, "{name}");
        }
    }
    let empty = disk.fork();
    for name in CONTROL {
        empty.lose(name);
    }
    assert!(
        matches!(open(&empty), Err(Error::Corrupt(_))),
        "a log without a manifest is no format"
    );
    assert!(
        empty
            .list()
            .unwrap()
            .iter()
            .any(|name| name.starts_with("segment-"))
    );
}

/// Whether a segment file holds rounds.
fn live(disk: &ModelDisk, name: &str) -> bool {
    disk.bytes(name).unwrap()[8192..].starts_with(b"Rnd1")
}

#[test]
fn w4_every_truncated_file_is_told() {
    let (disk, state) = build();
    let step = if slow() { 512 } else { 8 * 512 + 512 };
    for name in used_files(&disk) {
        let bytes = disk.bytes(&name).unwrap();
        for length in (0..bytes.len()).step_by(step) {
            let cut = disk.fork();
            cut.set_bytes(&name, bytes[..length].to_vec());
            let outcome = judge(&cut, &state, &format!("{name} cut to {length}"));
            if name.starts_with("segment-") && live(&disk, &name) {
                assert_eq!(outcome, Outcome::Refused, "{name} cut to {length}");
            }
        }
    }
}

/// W4, D17, X6: every file replaced by what it was at an earlier time: a lost manifest write, a lost stretch of the log.
#[test]
fn w4_d17_x6_every_file_in_an_earlier_version_is_told() {
    let disk = ModelDisk::new(22);
    let (mut log, _) = open(&disk).unwrap();
    let mut state = Reference::default();
    let mut versions: Vec<Arc<ModelDisk>> = Vec::new();
    let first = vec![base(1, 0, 0)];
    state.apply_all(&first);
    log.write(first).unwrap();
    for at in 0..24 {
        versions.push(disk.fork());
        let records = vec![entries(1, at * 2 + 1, 2, 1, 2_500)];
        state.apply_all(&records);
        log.write(records).unwrap();
        if at % 4 == 3 {
            run_jobs(&mut log).unwrap();
        }
    }
    log.idle().unwrap();
    drop(log);
    let mut told = 0;
    for (number, version) in versions.iter().enumerate() {
        for name in used_files(&disk) {
            let Some(bytes) = version.bytes(&name) else {
                continue;
            };
            if Some(&bytes) == disk.bytes(&name).as_ref() {
                continue;
            }
            let old = disk.fork();
            old.set_bytes(&name, bytes);
            let outcome = judge(&old, &state, &format!("{name} as at write {number}"));
            told += u64::from(outcome != Outcome::Harmless);
        }
    }
    assert!(told > 50, "{told} told");
}

#[test]
fn w4_d16_swapped_sectors_and_misplaced_pages_are_told() {
    let (disk, state) = build();
    let names: Vec<String> = used_files(&disk)
        .into_iter()
        .filter(|name| live_or_control(&disk, name))
        .collect();
    let (mut told, mut cases) = (0_u64, 0_u64);
    for name in &names {
        let bytes = disk.bytes(name).unwrap();
        let sectors = bytes.len() / SECTOR_BYTES;
        let steps: &[usize] = if slow() {
            &[1, 2, 3, 5, 8, 16, 24, 40]
        } else {
            &[8, 24]
        };
        for step in steps {
            for first in (0..sectors.saturating_sub(*step)).step_by(if slow() { 1 } else { 3 }) {
                let mut swapped = bytes.clone();
                for at in 0..SECTOR_BYTES {
                    swapped.swap(
                        first * SECTOR_BYTES + at,
                        (first + step) * SECTOR_BYTES + at,
                    );
                }
                if swapped == bytes {
                    continue;
                }
                let other = disk.fork();
                other.set_bytes(name, swapped);
                let what = format!("{name}: sectors {first} and {}", first + step);
                told += u64::from(judge(&other, &state, &what) != Outcome::Harmless);
                cases += 1;
            }
        }
    }
    // A page of one segment at the same place of another: valid checksums, wrong life.
    let segments: Vec<&String> = names
        .iter()
        .filter(|name| name.starts_with("segment-"))
        .collect();
    let (from, to) = (
        disk.bytes(segments[0]).unwrap(),
        disk.bytes(segments[1]).unwrap(),
    );
    for page in 2..from.len() / 4096 {
        let range = page * 4096..(page + 1) * 4096;
        let mut copied = to.clone();
        copied[range.clone()].copy_from_slice(&from[range]);
        if copied == to {
            continue;
        }
        let other = disk.fork();
        other.set_bytes(segments[1], copied);
        told +=
            u64::from(judge(&other, &state, &format!("page {page} copied")) != Outcome::Harmless);
    }
    assert!(told > 20 && cases > 100, "{told} told of {cases}");
}

fn live_or_control(disk: &ModelDisk, name: &str) -> bool {
    !name.starts_with("segment-") || live(disk, name)
}

/// W6, S16: a recycled file full of valid old frames and of payloads that are whole valid-looking rounds.
#[test]
fn w6_s16_hostile_old_content_is_never_read() {
    for seed in 0..if slow() { 200 } else { 20 } {
        let disk = ModelDisk::new(seed);
        let (mut log, _) = open(&disk).unwrap();
        let mut state = Reference::default();
        let mut write = |log: &mut Log, records: Vec<Record>| {
            state.apply_all(&records);
            log.write(records).unwrap();
            run_jobs(log).unwrap();
        };
        write(&mut log, vec![base(1, 0, 0), base(2, 0, 0)]);
        let mut recycled = false;
        for index in 1..=60 {
            // A payload that begins, on a page boundary, with what lies in a segment right now: whole rounds.
            let name = files(&disk)
                .into_iter()
                .find(|name| name.starts_with("segment-") && live(&disk, name))
                .unwrap();
            let image = disk.bytes(&name).unwrap();
            let mut hostile = entry(1, index, 1, raft::types::EntryKind::Records, 12_000);
            let mut payload = hostile.payload.to_vec();
            let start = 4096 - (72 + 24 + 64);
            payload[start..start + 8_000].copy_from_slice(&image[8192..16_192]);
            hostile.payload = payload.into();
            let group = GroupId(1);
            let (replica, entries) = (R1, vec![hostile]);
            write(
                &mut log,
                vec![Record::Entries {
                    group,
                    replica,
                    entries,
                }],
            );
            write(&mut log, vec![base(1, index, 1)]);
            recycled |= log.stats().segments_spare > 4 && index > 20;
        }
        assert!(recycled, "segments were used again");
        drop(log);
        disk.crash(seed);
        let (log, recovery) = open(&disk).unwrap();
        assert!(recovery.damages.is_empty(), "{:?}", recovery.damages);
        assert_eq!(
            state.difference(&recovery, &log.reader()),
            None,
            "seed {seed}"
        );
    }
}
