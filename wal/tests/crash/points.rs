//! The power goes at every call to the disk of a trim that is given back, and of an install: what comes back is the
//! state before or after, everything in it can be read, and the log goes on.

use crate::explorer::{Run, check};
use crate::reference::*;
use std::sync::Arc;
use wal::model::{Call, Fault, ModelDisk, SectorFate};
use wal::{Config, Log, Record};

enum Step {
    Write(Vec<Record>),
    /// Nobody writes for long enough that everything is given back.
    Rest,
}

use Step::{Rest, Write};

fn config() -> Config {
    Config {
        clean_slack_bytes: 64 << 10,
        ..Config::tiny()
    }
}

/// Runs the steps until the power goes. Without it, the log.
fn run(disk: &Arc<ModelDisk>, steps: &[Step], cut: u64) -> (Run, Option<Log>) {
    let mut run = Run {
        states: vec![Reference::default()],
        acknowledged: 0,
        attempted: 0,
    };
    for step in steps {
        if let Write(records) = step {
            let mut next = run.states.last().unwrap().clone();
            next.apply_all(records);
            run.states.push(next);
        }
    }
    disk.fail_at(cut, Fault::PowerCut);
    let Ok((mut log, _)) = open_with(disk, config()) else {
        return (run, None);
    };
    for step in steps {
        let done = match step {
            Rest => rest(&mut log, disk).map(drop),
            Write(records) => {
                run.attempted += 1;
                let written = log.write(records.clone()).map(|_| ());
                run.acknowledged += usize::from(written.is_ok());
                written
            }
        };
        if done.is_err() {
            return (run, None);
        }
    }
    (run, Some(log))
}

/// Cuts at every call from the first one after `from` steps; how many these were, and the log of the run without a cut.
fn explore(steps: &[Step], from: usize) -> (u64, Log, Arc<ModelDisk>) {
    let before = ModelDisk::new(9);
    assert!(run(&before, &steps[..from], u64::MAX).1.is_some());
    let whole = ModelDisk::new(9);
    let (complete, log) = run(&whole, steps, u64::MAX);
    assert_eq!(complete.acknowledged, complete.states.len() - 1);
    let calls = before.calls() + 1..=whole.calls();
    for cut in calls.clone() {
        let disk = ModelDisk::new(9);
        let (run, log) = run(&disk, steps, cut);
        // A spare that cannot be removed is no failure of the log.
        assert!(disk.is_cut(), "the power went at call {cut}");
        drop(log);
        let what = format!("cut at call {cut}");
        let fates = [(true, SectorFate::Old), (false, SectorFate::New)];
        for (names_lost, fate) in fates {
            let crashed = disk.fork();
            crashed.crash_with(|_, _| fate, names_lost);
            check(&crashed, &config(), &run, &format!("{what}, all {fate:?}"));
        }
        for seed in 0..3 {
            let crashed = disk.fork();
            crashed.crash(cut * 1_000 + seed);
            check(&crashed, &config(), &run, &format!("{what}, seed {seed}"));
            goes_on(&crashed, &what);
        }
    }
    let log = log.expect("nothing failed");
    (calls.count() as u64, log, whole)
}

/// After a crash it is cleaned up as if there had been none, and takes more.
fn goes_on(disk: &Arc<ModelDisk>, what: &str) {
    let (mut log, recovery) = open_with(disk, config()).unwrap();
    let mut state = Reference::default();
    for group in &recovery.groups {
        let (first, last) = (group.base.index.0 + 1, group.last_index.0);
        let all = read_all(&log.reader(), group.group, group.replica, first - 1, last);
        let found = RefGroup {
            replica: group.replica,
            base: group.base.clone(),
            hard_state: group.hard_state,
            entries: all.unwrap().into_iter().map(|e| (e.index.0, e)).collect(),
            derived: group.derived.clone(),
        };
        state.groups.insert(group.group.0, found);
    }
    if let Some(group) = state.groups.get(&1) {
        let records = vec![entries(1, group.last() + 1, 1, 9, 2_000)];
        state.apply_all(&records);
        log.write(records).unwrap();
    }
    rest(&mut log, disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(state.difference_read(&log.reader()), None, "{what}");
    let stats = log.stats();
    // Those that are never lent, those ahead, and the next one if it is named already.
    let spares = 4 + config().spares as u64;
    let kept = spares..=spares + 1;
    assert!(kept.contains(&stats.segments_spare), "{what}: {stats:?}");
}

/// Two groups, one of which fills segments, with so many entries each.
fn filled(count: u64) -> Vec<Step> {
    let both = |at| vec![entries(1, at, 1, 1, 12_000), entries(2, at, 1, 1, 400)];
    let begin = Write(vec![base(1, 0, 0), base(2, 0, 0)]);
    let writes = (1..=count).map(|at| Write(both(at)));
    std::iter::once(begin).chain(writes).collect()
}

/// The group that fills them is trimmed, and the log rests: the cleaner puts together what is left, dead segments are
/// freed, surplus files are removed.
#[test]
fn every_call_of_a_trim_and_of_giving_back_the_disk() {
    let mut steps = filled(56);
    let from = steps.len();
    steps.push(Write(vec![base(1, 50, 1)]));
    steps.push(Rest);
    let (points, log, disk) = explore(&steps, from);
    let stats = log.stats();
    assert!(stats.segments_cleaned >= 4, "{stats:?}");
    assert!(stats.segments_recycled >= 8, "{stats:?}");
    assert!(disk.calls_of(Call::Remove) >= 4, "files were given back");
    assert!(points > 60, "{points} points");
}

/// A follower takes another log for its own, over segments that it has filled: base, truncation, entries, vote at once.
#[test]
fn every_call_of_an_install() {
    let mut steps = filled(16);
    let from = steps.len();
    steps.push(Write(vec![
        base(1, 20, 3),
        truncate(1, 21),
        entries(1, 21, 4, 3, 3_000),
        hard_state(1, 4, 2),
    ]));
    steps.push(Write(vec![
        base(2, 9, 1),
        truncate(2, 12),
        entries(2, 12, 2, 4, 6_000),
    ]));
    steps.push(Rest);
    let (points, log, _) = explore(&steps, from);
    assert!(log.stats().segments_recycled >= 3, "{:?}", log.stats());
    assert!(points > 30, "{points} points");
}
