//! A member that has been inflated, and where its batches are.

use std::ops::Range;

use bytes::Bytes;
use protocol::record_batch::BatchHeader;

use crate::chunk::{Error, Member, Reader, check_batches};
use crate::manifest::EpochStart;

/// The records of a member, verified.
#[derive(Debug)]
pub(super) struct Opened {
    raw: Bytes,
    batches: Vec<Batch>,
    next_offset: i64,
}

#[derive(Debug)]
struct Batch {
    last_offset: i64,
    /// As its header promises.
    max_timestamp: i64,
    bytes: Range<usize>,
}

impl Opened {
    /// Inflates a member. Its digest and the checksum, offsets and leader epoch of each batch are right.
    pub(super) fn open(
        member: &Member,
        stored: &[u8],
        epochs: &[EpochStart],
    ) -> Result<Self, Error> {
        let raw = Reader::inflate(member, stored)?;
        check_batches(&raw, member, epochs)?;
        let mut batches = Vec::new();
        let mut start = 0;
        while start < raw.len() {
            let header = BatchHeader::parse(&raw[start..]).map_err(|why| Error::Batch {
                offset: member.first_offset,
                why,
            })?;
            let end = start + header.total_length();
            batches.push(Batch {
                last_offset: header.last_offset(),
                max_timestamp: header.max_timestamp,
                bytes: start..end,
            });
            start = end;
        }
        Ok(Self {
            raw,
            batches,
            next_offset: member.next_offset,
        })
    }

    /// What it costs to hold it.
    pub(super) fn bytes(&self) -> u64 {
        (self.raw.len() + self.batches.capacity() * size_of::<Batch>()) as u64
    }

    /// All of it.
    pub(super) fn raw(&self) -> Bytes {
        self.raw.clone()
    }

    /// The first offset beyond it.
    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The batches from the one that holds this offset on.
    pub(super) fn since_offset(&self, offset: i64) -> impl Iterator<Item = Bytes> {
        let first = self.batches.partition_point(|b| b.last_offset < offset);
        self.slices(first)
    }

    /// The batches from the first one on that promises a record of this time or later, at or after an offset. None
    /// when there is no such batch.
    pub(super) fn since_time(&self, timestamp_ms: i64, offset: i64) -> Option<Vec<Bytes>> {
        let promises = |b: &Batch| b.last_offset >= offset && b.max_timestamp >= timestamp_ms;
        let first = self.batches.iter().position(promises)?;
        Some(self.slices(first).collect())
    }

    fn slices(&self, first: usize) -> impl Iterator<Item = Bytes> {
        let batches = self.batches[first..].iter();
        batches.map(|batch| self.raw.slice(batch.bytes.clone()))
    }
}
