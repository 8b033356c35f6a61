//! From the instant at which a producer should have sent a record to the one at which a consumer has it, open loop.

use super::meter::Meter;
use super::{PATIENCE, Scene, TrialRow, delete, topic, until};
use crate::error::{Error, Result};
use crate::generator::{self, Load, scheduled};
use crate::kafka::{Reader, Topic, noise, prime, producers, read_back};
use crate::report::{Millis, latencies, note};
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 12;
const CONNECTIONS: usize = 6;
const SIZE_BYTES: usize = 1 << 10;
/// Time for every connection to stand before the first record is due.
const HEAD_START: Duration = Duration::from_millis(50);

impl Scene<'_> {
    /// One consumer a leader, that has read everything before.
    pub(super) fn end_to_end(&mut self) -> Result<TrialRow> {
        let (warm, measured, rate) = (self.sizes.warm, self.sizes.window, self.sizes.rate);
        let stage = self.stage()?;
        let cluster = stage.cluster();
        let name = topic(&cluster, "end-to-end", PARTITIONS)?.name;
        let topic = prime(&cluster, &name, PARTITIONS, PATIENCE)?;
        let meter = Meter::new(stage)?;
        let load = Load {
            inflight: 1,
            rate: Some(rate),
            requests: None,
            warm,
            measured,
        };
        let clients = producers(&topic, CONNECTIONS, -1, &noise(SIZE_BYTES))?;
        let consumers = Consumers {
            topic: &topic,
            rate,
            start: Instant::now() + HEAD_START,
            window: (warm, warm + measured),
            seen: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        let (outcome, took) = consumers.during(|| {
            let outcome = generator::run(&load, consumers.start, clients)?;
            let acked = outcome.acked.len() as u64;
            until("everything to be consumed", || {
                Ok(consumers.seen.load(Ordering::Relaxed) >= acked)
            })?;
            Ok(outcome)
        })?;
        let mut row = TrialRow::new("end-to-end", "intended instant to receipt");
        meter.finish(stage, &mut row)?;
        if outcome.errors_total() > 0 {
            row.void.push(format!("{:?}", outcome.errors));
        }
        let lag = Millis::new(&outcome.lag_ns).p99;
        if lag * 10.0 > Millis::new(&took).p99 {
            let why = "the generator's p99 lag is over a tenth of the p99";
            row.void.push(why.into());
        }
        row.partitions = PARTITIONS;
        row.size_bytes = SIZE_BYTES;
        row.offered_per_second = Some(rate);
        row.seconds = measured.as_secs_f64();
        row.count = took.len();
        row.took_ms = Some(Millis::new(&took));
        row.generator_lag_p99_ms = Some(lag);
        row.per_second = Some(outcome.acks_per_second());
        row.bytes_per_second = Some(outcome.acks_per_second() * SIZE_BYTES as f64);
        row.acked = outcome.acked.len() as u64;
        row.read_back = Some(read_back(&cluster, &name, outcome.acked)?);
        row.judge();
        delete(&cluster, &name);
        Ok(row)
    }
}

struct Consumers<'a> {
    topic: &'a Topic,
    rate: f64,
    start: Instant,
    /// Since the start: what was intended then is counted.
    window: (Duration, Duration),
    /// Records of the schedule that somebody has.
    seen: AtomicU64,
    stop: AtomicBool,
}

impl Consumers<'_> {
    /// Consumes while `produce` runs; its result, and how long each record took.
    fn during<T>(&self, produce: impl FnOnce() -> Result<T>) -> Result<(T, Histogram<u64>)> {
        thread::scope(|scope| {
            let consume = |(leader, partitions): (&'_ String, &'_ Vec<i32>)| {
                let from = partitions.iter().map(|partition| (*partition, 0)).collect();
                let reader = Reader::connect(leader, &self.topic.name, from);
                scope.spawn(move || self.consume(reader?))
            };
            let threads: Vec<_> = self.topic.by_leader.iter().map(consume).collect();
            let produced = produce();
            self.stop.store(true, Ordering::Relaxed);
            let mut all = latencies();
            for thread in threads {
                let took = thread.join();
                let took = took.map_err(|_| Error::Cluster("a consumer panicked".into()))??;
                all.add(took).expect("the same bounds");
            }
            Ok((produced?, all))
        })
    }

    fn consume(&self, mut reader: Reader) -> Result<Histogram<u64>> {
        let mut took = latencies();
        while !self.stop.load(Ordering::Relaxed) {
            let mut ids = Vec::new();
            reader.read(|_, _| false, |batch| ids.extend(batch.id))?;
            if reader.is_refused() {
                let name = &self.topic.name;
                return Err(Error::Cluster(format!("{name}: a leader moved meanwhile")));
            }
            let received = self.start.elapsed();
            let due = |id: u64| scheduled(id, CONNECTIONS, self.rate);
            for due in ids.into_iter().filter_map(due) {
                self.seen.fetch_add(1, Ordering::Relaxed);
                if due >= self.window.0 && due < self.window.1 {
                    note(&mut took, received.saturating_sub(due));
                }
            }
        }
        Ok(took)
    }
}
