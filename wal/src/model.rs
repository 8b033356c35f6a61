//! A disk in memory that can crash and fail, deterministic from a seed. For tests and the simulator.
//!
//! It reads and writes past any cache; [`ModelDisk::buffered`] makes one with a page cache that hides what the device
//! has lost.
//!
//! Every file has a current image and, for each 512-byte sector written since its last sync, the synced content. A
//! crash decides for each such sector on its own what is left of it, and for the directory whether creations, renames
//! and removals since its last sync happened.

mod file;

use crate::disk::{Disk, File};
use file::ModelFile;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The unit that a power cut keeps or loses, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// What a call to the disk is, for injecting errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Syncing a file.
    Sync,
    /// Creating or enlarging a file.
    Create,
    /// Opening a file.
    Open,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Syncing the directory.
    SyncDirectory,
}

/// An error to be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. With a page cache a failed sync leaves its sectors in doubt but calls them clean.
    Io,
    /// ENOSPC.
    NoSpace,
    /// EDQUOT.
    Quota,
    /// A write that is answered well and never reaches the device. Other calls are done.
    Lost,
    /// A write that stops after this many bytes, then EIO. Other calls fail as with [`Fault::Io`].
    Short(usize),
    /// EMFILE.
    TooManyFiles,
    /// The power goes: this call and all after it fail, nothing of it happens.
    PowerCut,
}

/// What a crash does with a sector that was written but not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectorFate {
    /// The synced content is back.
    Old,
    /// The new content is there.
    New,
    /// Zeros.
    Zero,
    /// Neither.
    Garbage,
}

#[derive(Clone, Debug, Default)]
struct Image {
    bytes: Vec<u8>,
    /// Size that survives a crash.
    synced_size: usize,
    /// The synced content of sectors written since.
    dirty: BTreeMap<usize, Vec<u8>>,
    /// What the device holds of clean sectors that only the page cache shows.
    lost: BTreeMap<usize, Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    images: Vec<Image>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    /// Faults on the nth call of a kind.
    kind_faults: Vec<(Call, u64, Fault)>,
    kind_calls: BTreeMap<u8, u64>,
    injected: u64,
    cut: bool,
    random: u64,
    elapsed: Duration,
    capacity: u64,
    bad_sectors: Vec<(String, u64)>,
    buffered: bool,
}

/// The disk. Clones share it.
#[derive(Clone)]
pub struct ModelDisk {
    state: Arc<Mutex<State>>,
}

impl ModelDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        let state = State {
            random: seed ^ 0x9e37_79b9_7f4a_7c15,
            capacity: u64::MAX,
            ..State::default()
        };
        Arc::new(Self {
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// An empty disk behind a page cache: what a failed sync did not write is read all the same until it is evicted,
    /// and the next sync calls it well.
    #[must_use]
    pub fn buffered(seed: u64) -> Arc<Self> {
        let disk = Self::new(seed);
        disk.state().buffered = true;
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An independent disk in the same state.
    #[must_use]
    pub fn fork(&self) -> Arc<Self> {
        Arc::new(Self {
            state: Arc::new(Mutex::new(self.state().clone())),
        })
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Calls of one kind so far.
    #[must_use]
    pub fn calls_of(&self, call: Call) -> u64 {
        self.state()
            .kind_calls
            .get(&(call as u8))
            .copied()
            .unwrap_or(0)
    }

    /// Makes a call fail: the nth from the disk's beginning, 1 being the first.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().faults.insert(call, fault);
    }

    /// Makes the nth call of a kind from the disk's beginning fail.
    pub fn fail_kind(&self, kind: Call, nth: u64, fault: Fault) {
        self.state().kind_faults.push((kind, nth, fault));
    }

    /// Makes a sector unreadable until it is written again.
    pub fn break_sector(&self, name: &str, position: u64) {
        let sector = position / SECTOR_BYTES as u64;
        self.state().bad_sectors.push((name.to_owned(), sector));
    }

    /// How many errors were injected.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.state().injected
    }

    /// Whether the power has gone, by [`Fault::PowerCut`], and not come back.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state().cut
    }

    /// Forgets all faults that have not happened yet.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.kind_faults.clear();
        state.cut = false;
    }

    /// Bounds the bytes of all files together.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Sets the clock.
    pub fn set_elapsed(&self, elapsed: Duration) {
        self.state().elapsed = elapsed;
    }

    /// The power goes and comes back: everything not synced is kept, lost or torn, sector by sector, by this seed.
    pub fn crash(&self, seed: u64) {
        let mut random = seed;
        self.crash_with(
            |_, _| match next_random(&mut random) % 8 {
                0..=2 => SectorFate::Old,
                3..=5 => SectorFate::New,
                6 => SectorFate::Zero,
                _ => SectorFate::Garbage,
            },
            next_random(&mut { seed ^ 0x5bd1_e995 }).is_multiple_of(2),
        );
    }

    /// As [`ModelDisk::crash`], with the fate of each dirty sector (file name, sector) given, and whether unsynced
    /// directory entries are lost.
    pub fn crash_with(&self, mut fate: impl FnMut(&str, usize) -> SectorFate, names_lost: bool) {
        let mut state = self.state();
        let mut names = state.names.clone();
        for (name, image) in &state.synced_names {
            names.entry(name.clone()).or_insert(*image);
        }
        let by_image: BTreeMap<usize, String> = names
            .into_iter()
            .map(|(name, image)| (image, name))
            .collect();
        for number in 0..state.images.len() {
            let name = by_image.get(&number).map_or("", String::as_str);
            let image = &mut state.images[number];
            image.evict();
            for (sector, old) in std::mem::take(&mut image.dirty) {
                let start = sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(image.bytes.len());
                let slot = &mut image.bytes[start..end];
                match fate(name, sector) {
                    SectorFate::Old => slot.copy_from_slice(&old[..slot.len()]),
                    SectorFate::New => {}
                    SectorFate::Zero => slot.fill(0),
                    SectorFate::Garbage => {
                        for (at, byte) in slot.iter_mut().enumerate() {
                            *byte = (at * 37 + sector * 11 + 0xa5) as u8;
                        }
                    }
                }
            }
            if names_lost && image.synced_size < image.bytes.len() {
                image.bytes.truncate(image.synced_size);
            }
            image.synced_size = image.bytes.len();
        }
        if names_lost {
            state.names = state.synced_names.clone();
        } else {
            state.synced_names = state.names.clone();
        }
        state.cut = false;
        state.faults.clear();
        state.kind_faults.clear();
    }

    /// Sectors that were written and not synced: file name and sector.
    #[must_use]
    pub fn dirty_sectors(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let mut found = Vec::new();
        for (name, image) in &state.names {
            found.extend(
                state.images[*image]
                    .dirty
                    .keys()
                    .map(|sector| (name.clone(), *sector)),
            );
        }
        found
    }

    /// A file's current content.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state
            .names
            .get(name)
            .map(|image| state.images[*image].bytes.clone())
    }

    /// Replaces a file's content, synced, behind the log's back.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        if let Some(image) = state.names.get(name).copied() {
            let synced_size = bytes.len();
            state.images[image] = Image {
                bytes,
                synced_size,
                ..Image::default()
            };
        }
    }

    /// Flips one bit of a file, behind the log's back.
    pub fn flip_bit(&self, name: &str, bit: usize) {
        let mut state = self.state();
        if let Some(image) = state.names.get(name).copied() {
            state.images[image].bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Removes a file, behind the log's back.
    pub fn lose(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.synced_names.remove(name);
    }
}

fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Image {
    /// The page cache forgets what is clean: what is read from now on is what the device holds.
    fn evict(&mut self) {
        for (sector, held) in std::mem::take(&mut self.lost) {
            let start = sector * SECTOR_BYTES;
            self.bytes[start..start + held.len()].copy_from_slice(&held);
        }
    }
}

impl State {
    /// Counts a call; answers the fault that it meets.
    fn call(&mut self, kind: Call) -> Option<Fault> {
        self.calls += 1;
        let of_kind = self.kind_calls.entry(kind as u8).or_insert(0);
        *of_kind += 1;
        let of_kind = *of_kind;
        let mut fault = self.faults.remove(&self.calls);
        if fault.is_none() {
            fault = self
                .kind_faults
                .iter()
                .find(|(of, nth, _)| *of == kind && *nth == of_kind)
                .map(|(_, _, fault)| *fault);
        }
        if self.cut {
            fault = Some(Fault::PowerCut);
        }
        if fault == Some(Fault::PowerCut) {
            self.cut = true;
        }
        self.injected += u64::from(fault.is_some());
        fault.filter(|fault| *fault != Fault::Lost || kind == Call::Write)
    }

    fn fail(&mut self, kind: Call) -> io::Result<()> {
        self.call(kind).map_or(Ok(()), |fault| Err(error_of(fault)))
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .map(|image| self.images[*image].bytes.len() as u64)
            .sum()
    }

    fn image(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn error_of(fault: Fault) -> io::Error {
    match fault {
        Fault::Io | Fault::Short(_) => io::Error::from_raw_os_error(libc::EIO),
        Fault::NoSpace => io::Error::from_raw_os_error(libc::ENOSPC),
        Fault::Quota => io::Error::from_raw_os_error(libc::EDQUOT),
        Fault::Lost => io::Error::other("a lost write is no error"),
        Fault::TooManyFiles => io::Error::from_raw_os_error(libc::EMFILE),
        Fault::PowerCut => io::Error::other("the power is gone"),
    }
}

impl Disk for ModelDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.fail(Call::Open)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, size_bytes: u64) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.fail(Call::Create)?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.used() + size_bytes > state.capacity {
            return Err(error_of(Fault::NoSpace));
        }
        let number = state.images.len();
        let bytes = vec![0; usize::try_from(size_bytes).map_err(|_| io::ErrorKind::InvalidInput)?];
        state.images.push(Image {
            bytes,
            ..Image::default()
        });
        state.names.insert(name.to_owned(), number);
        drop(state);
        Ok(self.file(name, number))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.fail(Call::Open)?;
        let number = state.image(name)?;
        drop(state);
        Ok(self.file(name, number))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.fail(Call::Rename)?;
        let number = state.image(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.image(name)?;
        state.fail(Call::Remove)?;
        state.names.remove(name);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        state.fail(Call::SyncDirectory)?;
        state.synced_names = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }

    fn direct(&self) -> bool {
        !self.state().buffered
    }

    fn elapsed(&self) -> Duration {
        self.state().elapsed
    }

    fn rest(&self, _time: Duration) {}

    fn random(&self) -> u64 {
        next_random(&mut self.state().random)
    }
}

impl ModelDisk {
    fn file(&self, name: &str, number: usize) -> Arc<dyn File> {
        Arc::new(ModelFile {
            disk: self.clone(),
            name: name.to_owned(),
            number,
        })
    }
}
