//! A log file whose blocks were all written before: overwriting them allocates nothing and commits no journal.

use crate::error::{Doing, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const PAGE: usize = 4096;
const FILL: usize = 4 << 20;

/// A pre-written ring of bytes, appended to in whole pages.
pub(super) struct Log {
    file: File,
    size_bytes: u64,
    position: u64,
    fsync: bool,
    /// One page longer than what it serves, so that an aligned part exists without unsafe code.
    memory: Vec<u8>,
}

impl Log {
    /// Opens the file at `path`, filled with zeros and synced once, bypassing the page cache where
    /// the file system can.
    pub(super) fn open(path: &Path, size_bytes: u64) -> Result<Self> {
        let open = |flags: i32| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(flags)
                .open(path)
        };
        let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
        let file = open(direct).or_else(|_| open(0));
        let file = file.doing(|| format!("open {}", path.display()))?;
        let memory = vec![0; FILL + PAGE];
        let mut log = Self {
            file,
            size_bytes,
            position: 0,
            fsync: true,
            memory,
        };
        log.fill().doing(|| format!("fill {}", path.display()))?;
        Ok(log)
    }

    fn fill(&mut self) -> std::io::Result<()> {
        if self.file.metadata()?.len() >= self.size_bytes {
            return Ok(());
        }
        for offset in (0..self.size_bytes).step_by(FILL) {
            let zeros = aligned(&mut self.memory, FILL);
            self.file.write_all_at(zeros, offset)?;
        }
        self.file.sync_all()
    }

    /// Says whether appends are synced from here on.
    pub(super) fn set_fsync(&mut self, fsync: bool) {
        self.fsync = fsync;
    }

    /// One write of whole pages and one fdatasync.
    pub(super) fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let whole = bytes.len().next_multiple_of(PAGE);
        if self.position + whole as u64 > self.size_bytes {
            self.position = 0;
        }
        if whole + PAGE > self.memory.len() {
            self.memory = vec![0; whole.next_power_of_two() + PAGE];
        }
        let pages = aligned(&mut self.memory, whole);
        pages[..bytes.len()].copy_from_slice(bytes);
        pages[bytes.len()..].fill(0);
        self.file.write_all_at(pages, self.position)?;
        self.position += whole as u64;
        if self.fsync {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }
}

fn aligned(memory: &mut [u8], bytes: usize) -> &mut [u8] {
    let skip = memory.as_ptr().align_offset(PAGE);
    &mut memory[skip..skip + bytes]
}
