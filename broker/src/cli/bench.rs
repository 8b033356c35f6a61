//! `walser bench`: the benchmark suite against a running cluster.

use std::path::PathBuf;
use std::time::Duration;

use benches::{BrokerProbe, GroupOptions, Options};
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
    /// Any broker: HOST:PORT.
    #[arg(short, long, default_value = "127.0.0.1:9092")]
    bootstrap: String,
    /// A broker's admin listener and process id, ADMIN|-,PID|-: its counters are shown. May be repeated.
    #[arg(long = "broker", value_name = "ADMIN,PID")]
    brokers: Vec<String>,
    /// The short suite: for a look, not for a comparison.
    #[arg(long)]
    quick: bool,
    /// Only this cell. May be repeated.
    #[arg(long = "cell", value_name = "NAME")]
    cells: Vec<String>,
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
    fn options(self) -> Result<Options> {
        let preset = if self.quick {
            Options::quick
        } else {
            Options::full
        };
        let mut options = preset(&self.bootstrap);
        options.brokers = probes(&self.brokers)?;
        if !self.cells.is_empty() {
            for name in &self.cells {
                if options.cells.iter().all(|cell| cell.name != name) {
                    let all: Vec<&str> = options.cells.iter().map(|cell| cell.name).collect();
                    return Err(Failure::usage(format!("there is no cell {name}"))
                        .next(format!("the cells are {}", all.join(", "))));
                }
            }
            options
                .cells
                .retain(|cell| self.cells.iter().any(|name| name == cell.name));
        }
        if let Some(seconds) = self.seconds {
            options.measured = Duration::from_secs(seconds);
        }
        options.replication = self.replication;
        options.acks = self.acks;
        options.floor_dir = self.floor;
        options.read_back = !self.no_read_back;
        options.keep_topics = self.keep_topics;
        Ok(options)
    }

    fn run(self) -> Result<()> {
        let json = self.json;
        let report = benches::run(&self.options()?).map_err(failed)?;
        print(&if json {
            report.json_lines()
        } else {
            report.table()
        })?;
        if !report.is_sound() {
            let message = "acknowledged records did not come back as they were sent";
            return Err(Failure::with(Exit::Inconsistent, message));
        }
        if report.rows.iter().any(|row| !row.void.is_empty()) {
            let message = "some rows are void: their reasons stand beside them";
            return Err(Failure::with(Exit::Partial, message));
        }
        Ok(())
    }
}
