//! Reads through a read-only mapping that never raise a signal. The only unsafe code of the program.
//!
//! Touching a mapped page whose sector is bad, or that lies behind the end of a file that somebody has cut short, is
//! SIGBUS. So no mapped byte is ever touched from here: MADV_POPULATE_READ brings the pages in and answers an error
//! instead, and process_vm_readv copies them and answers EFAULT if they are gone meanwhile. No pointer into a mapping
//! leaves this module.
#![allow(unsafe_code)]

use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::io;
use std::sync::OnceLock;

/// A whole file, mapped read-only.
#[derive(Debug)]
pub(super) struct Mapping {
    map: Mmap,
}

impl Mapping {
    /// Maps a file as it is now.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: memmap2 asks that the file does not change while a slice of the mapping is in use. No slice is ever
        // formed: the bytes are only read by the kernel, by address, and copied into memory of our own.
        let map = unsafe { MmapOptions::new().map(file)? };
        // NB: no advice. With MADV_RANDOM a range is populated page by page, each a read of its own: cold reads came at
        // 3 to 18 MB/s, and without it at 800 and more.
        Ok(Self { map })
    }

    /// Copies a range out.
    pub(super) fn copy_out(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        let (start, end) = self.range(position, into.len())?;
        if into.is_empty() {
            return Ok(());
        }
        self.populate(start, end)?;
        let from = self.map.as_ptr().wrapping_add(start);
        copy_from_self(from, into)
    }

    /// Begins to read a range, and waits for nothing.
    pub(super) fn prefetch(&self, position: u64, bytes: usize) -> io::Result<()> {
        let (start, end) = self.range(position, bytes)?;
        self.advise(start, end, rustix::mm::Advice::WillNeed)
    }

    /// Where a range begins and ends, which lies within the mapping.
    fn range(&self, position: u64, bytes: usize) -> io::Result<(usize, usize)> {
        let start = usize::try_from(position).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start
            .checked_add(bytes)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.map.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((start, end))
    }

    /// Brings the pages of a range in; a bad sector or a missing page is an error here.
    fn populate(&self, start: usize, end: usize) -> io::Result<()> {
        match self.advise(start, end, rustix::mm::Advice::LinuxPopulateRead) {
            // A kernel before 5.14: the copy below then brings the pages in, and answers EFAULT for a bad one.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            done => done,
        }
    }

    /// Only advice that changes no byte.
    fn advise(&self, start: usize, end: usize, advice: rustix::mm::Advice) -> io::Result<()> {
        let first = start / 4096 * 4096;
        let address = self.map.as_ptr().wrapping_add(first).cast_mut().cast();
        // SAFETY: the range lies within the mapping (`Mapping::range` says so, and a mapping reaches to the end of its
        // last page). Neither MADV_POPULATE_READ nor MADV_WILLNEED changes a byte of it.
        unsafe { rustix::mm::madvise(address, end - first, advice) }?;
        Ok(())
    }
}

/// This process. NB: asked once, for the C library asks the kernel each time.
fn own_id() -> libc::pid_t {
    static OWN: OnceLock<libc::pid_t> = OnceLock::new();
    *OWN.get_or_init(|| std::process::id().cast_signed())
}

/// Copies memory of this process by address: a page that cannot be read is EFAULT.
fn copy_from_self(from: *const u8, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let local = libc::iovec {
            iov_base: into[done..].as_mut_ptr().cast(),
            iov_len: into.len() - done,
        };
        let remote = libc::iovec {
            iov_base: from.wrapping_add(done).cast_mut().cast(),
            iov_len: into.len() - done,
        };
        // SAFETY: `local` is exclusively borrowed memory of exactly this length. `remote` is only an address to the
        // kernel: it checks every page and fails with EFAULT instead of a signal.
        let copied = unsafe {
            libc::process_vm_readv(own_id(), &raw const local, 1, &raw const remote, 1, 0)
        };
        match usize::try_from(copied) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => done += copied,
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}
