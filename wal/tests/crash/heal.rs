//! Damaged entries are written again from copies: whatever bit it was, wherever the power goes, and never as anything
//! else than they were.

use crate::reference::*;
use crate::verify::{build, config, look};
use bytes::Bytes;
use raft::types::{Entry, GroupId, Index, Term};
use std::collections::BTreeSet;
use std::sync::Arc;
use wal::model::{Call, Fault, ModelDisk, SectorFate};
use wal::verify::Kind;
use wal::{Config, Disk, Error, Lacking, Log, ReadError};

/// Copies of what is lacking, as another replica would give them.
fn copies<'a>(state: &'a Reference, lacking: &'a Lacking) -> impl Iterator<Item = Entry> + 'a {
    let entries = &state.groups[&lacking.group.0].entries;
    let range = entries.range(lacking.first.0..=lacking.last.0);
    range.map(|(_, entry)| entry.clone())
}

/// Gives the log all that it lacks, until nothing is lacking. How many entries that were.
fn heal(log: &mut Log, state: &Reference) -> Result<u64, Error> {
    let healed = try_to_heal(log, state)?;
    Ok(healed.unwrap_or_else(|| panic!("it is not healed: {:?}", log.reader().survey())))
}

/// The same; None when something is lacking nevertheless.
fn try_to_heal(log: &mut Log, state: &Reference) -> Result<Option<u64>, Error> {
    let reader = log.reader();
    let before = log.stats().entries_healed;
    for _ in 0..4 {
        let lacking = reader.survey();
        if lacking.is_empty() {
            return Ok(Some(log.stats().entries_healed - before));
        }
        for lacking in lacking {
            let given = copies(state, &lacking).collect();
            let taken = log.donate(lacking.group, lacking.replica, given);
            assert_eq!(taken as u64, lacking.count(), "{lacking:?}");
        }
        assert!(log.healing());
        run_jobs(log)?;
        assert!(!log.healing());
    }
    Ok(None)
}

/// Reads every entry by itself, and as many as come at once: which ones are damaged. None is anything else than it was, and
/// none is passed over.
fn damaged(log: &Log, state: &Reference) -> BTreeSet<(u64, u64)> {
    let reader = log.reader();
    let mut damaged = BTreeSet::new();
    for (id, group) in &state.groups {
        for (index, entry) in &group.entries {
            let at = Index(*index);
            match reader.entries(GroupId(*id), group.replica, at, at, 1) {
                Ok(found) => assert_eq!(found, std::slice::from_ref(entry)),
                Err(ReadError::Corrupt { .. } | ReadError::Io { .. }) => {
                    damaged.insert((*id, *index));
                }
                Err(error) => panic!("group {id} {index}: {error}"),
            }
        }
        let last = Index(group.last());
        let mut next = group.base.index.next();
        while next <= last {
            let found = reader.entries(GroupId(*id), group.replica, next, last, 1 << 20);
            let Ok(found) = found else {
                damaged.insert((*id, next.0));
                next = next.next();
                continue;
            };
            for entry in found {
                assert_eq!(entry, group.entries[&next.0], "group {id} {next}");
                next = next.next();
            }
        }
    }
    damaged
}

/// The whole entries of a group that another log has, as a peer would be asked for them.
fn whole(log: &Log, lacking: &Lacking) -> Vec<Entry> {
    let range = (lacking.first, lacking.last);
    log.reader()
        .whole_entries(lacking.group, lacking.replica, range, 1 << 20)
}

/// Where the live copy of an entry's payload begins: the file and the byte.
fn find(disk: &ModelDisk, state: &Reference, group: u64, index: u64) -> (String, usize) {
    let payload = &state.groups[&group].entries[&index].payload;
    for name in disk.list().unwrap() {
        if !name.starts_with("segment-") {
            continue;
        }
        let bytes = disk.bytes(&name).unwrap();
        let windows = bytes.windows(payload.len());
        for (at, _) in windows.enumerate().filter(|(_, window)| window == payload) {
            let flipped = disk.fork();
            flipped.flip_bit(&name, (at + payload.len() / 2) * 8);
            let of = (Some(GroupId(group)), Some(Index(index)));
            let report = look(&flipped);
            let mut told = report.damages().map(|f| (f.group, f.index));
            if told.any(|told| told == of) {
                return (name, at);
            }
        }
    }
    panic!("no such payload is alive");
}

fn flip_entry(disk: &ModelDisk, state: &Reference, group: u64, index: u64) {
    let (name, at) = find(disk, state, group, index);
    let middle = state.groups[&group].entries[&index].payload.len() / 2;
    disk.flip_bit(&name, (at + middle) * 8);
}

/// D18, 6 of the figures: every bit of live entries, whichever it is, is healed; then the directory is as if it had never
/// been flipped.
#[test]
fn d18_every_flipped_bit_of_a_live_entry_is_healed_from_a_copy() {
    let (disk, state) = build();
    let (mut healed, mut closed, mut of_others) = (0, 0, 0);
    let names = disk.list().unwrap();
    for name in names.iter().filter(|name| name.starts_with("segment-")) {
        let bytes = disk.bytes(name).unwrap();
        let mut bit = 0;
        while bit < bytes.len() * 8 {
            let at = bit;
            bit += match (slow(), bytes[bit / 8]) {
                (true, 1..) => 1,
                (false, 1..) => 8 * 29 + 1,
                (_, 0) => 8,
            };
            if bytes[at / 8] == 0 && !at.is_multiple_of(8 * 61) {
                continue;
            }
            let flipped = disk.fork();
            flipped.flip_bit(name, at);
            let told = look(&flipped).findings;
            let entry = told
                .iter()
                .any(|f| f.kind == Kind::Damaged && f.index.is_some());
            if !entry {
                of_others += 1;
                continue;
            }
            let (mut log, recovery) = open_with(&flipped, config()).unwrap();
            if recovery.suspect || recovery.groups.iter().any(|group| group.faulty.is_some()) {
                closed += 1;
                continue;
            }
            let met = damaged(&log, &state);
            assert!(!met.is_empty() || log.reader().any_damage(), "{name} {at}");
            let count = heal(&mut log, &state).unwrap();
            assert!(count > 0, "{name}, bit {at}: {told:?}");
            assert_eq!(state.difference_read(&log.reader()), None, "{name} {at}");
            let damages = log.reader().damages();
            assert_eq!(damages.lacking, 0, "{name} {at}: {damages:?}");
            log.close().unwrap();
            let report = look(&flipped);
            assert!(report.is_sound(), "{name}, bit {at}: {:?}", report.findings);
            healed += 1;
        }
    }
    println!("healed {healed}, kept closed {closed}, not of live entries {of_others}");
    assert!(healed > 200, "{healed}");
}

/// The power goes at every call to the disk of a heal, from the first read to the clean stop. What comes back has every
/// entry as it was, or says that it is damaged; nothing is shorter, and it is healed then.
#[test]
fn every_call_of_a_heal() {
    let (disk, state) = build();
    let victims = [(1, 2), (1, 3), (2, 4)];
    for (group, index) in victims {
        flip_entry(&disk, &state, group, index);
    }
    let run = |disk: &Arc<ModelDisk>| -> Result<Option<u64>, Error> {
        let (mut log, _) = open_with(disk, config())?;
        damaged(&log, &state);
        // What cannot be read because the power has gone is not healed.
        let Some(healed) = try_to_heal(&mut log, &state)? else {
            return Ok(None);
        };
        disk.set_elapsed(disk.elapsed() + config().dead_interval);
        run_jobs(&mut log)?;
        log.close()?;
        Ok(Some(healed))
    };
    let complete = disk.fork();
    assert_eq!(run(&complete).unwrap(), Some(3));
    let calls = disk.calls() + 1..=complete.calls();
    assert!(look(&complete).is_sound());
    assert!(complete.calls_of(Call::Remove) > disk.calls_of(Call::Remove));
    let mut partly = 0;
    for cut in calls.clone() {
        let victim = disk.fork();
        victim.fail_at(cut, Fault::PowerCut);
        let ended = run(&victim);
        assert!(victim.is_cut(), "the power went at call {cut}: {ended:?}");
        let mut fates: Vec<(String, Arc<ModelDisk>)> = Vec::new();
        for (names_lost, fate) in [(true, SectorFate::Old), (false, SectorFate::New)] {
            let crashed = victim.fork();
            crashed.crash_with(|_, _| fate, names_lost);
            fates.push((format!("call {cut}, all {fate:?}"), crashed));
        }
        for seed in 0..3 {
            let crashed = victim.fork();
            crashed.crash(cut * 1_000 + seed);
            fates.push((format!("call {cut}, seed {seed}"), crashed));
        }
        for (what, crashed) in fates {
            let (mut log, recovery) = open_with(&crashed, config()).unwrap();
            assert!(!recovery.suspect, "{what}");
            for group in &recovery.groups {
                let last = state.groups[&group.group.0].last();
                assert_eq!((group.last_index.0, group.faulty), (last, None), "{what}");
            }
            let met = damaged(&log, &state);
            assert!(
                met.iter().all(|met| victims.contains(met)),
                "{what} {met:?}"
            );
            partly += u64::from(met.is_empty());
            heal(&mut log, &state).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(state.difference_read(&log.reader()), None, "{what}");
            log.close().unwrap();
            let report = look(&crashed);
            assert!(report.is_sound(), "{what}: {:?}", report.findings);
        }
    }
    let points = calls.count();
    println!("{points} points, after {partly} crashes everything was healed");
    assert!(points > 20 && partly > 20, "{points} {partly}");
}

/// D15: three replicas, each with other entries damaged, some in the same run: each entry is whole somewhere, and that is
/// enough for all three.
#[test]
fn d15_replicas_damaged_in_different_places_heal_each_other() {
    let disk = ModelDisk::new(8);
    let mut state = Reference::default();
    let (mut log, _) = open_with(&disk, Config::tiny()).unwrap();
    let mut records = vec![base(1, 0, 0)];
    records.push(entries(1, 1, 60, 1, 700));
    for record in records {
        state.apply(&record);
        log.write(vec![record]).unwrap();
    }
    run_jobs(&mut log).unwrap();
    log.close().unwrap();
    // Every entry is damaged on two of three.
    let disks: Vec<_> = (0..3).map(|_| disk.fork()).collect();
    for index in 1..=60 {
        for (at, disk) in (0..3).zip(&disks) {
            if index % 3 != at {
                flip_entry(disk, &state, 1, index);
            }
        }
    }
    let open = |disk| open_with(disk, Config::tiny()).unwrap().0;
    let mut logs: Vec<Log> = disks.iter().map(open).collect();
    for log in &logs {
        assert_eq!(damaged(log, &state).len(), 40);
    }
    for at in 0..3 {
        for lacking in logs[at].reader().survey() {
            let others = logs.iter().enumerate().filter(|(other, _)| *other != at);
            let given: Vec<Entry> = others.flat_map(|(_, log)| whole(log, &lacking)).collect();
            logs[at].donate(lacking.group, lacking.replica, given);
        }
        run_jobs(&mut logs[at]).unwrap();
        let log = &logs[at];
        assert_eq!(log.reader().survey(), [], "replica {at}");
        assert_eq!(state.difference_read(&log.reader()), None, "replica {at}");
        assert_eq!(log.stats().entries_healed, 40);
    }
}

/// What nobody has a copy of stays where it is, and everything around it is read as before; later it is healed, too.
#[test]
fn what_nobody_has_stays_and_is_healed_when_somebody_has_it() {
    let (disk, state) = build();
    for index in [1, 3] {
        flip_entry(&disk, &state, 1, index);
    }
    let (mut log, _) = open_with(&disk, config()).unwrap();
    assert_eq!(damaged(&log, &state), [(1, 1), (1, 3)].into());
    let lacking = log.reader().survey();
    assert_eq!(lacking.iter().map(Lacking::count).sum::<u64>(), 2);
    let first: Vec<Entry> = copies(&state, &lacking[0]).collect();
    assert_eq!(log.donate(GroupId(1), R1, first), 1);
    run_jobs(&mut log).unwrap();
    assert_eq!(damaged(&log, &state), [(1, 3)].into());
    let damages = log.reader().damages();
    assert_eq!((damages.found, log.stats().entries_healed), (2, 1));
    assert_eq!((damages.lacking, damages.segments), (1, 1));
    // Asked for it again, this log gives what is whole around it.
    let asked = Lacking {
        last: Index(4),
        ..lacking[0].clone()
    };
    let given: Vec<u64> = whole(&log, &asked).iter().map(|e| e.index.0).collect();
    assert_eq!(given, [1, 2, 4]);
    log.close().unwrap();
    let (mut log, recovery) = open_with(&disk, config()).unwrap();
    assert!(recovery.groups.iter().all(|group| group.faulty.is_none()));
    assert_eq!(damaged(&log, &state), [(1, 3)].into());
    assert_eq!(heal(&mut log, &state).unwrap(), 1);
    log.close().unwrap();
    assert!(look(&disk).is_sound());
}

/// What is no copy is not taken: another term, another payload, an entry that is whole here or not there at all.
#[test]
fn only_a_copy_takes_the_place_of_a_damaged_entry() {
    let (disk, state) = build();
    flip_entry(&disk, &state, 1, 3);
    let (mut log, _) = open_with(&disk, config()).unwrap();
    assert_eq!(damaged(&log, &state), [(1, 3)].into());
    assert_eq!(log.reader().survey().len(), 1);
    let entry = state.groups[&1].entries[&3].clone();
    let other_term = Entry {
        term: Term(7),
        ..entry.clone()
    };
    let there = state.groups[&1].entries[&4].clone();
    let beyond = Entry {
        index: Index(99),
        ..entry.clone()
    };
    let other_offsets = Entry {
        payload: batch(1_000_000, 1, 5, 200),
        ..entry.clone()
    };
    for wrong in [other_term, there, beyond, other_offsets] {
        assert_eq!(
            log.donate(GroupId(1), R1, vec![wrong.clone()]),
            0,
            "{wrong:?}"
        );
    }
    // Its header is whole: another payload of the same length is seen when it would be written.
    let mut payload = entry.payload.to_vec();
    *payload.last_mut().unwrap() ^= 1;
    let other_payload = Entry {
        payload: Bytes::from(payload),
        ..entry
    };
    assert_eq!(log.donate(GroupId(1), R1, vec![other_payload]), 1);
    run_jobs(&mut log).unwrap();
    assert_eq!(damaged(&log, &state), [(1, 3)].into());
    assert_eq!(log.stats().entries_healed, 0);
    assert_eq!(heal(&mut log, &state).unwrap(), 1);
    assert_eq!(damaged(&log, &state), [].into());
}

/// Entries that are truncated, trimmed or written anew while their segment is taken apart are not brought back.
#[test]
fn x3_what_died_while_it_was_healed_stays_dead() {
    let (disk, mut state) = build();
    for index in [1, 2, 11] {
        flip_entry(&disk, &state, 1, index);
    }
    let (mut log, _) = open_with(&disk, config()).unwrap();
    assert_eq!(damaged(&log, &state).len(), 3);
    for lacking in log.reader().survey() {
        let given = copies(&state, &lacking).collect();
        log.donate(lacking.group, lacking.replica, given);
    }
    let changes = [base(1, 1, 1), truncate(1, 10), entries(1, 10, 2, 9, 300)];
    // Each job's work is done before the changes are written, and taken in behind them.
    let mut changes = changes.into_iter();
    for _ in 0..100 {
        let Some(job) = log.next_job().unwrap() else {
            break;
        };
        let done = job.run();
        if let Some(change) = changes.next() {
            state.apply(&change);
            log.write(vec![change]).unwrap();
        }
        log.finish(done).unwrap();
    }
    assert_eq!(changes.next(), None, "there were jobs enough");
    run_jobs(&mut log).unwrap();
    heal(&mut log, &state).unwrap();
    assert_eq!(state.difference_read(&log.reader()), None);
    log.close().unwrap();
    let (log, recovery) = open_with(&disk, config()).unwrap();
    assert_eq!(state.difference(&recovery, &log.reader()), None);
}

/// A sealed segment whose footer alone is damaged is written again from what it holds; a sector that cannot be read costs
/// what lies in it, and is healed like anything else. Neither file is used again.
#[test]
fn a_footer_and_a_bad_sector_are_left_behind() {
    let (disk, state) = build();
    let (name, at) = find(&disk, &state, 2, 4);
    for broken in [true, false] {
        let disk = disk.fork();
        if broken {
            disk.break_sector(&name, at as u64 / 512 * 512);
        } else {
            let bytes = disk.bytes(&name).unwrap();
            let footer = bytes.windows(8).rposition(|w| w == b"WlsrFoot").unwrap();
            disk.flip_bit(&name, (footer + 60) * 8);
        }
        let (mut log, _) = open_with(&disk, config()).unwrap();
        let met = damaged(&log, &state);
        assert_eq!(met.is_empty(), !broken, "{met:?}");
        assert!(log.reader().any_damage());
        heal(&mut log, &state).unwrap();
        run_jobs(&mut log).unwrap();
        log.close().unwrap();
        let (mut log, recovery) = open_with(&disk, config()).unwrap();
        run_jobs(&mut log).unwrap();
        assert_eq!(state.difference(&recovery, &log.reader()), None);
        assert!(!log.reader().any_damage());
        log.close().unwrap();
        assert!(look(&disk).is_sound());
    }
}
