//! Rounds against the raw disk: `cargo run --release -p wal --example measure DIRECTORY`.
//!
//! Prints the rate of 16 entries of 64 KiB a round and of one entry of 1 KiB a round, beside plain O_DIRECT writes of
//! the same sizes with one fdatasync each over a file that was written before.

use raft::types::{Base, DirectoryId, Entry, EntryKind, GroupId, Index, NodeId, ReplicaId, Term};
use std::error::Error;
use std::path::Path;
use std::time::Instant;
use wal::{Config, Identity, Log, PAGE_BYTES, Pages, RealDisk, Record};

const GROUPS: u64 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("which directory?")?;
    let directory = Path::new(&directory);
    for (entries, bytes, rounds) in [(16, 64 << 10, 600), (1, 1 << 10, 2_000)] {
        let raw = raw_rate(&directory.join("raw"), entries * bytes, rounds)?;
        let log = log_rate(&directory.join("log"), entries, bytes, rounds)?;
        println!("{entries} x {bytes} bytes a round: raw {raw}, log {log}");
    }
    Ok(())
}

fn describe(mut micros: Vec<u64>, round_bytes: usize) -> String {
    micros.sort_unstable();
    let total: u64 = micros.iter().sum();
    let rate = (micros.len() * round_bytes) as f64 / total.max(1) as f64;
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    format!("{rate:.0} MB/s, p50 {} us, p99 {} us", at(0.5), at(0.99))
}

fn raw_rate(path: &Path, bytes: usize, rounds: usize) -> Result<String, Box<dyn Error>> {
    let disk = RealDisk::open(path)?;
    let size = 256 << 20;
    let file = disk.create("raw", size).or_else(|_| disk.open("raw"))?;
    let zeros = Pages::zeroed(1 << 20);
    for at in 0..size >> 20 {
        file.write_at(at << 20, &zeros)?;
    }
    file.sync()?;
    let data = Pages::zeroed((bytes + 512).next_multiple_of(PAGE_BYTES));
    let mut micros = Vec::with_capacity(rounds);
    let mut position = 0;
    for _ in 0..rounds {
        if position + data.len() as u64 > size {
            position = 0;
        }
        let started = Instant::now();
        file.write_at(position, &data)?;
        file.sync()?;
        micros.push(u64::try_from(started.elapsed().as_micros())?);
        position += data.len() as u64;
    }
    disk.remove("raw")?;
    Ok(describe(micros, bytes))
}

fn log_rate(
    path: &Path,
    entries: usize,
    bytes: usize,
    rounds: usize,
) -> Result<String, Box<dyn Error>> {
    let disk = RealDisk::open(path)?;
    let config = Config {
        segment_bytes: 64 << 20,
        spares: 4,
        ..Config::default()
    };
    let identity = Identity {
        cluster: 1,
        node: NodeId(1),
        directory: DirectoryId(1),
    };
    let (mut log, recovery) = Log::open(disk, config, identity)?;
    let replica = ReplicaId(1);
    let mut last = vec![0; usize::try_from(GROUPS)?];
    if recovery.formatted {
        let base = |group| Record::Base {
            group: GroupId(group),
            replica,
            base: Base::default(),
        };
        log.write((0..GROUPS).map(base).collect())?;
    }
    for group in recovery.groups {
        last[usize::try_from(group.group.0)?] = group.last_index.0;
    }
    while let Some(job) = log.next_job()? {
        log.finish(job.run())?;
    }
    let payload = bytes::Bytes::from(vec![0x5a; bytes]);
    let mut micros = Vec::with_capacity(rounds);
    for round in 0..rounds * 2 {
        let mut records = Vec::with_capacity(entries);
        for at in 0..entries {
            let group = (round + at) % last.len();
            last[group] += 1;
            let entry = Entry {
                index: Index(last[group]),
                term: Term(1),
                kind: EntryKind::Command,
                payload: payload.clone(),
            };
            let group = GroupId(group as u64);
            records.push(Record::Entries {
                group,
                replica,
                entries: vec![entry],
            });
        }
        let started = Instant::now();
        log.write(records)?;
        // The first half fills every segment once: what counts is the log as it runs for ever after.
        if round >= rounds {
            micros.push(u64::try_from(started.elapsed().as_micros())?);
        }
        if round % 64 == 63 {
            trim(&mut log, replica, &last)?;
        }
        if let Some(job) = log.next_job()? {
            log.finish(job.run())?;
        }
    }
    let stats = log.stats();
    log.close()?;
    let per_round = stats.syncs_round as f64 / (rounds * 2) as f64;
    Ok(format!(
        "{} ({per_round:.2} syncs a round)",
        describe(micros, entries * bytes)
    ))
}

fn trim(log: &mut Log, replica: ReplicaId, last: &[u64]) -> Result<(), wal::Error> {
    let base = |(group, last): (u64, &u64)| Record::Base {
        group: GroupId(group),
        replica,
        base: Base {
            index: Index(last.saturating_sub(64)),
            term: Term(1),
            ..Base::default()
        },
    };
    let records: Vec<Record> = (0..)
        .zip(last)
        .filter(|(_, last)| **last > 64)
        .map(base)
        .collect();
    if !records.is_empty() {
        log.write(records)?;
    }
    Ok(())
}
