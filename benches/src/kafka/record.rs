//! Record batches of one record: built once and renamed in place, read back and checked.

use super::wire::{Read, Reader, Writer};
use crc_fast::{CrcAlgorithm::Crc32Iscsi, checksum};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the CRC stands in a batch, and where that begins which it covers.
const CRC_AT: usize = 17;
const COVERED_FROM: usize = 21;
/// baseOffset and batchLength precede what batchLength counts.
const PREFIX: usize = 12;
/// The least payload: it holds the id by which a record is known again.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 8;

/// A batch of one record, whose payload begins with an id and goes on with bytes that do not
/// compress.
pub(super) fn batch(payload_bytes: usize) -> Vec<u8> {
    let mut record = Writer::default();
    record
        .i8(0)
        .varint(0)
        .varint(0)
        .varint(-1)
        .varint(payload_bytes as i64);
    record.bytes(&noise(payload_bytes)).varint(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(0);
    let mut out = Writer::default();
    // baseOffset, batchLength (below), partitionLeaderEpoch, magic, CRC (by `rename`).
    out.i64(0).i32(0).i32(-1).i8(2).i32(0);
    // attributes, lastOffsetDelta, timestamps, producer id, epoch and sequence, count.
    out.i16(0)
        .i32(0)
        .i64(now_ms)
        .i64(now_ms)
        .i64(-1)
        .i16(-1)
        .i32(-1)
        .count(1);
    out.varint(record.0.len() as i64).bytes(&record.0);
    let length = (out.0.len() - PREFIX) as i32;
    out.0[8..PREFIX].copy_from_slice(&length.to_be_bytes());
    out.0
}

/// Gives the batch's record another id. The payload is what stands before the record's last byte.
pub(super) fn rename(batch: &mut [u8], payload_bytes: usize, id: u64) {
    let payload_at = batch.len() - 1 - payload_bytes;
    batch[payload_at..payload_at + PAYLOAD_BYTES_MIN].copy_from_slice(&id.to_be_bytes());
    let crc = checksum(Crc32Iscsi, &batch[COVERED_FROM..]) as u32;
    batch[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(next).collect()
}

/// One batch at the head of what a fetch returned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) bytes: usize,
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    /// The id that the first record's payload begins with; `None` when the CRC contradicts.
    pub(super) id: Option<u64>,
}

/// Reads a batch, `None` when `data` ends within it, as the last one of a fetch may.
pub(super) fn find(data: &[u8]) -> Read<Option<Found>> {
    let mut head = Reader(data);
    if data.len() < COVERED_FROM {
        return Ok(None);
    }
    let (base_offset, length) = (head.i64()?, head.count()?);
    let bytes = PREFIX + length;
    if data.len() < bytes {
        return Ok(None);
    }
    let mut fields = Reader(&data[PREFIX..bytes]);
    let (_leader_epoch, magic, crc) = (fields.i32()?, fields.i8()?, fields.u32()?);
    if magic != 2 {
        return Err(format!("a batch of magic {magic}"));
    }
    if crc != checksum(Crc32Iscsi, fields.0) as u32 {
        return Ok(Some(Found {
            bytes,
            base_offset,
            last_offset: base_offset,
            id: None,
        }));
    }
    let (_attributes, last_delta) = (fields.i16()?, fields.i32()?);
    fields.take(8 + 8 + 8 + 2 + 4 + 4)?;
    let (_length, _attributes) = (fields.varint()?, fields.i8()?);
    let (_timestamp, _offset) = (fields.varint()?, fields.varint()?);
    let key = usize::try_from(fields.varint()?).unwrap_or(0);
    fields.take(key)?;
    let _payload_bytes = fields.varint()?;
    let id = Some(fields.i64()? as u64);
    Ok(Some(Found {
        bytes,
        base_offset,
        last_offset: base_offset + i64::from(last_delta),
        id,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(payload_bytes: usize, id: u64) -> Vec<u8> {
        let mut batch = batch(payload_bytes);
        rename(&mut batch, payload_bytes, id);
        batch
    }

    #[test]
    fn a_batch_is_found_again_by_its_id() {
        for size in [8, 63, 1024, 65_536] {
            let batch = renamed(size, 0xfeed);
            let found = find(&batch).unwrap().unwrap();
            assert_eq!((found.bytes, found.id), (batch.len(), Some(0xfeed)));
            assert_eq!((found.base_offset, found.last_offset), (0, 0));
        }
    }

    #[test]
    fn one_flipped_bit_is_corrupt() {
        let whole = renamed(100, 1);
        for at in COVERED_FROM..whole.len() {
            let mut batch = whole.clone();
            batch[at] ^= 0x10;
            assert_eq!(find(&batch).unwrap().unwrap().id, None, "byte {at}");
        }
    }

    #[test]
    fn a_cut_batch_is_not_there_yet() {
        let batch = renamed(100, 1);
        assert_eq!(find(&batch[..batch.len() - 1]), Ok(None));
        assert_eq!(find(&batch[..5]), Ok(None));
    }
}
