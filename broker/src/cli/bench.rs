//! `walser bench`: the benchmark suite, against a throwaway cluster or a running one.

use std::path::PathBuf;
use std::time::Duration;

use benches::{BrokerProbe, GroupOptions, Options, Saturation, StageOptions, SuiteOptions};
use clap::{Args, Subcommand};

use super::exit::{Exit, Failure, Result};
use super::output::print;

/// Measure latency and throughput.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    produce: Produce,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What this machine and disk can do at all.
    Floor {
        /// The folder to write in.
        dir: PathBuf,
        /// One object a row.
        #[arg(long)]
        json: bool,
    },
    /// Consumer groups: joins, rebalances, commits, the death of a coordinator.
    Groups(Groups),
}

#[derive(Debug, Args)]
struct Groups {
    /// Any broker: HOST:PORT.
    #[arg(short, long, default_value = "127.0.0.1:9092")]
    bootstrap: String,
    /// Brokers' admin listeners and process ids, ADMIN|-,PID|-, separated by semicolons: their counters are shown.
    #[arg(long = "broker", value_name = "ADMIN,PID", value_delimiter = ';')]
    brokers: Vec<String>,
    /// Replicas of the topic.
    #[arg(long, default_value_t = 3)]
    replication: i16,
    /// Members of the large group.
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// How often each event is repeated.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Seconds for which commits are counted.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Every broker's Kafka address and process id, separated by commas. The one that coordinates a group is killed with
    /// SIGKILL at the end.
    #[arg(long = "kill", value_name = "HOST:PORT=PID", value_delimiter = ',')]
    processes: Vec<String>,
    /// One object a row.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Produce {
    /// Any broker of a running cluster, HOST:PORT: the cells of produce, and the saturation, are measured there. Without it
    /// a throwaway cluster is started, on which everything else is measured as well.
    #[arg(short, long)]
    bootstrap: Option<String>,
    /// Of a running cluster: a broker's admin listener and process id, ADMIN|-,PID|-; its counters are shown. May be
    /// repeated.
    #[arg(long = "broker", value_name = "ADMIN,PID", requires = "bootstrap")]
    brokers: Vec<String>,
    /// The short suite, in 90 seconds: for a look, not for a comparison.
    #[arg(long)]
    quick: bool,
    /// As little as possible of everything: what the suite's own test runs.
    #[arg(long, hide = true)]
    tiny: bool,
    /// Only these cells, with commas between them.
    #[arg(
        long,
        visible_alias = "cell",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    cells: Vec<String>,
    /// A folder on the disk that shall be measured, for a throwaway cluster and its floor.
    #[arg(long, value_name = "DIR", conflicts_with = "bootstrap")]
    dir: Option<PathBuf>,
    /// A line for the configuration of every broker of a throwaway cluster. May be repeated.
    #[arg(long, value_name = "LINE", conflicts_with = "bootstrap")]
    config: Vec<String>,
    /// Replicas of each partition.
    #[arg(long, default_value_t = 3)]
    replication: i16,
    /// -1 for all, 1 for the leader alone.
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    acks: i16,
    /// Seconds that are measured of each cell.
    #[arg(long)]
    seconds: Option<u64>,
    /// Measure the floor in this folder, which should be on the brokers' disk.
    #[arg(long, value_name = "DIR")]
    floor: Option<PathBuf>,
    /// Do not fetch and compare what was acknowledged.
    #[arg(long)]
    no_read_back: bool,
    /// Leave the topics behind.
    #[arg(long)]
    keep_topics: bool,
    /// Write latency against load to this file, as an SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// One object a row.
    #[arg(long)]
    json: bool,
}

impl Bench {
    /// Runs it, blocking.
    pub fn run(self) -> Result<()> {
        match self.verb {
            Some(Verb::Floor { dir, json }) => floor(&dir, json),
            Some(Verb::Groups(groups)) => groups.run(),
            None => self.produce.run(),
        }
    }
}

fn floor(dir: &std::path::Path, json: bool) -> Result<()> {
    let rows = benches::floor_suite(dir, 3, Duration::from_secs(3)).map_err(failed)?;
    print(&if json {
        benches::floor_json_lines(&rows)
    } else {
        benches::floor_table(&rows)
    })
}

fn failed(error: benches::Error) -> Failure {
    match error {
        benches::Error::Usage(message) => Failure::usage(message),
        other => Failure::new(other.to_string()),
    }
}

/// Brokers as `--broker` names them.
fn probes(brokers: &[String]) -> Result<Vec<BrokerProbe>> {
    let probe = |broker: &String| {
        let wrong =
            || Failure::usage(format!("{broker:?} is not ADMIN,PID")).next("`-` leaves one out");
        let (admin, pid) = broker.split_once(',').ok_or_else(wrong)?;
        let pid = (pid != "-")
            .then(|| pid.parse().map_err(|_| wrong()))
            .transpose()?;
        Ok(BrokerProbe {
            admin: (admin != "-").then(|| admin.to_owned()),
            pid,
        })
    };
    brokers.iter().map(probe).collect()
}

impl Groups {
    fn run(self) -> Result<()> {
        let process = |named: &String| {
            let wrong = || Failure::usage(format!("{named:?} is not HOST:PORT=PID"));
            let (address, pid) = named.split_once('=').ok_or_else(wrong)?;
            Ok((address.to_owned(), pid.parse().map_err(|_| wrong())?))
        };
        let options = GroupOptions {
            brokers: probes(&self.brokers)?,
            bootstrap: self.bootstrap,
            replication: self.replication,
            members: self.members,
            repeats: self.repeats,
            measured: Duration::from_secs(self.seconds),
            processes: self.processes.iter().map(process).collect::<Result<_>>()?,
        };
        let report = benches::run_groups(&options).map_err(failed)?;
        print(&if self.json {
            report.json_lines()
        } else {
            report.table()
        })
    }
}

impl Produce {
    fn run(self) -> Result<()> {
        let json = self.json;
        let (said, plot, is_sound, is_whole) = if self.bootstrap.is_some() {
            let report = benches::run(&self.produce()?).map_err(failed)?;
            let said = if json {
                report.json_lines()
            } else {
                report.table()
            };
            (said, report.plot(), report.is_sound(), report.is_whole())
        } else {
            let report = benches::run_suite(&self.suite()?).map_err(failed)?;
            let said = if json {
                report.json_lines()
            } else {
                report.table()
            };
            let plot = report.produce.plot();
            (said, plot, report.is_sound(), report.is_whole())
        };
        print(&said)?;
        if let (Some(file), Some(plot)) = (&self.plot, plot) {
            std::fs::write(file, plot).map_err(|error| {
                Failure::new(format!("cannot write {}: {error}", file.display()))
            })?;
        }
        if !is_sound {
            let message = "acknowledged records did not come back as they were sent";
            return Err(Failure::with(Exit::Inconsistent, message));
        }
        if !is_whole {
            let message = "some rows are void or left out: their reasons stand beside them";
            return Err(Failure::with(Exit::Partial, message));
        }
        Ok(())
    }

    /// What is run on a cluster that runs.
    fn produce(&self) -> Result<Options> {
        let bootstrap = self.bootstrap.as_deref().unwrap_or_default();
        let mut options = if self.quick {
            Options::quick(bootstrap)
        } else {
            Options::full(bootstrap)
        };
        options.saturation = Some(Saturation {
            step: Duration::from_secs(if self.quick { 1 } else { 4 }),
        });
        options.brokers = probes(&self.brokers)?;
        self.adjust(&mut options);
        if !self.cells.is_empty() {
            options.choose(&self.cells).map_err(failed)?;
        }
        Ok(options)
    }

    /// What is run on a cluster of its own.
    fn suite(&self) -> Result<SuiteOptions> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(format!("cannot find this program: {error}")))?;
        let stage = StageOptions {
            program,
            folder: self.dir.clone().unwrap_or_else(std::env::temp_dir),
            brokers: 3,
            config: self.config.clone(),
        };
        let preset = match (self.quick, self.tiny) {
            (_, true) => SuiteOptions::tiny,
            (true, false) => SuiteOptions::quick,
            (false, false) => SuiteOptions::full,
        };
        let mut options = preset(stage);
        self.adjust(&mut options.produce);
        if !self.cells.is_empty() {
            options.choose(&self.cells).map_err(failed)?;
        }
        Ok(options)
    }

    /// What was said of the cells of produce.
    fn adjust(&self, options: &mut Options) {
        if let Some(seconds) = self.seconds {
            options.measured = Duration::from_secs(seconds);
        }
        options.replication = self.replication;
        options.acks = self.acks;
        options.floor_dir.clone_from(&self.floor);
        options.read_back = !self.no_read_back;
        options.keep_topics = self.keep_topics;
    }
}
