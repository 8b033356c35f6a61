//! Brokers as real processes: started, killed, paused, restarted, wiped; only ever our own.
//!
//! A [`Cluster`] lives in one temporary directory: a folder per node with its configuration, its
//! data and the log of every life of its process. Dropping it kills what it started. `WALSER_BIN`
//! names the binary; without it the one beside the running test is taken. With
//! `WALSER_PEER=kafka` the same tests drive a real Apache Kafka, as the proof that they pass
//! where they should.

pub mod kafka;
pub mod process;
pub mod walser;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wait::{TimedOut, wait_for};
use crate::wire::requests::{self, Metadata, Partition};
use crate::wire::{Connection, groups};

pub use process::{Exit, Process};

/// How long a node may take from its start to readiness.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long one request of the harness may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// Which broker is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Ours.
    Walser,
    /// Apache Kafka, from its own jars.
    Kafka,
}

impl Flavor {
    /// As asked for by `WALSER_PEER`.
    pub fn chosen() -> Flavor {
        match std::env::var("WALSER_PEER").as_deref() {
            Ok("kafka") => Flavor::Kafka,
            _ => Flavor::Walser,
        }
    }
}

/// How a cluster is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Lines added to every node's configuration file.
    pub extra: Vec<String>,
    /// Address that other brokers are told instead of the node's own peer address, by node.
    pub peer_via: Vec<String>,
}

/// Where one node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// For clients.
    pub kafka: u16,
    /// For the other brokers.
    pub peer: u16,
    /// HTTP; Kafka has none.
    pub admin: u16,
}

/// One broker: where it lives and, while it runs, its process.
#[derive(Debug)]
pub struct Node {
    /// Node id, from 1.
    pub id: i32,
    /// Where it listens, the same in every life.
    pub ports: Ports,
    /// Its folder: configuration, data, logs.
    pub folder: PathBuf,
    /// Absent while it is down.
    pub process: Option<Process>,
    /// How often it was started.
    pub lives: u32,
}

impl Node {
    /// Where clients reach it.
    pub fn kafka(&self) -> String {
        format!("127.0.0.1:{}", self.ports.kafka)
    }

    /// Where HTTP is.
    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.ports.admin)
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Whether its process runs (or is paused).
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }
}

/// A cluster of real processes.
#[derive(Debug)]
pub struct Cluster {
    flavor: Flavor,
    folder: tempfile::TempDir,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts a cluster and waits until every node is ready. Panics, with the tail of the logs,
    /// when it does not come up: nothing can be tested then.
    pub fn start(nodes: usize, options: &Options) -> Cluster {
        let mut cluster = Cluster::prepare(nodes, Flavor::chosen(), options);
        cluster.launch();
        cluster
    }

    /// Starts every node that is down and waits until all are ready and know each other.
    pub fn launch(&mut self) {
        let nodes = self.nodes.len();
        let ids = 1..=nodes as i32;
        let down: Vec<i32> = ids.clone().filter(|id| !self.node(*id).is_up()).collect();
        down.into_iter().for_each(|id| self.spawn(id));
        for id in ids {
            self.wait_ready(id)
                .unwrap_or_else(|late| self.fail(&late.to_string()));
        }
        let formed = self.wait_metadata("all nodes known", READY_WITHIN, &[], |metadata| {
            metadata.brokers.len() == nodes
        });
        formed
            .map(drop)
            .unwrap_or_else(|late| self.fail(&late.to_string()));
    }

    /// Writes the configurations without starting anything.
    pub fn prepare(nodes: usize, flavor: Flavor, options: &Options) -> Cluster {
        let folder = tempfile::Builder::new().prefix("walser-test-").tempdir();
        let folder = folder.expect("harness: no temporary directory");
        let ports = process::free_ports(nodes * 3);
        let nodes: Vec<Node> = (0..nodes)
            .map(|at| Node {
                id: at as i32 + 1,
                ports: Ports {
                    kafka: ports[3 * at],
                    peer: ports[3 * at + 1],
                    admin: ports[3 * at + 2],
                },
                folder: folder.path().join(format!("node{}", at + 1)),
                process: None,
                lives: 0,
            })
            .collect();
        for node in &nodes {
            std::fs::create_dir_all(node.data()).expect("harness: no room for a data directory");
        }
        match flavor {
            Flavor::Walser => walser::configure(&nodes, options),
            Flavor::Kafka => kafka::configure(&nodes, options),
        }
        Cluster {
            flavor,
            folder,
            nodes,
        }
    }

    /// Which broker this is.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: i32) -> &Node {
        &self.nodes[id as usize - 1]
    }

    fn node_mut(&mut self, id: i32) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All Kafka addresses, for clients.
    pub fn bootstrap(&self) -> String {
        let each: Vec<String> = self.nodes.iter().map(Node::kafka).collect();
        each.join(",")
    }

    /// Starts a node that is down; does not wait.
    pub fn spawn(&mut self, id: i32) {
        let flavor = self.flavor;
        let node = self.node_mut(id);
        assert!(node.process.is_none(), "harness: node {id} already runs");
        node.lives += 1;
        let log = node.folder.join(format!("life{}.log", node.lives));
        let command = match flavor {
            Flavor::Walser => walser::command(node),
            Flavor::Kafka => kafka::command(node),
        };
        node.process = Some(Process::spawn(command, &log));
    }

    /// Starts a node that is down and waits until it is ready.
    pub fn restart(&mut self, id: i32) {
        self.spawn(id);
        self.wait_ready(id)
            .unwrap_or_else(|late| self.fail(&late.to_string()));
    }

    /// Waits until a node says that it is ready. A process that ended meanwhile never will.
    pub fn wait_ready(&mut self, id: i32) -> Result<(), TimedOut> {
        let flavor = self.flavor;
        let node = self.node_mut(id);
        let what = format!("node {id} ready");
        let step = Duration::from_millis(20);
        let ended = wait_for(&what, READY_WITHIN, step, || {
            let ready = match flavor {
                Flavor::Walser => walser::is_ready(node),
                Flavor::Kafka => kafka::is_ready(node),
            };
            let ended = node.process.as_mut().and_then(Process::has_ended);
            if ready { Some(None) } else { ended.map(Some) }
        })?;
        match ended {
            None => Ok(()),
            Some(exit) => self.fail(&format!("node {id} ended by itself: {exit:?}")),
        }
    }

    /// kill -9.
    pub fn kill(&mut self, id: i32) {
        let process = self.node_mut(id).process.take();
        process
            .expect("harness: killing a node that is down")
            .kill();
    }

    /// SIGTERM, and wait for the end: how it ended.
    pub fn terminate(&mut self, id: i32, within: Duration) -> Result<Exit, TimedOut> {
        let process = self.node_mut(id).process.take();
        process
            .expect("harness: stopping a node that is down")
            .terminate(within)
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn pause(&mut self, id: i32) {
        let process = self.node(id).process.as_ref();
        process
            .expect("harness: pausing a node that is down")
            .signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&mut self, id: i32) {
        let process = self.node(id).process.as_ref();
        process
            .expect("harness: resuming a node that is down")
            .signal(libc::SIGCONT);
    }

    /// Removes all data of a node that is down; its configuration stays.
    pub fn wipe(&mut self, id: i32) {
        let node = self.node(id);
        assert!(!node.is_up(), "harness: wiping a running node");
        std::fs::remove_dir_all(node.data()).expect("harness: cannot wipe");
        std::fs::create_dir_all(node.data()).expect("harness: cannot wipe");
    }

    /// Metadata from the first node that answers, those in `but` not asked.
    pub fn metadata(&self, topics: &[&str], but: &[i32]) -> Option<Metadata> {
        let up = |node: &&Node| node.is_up() && !but.contains(&node.id);
        self.nodes
            .iter()
            .filter(up)
            .find_map(|node| metadata_of(node, topics))
    }

    /// Waits for Metadata to satisfy a condition.
    pub fn wait_metadata(
        &self,
        what: &str,
        within: Duration,
        topics: &[&str],
        mut holds: impl FnMut(&Metadata) -> bool,
    ) -> Result<Metadata, TimedOut> {
        wait_for(what, within, Duration::from_millis(50), || {
            self.metadata(topics, &[])
                .filter(|metadata| holds(metadata))
        })
    }

    /// Creates a topic and waits until every partition has a leader and all replicas in sync.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let replication = self.nodes.len().min(3) as i16;
        let created = wait_for(
            "topic created",
            READY_WITHIN,
            Duration::from_millis(100),
            || {
                let metadata = self.metadata(&[], &[])?;
                let address = metadata.address(metadata.controller)?;
                let mut connection = Connection::open(address, REQUEST_WITHIN).ok()?;
                let code =
                    requests::create_topic(&mut connection, name, partitions, replication, configs);
                // Already there: an earlier try whose answer was lost.
                matches!(code, Ok(0 | requests::code::TOPIC_ALREADY_EXISTS)).then_some(())
            },
        );
        created.unwrap_or_else(|late| self.fail(&late.to_string()));
        let all = self.wait_in_sync(name, partitions);
        let all = all.unwrap_or_else(|late| self.fail(&late.to_string()));
        // Metadata may name a leader a moment before it serves.
        for one in all {
            let serves = wait_for(
                "leader serves",
                READY_WITHIN,
                Duration::from_millis(20),
                || {
                    let address = self.node(one.leader).kafka();
                    let mut connection = Connection::open(&address, REQUEST_WITHIN).ok()?;
                    let latest = requests::list_offset(&mut connection, name, one.id, -1);
                    matches!(latest, Ok((0, _))).then_some(())
                },
            );
            serves.unwrap_or_else(|late| self.fail(&late.to_string()));
        }
    }

    /// Waits until every partition has a leader and all of its replicas in sync.
    pub fn wait_in_sync(&self, topic: &str, partitions: i32) -> Result<Vec<Partition>, TimedOut> {
        let what = format!("{topic}: all replicas in sync");
        let whole = |all: &[Partition]| {
            let full = |one: &Partition| {
                one.leader > 0 && one.error == 0 && one.in_sync.len() == one.replicas.len()
            };
            all.len() == partitions as usize && all.iter().all(full)
        };
        let found = self.wait_metadata(&what, READY_WITHIN, &[topic], |metadata| {
            whole(&metadata.partitions(topic))
        })?;
        Ok(found.partitions(topic))
    }

    /// Waits until each partition is led by a node for which `allowed` holds.
    pub fn wait_led_by(
        &self,
        topic: &str,
        partitions: i32,
        within: Duration,
        mut allowed: impl FnMut(i32) -> bool,
    ) -> Result<Vec<Partition>, TimedOut> {
        let what = format!("{topic}: leaders among those allowed");
        let found = self.wait_metadata(&what, within, &[topic], |metadata| {
            let all = metadata.partitions(topic);
            all.len() == partitions as usize
                && all.iter().all(|one| one.leader > 0 && allowed(one.leader))
        })?;
        Ok(found.partitions(topic))
    }

    /// The node that coordinates a group, as far as any node knows.
    pub fn coordinator(&self, group: &str) -> Option<i32> {
        self.nodes.iter().filter(|n| n.is_up()).find_map(|node| {
            let mut any = Connection::open(&node.kafka(), REQUEST_WITHIN).ok()?;
            let (error, address) = groups::find_coordinator(&mut any, group).ok()?;
            let named = |n: &&Node| address.ends_with(&format!(":{}", n.ports.kafka));
            let node = self.nodes.iter().find(named)?;
            (error == 0 && node.is_up()).then_some(node.id)
        })
    }

    /// Ends the test as broken, with the tail of every node's log.
    pub fn fail(&self, why: &str) -> ! {
        panic!("{why}\n{}", self.tails());
    }

    /// The last lines of every node's latest log.
    pub fn tails(&self) -> String {
        let mut out = String::new();
        for node in self.nodes.iter().filter(|node| node.lives > 0) {
            let path = node.folder.join(format!("life{}.log", node.lives));
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(25)..];
            out += &format!(
                "--- node {}, life {}:\n{}\n",
                node.id,
                node.lives,
                last.join("\n")
            );
        }
        out
    }

    /// Keeps the folder for a reader when the owner is about to fail: where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Each Process kills and reaps its own child; after that the folder goes.
        for node in &mut self.nodes {
            node.process = None;
        }
    }
}

fn metadata_of(node: &Node, topics: &[&str]) -> Option<Metadata> {
    let mut connection = Connection::open(&node.kafka(), Duration::from_secs(1)).ok()?;
    requests::metadata(&mut connection, topics).ok()
}
