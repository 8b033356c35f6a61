//! A file of the model disk.

use super::{Call, Fault, ModelDisk, SECTOR_BYTES, State, error_of, next_random};
use crate::disk::File;
use std::io;

pub(super) struct ModelFile {
    pub(super) disk: ModelDisk,
    pub(super) name: String,
    pub(super) number: usize,
}

impl ModelFile {
    fn read(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.fail(Call::Read)?;
        let start = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = start
            .checked_add(into.len())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let sectors = (start / SECTOR_BYTES) as u64..end.div_ceil(SECTOR_BYTES) as u64;
        if state
            .bad_sectors
            .iter()
            .any(|(name, at)| *name == self.name && sectors.contains(at))
        {
            return Err(error_of(Fault::Io));
        }
        let bytes = state.images[self.number].bytes.get(start..end);
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn store(&self, state: &mut State, position: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        let image = &mut state.images[self.number];
        let end = start + data.len();
        assert!(end <= image.bytes.len(), "writes never grow a file");
        for sector in start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(image.bytes.len());
            let shown = || image.bytes[from..to].to_vec();
            let held = image.lost.remove(&sector).unwrap_or_else(shown);
            image.dirty.entry(sector).or_insert(held);
        }
        image.bytes[start..end].copy_from_slice(data);
        let name = self.name.clone();
        let written = (start / SECTOR_BYTES) as u64..end.div_ceil(SECTOR_BYTES) as u64;
        state
            .bad_sectors
            .retain(|(bad, at)| *bad != name || !written.contains(at));
        Ok(())
    }

    /// What was just written is clean, and shown by the page cache alone; without one it was never there.
    fn lose(&self, state: &mut State, position: u64, bytes: usize) {
        let buffered = state.buffered;
        let image = &mut state.images[self.number];
        let first = usize::try_from(position).expect("within the file") / SECTOR_BYTES;
        for sector in first..first + bytes.div_ceil(SECTOR_BYTES) {
            if let Some(held) = image.dirty.remove(&sector) {
                image.lost.insert(sector, held);
            }
        }
        if !buffered {
            image.evict();
        }
    }

    /// After a failed sync: every dirty sector is clean, on the device or not.
    fn leave_in_doubt(&self, state: &mut State) {
        let mut random = state.random;
        let image = &mut state.images[self.number];
        for (sector, held) in std::mem::take(&mut image.dirty) {
            if next_random(&mut random).is_multiple_of(2) {
                image.lost.insert(sector, held);
            }
        }
        state.random = random;
    }
}

impl File for ModelFile {
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        assert!(
            position.is_multiple_of(4096) && into.len().is_multiple_of(4096),
            "unaligned read"
        );
        assert_eq!(into.as_ptr().align_offset(4096), 0, "unaligned memory");
        self.read(position, into)
    }

    fn read_mapped(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        self.read(position, into)
    }

    fn prefetch(&self, _position: u64, _bytes: usize) -> io::Result<()> {
        Ok(())
    }

    fn bring(&self, _position: u64, _bytes: usize) -> io::Result<()> {
        Ok(())
    }

    fn read_brought(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        self.read(position, into)
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_at(&self, position: u64, data: &[u8]) -> io::Result<()> {
        assert!(
            position.is_multiple_of(4096) && data.len().is_multiple_of(4096),
            "unaligned write"
        );
        assert_eq!(data.as_ptr().align_offset(4096), 0, "unaligned memory");
        let mut state = self.disk.state();
        match state.call(Call::Write) {
            None => self.store(&mut state, position, data),
            Some(Fault::Short(bytes)) => {
                let bytes = bytes.min(data.len());
                self.store(&mut state, position, &data[..bytes])?;
                Err(error_of(Fault::Io))
            }
            Some(Fault::Lost) => {
                self.store(&mut state, position, data)?;
                self.lose(&mut state, position, data.len());
                Ok(())
            }
            Some(fault) => Err(error_of(fault)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        match state.call(Call::Sync) {
            None => {
                let image = &mut state.images[self.number];
                image.dirty.clear();
                image.synced_size = image.bytes.len();
                Ok(())
            }
            Some(fault) => {
                if state.buffered && fault == Fault::Io {
                    self.leave_in_doubt(&mut state);
                }
                Err(error_of(fault))
            }
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().images[self.number].bytes.len() as u64)
    }

    fn allocate(&self, size_bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.fail(Call::Create)?;
        let size = usize::try_from(size_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        let more = size.saturating_sub(state.images[self.number].bytes.len()) as u64;
        if state.used() + more > state.capacity {
            return Err(error_of(Fault::NoSpace));
        }
        let image = &mut state.images[self.number];
        if image.bytes.len() < size {
            image.bytes.resize(size, 0);
        }
        Ok(())
    }

    fn evict(&self) -> io::Result<()> {
        self.disk.state().images[self.number].evict();
        Ok(())
    }

    fn unmap(&self) {}
}
