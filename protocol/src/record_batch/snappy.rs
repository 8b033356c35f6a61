//! Snappy: raw, or in the framing of the xerial library.

use super::codec::CodecError;

/// Opens the xerial library's framing: this, two version numbers, then blocks with their lengths.
const XERIAL: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;
/// The xerial library's own block size.
const BLOCK: usize = 32 << 10;
/// Snappy's densest element copies 64 bytes and takes 3.
const DENSEST: usize = 22;

pub(super) fn decompress(bytes: &[u8], max: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    if !bytes.starts_with(XERIAL) {
        block(bytes, max, &mut out)?;
        return Ok(out);
    }
    let mut rest = bytes.get(XERIAL_HEADER..).ok_or(CodecError::Corrupt)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(CodecError::Corrupt)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (one, after) = after.split_at_checked(length).ok_or(CodecError::Corrupt)?;
        block(one, max, &mut out)?;
        rest = after;
    }
    Ok(out)
}

fn block(bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let length = snap::raw::decompress_len(bytes).map_err(|_| CodecError::Corrupt)?;
    if length > max - out.len() {
        return Err(CodecError::TooLarge { max });
    }
    // The length is only claimed: no memory for what so few bytes cannot hold.
    if length > bytes.len().saturating_mul(DENSEST) {
        return Err(CodecError::Corrupt);
    }
    let start = out.len();
    out.resize(start + length, 0);
    let written = snap::raw::Decoder::new().decompress(bytes, &mut out[start..]);
    if written.is_ok_and(|written| written == length) {
        Ok(())
    } else {
        Err(CodecError::Corrupt)
    }
}

pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut out = XERIAL.to_vec();
    out.extend([0, 0, 0, 1, 0, 0, 0, 1]);
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(BLOCK) {
        let packed = encoder
            .compress_vec(block)
            .map_err(|_| CodecError::Corrupt)?;
        // At most a block and a sixth.
        out.extend((packed.len() as u32).to_be_bytes());
        out.extend(packed);
    }
    Ok(out)
}
