//! The only door to the file system: trait [`Disk`], and the real one.

mod mapping;
mod real;

pub use real::RealDisk;

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A data directory. Errors are the file system's; what they mean is decided by the caller.
pub trait Disk: Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new file of this size, reading as zeros, its blocks allocated; an error if it exists or if there is no room.
    /// Neither content nor name is durable before [`File::sync`] and [`Disk::sync_directory`].
    fn create(&self, name: &str, size_bytes: u64) -> io::Result<Arc<dyn File>>;
    /// An existing file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, replacing what has it. Durable after [`Disk::sync_directory`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_directory`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Bytes that the file system could still allocate.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Whether reads and writes go past the page cache (O_DIRECT).
    fn direct(&self) -> bool;
    /// Time on a monotonic clock; only differences mean anything.
    fn elapsed(&self) -> Duration;
    /// Lets others go first for so long.
    fn rest(&self, time: Duration);
    /// A random number, for a segment's seed.
    fn random(&self) -> u64;
}

/// An open file. Positions, lengths and memory of `read_at` and `write_at` are aligned to pages ([`crate::Pages`]).
pub trait File: Send + Sync {
    /// Reads exactly this many bytes, from the device where [`Disk::direct`].
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()>;
    /// Reads exactly this many bytes through a read-only mapping: any position, any length. Neither a bad sector nor a
    /// file that somebody has cut short raises a signal; both are errors.
    fn read_mapped(&self, position: u64, into: &mut [u8]) -> io::Result<()>;
    /// Asks the kernel to read a range of which [`File::read_mapped`] will read pieces, and no more, and waits for nothing.
    fn prefetch(&self, position: u64, bytes: usize) -> io::Result<()>;
    /// Has the kernel read a range, and no more than that, of which [`File::read_brought`] will read pieces.
    fn bring(&self, position: u64, bytes: usize) -> io::Result<()>;
    /// Reads exactly this many bytes of what was brought: any position, any length.
    fn read_brought(&self, position: u64, into: &mut [u8]) -> io::Result<()>;
    /// Forgets what was brought.
    fn forget(&self) -> io::Result<()>;
    /// Writes all of it, or fails. A failure leaves the range undefined.
    fn write_at(&self, position: u64, data: &[u8]) -> io::Result<()>;
    /// Makes all that was written durable (fdatasync). After an error nothing is known; never retry.
    fn sync(&self) -> io::Result<()>;
    /// The size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Makes the file this large, with its blocks allocated. Never shrinks it.
    fn allocate(&self, size_bytes: u64) -> io::Result<()>;
    /// Forgets cached pages, so that the next read shows what the device holds. Nothing to do where
    /// [`Disk::direct`].
    fn evict(&self) -> io::Result<()>;
    /// Gives up the mapping that [`File::read_mapped`] made; the next call makes another.
    fn unmap(&self);
}
