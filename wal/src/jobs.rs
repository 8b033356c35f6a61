//! Background work, handed out as jobs and committed on the log thread.
//!
//! A job may run on any thread. When the log cannot wait for one that nobody has run yet, it runs it itself; when
//! somebody is running it, it waits for that. Either way its result is taken exactly once.

use crate::checkpoint::{self, Prepared, SlotChoice};
use crate::cleaner::{CleanTask, Cleaned};
use crate::disk::{Disk, File};
use crate::error::{Error, is_full};
use crate::footer::RunIndex;
use crate::layout::{DATA_START, segment_name};
use crate::log::{FullSegment, Log};
use crate::meta::Meta;
use crate::mutant::{self, Mutant};
use crate::pages::Pages;
use crate::segment::Segment;
use crate::spares::{Spare, Taker};
use crate::stock;
use raft::types::DirectoryId;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a spare that are zeroed by one job: the driver paces by when it asks for the next.
const ZERO_SLICE_BYTES: u64 = 4 << 20;

/// A piece of background work.
#[must_use = "a job that is not run holds up the ones after it"]
pub struct Job {
    work: Arc<Mutex<Work>>,
    urgent: bool,
}

/// A job that has run; give it to [`Log::finish`].
#[must_use = "the log goes on when the job is finished"]
pub struct JobDone {
    work: Arc<Mutex<Work>>,
}

/// The log's side of a job.
pub(crate) struct Running {
    work: Arc<Mutex<Work>>,
}

enum Work {
    Waiting(Box<Task>),
    Done(Box<Outcome>),
    Taken,
}

pub(crate) enum Task {
    Seal {
        segment: Arc<Segment>,
        index: Arc<RunIndex>,
        segment_bytes: u64,
    },
    Checkpoint {
        disk: Arc<dyn Disk>,
        choice: SlotChoice,
        id: DirectoryId,
        prepared: Prepared,
    },
    Meta {
        meta: Arc<Mutex<Meta>>,
        round: u64,
        manifest: u64,
    },
    Create {
        disk: Arc<dyn Disk>,
        number: u64,
        bytes: u64,
    },
    Zero {
        spare: Spare,
        from: u64,
        bytes: u64,
    },
    Remove {
        disk: Arc<dyn Disk>,
        number: u64,
    },
    Clean(CleanTask),
}

pub(crate) enum Outcome {
    Sealed(io::Result<()>, Arc<RunIndex>),
    Checkpoint(io::Result<(u64, Arc<dyn File>)>, Prepared),
    Meta(io::Result<bool>),
    Created(io::Result<Spare>),
    Zeroed(io::Result<()>, Spare, u64),
    Removed(io::Result<()>),
    Cleaned(Cleaned),
}

impl Job {
    /// Whether the log will soon wait for it. The others should be run when the disk has time.
    #[must_use]
    pub fn urgent(&self) -> bool {
        self.urgent
    }

    /// Does the work, on any thread. Give the result to [`Log::finish`].
    pub fn run(self) -> JobDone {
        complete(&self.work);
        JobDone { work: self.work }
    }
}

/// Runs the work if nobody has; waits if somebody is at it.
fn complete(work: &Mutex<Work>) {
    let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
    if let Work::Waiting(_) = &*work
        && let Work::Waiting(task) = std::mem::replace(&mut *work, Work::Taken)
    {
        *work = Work::Done(Box::new(task.run()));
    }
}

/// Takes the result; None when it was taken before.
fn take(work: &Mutex<Work>) -> Option<Outcome> {
    let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
    match std::mem::replace(&mut *work, Work::Taken) {
        Work::Done(outcome) => Some(*outcome),
        other => {
            *work = other;
            None
        }
    }
}

impl Task {
    fn run(self) -> Outcome {
        match self {
            Self::Seal {
                segment,
                index,
                segment_bytes,
            } => Outcome::Sealed(write_footer(&segment, &index, segment_bytes), index),
            Self::Checkpoint {
                disk,
                choice,
                id,
                prepared,
            } => {
                let (number, body) = (prepared.number, &prepared.body);
                Outcome::Checkpoint(
                    checkpoint::write(&*disk, choice, id, number, body),
                    prepared,
                )
            }
            Self::Meta {
                meta,
                round,
                manifest,
            } => {
                let mut meta = meta.lock().unwrap_or_else(PoisonError::into_inner);
                Outcome::Meta(meta.advance(round, manifest))
            }
            Self::Create {
                disk,
                number,
                bytes,
            } => Outcome::Created(create_spare(&*disk, number, bytes)),
            Self::Zero { spare, from, bytes } => {
                let end = (from + ZERO_SLICE_BYTES).min(bytes);
                Outcome::Zeroed(zero(&*spare.file, from, end, bytes), spare, end)
            }
            Self::Remove { disk, number } => Outcome::Removed(disk.remove(&segment_name(number))),
            Self::Clean(task) => Outcome::Cleaned(task.run()),
        }
    }
}

/// Writes a segment's footer at its end and syncs it.
pub(crate) fn write_footer(
    segment: &Segment,
    index: &RunIndex,
    segment_bytes: u64,
) -> io::Result<()> {
    let pages = index.encode(segment.seed, segment.sequence, segment_bytes);
    segment
        .file
        .write_at(segment_bytes - pages.len() as u64, &pages)?;
    segment.file.sync()
}

/// A new segment file, allocated and named durably.
pub(crate) fn create_spare(disk: &dyn Disk, number: u64, bytes: u64) -> io::Result<Spare> {
    let file = disk.create(&segment_name(number), bytes)?;
    file.sync()?;
    if !mutant::on(Mutant::NamesNotSynced) {
        disk.sync_directory()?;
    }
    Ok(Spare {
        number,
        file,
        zeroed: false,
    })
}

fn zero(file: &dyn File, from: u64, end: u64, bytes: u64) -> io::Result<()> {
    let zeros = Pages::zeroed(1 << 20);
    let mut position = from;
    while position < end {
        let length = (end - position).min(zeros.len() as u64);
        let length = usize::try_from(length).expect("at most 1 MiB");
        file.write_at(position, &zeros[..length])?;
        position += length as u64;
    }
    if end == bytes { file.sync() } else { Ok(()) }
}

impl Log {
    /// The next piece of background work, if there is one and none of its class is under way: urgent (seal,
    /// checkpoint, meta file) or leisurely (spares, cleaning). To be asked after each round, and now and then.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when the log has failed, now or earlier: naming a job's output is a commit.
    pub fn next_job(&mut self) -> Result<Option<Job>, Error> {
        self.check()?;
        self.roll_to_heal()?;
        if self.urgent.is_none()
            && let Some(task) = self.urgent_task()
        {
            let work = Arc::new(Mutex::new(Work::Waiting(Box::new(task))));
            self.urgent = Some(Running {
                work: Arc::clone(&work),
            });
            return Ok(Some(Job { work, urgent: true }));
        }
        let task = match self.leisure {
            None => self.leisure_task(),
            Some(_) => None,
        };
        self.check()?;
        if let Some(task) = task {
            let work = Arc::new(Mutex::new(Work::Waiting(Box::new(task))));
            self.leisure = Some(Running {
                work: Arc::clone(&work),
            });
            return Ok(Some(Job {
                work,
                urgent: false,
            }));
        }
        Ok(None)
    }

    /// Takes a job's result in: commits by one manifest version what there is to commit.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when the job, or the commit, failed to write or sync.
    pub fn finish(&mut self, done: JobDone) -> Result<(), Error> {
        for running in [&mut self.urgent, &mut self.leisure] {
            if running
                .as_ref()
                .is_some_and(|running| Arc::ptr_eq(&running.work, &done.work))
            {
                *running = None;
            }
        }
        let outcome = take(&done.work);
        self.check()?;
        // Nothing left: the log could not wait and has taken it before.
        outcome.map_or(Ok(()), |outcome| self.settle(outcome))
    }

    /// Does all urgent work here and now.
    pub(crate) fn finish_urgent(&mut self) -> Result<(), Error> {
        loop {
            let work = match self.urgent.take() {
                Some(running) => running.work,
                None => match self.urgent_task() {
                    Some(task) => Arc::new(Mutex::new(Work::Waiting(Box::new(task)))),
                    None => return Ok(()),
                },
            };
            complete(&work);
            if let Some(outcome) = take(&work) {
                self.settle(outcome)?;
            }
        }
    }

    /// Waits for the leisurely job under way, or does it here if nobody has begun.
    pub(crate) fn finish_leisure(&mut self) -> Result<(), Error> {
        let Some(running) = self.leisure.take() else {
            return Ok(());
        };
        complete(&running.work);
        take(&running.work).map_or(Ok(()), |outcome| self.settle(outcome))
    }

    /// Seals what is full and does one rewrite, here and now. False when there is none to be done.
    pub(crate) fn clean_here(&mut self) -> Result<bool, Error> {
        self.finish_urgent()?;
        let task = self.clean_task();
        self.check()?;
        let Some(task) = task else { return Ok(false) };
        self.settle(task.run())?;
        self.finish_urgent()?;
        Ok(true)
    }

    fn urgent_task(&mut self) -> Option<Task> {
        let now = self.disk.elapsed();
        if let Some(full) = self.full.front() {
            let segment = Arc::clone(&full.segment);
            let index = self.shared.read().segments[&segment.sequence].index.clone();
            let index = index.expect("an unsealed segment has its runs in memory");
            let segment_bytes = self.config.segment_bytes;
            return Some(Task::Seal {
                segment,
                index,
                segment_bytes,
            });
        }
        let dead = now.saturating_sub(self.checkpoint_at) >= self.config.dead_interval
            && self.shared.read().any_dead();
        if self.checkpoint_due || dead {
            return Some(self.checkpoint_task());
        }
        let mark = self
            .meta
            .try_lock()
            .map_or(u64::MAX, |meta| meta.mark.round);
        if now.saturating_sub(self.meta_at) >= self.config.meta_interval && mark < self.last_round {
            self.meta_at = now;
            let (round, manifest) = (self.last_round, self.manifest_version);
            return Some(Task::Meta {
                meta: Arc::clone(&self.meta),
                round,
                manifest,
            });
        }
        None
    }

    pub(crate) fn checkpoint_task(&mut self) -> Task {
        self.checkpoint_due = false;
        self.checkpoint_at = self.disk.elapsed();
        let previous = self.checkpoint_number;
        self.checkpoint_number += 1;
        let whole = self.whole_next
            || self.chain.is_empty()
            || self.chain.len() as u64 >= self.config.checkpoint_whole_every;
        self.whole_next = false;
        let point = self.point();
        let prepared = checkpoint::prepare(
            &mut self.shared.write(),
            point,
            self.checkpoint_number,
            previous,
            whole,
        );
        let taken: Vec<u64> = self
            .chain
            .iter()
            .chain(&self.chain_before)
            .map(|(slot, _)| *slot)
            .collect();
        let choice = self
            .slots
            .choose(prepared.body.len(), &taken, self.last_resort);
        let disk = Arc::clone(&self.disk);
        Task::Checkpoint {
            disk,
            choice,
            id: self.identity.directory,
            prepared,
        }
    }

    fn settle(&mut self, outcome: Outcome) -> Result<(), Error> {
        match outcome {
            Outcome::Sealed(result, index) => {
                result.map_err(|error| self.poison("write a footer", &error))?;
                self.counters.syncs_segment += 1;
                self.settle_seal(&index);
            }
            Outcome::Checkpoint(result, prepared) => self.settle_checkpoint(result, prepared)?,
            Outcome::Meta(result) => {
                let wrote = result.map_err(|error| self.poison("write the meta file", &error))?;
                self.counters.syncs_meta += u64::from(wrote);
            }
            Outcome::Created(Ok(spare)) => {
                self.files += 1;
                self.spares.put(spare);
            }
            // Nothing rests on a spare: the log goes on without it.
            Outcome::Created(Err(error)) => {
                tracing::warn!(%error, "no spare segment could be made");
                self.spares_rest_until = self.disk.elapsed() + stock::SPARES_REST;
            }
            Outcome::Zeroed(Ok(()), mut spare, end) => {
                if end == self.config.segment_bytes {
                    spare.zeroed = true;
                    self.spares.put(spare);
                } else {
                    self.zeroing = Some((spare, end));
                }
            }
            Outcome::Zeroed(Err(error), spare, _) => {
                // A bad spare is dropped, not used. Its file stays for somebody to look at.
                tracing::error!(%error, number = spare.number, "a spare segment cannot be written");
                self.spares_rest_until = self.disk.elapsed() + stock::SPARES_REST;
            }
            Outcome::Removed(result) => match result {
                Ok(()) => self.files -= 1,
                Err(error) => tracing::warn!(%error, "a surplus segment could not be removed"),
            },
            Outcome::Cleaned(cleaned) => self.settle_clean(cleaned)?,
        }
        Ok(())
    }

    fn settle_seal(&mut self, index: &Arc<RunIndex>) {
        let Some(FullSegment {
            segment,
            mut sealed,
        }) = self.full.pop_front()
        else {
            return;
        };
        sealed.footer_at = self.config.segment_bytes - index.footer_bytes(0);
        sealed.runs = u32::try_from(index.runs).expect("runs are bounded per segment");
        assert!(
            sealed.footer_at >= sealed.end,
            "the writer keeps room for the footer"
        );
        let mut directory = self.shared.write();
        let data_bytes = sealed.end - DATA_START;
        directory
            .segments
            .seal(segment.sequence, sealed.footer_at, sealed.runs, data_bytes);
        drop(directory);
        self.shared.keep_footer(&segment, Arc::clone(index));
        self.sealed.insert(segment.sequence, sealed);
        self.checkpoint_due = true;
    }

    fn settle_checkpoint(
        &mut self,
        result: io::Result<(u64, Arc<dyn File>)>,
        prepared: Prepared,
    ) -> Result<(), Error> {
        let (slot, file) = match result {
            Ok(written) => written,
            Err(error) if is_full(&error) => {
                self.checkpoint_found_no_room();
                return Ok(());
            }
            Err(error) => return Err(self.poison("write a checkpoint", &error)),
        };
        self.last_resort = false;
        self.counters.syncs_checkpoint += 1;
        let bytes = file
            .size()
            .map_err(|error| self.poison("measure a checkpoint", &error))?;
        self.slots.files.insert(slot, (file, bytes));
        let number = prepared.number;
        let before = self.chain.clone();
        if prepared.whole {
            self.chain = vec![(slot, number)];
        } else {
            self.chain.push((slot, number));
        }
        let mut freed = Vec::new();
        let mut directory = self.shared.write();
        for sequence in prepared.dead {
            if let Some(state) = directory.segments.remove(sequence) {
                assert_eq!(state.extents, 0, "what has died never lives again");
                freed.push(state.segment);
                self.sealed.remove(&sequence);
            }
        }
        drop(directory);
        self.commit(false)?;
        self.chain_before = before;
        self.counters.segments_recycled += freed.len() as u64;
        for segment in freed {
            // A file that did not keep what it was given is given nothing else.
            match self.shared.quarantine().release(segment.sequence) {
                true => self.spares.retire(segment),
                false => self.spares.recycle(segment),
            }
        }
        Ok(())
    }

    /// The checkpoint before stays the truth. The next one is whole, since this one's changes are noted nowhere, and
    /// goes into a slot that was kept back; if those are too small, spares make room.
    fn checkpoint_found_no_room(&mut self) {
        self.whole_next = true;
        self.checkpoint_due = true;
        if !std::mem::replace(&mut self.last_resort, true) {
            return;
        }
        match self
            .spares
            .take(Taker::Cleaner)
            .or_else(|| self.spares.take(Taker::Housekeeping))
        {
            Some(spare) if self.disk.remove(&segment_name(spare.number)).is_ok() => {
                self.files -= 1;
            }
            _ => {
                tracing::error!("no room for a checkpoint: restarts take longer until there is");
                self.checkpoint_due = false;
                // What has died is still to be freed, when there is room again.
                self.shared.write().died = true;
            }
        }
    }
}
