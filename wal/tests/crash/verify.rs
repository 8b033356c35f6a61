//! Verify: every flipped bit is told, with its place and what it means, and nothing is told of a log that is whole.

use crate::reference::*;
use bytes::Bytes;
use protocol::record_batch::BatchBuilder;
use raft::types::{Entry, EntryKind, GroupId, Index, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wal::model::ModelDisk;
use wal::verify::{Finding, Kind, Report, verify};
use wal::{Config, Disk, Error, Log, PAGE_BYTES, RealDisk, Record};

pub fn look(disk: &ModelDisk) -> Report {
    verify(disk, None, |_, _| {}).unwrap()
}

/// A batch of two records.
fn records(offset: i64, bytes: usize) -> Bytes {
    let mut batch = BatchBuilder::new().base_offset(offset, 1);
    batch.value(1_000 + offset, &vec![0x61; bytes / 2]);
    batch.value(1_001 + offset, &vec![0x62; bytes - bytes / 2]);
    batch.build()
}

/// The entry of an index: two records each, so that index 1 begins with offset 0.
fn batches(group: u64, from: u64, count: u64, term: u64, bytes: usize) -> Record {
    let entry = |index: u64| Entry {
        index: Index(index),
        term: Term(term),
        kind: EntryKind::Records,
        payload: records((index.cast_signed() - 1) * 2, bytes),
    };
    Record::Entries {
        group: GroupId(group),
        replica: R1,
        entries: (from..from + count).map(entry).collect(),
    }
}

pub fn config() -> Config {
    Config {
        clean_slack_bytes: 0,
        ..Config::tiny()
    }
}

/// A small log with everything in it: sealed segments, one that the cleaner wrote, an open one, dead entries, a trim, a
/// truncation, a checkpoint chain. Each life but the last ends without a clean stop, so that segments are sealed early.
pub fn build() -> (Arc<ModelDisk>, Reference) {
    let disk = ModelDisk::new(31);
    let mut state = Reference::default();
    let lives: [&[Record]; 4] = [
        &[
            base(1, 0, 0),
            base(2, 0, 0),
            hard_state(1, 1, 1),
            batches(1, 1, 4, 1, 300),
            batches(2, 1, 3, 1, 2_000),
        ],
        &[
            batches(1, 5, 2, 1, 700),
            batches(2, 4, 2, 1, 1_000),
            truncate(2, 5),
            batches(2, 5, 1, 2, 900),
            hard_state(2, 3, 1),
        ],
        &[base(2, 3, 1), batches(1, 7, 3, 2, 100)],
        &[batches(1, 10, 1, 2, 50), batches(2, 6, 2, 3, 600)],
    ];
    let mut cleaned = 0;
    for life in lives {
        let (mut log, recovery) = open_with(&disk, config()).unwrap();
        assert!(recovery.damages.is_empty());
        for record in life {
            state.apply(record);
            log.write(vec![record.clone()]).unwrap();
        }
        log.idle().unwrap();
        run_jobs(&mut log).unwrap();
        cleaned += log.stats().segments_cleaned;
    }
    let (mut log, _) = open_with(&disk, config()).unwrap();
    run_jobs(&mut log).unwrap();
    let last = batches(1, 11, 1, 2, 200);
    state.apply(&last);
    log.write(vec![last]).unwrap();
    let stats = log.stats();
    assert!(cleaned + stats.segments_cleaned > 0 && stats.segments_sealed > 0);
    log.close().unwrap();
    (disk, state)
}

/// Whether a finding names this byte.
fn names(finding: &Finding, file: &str, byte: usize) -> bool {
    let range = finding.position..finding.position + finding.bytes;
    finding.file == file && range.contains(&(byte as u64))
}

/// Looks at a disk with one bit flipped. None when nothing is told; else the worst of what is told of this byte.
fn flipped(disk: &ModelDisk, file: &str, bit: usize) -> Option<Finding> {
    disk.flip_bit(file, bit);
    let report = look(disk);
    disk.flip_bit(file, bit);
    let byte = bit / 8;
    let worst = report.findings.iter().min_by_key(|finding| finding.kind)?;
    let named = report.findings.iter().find(|finding| {
        let same = finding.kind == worst.kind;
        same && names(finding, file, byte)
    });
    let named = named.unwrap_or_else(|| panic!("{file}, byte {byte}: {:?}", report.findings));
    let elsewhere = report.findings.iter().find(|finding| finding.file != file);
    assert_eq!(elsewhere, None, "{file}, byte {byte}");
    Some(named.clone())
}

/// What a broker would do with this disk: whether it sees everything as it was.
fn harmless(disk: &ModelDisk, state: &Reference) -> bool {
    match open_with(&disk.fork(), config()) {
        Ok((log, recovery)) => state.difference(&recovery, &log.reader()).is_none(),
        Err(_) => false,
    }
}

/// Counts over one file: bytes of which nothing is told, and flips by kind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    untold_bytes: u64,
    kinds: [u64; 4],
}

/// Flips every bit of every byte that is not zero, and one of some others; all of them in the slow mode.
fn flip_all(disk: &ModelDisk, state: &Reference, file: &str) -> Count {
    let bytes = disk.bytes(file).unwrap();
    let mut count = Count::default();
    for page in (0..bytes.len()).step_by(PAGE_BYTES) {
        let end = bytes.len().min(page + PAGE_BYTES);
        if is_uncovered(disk, file, page..end) {
            count.untold_bytes += (end - page) as u64;
            continue;
        }
        for (at, byte) in (page..).zip(&bytes[page..end]) {
            let bits = match byte {
                0 if !slow() && at % 11 != 0 => continue,
                0 if !slow() => at % 8..at % 8 + 1,
                _ => 0..8,
            };
            for bit in bits {
                let told = flipped(disk, file, at * 8 + bit);
                let told = told.unwrap_or_else(|| panic!("{file}, byte {at}, bit {bit}"));
                count.kinds[told.kind as usize] += 1;
            }
            if at % 509 == 0 {
                expect_true(disk, state, file, at);
            }
        }
    }
    count
}

/// Whether nothing is told although every byte of a range is another.
fn is_uncovered(disk: &ModelDisk, file: &str, range: std::ops::Range<usize>) -> bool {
    let flip = || {
        for at in range.clone() {
            disk.flip_bit(file, at * 8 + at % 8);
        }
    };
    flip();
    let untold = look(disk).findings.is_empty();
    flip();
    untold
}

/// What is said of a byte is what a broker meets: it is harmed by what is called damaged, and by nothing else.
fn expect_true(disk: &ModelDisk, state: &Reference, file: &str, at: usize) {
    let told = flipped(disk, file, at * 8).unwrap();
    disk.flip_bit(file, at * 8);
    let harmless = harmless(disk, state);
    disk.flip_bit(file, at * 8);
    assert_eq!(harmless, told.kind != Kind::Damaged, "byte {at}: {told:?}");
}

/// W3: every single bit, over a directory that has one of everything.
#[test]
fn w3_verify_names_every_flipped_bit_or_counts_it_as_uncovered() {
    let (disk, state) = build();
    let report = look(&disk);
    assert_eq!(report.findings, []);
    assert!(report.is_sound() && report.batches == report.entries && report.entries > 12);
    let covered = report.bytes - report.uncovered_bytes;
    assert!(covered > 64 << 10, "{covered} bytes");
    let names = disk.list().unwrap();
    let next = AtomicUsize::new(0);
    let work = || {
        let (disk, mut sum) = (disk.fork(), Count::default());
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let count = flip_all(&disk, &state, name);
            sum.untold_bytes += count.untold_bytes;
            for (sum, kind) in sum.kinds.iter_mut().zip(count.kinds) {
                *sum += kind;
            }
        }
        sum
    };
    let [one, other] = std::thread::scope(|scope| {
        [scope.spawn(work), scope.spawn(work)].map(|worker| worker.join().unwrap())
    });
    println!("{one:?} {other:?}");
    assert_eq!(
        one.untold_bytes + other.untold_bytes,
        report.uncovered_bytes
    );
    let of_kind = |kind| one.kinds[kind as usize] + other.kinds[kind as usize];
    assert!(of_kind(Kind::Damaged) > 30_000 && of_kind(Kind::Copy) > 10_000);
    assert!(of_kind(Kind::NotLive) > 5_000);
    assert_eq!(of_kind(Kind::Torn), 0, "nothing is torn after a clean stop");
}

/// A damaged entry is named: whose, which index, which offsets.
#[test]
fn a_damaged_entry_is_told_with_its_group_its_index_and_its_offsets() {
    let (disk, state) = build();
    let mut found = 0;
    for (id, group) in &state.groups {
        for (index, entry) in &group.entries {
            for (file, at) in places(&disk, &entry.payload) {
                // One byte of the records, one of the offset in front of them.
                for byte in [at + 70, at + 7] {
                    // What the cleaner has copied lies in its old place, too, until that is written again.
                    let told = flipped(&disk, &file, byte * 8 + 3);
                    let Some(told) = told.filter(|told| told.kind == Kind::Damaged) else {
                        continue;
                    };
                    let first = (index.cast_signed() - 1) * 2;
                    assert_eq!(told.group, Some(GroupId(*id)), "{told:?}");
                    assert_eq!(told.index, Some(Index(*index)), "{told:?}");
                    assert_eq!(told.replica, Some(group.replica), "{told:?}");
                    let (from, until) = told.offsets.unwrap();
                    assert!(from <= first && first + 2 <= until, "{told:?}");
                    // As near as its neighbours in the segment tell.
                    assert!(until - from <= 12, "{told:?}");
                    found += 1;
                }
            }
        }
    }
    assert_eq!(found, 2 * 15, "each live entry once, with both bytes");
}

/// Where in the files these bytes lie.
fn places(disk: &ModelDisk, wanted: &[u8]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for name in disk.list().unwrap() {
        let bytes = disk.bytes(&name).unwrap();
        let windows = bytes.windows(wanted.len());
        found.extend(
            windows
                .enumerate()
                .filter(|(_, window)| *window == wanted)
                .map(|(at, _)| (name.clone(), at)),
        );
    }
    found
}

/// A round that was being written when the power went is no damage, whatever of it has reached the disk, and neither is
/// anything else that a crash leaves behind.
#[test]
fn what_a_crash_leaves_behind_is_no_damage() {
    let mut torn = 0;
    for seed in 0..60 {
        let (disk, _) = build();
        let (mut log, _) = open_with(&disk, config()).unwrap();
        log.write(vec![batches(1, 12, 2, 2, 900)]).unwrap();
        // Out of the loop at any call, a write among them.
        disk.fail_at(disk.calls() + 1 + seed % 30, wal::model::Fault::PowerCut);
        for at in 0..20 {
            let last = vec![batches(1, 14 + at, 1, 2, 3_000)];
            if log.write(last).is_err() || run_jobs(&mut log).is_err() {
                break;
            }
        }
        drop(log);
        disk.heal();
        disk.crash(seed);
        let report = look(&disk);
        assert!(report.is_sound(), "seed {seed}: {:#?}", report.findings);
        torn += report
            .findings
            .iter()
            .filter(|finding| finding.kind == Kind::Torn)
            .count();
        let (_, recovery) = open_with(&disk, config()).unwrap();
        assert!(recovery.damages.is_empty());
    }
    assert!(torn > 0, "no write was torn");
}

/// A larger log: sampled.
#[test]
fn w3_verify_names_sampled_bits_of_a_larger_log() {
    let disk = ModelDisk::new(33);
    let (mut log, _) = open_with(&disk, Config::tiny()).unwrap();
    log.write(vec![base(1, 0, 0), base(2, 0, 0), base(3, 0, 0)])
        .unwrap();
    for at in 1..=400 {
        let write = [(1, 900), (2, 2_500), (3, 40)];
        log.write(
            write
                .map(|(group, size)| batches(group, at, 1, 1, size))
                .into(),
        )
        .unwrap();
        run_jobs(&mut log).unwrap();
    }
    log.close().unwrap();
    let report = look(&disk);
    assert_eq!(report.findings, []);
    assert!(report.batches == 1_200 && report.segments > 20);
    let seed = std::env::var("WALSER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let mut random = seed;
    let mut draw = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    let files: Vec<(String, usize)> = disk
        .list()
        .unwrap()
        .into_iter()
        .map(|name| (name.clone(), disk.bytes(&name).unwrap().len()))
        .collect();
    let (mut told, flips) = (0_u64, 600);
    for _ in 0..flips {
        let (name, length) = &files[draw(files.len())];
        told += u64::from(flipped(&disk, name, draw(*length * 8)).is_some());
    }
    // About as many as bytes are covered.
    let expected = flips * (report.bytes - report.uncovered_bytes) / report.bytes;
    assert!(
        told.abs_diff(expected) < flips / 5,
        "{told} told, {expected} expected"
    );
}

/// Files that are gone, cut short, or somebody else's.
#[test]
fn w4_verify_tells_of_every_missing_and_every_strange_file() {
    let (disk, _) = build();
    let uncovered = |name: &str| is_uncovered(&disk, name, 0..disk.bytes(name).unwrap().len());
    for name in disk.list().unwrap() {
        let lost = disk.fork();
        lost.lose(&name);
        let report = look(&lost);
        let told = report.findings.iter().any(|finding| finding.file == name);
        assert!(told || uncovered(&name), "{name} is missing: {report:#?}");
        let cut = disk.fork();
        cut.set_bytes(&name, disk.bytes(&name).unwrap()[..4096].to_vec());
        let told = look(&cut)
            .findings
            .iter()
            .any(|finding| finding.file == name);
        assert!(told || uncovered(&name), "{name} is cut short");
    }
    disk.create("segment-0000000x", 4096).unwrap();
    let report = look(&disk);
    assert_eq!(report.findings[0].file, "segment-0000000x");
    assert!(
        report.is_sound(),
        "what is no part of the log is no damage to it"
    );
}

/// Nothing is changed by looking, and nobody looks while a log is open.
#[test]
fn verify_changes_nothing_and_keeps_out_of_an_open_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let disk = RealDisk::open(path).unwrap();
    let (mut log, _) = Log::open(disk, Config::tiny(), identity()).unwrap();
    log.write(vec![base(1, 0, 0), batches(1, 1, 5, 1, 400)])
        .unwrap();
    let refused = RealDisk::open_to_read(path).err();
    assert!(matches!(refused, Some(Error::Locked { .. })), "{refused:?}");
    drop(log);
    let contents = || {
        let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap());
        let content = |file: std::fs::DirEntry| {
            let changed = file.metadata().unwrap().modified().unwrap();
            (
                file.file_name(),
                changed,
                std::fs::read(file.path()).unwrap(),
            )
        };
        let mut all: Vec<_> = files.map(content).collect();
        all.sort();
        all
    };
    let before = contents();
    let disk = RealDisk::open_to_read(path).unwrap();
    let other = RealDisk::open_to_read(path).unwrap();
    let mut seen = 0;
    let report = verify(&*disk, Some(GroupId(1)), |done, _| seen = done).unwrap();
    assert_eq!(
        report,
        verify(&*other, Some(GroupId(1)), |_, _| {}).unwrap()
    );
    assert!(report.is_sound() && report.batches == 5 && report.kept.len() == 5);
    assert!(disk.create("x", 4096).is_err() && disk.remove("meta").is_err());
    assert!(disk.rename("meta", "x").is_err());
    assert!(contents() == before, "something was changed");
    let busy = RealDisk::open(path).err();
    assert!(matches!(busy, Some(Error::Locked { .. })), "{busy:?}");
}
