//! A topic goes into the snapshot store, its brokers drop it from their logs, and it is read back from the store: two rows.
//!
//! The reference case, made small: many records of 100 kB that compress as text does, and segments of a hundredth of it
//! all, as 256 MiB are of 24 GB. Each record has the same text; it is longer than gzip looks back.

use super::consume::consume;
use super::failover::{PARTITIONS, until_all_flow};
use super::fill::fill_with;
use super::meter::Meter;
use super::replicas::{Replica, replicas};
use super::store_figures::StoreFigures;
use super::{PATIENCE, REPLICAS, Scene, TrialRow, gzip, topic, until, until_within};
use crate::error::{Doing, Error, Result};
use crate::generator::Ack;
use crate::kafka::{Cluster, prime, read_back, text};
use crate::probe::{self, Sample};
use crate::report::{Millis, latencies, note};
use crate::stage::{Stage, StageOptions, drop_cached};
use crate::steady::{self, PATIENT, Plan, Sent, Steady};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const SIZE_BYTES: usize = 100_000;
/// Records per second and partition of those who must not notice.
const BESIDE_RATE: f64 = 100.0;
const BESIDE_BYTES: usize = 1 << 10;
/// Fewer are no quantile of 99 %.
const SAMPLES_MIN: u64 = 100;
/// Between two looks at what is in the store. Each costs the brokers a little, which counts as the snapshot's.
const LOOK: Duration = Duration::from_millis(100);
const STORED_MAX: Duration = Duration::from_secs(600);
/// How long brokers may take to drop what they may; logs that have not changed for `SETTLED` have.
const DROPPED_MAX: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_secs(1);
/// The least that a broker takes for a segment.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

const TAKEN_HOW: &str = "MB/s: payload from the order to the last partition's commit, \
     leaders at once, the partitions of one in turn; nothing is dropped from a log before the last \
     one is there; a core: through the CPU seconds of all brokers \
     (known to 10 ms each), less their share in the quiet window; gzip alone: flate2 at level 1, members \
     of 1 MiB of the same batches, by its thread's own time, mean of before and after; store: raw bytes \
     put into chunks; drop: from the order to keep little in the logs, which brokers see within a second, \
     until they have not changed for a second; its p99 without that second, its CPU seconds less the \
     quiet share and with some 30 looks a second; live: bytes of the topic in all replicas' logs (/status); disk: all data \
     directories, spare segments included, before the order and after the read";
const READ_HOW: &str = "MB/s: batches below every leader's local start, one consumer a partition, \
     the page cache without the store; a core: through the CPU seconds of all brokers (known to 10 ms \
     each); store: bytes got from the store, compressed";

impl Scene<'_> {
    /// In a cluster of its own, that has a store.
    pub(super) fn snapshot(&mut self) -> Result<Vec<TrialRow>> {
        let shown = self.options.folder.display();
        let store = tempfile::Builder::new()
            .prefix("walser-bench-store-")
            .tempdir_in(&self.options.folder)
            .doing(|| format!("make a store in {shown}"))?;
        let place = store.path().canonicalize();
        let place = place.doing(|| format!("find the store in {shown}"))?;
        let bytes = self.sizes.snapshot_bytes;
        let stage = Stage::start(&options(self.options, &place, bytes))?;
        let mut held = Held::fill(stage, bytes)?;
        let (mut taken, beside) = held.take(self.sizes.window)?;
        let mut read = held.consume(&place)?;
        held.finish(beside, &mut taken, &mut read)?;
        Ok(vec![taken, read])
    }
}

/// Only an order takes a snapshot here.
fn options(options: &StageOptions, store: &Path, bytes: u64) -> StageOptions {
    let segment = (bytes / 100).next_power_of_two().max(SEGMENT_BYTES_MIN);
    let entry = segment / 4;
    let mut own = options.clone();
    own.config.extend([
        format!("segment.size = {segment}"),
        format!("entry.max = {entry}"),
        format!("message.max.bytes = {entry}"),
        format!("spares.size = {}", 4 * segment),
        format!("snapshot.store = {:?}", store.display().to_string()),
        "snapshot.max.lag = \"1h\"".into(),
        "retention.check.interval = \"1s\"".into(),
        "snapshot.size = \"16GiB\"".into(),
    ]);
    own
}

/// A topic that is to go into the store, in a cluster of its own.
struct Held {
    stage: Stage,
    cluster: Cluster,
    name: String,
    payload: Vec<u8>,
    acked: Vec<Ack>,
    meter: Meter,
    live_bytes: u64,
    disk_bytes: u64,
}

impl Held {
    fn fill(stage: Stage, bytes: u64) -> Result<Self> {
        let cluster = stage.cluster();
        let name = format!("bench-snapshot-{}", std::process::id());
        cluster.create_topic(&name, PARTITIONS, REPLICAS)?;
        let topic = prime(&cluster, &name, PARTITIONS, PATIENCE)?;
        let meter = Meter::new(&stage)?;
        let payload = text(SIZE_BYTES);
        let acked = fill_with(&topic, &payload, bytes)?;
        let payload_bytes = (acked.len() * SIZE_BYTES) as u64;
        let wanted = payload_bytes * u64::from(REPLICAS.unsigned_abs());
        let mut held_bytes = 0;
        until_within(
            PATIENCE,
            LOOK,
            "all of it in the log of each replica",
            || {
                held_bytes = live_bytes(&replicas(&stage, &name)?);
                Ok(held_bytes >= wanted)
            },
        )?;
        let disk_bytes = stage.disk_bytes()?;
        Ok(Self {
            stage,
            cluster,
            name,
            payload,
            acked,
            meter,
            live_bytes: held_bytes,
            disk_bytes,
        })
    }

    fn payload_bytes(&self) -> u64 {
        (self.acked.len() * SIZE_BYTES) as u64
    }

    /// Orders a snapshot of every partition, then has the logs drop it, beside producers that go on; also what these sent,
    /// and where.
    fn take(&mut self, quiet: Duration) -> Result<(TrialRow, Beside)> {
        let before = replicas(&self.stage, &self.name)?;
        let gzip_before = gzip::raw_bytes_per_second(&self.payload);
        let beside = topic(&self.cluster, "beside-snapshot", PARTITIONS)?.name;
        prime(&self.cluster, &beside, PARTITIONS, PATIENCE)?;
        let producers = Steady::start(&Plan {
            cluster: self.cluster.clone(),
            topic: beside.clone(),
            partitions: PARTITIONS,
            size_bytes: BESIDE_BYTES,
            rate: BESIDE_RATE,
            patience: PATIENT,
        });
        until_all_flow(&producers)?;
        until("producers without arrears", || Ok(producers.are_on_time()))?;
        let raw = "walser_snapshot_raw_bytes_total";
        let raw_before = probe::total(&self.stage.probes(), raw)?;
        let from = Looked::now(&self.stage)?;
        thread::sleep(quiet);
        let ordered = Looked::now(&self.stage)?;
        let took = self.order(&before)?;
        let stored = Looked::now(&self.stage)?;
        let little = [("local.retention.bytes", "1")];
        self.cluster.set_topic_configs(&self.name, &little)?;
        let (left, small) = self.await_dropped()?;
        let dropped = Looked::now(&self.stage)?;
        let sent = producers.stop();
        let gzip_after = gzip::raw_bytes_per_second(&self.payload);
        let mut row = TrialRow::new("snapshot", "order to a partition's snapshot, committed");
        let elapsed = stored.at - ordered.at;
        row.partitions = PARTITIONS;
        row.size_bytes = SIZE_BYTES;
        row.log_bytes = Some(self.payload_bytes());
        row.offered_per_second = Some(BESIDE_RATE * f64::from(PARTITIONS));
        row.seconds = elapsed.as_secs_f64();
        row.count = took.len();
        row.took_ms = Some(Millis::new(&took));
        row.bytes_per_second = Some(self.payload_bytes() as f64 / row.seconds);
        let mut store = StoreFigures::new(TAKEN_HOW);
        store.store_bytes = probe::total(&self.stage.probes(), raw)?.saturating_sub(raw_before);
        let quiet_share = from.cpu_until(&ordered) / (ordered.at - from.at).as_secs_f64();
        let cpu = ordered.cpu_until(&stored) - quiet_share * row.seconds;
        store.cost(self.payload_bytes(), cpu);
        store.beside_gzip(f64::midpoint(gzip_before, gzip_after));
        compare(
            &mut row,
            &mut store,
            &sent,
            [from.at, ordered.at, stored.at, small],
        );
        store.dropped(self.live_bytes, live_bytes(&left));
        let quietly = quiet_share * (dropped.at - stored.at).as_secs_f64();
        let cpu = stored.cpu_until(&dropped) - quietly;
        store.drop_cpu_seconds = (cpu > 0.0).then_some(cpu);
        row.void.extend(keep_doubts(&left));
        row.void
            .extend(taken_doubts(&before, self.payload_bytes(), &store));
        row.store = Some(store);
        Ok((row, Beside { name: beside, sent }))
    }

    /// Orders all, and waits until all is in the store that was acknowledged before: how long each partition took.
    fn order(&self, before: &[Replica]) -> Result<hdrhistogram::Histogram<u64>> {
        let mut missing: BTreeMap<i32, i64> = ends(&self.acked);
        let began = Instant::now();
        for leader in before.iter().filter(|replica| replica.is_leader()) {
            let path = format!("/v1/partitions/{}/{}/snapshot", self.name, leader.partition);
            probe::post(self.stage.admin(leader.node), &path)?;
        }
        let mut took = latencies();
        until_within(STORED_MAX, LOOK, "a snapshot of each partition", || {
            for replica in replicas(&self.stage, &self.name)? {
                let end = missing.get(&replica.partition).copied();
                if end.is_some_and(|end| replica.stored_end() >= end) {
                    missing.remove(&replica.partition);
                    note(&mut took, began.elapsed());
                }
            }
            Ok(missing.is_empty())
        })?;
        Ok(took)
    }

    /// Waits until the logs are as small as they get; what is left of them, and since when.
    fn await_dropped(&self) -> Result<(Vec<Replica>, Instant)> {
        let began = Instant::now();
        let (mut since, mut last) = (began, replicas(&self.stage, &self.name)?);
        loop {
            let all_dropped = keep_doubts(&last).is_empty();
            let is_settled = all_dropped && since.elapsed() >= SETTLED;
            if is_settled || began.elapsed() >= DROPPED_MAX {
                break;
            }
            thread::sleep(LOOK);
            let now = replicas(&self.stage, &self.name)?;
            if live_bytes(&now) != live_bytes(&last) {
                since = Instant::now();
            }
            last = now;
        }
        Ok((last, since))
    }

    /// Reads everything that no leader's log holds.
    fn consume(&self, store: &Path) -> Result<TrialRow> {
        drop_cached(store)?;
        let known = replicas(&self.stage, &self.name)?;
        let leaders = known.iter().filter(|replica| replica.is_leader());
        let due: BTreeMap<i32, i64> = leaders
            .map(|leader| (leader.partition, leader.local_start_offset))
            .collect();
        let probes = self.stage.probes();
        let got = "walser_snapshot_read_bytes_total";
        let got_before = probe::total(&probes, got)?;
        let from = Looked::now(&self.stage)?;
        let consumed = consume(&self.cluster, &self.name, &due)?;
        let until = Looked::now(&self.stage)?;
        let mut row = TrialRow::new(
            "restore-read",
            "first fetch of a partition to its first batch",
        );
        row.partitions = PARTITIONS;
        row.size_bytes = SIZE_BYTES;
        row.log_bytes = Some(consumed.bytes);
        row.seconds = (until.at - from.at).as_secs_f64();
        row.count = consumed.first.len();
        row.took_ms = Some(Millis::new(&consumed.first));
        row.bytes_per_second = Some(consumed.bytes as f64 / row.seconds);
        row.per_second = Some(consumed.batches as f64 / row.seconds);
        let mut figures = StoreFigures::new(READ_HOW);
        figures.cost(consumed.bytes, from.cpu_until(&until));
        figures.store_bytes = probe::total(&probes, got)?.saturating_sub(got_before);
        row.void.extend(read_doubts(&due, &figures));
        row.store = Some(figures);
        Ok(row)
    }

    /// Looks for all that was acknowledged, wherever it lies by now.
    fn finish(self, beside: Beside, taken: &mut TrialRow, read: &mut TrialRow) -> Result<()> {
        let disk_bytes = self.stage.disk_bytes()?;
        let store = taken.store.as_mut().expect("a snapshot was taken");
        store.disk_bytes = Some((self.disk_bytes, disk_bytes));
        read.acked = self.acked.len() as u64;
        let found = read_back(&self.cluster, &self.name, self.acked)?;
        read.read_back = Some(found);
        let acked = steady::acks(&beside.sent);
        taken.acked = read.acked + acked.len() as u64;
        let mut both = read_back(&self.cluster, &beside.name, acked)?;
        both.add(found);
        taken.read_back = Some(both);
        self.meter.finish(&self.stage, taken)?;
        (read.fsyncs, read.rounds, read.device_bytes) =
            (taken.fsyncs, taken.rounds, taken.device_bytes);
        taken.judge();
        read.judge();
        Ok(())
    }
}

/// What was sent to which topic meanwhile.
struct Beside {
    name: String,
    sent: Vec<Vec<Sent>>,
}

/// What the brokers' processes had used of the processors by then.
struct Looked {
    at: Instant,
    cpu_seconds: f64,
}

impl Looked {
    fn now(stage: &Stage) -> Result<Self> {
        let sample = Sample::of_processes(&stage.probes())?;
        let unknown = || Error::Cluster("brokers without processes".into());
        Ok(Self {
            at: Instant::now(),
            cpu_seconds: sample.cpu_seconds.ok_or_else(unknown)?,
        })
    }

    fn cpu_until(&self, later: &Self) -> f64 {
        later.cpu_seconds - self.cpu_seconds
    }
}

/// First offset beyond what was acknowledged in each partition.
fn ends(acked: &[Ack]) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for ack in acked {
        let end = ends.entry(ack.partition).or_default();
        *end = (ack.offset + 1).max(*end);
    }
    ends
}

fn live_bytes(replicas: &[Replica]) -> u64 {
    replicas.iter().map(|replica| replica.log_bytes).sum()
}

/// The producers' latencies before and during the event, and while the logs drop it.
fn compare(
    row: &mut TrialRow,
    store: &mut StoreFigures,
    sent: &[Vec<Sent>],
    [from, ordered, stored, dropped]: [Instant; 4],
) {
    let quiet = steady::latency(sent, (from, ordered));
    let meanwhile = steady::latency(sent, (ordered, stored));
    for (when, latencies) in [("before", &quiet), ("during", &meanwhile)] {
        if latencies.len() < SAMPLES_MIN {
            let count = latencies.len();
            row.void.push(format!(
                "{count} records {when} the snapshot are too few for a p99"
            ));
        }
    }
    let (quiet, meanwhile) = (Millis::new(&quiet), Millis::new(&meanwhile));
    let dropping = steady::latency(sent, (stored, dropped));
    let is_enough = dropping.len() >= SAMPLES_MIN;
    let ratio = |p99: f64| (quiet.p99 > 0.0).then(|| p99 / quiet.p99);
    store.p99_ratio = ratio(meanwhile.p99);
    store.drop_p99_ratio = ratio(Millis::new(&dropping).p99).filter(|_| is_enough);
    row.quiet_ms = Some(quiet);
    row.meanwhile_ms = Some(meanwhile);
}

/// Why the snapshots are not those that were to be measured.
fn taken_doubts(before: &[Replica], payload_bytes: u64, store: &StoreFigures) -> Vec<String> {
    let mut doubts = Vec::new();
    if before.iter().any(|replica| replica.stored_end() > 0) {
        doubts.push("a snapshot was taken before the order".into());
    }
    let put = store.store_bytes;
    if put < payload_bytes {
        doubts.push(format!(
            "{put} bytes were put into chunks, not {payload_bytes}"
        ));
    }
    doubts
}

/// Why the logs are not as small as they were to become: replicas that still hold everything, or do not show.
fn keep_doubts(replicas: &[Replica]) -> Vec<String> {
    let wanted = PARTITIONS.unsigned_abs() * u32::from(REPLICAS.unsigned_abs());
    let count = replicas.len();
    let missing = u32::try_from(count) != Ok(wanted);
    let mut doubts: Vec<String> = missing
        .then(|| format!("{count} of {wanted} replicas show"))
        .into_iter()
        .collect();
    for replica in replicas.iter().filter(|r| r.local_start_offset == 0) {
        let (node, partition) = (replica.node, replica.partition);
        doubts.push(format!(
            "broker {node} dropped nothing of partition {partition} from its log"
        ));
    }
    doubts
}

/// Why what was read did not come from the store.
fn read_doubts(due: &BTreeMap<i32, i64>, store: &StoreFigures) -> Vec<String> {
    let mut doubts = Vec::new();
    let led = due.len();
    if usize::try_from(PARTITIONS) != Ok(led) {
        doubts.push(format!("{led} of {PARTITIONS} partitions have a leader"));
    }
    for (partition, _) in due.iter().filter(|(_, until)| **until == 0) {
        doubts.push(format!(
            "the leader's log holds all of partition {partition}"
        ));
    }
    if store.store_bytes == 0 {
        doubts.push("nothing came from the store".into());
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(store_bytes: u64) -> StoreFigures {
        StoreFigures {
            store_bytes,
            ..StoreFigures::new("so")
        }
    }

    #[test]
    fn less_in_the_store_than_was_acknowledged_is_void() {
        let before = [Replica::test(1, 0, 0)];
        assert_eq!(taken_doubts(&before, 10, &figures(10)), [""; 0]);
        assert_eq!(taken_doubts(&before, 10, &figures(9)).len(), 1);
    }

    #[test]
    fn a_replica_that_keeps_its_log_or_does_not_show_is_named() {
        let of_node = |node| (0..PARTITIONS).map(move |p| Replica::test(node, p, 5));
        let mut all: Vec<Replica> = (1..=3).flat_map(of_node).collect();
        assert_eq!(keep_doubts(&all), [""; 0]);
        all[4].local_start_offset = 0;
        let kept = "broker 1 dropped nothing of partition 4 from its log";
        assert_eq!(keep_doubts(&all), [kept]);
        all.pop();
        assert_eq!(keep_doubts(&all), ["17 of 18 replicas show", kept]);
    }

    #[test]
    fn a_read_of_a_log_or_of_memory_is_void() {
        let due = |local_start| (0..PARTITIONS).map(|p| (p, local_start)).collect();
        assert_eq!(read_doubts(&due(3), &figures(1)), [""; 0]);
        assert_eq!(read_doubts(&due(3), &figures(0)).len(), 1);
        assert_eq!(read_doubts(&due(0), &figures(1)).len(), PARTITIONS as usize);
        assert_eq!(read_doubts(&BTreeMap::from([(0, 3)]), &figures(1)).len(), 1);
    }

    #[test]
    fn too_few_records_are_no_p99() {
        let mut row = TrialRow::new("snapshot", "times");
        let now = Instant::now();
        compare(&mut row, &mut figures(0), &[], [now; 4]);
        assert_eq!(row.void.len(), 2);
    }

    #[test]
    fn the_end_of_a_partition_is_beyond_its_last_acknowledgement() {
        let ack = |partition, offset| Ack {
            partition,
            offset,
            id: 0,
        };
        let ends = ends(&[ack(0, 4), ack(1, 9), ack(0, 2)]);
        assert_eq!(ends, BTreeMap::from([(0, 5), (1, 10)]));
    }
}
