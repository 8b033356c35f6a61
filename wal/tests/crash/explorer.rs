//! W1 and W2: the power goes at every call, every fate of the unsynced sectors, and the log that comes back is the
//! acknowledged prefix plus at most the write that was under way.

use crate::reference::*;
use std::sync::Arc;
use wal::model::{Fault, ModelDisk, SectorFate};
use wal::{Config, Record};

/// A history with rolls, truncations, trims, checkpoints and a recycled segment. Each item is one write.
pub fn history() -> Vec<Vec<Record>> {
    let mut writes = vec![vec![base(1, 0, 0), base(2, 0, 0), hard_state(1, 1, 1)]];
    let mut index = 1;
    for round in 0..14 {
        writes.push(vec![
            entries(1, index, 2, 1 + round / 5, 3_000),
            hard_state(2, round + 1, 2),
        ]);
        index += 2;
        if round == 3 {
            writes.push(vec![entries(2, 1, 3, 1, 500)]);
        }
        if round % 5 == 4 {
            writes.push(vec![
                truncate(1, index - 2),
                entries(1, index - 2, 1, 2 + round / 5, 100),
            ]);
            index -= 1;
        }
        if round == 8 {
            writes.push(vec![base(1, index - 4, 2)]);
        }
    }
    writes
}

/// What the log may hold after a crash: the state after each number of writes.
pub struct Run {
    pub states: Vec<Reference>,
    pub acknowledged: usize,
    pub attempted: usize,
}

/// Runs the history until the power goes at the given call (or to its end).
fn run(disk: &Arc<ModelDisk>, cut_at: u64) -> Run {
    let mut states = vec![Reference::default()];
    let writes = history();
    for records in &writes {
        let mut next = states.last().unwrap().clone();
        next.apply_all(records);
        states.push(next);
    }
    disk.fail_at(cut_at, Fault::PowerCut);
    let (mut acknowledged, mut attempted) = (0, 0);
    if let Ok((mut log, _)) = open(disk) {
        for records in writes {
            attempted += 1;
            log.zero_ahead();
            if log.write(records).is_err() {
                break;
            }
            acknowledged += 1;
            let due = acknowledged % 3 == 0;
            if due && (run_some_jobs(&mut log, 8).is_err() || log.idle().is_err()) {
                break;
            }
        }
    }
    Run {
        states,
        acknowledged,
        attempted,
    }
}

/// Opens what a crash left, twice, and holds it against the oracle.
pub fn check(disk: &Arc<ModelDisk>, config: &Config, run: &Run, what: &str) {
    let (log, recovery) =
        open_with(disk, config.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        recovery.damages.is_empty(),
        "{what}: {:?}",
        recovery.damages
    );
    let reader = log.reader();
    let allowed = run.acknowledged..=run.attempted;
    let found = allowed
        .clone()
        .find(|count| run.states[*count].difference(&recovery, &reader).is_none())
        .unwrap_or_else(|| {
            let why = run.states[run.acknowledged].difference(&recovery, &reader);
            panic!("{what}: neither of {allowed:?} writes: {why:?}")
        });
    drop(log);
    // Idempotent, and a second power cut takes nothing back.
    disk.crash_with(|_, _| SectorFate::Old, true);
    let (log, again) =
        open_with(disk, config.clone()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    let why = run.states[found].difference(&again, &log.reader());
    assert_eq!(why, None, "{what}, again: {found} writes before");
    assert!(
        again.damages.is_empty(),
        "{what}, again: {:?}",
        again.damages
    );
}

#[test]
fn w1_w2_every_power_cut_keeps_what_was_acknowledged() {
    let whole = ModelDisk::new(3);
    let complete = run(&whole, u64::MAX);
    assert_eq!(
        complete.acknowledged, complete.attempted,
        "the history runs through"
    );
    assert!(
        whole.fork().dirty_sectors().is_empty(),
        "every call is followed by its sync"
    );
    let seeds = if slow() { 64 } else { 4 };
    let mut states = 0_u64;
    for cut in 1..=whole.calls() {
        let disk = ModelDisk::new(3);
        let run = run(&disk, cut);
        assert!(disk.injected() > 0, "the power went at call {cut}");
        for seed in 0..seeds {
            let crashed = disk.fork();
            crashed.crash(cut * 1_000 + seed);
            check(
                &crashed,
                &Config::tiny(),
                &run,
                &format!("cut at call {cut}, seed {seed}"),
            );
            states += 1;
        }
        for (names_lost, fate) in [(true, SectorFate::Old), (false, SectorFate::New)] {
            let crashed = disk.fork();
            crashed.crash_with(|_, _| fate, names_lost);
            check(
                &crashed,
                &Config::tiny(),
                &run,
                &format!("cut at call {cut}, all {fate:?}"),
            );
            states += 1;
        }
    }
    println!("{states} crash states, {} calls", whole.calls());
}

/// The last round's sectors, exhaustively: each old, new, zero or garbage on its own.
#[test]
fn w1_last_round_torn_in_every_way() {
    let disk = ModelDisk::new(5);
    let (mut log, _) = open(&disk).unwrap();
    let mut before = Reference::default();
    let first = vec![base(1, 0, 0), entries(1, 1, 3, 1, 200)];
    before.apply_all(&first);
    log.write(first).unwrap();
    let mut after = before.clone();
    let second = vec![entries(1, 4, 2, 1, 900), hard_state(1, 4, 2)];
    after.apply_all(&second);
    // The write happens, its sync does not.
    let nth = disk.calls_of(wal::model::Call::Sync) + 1;
    disk.fail_kind(wal::model::Call::Sync, nth, Fault::PowerCut);
    assert!(log.write(second).is_err());
    drop(log);
    let dirty = disk.dirty_sectors();
    assert_eq!(dirty.len(), 8, "one page of one round");
    let fates = [
        SectorFate::Old,
        SectorFate::New,
        SectorFate::Zero,
        SectorFate::Garbage,
    ];
    let (mut kept, mut torn) = (0, 0);
    let cases = if slow() { 1_usize << 16 } else { 1 << 10 };
    for case in 0..cases {
        // Fast: old and new in all combinations, and a sample of the rest.
        let digits = if slow() || case >= 256 {
            case * 61 % (1 << 16)
        } else {
            spread(case)
        };
        let crashed = disk.fork();
        crashed.crash_with(
            |_, sector| fates[digits >> (2 * (sector % 8)) & 3],
            case % 2 == 0,
        );
        let (log, recovery) = open(&crashed).unwrap();
        assert!(
            recovery.damages.is_empty(),
            "{case}: {:?}",
            recovery.damages
        );
        let reader = log.reader();
        if after.difference(&recovery, &reader).is_none() {
            kept += 1;
        } else {
            assert_eq!(before.difference(&recovery, &reader), None, "case {case}");
            torn += 1;
        }
    }
    assert!(
        kept > 0 && torn > 0,
        "both ends were met: {kept} kept, {torn} torn"
    );
}

/// Eight bits to eight pairs of bits: 0 is old, 1 is new.
fn spread(bits: usize) -> usize {
    (0..8).map(|bit| (bits >> bit & 1) << (2 * bit)).sum()
}

/// S3, S10: base, truncation and entries of one install are one step: a crash leaves all of it or nothing.
#[test]
fn s3_s10_install_over_a_diverging_log_is_atomic() {
    let prepare = |disk: &Arc<ModelDisk>| {
        let (mut log, _) = open(disk).unwrap();
        let mut state = Reference::default();
        let writes = vec![base(1, 0, 0), entries(1, 1, 9, 1, 300)];
        state.apply_all(&writes);
        log.write(writes).unwrap();
        (log, state)
    };
    let install = vec![
        base(1, 5, 2),
        truncate(1, 6),
        entries(1, 6, 2, 3, 3_000),
        hard_state(1, 3, 2),
    ];
    for seed in 0..200 {
        let disk = ModelDisk::new(seed);
        let (mut log, before) = prepare(&disk);
        let mut after = before.clone();
        after.apply_all(&install);
        let nth = disk.calls_of(wal::model::Call::Sync) + 1;
        disk.fail_kind(wal::model::Call::Sync, nth, Fault::PowerCut);
        assert!(log.write(install.clone()).is_err());
        drop(log);
        disk.crash(seed);
        let (log, recovery) = open(&disk).unwrap();
        let reader = log.reader();
        assert!(
            before.difference(&recovery, &reader).is_none()
                || after.difference(&recovery, &reader).is_none(),
            "seed {seed}: {:?}",
            after.difference(&recovery, &reader)
        );
    }
}

/// X14: what a restart reads does not grow with the log.
#[test]
fn x14_restart_reads_the_unsealed_part_only() {
    let mut read = Vec::new();
    for writes in [40, 400] {
        let disk = ModelDisk::new(8);
        let (mut log, _) = open(&disk).unwrap();
        let groups = 20;
        log.write((0..groups).map(|group| base(group, 0, 0)).collect())
            .unwrap();
        for write in 0..writes {
            let records = (0..groups)
                .map(|group| entries(group, write + 1, 1, 1, 200))
                .collect();
            log.write(records).unwrap();
            run_jobs(&mut log).unwrap();
        }
        drop(log);
        disk.crash(1);
        let (log, recovery) = open_with(&disk, Config::tiny()).unwrap();
        assert!(
            recovery
                .groups
                .iter()
                .all(|group| group.last_index.0 == writes)
        );
        assert!(log.stats().segments_sealed >= writes / 12);
        read.push(recovery.bytes_read);
    }
    let bound = 4 * Config::tiny().segment_bytes;
    assert!(
        read.iter().all(|bytes| *bytes <= bound),
        "{read:?} bytes read, at most {bound}"
    );
}
