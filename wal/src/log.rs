//! The log: its state, its figures, its poison.

use crate::checkpoint::{Point, Slots};
use crate::cleaner::{Donated, Outlook};
use crate::config::Config;
use crate::directory::Directory;
use crate::disk::Disk;
use crate::error::Error;
use crate::jobs::Running;
use crate::manifest::{ManifestFiles, Sealed};
use crate::meta::Meta;
use crate::mutant::{self, Mutant};
use crate::pages::Pool;
use crate::quarantine::Quarantine;
use crate::reader::Reader;
use crate::record::{Identity, Room, Stats};
use crate::segment::Segment;
use crate::spares::{Spare, Spares};
use crate::tail::Tail;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::Duration;

/// What the log thread and the readers share. No I/O happens under either lock.
pub(crate) struct Shared {
    directory: RwLock<Directory>,
    tail: Mutex<Tail>,
    pub(crate) segment_bytes: u64,
    pub(crate) run_bytes_max: u64,
    pub(crate) footers_kept: usize,
    quarantine: Mutex<Quarantine>,
    /// Segments whose footer is in memory, oldest first. Weak: a kept footer pins nothing.
    footers: Mutex<VecDeque<Weak<Segment>>>,
}

impl Shared {
    pub(crate) fn new(directory: Directory, config: &Config) -> Arc<Self> {
        Arc::new(Self {
            directory: RwLock::new(directory),
            tail: Mutex::new(Tail::new(config.tail_bytes)),
            segment_bytes: config.segment_bytes,
            run_bytes_max: config.run_bytes_max,
            footers_kept: config.footers_kept,
            quarantine: Mutex::default(),
            footers: Mutex::new(VecDeque::new()),
        })
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// NB: taken after the directory's lock by who needs both.
    pub(crate) fn quarantine(&self) -> MutexGuard<'_, Quarantine> {
        self.quarantine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn footers(&self) -> MutexGuard<'_, VecDeque<Weak<Segment>>> {
        self.footers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The segment that takes rounds.
pub(crate) struct OpenSegment {
    pub(crate) segment: Arc<Segment>,
    /// Where the next round goes.
    pub(crate) position: u64,
    /// Up to where there are zeros behind it.
    pub(crate) zeroed_to: u64,
}

impl OpenSegment {
    pub(crate) fn at(segment: Arc<Segment>, position: u64) -> Self {
        Self {
            segment,
            position,
            zeroed_to: position,
        }
    }
}

/// A full segment that waits for its footer.
pub(crate) struct FullSegment {
    pub(crate) segment: Arc<Segment>,
    pub(crate) sealed: Sealed,
}

/// The log of one broker. One thread writes; [`Reader`]s read from any thread; [`crate::Job`]s run anywhere.
pub struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) open: OpenSegment,
    pub(crate) full: VecDeque<FullSegment>,
    /// Named in the manifest, header synced: takes the next round when the open one is full.
    pub(crate) prepared: Option<Arc<Segment>>,
    /// What there was when the cleaner last found nothing to do. Looking at every segment again, after every round,
    /// would find the same.
    pub(crate) nothing_to_clean: Option<Outlook>,
    /// Named in the manifest for the cleaner's job that is under way.
    pub(crate) outputs: Vec<Arc<Segment>>,
    /// Copies of damaged entries, by the segment that lacks them, until they are written.
    pub(crate) donated: BTreeMap<u64, Donated>,
    /// The damaged segment that is being taken apart.
    pub(crate) healed_segment: Option<u64>,
    pub(crate) sealed: BTreeMap<u64, Sealed>,
    pub(crate) spares: Spares,
    /// The last round: written and synced. The next one is one higher.
    pub(crate) last_round: u64,
    pub(crate) last_crc: u32,
    pub(crate) last_round_bytes: u64,
    /// Whether the last round is an idle mark.
    pub(crate) idle: bool,
    pub(crate) manifests: ManifestFiles,
    pub(crate) manifest_version: u64,
    pub(crate) next_sequence: u64,
    pub(crate) slots: Slots,
    /// The checkpoint chain, and the one that the manifest before this one names.
    pub(crate) chain: Vec<(u64, u64)>,
    pub(crate) chain_before: Vec<(u64, u64)>,
    pub(crate) checkpoint_number: u64,
    pub(crate) checkpoint_due: bool,
    /// The next checkpoint must be whole: one could not be written.
    pub(crate) whole_next: bool,
    /// It goes into a slot that was kept back: no new one could be made.
    pub(crate) last_resort: bool,
    pub(crate) checkpoint_at: Duration,
    pub(crate) meta: Arc<Mutex<Meta>>,
    pub(crate) meta_at: Duration,
    /// Work that the log waits for when it must, and work that can wait.
    pub(crate) urgent: Option<Running>,
    pub(crate) leisure: Option<Running>,
    /// The spare that is being zeroed, and how far it is.
    pub(crate) zeroing: Option<(Spare, u64)>,
    /// No spare is made before: the last one could not be made, or not be written.
    pub(crate) spares_rest_until: Duration,
    /// When a segment was last filled (or the log opened).
    pub(crate) filled_at: Duration,
    /// Segment files in all.
    pub(crate) files: u64,
    pub(crate) free_bytes: u64,
    pub(crate) counters: Stats,
    pub(crate) poisoned: Option<Arc<str>>,
}

impl Log {
    /// A handle for reading; any number, any thread.
    #[must_use]
    pub fn reader(&self) -> Arc<Reader> {
        Arc::new(Reader::new(Arc::clone(&self.shared)))
    }

    /// What there is room for now.
    #[must_use]
    pub fn room(&self) -> Room {
        let more = self.prepared.is_some() || self.may_create();
        Room {
            entries: more || self.spares.free() > 0,
            housekeeping: more || self.spares.for_housekeeping() > 0,
        }
    }

    /// The same, after a look at the file system: space may have come back from elsewhere.
    pub fn look_for_room(&mut self) -> Room {
        self.look_at_free_bytes();
        self.room()
    }

    /// What all segment files may take together: the budget, or what the file system has for them.
    fn limit_bytes(&self) -> u64 {
        let more = self.free_bytes.saturating_sub(self.config.free_bytes_min);
        let most = (self.files * self.config.segment_bytes).saturating_add(more);
        most.min(self.config.used_bytes_max)
    }

    /// Whether the file system and the budget allow one more file, as far as last looked at.
    pub(crate) fn may_create(&self) -> bool {
        let bytes = self.config.segment_bytes;
        (self.files + 1).saturating_mul(bytes) <= self.config.used_bytes_max
            && self.free_bytes >= bytes.saturating_add(self.config.free_bytes_min)
    }

    pub(crate) fn look_at_free_bytes(&mut self) {
        // Only a hint for making spares: a wrong one ends in an error of the creation, which is handled there.
        self.free_bytes = self.disk.free_bytes().unwrap_or(0);
    }

    /// Answers [`Error::Poisoned`] once the log has failed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.poisoned {
            Some(_) if mutant::on(Mutant::PoisonForgotten) => Ok(()),
            Some(why) => Err(Error::Poisoned {
                why: Arc::clone(why),
            }),
            None => Ok(()),
        }
    }

    /// The first failure of a write or a sync is the last thing this log does.
    pub(crate) fn poison(&mut self, doing: &str, error: &dyn std::fmt::Display) -> Error {
        let why: Arc<str> = format!("{doing}: {error}").into();
        if self.poisoned.is_none() {
            tracing::error!(%why, "the log has failed");
            self.poisoned = Some(Arc::clone(&why));
        }
        Error::Poisoned {
            why: Arc::clone(self.poisoned.as_ref().unwrap_or(&why)),
        }
    }

    /// Where a restart goes on after what is alive now.
    pub(crate) fn point(&self) -> Point {
        Point {
            round: self.last_round,
            crc: self.last_crc,
            segment: self.open.segment.sequence,
            position: self.open.position,
        }
    }

    /// Whether the cleaner is at work.
    #[must_use]
    pub fn cleaning(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.counters.clone();
        let directory = self.shared.read();
        let sealed = directory.segments.sealed();
        let unsealed = self.full.iter().map(|full| &full.segment);
        for segment in unsealed.chain([&self.open.segment]) {
            stats.segments_open += 1;
            stats.live_bytes += directory.segments[&segment.sequence].live_bytes;
        }
        stats.live_bytes += sealed.live_bytes;
        stats.segments_sealed = sealed.segments;
        stats.unsorted_bytes = sealed.unsorted_bytes;
        let sealed_bytes = sealed.segments * self.config.segment_bytes;
        stats.dead_bytes = sealed_bytes.saturating_sub(sealed.live_bytes);
        let waiting = usize::from(self.prepared.is_some())
            + usize::from(self.zeroing.is_some())
            + self.outputs.len();
        stats.segments_spare = (self.spares.len() + waiting) as u64;
        stats.segments_zeroed = self.spares.zeroed_count() as u64;
        stats.used_bytes = self.files * self.config.segment_bytes;
        stats.limit_bytes = self.limit_bytes();
        stats.free_bytes = self.free_bytes;
        stats.round = self.last_round;
        stats.manifest = self.manifest_version;
        stats.poisoned = self.poisoned.is_some();
        stats
    }
}
