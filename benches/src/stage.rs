//! A throwaway cluster: brokers as processes of their own on loopback, killed, stopped and started again by the cells
//! that want to know what that costs. All of it is gone when it is dropped.
//!
//! A broker's standard input is a pipe that this process holds, so that none outlives it, however it ends.

use crate::error::{Doing, Error, Result};
use crate::kafka::Cluster;
use crate::probe::{self, BrokerProbe};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A broker has no way to call us: readiness, an end and an offset have to be asked for.
const POLL: Duration = Duration::from_millis(5);
const READY_MAX: Duration = Duration::from_secs(60);
/// A broker that has not stopped after this is killed, and the cell is an error.
const STOP_MAX: Duration = Duration::from_secs(60);
const LEVEL_MAX: Duration = Duration::from_secs(600);
/// Spare segments are zeroed when no more of them was for so long.
const ZEROED_AFTER: Duration = Duration::from_millis(600);
/// How long they are waited for at most.
const ZEROED_MAX: Duration = Duration::from_secs(20);
/// How often it is looked how many there are.
const LOOK: Duration = Duration::from_millis(100);
const LOG_LINES: usize = 15;
/// In which a file's room is counted, whatever the file system's own are.
const BLOCK_BYTES: u64 = 512;
/// A file system in memory: every sync there is free, so that nothing measured on it means anything.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// How a throwaway cluster is made.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// The broker's program; it is run as `PROGRAM serve --exit-with-parent --config FILE`.
    pub program: PathBuf,
    /// A folder on the disk that is measured; the cluster lives in a temporary one inside.
    pub folder: PathBuf,
    /// How many.
    pub brokers: u16,
    /// Lines for every broker's configuration, after ours: a key that stands there replaces ours.
    pub config: Vec<String>,
}

impl StageOptions {
    /// # Errors
    /// When the folder is in memory, or cannot be looked at.
    pub(crate) fn validate(&self) -> Result<()> {
        let shown = self.folder.display();
        std::fs::create_dir_all(&self.folder).doing(|| format!("create {shown}"))?;
        let found = rustix::fs::statfs(&self.folder).doing(|| format!("look at {shown}"))?;
        if found.f_type == TMPFS {
            return Err(Error::Usage(format!(
                "{shown} is in memory, where a sync costs nothing: name a folder on a disk"
            )));
        }
        Ok(())
    }
}

/// One broker's place and, while it runs, its process.
struct Node {
    id: u16,
    folder: PathBuf,
    kafka: String,
    admin: String,
    child: Option<Child>,
}

/// A throwaway cluster.
pub(crate) struct Stage {
    program: PathBuf,
    nodes: Vec<Node>,
    /// Deleted when it is dropped, after the processes have ended.
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Starts it and waits until every broker is ready.
    ///
    /// # Errors
    /// When a broker does not come up, with the end of its log.
    pub(crate) fn start(options: &StageOptions) -> Result<Self> {
        options.validate()?;
        let folder = tempfile::Builder::new()
            .prefix("walser-bench-")
            .tempdir_in(&options.folder)
            .doing(|| format!("make a folder in {}", options.folder.display()))?;
        // Brokers have working folders of their own, where a relative path means something else.
        let base = folder.path().canonicalize();
        let base = base.doing(|| "find the folder just made".into())?;
        let nodes = configure(&base, options)?;
        let mut stage = Self {
            program: options.program.clone(),
            nodes,
            _folder: folder,
        };
        stage.start_all()?;
        Ok(stage)
    }

    /// All brokers' addresses.
    pub(crate) fn bootstrap(&self) -> String {
        let each: Vec<&str> = self.nodes.iter().map(|node| &*node.kafka).collect();
        each.join(",")
    }

    pub(crate) fn cluster(&self) -> Cluster {
        Cluster::new(&self.bootstrap())
    }

    /// Where the brokers that run are looked at.
    pub(crate) fn probes(&self) -> Vec<BrokerProbe> {
        let probe = |node: &Node| BrokerProbe {
            admin: Some(node.admin.clone()),
            pid: node.child.as_ref().map(Child::id),
        };
        let runs = |node: &&Node| node.child.is_some();
        self.nodes.iter().filter(runs).map(probe).collect()
    }

    /// The broker with this Kafka address.
    pub(crate) fn node_at(&self, kafka: &str) -> Result<u16> {
        let found = self.nodes.iter().find(|node| node.kafka == kafka);
        found
            .map(|node| node.id)
            .ok_or_else(|| Error::Cluster(format!("{kafka} is no broker of this cluster")))
    }

    /// Ids of all brokers.
    pub(crate) fn ids(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    pub(crate) fn admin(&self, id: u16) -> &str {
        &self.node(id).admin
    }

    fn node(&self, id: u16) -> &Node {
        &self.nodes[usize::from(id) - 1]
    }

    fn node_mut(&mut self, id: u16) -> &mut Node {
        &mut self.nodes[usize::from(id) - 1]
    }

    /// Starts a broker that is down; does not wait.
    pub(crate) fn spawn(&mut self, id: u16) -> Result<()> {
        let program = self.program.clone();
        let node = self.node_mut(id);
        let opened = File::options()
            .create(true)
            .append(true)
            .open(node.folder.join("log"));
        let started = opened.and_then(|log| {
            Command::new(&program)
                .args(["serve", "--exit-with-parent", "--config"])
                .arg(node.folder.join("walser.toml"))
                .current_dir(&node.folder)
                .stdin(Stdio::piped())
                .stdout(log.try_clone()?)
                .stderr(log)
                // A terminal's Ctrl-C ends this process, and with it the pipe.
                .process_group(0)
                .spawn()
        });
        node.child = Some(started.doing(|| format!("start {}", program.display()))?);
        Ok(())
    }

    /// Waits until a broker may be asked by clients.
    pub(crate) fn await_ready(&mut self, id: u16) -> Result<()> {
        let node = self.node_mut(id);
        let began = Instant::now();
        while probe::get(&node.admin, "/readyz").is_err() {
            let ended = node.child.as_mut().map(Child::try_wait);
            if !matches!(ended, Some(Ok(None))) || began.elapsed() > READY_MAX {
                let log = last_lines(&node.folder.join("log"));
                return Err(Error::Cluster(format!(
                    "broker {id} does not come up:\n{log}"
                )));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Starts all that are down, and waits until every broker is ready.
    pub(crate) fn start_all(&mut self) -> Result<()> {
        self.spawn_all()?;
        self.ids()
            .into_iter()
            .try_for_each(|id| self.await_ready(id))
    }

    /// Waits until all spare segments are zeroed that will be: what is measured then is a log that has been in use for a
    /// while, not one that grows.
    pub(crate) fn await_spares(&self) -> Result<()> {
        let probes = self.probes();
        let began = Instant::now();
        let (mut zeroed, mut risen) = (0, began);
        while risen.elapsed() < ZEROED_AFTER && began.elapsed() < ZEROED_MAX {
            let now = probe::total(&probes, "walser_wal_spares_zeroed")?;
            if now > zeroed {
                (zeroed, risen) = (now, Instant::now());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Starts all that are down; does not wait.
    pub(crate) fn spawn_all(&mut self) -> Result<()> {
        for id in self.ids() {
            if self.node(id).child.is_none() {
                self.spawn(id)?;
            }
        }
        Ok(())
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(&mut self, id: u16) -> Result<()> {
        let Some(mut child) = self.node_mut(id).child.take() else {
            return Ok(());
        };
        let killed = child.kill().and_then(|()| child.wait());
        killed.map(drop).doing(|| format!("kill broker {id}"))
    }

    /// SIGSTOP; it holds its connections and says nothing.
    pub(crate) fn freeze(&self, id: u16) -> Result<()> {
        self.signal(id, Signal::STOP, "freeze")
    }

    /// It goes on.
    pub(crate) fn thaw(&self, id: u16) -> Result<()> {
        self.signal(id, Signal::CONT, "thaw")
    }

    /// To a broker that runs.
    fn signal(&self, id: u16, signal: Signal, deed: &str) -> Result<()> {
        let child = self.node(id).child.as_ref();
        match child.and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?)) {
            Some(pid) => kill_process(pid, signal).doing(|| format!("{deed} broker {id}")),
            None => Ok(()),
        }
    }

    /// SIGKILL to all, one directly after the other.
    pub(crate) fn kill_all(&mut self) -> Result<()> {
        self.ids().into_iter().try_for_each(|id| self.kill(id))
    }

    /// SIGTERM to these brokers at once; returns when all have ended.
    pub(crate) fn stop(&mut self, ids: &[u16]) -> Result<()> {
        for id in ids {
            self.signal(*id, Signal::TERM, "stop")?;
        }
        let began = Instant::now();
        for id in ids {
            let Some(child) = &mut self.node_mut(*id).child else {
                continue;
            };
            while child
                .try_wait()
                .doing(|| format!("wait for broker {id}"))?
                .is_none()
            {
                if began.elapsed() > STOP_MAX {
                    return Err(Error::Cluster(format!("broker {id} does not stop")));
                }
                thread::sleep(POLL);
            }
            self.node_mut(*id).child = None;
        }
        Ok(())
    }

    /// What the brokers' files hold is on the disk and nowhere else; all must have stopped.
    pub(crate) fn drop_page_cache(&self) -> Result<()> {
        self.nodes
            .iter()
            .try_for_each(|node| drop_cached(&node.folder.join("data")))
    }

    /// What all brokers' data takes on the disk.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        let data = |node: &Node| allocated(&node.folder.join("data"));
        self.nodes.iter().map(data).sum()
    }

    /// Waits until a broker's log reaches as far as any other's does now, in each partition of the topic.
    pub(crate) fn await_level(&self, id: u16, topic: &str) -> Result<()> {
        let mut wanted: BTreeMap<i64, i64> = BTreeMap::new();
        for other in self.nodes.iter().filter(|node| node.id != id) {
            for (partition, end) in log_ends(&other.admin, topic)? {
                let known = wanted.entry(partition).or_default();
                *known = end.max(*known);
            }
        }
        let began = Instant::now();
        loop {
            let reached = log_ends(self.admin(id), topic)?;
            let is_level = |(partition, end): (&i64, &i64)| reached.get(partition) >= Some(end);
            if wanted.iter().all(is_level) {
                return Ok(());
            }
            if began.elapsed() > LEVEL_MAX {
                return Err(Error::Cluster(format!("broker {id} does not catch up")));
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                // It may have ended by itself; gone either way.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Small files, so that a run of minutes turns segments; everything else as it is by default.
fn configure(base: &Path, options: &StageOptions) -> Result<Vec<Node>> {
    let count = usize::from(options.brokers);
    let ports = free_ports(count * 3).doing(|| "find free ports".into())?;
    let place = |at: usize, of: usize| format!("127.0.0.1:{}", ports[at * 3 + of]);
    let seeds: Vec<String> = (0..count)
        .map(|at| format!("\"{}@{}\"", at + 1, place(at, 1)))
        .collect();
    let node = |at: usize| {
        let id = u16::try_from(at + 1).expect("counted by a u16");
        let folder = base.join(format!("node-{id}"));
        let mut lines = vec![
            format!("node.id = {id}"),
            format!("data.dir = {:?}", folder.join("data").display().to_string()),
            format!("cluster.seeds = [{}]", seeds.join(", ")),
            format!("listener.kafka = {:?}", place(at, 0)),
            format!("listener.peer = {:?}", place(at, 1)),
            format!("listener.admin = {:?}", place(at, 2)),
            "segment.size = \"16MiB\"".into(),
            "spares.size = \"128MiB\"".into(),
            "entry.max = \"4MiB\"".into(),
        ];
        for extra in &options.config {
            let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
            lines.retain(|line| key(line) != key(extra));
            lines.push(extra.clone());
        }
        let file = folder.join("walser.toml");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&file, lines.join("\n") + "\n"))
            .doing(|| format!("write {}", file.display()))?;
        Ok(Node {
            id,
            folder,
            kafka: place(at, 0),
            admin: place(at, 2),
            child: None,
        })
    };
    (0..count).map(node).collect()
}

/// Ports that were free just now. All are held until the last is known, so that no two are the same.
///
/// # Errors
/// When there are none.
pub fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let held = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<std::io::Result<Vec<_>>>()?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    held.iter().map(port).collect()
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Where a broker's log of each partition of a topic ends, by its own word.
fn log_ends(admin: &str, topic: &str) -> Result<BTreeMap<i64, i64>> {
    let status = probe::get(admin, "/status")?;
    let malformed = |what: String| Error::Malformed {
        peer: admin.into(),
        what,
    };
    let status: serde_json::Value =
        serde_json::from_str(&status).map_err(|e| malformed(e.to_string()))?;
    let groups = status["groups"].as_array();
    let groups = groups.ok_or_else(|| malformed("a status without groups".into()))?;
    let of_topic = groups.iter().filter(|group| group["topic"] == topic);
    let end = |group: &serde_json::Value| {
        let end = (
            group["partition"].as_i64()?,
            group["log_end_offset"].as_i64()?,
        );
        Some(end)
    };
    of_topic
        .map(|group| end(group).ok_or_else(|| malformed("a group without offsets".into())))
        .collect()
}

/// Bytes that the file system has given to what is below a folder. Files that go meanwhile have none.
fn allocated(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).doing(|| format!("look into {}", folder.display()))? {
        let entry = entry.doing(|| format!("look into {}", folder.display()))?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += allocated(&entry.path())?,
            Ok(found) => bytes += found.blocks() * BLOCK_BYTES,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).doing(|| format!("look at {}", entry.path().display())),
        }
    }
    Ok(bytes)
}

/// What the files below a folder hold is on the disk and nowhere else; nobody may be writing them.
pub(crate) fn drop_cached(folder: &Path) -> Result<()> {
    let doing = || format!("drop {} from memory", folder.display());
    for entry in std::fs::read_dir(folder).doing(doing)? {
        let entry = entry.doing(doing)?;
        if entry.file_type().doing(doing)?.is_dir() {
            drop_cached(&entry.path())?;
        } else {
            let file = File::open(entry.path()).doing(doing)?;
            file.sync_all().doing(doing)?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).doing(doing)?;
        }
    }
    Ok(())
}
