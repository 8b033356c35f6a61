//! Page-aligned memory, as writes and reads past the page cache need it, and a pool of it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// The unit of every write and of O_DIRECT alignment, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// A growable buffer that begins on a page boundary and never moves: its capacity is fixed when it is made.
#[derive(Debug, Default)]
pub struct Pages {
    memory: Vec<u8>,
    start: usize,
    pool: Option<Arc<Pool>>,
}

impl Pages {
    /// An empty buffer for at most `bytes` bytes, rounded up to whole pages.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut memory: Vec<u8> = Vec::with_capacity(page_align(bytes) + PAGE_BYTES);
        let start = memory.as_ptr().align_offset(PAGE_BYTES);
        assert!(start < PAGE_BYTES, "bytes can always be aligned to a page");
        memory.resize(start, 0);
        Self {
            memory,
            start,
            pool: None,
        }
    }

    /// A buffer of `bytes` zero bytes.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        let mut pages = Self::with_capacity(bytes);
        pages.memory.resize(pages.start + bytes, 0);
        pages
    }

    /// How many bytes fit in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.capacity().saturating_sub(PAGE_BYTES) / PAGE_BYTES * PAGE_BYTES
    }

    /// Bytes of memory behind it, those for its alignment included.
    pub(crate) fn held_bytes(&self) -> usize {
        self.memory.capacity()
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        assert!(
            self.memory.len() + bytes.len() <= self.memory.capacity(),
            "pages never grow: they would lose their alignment"
        );
        self.memory.extend_from_slice(bytes);
    }

    /// Appends zero bytes until the length is a multiple of `unit`.
    pub fn pad_to(&mut self, unit: usize) {
        let length = self.len().next_multiple_of(unit);
        assert!(
            self.start + length <= self.memory.capacity(),
            "pages never grow"
        );
        self.memory.resize(self.start + length, 0);
    }

    /// Makes it this long, zero bytes at the end if it was shorter.
    pub(crate) fn set_len(&mut self, bytes: usize) {
        assert!(
            self.start + bytes <= self.memory.capacity(),
            "pages never grow"
        );
        self.memory.resize(self.start + bytes, 0);
    }

    fn clear(&mut self) {
        self.memory.truncate(self.start);
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let mut pages = Self {
                memory: std::mem::take(&mut self.memory),
                start: self.start,
                pool: None,
            };
            pages.clear();
            pool.give_back(pages);
        }
    }
}

/// The number of bytes in the whole pages that hold `bytes` bytes.
#[must_use]
pub fn page_align(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE_BYTES)
}

/// Buffers to be used again, by size class (powers of two), bounded in bytes.
#[derive(Debug)]
pub(crate) struct Pool {
    kept: Mutex<(Vec<Vec<Pages>>, usize)>,
    kept_max_bytes: usize,
}

impl Pool {
    /// A pool that keeps at most this many bytes of unused buffers.
    pub(crate) fn new(kept_max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::new((Vec::new(), 0)),
            kept_max_bytes,
        })
    }

    /// An empty buffer for at least `bytes` bytes; it comes back to the pool when it is dropped.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Pages {
        let class = class_of(bytes);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.0.get_mut(class).and_then(Vec::pop);
        if let Some(pages) = &found {
            kept.1 -= pages.capacity();
        }
        drop(kept);
        let mut pages = found.unwrap_or_else(|| Pages::with_capacity(PAGE_BYTES << class));
        pages.pool = Some(Arc::clone(self));
        pages
    }

    fn give_back(&self, pages: Pages) {
        let bytes = pages.capacity();
        let class = class_of(bytes);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if PAGE_BYTES << class != bytes || kept.1 + bytes > self.kept_max_bytes {
            return;
        }
        if kept.0.len() <= class {
            kept.0.resize_with(class + 1, Vec::new);
        }
        kept.0[class].push(pages);
        kept.1 += bytes;
    }
}

/// The smallest class whose buffers hold this many bytes.
fn class_of(bytes: usize) -> usize {
    let pages = bytes.div_ceil(PAGE_BYTES).max(1);
    pages.next_power_of_two().trailing_zeros() as usize
}
