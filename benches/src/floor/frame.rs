//! The floor's frames: length, CRC-32C, sequence, payload. Acknowledgements are bare sequences and
//! cumulative: one says that all frames up to it are synced on a majority.

use crate::generator::{Answer, Asked, Dialect, Verdict};
use protocol::record_batch::crc32c;
use std::io::Read;

/// u32 payload length, u32 CRC-32C of the payload, u64 sequence; little-endian.
pub(super) const HEADER: usize = 16;
/// A sequence, little-endian.
pub(super) const ACK: usize = 8;

const BURST_BYTES: usize = 8 << 20;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Reads until the peer closes; hands on, together, all whole frames that a read brought.
///
/// # Errors
/// What `on_burst` or the socket answers, and a frame that its CRC contradicts.
pub(super) fn for_each_burst(
    mut socket: impl Read,
    mut on_burst: impl FnMut(&[u8], u64) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BURST_BYTES];
    let mut filled = 0;
    loop {
        let read = socket.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let (mut taken, mut last) = (0, 0);
        while filled - taken >= HEADER {
            let end = taken + HEADER + u32_at(&buffer, taken) as usize;
            if end > filled {
                break;
            }
            if crc32c(&buffer[taken + HEADER..end]) != u32_at(&buffer, taken + 4) {
                return Err(std::io::Error::other("a frame of the floor is corrupt"));
            }
            last = u64_at(&buffer, taken + 8);
            taken = end;
        }
        if taken > 0 {
            on_burst(&buffer[..taken], last)?;
            buffer.copy_within(taken..filled, 0);
            filled -= taken;
        }
    }
}

/// The client's side of the floor's frames.
pub(super) struct Frames {
    frame: Vec<u8>,
    sequence: u64,
    acknowledged: u64,
}

impl Frames {
    pub(super) fn new(size_bytes: usize) -> Self {
        let mut frame = vec![0xA5; HEADER + size_bytes];
        frame[..4].copy_from_slice(&(size_bytes as u32).to_le_bytes());
        Self {
            frame,
            sequence: 0,
            acknowledged: 0,
        }
    }
}

impl Dialect for Frames {
    fn ask(&mut self, id: u64, out: &mut Vec<u8>) -> Asked {
        self.sequence += 1;
        let name = id.to_le_bytes();
        let named = name.len().min(self.frame.len() - HEADER);
        self.frame[HEADER..HEADER + named].copy_from_slice(&name[..named]);
        let crc = crc32c(&self.frame[HEADER..]);
        self.frame[4..8].copy_from_slice(&crc.to_le_bytes());
        self.frame[8..HEADER].copy_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.frame);
        Asked { partition: 0 }
    }

    fn answer(&mut self, inbox: &[u8]) -> std::result::Result<Option<Answer>, String> {
        let bytes = inbox.len() - inbox.len() % ACK;
        if bytes == 0 {
            return Ok(None);
        }
        let highest = (0..bytes)
            .step_by(ACK)
            .map(|at| u64_at(inbox, at))
            .max()
            .unwrap_or(0);
        if highest > self.sequence {
            return Err(format!(
                "acknowledged {highest}, sent only {}",
                self.sequence
            ));
        }
        let requests = highest.saturating_sub(self.acknowledged);
        self.acknowledged = self.acknowledged.max(highest);
        Ok(Some(Answer {
            bytes,
            requests: requests as usize,
            verdict: Verdict::Acked { offset: -1 },
        }))
    }
}
