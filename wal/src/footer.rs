//! What a segment contains and where: runs of adjacent entries per group, in memory while the segment is open, at its
//! end once it is sealed. Facts only: which of them are alive is the directory's business.

use crate::codec::{self, Decoder, Encode};
use crate::kafka::BatchSpan;
use crate::layout::{FOOTER_MAGIC, VERSION};
use crate::pages::{Pages, page_align};
use raft::types::{GroupId, ReplicaId};
use std::collections::BTreeMap;

/// Adjacent frames of one group with adjacent indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First index.
    pub(crate) first: u64,
    /// Entries in it.
    pub(crate) count: u32,
    /// Bytes in it, frame headers included.
    pub(crate) bytes: u32,
    /// Where its first frame begins.
    pub(crate) position: u64,
    /// Offsets of the record batches in it.
    pub(crate) span: Span,
}

impl Run {
    /// Last index.
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> u64 {
        self.position + u64::from(self.bytes)
    }
}

/// Which Kafka offsets and times a range of entries holds. Empty when it holds no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// First offset; `i64::MAX` when empty.
    pub(crate) base_offset: i64,
    /// After the last offset; `i64::MIN` when empty.
    pub(crate) next_offset: i64,
    /// Largest timestamp; `i64::MIN` when empty.
    pub(crate) max_timestamp: i64,
}

impl Span {
    pub(crate) const EMPTY: Self = Self {
        base_offset: i64::MAX,
        next_offset: i64::MIN,
        max_timestamp: i64::MIN,
    };

    pub(crate) fn add(&mut self, other: Self) {
        self.base_offset = self.base_offset.min(other.base_offset);
        self.next_offset = self.next_offset.max(other.next_offset);
        self.max_timestamp = self.max_timestamp.max(other.max_timestamp);
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.put_i64(self.base_offset);
        out.put_i64(self.next_offset);
        out.put_i64(self.max_timestamp);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            base_offset: from.i64()?,
            next_offset: from.i64()?,
            max_timestamp: from.i64()?,
        })
    }
}

impl From<Option<BatchSpan>> for Span {
    fn from(found: Option<BatchSpan>) -> Self {
        found.map_or(Self::EMPTY, |batch| Self {
            base_offset: batch.base_offset,
            next_offset: batch.next_offset,
            max_timestamp: batch.max_timestamp,
        })
    }
}

const RUN_BYTES: usize = 48;
const GROUP_BYTES: usize = 20;
const FOOTER_HEADER_BYTES: usize = 44;

/// The runs of one segment, each group's in position order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunIndex {
    pub(crate) groups: BTreeMap<(GroupId, ReplicaId), Vec<Run>>,
    pub(crate) runs: usize,
}

impl RunIndex {
    /// Takes in one entry at a position.
    pub(crate) fn add(
        &mut self,
        key: (GroupId, ReplicaId),
        index: u64,
        position: u64,
        bytes: u32,
        span: Span,
        run_bytes_max: u64,
    ) {
        let runs = self.groups.entry(key).or_default();
        if let Some(run) = runs.last_mut()
            && run.end() == position
            && run.last() + 1 == index
            && u64::from(run.bytes) + u64::from(bytes) <= run_bytes_max
        {
            run.count += 1;
            run.bytes += bytes;
            run.span.add(span);
            return;
        }
        runs.push(Run {
            first: index,
            count: 1,
            bytes,
            position,
            span,
        });
        self.runs += 1;
    }

    /// The runs of a group with frames in a range of positions.
    pub(crate) fn within(&self, key: (GroupId, ReplicaId), from: u64, end: u64) -> &[Run] {
        let runs = self.groups.get(&key).map_or(&[][..], Vec::as_slice);
        // A run may begin before an extent that the cleaner has put right behind another one.
        let start = runs.partition_point(|run| run.end() <= from);
        let stop = runs.partition_point(|run| run.position < end);
        &runs[start..stop.max(start)]
    }

    /// Bytes of the footer, whole pages, if so many runs and groups more came.
    pub(crate) fn footer_bytes(&self, more: usize) -> u64 {
        let runs = (self.runs + more) * RUN_BYTES;
        let groups = (self.groups.len() + more) * GROUP_BYTES;
        page_align(FOOTER_HEADER_BYTES + runs + groups) as u64
    }

    /// The footer's pages for its place at the end of a segment.
    pub(crate) fn encode(&self, seed: u64, sequence: u64, segment_bytes: u64) -> Pages {
        let bytes = self.footer_bytes(0);
        let position = segment_bytes - bytes;
        let mut body = Vec::with_capacity(usize::try_from(bytes).expect("footers are small"));
        body.put_len(self.groups.len());
        body.put_len(self.runs);
        for ((group, replica), runs) in &self.groups {
            body.put_u64(group.0);
            body.put_u64(replica.0);
            body.put_len(runs.len());
            for run in runs {
                body.put_u64(run.first);
                body.put_u32(run.count);
                body.put_u32(run.bytes);
                body.put_u64(run.position);
                run.span.encode(&mut body);
            }
        }
        let mut hasher = codec::seeded(seed, sequence, position);
        hasher.update(&body);
        let mut out = Vec::with_capacity(body.len() + FOOTER_HEADER_BYTES);
        out.put_u64(FOOTER_MAGIC);
        out.put_u32(VERSION);
        out.put_u32(hasher.finalize());
        out.put_u64(sequence);
        out.put_u64(position);
        out.put_len(body.len());
        out.put(&body);
        let mut pages = Pages::with_capacity(usize::try_from(bytes).expect("footers are small"));
        pages.extend(&out);
        pages.pad_to(crate::pages::PAGE_BYTES);
        assert_eq!(
            pages.len() as u64,
            bytes,
            "the size of a footer is known before it is built"
        );
        pages
    }

    /// The footer in these bytes, if every checksum and bound holds.
    pub(crate) fn decode(seed: u64, sequence: u64, position: u64, bytes: &[u8]) -> Option<Self> {
        let mut from = Decoder::new(bytes);
        if from.u64()? != FOOTER_MAGIC || from.u32()? != VERSION {
            return None;
        }
        let crc = from.u32()?;
        if from.u64()? != sequence || from.u64()? != position {
            return None;
        }
        let body = from.bytes()?;
        let mut hasher = codec::seeded(seed, sequence, position);
        hasher.update(body);
        if hasher.finalize() != crc {
            return None;
        }
        let mut from = Decoder::new(body);
        let groups = from.count(GROUP_BYTES)?;
        let mut index = Self {
            groups: BTreeMap::new(),
            runs: from.count(RUN_BYTES)?,
        };
        for _ in 0..groups {
            let key = (GroupId(from.u64()?), ReplicaId(from.u64()?));
            let count = from.count(RUN_BYTES)?;
            let mut runs = Vec::with_capacity(count);
            for _ in 0..count {
                runs.push(Run {
                    first: from.u64()?,
                    count: from.u32()?,
                    bytes: from.u32()?,
                    position: from.u64()?,
                    span: Span::decode(&mut from)?,
                });
            }
            index.groups.insert(key, runs);
        }
        Some(index)
    }
}
