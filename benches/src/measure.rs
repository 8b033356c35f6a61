//! One cell after the other: floor, topic, load, read back, floor, row.

use crate::cell::{Cell, Offered, suite};
use crate::error::{Error, Result};
use crate::floor::{Floor, FloorCell};
use crate::generator::{self, Ack, Load, Outcome};
use crate::kafka::{Cluster, PAYLOAD_BYTES_MIN, Topic, noise, producers, read_back};
use crate::probe::{BrokerProbe, Sample};
use crate::report::{FloorFigures, Floors, Report, Row, Seen};
use crate::saturation::Saturation;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Time for every connection to stand before the first request is due.
const HEAD_START: Duration = Duration::from_millis(20);
/// A leader that moves during the warm-up disturbs a run; then the cell begins anew.
const ATTEMPTS: usize = 3;
const FLOOR_LOG_BYTES: u64 = 256 << 20;

/// What to measure and where to look.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the rows are called, for reports that stand side by side.
    pub label: String,
    /// `host:port` of any broker, or of several, separated by commas.
    pub bootstrap: String,
    /// Where each broker's counters, CPU and memory are seen. May be empty.
    pub brokers: Vec<BrokerProbe>,
    /// Whether the brokers sync before they acknowledge, as configured. Shown in each row; the
    /// syncs that were counted stand beside it.
    pub fsync: bool,
    /// Replicas of each partition, at most the number of brokers.
    pub replication: i16,
    /// -1 for all, 1 for the leader alone. Without acknowledgement (0) there is nothing to time.
    pub acks: i16,
    /// Offered and answered before a window begins.
    pub warm: Duration,
    /// The window of a cell.
    pub measured: Duration,
    /// The window of the floor, before and after each cell.
    pub floor_measured: Duration,
    /// Where the floor writes, which should be the brokers' disk; `None` leaves it out.
    pub floor_dir: Option<PathBuf>,
    /// Whether all acknowledged records are fetched and compared after each cell.
    pub read_back: bool,
    /// Leaves the cells' topics behind, for a look at what was written.
    pub keep_topics: bool,
    /// The cells, in order.
    pub cells: Vec<Cell>,
    /// After them: how much the cluster takes, and its latency below that.
    pub saturation: Option<Saturation>,
}

impl Options {
    /// The whole suite, about four minutes.
    #[must_use]
    pub fn full(bootstrap: &str) -> Self {
        Self {
            label: "walser".into(),
            bootstrap: bootstrap.into(),
            brokers: Vec::new(),
            fsync: true,
            replication: 3,
            acks: -1,
            warm: Duration::from_secs(3),
            measured: Duration::from_secs(12),
            floor_measured: Duration::from_secs(3),
            floor_dir: None,
            read_back: true,
            keep_topics: false,
            cells: suite(),
            saturation: None,
        }
    }

    /// The whole suite in less than 90 seconds; for a look, not for a comparison.
    #[must_use]
    pub fn quick(bootstrap: &str) -> Self {
        Self {
            warm: Duration::from_secs(1),
            measured: Duration::from_secs(3),
            floor_measured: Duration::from_secs(1),
            ..Self::full(bootstrap)
        }
    }

    /// About how long a cell takes: its floor, its topic, its window, reading back.
    pub(crate) fn estimate(&self) -> Duration {
        let floor = self
            .floor_dir
            .as_ref()
            .map_or(Duration::ZERO, |_| self.floor_measured);
        self.warm + self.measured + floor.mul_f64(2.5) + Duration::from_millis(700)
    }

    /// About how long the saturation takes.
    pub(crate) fn estimate_saturation(&self, saturation: &Saturation) -> Duration {
        let step = saturation.step + self.warm.min(saturation.step);
        step * 7 + self.estimate() * 4
    }

    fn validate(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::Usage(what));
        if self.acks != -1 && self.acks != 1 {
            return refuse(format!(
                "acks={} cannot be timed; use -1 (all) or 1",
                self.acks
            ));
        }
        if self.replication < 1 {
            return refuse(format!(
                "{} replicas; at least 1 is needed",
                self.replication
            ));
        }
        for cell in &self.cells {
            let idle = cell.partitions < 1 || cell.connections == 0;
            if idle || cell.size_bytes < PAYLOAD_BYTES_MIN {
                return refuse(format!(
                    "cell {}: needs a partition, a connection and {PAYLOAD_BYTES_MIN} bytes",
                    cell.name
                ));
            }
        }
        Ok(())
    }
}

/// Runs the cells, blocking, with progress on stderr.
///
/// A leader that moves, an error answer or a late generator make a row void and do not end the
/// run. A cell's topic is deleted after it, unless it shall be kept.
///
/// # Errors
/// When the options contradict themselves, a broker or a probe cannot be reached, or the floor's
/// files cannot be written.
pub fn run(options: &Options) -> Result<Report> {
    let mut run = Run::new(options)?;
    for (number, cell) in options.cells.iter().enumerate() {
        let count = options.cells.len();
        eprintln!("bench: {} ({} of {count})", cell.name, number + 1);
        run.and_tell(|run| run.cell(cell).map(|row| vec![row]))?;
    }
    if let Some(saturation) = &options.saturation {
        run.and_tell(|run| run.saturation(saturation))?;
    }
    Ok(run.into_report())
}

/// A run of cells, and what came of them so far.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) cluster: Cluster,
    floor: Option<Floor>,
    pub(crate) rows: Vec<Row>,
}

impl<'a> Run<'a> {
    /// Prepares the floor.
    ///
    /// # Errors
    /// When the options contradict themselves, or the floor's files cannot be written.
    pub(crate) fn new(options: &'a Options) -> Result<Self> {
        options.validate()?;
        let replicas = options.replication.unsigned_abs().into();
        let open = |dir: &PathBuf| Floor::open(dir, replicas, FLOOR_LOG_BYTES);
        let floor = options.floor_dir.as_ref().map(open).transpose()?;
        Ok(Self {
            options,
            cluster: Cluster::new(&options.bootstrap),
            floor,
            rows: Vec::new(),
        })
    }

    /// Measures, says what came of it, and keeps it.
    pub(crate) fn and_tell(
        &mut self,
        measure: impl FnOnce(&mut Self) -> Result<Vec<Row>>,
    ) -> Result<()> {
        let rows = measure(self)?;
        for row in &rows {
            eprintln!("bench: {}", row.summary());
        }
        self.rows.extend(rows);
        Ok(())
    }

    pub(crate) fn into_report(self) -> Report {
        Report { rows: self.rows }
    }

    /// A topic of this run alone: the process is in its name, so that two runs against one cluster do not meet.
    pub(crate) fn topic(&self, cell: &Cell) -> Result<Topic> {
        let Cell {
            name, partitions, ..
        } = cell;
        let name = format!("bench-{name}-{}-{partitions}", std::process::id());
        let Options { replication, .. } = *self.options;
        self.cluster.create_topic(&name, *partitions, replication)
    }

    /// Unless it shall be kept.
    pub(crate) fn drop_topic(&self, name: &str) {
        if !self.options.keep_topics
            && let Err(e) = self.cluster.delete_topic(name)
        {
            eprintln!("bench: {name} stays behind: {e}");
        }
    }

    pub(crate) fn cell(&mut self, cell: &Cell) -> Result<Row> {
        let load = self.load(cell)?;
        let before = self.measure_floor(cell, &load)?;
        let topic = self.topic(cell)?;
        let name = topic.name.clone();
        let seen = self.attempts(cell, &load, topic);
        let read_back = match &seen {
            Ok((_, acked)) if self.options.read_back => {
                Some(read_back(&self.cluster, &name, acked.clone())?)
            }
            _ => None,
        };
        self.drop_topic(&name);
        let (seen, _) = seen?;
        let after = self.measure_floor(cell, &load)?;
        let floors = before
            .zip(after)
            .map(|(before, after)| Floors { before, after });
        Ok(Row::new(
            self.options,
            cell,
            &load,
            &seen,
            read_back,
            floors,
        ))
    }

    fn load(&self, cell: &Cell) -> Result<Load> {
        let (inflight, rate) = match cell.offered {
            Offered::Closed { inflight } => (inflight, None),
            Offered::Open { rate } => (1, Some(rate)),
            Offered::OpenAtHalfOf { cell: name } => {
                let row = self
                    .rows
                    .iter()
                    .find(|row| row.cell == name)
                    .ok_or_else(|| {
                        Error::Usage(format!("cell {}: {name} was not run before it", cell.name))
                    })?;
                // A cell without acknowledgements is void; its half still has to be some rate.
                (1, Some((row.acks_per_second / 2.0).max(1.0)))
            }
        };
        let Options { warm, measured, .. } = *self.options;
        Ok(Load {
            inflight,
            rate,
            requests: None,
            warm,
            measured,
        })
    }

    /// The floor with the same payload and as many requests on the way in all.
    pub(crate) fn measure_floor(
        &mut self,
        cell: &Cell,
        load: &Load,
    ) -> Result<Option<FloorFigures>> {
        let Some(floor) = &mut self.floor else {
            return Ok(None);
        };
        let load = Load {
            inflight: load.inflight * cell.connections,
            warm: self.options.floor_measured / 4,
            measured: self.options.floor_measured,
            ..*load
        };
        let run = floor.run(&FloorCell {
            size_bytes: cell.size_bytes,
            load,
            fsync: true,
        })?;
        Ok(Some(FloorFigures::new(&run, &load)))
    }

    pub(crate) fn attempts(
        &self,
        cell: &Cell,
        load: &Load,
        mut topic: Topic,
    ) -> Result<(Seen, Vec<Ack>)> {
        let mut acked = Vec::new();
        let mut attempt = 1;
        loop {
            let mut seen = self.attempt(cell, load, &topic)?;
            acked.append(&mut seen.outcome.acked);
            if seen.outcome.errors_warm == 0 || attempt == ATTEMPTS {
                return Ok((seen, acked));
            }
            eprintln!(
                "bench: disturbed while warming up ({:?}), again",
                seen.outcome.errors
            );
            attempt += 1;
            topic = self.cluster.topic(&topic.name)?;
        }
    }

    fn attempt(&self, cell: &Cell, load: &Load, topic: &Topic) -> Result<Seen> {
        let clients = producers(
            topic,
            cell.connections,
            self.options.acks,
            &noise(cell.size_bytes),
        )?;
        let start = Instant::now() + HEAD_START;
        let brokers = &self.options.brokers;
        thread::scope(|scope| {
            let samples = scope.spawn(move || {
                let at = |instant: Instant| {
                    thread::sleep(instant.saturating_duration_since(Instant::now()));
                    Sample::take(brokers)
                };
                let from = start + load.warm;
                Ok::<_, Error>((at(from)?, at(from + load.measured)?))
            });
            let outcome: Result<Outcome> = generator::run(load, start, clients);
            let samples = samples
                .join()
                .map_err(|_| Error::Cluster("probe: panic".into()))?;
            let (before, after) = samples?;
            Ok(Seen {
                outcome: outcome?,
                before,
                after,
            })
        })
    }
}
