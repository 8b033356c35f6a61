//! Record batches of one record: built once and renamed in place, read back and checked.

use bytes::Bytes;
use protocol::record_batch::{BatchBuilder, BatchError, BatchHeader, crc_of, records};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the CRC stands in a batch.
const CRC_AT: usize = 17;
/// The least payload: it holds the id by which a record is known again.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 8;

/// A batch of one record, whose payload begins with room for an id and goes on with bytes that do
/// not compress.
pub(super) fn batch(payload_bytes: usize) -> Bytes {
    batch_of(&noise(payload_bytes))
}

/// A batch of one record with this payload, whose first bytes are room for an id.
pub(super) fn batch_of(payload: &[u8]) -> Bytes {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(0);
    let mut builder = BatchBuilder::new();
    builder.value(now_ms, payload);
    builder.build()
}

/// Batches of one record each, as a topic of such records holds them, up to so many bytes and at least one.
pub(crate) fn batches_of(payload: &[u8], bytes: usize) -> Vec<u8> {
    let mut one = batch_of(payload).to_vec();
    let mut all = Vec::new();
    let mut id = 0;
    while id == 0 || all.len() + one.len() <= bytes {
        rename(&mut one, payload.len(), id);
        all.extend_from_slice(&one);
        id += 1;
    }
    all
}

/// A batch of one small record.
pub(super) fn single_record() -> Bytes {
    batch(PAYLOAD_BYTES_MIN)
}

/// Gives the batch's record another id. The payload is what stands before the record's last byte,
/// its count of headers.
pub(super) fn rename(batch: &mut [u8], payload_bytes: usize, id: u64) {
    let payload_at = batch.len() - 1 - payload_bytes;
    batch[payload_at..payload_at + PAYLOAD_BYTES_MIN].copy_from_slice(&id.to_be_bytes());
    let crc = crc_of(batch);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Bytes that do not compress.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
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
pub(crate) struct Found {
    pub(crate) bytes: usize,
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    /// The id that the first record's payload begins with; `None` when the CRC contradicts, or
    /// when it is no record of ours.
    pub(crate) id: Option<u64>,
}

/// Reads a batch, `None` when `data` ends within it, as the last one of a fetch may.
///
/// # Errors
/// When the header is that of no batch, so that nothing after it can be read either.
pub(super) fn find(data: &Bytes) -> Result<Option<Found>, BatchError> {
    let header = match BatchHeader::parse(data) {
        Err(BatchError::Truncated { .. }) => return Ok(None),
        parsed => parsed?,
    };
    let bytes = header.total_length();
    if data.len() < bytes {
        return Ok(None);
    }
    let batch = data.slice(..bytes);
    let id = if crc_of(&batch) == header.crc {
        first_id(&batch)
    } else {
        None
    };
    let (base_offset, last_offset) = (header.base_offset, header.last_offset());
    Ok(Some(Found {
        bytes,
        base_offset,
        last_offset,
        id,
    }))
}

fn first_id(batch: &Bytes) -> Option<u64> {
    let record = records(batch).ok()?.next()?.ok()?;
    Some(u64::from_be_bytes(*record.value?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(payload_bytes: usize, id: u64) -> Vec<u8> {
        let mut batch = batch(payload_bytes).to_vec();
        rename(&mut batch, payload_bytes, id);
        batch
    }

    #[test]
    fn a_batch_is_found_again_by_its_id() {
        for size in [8, 63, 1024, 65_536] {
            let batch = Bytes::from(renamed(size, 0xfeed));
            let found = find(&batch).unwrap().unwrap();
            assert_eq!((found.bytes, found.id), (batch.len(), Some(0xfeed)));
            assert_eq!((found.base_offset, found.last_offset), (0, 0));
        }
    }

    #[test]
    fn one_flipped_bit_is_corrupt() {
        let whole = renamed(100, 1);
        for at in CRC_AT + 4..whole.len() {
            let mut batch = whole.clone();
            batch[at] ^= 0x10;
            assert_eq!(find(&batch.into()).unwrap().unwrap().id, None, "byte {at}");
        }
    }

    #[test]
    fn a_cut_batch_is_not_there_yet() {
        let batch = Bytes::from(renamed(100, 1));
        assert_eq!(find(&batch.slice(..batch.len() - 1)), Ok(None));
        assert_eq!(find(&batch.slice(..5)), Ok(None));
    }
}
