//! What brokers cost that have nothing to do, by the number of their partitions.

use super::meter::Meter;
use super::{Scene, TrialRow, topic};
use crate::error::{Error, Result};
use crate::probe::Sample;
use crate::report::{Millis, latencies, note};
use crate::stage::{Stage, StageOptions};
use std::thread;
use std::time::Instant;

/// Of one topic.
const PARTITIONS_MAX: i32 = 1_000;

impl Scene<'_> {
    /// Each number in a cluster of its own: memory that topics have used before is not given back.
    pub(super) fn idle(&mut self) -> Result<Vec<TrialRow>> {
        let counts = self.sizes.idle_partitions.iter();
        counts.map(|count| self.idle_with(*count)).collect()
    }

    fn idle_with(&self, partitions: i32) -> Result<TrialRow> {
        let mut options: StageOptions = self.options.clone();
        // Zeroing spares is no idling.
        options.config.push("spares.size = \"32MiB\"".into());
        let stage = Stage::start(&options)?;
        let cluster = stage.cluster();
        let began = Instant::now();
        let mut left = partitions;
        while left > 0 {
            let some = left.min(PARTITIONS_MAX);
            topic(&cluster, &format!("idle-{left}"), some)?;
            left -= some;
        }
        let mut creation = latencies();
        note(&mut creation, began.elapsed());
        thread::sleep(self.sizes.settle);
        let meter = Meter::new(&stage)?;
        let probes = stage.probes();
        let (before, from) = (Sample::of_processes(&probes)?, Instant::now());
        thread::sleep(self.sizes.idle_window);
        let (after, seconds) = (Sample::of_processes(&probes)?, from.elapsed().as_secs_f64());
        let mut row = TrialRow::new(format!("idle-{partitions}"), "creation of the partitions");
        meter.finish(&stage, &mut row)?;
        let brokers = probes.len() as f64;
        let unknown = || Error::Cluster("brokers without processes".into());
        let cpu = after.cpu_seconds.zip(before.cpu_seconds);
        let (cpu_after, cpu_before) = cpu.ok_or_else(unknown)?;
        row.partitions = partitions;
        row.seconds = seconds;
        row.count = 1;
        row.took_ms = Some(Millis::new(&creation));
        row.cpu_seconds_per_minute = Some((cpu_after - cpu_before) / seconds * 60.0 / brokers);
        row.rss_bytes = after.rss_bytes.map(|bytes| bytes / probes.len() as u64);
        Ok(row)
    }
}
