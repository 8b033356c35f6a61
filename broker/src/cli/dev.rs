//! `walser dev`: a throwaway broker or cluster on loopback.
//!
//! Each node is a process of its own (`walser serve`), with its own folder, configuration and log. Its standard input
//! is a pipe that this process holds: when this process goes, however it goes, the pipe ends and the node stops.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::config::refused;
use super::exit::{Exit, Failure, Result};
use super::output::print;
use super::{admin, block_on};
use crate::config::{Config, Sources};

const READY_MAX: Duration = Duration::from_secs(60);
const READY_INTERVAL: Duration = Duration::from_millis(10);
/// A node that has not stopped after this is killed.
const STOP_MAX: Duration = Duration::from_secs(8);
/// Lines of a node's log that are shown when it does not start.
const LOG_LINES: usize = 15;

/// Run a throwaway broker or cluster on loopback.
#[derive(Debug, Args)]
pub struct Dev {
    /// How many brokers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Keep the data here; started again with it, the same cluster comes back. Else it is deleted at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How the brokers are shown.
    #[arg(long, value_enum, default_value_t = Shape::Text)]
    format: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// For people.
    Text,
    /// One object a node.
    Json,
}

/// A node's place, and its process.
struct Node {
    id: u16,
    folder: PathBuf,
    kafka: String,
    admin: String,
    data_dir: PathBuf,
}

impl Dev {
    /// Runs it, until a signal.
    pub fn run(self) -> Result<()> {
        let started = Instant::now();
        let system = |error: std::io::Error| Failure::new(format!("cannot make a folder: {error}"));
        // Deleted when it is dropped, after the nodes have ended.
        let temporary = match &self.data_dir {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("walser-dev-")
                    .tempdir()
                    .map_err(system)?,
            ),
        };
        let base = match (&self.data_dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(dir)) => dir.path().to_owned(),
            (None, None) => unreachable!("there is a folder, given or temporary"),
        };
        fs::create_dir_all(&base).map_err(system)?;
        let base = fs::canonicalize(&base).map_err(system)?;
        let nodes = prepare(&base, self.nodes)?;
        block_on(run(&nodes, self.format, self.data_dir.is_none(), started))
    }
}

/// Writes the configurations that are not there yet, and reads where everybody listens.
fn prepare(base: &Path, count: u16) -> Result<Vec<Node>> {
    let folder = |id: u16| base.join(format!("node-{id}"));
    let file = |id: u16| folder(id).join("walser.toml");
    let known = (1..=9).filter(|id| file(*id).exists()).count();
    if known > 0 && known != usize::from(count) {
        let message = format!(
            "{} holds a cluster of {known} nodes, not {count}",
            base.display()
        );
        return Err(
            Failure::usage(message).next(format!("say --nodes {known}, or use another --data-dir"))
        );
    }
    if known == 0 {
        let ports = benches::free_ports(usize::from(count) * 3);
        let ports = ports.map_err(|error| Failure::new(format!("no free ports: {error}")))?;
        for (id, text) in configurations(count, &ports, &folder) {
            let written = fs::create_dir_all(folder(id)).and_then(|()| fs::write(file(id), text));
            written.map_err(|error| {
                Failure::new(format!("cannot write {}: {error}", file(id).display()))
            })?;
        }
    }
    let node = |id: u16| {
        let sources = Sources {
            file: Some(file(id)),
            ..Sources::default()
        };
        let config = Config::load(&sources).map_err(refused)?;
        Ok(Node {
            id,
            folder: folder(id),
            kafka: config.node.listener_kafka.to_string(),
            admin: config.node.listener_admin.to_string(),
            data_dir: config.node.data_dir,
        })
    };
    (1..=count).map(node).collect()
}

/// Small files and quick elections.
fn configurations(
    count: u16,
    ports: &[u16],
    folder: &impl Fn(u16) -> PathBuf,
) -> Vec<(u16, String)> {
    let port = |id: u16, of: usize| ports[usize::from(id - 1) * 3 + of];
    let seeds: Vec<String> = (1..=count)
        .map(|id| format!("\"{id}@127.0.0.1:{}\"", port(id, 1)))
        .collect();
    let text = |id: u16| {
        let data = folder(id).join("data");
        format!(
            "node.id = {id}\ndata.dir = {:?}\ncluster.seeds = [{}]\n\
             listener.kafka = \"127.0.0.1:{}\"\nlistener.peer = \"127.0.0.1:{}\"\n\
             listener.admin = \"127.0.0.1:{}\"\nsegment.size = \"16MiB\"\nspares.size = \"256MiB\"\n\
             entry.max = \"4MiB\"\ntail.cache.size = \"32MiB\"\nunsorted.max = \"64MiB\"\n\
             shutdown.max = \"2s\"\n",
            data.display().to_string(),
            seeds.join(", "),
            port(id, 0),
            port(id, 1),
            port(id, 2),
        )
    };
    (1..=count).map(|id| (id, text(id))).collect()
}

async fn run(nodes: &[Node], shape: Shape, throwaway: bool, started: Instant) -> Result<()> {
    let no_signals = |error| Failure::new(format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut children = Vec::new();
    // NB: waiting for a child closes the pipe that it still holds, which would end the node.
    let mut pipes = Vec::new();
    for node in nodes {
        let mut child = spawn(node)?;
        pipes.push(child.stdin.take());
        children.push(child);
    }
    let outcome = tokio::select! {
        outcome = live(nodes, &mut children, shape, throwaway, started) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    stop(children).await;
    drop(pipes);
    outcome
}

fn spawn(node: &Node) -> Result<Child> {
    let cannot =
        |error: std::io::Error| Failure::new(format!("cannot start node {}: {error}", node.id));
    let program = std::env::current_exe().map_err(cannot)?;
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(node.folder.join("log"));
    let log = log.map_err(cannot)?;
    Command::new(program)
        .args(["serve", "--exit-with-parent", "--config"])
        .arg(node.folder.join("walser.toml"))
        .current_dir(&node.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::from(log.try_clone().map_err(cannot)?))
        .stderr(Stdio::from(log))
        // A terminal's Ctrl-C reaches this process only, which then stops the nodes in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)
}

/// Waits until all nodes are ready, shows them, and then until none is left.
async fn live(
    nodes: &[Node],
    children: &mut [Child],
    shape: Shape,
    throwaway: bool,
    started: Instant,
) -> Result<()> {
    let pids: Vec<u32> = children.iter().filter_map(Child::id).collect();
    for (node, child) in nodes.iter().zip(children.iter_mut()) {
        until_ready(node, child).await?;
    }
    match shape {
        Shape::Json => print(&objects(nodes, &pids))?,
        Shape::Text => print(&welcome(nodes, &pids, throwaway, started.elapsed()))?,
    }
    for (node, child) in nodes.iter().zip(children.iter_mut()) {
        // A node that was killed is missed by its cluster, not by us.
        let ended = child.wait().await;
        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        eprintln!("walser dev: node {} has ended: {how}", node.id);
    }
    Err(Failure::new("all nodes have ended"))
}

async fn until_ready(node: &Node, child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + READY_MAX;
    let mut reason = "its admin listener does not answer".to_owned();
    loop {
        let asked = admin::request("GET", &node.admin, "/readyz", Duration::from_secs(2)).await;
        match asked {
            Ok((200, _)) => return Ok(()),
            Ok((_, body)) => {
                body["reason"]
                    .as_str()
                    .unwrap_or("no reason given")
                    .clone_into(&mut reason);
            }
            Err(_) => {}
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::new(format!(
                "node {} has ended: {status}\n{}",
                node.id,
                last_lines(node)
            )));
        }
        if Instant::now() >= deadline {
            let message = format!(
                "node {} is not ready: {reason}\n{}",
                node.id,
                last_lines(node)
            );
            return Err(Failure::with(Exit::Unreachable, message));
        }
        tokio::time::sleep(READY_INTERVAL).await;
    }
}

fn last_lines(node: &Node) -> String {
    let text = fs::read_to_string(node.folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

fn objects(nodes: &[Node], pids: &[u32]) -> String {
    let object = |(node, pid): (&Node, &u32)| {
        let object = json!({
            "schema": 1,
            "node": node.id,
            "pid": pid,
            "kafka": node.kafka,
            "admin": node.admin,
            "data_dir": node.data_dir,
        });
        format!("{object}\n")
    };
    nodes.iter().zip(pids).map(object).collect()
}

fn welcome(nodes: &[Node], pids: &[u32], throwaway: bool, took: Duration) -> String {
    let mut text = format!("ready in {} ms\n\n", took.as_millis());
    for (node, pid) in nodes.iter().zip(pids) {
        text += &format!(
            "  node {}  kafka {}  admin http://{}  pid {pid}  {}\n",
            node.id,
            node.kafka,
            node.admin,
            node.folder.display()
        );
    }
    let address = &nodes[0].kafka;
    text += &format!(
        "\n  walser topic create hello -b {address}\n  echo world | kcat -P -b {address} -t hello\n  \
         kcat -C -b {address} -t hello -e\n\nCtrl-C ends it"
    );
    text += if throwaway {
        " and deletes its data.\n"
    } else {
        "; its data stays.\n"
    };
    text
}

/// Asks all nodes to stop, and kills those that do not.
async fn stop(children: Vec<Child>) {
    let mut ending = JoinSet::new();
    for mut child in children {
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, Signal::TERM)
        {
            eprintln!(
                "walser dev: process {} cannot be told to stop: {error}",
                pid.as_raw_nonzero()
            );
        }
        ending.spawn(async move {
            if tokio::time::timeout(STOP_MAX, child.wait()).await.is_err() {
                eprintln!("walser dev: a node does not stop and is killed");
                // Gone either way.
                let _ = child.kill().await;
            }
        });
    }
    while ending.join_next().await.is_some() {}
}
