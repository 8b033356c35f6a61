//! Reading what was written: from memory, and from the disk after everything has been forgotten.

use super::fill::{SIZE_BYTES, fill};
use super::meter::Meter;
use super::{PATIENCE, Scene, TrialRow, delete, topic};
use crate::error::{Error, Result};
use crate::generator::Ack;
use crate::kafka::{Cluster, Reader, Topic, prime, read_back};
use crate::probe;
use crate::report::{Millis, latencies, note};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 6;

impl Scene<'_> {
    /// The same bytes again and again, directly after they were written.
    pub(super) fn fetch_warm(&mut self) -> Result<TrialRow> {
        let (bytes, window) = (self.sizes.fetch_bytes, self.sizes.window);
        let stage = self.stage()?;
        let cluster = stage.cluster();
        let name = topic(&cluster, "fetch-warm", PARTITIONS)?.name;
        let topic = prime(&cluster, &name, PARTITIONS, PATIENCE)?;
        let meter = Meter::new(stage)?;
        let acked = fill(&topic, bytes)?;
        let read = read(&cluster, &name, &acked, Some(window))?;
        let mut row = TrialRow::new("fetch-warm", "one fetch");
        meter.finish(stage, &mut row)?;
        read.tell(&mut row, acked.len());
        row.read_back = Some(read_back(&cluster, &name, acked)?);
        row.judge();
        delete(&cluster, &name);
        Ok(row)
    }

    /// All bytes once, after a restart of all brokers; the system's page cache has forgotten them too.
    pub(super) fn fetch_cold(&mut self) -> Result<TrialRow> {
        let bytes = self.sizes.fetch_bytes;
        let stage = self.stage()?;
        let cluster = stage.cluster();
        let name = topic(&cluster, "fetch-cold", PARTITIONS)?.name;
        let topic = prime(&cluster, &name, PARTITIONS, PATIENCE)?;
        let mut meter = Meter::new(stage)?;
        let acked = fill(&topic, bytes)?;
        let ids = stage.ids();
        for id in &ids {
            meter.look_and_forget(stage, *id)?;
        }
        stage.stop(&ids)?;
        stage.drop_page_cache()?;
        stage.start_all()?;
        prime(&cluster, &name, PARTITIONS, PATIENCE)?;
        let device = || probe::bytes_read(&stage.probes());
        let before = device()?;
        let read = read(&cluster, &name, &acked, None)?;
        let from_device = device()? - before;
        let mut row = TrialRow::new("fetch-cold", "one fetch");
        meter.finish(stage, &mut row)?;
        read.tell(&mut row, acked.len());
        row.device_bytes_read = Some(from_device);
        if from_device * 2 < read.bytes {
            let why = "less than half of it came from a device: it was not cold";
            row.void.push(why.into());
        }
        row.read_back = Some(read_back(&cluster, &name, acked)?);
        row.judge();
        delete(&cluster, &name);
        Ok(row)
    }
}

/// What was fetched.
struct Read {
    took: Histogram<u64>,
    bytes: u64,
    elapsed: Duration,
}

impl Read {
    fn tell(&self, row: &mut TrialRow, acked: usize) {
        row.partitions = PARTITIONS;
        row.size_bytes = SIZE_BYTES;
        row.log_bytes = Some((acked * SIZE_BYTES) as u64);
        row.seconds = self.elapsed.as_secs_f64();
        row.count = self.took.len();
        row.took_ms = Some(Millis::new(&self.took));
        row.bytes_per_second = Some(self.bytes as f64 / row.seconds);
        row.per_second = row.bytes_per_second.map(|bytes| bytes / SIZE_BYTES as f64);
        row.acked = acked as u64;
    }
}

/// Reads up to the last of `acked` in each partition, one reader a leader; once, or again and again for so long. A leader
/// that moves meanwhile is followed.
fn read(cluster: &Cluster, name: &str, acked: &[Ack], again: Option<Duration>) -> Result<Read> {
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for ack in acked {
        let known = last.entry(ack.partition).or_default();
        *known = ack.offset.max(*known);
    }
    let began = Instant::now();
    let mut read = Read {
        took: latencies(),
        bytes: 0,
        elapsed: Duration::ZERO,
    };
    let is_over = || began.elapsed() >= again.unwrap_or(PATIENCE);
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    loop {
        let topic = cluster.topic(name)?;
        for (took, bytes, come_to) in pass(&topic, &last, &next, &is_over)? {
            read.took.add(took).expect("the same bounds");
            read.bytes += bytes;
            next.extend(come_to);
        }
        read.elapsed = began.elapsed();
        let is_done = last
            .iter()
            .all(|(partition, last)| next.get(partition) > Some(last));
        match (is_done, is_over(), again) {
            (true, _, None) | (_, true, Some(_)) => return Ok(read),
            (true, false, Some(_)) => next.clear(),
            (false, false, _) => {}
            (false, true, None) => {
                return Err(Error::Cluster(format!("{name}: not read in {PATIENCE:?}")));
            }
        }
    }
}

/// What one reader took, in how many bytes, and where it came to.
type Passed = (Histogram<u64>, u64, BTreeMap<i32, i64>);

/// All leaders at once, each until it is read or refuses a partition.
fn pass(
    topic: &Topic,
    last: &BTreeMap<i32, i64>,
    next: &BTreeMap<i32, i64>,
    is_over: &(impl Fn() -> bool + Sync),
) -> Result<Vec<Passed>> {
    let is_done = |partition, next| last.get(&partition).is_none_or(|last| next > *last);
    let one = |leader: &str, partitions: &[i32]| -> Result<Passed> {
        let at = |partition: &i32| (*partition, next.get(partition).copied().unwrap_or(0));
        let mut reader = Reader::connect(leader, &topic.name, partitions.iter().map(at).collect())?;
        let (mut took, mut bytes) = (latencies(), 0);
        while !reader.is_done(is_done) && !reader.is_refused() && !is_over() {
            let asked = Instant::now();
            bytes += reader.read(is_done, |_| {})? as u64;
            note(&mut took, asked.elapsed());
        }
        Ok((took, bytes, reader.into_next()))
    };
    thread::scope(|scope| {
        let one = &one;
        let leaders = topic.by_leader.iter();
        let threads: Vec<_> = leaders
            .map(|(leader, partitions)| scope.spawn(move || one(leader, partitions)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            let ended = thread.join();
            ended.map_err(|_| Error::Cluster("a reader panicked".into()))?
        });
        joined.collect()
    })
}
