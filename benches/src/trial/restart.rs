//! All brokers are stopped, or killed, and started again: how soon every partition takes records, by the size of the log.

use super::fill::{SIZE_BYTES, fill};
use super::meter::Meter;
use super::{PATIENCE, Scene, TrialRow, topic};
use crate::error::Result;
use crate::generator::Ack;
use crate::kafka::{Cluster, prime, read_back};
use crate::report::{Millis, latencies, note};
use crate::stage::Stage;
use std::time::Instant;

const PARTITIONS: i32 = 12;

impl Scene<'_> {
    /// In a cluster of its own, which is filled further before each size.
    pub(super) fn restart(&mut self) -> Result<Vec<TrialRow>> {
        let stage = Stage::start(self.options)?;
        let cluster = stage.cluster();
        let name = topic(&cluster, "restart", PARTITIONS)?.name;
        let mut filled = Filled {
            stage,
            cluster,
            name,
            acked: Vec::new(),
        };
        let mut rows = Vec::new();
        for bytes in &self.sizes.restart_bytes {
            filled.up_to(*bytes)?;
            for is_clean in [true, false] {
                rows.push(filled.restarts(is_clean, self.sizes.restarts)?);
            }
        }
        Ok(rows)
    }
}

/// A cluster, and what it holds.
struct Filled {
    stage: Stage,
    cluster: Cluster,
    name: String,
    acked: Vec<Ack>,
}

impl Filled {
    fn bytes(&self) -> u64 {
        (self.acked.len() * SIZE_BYTES) as u64
    }

    fn up_to(&mut self, bytes: u64) -> Result<()> {
        let topic = prime(&self.cluster, &self.name, PARTITIONS, PATIENCE)?;
        let more = bytes.saturating_sub(self.bytes());
        self.acked.extend(fill(&topic, more)?);
        Ok(())
    }

    fn restarts(&mut self, is_clean: bool, count: usize) -> Result<TrialRow> {
        let mut took = latencies();
        let mut meter = Meter::new(&self.stage)?;
        let ids = self.stage.ids();
        let first = Instant::now();
        for _ in 0..count {
            for id in &ids {
                meter.look_and_forget(&self.stage, *id)?;
            }
            if is_clean {
                self.stage.stop(&ids)?;
            } else {
                self.stage.kill_all()?;
            }
            let began = Instant::now();
            self.stage.spawn_all()?;
            prime(&self.cluster, &self.name, PARTITIONS, PATIENCE)?;
            note(&mut took, began.elapsed());
            self.stage.start_all()?;
            for id in &ids {
                self.stage.await_level(*id, &self.name)?;
            }
        }
        let seconds = first.elapsed().as_secs_f64();
        let manner = if is_clean { "clean" } else { "kill" };
        let name = format!("restart-{manner}-{}MiB", self.bytes() >> 20);
        let mut row = TrialRow::new(name, "start of all processes to an ack in each partition");
        meter.finish(&self.stage, &mut row)?;
        row.partitions = PARTITIONS;
        row.size_bytes = SIZE_BYTES;
        row.log_bytes = Some(self.bytes());
        row.seconds = seconds;
        row.count = took.len();
        row.took_ms = Some(Millis::new(&took));
        row.acked = self.acked.len() as u64;
        row.read_back = Some(read_back(&self.cluster, &self.name, self.acked.clone())?);
        row.judge();
        Ok(row)
    }
}
