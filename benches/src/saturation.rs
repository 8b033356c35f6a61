//! How much the cluster takes, open loop, and what latency it has below that.

use crate::cell::{Cell, Offered};
use crate::error::Result;
use crate::generator::Load;
use crate::kafka::{Topic, read_back};
use crate::measure::Run;
use crate::report::{Floors, Row, SUSTAINED};
use std::time::Duration;

/// What is offered first, where no closed loop has said more.
const FIRST_RATE: f64 = 2_000.0;
/// The search ends when what is sustained and what is not are so close, or after so many steps.
const CLOSE: f64 = 1.1;
const STEPS_MAX: usize = 12;
/// The closed loop that is nearest to what is offered here.
const CLOSED: &str = "1k-12x5-48p";
/// Shares of the saturation at which latency is measured.
const SHARES: [(&str, f64); 4] = [
    ("load-25%", 0.25),
    ("load-50%", 0.50),
    ("load-75%", 0.75),
    ("load-90%", 0.90),
];

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
pub struct Saturation {
    /// The window of one step of the search.
    pub step: Duration,
}

impl Run<'_> {
    /// Raises the load until less than 95 % of it is acknowledged in time, then measures below.
    pub(crate) fn saturation(&mut self, saturation: &Saturation) -> Result<Vec<Row>> {
        let cell = |name| Cell {
            name,
            partitions: 48,
            size_bytes: 1 << 10,
            connections: 12,
            offered: Offered::Open { rate: FIRST_RATE },
        };
        let searched = cell("saturation");
        let topic = self.topic(&searched)?;
        let rate = self.search(saturation, &searched, &topic)?;
        eprintln!("bench: sustained: {rate:.0}/s");
        let mut rows = Vec::new();
        let mut acked = Vec::new();
        for (name, share) in SHARES {
            let cell = cell(name);
            let load = self.open(rate * share, self.options.measured);
            let before = self.measure_floor(&cell, &load)?;
            let (seen, mut of_load) = self.attempts(&cell, &load, topic.clone())?;
            acked.append(&mut of_load);
            let after = self.measure_floor(&cell, &load)?;
            let floors = before.zip(after);
            let floors = floors.map(|(before, after)| Floors { before, after });
            let mut row = Row::new(self.options, &cell, &load, &seen, None, floors);
            row.share_of_sustained = Some(share);
            rows.push(row);
        }
        if self.options.read_back {
            let back = read_back(&self.cluster, &topic.name, acked)?;
            rows.iter_mut().for_each(|row| row.note_read_back(back));
        }
        self.drop_topic(&topic.name);
        Ok(rows)
    }

    fn open(&self, rate: f64, measured: Duration) -> Load {
        Load {
            inflight: 1,
            rate: Some(rate),
            requests: None,
            warm: self.options.warm.min(measured),
            measured,
        }
    }

    /// The highest rate that was sustained.
    fn search(&self, saturation: &Saturation, cell: &Cell, topic: &Topic) -> Result<f64> {
        let closed = self.rows.iter().find(|row| row.cell == CLOSED);
        let mut rate = closed.map_or(FIRST_RATE, |row| (row.acks_per_second / 2.0).max(1.0));
        let (mut sustained, mut refused) = (0.0_f64, f64::INFINITY);
        for _ in 0..STEPS_MAX {
            let load = self.open(rate, saturation.step);
            let (seen, _) = self.attempts(cell, &load, topic.clone())?;
            let achieved = seen.outcome.acks_per_second();
            eprintln!("bench: offered {rate:.0}/s, acknowledged {achieved:.0}/s");
            if seen.outcome.errors_total() == 0 && achieved >= SUSTAINED * rate {
                sustained = rate;
            } else {
                refused = rate;
            }
            if refused < sustained * CLOSE {
                break;
            }
            rate = match (sustained > 0.0, refused.is_finite()) {
                (_, false) => rate * 2.0,
                (false, true) => rate / 2.0,
                (true, true) => (sustained * refused).sqrt(),
            };
        }
        // Nothing was: the loads below are then void, by what they achieve.
        Ok(if sustained > 0.0 { sustained } else { rate })
    }
}
