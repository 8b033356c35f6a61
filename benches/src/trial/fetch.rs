//! Reading what was written: from memory, and from the disk after everything has been forgotten.

use super::fill::{SIZE_BYTES, fill};
use super::meter::Meter;
use super::{PATIENCE, Scene, TrialRow, delete, topic};
use crate::error::{Error, Result};
use crate::generator::Ack;
use crate::kafka::{Reader, Topic, prime, read_back};
use crate::probe;
use crate::report::{Millis, latencies};
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
        let read = read(&topic, &acked, Some(window))?;
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
        let topic = prime(&cluster, &name, PARTITIONS, PATIENCE)?;
        let device = || probe::bytes_read(&stage.probes());
        let before = device()?;
        let read = read(&topic, &acked, None)?;
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

/// Reads up to the last of `acked` in each partition, one reader a leader; once, or again and again for so long.
fn read(topic: &Topic, acked: &[Ack], again: Option<Duration>) -> Result<Read> {
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for ack in acked {
        let known = last.entry(ack.partition).or_default();
        *known = ack.offset.max(*known);
    }
    let is_done = |partition, next| last.get(&partition).is_none_or(|last| next > *last);
    let began = Instant::now();
    let one = |leader: &str, partitions: &[i32]| -> Result<(Histogram<u64>, u64)> {
        let (mut took, mut bytes) = (latencies(), 0);
        loop {
            let from = partitions.iter().map(|partition| (*partition, 0)).collect();
            let mut reader = Reader::connect(leader, &topic.name, from)?;
            while !reader.is_done(is_done) && again.is_none_or(|time| began.elapsed() < time) {
                let asked = Instant::now();
                bytes += reader.read(is_done, |_| {})? as u64;
                let ns = asked.elapsed().as_nanos();
                took.saturating_record(u64::try_from(ns).unwrap_or(u64::MAX));
            }
            if again.is_none_or(|time| began.elapsed() >= time) {
                return Ok((took, bytes));
            }
        }
    };
    thread::scope(|scope| {
        let one = &one;
        let leaders = topic.by_leader.iter();
        let threads: Vec<_> = leaders
            .map(|(leader, partitions)| scope.spawn(move || one(leader, partitions)))
            .collect();
        let (mut took, mut bytes) = (latencies(), 0);
        for thread in threads {
            let ended = thread.join();
            let ended = ended.map_err(|_| Error::Cluster("a reader panicked".into()))??;
            took.add(ended.0).expect("the same bounds");
            bytes += ended.1;
        }
        Ok(Read {
            took,
            bytes,
            elapsed: began.elapsed(),
        })
    })
}
