//! The log thread: takes all that queued during the last sync, writes it, syncs once, says so. Beside it a thread
//! for the log's background jobs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use wal::{Job, JobDone, Log, Record, Stats};

use super::held::Held;
use crate::metrics::histogram::{BATCH_COUNTS, Histogram, LATENCY_SECONDS, SIZE_BYTES};
use crate::shard::{AppendId, LogDone};

/// A log that is idle for so long writes one page more, so that the end of the log is known.
const IDLE_AFTER: Duration = Duration::from_millis(50);
/// How often a full disk is tried again.
const FULL_RETRY: Duration = Duration::from_millis(100);
/// Bytes of payload after which a round takes no more appends.
const ROUND_BYTES_MAX: usize = 4 << 20;

/// What the log thread tells.
#[derive(Debug)]
pub enum LogEvent {
    /// Appends are synced.
    Done(LogDone),
    /// The log has failed: nothing more will ever be acknowledged.
    Failed(wal::Error),
}

#[derive(Default)]
struct Queue {
    appends: VecDeque<(AppendId, Vec<Record>)>,
    jobs_done: Vec<JobDone>,
    closing: bool,
}

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
    thread: RefCell<Option<JoinHandle<()>>>,
}

impl LogThread {
    /// Starts the thread. `tell` is called on it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(log: Log, tell: impl Fn(LogEvent) + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        *locked(&shared.stats) = log.stats();
        let urgent = start_jobs("log-urgent", shared.clone())?;
        let leisurely = start_jobs("log-jobs", shared.clone())?;
        let worker = Worker {
            held: Held::default(),
            through: AppendId::default(),
            told_full: false,
            log,
            urgent,
            leisurely,
            shared: shared.clone(),
        };
        let body = move || worker.run(&tell);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(body)?;
        Ok(Self {
            shared,
            thread: RefCell::new(Some(thread)),
        })
    }

    /// Queues records.
    pub fn append(&self, id: AppendId, records: Vec<Record>) {
        locked(&self.shared.queue).appends.push_back((id, records));
        self.shared.filled.notify_one();
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

struct Worker {
    log: Log,
    urgent: mpsc::Sender<Job>,
    leisurely: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    held: Held,
    /// The last append that was taken.
    through: AppendId,
    /// The shard was last told that there is no room.
    told_full: bool,
}

enum Work {
    Append(AppendId, Vec<Record>),
    JobsDone(Vec<JobDone>),
    Idle,
    Retry,
    Close,
}

impl Worker {
    fn run(mut self, tell: &dyn Fn(LogEvent)) {
        let mut idle = false;
        loop {
            let result = match self.next(idle) {
                Work::Append(id, records) => {
                    idle = false;
                    self.write(id, records)
                        .map(|done| tell(LogEvent::Done(done)))
                }
                Work::JobsDone(done) => self.finish(done),
                Work::Idle => {
                    idle = true;
                    self.log.idle().map(|_| ())
                }
                Work::Retry => self.retry().map(|done| {
                    if let Some(done) = done {
                        tell(LogEvent::Done(done));
                    }
                }),
                Work::Close => break,
            };
            if let Err(error) = result {
                tell(LogEvent::Failed(error));
                return;
            }
            self.start_jobs();
            if let Some(done) = self.room_again() {
                tell(LogEvent::Done(done));
            }
            *locked(&self.shared.stats) = self.log.stats();
        }
        if let Err(error) = self.log.close() {
            tell(LogEvent::Failed(error));
        }
    }

    fn next(&self, idle: bool) -> Work {
        let mut queue = locked(&self.shared.queue);
        loop {
            if let Some((mut id, mut records)) = queue.appends.pop_front() {
                let mut bytes = size_of_records(&records);
                while bytes < ROUND_BYTES_MAX
                    && let Some((next, more)) = queue.appends.pop_front()
                {
                    bytes += size_of_records(&more);
                    records.extend(more);
                    id = next;
                }
                return Work::Append(id, records);
            }
            if !queue.jobs_done.is_empty() {
                return Work::JobsDone(std::mem::take(&mut queue.jobs_done));
            }
            if queue.closing {
                return Work::Close;
            }
            if !self.held.is_empty() {
                let waited = self.shared.filled.wait_timeout(queue, FULL_RETRY);
                let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = back;
                if timeout.timed_out() {
                    return Work::Retry;
                }
                continue;
            }
            if idle {
                queue = self
                    .shared
                    .filled
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.shared.filled.wait_timeout(queue, IDLE_AFTER);
            let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = back;
            if timeout.timed_out() && queue.appends.is_empty() && queue.jobs_done.is_empty() {
                return Work::Idle;
            }
        }
    }

    fn write(&mut self, id: AppendId, records: Vec<Record>) -> Result<LogDone, wal::Error> {
        self.through = id;
        let mut records = self.held.divert(records);
        if !self.log.room().entries {
            match self.log.write(records.clone()) {
                Err(wal::Error::Full) => {
                    records = self.held.hold(records);
                    if records.is_empty() {
                        return Ok(self.done(None));
                    }
                }
                round => return round.map(|round| self.done(Some(round))),
            }
        }
        let round = self.log.write(records)?;
        Ok(self.done(Some(round)))
    }

    /// Tries again what the full disk keeps waiting. None when it still does.
    fn retry(&mut self) -> Result<Option<LogDone>, wal::Error> {
        match self.log.write(self.held.records()) {
            Err(wal::Error::Full) => Ok(None),
            Err(why) => Err(why),
            Ok(round) => {
                self.held.clear();
                tracing::info!(target: "wal", "there is room again");
                Ok(Some(self.done(Some(round))))
            }
        }
    }

    /// Room that came back without a round: the shard refuses until it is told.
    fn room_again(&mut self) -> Option<LogDone> {
        if !self.told_full || !self.held.is_empty() || !self.log.room().entries {
            return None;
        }
        self.told_full = false;
        Some(LogDone {
            through: self.through,
            ..LogDone::default()
        })
    }

    /// What to tell about a round; without one everything of the appends waits for room.
    fn done(&mut self, round: Option<wal::Round>) -> LogDone {
        let (through, held) = (self.through, self.held.groups());
        let Some(round) = round else {
            self.told_full = true;
            return LogDone {
                through,
                disk_full: true,
                held,
                ..LogDone::default()
            };
        };
        let mut rounds = locked(&self.shared.rounds);
        rounds.rounds += round.rounds;
        rounds.seconds.observe(round.sync_seconds);
        rounds.entries.observe(round.entries as f64);
        rounds.bytes.observe(round.bytes as f64);
        let disk_full = !round.room.entries || !held.is_empty();
        self.told_full = disk_full;
        let sealed = round.rolled.map(|rolled| rolled.groups).unwrap_or_default();
        LogDone {
            through,
            disk_full,
            sealed,
            held,
        }
    }

    fn finish(&mut self, done: Vec<JobDone>) -> Result<(), wal::Error> {
        done.into_iter().try_for_each(|job| self.log.finish(job))
    }

    fn start_jobs(&mut self) {
        while let Some(job) = self.log.next_job() {
            let thread = if job.urgent() {
                &self.urgent
            } else {
                &self.leisurely
            };
            if thread.send(job).is_err() {
                tracing::error!(target: "wal", "a job thread has ended");
                return;
            }
        }
    }
}

/// A thread that runs jobs; it ends when the log thread drops its sender.
fn start_jobs(name: &str, shared: Arc<Shared>) -> std::io::Result<mpsc::Sender<Job>> {
    let (jobs, queue) = mpsc::channel::<Job>();
    let body = move || {
        for job in queue {
            let done = job.run();
            locked(&shared.queue).jobs_done.push(done);
            shared.filled.notify_one();
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)?;
    Ok(jobs)
}

fn size_of_records(records: &[Record]) -> usize {
    let size = |record: &Record| match record {
        Record::Entries { entries, .. } => entries.iter().map(|e| e.payload.len() + 64).sum(),
        Record::Base { base, .. } => base.state.len() + 256,
        Record::Derived { state, .. } => state.len() + 64,
        Record::HardState { .. } | Record::Truncate { .. } | Record::Remove { .. } => 64,
    };
    records.iter().map(size).sum()
}

/// NB: a panic while holding one of these locks leaves nothing half done: they guard plain queues and figures.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
