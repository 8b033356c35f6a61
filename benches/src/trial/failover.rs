//! Leaders die or hang under load: how long their partitions' producers hear nothing.

use super::meter::Meter;
use super::{SETTLE, Scene, TrialRow, delete, topic, until};
use crate::error::Result;
use crate::kafka::{Topic, read_back};
use crate::report::{Millis, latencies, note};
use crate::stage::Stage;
use crate::steady::{self, PATIENT, Plan, Sent, Steady};
use std::time::{Duration, Instant};

/// Of the topics whose leaders move: more than brokers, so that each leads some.
pub(super) const PARTITIONS: i32 = 6;
/// Records per second and partition: a gap is known to two milliseconds.
const RATE: f64 = 500.0;
const SIZE_BYTES: usize = 1 << 10;

/// An event, and whom it took which partitions from.
pub(super) struct Loss {
    pub(super) at: Instant,
    pub(super) leader: String,
    pub(super) partitions: Vec<i32>,
}

pub(super) fn plan(scene: &Scene<'_>, topic: &Topic) -> Plan {
    let stage = scene.stage.as_ref().expect("a topic is in a cluster");
    Plan {
        cluster: stage.cluster(),
        topic: topic.name.clone(),
        partitions: PARTITIONS,
        size_bytes: SIZE_BYTES,
        rate: RATE,
        patience: PATIENT,
    }
}

/// How a leader is lost.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// SIGKILL: its connections are closed, which is evidence.
    Killed,
    /// SIGSTOP: it holds its connections and says nothing. It goes on afterwards.
    Hung,
}

impl Way {
    /// Of topics and progress.
    fn name(self) -> &'static str {
        match self {
            Self::Killed => "failover",
            Self::Hung => "hang",
        }
    }

    fn row(self) -> TrialRow {
        let times_of = match self {
            Self::Killed => "last ack before kill -9 to first after",
            Self::Hung => "last ack before SIGSTOP to first after, client's patience 100 ms",
        };
        TrialRow::new(self.name(), times_of)
    }

    /// A client hears nothing from one that hangs, so it has to lose patience to find out who leads now.
    fn patience(self) -> Duration {
        match self {
            Self::Killed => PATIENT,
            Self::Hung => Duration::from_millis(100),
        }
    }

    fn take(self, stage: &mut Stage, node: u16) -> Result<()> {
        match self {
            Self::Killed => stage.kill(node),
            Self::Hung => stage.freeze(node),
        }
    }

    fn give_back(self, stage: &mut Stage, node: u16) -> Result<()> {
        match self {
            Self::Killed => stage.spawn(node)?,
            Self::Hung => stage.thaw(node)?,
        }
        stage.await_ready(node)
    }
}

impl Scene<'_> {
    /// Kills the leader of one partition after the other, or has it hang.
    pub(super) fn lost_leaders(&mut self, way: Way) -> Result<TrialRow> {
        let kills = self.sizes.kills;
        let cluster = self.stage()?.cluster();
        let topic = topic(&cluster, way.name(), PARTITIONS)?;
        let plan = Plan {
            patience: way.patience(),
            ..plan(self, &topic)
        };
        let stage = self.stage()?;
        let mut meter = Meter::new(stage)?;
        let began = Instant::now();
        let producers = Steady::start(&plan);
        until_all_flow(&producers)?;
        let mut losses = Vec::new();
        for number in 0..kills {
            std::thread::sleep(SETTLE);
            let partition = i32::try_from(number).unwrap_or(0) % PARTITIONS;
            let now = cluster.topic(&topic.name)?;
            let Some(leader) = now.leader_of(partition) else {
                continue;
            };
            let node = stage.node_at(leader)?;
            if matches!(way, Way::Killed) {
                meter.look_and_forget(stage, node)?;
            }
            let loss = Loss {
                at: Instant::now(),
                leader: leader.to_owned(),
                partitions: now.by_leader[leader].clone(),
            };
            way.take(stage, node)?;
            until_regained(&producers, &loss)?;
            eprintln!(
                "bench: {}: {} of {kills}, {:.0} ms",
                way.name(),
                number + 1,
                loss.at.elapsed().as_secs_f64() * 1e3
            );
            losses.push(loss);
            way.give_back(stage, node)?;
            stage.await_level(node, &topic.name)?;
        }
        let elapsed = began.elapsed();
        let sent = producers.stop();
        let mut row = way.row();
        meter.finish(stage, &mut row)?;
        row.void.extend(none_happened(losses.len(), kills));
        of_gaps(&mut row, &plan, &sent, &losses, elapsed);
        row.read_back = Some(read_back(&cluster, &topic.name, steady::acks(&sent))?);
        row.judge();
        delete(&cluster, &topic.name);
        Ok(row)
    }
}

/// Fewer events than were asked for are another measurement.
pub(super) fn none_happened(happened: usize, wanted: u32) -> Option<String> {
    (happened != wanted as usize).then(|| format!("{happened} events happened, not {wanted}"))
}

pub(super) fn until_all_flow(producers: &Steady) -> Result<()> {
    until("a record in each partition", || {
        Ok((0..PARTITIONS).all(|partition| producers.newest(partition).is_some()))
    })
}

/// Waits until somebody else has acknowledged in each of the partitions.
pub(super) fn until_regained(producers: &Steady, loss: &Loss) -> Result<()> {
    let regained = |partition: &i32| {
        let newest = producers.newest(*partition);
        newest.is_some_and(|sent| sent.at > loss.at && *sent.leader != *loss.leader)
    };
    until("an acknowledgement from another leader", || {
        Ok(loss.partitions.iter().all(regained))
    })
}

/// Fills in the row: the gaps, and what was produced in all.
pub(super) fn of_gaps(
    row: &mut TrialRow,
    plan: &Plan,
    sent: &[Vec<Sent>],
    losses: &[Loss],
    elapsed: Duration,
) {
    let mut gaps = latencies();
    for loss in losses {
        for partition in &loss.partitions {
            let of_partition = usize::try_from(*partition).ok().and_then(|at| sent.get(at));
            match of_partition.and_then(|sent| gap(sent, loss)) {
                Some(gap) => note(&mut gaps, gap),
                None => row.void.push(format!(
                    "partition {partition} was not taken from its leader"
                )),
            }
        }
    }
    row.partitions = plan.partitions;
    row.size_bytes = plan.size_bytes;
    row.offered_per_second = Some(plan.rate * f64::from(plan.partitions));
    row.seconds = elapsed.as_secs_f64();
    row.count = gaps.len();
    row.took_ms = Some(Millis::new(&gaps));
    row.acked = sent.iter().map(|one| one.len() as u64).sum();
    row.per_second = Some(row.acked as f64 / row.seconds);
}

/// From the last acknowledgement of the leader that was lost to the first one of another.
fn gap(sent: &[Sent], loss: &Loss) -> Option<Duration> {
    let is_regained = |one: &Sent| one.at > loss.at && *one.leader != *loss.leader;
    let first = sent.iter().position(is_regained)?;
    let last = sent[..first].last()?;
    (*last.leader == *loss.leader).then(|| sent[first].at - last.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Ack;

    fn sent(from: Instant, acks: &[(u64, &str)]) -> Vec<Sent> {
        let one = |(ms, leader): &(u64, &str)| Sent {
            ack: Ack {
                partition: 0,
                offset: 0,
                id: 0,
            },
            leader: (*leader).into(),
            intended: from,
            at: from + Duration::from_millis(*ms),
        };
        acks.iter().map(one).collect()
    }

    #[test]
    fn a_gap_is_between_the_two_leaders_however_late_the_first_ones_last_answer_was() {
        let from = Instant::now();
        let loss = |ms| Loss {
            at: from + Duration::from_millis(ms),
            leader: "a".into(),
            partitions: vec![0],
        };
        let acks = sent(
            from,
            &[(10, "a"), (20, "a"), (31, "a"), (300, "b"), (302, "b")],
        );
        assert_eq!(gap(&acks, &loss(30)), Some(Duration::from_millis(269)));
        assert_eq!(gap(&acks, &loss(301)), None, "it led no more");
        assert_eq!(gap(&acks[..3], &loss(30)), None, "nobody else came");
    }
}
