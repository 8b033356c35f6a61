//! The log thread: takes all that queued during the last sync, writes it, syncs once, says so. Beside it a thread
//! for the log's background jobs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raft::types::{Entry, GroupId, ReplicaId};
use tokio::sync::oneshot;
use wal::{Job, JobDone, Log, Record, Stats};

use super::held::Held;
use super::panics::watched;
use crate::metrics::histogram::{BATCH_COUNTS, Histogram, LATENCY_SECONDS, SIZE_BYTES};
use crate::shard::{AppendId, LogDone};

/// A log that is idle for so long writes one page more, so that the end of the log is known.
const IDLE_AFTER: Duration = Duration::from_millis(50);
/// How often a full disk is tried again.
const FULL_RETRY: Duration = Duration::from_millis(100);
/// While the log is written to, a leisurely job is followed by a rest as long as itself, at most this.
const REST_MAX: Duration = Duration::from_millis(50);
/// Bytes of payload after which a round takes no more appends.
const ROUND_BYTES_MAX: usize = 4 << 20;

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
struct Queue {
    appends: VecDeque<(AppendId, Vec<Record>)>,
    jobs_done: Vec<JobDone>,
    donations: Vec<Donation>,
    closing: bool,
}

/// Copies of entries that are damaged here.
struct Donation {
    group: GroupId,
    replica: ReplicaId,
    entries: Vec<Entry>,
    /// Dropped when they have been written, or nothing more is to be done with them.
    settled: oneshot::Sender<()>,
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
            log,
            urgent,
            leisurely,
            shared: shared.clone(),
        };
        let body = move |tell: &Tell| worker.run(tell);
        let thread = start_thread("log", tell, body)?;
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
    /// Who waits for copies to be written.
    donors: Vec<oneshot::Sender<()>>,
}

/// What the thread does next: it takes in every finished job first. There are two at most, because the log hands out
/// no more before it has taken those in; and appends follow in the same turn. So neither waits for the other to end.
struct Turn {
    jobs: Vec<JobDone>,
    donations: Vec<Donation>,
    work: Work,
}

enum Work {
    Append(AppendId, Vec<Record>),
    Nothing,
    Idle,
    Retry,
    Close,
}

impl Queue {
    /// Appends for one round.
    fn round(&mut self) -> Option<(AppendId, Vec<Record>)> {
        let (mut id, mut records) = self.appends.pop_front()?;
        let mut bytes = size_of_records(&records);
        while bytes < ROUND_BYTES_MAX
            && let Some((next, more)) = self.appends.pop_front()
        {
            bytes += size_of_records(&more);
            records.extend(more);
            id = next;
        }
        Some((id, records))
    }

    /// What can be done at once; None when there is nothing.
    fn turn(&mut self) -> Option<Turn> {
        let jobs = std::mem::take(&mut self.jobs_done);
        let donations = std::mem::take(&mut self.donations);
        let work = match self.round() {
            Some((id, records)) => Work::Append(id, records),
            None if !jobs.is_empty() || !donations.is_empty() => Work::Nothing,
            None if self.closing => Work::Close,
            None => return None,
        };
        Some(Turn {
            jobs,
            donations,
            work,
        })
    }
}

impl Turn {
    fn only(work: Work) -> Self {
        Self {
            jobs: Vec::new(),
            donations: Vec::new(),
            work,
        }
    }
}

impl Worker {
    fn run(mut self, tell: &Tell) {
        let mut idle = false;
        loop {
            let Turn {
                jobs,
                donations,
                work,
            } = self.next(idle);
            idle = match work {
                Work::Close => break,
                Work::Append(..) => false,
                Work::Idle => true,
                Work::Nothing | Work::Retry => idle,
            };
            self.take_donations(donations);
            let done = self.finish(jobs).and_then(|()| self.work(work));
            let done = done.and_then(|done| self.start_jobs().map(|()| done));
            match done {
                Ok(done) => {
                    let done = done.into_iter().chain(self.room_again());
                    done.for_each(|done| tell(LogEvent::Done(done)));
                }
                Err(error) => {
                    tell(LogEvent::Failed(error));
                    return;
                }
            }
            *locked(&self.shared.stats) = self.log.stats();
            if !self.log.healing() {
                self.donors.clear();
            }
        }
        if let Err(error) = self.log.close() {
            tell(LogEvent::Failed(error));
        }
    }

    fn work(&mut self, work: Work) -> Result<Option<LogDone>, wal::Error> {
        match work {
            Work::Append(id, records) => self.write(id, records).map(Some),
            Work::Idle => self.log.idle().map(|_| None),
            Work::Retry => self.retry(),
            Work::Nothing | Work::Close => Ok(None),
        }
    }

    /// Waits for something to do.
    fn next(&self, idle: bool) -> Turn {
        let due = self.log.due();
        let mut queue = locked(&self.shared.queue);
        loop {
            if let Some(turn) = queue.turn() {
                return turn;
            }
            // Space may come back from elsewhere, which makes no noise.
            let has_room = !self.told_full && self.held.is_empty();
            let (wait, then) = match (has_room, idle, due) {
                (false, ..) => (FULL_RETRY, Work::Retry),
                (true, false, _) => (IDLE_AFTER, Work::Idle),
                (true, true, Some(due)) => (due, Work::Nothing),
                (true, true, None) => {
                    let waited = self.shared.filled.wait(queue);
                    queue = waited.unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            };
            let waited = self.shared.filled.wait_timeout(queue, wait);
            let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = back;
            if timeout.timed_out() {
                return queue.turn().unwrap_or(Turn::only(then));
            }
        }
    }

    /// NB: whether there is room is known for certain only by the write itself: others fill the same file system.
    fn write(&mut self, id: AppendId, records: Vec<Record>) -> Result<LogDone, wal::Error> {
        self.through = id;
        let mut records = self.held.divert(records);
        for hold in [Held::hold, Held::hold_all] {
            match self.log.write(records.clone()) {
                Err(wal::Error::Full) => records = hold(&mut self.held, records),
                round => return round.map(|round| self.done(Some(round))),
            }
            if records.is_empty() {
                break;
            }
        }
        tracing::debug!(target: "wal", "everything waits for room");
        Ok(self.done(None))
    }

    /// Tries again what the full disk keeps waiting. None when it still does.
    fn retry(&mut self) -> Result<Option<LogDone>, wal::Error> {
        self.log.look_for_room();
        if self.held.is_empty() {
            return Ok(None);
        }
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

    fn take_donations(&mut self, donations: Vec<Donation>) {
        for donation in donations {
            let (group, replica) = (donation.group, donation.replica);
            self.log.donate(group, replica, donation.entries);
            self.donors.push(donation.settled);
        }
    }

    fn finish(&mut self, done: Vec<JobDone>) -> Result<(), wal::Error> {
        done.into_iter().try_for_each(|job| self.log.finish(job))
    }

    fn start_jobs(&mut self) -> Result<(), wal::Error> {
        while let Some(job) = self.log.next_job()? {
            let thread = if job.urgent() {
                &self.urgent
            } else {
                &self.leisurely
            };
            thread.send(job).map_err(|_| panicked("a job thread"))?;
        }
        Ok(())
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

#[cfg(test)]
mod tests;
