//! What brokers say to each other about entries that a disk did not keep.
//!
//! - Asked for are committed entries only, and only those that the one who answers knows to be committed are told: then
//!   the index alone says which entry it is, and it does not matter who has it.
//! - An answer is whole or none: it has a checksum over everything. It may have holes, where the other disk is damaged,
//!   too, and it may end early.
//! - Whoever asked holds every entry against what he knows of it: [`Asked::accepts`], and then the log, which knows terms
//!   and offsets ([`wal::Log::donate`]).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::record_batch::{Limits, validate};
use raft::types::{Entry, EntryKind, GroupId, Index, Term};

use crate::peer::answer;

/// A range of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose.
    pub group: GroupId,
    /// The first.
    pub first: Index,
    /// The last.
    pub last: Index,
    /// About so much payload; at least one entry, if there is one.
    pub max_bytes: u64,
}

impl Asked {
    /// For the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(32);
        for number in [self.group.0, self.first.0, self.last.0, self.max_bytes] {
            out.put_u64(number);
        }
        out.freeze()
    }

    /// From the wire.
    #[must_use]
    pub fn decode(body: &Bytes) -> Option<Self> {
        let mut from = body.clone();
        let mut number = || from.try_get_u64().ok();
        Some(Self {
            group: GroupId(number()?),
            first: Index(number()?),
            last: Index(number()?),
            max_bytes: number()?,
        })
    }

    /// Whether this can be one of the entries that were asked for: what it says of itself holds.
    #[must_use]
    pub fn accepts(&self, entry: &Entry) -> bool {
        let asked = (self.first..=self.last).contains(&entry.index);
        asked && (entry.kind != EntryKind::Records || is_whole(&entry.payload))
    }
}

/// A range of offsets: who asks does not know which entries they are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedRecords {
    /// Whose.
    pub group: GroupId,
    /// The first.
    pub first: i64,
    /// The first one that is not wanted.
    pub below: i64,
    /// About so many bytes of batches; at least one batch, if there is one.
    pub max_bytes: u64,
}

impl AskedRecords {
    /// For the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(32);
        out.put_u64(self.group.0);
        out.put_i64(self.first);
        out.put_i64(self.below);
        out.put_u64(self.max_bytes);
        out.freeze()
    }

    /// From the wire.
    #[must_use]
    pub fn decode(body: &Bytes) -> Option<Self> {
        let mut from = body.clone();
        let asked = Self {
            group: GroupId(from.try_get_u64().ok()?),
            first: from.try_get_i64().ok()?,
            below: from.try_get_i64().ok()?,
            max_bytes: from.try_get_u64().ok()?,
        };
        (asked.first >= 0 && asked.first < asked.below).then_some(asked)
    }
}

/// Whether a record batch is what its checksum says.
fn is_whole(batch: &Bytes) -> bool {
    let limits = Limits {
        batch_bytes_max: usize::MAX,
        control: true,
        open_compressed: false,
    };
    validate(batch, &limits).is_ok()
}

/// Least bytes of an entry: index, term, kind, length.
const ENTRY_LEAST: usize = 21;

/// Entries for the wire.
#[must_use]
pub fn encode_entries(entries: &[Entry]) -> Bytes {
    let bytes: usize = entries.iter().map(|e| e.payload.len() + ENTRY_LEAST).sum();
    let mut out = BytesMut::with_capacity(bytes + 8);
    out.put_u32(u32::try_from(entries.len()).expect("an answer is bounded"));
    for entry in entries {
        out.put_u64(entry.index.0);
        out.put_u64(entry.term.0);
        out.put_u8(entry.kind as u8);
        let length = u32::try_from(entry.payload.len()).expect("an entry is below a segment");
        out.put_u32(length);
        out.put_slice(&entry.payload);
    }
    answer::seal(out)
}

/// Entries from the wire; None when they are not what was sent.
#[must_use]
pub fn decode_entries(body: &Bytes) -> Option<Vec<Entry>> {
    let mut from = answer::unseal(body)?;
    let count = from.try_get_u32().ok()?;
    let mut entries = Vec::new();
    while from.has_remaining() {
        let (index, term) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
        let kind = EntryKind::from_u8(from.try_get_u8().ok()?)?;
        let length = usize::try_from(from.try_get_u32().ok()?).ok()?;
        if length > from.remaining() {
            return None;
        }
        entries.push(Entry {
            index: Index(index),
            term: Term(term),
            kind,
            payload: from.split_to(length),
        });
    }
    (entries.len() == count as usize).then_some(entries)
}

#[cfg(test)]
mod tests {
    use protocol::record_batch::BatchBuilder;

    use super::*;

    fn entries() -> Vec<Entry> {
        let mut batch = BatchBuilder::new().base_offset(7, 3);
        batch.value(1_000, b"a value");
        let entry = |index, kind, payload| Entry {
            index: Index(index),
            term: Term(3),
            kind,
            payload,
        };
        vec![
            entry(5, EntryKind::Records, batch.build()),
            entry(8, EntryKind::Noop, Bytes::new()),
        ]
    }

    #[test]
    fn what_is_asked_and_answered_comes_back() {
        let asked = Asked {
            group: GroupId(4),
            first: Index(5),
            last: Index(9),
            max_bytes: 77,
        };
        assert_eq!(Asked::decode(&asked.encode()), Some(asked));
        assert_eq!(Asked::decode(&asked.encode().slice(..31)), None);
        let records = AskedRecords {
            group: GroupId(4),
            first: 5,
            below: 9,
            max_bytes: 77,
        };
        assert_eq!(AskedRecords::decode(&records.encode()), Some(records));
        assert_eq!(AskedRecords::decode(&records.encode().slice(..31)), None);
        let nothing = AskedRecords {
            below: 5,
            ..records
        };
        assert_eq!(AskedRecords::decode(&nothing.encode()), None);
        let body = encode_entries(&entries());
        assert_eq!(decode_entries(&body), Some(entries()));
        assert_eq!(decode_entries(&encode_entries(&[])), Some(Vec::new()));
    }

    #[test]
    fn an_answer_with_any_bit_flipped_is_none() {
        let body = encode_entries(&entries());
        for bit in 0..body.len() * 8 {
            let mut flipped = body.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_entries(&Bytes::from(flipped)), None, "bit {bit}");
        }
        for length in 0..body.len() {
            assert_eq!(decode_entries(&body.slice(..length)), None, "{length}");
        }
    }

    #[test]
    fn an_entry_that_was_not_asked_for_or_is_not_what_it_says_is_not_accepted() {
        let asked = Asked {
            group: GroupId(4),
            first: Index(5),
            last: Index(8),
            max_bytes: 1,
        };
        let [records, noop] = <[Entry; 2]>::try_from(entries()).expect("two");
        assert!(asked.accepts(&records) && asked.accepts(&noop));
        let below = Asked {
            first: Index(6),
            ..asked
        };
        assert!(!below.accepts(&records));
        let above = Asked {
            last: Index(7),
            ..asked
        };
        assert!(!above.accepts(&noop));
        let mut payload = records.payload.to_vec();
        *payload.last_mut().expect("not empty") ^= 1;
        let payload = Bytes::from(payload);
        assert!(!asked.accepts(&Entry { payload, ..records }));
    }
}
