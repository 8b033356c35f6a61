//! What is done with the log: on the log thread, or on the thread of whoever has a short round to write.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wal::{Job, JobDone, Log, Record};

use super::queue::{Donation, Outlook, Turn, Work, size_of_records};
use super::{LogEvent, Shared, locked, panicked};
use crate::driver::held::Held;
use crate::shard::{AppendId, LogDone};

/// A round of no more entries is short: what the shard does meanwhile for as many is less than what it costs to hand the
/// round to another thread and to hear of it.
const SHORT_ENTRIES: usize = 8;
/// The same in bytes.
const SHORT_BYTES: usize = 64 << 10;
/// A disk that took longer for a round lately is waited for by nobody else than the log thread.
const PATIENCE: Duration = Duration::from_millis(50);
/// The same where a majority of others may commit the round first: a slow disk shall not delay that.
const PATIENCE_BEFORE_OTHERS: Duration = Duration::from_millis(2);
/// A slow round counts for one to two of these.
const LATELY: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    pub(super) log: Log,
    pub(super) urgent: mpsc::Sender<Job>,
    pub(super) leisurely: mpsc::Sender<Job>,
    pub(super) shared: Arc<Shared>,
    pub(super) held: Held,
    /// The last append that was taken.
    pub(super) through: AppendId,
    /// The shard was last told that there is no room.
    pub(super) told_full: bool,
    /// Who waits for copies to be written.
    pub(super) donors: Vec<oneshot::Sender<()>>,
    pub(super) slowest: Slowest,
}

/// The slowest round lately.
pub(super) struct Slowest {
    /// Of this period, and of the one before it.
    seconds: [f64; 2],
    since: Instant,
}

impl Slowest {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            seconds: [0.0; 2],
            since: now,
        }
    }

    pub(super) fn note(&mut self, now: Instant, seconds: f64) {
        self.go_on(now);
        self.seconds[0] = self.seconds[0].max(seconds);
    }

    pub(super) fn is_within(&mut self, now: Instant, limit: Duration) -> bool {
        self.go_on(now);
        self.seconds.iter().all(|s| *s <= limit.as_secs_f64())
    }

    fn go_on(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= 2 * LATELY {
            *self = Self::new(now);
        } else if passed >= LATELY {
            self.seconds = [0.0, self.seconds[0]];
            self.since = now;
        }
    }
}

/// Whether these make a short round.
pub(super) fn is_short(records: &[Record]) -> bool {
    let entries = |record: &Record| match record {
        Record::Entries { entries, .. } => entries.len(),
        _ => 1,
    };
    records.iter().map(entries).sum::<usize>() <= SHORT_ENTRIES
        && size_of_records(records) <= SHORT_BYTES
}

impl Worker {
    pub(super) fn outlook(&self) -> Outlook {
        Outlook {
            has_room: !self.told_full && self.held.is_empty(),
            due: self.log.due(),
        }
    }

    /// One turn of the log thread, and what there is to tell about it.
    pub(super) fn turn(&mut self, turn: Turn) -> Result<Vec<LogDone>, wal::Error> {
        self.take_donations(turn.donations);
        self.finish(turn.jobs)?;
        let done = self.work(turn.work)?;
        self.start_jobs()?;
        let done = done.into_iter().chain(self.room_again()).collect();
        *locked(&self.shared.stats) = self.log.stats();
        if !self.log.healing() {
            self.donors.clear();
        }
        Ok(done)
    }

    /// When those who waited for a round have been told.
    pub(super) fn afterwards(&mut self) {
        self.log.zero_ahead();
    }

    /// Writes a short round on the caller's thread. When that might take long nothing is done, and the records are given
    /// back.
    ///
    /// NB: jobs are neither taken in nor begun, for naming their files is a sync more. The log thread does it soon.
    pub(super) fn write_here(
        &mut self,
        id: AppendId,
        records: Vec<Record>,
        others_commit: bool,
    ) -> Result<LogEvent, Vec<Record>> {
        let patience = match others_commit {
            true => PATIENCE_BEFORE_OTHERS,
            false => PATIENCE,
        };
        let is_quick = self.slowest.is_within(Instant::now(), patience);
        let has_room = !self.told_full && self.held.is_empty();
        if !is_quick || !has_room || !self.log.takes_at_once(&records) {
            return Err(records);
        }
        let done = self.write(id, records);
        *locked(&self.shared.stats) = self.log.stats();
        Ok(done.map_or_else(LogEvent::Failed, LogEvent::Done))
    }

    pub(super) fn work(&mut self, work: Work) -> Result<Option<LogDone>, wal::Error> {
        match work {
            Work::Append(id, records) => self.write(id, records).map(Some),
            Work::Idle => self.log.idle().map(|_| None),
            Work::Retry => self.retry(),
            Work::Nothing | Work::Close => Ok(None),
        }
    }

    /// NB: whether there is room is known for certain only by the write itself: others fill the same file system.
    pub(super) fn write(
        &mut self,
        id: AppendId,
        records: Vec<Record>,
    ) -> Result<LogDone, wal::Error> {
        self.through = id;
        let records = self.held.divert(records);
        let Some(round) = self.write_commanded()? else {
            return self.write_what_fits(records);
        };
        let done = self.done(Some(round));
        if records.is_empty() {
            return Ok(done);
        }
        let mut later = self.write_what_fits(records)?;
        later.sealed.extend(done.sealed);
        Ok(later)
    }

    /// Writes what waits before a command, with it, into the reserve: it may be what frees space. None when there is no such
    /// thing, or too much of it.
    fn write_commanded(&mut self) -> Result<Option<wal::Round>, wal::Error> {
        let records = self.held.take_commanded();
        if records.is_empty() {
            return Ok(None);
        }
        match self.log.write_from_reserve(&records) {
            Err(wal::Error::Full) => {
                self.held.hold_all(records);
                Ok(None)
            }
            round => round.map(Some),
        }
    }

    fn write_what_fits(&mut self, mut records: Vec<Record>) -> Result<LogDone, wal::Error> {
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
    pub(super) fn retry(&mut self) -> Result<Option<LogDone>, wal::Error> {
        self.log.look_for_room();
        if self.held.is_empty() {
            return Ok(None);
        }
        match self.log.write(self.held.records()) {
            Err(wal::Error::Full) => {
                let round = self.write_commanded()?;
                Ok(round.map(|round| self.done(Some(round))))
            }
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
        drop(rounds);
        self.slowest.note(Instant::now(), round.sync_seconds);
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

    pub(super) fn finish(&mut self, done: Vec<JobDone>) -> Result<(), wal::Error> {
        done.into_iter().try_for_each(|job| self.log.finish(job))
    }

    pub(super) fn start_jobs(&mut self) -> Result<(), wal::Error> {
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
