//! LZ4 frames.

use super::codec::{CodecError, read_all};
use std::io::Write;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const BLOCK_CHECKSUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const DICTIONARY_ID: u8 = 0x01;

pub(super) fn decompress(mut bytes: &[u8], max: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let length = frame_length(bytes).ok_or(CodecError::Corrupt)?;
        let (frame, rest) = bytes.split_at(length);
        out = read_all(lz4_flex::frame::FrameDecoder::new(frame), max, out)?;
        bytes = rest;
    }
    Ok(out)
}

/// The bytes of the frame at the front, its end mark and checksum included.
///
/// The decoder takes a frame that breaks off between two blocks for a whole one; Java does not.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let flags = *rest.first()?;
    let has = |flag| flags & flag != 0;
    let size = if has(CONTENT_SIZE) { 8 } else { 0 };
    let dictionary = if has(DICTIONARY_ID) { 4 } else { 0 };
    // Flags, block size, the optional fields, header checksum.
    let mut rest = rest.get(3 + size + dictionary..)?;
    loop {
        let (block, after) = rest.split_first_chunk::<4>()?;
        // The highest bit says that the block is stored.
        let block = (u32::from_le_bytes(*block) & 0x7fff_ffff) as usize;
        rest = after;
        if block == 0 {
            break;
        }
        let checksum = if has(BLOCK_CHECKSUMS) { 4 } else { 0 };
        rest = rest.get(block.checked_add(checksum)?..)?;
    }
    rest = rest.get(if has(CONTENT_CHECKSUM) { 4 } else { 0 }..)?;
    Some(bytes.len() - rest.len())
}

pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
    out.write_all(bytes).map_err(|_| CodecError::Corrupt)?;
    out.finish().map_err(|_| CodecError::Corrupt)
}
