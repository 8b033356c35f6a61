//! Leadership is handed over under load: how long a partition's producer hears nothing.

use super::failover::PARTITIONS;
use super::failover::{Loss, none_happened, of_gaps, plan, until_all_flow, until_regained};
use super::meter::Meter;
use super::{Scene, TrialRow, delete, topic};
use crate::error::Result;
use crate::kafka::read_back;
use crate::probe;
use crate::steady::{self, Steady};
use std::time::{Duration, Instant};

/// Between two moves.
const PAUSE: Duration = Duration::from_millis(50);

impl Scene<'_> {
    /// Moves one partition after the other to the broker after its leader.
    pub(super) fn planned_move(&mut self) -> Result<TrialRow> {
        let moves = self.sizes.moves;
        let cluster = self.stage()?.cluster();
        let topic = topic(&cluster, "planned-move", PARTITIONS)?;
        let plan = plan(self, &topic);
        let stage = self.stage()?;
        let meter = Meter::new(stage)?;
        let began = Instant::now();
        let producers = Steady::start(&plan);
        until_all_flow(&producers)?;
        let mut losses = Vec::new();
        for number in 0..moves {
            std::thread::sleep(PAUSE);
            let partition = i32::try_from(number).unwrap_or(0) % PARTITIONS;
            let now = cluster.topic(&topic.name)?;
            let Some(leader) = now.leader_of(partition) else {
                continue;
            };
            let from = stage.node_at(leader)?;
            let brokers = u16::try_from(stage.ids().len()).unwrap_or(1);
            let to = from % brokers + 1;
            let loss = Loss {
                at: Instant::now(),
                leader: leader.to_owned(),
                partitions: vec![partition],
            };
            let path = format!("/v1/partitions/{}/{partition}/leader?to={to}", topic.name);
            probe::post(stage.admin(from), &path)?;
            until_regained(&producers, &loss)?;
            losses.push(loss);
        }
        let elapsed = began.elapsed();
        let sent = producers.stop();
        let mut row = TrialRow::new(
            "planned-move",
            "last ack of the old leader to first of the new",
        );
        meter.finish(stage, &mut row)?;
        row.void.extend(none_happened(losses.len(), moves));
        of_gaps(&mut row, &plan, &sent, &losses, elapsed);
        row.read_back = Some(read_back(&cluster, &topic.name, steady::acks(&sent))?);
        row.judge();
        delete(&cluster, &topic.name);
        Ok(row)
    }
}
