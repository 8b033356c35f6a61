//! The whole suite against a throwaway cluster: produce, saturation, then the trials.

use crate::error::{Doing, Error, Result};
use crate::machine::Machine;
use crate::measure::{Options, Run};
use crate::report::Report;
use crate::saturation::Saturation;
use crate::stage::{Stage, StageOptions};
use crate::trial::{COLUMNS, STORE_COLUMNS, Scene, Sizes, Trial, TrialRow};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// The name under which the search for the saturation is chosen.
const SATURATION: &str = "saturation";

/// How the stage is configured, but for the least suite.
const SPARES: &str = "spares.size = \"512MiB\"";

/// When nothing more is begun that would not end before it.
const QUICK_MAX: Duration = Duration::from_secs(85);

/// What is run, and how much of it.
#[derive(Clone, Debug)]
pub struct SuiteOptions {
    /// The cluster that is started.
    pub stage: StageOptions,
    /// Cells of produce and the saturation; whom they reach is filled in.
    pub produce: Options,
    /// The trials, in order.
    pub trials: Vec<Trial>,
    /// How much of each trial.
    pub sizes: Sizes,
    /// What would take the run over this is left out, and named.
    pub budget: Option<Duration>,
}

impl SuiteOptions {
    /// For a comparison: about twelve minutes.
    #[must_use]
    pub fn full(mut stage: StageOptions) -> Self {
        // Enough for the windows of a few cells.
        stage.config.insert(0, SPARES.into());
        let mut produce = Options::full("");
        produce.saturation = Some(Saturation {
            step: Duration::from_secs(4),
        });
        Self {
            stage,
            produce,
            trials: Trial::ALL
                .into_iter()
                .filter(|t| t.is_of_the_suite())
                .collect(),
            sizes: Sizes::full(),
            budget: None,
        }
    }

    /// For a look: in less than 90 seconds, and what there is no time for is left out.
    #[must_use]
    pub fn quick(stage: StageOptions) -> Self {
        let mut produce = Options::quick("");
        produce.warm = Duration::from_millis(500);
        produce.measured = Duration::from_millis(1_200);
        produce.floor_measured = Duration::from_millis(250);
        produce.saturation = Some(Saturation {
            step: Duration::from_millis(400),
        });
        Self {
            produce,
            sizes: Sizes::quick(),
            budget: Some(QUICK_MAX),
            ..Self::full(stage)
        }
    }

    /// Everything once and as little as possible of it, whatever it says: for a test of the suite itself.
    #[must_use]
    pub fn tiny(stage: StageOptions) -> Self {
        let mut tiny = Self::quick(stage);
        tiny.produce.warm = Duration::from_millis(100);
        tiny.produce.measured = Duration::from_millis(200);
        tiny.produce.floor_measured = Duration::from_millis(100);
        tiny.produce.saturation = Some(Saturation {
            step: Duration::from_millis(100),
        });
        tiny.sizes = Sizes::tiny();
        tiny.stage.config.retain(|line| line != SPARES);
        tiny.budget = None;
        tiny
    }

    /// Keeps what is named.
    ///
    /// # Errors
    /// When a name is none; all names are in the error.
    pub fn choose(&mut self, names: &[String]) -> Result<()> {
        let trials = Trial::ALL.map(Trial::name);
        self.produce.choose_also(names, &trials)?;
        let is_named = |trial: &Trial| names.iter().any(|name| name == trial.name());
        self.trials = Trial::ALL.into_iter().filter(is_named).collect();
        Ok(())
    }
}

impl Options {
    /// Keeps the cells that are named.
    ///
    /// # Errors
    /// When a name is none; all names are in the error.
    pub fn choose(&mut self, names: &[String]) -> Result<()> {
        self.choose_also(names, &[])
    }

    fn choose_also(&mut self, names: &[String], others: &[&str]) -> Result<()> {
        let mut known: Vec<&str> = self.cells.iter().map(|cell| cell.name).collect();
        known.push(SATURATION);
        known.extend(others);
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(Error::Usage(format!(
                "there is no cell {unknown} here; there are {}",
                known.join(", ")
            )));
        }
        let is_named = |name: &str| names.iter().any(|named| named == name);
        self.cells.retain(|cell| is_named(cell.name));
        if !is_named(SATURATION) {
            self.saturation = None;
        }
        Ok(())
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct SuiteReport {
    /// On what it was measured.
    pub machine: Option<Machine>,
    /// Cells of produce and the loads up to the saturation.
    pub produce: Report,
    /// The trials' rows.
    pub trials: Vec<TrialRow>,
    /// What there was no time for, or what failed, and why.
    pub left_out: Vec<String>,
}

impl SuiteReport {
    /// Whether every record that was acknowledged came back, in all rows that looked.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.produce.is_sound() && self.trials.iter().all(TrialRow::is_sound)
    }

    /// Whether all was run and no row is void.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let stands = |row: &TrialRow| row.void.is_empty();
        self.produce.is_whole() && self.trials.iter().all(stands) && self.left_out.is_empty()
    }

    /// One JSON object a row and line.
    #[must_use]
    pub fn json_lines(&self) -> String {
        let machine: Vec<&Machine> = self.machine.iter().collect();
        crate::report::json_lines(&machine)
            + &self.produce.json_lines()
            + &crate::report::json_lines(&self.trials)
    }

    /// Aligned tables, then how rows of the store were measured, why rows are void and what was left out.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = self
            .machine
            .as_ref()
            .map_or_else(String::new, Machine::line);
        if !self.produce.rows.is_empty() {
            text += &self.produce.table();
            text.push('\n');
        }
        if !self.trials.is_empty() {
            text += &crate::report::table(COLUMNS, &self.trials);
        }
        let of_store = |row: &&TrialRow| row.store.is_some();
        let of_store: Vec<TrialRow> = self.trials.iter().filter(of_store).cloned().collect();
        if !of_store.is_empty() {
            text.push('\n');
            text += &crate::report::table(STORE_COLUMNS, &of_store);
        }
        for (row, store) in self
            .trials
            .iter()
            .filter_map(|row| Some((row, row.store.as_ref()?)))
        {
            let _ = writeln!(text, "HOW {}: {}", row.cell, store.how);
        }
        for row in &self.trials {
            if let Some(soak) = &row.soak {
                let _ = write!(
                    text,
                    "HOW {}: {}",
                    row.cell,
                    soak.text(row.took_ms, row.quiet_ms)
                );
            }
            for reason in &row.void {
                let _ = writeln!(text, "VOID {}: {reason}", row.cell);
            }
        }
        for what in &self.left_out {
            let _ = writeln!(text, "LEFT OUT {what}");
        }
        text
    }
}

/// Runs the suite, blocking, with progress on stderr. A trial that fails is named in the report and does not end the run.
///
/// # Errors
/// When the options contradict themselves, or no cluster comes up.
pub fn run_suite(options: &SuiteOptions) -> Result<SuiteReport> {
    options.stage.validate()?;
    let mut clock = Clock::new(options);
    let mut machine = Machine::look(&options.stage.folder);
    let mut report = SuiteReport::default();
    let mut scene = Scene {
        options: &options.stage,
        sizes: &options.sizes,
        stage: None,
    };
    if !options.produce.cells.is_empty() || options.produce.saturation.is_some() {
        let stage = scene.stage()?;
        eprintln!("bench: waits for spare segments");
        stage.await_spares()?;
        report.produce = produce(options, stage, &mut clock, &mut report.left_out)?;
    }
    for trial in &options.trials {
        let estimate = trial.estimate(&options.sizes);
        if !clock.begin(trial.name(), estimate, &mut report.left_out) {
            continue;
        }
        match scene.run(*trial) {
            Ok(rows) => {
                for row in &rows {
                    eprintln!("bench: {}", row.summary());
                }
                report.trials.extend(rows);
            }
            Err(error @ Error::Usage(_)) => return Err(error),
            Err(error) => {
                eprintln!("bench: {} failed: {error}", trial.name());
                report.left_out.push(format!("{}: {error}", trial.name()));
                // Whatever state it is in, the next trial gets another.
                scene.stage = None;
            }
        }
    }
    machine.finish();
    report.machine = Some(machine);
    eprintln!(
        "bench: done in {:.0} s",
        clock.began.elapsed().as_secs_f64()
    );
    Ok(report)
}

fn produce(
    options: &SuiteOptions,
    stage: &Stage,
    clock: &mut Clock,
    left_out: &mut Vec<String>,
) -> Result<Report> {
    let mut produce = options.produce.clone();
    produce.bootstrap = stage.bootstrap();
    // Three logs, written once; gone with the run unless a folder was named.
    let floor = tempfile::Builder::new()
        .prefix("walser-floor-")
        .tempdir_in(&options.stage.folder)
        .doing(|| "make a folder for the floor".into())?;
    produce
        .floor_dir
        .get_or_insert_with(|| floor.path().to_owned());
    produce.brokers = stage.probes();
    let mut run = Run::new(&produce)?;
    for cell in &produce.cells {
        if clock.begin(cell.name, produce.estimate(), left_out) {
            run.and_tell(|run| run.cell(cell).map(|row| vec![row]))?;
        }
    }
    if let Some(saturation) = &produce.saturation
        && clock.begin(
            SATURATION,
            produce.estimate_saturation(saturation),
            left_out,
        )
    {
        run.and_tell(|run| run.saturation(saturation))?;
    }
    Ok(run.into_report())
}

/// What is said about time, and what there is none for.
struct Clock {
    began: Instant,
    budget: Option<Duration>,
    /// Of what has not begun yet.
    left: Duration,
    count: usize,
    number: usize,
}

impl Clock {
    fn new(options: &SuiteOptions) -> Self {
        let (produce, sizes) = (&options.produce, &options.sizes);
        let cells = produce.estimate() * u32::try_from(produce.cells.len()).unwrap_or(u32::MAX);
        let trials: Duration = options.trials.iter().map(|t| t.estimate(sizes)).sum();
        let saturation = produce.saturation.as_ref();
        let searched = saturation.map_or(Duration::ZERO, |s| produce.estimate_saturation(s));
        let count = produce.cells.len() + options.trials.len() + usize::from(saturation.is_some());
        let left = cells + trials + searched;
        let budget = options.budget.map_or_else(String::new, |budget| {
            format!(", at most {:.0} s", budget.as_secs_f64())
        });
        eprintln!(
            "bench: {count} cells, about {:.0} s{budget}",
            left.as_secs_f64()
        );
        Self {
            began: Instant::now(),
            budget: options.budget,
            left,
            count,
            number: 0,
        }
    }

    /// Says what begins; false when there is no time for it.
    fn begin(&mut self, name: &str, estimate: Duration, left_out: &mut Vec<String>) -> bool {
        self.number += 1;
        let (number, count) = (self.number, self.count);
        let left = self.left.as_secs_f64();
        self.left = self.left.saturating_sub(estimate);
        let is_late = |budget: Duration| self.began.elapsed() + estimate > budget;
        if self.budget.is_some_and(is_late) {
            eprintln!("bench: {name} ({number} of {count}) is left out: no time");
            left_out.push(format!("{name}: no time"));
            return false;
        }
        eprintln!("bench: {name} ({number} of {count}), about {left:.0} s left");
        true
    }
}
