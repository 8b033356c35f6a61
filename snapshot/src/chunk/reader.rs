use bytes::Bytes;
use protocol::record_batch::total_length;

use super::writer::checked;
use super::{Error, FORMAT, INDEX_BYTES_MAX, Index, Member, Summary};
use crate::digest::Digest;
use crate::manifest::EpochStart;
use crate::member;
use crate::sealed;
use crate::source::Source;

/// How a gzip member begins.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];

/// A chunk whose index has been read: finds the member that holds an offset, and opens members.
#[derive(Clone, Debug)]
pub struct Reader {
    members: Vec<Member>,
}

impl Reader {
    /// Opens the index: the object's bytes from `index_position` on. It has to agree with the manifest.
    ///
    /// # Errors
    /// When it is damaged, another chunk's, or of a later version.
    pub fn open(index: &[u8], summary: &Summary, source: &Source) -> Result<Self, Error> {
        let json = member::inflate_bounded(index, INDEX_BYTES_MAX).map_err(Error::Inflate)?;
        let index: Index = sealed::decode(&json)?;
        if index.format != FORMAT {
            return Err(Error::Format(index.format));
        }
        if index.source != *source {
            return Err(Error::Foreign {
                wanted: Box::new(source.clone()),
                found: Box::new(index.source),
            });
        }
        let reader = Self {
            members: index.members,
        };
        reader.agrees_with(summary).map_err(Error::Disagrees)?;
        Ok(reader)
    }

    /// Looks for an index at the end of these bytes, the last ones of an object. With it comes how long it is there. That
    /// the members before it are what it says is another question.
    pub(crate) fn find(end: &[u8], source: &Source) -> Option<(Self, usize)> {
        let begins = |at: &usize| end[*at..].starts_with(&GZIP);
        (0..end.len()).rev().filter(begins).find_map(|at| {
            let json = member::inflate_bounded(&end[at..], INDEX_BYTES_MAX).ok()?;
            let index: Index = sealed::decode(&json).ok()?;
            let is_it = index.format == FORMAT && index.source == *source;
            let members = index.members;
            (is_it && !members.is_empty()).then(|| (Self { members }, end.len() - at))
        })
    }

    /// What the members add up to; nothing of the object.
    pub(crate) fn summary(&self) -> Summary {
        let members = &self.members;
        let (first, last) = members.first().zip(members.last()).expect("it has members");
        let raw_bytes = members
            .iter()
            .fold(0_u64, |sum, m| sum.saturating_add(m.raw_bytes));
        Summary {
            first_offset: first.first_offset,
            next_offset: last.next_offset,
            max_timestamp: members.iter().map(|m| m.max_timestamp).max().unwrap_or(-1),
            raw_bytes,
            raw_sha256: Digest::of_digests(members.iter().map(|m| &m.raw_sha256)),
            index_position: 0,
            stored_bytes: 0,
            stored_crc32: 0,
        }
    }

    /// Its members, in the order of their offsets.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member that holds an offset, or the next one after it.
    #[must_use]
    pub fn at_offset(&self, offset: i64) -> Option<&Member> {
        let at = self.members.partition_point(|m| m.next_offset <= offset);
        self.members.get(at)
    }

    /// The first member with a record of this time or later.
    #[must_use]
    pub fn at_time(&self, timestamp_ms: i64) -> Option<&Member> {
        self.members
            .iter()
            .find(|m| m.max_timestamp >= timestamp_ms)
    }

    /// The records of a member, from its stored bytes. They are what was written: both digests match.
    ///
    /// # Errors
    /// [`Error::MemberDamaged`].
    pub fn inflate(member: &Member, stored: &[u8]) -> Result<Bytes, Error> {
        let damaged = |why| Error::MemberDamaged {
            first_offset: member.first_offset,
            next_offset: member.next_offset,
            why,
        };
        if stored.len() as u64 != member.stored_bytes {
            return Err(damaged("it is cut off"));
        }
        if crc32fast::hash(stored) != member.stored_crc32 {
            return Err(damaged("its CRC-32 does not match"));
        }
        let raw_bytes = usize::try_from(member.raw_bytes).map_err(|_| damaged("it is too long"))?;
        let raw = member::inflate(stored, raw_bytes).map_err(damaged)?;
        if Digest::of(&raw) != member.raw_sha256 {
            return Err(damaged("its SHA-256 does not match"));
        }
        Ok(raw.into())
    }

    fn agrees_with(&self, summary: &Summary) -> Result<(), &'static str> {
        let (mut offset, mut position) = (summary.first_offset, 0_u64);
        for member in &self.members {
            if member.first_offset != offset || member.next_offset <= offset {
                return Err("its members are not one after the other");
            }
            if member.position != position {
                return Err("its members do not lie one behind the other");
            }
            offset = member.next_offset;
            position = position
                .checked_add(member.stored_bytes)
                .ok_or("its members are longer than anything")?;
        }
        let raw_bytes = self
            .members
            .iter()
            .try_fold(0_u64, |sum, m| sum.checked_add(m.raw_bytes));
        let max_timestamp = self.members.iter().map(|m| m.max_timestamp).max();
        if offset != summary.next_offset || position != summary.index_position {
            return Err("its members end elsewhere");
        }
        if raw_bytes != Some(summary.raw_bytes) || max_timestamp != Some(summary.max_timestamp) {
            return Err("its members add up to something else");
        }
        if Digest::of_digests(self.members.iter().map(|m| &m.raw_sha256)) != summary.raw_sha256 {
            return Err("its members are other ones");
        }
        Ok(())
    }
}

/// Checks what a member holds, batch by batch: own checksums, offsets within the member's, and the leader epochs of its
/// partition, as far as they are known.
///
/// # Errors
/// The first thing that is wrong, with its offset.
pub fn check_batches(raw: &[u8], member: &Member, epochs: &[EpochStart]) -> Result<(), Error> {
    let mut rest = raw;
    let mut next = member.first_offset;
    while !rest.is_empty() {
        let length = total_length(rest).map_err(|why| Error::Batch { offset: next, why })?;
        let batch = rest.get(..length).unwrap_or(rest);
        let header = checked(batch, next)?;
        let found = header.base_offset;
        if found < next || header.last_offset() >= member.next_offset {
            return Err(Error::Overlap {
                expected: next,
                found,
            });
        }
        let known = epochs.partition_point(|epoch| epoch.start_offset <= found);
        if let Some(known) = known.checked_sub(1).map(|at| epochs[at].epoch)
            && known != header.partition_leader_epoch
        {
            return Err(Error::Epoch {
                offset: found,
                wanted: known,
                found: header.partition_leader_epoch,
            });
        }
        next = header.last_offset().saturating_add(1);
        rest = &rest[length..];
    }
    Ok(())
}
