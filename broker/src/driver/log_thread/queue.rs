//! What waits for the log thread, and how it waits for that.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

use raft::types::{Entry, GroupId, ReplicaId};
use tokio::sync::oneshot;
use wal::{JobDone, Record};

use super::{Shared, locked};
use crate::shard::AppendId;

/// A log that is idle for so long writes one page more, so that the end of the log is known.
const IDLE_AFTER: Duration = Duration::from_millis(50);
/// How often a full disk is tried again.
const FULL_RETRY: Duration = Duration::from_millis(100);
/// Bytes of payload after which a round takes no more appends.
const ROUND_BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Queue {
    pub(super) appends: VecDeque<(AppendId, Vec<Record>)>,
    pub(super) jobs_done: Vec<JobDone>,
    pub(super) donations: Vec<Donation>,
    pub(super) closing: bool,
    /// Rounds were written on another thread since the log thread looked.
    pub(super) written_elsewhere: bool,
    /// The log thread waits for longer than until the log is idle.
    pub(super) asleep: bool,
}

/// Copies of entries that are damaged here.
pub(super) struct Donation {
    pub(super) group: GroupId,
    pub(super) replica: ReplicaId,
    pub(super) entries: Vec<Entry>,
    /// Dropped when they have been written, or nothing more is to be done with them.
    pub(super) settled: oneshot::Sender<()>,
}

/// What the thread does next: it takes in every finished job first. There are two at most, because the log hands out
/// no more before it has taken those in; and appends follow in the same turn. So neither waits for the other to end.
pub(super) struct Turn {
    pub(super) jobs: Vec<JobDone>,
    pub(super) donations: Vec<Donation>,
    pub(super) work: Work,
}

pub(super) enum Work {
    Append(AppendId, Vec<Record>),
    Nothing,
    Idle,
    Retry,
    Close,
}

/// For how long the thread may wait, as far as the log is concerned.
#[derive(Clone, Copy)]
pub(super) struct Outlook {
    /// Nothing waits for room on the disk.
    pub(super) has_room: bool,
    /// See [`wal::Log::due`].
    pub(super) due: Option<Duration>,
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

    fn is_empty(&self) -> bool {
        self.appends.is_empty()
            && self.jobs_done.is_empty()
            && self.donations.is_empty()
            && !self.closing
    }

    /// What can be done at once; None when there is nothing.
    pub(super) fn turn(&mut self) -> Option<Turn> {
        if self.is_empty() {
            return None;
        }
        let jobs = std::mem::take(&mut self.jobs_done);
        let donations = std::mem::take(&mut self.donations);
        let work = match self.round() {
            Some((id, records)) => Work::Append(id, records),
            None if !jobs.is_empty() || !donations.is_empty() => Work::Nothing,
            None => Work::Close,
        };
        Some(Turn {
            jobs,
            donations,
            work,
        })
    }
}

impl Turn {
    pub(super) fn only(work: Work) -> Self {
        Self {
            jobs: Vec::new(),
            donations: Vec::new(),
            work,
        }
    }
}

impl Shared {
    /// Waits until there is something to do, and says what it is if the queue stays empty. `idle`: the log's last round is
    /// an idle mark.
    pub(super) fn wait(&self, outlook: Outlook, idle: &mut bool) -> Work {
        let mut queue = locked(&self.queue);
        loop {
            if !queue.is_empty() {
                return Work::Nothing;
            }
            if std::mem::take(&mut queue.written_elsewhere) {
                *idle = false;
                return Work::Nothing;
            }
            // Space may come back from elsewhere, which makes no noise.
            let (wait, then) = match (outlook.has_room, *idle, outlook.due) {
                (false, ..) => (Some(FULL_RETRY), Work::Retry),
                (true, false, _) => (Some(IDLE_AFTER), Work::Idle),
                (true, true, due) => (due, Work::Nothing),
            };
            queue.asleep = wait.is_none_or(|wait| wait > IDLE_AFTER);
            let timed_out = match wait {
                None => {
                    let waited = self.filled.wait(queue);
                    queue = waited.unwrap_or_else(PoisonError::into_inner);
                    false
                }
                Some(wait) => {
                    let waited = self.filled.wait_timeout(queue, wait);
                    let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    queue = back;
                    timeout.timed_out()
                }
            };
            queue.asleep = false;
            if timed_out && !queue.written_elsewhere {
                return then;
            }
        }
    }
}

pub(super) fn size_of_records(records: &[Record]) -> usize {
    let size = |record: &Record| match record {
        Record::Entries { entries, .. } => entries.iter().map(|e| e.payload.len() + 64).sum(),
        Record::Base { base, .. } => base.state.len() + 256,
        Record::Derived { state, .. } => state.len() + 64,
        Record::HardState { .. } | Record::Truncate { .. } | Record::Remove { .. } => 64,
    };
    records.iter().map(size).sum()
}
