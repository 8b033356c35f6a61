//! The log thread: takes all that queued during the last sync, writes it, syncs once, says so. Beside it threads for the
//! log's background jobs.
//!
//! A short round that nothing is before is written on the thread of the shard itself, which has nothing else to do then:
//! to wake another thread and to be woken by it takes as long as half a sync. What comes meanwhile waits in the sockets,
//! and is one round afterwards. A disk that was slow lately is left to the log thread, so that a broker whose disk stalls goes
//! on hearing of others' syncs.

mod queue;
mod worker;

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raft::types::{Entry, GroupId, ReplicaId};
use tokio::sync::oneshot;
use wal::{Job, Log, Record, Stats};

use self::queue::{Donation, Queue, Turn, Work};
use self::worker::{Slowest, Worker};
use super::held::Held;
use super::panics::watched;
use crate::metrics::histogram::{BATCH_COUNTS, Histogram, LATENCY_SECONDS, SIZE_BYTES};
use crate::shard::{AppendId, LogDone};

/// While the log is written to, a leisurely job is followed by a rest as long as itself, at most this.
const REST_MAX: Duration = Duration::from_millis(50);

/// What the log thread tells.
#[derive(Debug)]
pub enum LogEvent {
    /// Appends are synced.
    Done(LogDone),
    /// The log has failed, or a thread of it has panicked: nothing more will ever be acknowledged.
    Failed(wal::Error),
}

/// Where events go, from whatever thread.
type Tell = Arc<dyn Fn(LogEvent) + Send + Sync>;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    stats: Mutex<Stats>,
    rounds: Mutex<Rounds>,
}

/// Figures of the rounds, for metrics.
pub struct Rounds {
    /// Rounds written.
    pub rounds: u64,
    /// Seconds from the start of the write to the end of the sync.
    pub seconds: Histogram,
    /// Entries per round.
    pub entries: Histogram,
    /// Bytes per round.
    pub bytes: Histogram,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            rounds: 0,
            seconds: Histogram::new(LATENCY_SECONDS),
            entries: Histogram::new(BATCH_COUNTS),
            bytes: Histogram::new(SIZE_BYTES),
        }
    }
}

/// A handle to the log thread.
pub struct LogThread {
    shared: Arc<Shared>,
    /// None once the log is closed.
    worker: Arc<Mutex<Option<Worker>>>,
    thread: RefCell<Option<JoinHandle<()>>>,
}

impl LogThread {
    /// Starts the thread. `tell` is called on it, and on its job threads when they panic.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        log: Log,
        tell: impl Fn(LogEvent) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let tell: Tell = Arc::new(tell);
        let shared = Arc::new(Shared::default());
        *locked(&shared.stats) = log.stats();
        let jobs = |name, rest_max| start_jobs(name, rest_max, shared.clone(), tell.clone());
        let urgent = jobs("log-urgent", Duration::ZERO)?;
        let leisurely = jobs("log-jobs", REST_MAX)?;
        let worker = Worker {
            held: Held::default(),
            through: AppendId::default(),
            told_full: false,
            donors: Vec::new(),
            slowest: Slowest::new(Instant::now()),
            log,
            urgent,
            leisurely,
            shared: shared.clone(),
        };
        let worker = Arc::new(Mutex::new(Some(worker)));
        let (on_thread, queued) = (worker.clone(), shared.clone());
        let body = move |tell: &Tell| run(&on_thread, &queued, tell);
        let thread = start_thread("log", tell, body)?;
        Ok(Self {
            shared,
            worker,
            thread: RefCell::new(Some(thread)),
        })
    }

    /// Queues records.
    pub fn append(&self, id: AppendId, records: Vec<Record>) {
        locked(&self.shared.queue).appends.push_back((id, records));
        self.shared.filled.notify_one();
    }

    /// Whether [`LogThread::append_short`] is for these.
    #[must_use]
    pub fn is_short(records: &[Record]) -> bool {
        worker::is_short(records)
    }

    /// Writes a short round here and now if nothing is before it, and returns what became of it; queues it otherwise.
    /// Blocks for a sync. `others_commit`: see [`crate::shard::Output`].
    #[must_use]
    pub fn append_short(
        &self,
        id: AppendId,
        records: Vec<Record>,
        others_commit: bool,
    ) -> Option<LogEvent> {
        match self.write_here(id, records, others_commit) {
            Ok(event) => Some(event),
            Err(records) => {
                self.append(id, records);
                None
            }
        }
    }

    fn write_here(
        &self,
        id: AppendId,
        records: Vec<Record>,
        others_commit: bool,
    ) -> Result<LogEvent, Vec<Record>> {
        // A thread that panicked has left it as it was: then nobody writes.
        let Ok(mut worker) = self.worker.try_lock() else {
            return Err(records);
        };
        let Some(worker) = worker.as_mut() else {
            return Err(records);
        };
        let mut queue = locked(&self.shared.queue);
        if !queue.appends.is_empty() {
            return Err(records);
        }
        queue.written_elsewhere = true;
        let asleep = queue.asleep;
        drop(queue);
        if asleep {
            self.shared.filled.notify_one();
        }
        worker.write_here(id, records, others_commit)
    }

    /// Gives the log copies of entries that are damaged here. The answer ends, without a word, when they have been
    /// written, or were no copies, or the log is closed.
    pub fn donate(
        &self,
        group: GroupId,
        replica: ReplicaId,
        entries: Vec<Entry>,
    ) -> oneshot::Receiver<()> {
        let (settled, answer) = oneshot::channel();
        locked(&self.shared.queue).donations.push(Donation {
            group,
            replica,
            entries,
            settled,
        });
        self.shared.filled.notify_one();
        answer
    }

    /// The log's figures as of the last round.
    #[must_use]
    pub fn stats(&self) -> Stats {
        locked(&self.shared.stats).clone()
    }

    /// Looks at the rounds' figures.
    pub fn with_rounds<T>(&self, look: impl FnOnce(&Rounds) -> T) -> T {
        look(&locked(&self.shared.rounds))
    }

    /// Writes what is queued, closes the log cleanly, and ends the thread. Blocks.
    pub fn close(&self) {
        locked(&self.shared.queue).closing = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.borrow_mut().take()
            && thread.join().is_err()
        {
            tracing::error!(target: "wal", "the log thread panicked");
        }
    }
}

/// The log thread's life.
fn run(worker: &Mutex<Option<Worker>>, shared: &Shared, tell: &Tell) {
    let mut idle = false;
    loop {
        let Some(outlook) = locked(worker).as_ref().map(Worker::outlook) else {
            return;
        };
        let otherwise = shared.wait(outlook, &mut idle);
        let mut worker = locked(worker);
        // NB: taken, written and told while nobody else can write: rounds are in the order of the appends.
        let turn = locked(&shared.queue).turn();
        let turn = turn.unwrap_or_else(|| Turn::only(otherwise));
        match turn.work {
            Work::Close => {
                let closed = worker.take().map(|worker| worker.log.close());
                if let Some(Err(error)) = closed {
                    tell(LogEvent::Failed(error));
                }
                return;
            }
            Work::Append(..) => idle = false,
            Work::Idle => idle = true,
            Work::Nothing | Work::Retry => {}
        }
        let Some(worker) = worker.as_mut() else {
            return;
        };
        match worker.turn(turn) {
            Ok(done) => done.into_iter().for_each(|done| tell(LogEvent::Done(done))),
            Err(error) => {
                tell(LogEvent::Failed(error));
                return;
            }
        }
        worker.afterwards();
    }
}

/// A thread that runs jobs; it ends when the log thread drops its sender.
fn start_jobs(
    name: &'static str,
    rest_max: Duration,
    shared: Arc<Shared>,
    tell: Tell,
) -> std::io::Result<mpsc::Sender<Job>> {
    let (jobs, queue) = mpsc::channel::<Job>();
    let body = move |_: &Tell| {
        for job in queue {
            let (began, rounds) = (Instant::now(), locked(&shared.rounds).rounds);
            let done = job.run();
            locked(&shared.queue).jobs_done.push(done);
            shared.filled.notify_one();
            if locked(&shared.rounds).rounds > rounds {
                std::thread::sleep(began.elapsed().min(rest_max));
            }
        }
    };
    start_thread(name, tell, body)?;
    Ok(jobs)
}

/// A thread whose panic is told as a failure of the log: a broker without it would lead on and answer nobody.
fn start_thread(
    name: &'static str,
    tell: Tell,
    body: impl FnOnce(&Tell) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let failed = tell.clone();
    let told = move || failed(LogEvent::Failed(panicked(name)));
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || watched(told, || body(&tell)))
}

fn panicked(thread: &str) -> wal::Error {
    let why = format!("{thread} panicked").into();
    wal::Error::Poisoned { why }
}

/// NB: a panic while holding one of these locks leaves nothing half done: they guard plain queues and figures. The worker's
/// is locked thus on the log thread only, which is gone after its own panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
