//! A frame: one record on disk. 64 bytes of header, then the payload, padded to 8 bytes.
//!
//! The header's checksum is seeded with the segment's seed and binds sequence and position: a valid frame in the wrong
//! place is not valid. The payload's checksum is unseeded: it is the entry's identity between replicas and across
//! cleaning.

use crate::codec::{self, Decoder, Encode};
use crate::layout::FRAME_HEADER_BYTES;
use crate::mutant::{self, Mutant};
use crate::pages::Pages;
use crate::record::Record;
use bytes::Bytes;
use raft::types::{Base, Entry, EntryKind, GroupId, HardState, Index, ReplicaId, Term};
use std::borrow::Cow;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameType {
    Entry = 1,
    HardState = 2,
    Truncate = 3,
    Base = 4,
    Derived = 5,
    Remove = 6,
}

impl FrameType {
    fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Entry,
            2 => Self::HardState,
            3 => Self::Truncate,
            4 => Self::Base,
            5 => Self::Derived,
            6 => Self::Remove,
            _ => return None,
        })
    }
}

/// When a frame was first written: decides which of two wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Stamp {
    pub(crate) round: u64,
    pub(crate) ordinal: u32,
}

/// A frame in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) frame_type: FrameType,
    /// Entries: their kind. 0 otherwise.
    pub(crate) kind: u8,
    pub(crate) group: GroupId,
    pub(crate) replica: ReplicaId,
    pub(crate) term: Term,
    pub(crate) index: Index,
    pub(crate) stamp: Stamp,
    pub(crate) payload: Cow<'a, [u8]>,
}

/// A frame's header as parsed; the payload is not checked yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) frame_type: FrameType,
    pub(crate) kind: u8,
    pub(crate) group: GroupId,
    pub(crate) replica: ReplicaId,
    pub(crate) term: Term,
    pub(crate) index: Index,
    pub(crate) stamp: Stamp,
    pub(crate) payload_bytes: usize,
    pub(crate) payload_crc: u32,
    /// The header's own checksum.
    pub(crate) crc: u32,
}

/// The place that a frame's or round's checksum binds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) seed: u64,
    pub(crate) sequence: u64,
    pub(crate) position: u64,
}

/// Bytes that a payload of this length takes as a frame.
pub(crate) fn frame_bytes(payload_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(8)
}

impl Frame<'_> {
    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        frame_bytes(self.payload.len())
    }

    /// Appends it; returns the header's checksum.
    pub(crate) fn encode(&self, place: Place, out: &mut Pages) -> u32 {
        let mut header = [0_u8; FRAME_HEADER_BYTES];
        header[0] = self.frame_type as u8;
        header[1] = self.kind;
        header[8..16].copy_from_slice(&self.group.0.to_le_bytes());
        header[16..24].copy_from_slice(&self.replica.0.to_le_bytes());
        header[24..32].copy_from_slice(&self.term.0.to_le_bytes());
        header[32..40].copy_from_slice(&self.index.0.to_le_bytes());
        header[40..44].copy_from_slice(&1_u32.to_le_bytes());
        let length = u32::try_from(self.payload.len()).expect("payloads are below a segment");
        header[44..48].copy_from_slice(&length.to_le_bytes());
        header[48..56].copy_from_slice(&self.stamp.round.to_le_bytes());
        header[56..60].copy_from_slice(&self.stamp.ordinal.to_le_bytes());
        header[60..64].copy_from_slice(&crc32fast::hash(&self.payload).to_le_bytes());
        let crc = header_crc(place, &header);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        out.extend(&header);
        out.extend(&self.payload);
        out.pad_to(8);
        crc
    }

    /// The entry that it holds, sharing `payload`.
    pub(crate) fn entry(&self, payload: Bytes) -> Option<Entry> {
        let kind = EntryKind::from_u8(self.kind)?;
        Some(Entry {
            index: self.index,
            term: self.term,
            kind,
            payload,
        })
    }
}

fn header_crc(place: Place, header: &[u8]) -> u32 {
    let mut hasher = codec::seeded(place.seed, place.sequence, place.position);
    hasher.update(&header[..4]);
    hasher.update(&header[8..FRAME_HEADER_BYTES]);
    hasher.finalize()
}

/// The header at the start of `bytes`, if its checksum holds at this place and its payload fits into `bytes`.
pub(crate) fn parse_header(place: Place, bytes: &[u8]) -> Option<FrameHeader> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    let mut from = Decoder::new(header);
    let frame_type = from.u8()?;
    let kind = from.u8()?;
    let flags = from.u16()?;
    let crc = from.u32()?;
    if crc != header_crc(place, header) || flags != 0 {
        return None;
    }
    let found = FrameHeader {
        frame_type: FrameType::from_u8(frame_type)?,
        kind,
        group: GroupId(from.u64()?),
        replica: ReplicaId(from.u64()?),
        term: Term(from.u64()?),
        index: Index(from.u64()?),
        payload_bytes: {
            let count = from.u32()?;
            if count != 1 {
                return None;
            }
            usize::try_from(from.u32()?).ok()?
        },
        stamp: Stamp {
            round: from.u64()?,
            ordinal: from.u32()?,
        },
        payload_crc: from.u32()?,
        crc,
    };
    let end = FRAME_HEADER_BYTES.checked_add(found.payload_bytes)?;
    (end <= bytes.len()).then_some(found)
}

/// The whole frame at the start of `bytes`, header and payload checked.
pub(crate) fn parse(place: Place, bytes: &[u8]) -> Option<(FrameHeader, Frame<'_>)> {
    let header = parse_header(place, bytes)?;
    let payload = &bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_bytes];
    let whole = crc32fast::hash(payload) == header.payload_crc;
    if !whole && !mutant::on(Mutant::PayloadUnchecked) {
        return None;
    }
    Some((header, header.with(payload)))
}

impl FrameHeader {
    /// As it would be written; its own checksum is made where its place is known.
    pub(crate) fn of(frame: &Frame<'_>) -> Self {
        Self {
            frame_type: frame.frame_type,
            kind: frame.kind,
            group: frame.group,
            replica: frame.replica,
            term: frame.term,
            index: frame.index,
            payload_bytes: frame.payload.len(),
            payload_crc: crc32fast::hash(&frame.payload),
            stamp: frame.stamp,
            crc: 0,
        }
    }

    /// The frame with this payload.
    pub(crate) fn with<'a>(&self, payload: &'a [u8]) -> Frame<'a> {
        Frame {
            frame_type: self.frame_type,
            kind: self.kind,
            group: self.group,
            replica: self.replica,
            term: self.term,
            index: self.index,
            stamp: self.stamp,
            payload: Cow::Borrowed(payload),
        }
    }
}

/// The frames of records, unstamped.
pub(crate) fn frames_of(records: &[Record]) -> Vec<Frame<'_>> {
    let mut frames = Vec::with_capacity(records.len() * 2);
    for record in records {
        push_frames(record, &mut frames);
    }
    frames
}

fn push_frames<'a>(record: &'a Record, out: &mut Vec<Frame<'a>>) {
    let frame = |frame_type, group: GroupId, replica: ReplicaId, payload| Frame {
        frame_type,
        kind: 0,
        group,
        replica,
        term: Term(0),
        index: Index(0),
        stamp: Stamp::default(),
        payload,
    };
    let nothing = || Cow::Borrowed(&[][..]);
    match record {
        Record::Entries {
            group,
            replica,
            entries,
        } => {
            out.extend(entries.iter().map(|entry| Frame {
                kind: entry.kind as u8,
                term: entry.term,
                index: entry.index,
                ..frame(
                    FrameType::Entry,
                    *group,
                    *replica,
                    Cow::Borrowed(&entry.payload[..]),
                )
            }));
        }
        Record::HardState {
            group,
            replica,
            state,
        } => out.push(Frame {
            term: state.term,
            index: state.commit,
            ..frame(
                FrameType::HardState,
                *group,
                *replica,
                Cow::Owned(encode_vote(state)),
            )
        }),
        Record::Truncate {
            group,
            replica,
            from,
        } => out.push(Frame {
            index: *from,
            ..frame(FrameType::Truncate, *group, *replica, nothing())
        }),
        Record::Base {
            group,
            replica,
            base,
        } => out.push(Frame {
            term: base.term,
            index: base.index,
            ..frame(
                FrameType::Base,
                *group,
                *replica,
                Cow::Owned(encode_base(base)),
            )
        }),
        Record::Derived {
            group,
            replica,
            index,
            state,
        } => out.push(Frame {
            index: *index,
            ..frame(
                FrameType::Derived,
                *group,
                *replica,
                Cow::Borrowed(&state[..]),
            )
        }),
        Record::Remove { group, replica } => {
            out.push(frame(FrameType::Remove, *group, *replica, nothing()));
        }
    }
}

fn encode_vote(state: &HardState) -> Vec<u8> {
    state
        .vote
        .map_or(0, |replica| replica.0)
        .to_le_bytes()
        .to_vec()
}

/// The hard state in a frame of that type.
pub(crate) fn hard_state(frame: &Frame<'_>) -> Option<HardState> {
    let vote = Decoder::new(&frame.payload).u64()?;
    Some(HardState {
        term: frame.term,
        vote: (vote != 0).then_some(ReplicaId(vote)),
        commit: frame.index,
    })
}

fn encode_base(base: &Base) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + base.state.len());
    codec::put_membership(&mut out, &base.membership);
    out.put(&base.state);
    out
}

/// The base in a frame of that type.
pub(crate) fn base(frame: &Frame<'_>) -> Option<Base> {
    let mut from = Decoder::new(&frame.payload);
    let membership = codec::membership(&mut from)?;
    Some(Base {
        index: frame.index,
        term: frame.term,
        membership,
        state: Bytes::copy_from_slice(from.rest()),
    })
}
