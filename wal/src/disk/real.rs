//! The real file system: O_DIRECT where it is supported, else buffered.

use super::mapping::Mapping;
use super::{Disk, File};
use crate::error::{Error, is_full};
use crate::layout::{LOCK, META};
use crate::pages::{PAGE_BYTES, Pages};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A directory of the real file system, locked against other processes for as long as this lives.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    /// Kept open for syncing it.
    directory: fs::File,
    _lock: Option<Lock>,
    /// Files are opened for reading, and none is made, renamed or removed.
    read_only: bool,
    direct: bool,
    started: Instant,
}

/// Held until it is dropped: also where a child that was just forked, and has not yet begun its program, still has the
/// file.
#[derive(Debug)]
struct Lock(fs::File);

impl Drop for Lock {
    fn drop(&mut self) {
        // What fails here ends with the process.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl RealDisk {
    /// Opens a directory, making it if it is not there, and locks it.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process holds it, [`Error::Io`] otherwise.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<dyn Disk>, Error> {
        let path = path.as_ref().to_path_buf();
        let shown = path.display().to_string();
        let failed = |doing| {
            let shown = shown.clone();
            move |source| Error::io(doing, &shown, source)
        };
        fs::create_dir_all(&path).map_err(failed("create directory"))?;
        let directory = fs::File::open(&path).map_err(failed("open directory"))?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(failed("open lock file of"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { path: shown }),
            Err(error) => return Err(Error::io("lock", &shown, error.into())),
        }
        let direct = probe_direct(&path).map_err(failed("probe"))?;
        if !direct {
            tracing::warn!(path = %shown, "no O_DIRECT here: the log is written through the page cache");
        }
        Ok(Arc::new(Self {
            path,
            directory,
            _lock: Some(Lock(lock)),
            read_only: false,
            direct,
            started: Instant::now(),
        }))
    }

    /// Opens a directory that is there, to look at it: nothing in it is changed through this. Others may look at the same
    /// time; a broker may not have it.
    ///
    /// # Errors
    /// [`Error::Locked`] while a log is open in it, [`Error::Io`] otherwise.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Arc<dyn Disk>, Error> {
        let path = path.as_ref().to_path_buf();
        let shown = path.display().to_string();
        let directory =
            fs::File::open(&path).map_err(|error| Error::io("open directory", &shown, error))?;
        // A copy of a directory may come without the lock file; then nobody holds it either.
        let lock = match fs::File::open(path.join(LOCK)) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("open lock file of", &shown, error)),
        };
        if let Some(lock) = &lock {
            match rustix::fs::flock(lock, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { path: shown }),
                Err(error) => return Err(Error::io("lock", &shown, error.into())),
            }
        }
        Ok(Arc::new(Self {
            direct: reads_direct(&path.join(META)),
            path,
            directory,
            _lock: lock.map(Lock),
            read_only: true,
            started: Instant::now(),
        }))
    }

    fn expect_writable(&self) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    fn wrap(&self, file: fs::File) -> Arc<dyn File> {
        Arc::new(RealFile {
            file,
            direct: self.direct,
            mapping: Mutex::new(None),
            cached: Mutex::new(None),
        })
    }

    fn options(&self) -> fs::OpenOptions {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(!self.read_only);
        if self.direct {
            options.custom_flags(direct_flag());
        }
        options
    }
}

fn direct_flag() -> i32 {
    OFlags::DIRECT.bits().cast_signed()
}

/// Whether a page can be written and read with O_DIRECT here.
fn probe_direct(path: &Path) -> io::Result<bool> {
    let name = path.join(".probe");
    match fs::remove_file(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(direct_flag())
        .open(&name);
    let probed = opened.and_then(|file| {
        let mut page = Pages::zeroed(PAGE_BYTES);
        file.write_all_at(&page, 0)?;
        file.read_exact_at(&mut page, 0)
    });
    let direct = match probed {
        // No room for a probe. The lock file is there, and opening is what most file systems refuse.
        Err(error) if is_full(&error) => {
            let mut options = fs::OpenOptions::new();
            options.read(true).custom_flags(direct_flag());
            is_direct(options.open(path.join(LOCK)).map(|_| ()))?
        }
        probed => is_direct(probed)?,
    };
    // EINVAL at open may leave the file behind, or may not.
    match fs::remove_file(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(direct),
    }
}

/// Whether a file's first page can be read with O_DIRECT. Where it cannot, for whatever reason, the page cache serves.
fn reads_direct(path: &Path) -> bool {
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(direct_flag())
        .open(path);
    let mut page = Pages::zeroed(PAGE_BYTES);
    opened
        .and_then(|file| file.read_exact_at(&mut page, 0))
        .is_ok()
}

/// What the answer to a probe means. Only EINVAL says that there is no O_DIRECT; other failures say nothing about it.
fn is_direct(probed: io::Result<()>) -> io::Result<bool> {
    match probed {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(&self.path)? {
            if let Ok(name) = item?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, name: &str, size_bytes: u64) -> io::Result<Arc<dyn File>> {
        self.expect_writable()?;
        let path = self.path.join(name);
        let file = self.wrap(self.options().create_new(true).open(&path)?);
        if let Err(error) = file.allocate(size_bytes) {
            // No room: leave nothing behind. The file was made by this call and holds nothing.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.options().open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.expect_writable()?;
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.expect_writable()?;
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(&self.directory)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn direct(&self) -> bool {
        self.direct
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn random(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        // Keyed by the operating system's randomness once per process, by the clock and a counter per call.
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.write_u128(self.started.elapsed().as_nanos());
        hasher.finish()
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    direct: bool,
    mapping: Mutex<Option<Arc<Mapping>>>,
    /// The same file through the page cache, from `bring` to `forget`, where `file` goes past it.
    cached: Mutex<Option<Arc<fs::File>>>,
}

impl RealFile {
    /// None: this handle itself goes through the page cache, or there is no other to be had.
    fn cached(&self) -> Option<Arc<fs::File>> {
        let held = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// Opens [`RealFile::cached`], by what is open and not by a name.
    fn open_cached(&self) -> Option<Arc<fs::File>> {
        let mut held = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() && self.direct {
            let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            *held = fs::File::open(open).ok().map(Arc::new);
        }
        held.clone()
    }

    fn mapping(&self) -> io::Result<Arc<Mapping>> {
        let mut held = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mapping) = &*held {
            return Ok(Arc::clone(mapping));
        }
        let mapping = Arc::new(Mapping::new(&self.file)?);
        *held = Some(Arc::clone(&mapping));
        Ok(mapping)
    }
}

impl File for RealFile {
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, position)
    }

    fn read_mapped(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        match self.mapping()?.copy_out(position, into) {
            // A sandbox may forbid process_vm_readv; an ordinary read is as safe, only slower.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
                read_around(self, position, into)
            }
            other => other,
        }
    }

    fn prefetch(&self, position: u64, bytes: usize) -> io::Result<()> {
        self.mapping()?.prefetch(position, bytes)
    }

    fn bring(&self, position: u64, bytes: usize) -> io::Result<()> {
        let cached = self.open_cached();
        let file = match &cached {
            Some(file) => file,
            None if !self.direct => &self.file,
            None => return self.mapping()?.prefetch(position, bytes),
        };
        let advice = rustix::fs::Advice::WillNeed;
        rustix::fs::fadvise(file, position, NonZeroU64::new(bytes as u64), advice)?;
        Ok(())
    }

    fn read_brought(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        match self.cached() {
            Some(file) => file.read_exact_at(into, position),
            None if !self.direct => self.file.read_exact_at(into, position),
            None => self.read_mapped(position, into),
        }
    }

    fn forget(&self) -> io::Result<()> {
        self.unmap();
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = None;
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    fn write_at(&self, position: u64, data: &[u8]) -> io::Result<()> {
        debug_assert!(position.is_multiple_of(PAGE_BYTES as u64));
        // A short write is followed by the attempt to write the rest, which then reports its cause.
        self.file.write_all_at(data, position)
    }

    fn sync(&self) -> io::Result<()> {
        rustix::fs::fdatasync(&self.file)?;
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, size_bytes: u64) -> io::Result<()> {
        let size_now = self.size()?;
        if size_now >= size_bytes {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, size_bytes) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        let zeros = Pages::zeroed(1 << 20);
        let mut position = size_now / PAGE_BYTES as u64 * PAGE_BYTES as u64;
        while position < size_bytes {
            let length = (size_bytes - position).min(zeros.len() as u64);
            let length = usize::try_from(length).expect("at most 1 MiB");
            self.file.write_all_at(&zeros[..length], position)?;
            position += length as u64;
        }
        Ok(())
    }

    fn evict(&self) -> io::Result<()> {
        if self.direct { Ok(()) } else { self.forget() }
    }

    fn unmap(&self) {
        *self.mapping.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Reads any range by whole pages.
fn read_around(file: &dyn File, position: u64, into: &mut [u8]) -> io::Result<()> {
    let page = PAGE_BYTES as u64;
    let first = position / page * page;
    let end = (position + into.len() as u64).next_multiple_of(page);
    let length = usize::try_from(end - first).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut pages = Pages::zeroed(length);
    file.read_at(first, &mut pages)?;
    let start = usize::try_from(position - first).map_err(|_| io::ErrorKind::InvalidInput)?;
    into.copy_from_slice(&pages[start..start + into.len()]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X9: a full or failing disk is not taken for one without O_DIRECT.
    #[test]
    fn x9_only_einval_means_that_there_is_no_direct_io() {
        let failed = |errno| is_direct(Err(io::Error::from_raw_os_error(errno)));
        assert!(is_direct(Ok(())).unwrap());
        assert!(!failed(libc::EINVAL).unwrap());
        for errno in [libc::EIO, libc::EACCES, libc::EROFS, libc::EMFILE] {
            assert_eq!(failed(errno).unwrap_err().raw_os_error(), Some(errno));
        }
    }

    #[test]
    fn what_was_brought_is_what_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        let file = disk.create("segment", 1 << 20).unwrap();
        let write = |byte: u8| {
            let mut pages = Pages::zeroed(2 * PAGE_BYTES);
            pages.fill(byte);
            file.write_at(8 * PAGE_BYTES as u64, &pages).unwrap();
        };
        let across_its_end = || {
            let mut read = [9; 10];
            let end = 10 * PAGE_BYTES as u64;
            file.read_brought(end - 5, &mut read).unwrap();
            read
        };
        write(7);
        file.bring(0, 1 << 20).unwrap();
        assert_eq!(across_its_end(), [7, 7, 7, 7, 7, 0, 0, 0, 0, 0]);
        write(8);
        assert_eq!(across_its_end(), [8, 8, 8, 8, 8, 0, 0, 0, 0, 0]);
        let beyond = |file: &dyn File| file.read_brought((1 << 20) - 5, &mut [0; 10]);
        assert!(beyond(&*file).is_err());
        // Nobody brings it: it is read all the same.
        file.forget().unwrap();
        assert_eq!(across_its_end(), [8, 8, 8, 8, 8, 0, 0, 0, 0, 0]);
        assert!(beyond(&*file).is_err());
    }
}
