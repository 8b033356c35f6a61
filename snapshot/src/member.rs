//! One gzip member: deflating and inflating whole, bounded buffers.

use std::io::Read;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use std::io::Write;

/// Appends `raw` as one gzip member.
pub(crate) fn deflate(raw: &[u8], level: u32, out: Vec<u8>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(out, Compression::new(level));
    encoder
        .write_all(raw)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail")
}

/// The uncompressed bytes of exactly one gzip member, of which there are exactly so many.
pub(crate) fn inflate(stored: &[u8], raw_bytes: usize) -> Result<Vec<u8>, &'static str> {
    let (raw, is_more) = inflate_up_to(stored, raw_bytes)?;
    if is_more || raw.len() != raw_bytes {
        return Err("it is not as long as declared");
    }
    Ok(raw)
}

/// The same where only a bound is known.
pub(crate) fn inflate_bounded(
    stored: &[u8],
    raw_bytes_max: usize,
) -> Result<Vec<u8>, &'static str> {
    let (raw, is_more) = inflate_up_to(stored, raw_bytes_max)?;
    if is_more {
        return Err("it is longer than it may be");
    }
    Ok(raw)
}

/// What members that lie one behind the other inflate to, up to the first one that cannot be inflated.
pub(crate) fn walk(mut stored: &[u8], raw_bytes_max: usize) -> Vec<Vec<u8>> {
    let mut members = Vec::new();
    let mut room = raw_bytes_max;
    while !stored.is_empty() {
        let mut decoder = GzDecoder::new(stored);
        let mut raw = Vec::new();
        let read = (&mut decoder).take(room as u64).read_to_end(&mut raw);
        let mut more = [0];
        if read.is_err() || !matches!(decoder.read(&mut more), Ok(0)) {
            break;
        }
        room -= raw.len();
        stored = decoder.into_inner();
        members.push(raw);
    }
    members
}

fn inflate_up_to(stored: &[u8], raw_bytes_max: usize) -> Result<(Vec<u8>, bool), &'static str> {
    // A hostile length reserves nothing: deflate makes at most 1,032 bytes of one.
    let mut raw = Vec::with_capacity(raw_bytes_max.min(stored.len().saturating_mul(1032)));
    let mut decoder = GzDecoder::new(stored);
    (&mut decoder)
        .take(raw_bytes_max as u64)
        .read_to_end(&mut raw)
        .map_err(|_| "it cannot be inflated")?;
    let mut more = [0];
    // Reading to the end is what checks gzip's own sums.
    let is_more = decoder
        .read(&mut more)
        .map_err(|_| "it cannot be inflated")?
        != 0;
    if !is_more && !decoder.into_inner().is_empty() {
        return Err("bytes follow it");
    }
    Ok((raw, is_more))
}
