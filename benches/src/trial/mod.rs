//! Trials: what is asked of a cluster that the suite has started itself and may kill, stop, fill and start again.
//!
//! Each has a topic of its own with three replicas, and brings its proof along: how often the brokers synced while so
//! many records were acknowledged, and that all of these are there at the end.

mod catch_up;
mod consume;
mod end_to_end;
mod failover;
mod fetch;
mod fill;
mod gzip;
mod idle;
mod meter;
mod planned_move;
mod replicas;
mod restart;
mod row;
mod soak;
mod store_figures;
mod stored;

pub(crate) use row::COLUMNS;
pub use row::TrialRow;
pub use soak::SoakFigures;
pub(crate) use store_figures::COLUMNS as STORE_COLUMNS;
pub use store_figures::StoreFigures;

use self::failover::Way;
use crate::error::{Error, Result};
use crate::kafka::{Cluster, Topic};
use crate::stage::{Stage, StageOptions};
use std::time::{Duration, Instant};

/// Of every topic here.
const REPLICAS: i16 = 3;
/// Time after an event for what it set in motion.
const SETTLE: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(2);
/// Nothing that is waited for here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// From the producer's intended instant to the consumer's receipt.
    EndToEnd,
    /// What was just written is read, from memory.
    FetchWarm,
    /// It is read after a restart of everything, from the disk.
    FetchCold,
    /// A broker was away and comes back; producers go on meanwhile.
    CatchUp,
    /// Leadership is handed over under load.
    PlannedMove,
    /// Leaders are killed under load.
    Failover,
    /// Leaders hang under load.
    Hang,
    /// All brokers are stopped, or killed, and started again.
    Restart,
    /// Nothing happens.
    Idle,
    /// A topic is put into the snapshot store beside producers, goes from the logs, and is read back from the store.
    Snapshot,
    /// A long while, with everything that happens in one.
    Soak,
}

impl Trial {
    /// In the order in which they are run.
    pub const ALL: [Self; 11] = [
        Self::EndToEnd,
        Self::FetchWarm,
        Self::FetchCold,
        Self::CatchUp,
        Self::PlannedMove,
        Self::Failover,
        Self::Restart,
        Self::Idle,
        Self::Snapshot,
        Self::Hang,
        Self::Soak,
    ];

    /// Whether it is run when nothing is named.
    #[must_use]
    pub fn is_of_the_suite(self) -> bool {
        self != Self::Soak
    }

    /// Short and unique.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EndToEnd => "end-to-end",
            Self::FetchWarm => "fetch-warm",
            Self::FetchCold => "fetch-cold",
            Self::CatchUp => "catch-up",
            Self::PlannedMove => "planned-move",
            Self::Failover => "failover",
            Self::Hang => "hang",
            Self::Restart => "restart",
            Self::Idle => "idle",
            Self::Snapshot => "snapshot",
            Self::Soak => "soak",
        }
    }

    /// About how long it takes.
    pub(crate) fn estimate(self, sizes: &Sizes) -> Duration {
        let filling = |bytes: u64| bytes as f64 / FILL_BYTES_PER_SECOND;
        let seconds = match self {
            Self::EndToEnd => 1.0 + (sizes.warm + sizes.window).as_secs_f64(),
            Self::FetchWarm => 0.5 + filling(sizes.fetch_bytes) + sizes.window.as_secs_f64(),
            Self::FetchCold => 3.0 + 2.0 * filling(sizes.fetch_bytes),
            Self::CatchUp => 1.0 + sizes.window.as_secs_f64() + 2.0 * filling(sizes.catch_up_bytes),
            Self::PlannedMove => 1.0 + 0.1 * f64::from(sizes.moves),
            Self::Failover | Self::Hang => 1.0 + 1.6 * f64::from(sizes.kills),
            Self::Restart => {
                let filled: u64 = sizes.restart_bytes.iter().sum();
                let events = 2 * sizes.restart_bytes.len() * sizes.restarts;
                1.5 + 2.2 * events as f64 + filling(filled)
            }
            Self::Idle => {
                let each = |count: &i32| {
                    1.2 + sizes.settle.as_secs_f64()
                        + sizes.idle_window.as_secs_f64()
                        + f64::from(*count) / 700.0
                };
                sizes.idle_partitions.iter().map(each).sum()
            }
            Self::Snapshot => {
                // Filled, stored, dropped, read from the store, and read back.
                8.0 + sizes.window.as_secs_f64() + 4.0 * filling(sizes.snapshot_bytes)
            }
            // Most of what comes after it is reading back.
            Self::Soak => 15.0 + sizes.window.as_secs_f64() + 1.1 * sizes.soak.as_secs_f64(),
        };
        Duration::from_secs_f64(seconds)
    }
}

/// For estimates only.
const FILL_BYTES_PER_SECOND: f64 = 60e6;

/// How much of everything.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Leaders that are killed, and that hang.
    pub kills: u32,
    /// Leaderships that are moved.
    pub moves: u32,
    /// Before a window of end-to-end and fetch.
    pub warm: Duration,
    /// The window of end-to-end and fetch, and how long producers run quietly before a catch-up and a
    /// snapshot.
    pub window: Duration,
    /// Records per second end to end.
    pub rate: f64,
    /// Payload that is fetched.
    pub fetch_bytes: u64,
    /// Payload that a broker has to catch up with.
    pub catch_up_bytes: u64,
    /// Payload that goes into the snapshot store.
    pub snapshot_bytes: u64,
    /// Payload in the log before restarts, rising.
    pub restart_bytes: Vec<u64>,
    /// Restarts of each kind and size.
    pub restarts: usize,
    /// Numbers of partitions to idle with, each in a cluster of its own.
    pub idle_partitions: Vec<i32>,
    /// After the creation of idle partitions.
    pub settle: Duration,
    /// How long idle brokers are watched.
    pub idle_window: Duration,
    /// The long while.
    pub soak: Duration,
}

impl Sizes {
    /// For a comparison: about eight minutes.
    #[must_use]
    pub fn full() -> Self {
        Self {
            kills: 50,
            moves: 100,
            warm: Duration::from_secs(2),
            window: Duration::from_secs(10),
            rate: 2_000.0,
            fetch_bytes: 512 << 20,
            catch_up_bytes: 512 << 20,
            snapshot_bytes: 512 << 20,
            restart_bytes: vec![64 << 20, 1 << 30],
            restarts: 3,
            idle_partitions: vec![1, 1_000, 10_000],
            settle: Duration::from_secs(5),
            idle_window: Duration::from_secs(20),
            soak: Duration::from_secs(600),
        }
    }

    /// For a look.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            kills: 3,
            moves: 20,
            warm: Duration::from_millis(500),
            window: Duration::from_secs(2),
            rate: 1_000.0,
            fetch_bytes: 64 << 20,
            catch_up_bytes: 64 << 20,
            snapshot_bytes: 32 << 20,
            restart_bytes: vec![8 << 20, 64 << 20],
            restarts: 1,
            idle_partitions: vec![1, 1_000],
            settle: Duration::from_millis(500),
            idle_window: Duration::from_secs(2),
            soak: Duration::from_secs(20),
        }
    }

    /// Everything once, whatever it says: for a test of the trials themselves.
    #[must_use]
    pub fn tiny() -> Self {
        Self {
            kills: 1,
            moves: 2,
            warm: Duration::from_millis(100),
            window: Duration::from_millis(500),
            rate: 200.0,
            fetch_bytes: 2 << 20,
            catch_up_bytes: 2 << 20,
            snapshot_bytes: 8 << 20,
            restart_bytes: vec![1 << 20],
            restarts: 1,
            idle_partitions: vec![1, 20],
            settle: Duration::ZERO,
            idle_window: Duration::from_millis(500),
            soak: Duration::from_secs(3),
        }
    }
}

/// A trial, and where it takes place.
pub(crate) struct Scene<'a> {
    pub(crate) options: &'a StageOptions,
    pub(crate) sizes: &'a Sizes,
    /// The cluster, where a trial left one that the next may use.
    pub(crate) stage: Option<Stage>,
}

impl Scene<'_> {
    /// Runs one, blocking.
    ///
    /// # Errors
    /// When the cluster does not come up, or not to the state that a trial waits for.
    pub(crate) fn run(&mut self, trial: Trial) -> Result<Vec<TrialRow>> {
        // Which of the files of earlier trials would be read again, and which memory is theirs, is not to be told apart.
        let is_alone = matches!(
            trial,
            Trial::Restart | Trial::Idle | Trial::Snapshot | Trial::Soak
        );
        if is_alone {
            self.stage = None;
        }
        let one = |row: TrialRow| vec![row];
        match trial {
            Trial::Idle => self.idle(),
            Trial::Restart => self.restart(),
            Trial::Snapshot => self.snapshot(),
            Trial::Soak => self.soak().map(one),
            Trial::EndToEnd => self.end_to_end().map(one),
            Trial::FetchWarm => self.fetch_warm().map(one),
            Trial::FetchCold => self.fetch_cold().map(one),
            Trial::CatchUp => self.catch_up().map(one),
            Trial::PlannedMove => self.planned_move().map(one),
            Trial::Failover => self.lost_leaders(Way::Killed).map(one),
            Trial::Hang => self.lost_leaders(Way::Hung).map(one),
        }
    }

    /// The cluster that trials share, with all brokers up.
    pub(crate) fn stage(&mut self) -> Result<&mut Stage> {
        if self.stage.is_none() {
            self.stage = Some(Stage::start(self.options)?);
        }
        let stage = self.stage.as_mut().expect("it was just started");
        stage.start_all()?;
        Ok(stage)
    }
}

/// A topic that nothing else uses.
fn topic(cluster: &Cluster, trial: &str, partitions: i32) -> Result<Topic> {
    let name = format!("bench-{trial}-{}-{partitions}", std::process::id());
    cluster.create_topic(&name, partitions, REPLICAS)
}

/// Topics that stay behind are no reason to lose a row.
fn delete(cluster: &Cluster, topic: &str) {
    if let Err(error) = cluster.delete_topic(topic) {
        eprintln!("bench: {topic} stays behind: {error}");
    }
}

/// There is no event for it in Kafka's protocol: asks again until it holds.
fn until(what: &str, holds: impl FnMut() -> Result<bool>) -> Result<()> {
    until_within(PATIENCE, POLL, what, holds)
}

/// The same with a patience and a pause between two looks of its own.
fn until_within(
    patience: Duration,
    pause: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        if began.elapsed() > patience {
            return Err(Error::Cluster(format!("{what}: not in {patience:?}")));
        }
        std::thread::sleep(pause);
    }
    Ok(())
}
