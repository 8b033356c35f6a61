//! The entries of a part, one after the other: index and term (8 bytes each, big-endian), kind (1), length (4), payload.

use bytes::{Buf, BufMut, Bytes};
use protocol::record_batch::{BatchHeader, crc_of};

/// The kind of an entry that is a record batch.
pub const RECORDS: u8 = 2;
/// Bytes before the payload.
const HEAD: usize = 21;

/// A committed entry of a partition's Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
    /// As in the log: 0 and 1 are Raft's own, [`RECORDS`] a record batch, 3 a command of the partition.
    pub kind: u8,
    /// The batch, or the command.
    pub payload: Bytes,
}

pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    out.put_u64(entry.index);
    out.put_u64(entry.term);
    out.put_u8(entry.kind);
    out.put_u32(u32::try_from(entry.payload.len()).expect("entries are far smaller"));
    out.extend_from_slice(&entry.payload);
}

/// Exactly these indexes, and batches that are as producers sent them.
pub(super) fn decode(mut raw: Bytes, first: u64, last: u64) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for index in first..=last {
        if raw.len() < HEAD {
            return Err(format!("it ends before index {index}"));
        }
        let (found, term, kind) = (raw.get_u64(), raw.get_u64(), raw.get_u8());
        let length = raw.get_u32() as usize;
        if found != index || length > raw.len() {
            return Err(format!("index {index} does not follow"));
        }
        let payload = raw.split_to(length);
        if kind == RECORDS {
            check_batch(&payload).map_err(|why| format!("index {index}: {why}"))?;
        }
        entries.push(Entry {
            index,
            term,
            kind,
            payload,
        });
    }
    if !raw.is_empty() {
        return Err("bytes follow its last entry".to_owned());
    }
    Ok(entries)
}

fn check_batch(batch: &[u8]) -> Result<(), String> {
    let header = BatchHeader::parse(batch).map_err(|why| why.to_string())?;
    let is_sound = header.total_length() == batch.len() && crc_of(batch) == header.crc;
    is_sound
        .then_some(())
        .ok_or_else(|| "the record batch is damaged".to_owned())
}
