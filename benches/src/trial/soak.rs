//! A long while at half of the most that the same producers reach: segments turn, retention deletes, the cleaner rewrites
//! the little that lives on in old ones, and a broker is restarted. Nothing that retention keeps is lost, memory does not
//! grow, and the longest waits are named, each with what happened meanwhile.

use super::failover::{PARTITIONS, until_all_flow};
use super::meter::Meter;
use super::replicas::replicas;
use super::row::mebibytes;
use super::{PATIENCE, REPLICAS, Scene, TrialRow, delete, topic, until};
use crate::error::Result;
use crate::kafka::{Cluster, prime, read_back};
use crate::probe::{self, BrokerProbe, Buckets, Sample};
use crate::report::{Millis, number};
use crate::stage::{Stage, StageOptions};
use crate::steady::{self, Plan, Sent, Steady};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

/// Each has one producer with one record on the way. So many that half of the most is not most of what a few could do one after the
/// other: on a disk that is slow for some seconds these would come into arrears of seconds.
const PRODUCERS: i32 = 24;
const SIZE_BYTES: usize = 4 << 10;
/// Records per second and partition of a topic that keeps everything: a little in every segment, which the cleaner brings
/// together when the rest of it is gone.
const KEPT_RATE: f64 = 20.0;
const KEPT_BYTES: usize = 1 << 10;
const SEGMENT_BYTES: u64 = 32 << 20;
/// What retention leaves of a partition at most.
const RETAINED_MAX: f64 = (16 << 20) as f64;
/// Between two looks at the brokers.
const LOOK: Duration = Duration::from_secs(1);
/// Before and after it, what waits does so because of the restart.
const AROUND: Duration = Duration::from_secs(2);
/// Retention that has deleted nothing for so long has ended.
const RETAINED_AFTER: Duration = Duration::from_secs(4);
/// Waits that are named.
const STALLS: usize = 5;
const FSYNC: &str = "walser_wal_fsync_seconds";
const REWRITTEN: &str = "walser_cleaner_rewritten_bytes_total";

/// What a row says of a long while beyond the others.
#[derive(Clone, Debug, Serialize)]
pub struct SoakFigures {
    /// Records a second that the same producers had acknowledged without a schedule.
    pub most_per_second: f64,
    /// Records that retention deleted.
    pub deleted: u64,
    /// Bytes that cleaners rewrote in all logs.
    pub rewritten_bytes: u64,
    /// Resident memory of a broker that was not restarted, mean, after a quarter of the time and at the end.
    pub rss_bytes: (u64, u64),
    /// The longest waits, one a second at most.
    pub stalls: Vec<Stall>,
}

/// A second in which a record waited long.
#[derive(Clone, Debug, Serialize)]
pub struct Stall {
    /// Since the beginning.
    pub at_seconds: u64,
    /// From the intended instant to the acknowledgement.
    pub ms: f64,
    /// Whether a broker was restarted then.
    pub restart: bool,
    /// Syncs of logs lasted so long in the mean, which is usually
    pub sync_ms_mean: Option<f64>,
    /// so long,
    pub sync_ms_usual: Option<f64>,
    /// and the slowest at most so long.
    pub sync_ms_at_most: Option<f64>,
    /// Bytes that cleaners rewrote meanwhile.
    pub rewritten_bytes: u64,
}

impl SoakFigures {
    /// Under the table.
    pub(crate) fn text(&self, took_ms: Option<Millis>, quiet_ms: Option<Millis>) -> String {
        let (early, late) = self.rss_bytes;
        let p999 = |ms: Option<Millis>| number(ms.map(|ms| ms.p999), 1);
        let mut text = format!(
            "half of {:.0}/s, p99.9 {} ms, {} without the restart; retention deleted {} records, cleaners rewrote {} MiB; RSS {} MiB after a quarter, {} at the end\n",
            self.most_per_second,
            p999(took_ms),
            p999(quiet_ms),
            self.deleted,
            mebibytes(Some(self.rewritten_bytes), 0),
            mebibytes(Some(early), 1),
            mebibytes(Some(late), 1),
        );
        for stall in &self.stalls {
            let _ = writeln!(
                text,
                "  second {}: {:.1} ms{}; a sync took {} ms ({} in the whole time), the slowest at most {}; {} MiB rewritten",
                stall.at_seconds,
                stall.ms,
                if stall.restart { ", a restart" } else { "" },
                number(stall.sync_ms_mean, 2),
                number(stall.sync_ms_usual, 2),
                number(stall.sync_ms_at_most, 0),
                mebibytes(Some(stall.rewritten_bytes), 1),
            );
        }
        text
    }
}

impl Scene<'_> {
    /// In a cluster of its own.
    pub(super) fn soak(&mut self) -> Result<TrialRow> {
        let mut stage = Stage::start(&options(self.options))?;
        stage.await_spares()?;
        let cluster = stage.cluster();
        let most = most(&cluster, self.sizes.window)?;
        let rate = most / 2.0 / f64::from(PRODUCERS);
        let to_come = rate * SIZE_BYTES as f64 * self.sizes.soak.as_secs_f64();
        let retained = (to_come / 4.0).min(RETAINED_MAX).to_string();
        let retained = retained.split('.').next().unwrap_or("1");
        let name = format!("bench-soak-{}", std::process::id());
        let little = [("retention.bytes", retained)];
        cluster.create_topic_with(&name, PRODUCERS, REPLICAS, &little)?;
        prime(&cluster, &name, PRODUCERS, PATIENCE)?;
        let kept = topic(&cluster, "soak-kept", PARTITIONS)?.name;
        prime(&cluster, &kept, PARTITIONS, PATIENCE)?;
        let mut meter = Meter::new(&stage)?;
        let producers = Steady::start(&plan(&cluster, &name, rate));
        let keepers = Steady::start(&Plan {
            partitions: PARTITIONS,
            size_bytes: KEPT_BYTES,
            ..plan(&cluster, &kept, KEPT_RATE)
        });
        until_all_flow(&producers)?;
        until("producers without arrears", || Ok(producers.are_on_time()))?;
        let watched = Watched::go(&mut stage, &mut meter, self.sizes.soak, &kept)?;
        let (sent, of_kept) = (producers.stop(), keepers.stop());

        let mut row = TrialRow::new("soak", "intended instant to acknowledgement");
        row.partitions = PRODUCERS;
        row.size_bytes = SIZE_BYTES;
        row.offered_per_second = Some(rate * f64::from(PRODUCERS));
        watched.fill(&mut row, &sent, most);
        meter.finish(&stage, &mut row)?;
        let starts = log_starts(&stage, &name)?;
        let is_kept = |ack: &crate::generator::Ack| Some(&ack.offset) >= starts.get(&ack.partition);
        let mut acks = steady::acks(&sent);
        row.acked = acks.len() as u64;
        acks.retain(is_kept);
        let mut back = read_back(&cluster, &name, acks)?;
        let of_kept = steady::acks(&of_kept);
        row.acked += of_kept.len() as u64;
        back.add(read_back(&cluster, &kept, of_kept)?);
        row.read_back = Some(back);
        let deleted = starts.values().map(|start| start.unsigned_abs()).sum();
        if deleted == 0 {
            row.void.push("retention deleted nothing".into());
        }
        if let Some(soak) = &mut row.soak {
            soak.deleted = deleted;
        }
        row.judge();
        Ok(row)
    }
}

fn options(options: &StageOptions) -> StageOptions {
    let mut own = options.clone();
    own.config.extend([
        format!("segment.size = {SEGMENT_BYTES}"),
        format!("spares.size = {}", 4 * SEGMENT_BYTES),
        "retention.check.interval = \"1s\"".into(),
    ]);
    own
}

fn plan(cluster: &Cluster, topic: &str, rate: f64) -> Plan {
    Plan {
        cluster: cluster.clone(),
        topic: topic.into(),
        partitions: PRODUCERS,
        size_bytes: SIZE_BYTES,
        rate,
        patience: steady::PATIENT,
    }
}

/// Records a second that such producers have acknowledged when each sends its next as soon as it may.
fn most(cluster: &Cluster, window: Duration) -> Result<f64> {
    let name = topic(cluster, "soak-most", PRODUCERS)?.name;
    prime(cluster, &name, PRODUCERS, PATIENCE)?;
    let producers = Steady::start(&plan(cluster, &name, f64::INFINITY));
    until_all_flow(&producers)?;
    let from = Instant::now();
    thread::sleep(window);
    let until = Instant::now();
    let sent = producers.stop();
    let within = |one: &&Sent| one.at >= from && one.at < until;
    let count = sent.iter().flatten().filter(within).count();
    delete(cluster, &name);
    Ok(count as f64 / (until - from).as_secs_f64())
}

/// The first offsets that retention has left; waits until it has ended.
fn log_starts(stage: &Stage, name: &str) -> Result<BTreeMap<i32, i64>> {
    let look = || -> Result<BTreeMap<i32, i64>> {
        let leaders = replicas(stage, name)?.into_iter().filter(|r| r.is_leader());
        Ok(leaders.map(|r| (r.partition, r.log_start_offset)).collect())
    };
    let (mut last, mut since) = (look()?, Instant::now());
    until("retention that has ended", || {
        let now = look()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        Ok(last.len() == PRODUCERS as usize && since.elapsed() >= RETAINED_AFTER)
    })?;
    Ok(last)
}

/// What was seen of the brokers, second by second.
struct Watched {
    began: Instant,
    ended: Instant,
    /// From the order to stop to a broker that holds what the others do.
    restart: (Instant, Instant),
    looks: Vec<Look>,
    rss_bytes: (u64, u64),
}

struct Look {
    at: Instant,
    syncs: Vec<Option<Syncs>>,
    rewritten: Vec<u64>,
}

/// Of one broker's log, since its start.
struct Syncs {
    seconds: f64,
    count: f64,
    buckets: Buckets,
}

impl Syncs {
    fn of(metrics: &str) -> Option<Self> {
        Some(Self {
            seconds: probe::figure(metrics, &format!("{FSYNC}_sum"))?,
            count: probe::figure(metrics, &format!("{FSYNC}_count"))?,
            buckets: Buckets::of(metrics, FSYNC)?,
        })
    }
}

impl Look {
    /// At those that run.
    fn at(probes: &[BrokerProbe]) -> Self {
        let admins = probes.iter().map(|broker| broker.admin.as_deref());
        let texts: Vec<_> = admins
            .map(|admin| probe::get(admin.unwrap_or_default(), "/metrics").ok())
            .collect();
        let each = texts.iter().map(|text| text.as_deref().unwrap_or(""));
        Self {
            at: Instant::now(),
            syncs: each.clone().map(Syncs::of).collect(),
            rewritten: each
                .map(|text| probe::counter(text, REWRITTEN).unwrap_or(0))
                .collect(),
        }
    }

    /// The slowest sync since another look, at most; what was restarted meanwhile says nothing.
    fn slowest_since(&self, before: &Self) -> Option<f64> {
        let each = self.with(before);
        let each = each.filter_map(|(now, before)| now.buckets.slowest_since(&before.buckets));
        each.max_by(f64::total_cmp)
    }

    /// How long a sync has taken since another look, mean of all logs.
    fn mean_since(&self, before: &Self) -> Option<f64> {
        let each = self
            .with(before)
            .filter(|(now, before)| now.count >= before.count);
        let rise = |(now, before): (&Syncs, &Syncs)| {
            (now.seconds - before.seconds, now.count - before.count)
        };
        let (seconds, count) = each
            .map(rise)
            .fold((0.0, 0.0), |(s, c), (t, d)| (s + t, c + d));
        (count > 0.0).then(|| seconds / count)
    }

    /// Brokers that ran at both looks.
    fn with<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a Syncs, &'a Syncs)> {
        let pairs = self.syncs.iter().zip(&before.syncs);
        pairs.filter_map(|(now, before)| now.as_ref().zip(before.as_ref()))
    }

    fn rewritten_since(&self, before: &Self) -> u64 {
        let pairs = self.rewritten.iter().zip(&before.rewritten);
        pairs.map(|(now, before)| now.saturating_sub(*before)).sum()
    }
}

impl Watched {
    /// Restarts the last broker half-way.
    fn go(stage: &mut Stage, meter: &mut Meter, long: Duration, kept: &str) -> Result<Self> {
        let restarted = stage.ids().len() as u16;
        let probes = stage.probes();
        let others = &probes[..probes.len() - 1];
        let rss = || -> Result<u64> {
            let sum = Sample::of_processes(others)?.rss_bytes.unwrap_or(0);
            Ok(sum / others.len().max(1) as u64)
        };
        let began = Instant::now();
        let mut looks = vec![Look::at(&probes)];
        let mut early = None;
        let mut restart = None;
        let mut told = 0;
        while began.elapsed() < long {
            thread::sleep(LOOK.min(long / 8));
            looks.push(Look::at(&probes));
            let elapsed = began.elapsed();
            if early.is_none() && elapsed >= long / 4 {
                early = Some(rss()?);
            }
            if restart.is_none() && elapsed >= long / 2 {
                let from = Instant::now();
                meter.look_and_forget(stage, restarted)?;
                stage.stop(&[restarted])?;
                stage.spawn(restarted)?;
                stage.await_ready(restarted)?;
                stage.await_level(restarted, kept)?;
                restart = Some((from, Instant::now()));
            }
            if elapsed.as_secs() / 60 > told {
                told = elapsed.as_secs() / 60;
                eprintln!("bench: soak: minute {told} of {}", long.as_secs() / 60);
            }
        }
        let ended = Instant::now();
        let late = rss()?;
        Ok(Self {
            began,
            ended,
            restart: restart.unwrap_or((ended, ended)),
            looks,
            rss_bytes: (early.unwrap_or(late), late),
        })
    }

    fn is_around_restart(&self, at: Instant) -> bool {
        at + AROUND >= self.restart.0 && at < self.restart.1 + AROUND
    }

    fn fill(&self, row: &mut TrialRow, sent: &[Vec<Sent>], most: f64) {
        let all = steady::latency(sent, (self.began, self.ended));
        let mut quiet = steady::latency(sent, (self.began, self.restart.0 - AROUND));
        quiet
            .add(steady::latency(sent, (self.restart.1 + AROUND, self.ended)))
            .expect("histograms of one kind");
        let around = (self.restart.0 - AROUND, self.restart.1 + AROUND);
        row.seconds = (self.ended - self.began).as_secs_f64();
        row.count = all.len();
        row.took_ms = Some(Millis::new(&all));
        row.quiet_ms = Some(Millis::new(&quiet));
        row.meanwhile_ms = Some(Millis::new(&steady::latency(sent, around)));
        row.per_second = Some(all.len() as f64 / row.seconds);
        row.bytes_per_second = row.per_second.map(|rate| rate * SIZE_BYTES as f64);
        row.rss_bytes = Some(self.rss_bytes.1);
        let (first, last) = (self.looks.first(), self.looks.last());
        let rewritten = first.zip(last).map(|(f, l)| l.rewritten_since(f));
        row.soak = Some(SoakFigures {
            most_per_second: most,
            deleted: 0,
            rewritten_bytes: rewritten.unwrap_or(0),
            rss_bytes: self.rss_bytes,
            stalls: self.stalls(sent),
        });
    }

    /// The longest wait of each of the worst seconds.
    fn stalls(&self, sent: &[Vec<Sent>]) -> Vec<Stall> {
        let mut worst: BTreeMap<u64, &Sent> = BTreeMap::new();
        let within = |one: &&Sent| one.intended >= self.began && one.intended < self.ended;
        for one in sent.iter().flatten().filter(within) {
            let second = (one.intended - self.began).as_secs();
            let known = worst.entry(second).or_insert(one);
            if one.at - one.intended > known.at - known.intended {
                *known = one;
            }
        }
        let mut worst: Vec<_> = worst.into_iter().collect();
        worst.sort_by_key(|(_, one)| std::cmp::Reverse(one.at - one.intended));
        worst.truncate(STALLS);
        let ms = |seconds: f64| seconds * 1e3;
        let ends = self.looks.first().zip(self.looks.last());
        let usual = ends.and_then(|(first, last)| last.mean_since(first));
        let stall = |(at_seconds, one): (u64, &Sent)| {
            // The looks around the wait.
            let until = self.looks.partition_point(|look| look.at <= one.at);
            let from = self.looks.partition_point(|look| look.at <= one.intended);
            let before = self.looks.get(from.saturating_sub(1));
            let after = self.looks.get(until).or(self.looks.last());
            let pair = before.zip(after);
            Stall {
                at_seconds,
                ms: ms((one.at - one.intended).as_secs_f64()),
                restart: self.is_around_restart(one.intended),
                sync_ms_mean: pair
                    .and_then(|(before, after)| after.mean_since(before))
                    .map(ms),
                sync_ms_usual: usual.map(ms),
                sync_ms_at_most: pair
                    .and_then(|(before, after)| after.slowest_since(before))
                    .map(ms),
                rewritten_bytes: pair.map_or(0, |(before, after)| after.rewritten_since(before)),
            }
        };
        worst.into_iter().map(stall).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Ack;

    fn sent(from: Instant, waits: &[(u64, u64)]) -> Vec<Sent> {
        let one = |(intended, wait): &(u64, u64)| Sent {
            ack: Ack {
                partition: 0,
                offset: 0,
                id: 0,
            },
            leader: "a".into(),
            intended: from + Duration::from_millis(*intended),
            at: from + Duration::from_millis(intended + wait),
        };
        waits.iter().map(one).collect()
    }

    fn look(at: Instant, rewritten: u64) -> Look {
        Look {
            at,
            syncs: vec![None],
            rewritten: vec![rewritten],
        }
    }

    #[test]
    fn the_worst_seconds_are_named_once_each_with_what_happened_around_them() {
        let began = Instant::now();
        let second = |n| began + Duration::from_secs(n);
        let watched = Watched {
            began,
            ended: second(20),
            restart: (second(10), second(11)),
            looks: (0..=20).map(|n| look(second(n), 100 * n)).collect(),
            rss_bytes: (1, 1),
        };
        let waits = [
            (100, 1),
            (2_500, 40),
            (2_600, 30),
            (9_000, 300),
            (19_000, 2),
        ];
        let stalls = watched.stalls(&[sent(began, &waits)]);
        let told = |s: &Stall| (s.at_seconds, s.ms.round() as u64, s.restart);
        let told: Vec<_> = stalls.iter().map(told).collect();
        assert_eq!(
            told,
            [
                (9, 300, true),
                (2, 40, false),
                (19, 2, false),
                (0, 1, false)
            ]
        );
        // Between the looks at 2 and at 3 s.
        assert_eq!(stalls[1].rewritten_bytes, 100);
    }
}
