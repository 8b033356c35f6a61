//! The floor: the least work that keeps the promise "acknowledged means synced on a majority".
//!
//! One client sends checksummed frames over loopback TCP to a leader. The leader's log thread takes
//! what queued during its last sync, sends it to the followers, writes and syncs it itself. A
//! follower checks, writes, syncs, answers. What a majority has synced is acknowledged. There is no
//! protocol, no election, no directory: what a broker reaches is quoted as a ratio to this, taken
//! in the same minute on the same machine and disk.

mod frame;
mod log;
mod suite;
#[cfg(test)]
mod tests;

pub use suite::{FloorRow, floor_json_lines, floor_suite, floor_table};

use crate::error::{Doing, Error, Result};
use crate::generator::{self, Load, Outcome};
use frame::{ACK, Frames, for_each_burst};
use log::Log;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

/// The three logs of the floor, written once and reused by every cell.
pub struct Floor {
    logs: Vec<Log>,
}

/// One cell of the floor.
#[derive(Clone, Copy, Debug)]
pub struct FloorCell {
    /// Payload of one frame.
    pub size_bytes: usize,
    /// How the frames are offered.
    pub load: Load,
    /// Whether every round is synced; off, it shows what the syncs cost.
    pub fsync: bool,
}

/// What a cell of the floor did.
#[derive(Debug)]
pub struct FloorRun {
    /// Latencies and counts, as for a broker.
    pub outcome: Outcome,
    /// Rounds of the leader's log over the whole run, warm-up included: writes, each one synced.
    pub rounds: u64,
}

impl Floor {
    /// Prepares `replicas` logs of `log_bytes` in `dir`, which should lie on the brokers' disk.
    ///
    /// # Errors
    /// When the files cannot be made, written or synced.
    pub fn open(dir: &Path, replicas: usize, log_bytes: u64) -> Result<Self> {
        std::fs::create_dir_all(dir).doing(|| format!("create {}", dir.display()))?;
        let log = |node| Log::open(&dir.join(format!("floor-{node}.log")), log_bytes);
        Ok(Self {
            logs: (0..replicas).map(log).collect::<Result<_>>()?,
        })
    }

    /// Runs one cell, blocking.
    ///
    /// # Errors
    /// When a socket or a log fails.
    pub fn run(&mut self, cell: &FloorCell) -> Result<FloorRun> {
        for log in &mut self.logs {
            log.set_fsync(cell.fsync);
        }
        let Some((leader, followers)) = self.logs.split_first_mut() else {
            return Err(Error::Usage("the floor needs at least one replica".into()));
        };
        let (client, served) = socket_pair()?;
        let links = followers
            .iter()
            .map(|_| socket_pair())
            .collect::<Result<Vec<_>>>()?;
        let state = Leader::new(&served, links.len() + 1);
        thread::scope(|scope| {
            let mut threads: Vec<ScopedJoinHandle<'_, std::io::Result<()>>> = Vec::new();
            for (node, ((near, far), log)) in links.iter().zip(followers).enumerate() {
                let state = &state;
                threads.push(scope.spawn(move || follow(far, log)));
                threads.push(scope.spawn(move || state.count_follower(node + 1, near)));
            }
            let near: Vec<&TcpStream> = links.iter().map(|(near, _)| near).collect();
            threads.push(scope.spawn(|| state.log_rounds(leader, near)));
            threads.push(scope.spawn(|| state.take_frames()));
            let start = Instant::now();
            let clients = vec![(client, Frames::new(cell.size_bytes))];
            let outcome = generator::run(&cell.load, start, clients);
            // The generator has closed the client's socket: the threads end one after the other.
            for thread in threads {
                let ended = thread
                    .join()
                    .map_err(|_| Error::Cluster("floor: panic".into()))?;
                ended.doing(|| "run the floor".into())?;
            }
            Ok(FloorRun {
                outcome: outcome?,
                rounds: state.rounds.load(SeqCst),
            })
        })
    }
}

fn socket_pair() -> Result<(TcpStream, TcpStream)> {
    let pair = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let (far, _) = listener.accept()?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        Ok::<_, std::io::Error>((near, far))
    };
    pair().doing(|| "connect over loopback".into())
}

fn follow(mut leader: &TcpStream, log: &mut Log) -> std::io::Result<()> {
    let ended = for_each_burst(leader, |bytes, last| {
        log.append(bytes)?;
        leader.write_all(&last.to_le_bytes())
    });
    hang_up(leader, Shutdown::Both)?;
    ended
}

/// Ends a conversation; that the other side has left already is no error.
fn hang_up(socket: &TcpStream, how: Shutdown) -> std::io::Result<()> {
    match socket.shutdown(how) {
        Err(e) if e.kind() != std::io::ErrorKind::NotConnected => Err(e),
        _ => Ok(()),
    }
}

/// The client leaves with its last acknowledgement; what comes later meets nobody.
fn unless_client_left(done: std::io::Result<()>) -> std::io::Result<()> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    match done {
        Err(e) if matches!(e.kind(), BrokenPipe | ConnectionReset) => Ok(()),
        done => done,
    }
}

/// What waits for the log thread.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    last: u64,
    closed: bool,
}

/// The leader: four threads around a queue and the replicas' positions.
struct Leader<'a> {
    client: &'a TcpStream,
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Highest sequence that each replica has synced; the leader is the first.
    synced: Vec<AtomicU64>,
    committed: AtomicU64,
    rounds: AtomicU64,
}

impl<'a> Leader<'a> {
    fn new(client: &'a TcpStream, replicas: usize) -> Self {
        Self {
            client,
            queue: Mutex::default(),
            filled: Condvar::new(),
            synced: (0..replicas).map(|_| AtomicU64::new(0)).collect(),
            committed: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
        }
    }

    fn take_frames(&self) -> std::io::Result<()> {
        let ended = for_each_burst(self.client, |bytes, last| {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.bytes.extend_from_slice(bytes);
            queue.last = last;
            drop(queue);
            self.filled.notify_one();
            Ok(())
        });
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.filled.notify_one();
        unless_client_left(ended)
    }

    /// Everything that queued during the last round goes out, is written and is synced together.
    fn log_rounds(&self, log: &mut Log, followers: Vec<&TcpStream>) -> std::io::Result<()> {
        let ended = self.run_rounds(log, &followers);
        for follower in followers {
            hang_up(follower, Shutdown::Write)?;
        }
        if ended.is_err() {
            hang_up(self.client, Shutdown::Both)?;
        }
        ended
    }

    fn run_rounds(&self, log: &mut Log, followers: &[&TcpStream]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        while let Some(last) = self.next_round(&mut bytes) {
            for mut follower in followers.iter().copied() {
                follower.write_all(&bytes)?;
            }
            log.append(&bytes)?;
            self.rounds.fetch_add(1, SeqCst);
            self.count_synced(0, last)?;
        }
        Ok(())
    }

    fn next_round(&self, bytes: &mut Vec<u8>) -> Option<u64> {
        bytes.clear();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.bytes.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut queue.bytes, bytes);
        Some(queue.last)
    }

    fn count_follower(&self, node: usize, mut follower: &TcpStream) -> std::io::Result<()> {
        let mut ack = [0; ACK];
        loop {
            match follower.read_exact(&mut ack) {
                Ok(()) => self.count_synced(node, u64::from_le_bytes(ack))?,
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Acknowledges the highest sequence that a majority has synced, when it rose. Two threads may
    /// write at once and in either order: the client takes the highest.
    fn count_synced(&self, node: usize, sequence: u64) -> std::io::Result<()> {
        self.synced[node].store(sequence, SeqCst);
        let mut sorted: Vec<u64> = self.synced.iter().map(|s| s.load(SeqCst)).collect();
        sorted.sort_unstable();
        let majority = sorted[(sorted.len() - 1) / 2];
        if self.committed.fetch_max(majority, SeqCst) >= majority {
            return Ok(());
        }
        let mut client = self.client;
        unless_client_left(client.write_all(&majority.to_le_bytes()))
    }
}
