use bytes::Bytes;
use protocol::record_batch::{BatchError, BatchHeader, Compression, crc_of};

use super::{Config, Error, FORMAT, Index, Member, Summary};
use crate::digest::Digest;
use crate::member;
use crate::sealed;
use crate::source::{Incarnation, Source};

/// Makes a chunk out of batches. What it holds at once is one member, raw and stored.
#[derive(Debug)]
pub struct Writer {
    config: Config,
    index: Index,
    first_offset: i64,
    next_offset: i64,
    /// Of the last batch.
    epoch: i32,
    /// The member in the making.
    raw: Vec<u8>,
    raw_first_offset: i64,
    raw_max_timestamp: i64,
    /// Bytes of it that producers have compressed.
    raw_compressed: usize,
    /// Stored bytes before `out`.
    position: u64,
    crc: crc32fast::Hasher,
    /// Stored and not taken yet.
    out: Vec<u8>,
}

/// A whole chunk.
#[derive(Debug)]
pub struct Finished {
    /// What it is.
    pub summary: Summary,
    /// Its last stored bytes, after all that was taken before.
    pub rest: Bytes,
}

impl Writer {
    /// A chunk that begins at this offset, where its first batch does.
    #[must_use]
    pub fn new(
        config: Config,
        source: Source,
        incarnation: Incarnation,
        first_offset: i64,
    ) -> Self {
        assert!(config.member_bytes > 0, "a member holds something");
        Self {
            config,
            index: Index {
                format: FORMAT,
                source,
                incarnation,
                members: Vec::new(),
            },
            first_offset,
            next_offset: first_offset,
            epoch: 0,
            raw: Vec::new(),
            raw_first_offset: first_offset,
            raw_max_timestamp: -1,
            raw_compressed: 0,
            position: 0,
            crc: crc32fast::Hasher::new(),
            out: Vec::new(),
        }
    }

    /// Adds one whole batch. Damage is not made valid: the batch's own checksum is verified.
    ///
    /// # Errors
    /// When it is no batch, is damaged, or does not continue what is there. The chunk is as it was.
    pub fn push(&mut self, batch: &[u8]) -> Result<(), Error> {
        let header = checked(batch, self.next_offset)?;
        if header.base_offset < self.next_offset {
            return Err(Error::Overlap {
                expected: self.next_offset,
                found: header.base_offset,
            });
        }
        if header.partition_leader_epoch < self.epoch {
            return Err(Error::Epoch {
                offset: header.base_offset,
                wanted: self.epoch,
                found: header.partition_leader_epoch,
            });
        }
        self.epoch = header.partition_leader_epoch;
        self.next_offset = header.last_offset().saturating_add(1);
        self.raw_max_timestamp = self.raw_max_timestamp.max(header.max_timestamp);
        if header
            .compression()
            .is_ok_and(|codec| codec != Compression::None)
        {
            self.raw_compressed += batch.len();
        }
        self.raw.extend_from_slice(batch);
        if self.raw.len() >= self.config.member_bytes {
            self.end_member();
        }
        Ok(())
    }

    /// Raw bytes so far.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        let ended = self.index.members.iter().map(|member| member.raw_bytes);
        ended.sum::<u64>() + self.raw.len() as u64
    }

    /// First offset beyond what is there.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The stored bytes since the last call. They are final.
    #[must_use]
    pub fn take(&mut self) -> Bytes {
        self.position += self.out.len() as u64;
        std::mem::take(&mut self.out).into()
    }

    /// Ends the chunk. It reaches up to this offset: there may be none between it and the last record.
    ///
    /// # Panics
    /// When it holds nothing, or more than that.
    #[must_use]
    pub fn finish(mut self, next_offset: i64) -> Finished {
        assert!(
            next_offset >= self.next_offset,
            "records are beyond the end"
        );
        if !self.raw.is_empty() {
            self.end_member();
        }
        let members = &mut self.index.members;
        members
            .last_mut()
            .expect("a chunk holds records")
            .next_offset = next_offset;
        let summary = Summary {
            first_offset: self.first_offset,
            next_offset,
            max_timestamp: members.iter().map(|m| m.max_timestamp).max().unwrap_or(-1),
            raw_bytes: members.iter().map(|m| m.raw_bytes).sum(),
            raw_sha256: Digest::of_digests(members.iter().map(|m| &m.raw_sha256)),
            index_position: self.position + self.out.len() as u64,
            stored_bytes: 0,
            stored_crc32: 0,
        };
        let before = self.out.len();
        let index = sealed::encode(&self.index);
        self.out = member::deflate(&index, self.config.level, std::mem::take(&mut self.out));
        self.crc.update(&self.out[before..]);
        let stored_bytes = self.position + self.out.len() as u64;
        Finished {
            summary: Summary {
                stored_bytes,
                stored_crc32: self.crc.finalize(),
                ..summary
            },
            rest: self.out.into(),
        }
    }

    fn end_member(&mut self) {
        // What producers have compressed does not get smaller, only slower.
        let is_compressed = self.raw_compressed * 2 > self.raw.len();
        let level = if is_compressed { 0 } else { self.config.level };
        let before = self.out.len();
        self.out = member::deflate(&self.raw, level, std::mem::take(&mut self.out));
        let stored = &self.out[before..];
        self.crc.update(stored);
        self.index.members.push(Member {
            first_offset: self.raw_first_offset,
            next_offset: self.next_offset,
            max_timestamp: self.raw_max_timestamp,
            position: self.position + before as u64,
            stored_bytes: stored.len() as u64,
            stored_crc32: crc32fast::hash(stored),
            raw_bytes: self.raw.len() as u64,
            raw_sha256: Digest::of(&self.raw),
        });
        self.raw.clear();
        self.raw_first_offset = self.next_offset;
        self.raw_max_timestamp = -1;
        self.raw_compressed = 0;
    }
}

/// The header of bytes that are exactly one undamaged batch.
pub(super) fn checked(batch: &[u8], offset: i64) -> Result<BatchHeader, Error> {
    let header = BatchHeader::parse(batch).map_err(|why| Error::Batch { offset, why })?;
    if header.total_length() != batch.len() {
        let why = BatchError::Length {
            length: header.batch_length,
        };
        return Err(Error::Batch { offset, why });
    }
    if crc_of(batch) != header.crc {
        let offset = header.base_offset;
        return Err(Error::BatchDamaged { offset });
    }
    Ok(header)
}
