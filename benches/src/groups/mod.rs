//! Consumer groups: how soon a member reads, how long a rebalance takes, how many commits a second, and what the death of
//! a coordinator costs.
//!
//! Members speak the classic protocol with eager assignment, as every client can, and look for a rebalance every
//! [`HEARTBEAT`], more often than clients do: what is measured is the broker, not the client's patience.

mod commits;
mod member;
mod members;
mod row;

pub use row::{GroupReport, GroupRow};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::messages::FindCoordinatorRequest;

use crate::error::{Error, Result};
use crate::kafka::{Cluster, Topic, error_name, prime};
use crate::probe::BrokerProbe;

/// How often members ask whether a rebalance has begun.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
/// A session that no pause of this machine ends.
const SESSION: Duration = Duration::from_secs(30);
/// A broker that says "not yet" is asked again so soon.
const RETRY: Duration = Duration::from_millis(10);
/// Nothing that is measured takes so long.
const PATIENCE: Duration = Duration::from_secs(120);
const FIND_COORDINATOR_VERSION: i16 = 2;

/// What is measured, and of which cluster.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// `host:port,...` of any brokers.
    pub bootstrap: String,
    /// Whose counters are shown beside commits.
    pub brokers: Vec<BrokerProbe>,
    /// Replicas of the topic.
    pub replication: i16,
    /// Members of the large group.
    pub members: usize,
    /// How often each event is repeated.
    pub repeats: usize,
    /// How long commits are counted.
    pub measured: Duration,
    /// Processes by the Kafka address of their broker. The last cell kills the coordinator's with SIGKILL; it is left out
    /// when this is empty.
    pub processes: BTreeMap<String, u32>,
}

/// Measures everything, one after the other.
///
/// # Errors
/// When the cluster cannot be used; a figure is never made up.
pub fn run_groups(options: &GroupOptions) -> Result<GroupReport> {
    if options.members < 1 || options.repeats < 1 {
        return Err(Error::Usage(
            "a group has members, and is measured once at least".into(),
        ));
    }
    let cluster = Cluster::new(&options.bootstrap);
    let name = format!("bench-groups-{}", std::process::id());
    let partitions = i32::try_from(options.members + 1)
        .map_err(|_| Error::Usage("so many members need too many partitions".into()))?;
    cluster.create_topic(&name, partitions, options.replication)?;
    let topic = prime(&cluster, &name, partitions, PATIENCE)?;
    let bench = Bench {
        options,
        cluster: &cluster,
        topic: &topic,
    };
    let rows = bench.cells();
    if let Err(e) = cluster.delete_topic(&name) {
        eprintln!("bench: {name} stays behind: {e}");
    }
    Ok(GroupReport { rows: rows? })
}

struct Bench<'a> {
    options: &'a GroupOptions,
    cluster: &'a Cluster,
    topic: &'a Topic,
}

impl Bench<'_> {
    fn cells(&self) -> Result<Vec<GroupRow>> {
        let mut rows = Vec::new();
        let mut done = |row: GroupRow| {
            eprintln!("bench: {}", row.summary());
            rows.push(row);
        };
        // The first group of a cluster waits for its internal topic.
        find_coordinator(self.cluster, &self.group("first", 0))?;
        done(self.joins(1)?);
        done(self.joins(self.options.members)?);
        let (join, leave) = self.rebalances()?;
        done(join);
        done(leave);
        done(self.commits(1)?);
        done(self.commits(32)?);
        if !self.options.processes.is_empty() {
            done(self.failover()?);
        }
        Ok(rows)
    }

    /// A group that nothing else uses.
    fn group(&self, cell: &str, number: usize) -> String {
        format!("{}-{cell}-{number}", self.topic.name)
    }
}

/// The address of a group's coordinator, as soon as there is one.
fn find_coordinator(cluster: &Cluster, group: &str) -> Result<String> {
    let request = FindCoordinatorRequest {
        key: group.into(),
        ..FindCoordinatorRequest::default()
    };
    let began = Instant::now();
    loop {
        let answer = cluster.ask(&request, FIND_COORDINATOR_VERSION)?;
        if answer.error_code == 0 {
            return Ok(format!("{}:{}", &*answer.host, answer.port));
        }
        if began.elapsed() > PATIENCE {
            let why = error_name(answer.error_code);
            return Err(Error::Cluster(format!(
                "find the coordinator of {group}: {why}"
            )));
        }
        std::thread::sleep(RETRY);
    }
}
