//! A broker was away while much was written, and comes back: how soon its log is level with the others', and what the
//! producers notice.

use super::failover::{PARTITIONS, until_all_flow};
use super::fill::fill;
use super::meter::Meter;
use super::{PATIENCE, Scene, TrialRow, delete, topic, until};
use crate::error::Result;
use crate::kafka::{prime, read_back};
use crate::report::{Millis, latencies, note};
use crate::steady::{self, PATIENT, Plan, Steady};
use std::time::Instant;

/// Records per second and partition of those who must not notice.
const RATE: f64 = 100.0;
const SIZE_BYTES: usize = 1 << 10;

impl Scene<'_> {
    /// The last broker goes and comes back.
    pub(super) fn catch_up(&mut self) -> Result<TrialRow> {
        let (bytes, quiet) = (self.sizes.catch_up_bytes, self.sizes.window);
        let stage = self.stage()?;
        let cluster = stage.cluster();
        let name = topic(&cluster, "catch-up", PARTITIONS)?.name;
        prime(&cluster, &name, PARTITIONS, PATIENCE)?;
        let mut meter = Meter::new(stage)?;
        let away = stage.ids().len() as u16;
        let plan = Plan {
            cluster: cluster.clone(),
            topic: name.clone(),
            partitions: PARTITIONS,
            size_bytes: SIZE_BYTES,
            rate: RATE,
            patience: PATIENT,
        };
        let producers = Steady::start(&plan);
        until_all_flow(&producers)?;
        let quiet_from = Instant::now();
        std::thread::sleep(quiet);
        let quiet_until = Instant::now();
        meter.look_and_forget(stage, away)?;
        stage.stop(&[away])?;
        let topic = prime(&cluster, &name, PARTITIONS, PATIENCE)?;
        let mut acked = fill(&topic, bytes)?;
        // What they could not send while the log was filled is not what a catch-up costs.
        until("producers without arrears", || Ok(producers.are_on_time()))?;
        let began = Instant::now();
        stage.spawn(away)?;
        stage.await_ready(away)?;
        stage.await_level(away, &name)?;
        let ended = Instant::now();
        let sent = producers.stop();
        let mut row = TrialRow::new("catch-up", "start of the process to a level log");
        meter.finish(stage, &mut row)?;
        let mut took = latencies();
        let elapsed = ended - began;
        note(&mut took, elapsed);
        acked.extend(steady::acks(&sent));
        row.partitions = PARTITIONS;
        row.size_bytes = SIZE_BYTES;
        row.log_bytes = Some(bytes);
        row.offered_per_second = Some(RATE * f64::from(PARTITIONS));
        row.seconds = elapsed.as_secs_f64();
        row.count = 1;
        row.took_ms = Some(Millis::new(&took));
        let millis = |window| Some(Millis::new(&steady::latency(&sent, window)));
        row.quiet_ms = millis((quiet_from, quiet_until));
        row.meanwhile_ms = millis((began, ended));
        row.bytes_per_second = Some(bytes as f64 / row.seconds);
        row.acked = acked.len() as u64;
        row.read_back = Some(read_back(&cluster, &name, acked)?);
        row.judge();
        delete(&cluster, &name);
        Ok(row)
    }
}
