//! A round on disk: what one sync covers. Whole pages: a header with the list of its frames, the frames, padding.
//!
//! The header's checksum covers the list, the list holds the checksums of the frame headers, those cover the payloads'
//! checksums: so the chain of header checksums binds every byte that was ever written but the padding.

use crate::codec::{self, Decoder, Encode};
use crate::frame::{self, Frame, FrameHeader, FrameType, Place};
use crate::layout::{ROUND_HEADER_BYTES, ROUND_ITEM_BYTES, ROUND_MAGIC};
use crate::pages::{PAGE_BYTES, Pages, Pool, page_align};
use raft::types::{GroupId, Index, ReplicaId};
use std::sync::Arc;

/// The round holds no frames: it only carries a newer watermark.
pub(crate) const FLAG_IDLE: u32 = 1;
/// Not a round of the log but a piece of the cleaner's output.
pub(crate) const FLAG_CLEANED: u32 = 2;

/// What a round's header says, but the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoundHeader {
    /// Its number.
    pub(crate) round: u64,
    /// The last round known to be synced when this one was written.
    pub(crate) watermark: u64,
    /// The newest manifest when this one was written.
    pub(crate) manifest: u64,
    /// The header checksum of the round before.
    pub(crate) chain: u32,
    pub(crate) flags: u32,
}

/// Set in an item's subject when the frame is no entry: the rest of it is the replica then.
const NO_ENTRY: u64 = 1 << 63;

/// One frame in a round's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) group: GroupId,
    /// 0 for what is not an entry.
    pub(crate) index: Index,
    /// Whose it is, if it is not an entry: a lost base names a replica that nothing else may name.
    pub(crate) replica: Option<ReplicaId>,
    pub(crate) crc: u32,
    pub(crate) bytes: u32,
}

/// A parsed header with its list.
#[derive(Clone, Debug)]
pub(crate) struct ParsedRound {
    pub(crate) header: RoundHeader,
    /// Its own checksum: the next round's chain.
    pub(crate) crc: u32,
    /// Bytes in all, whole pages.
    pub(crate) bytes: u32,
    /// Where the first frame begins, from the round's start.
    pub(crate) frames_at: u32,
    pub(crate) items: Vec<Item>,
}

/// Bytes that a round takes, before padding to pages.
pub(crate) fn unpadded_bytes(frames: usize, frames_bytes: usize) -> usize {
    ROUND_HEADER_BYTES + frames * ROUND_ITEM_BYTES + frames_bytes
}

/// A round as it goes to disk, its checksum, and each frame's position in the segment.
pub(crate) struct EncodedRound {
    pub(crate) pages: Pages,
    pub(crate) crc: u32,
    pub(crate) positions: Vec<u64>,
}

/// Puts a round together; `place` is where it will lie.
pub(crate) fn encode(
    pool: &Arc<Pool>,
    place: Place,
    header: RoundHeader,
    frames: &[Frame<'_>],
) -> EncodedRound {
    let frames_bytes: usize = frames.iter().map(Frame::size).sum();
    let bytes = page_align(unpadded_bytes(frames.len(), frames_bytes));
    let frames_at = ROUND_HEADER_BYTES + frames.len() * ROUND_ITEM_BYTES;
    let mut pages = pool.take(bytes);
    pages.pad_to(8);
    debug_assert!(pages.is_empty());
    pages.extend(&[0; ROUND_HEADER_BYTES]);
    for _ in frames {
        pages.extend(&[0; ROUND_ITEM_BYTES]);
    }
    let mut positions = Vec::with_capacity(frames.len());
    for (number, frame) in frames.iter().enumerate() {
        let position = place.position + pages.len() as u64;
        positions.push(position);
        let crc = frame.encode(Place { position, ..place }, &mut pages);
        let subject = if frame.frame_type == FrameType::Entry {
            frame.index.0
        } else {
            NO_ENTRY | frame.replica.0
        };
        let size = u32::try_from(frame.size()).expect("frames are below a segment");
        let at = ROUND_HEADER_BYTES + number * ROUND_ITEM_BYTES;
        let item = &mut pages[at..at + ROUND_ITEM_BYTES];
        item[..8].copy_from_slice(&frame.group.0.to_le_bytes());
        item[8..16].copy_from_slice(&subject.to_le_bytes());
        item[16..20].copy_from_slice(&crc.to_le_bytes());
        item[20..].copy_from_slice(&size.to_le_bytes());
    }
    pages.pad_to(PAGE_BYTES);
    assert_eq!(
        pages.len(),
        bytes,
        "the size of a round is known before it is built"
    );
    let mut fixed = Vec::with_capacity(ROUND_HEADER_BYTES);
    fixed.put_u32(ROUND_MAGIC);
    fixed.put_u32(0);
    fixed.put_u64(place.sequence);
    fixed.put_u64(place.position);
    fixed.put_u64(header.round);
    fixed.put_u64(header.watermark);
    fixed.put_u64(header.manifest);
    fixed.put_u32(header.chain);
    fixed.put_len(frames.len());
    fixed.put_len(bytes);
    fixed.put_len(frames_at);
    fixed.put_u32(header.flags);
    fixed.put_u32(0);
    assert_eq!(
        fixed.len(),
        ROUND_HEADER_BYTES,
        "the header has a fixed size"
    );
    pages[..ROUND_HEADER_BYTES].copy_from_slice(&fixed);
    let crc = header_crc(place, &pages[..frames_at]);
    pages[4..8].copy_from_slice(&crc.to_le_bytes());
    EncodedRound {
        pages,
        crc,
        positions,
    }
}

fn header_crc(place: Place, header: &[u8]) -> u32 {
    let mut hasher = codec::seeded(place.seed, place.sequence, place.position);
    hasher.update(&header[..4]);
    hasher.update(&header[8..]);
    hasher.finalize()
}

/// How long the round says to be that begins with this page; None when it is not one of this place. Only a length to
/// read: the checksum is yet to be checked. Whoever wrote the bytes of an earlier life cannot make it read at any place.
pub(crate) fn said_bytes(place: Place, page: &[u8]) -> Option<u64> {
    let mut from = Decoder::new(page);
    if from.u32()? != ROUND_MAGIC {
        return None;
    }
    let _crc = from.u32()?;
    if from.u64()? != place.sequence || from.u64()? != place.position {
        return None;
    }
    let mut said = Decoder::new(page.get(56..)?);
    let said = u64::from(said.u32()?);
    (said > 0 && said.is_multiple_of(PAGE_BYTES as u64)).then_some(said)
}

/// The round header at the start of `bytes`, which reach to the end of the segment; None if it is not one, or not one
/// of this place.
pub(crate) fn parse(place: Place, bytes: &[u8]) -> Option<ParsedRound> {
    let mut from = Decoder::new(bytes.get(..ROUND_HEADER_BYTES)?);
    if from.u32()? != ROUND_MAGIC {
        return None;
    }
    let crc = from.u32()?;
    if from.u64()? != place.sequence || from.u64()? != place.position {
        return None;
    }
    let (round, watermark, manifest) = (from.u64()?, from.u64()?, from.u64()?);
    let chain = from.u32()?;
    let count = usize::try_from(from.u32()?).ok()?;
    let (bytes_all, frames_at, flags) = (from.u32()?, from.u32()?, from.u32()?);
    let list_end = count
        .checked_mul(ROUND_ITEM_BYTES)?
        .checked_add(ROUND_HEADER_BYTES)?;
    if list_end != usize::try_from(frames_at).ok()?
        || list_end > bytes.len()
        || usize::try_from(bytes_all).ok()? > bytes.len()
        || !(bytes_all as usize).is_multiple_of(PAGE_BYTES)
        || crc != header_crc(place, &bytes[..list_end])
    {
        return None;
    }
    let mut items = Vec::with_capacity(count);
    let mut list = Decoder::new(&bytes[ROUND_HEADER_BYTES..list_end]);
    let mut end = frames_at;
    for _ in 0..count {
        let (group, subject) = (GroupId(list.u64()?), list.u64()?);
        let is_entry = subject & NO_ENTRY == 0;
        let item = Item {
            group,
            index: Index(if is_entry { subject } else { 0 }),
            replica: (!is_entry).then_some(ReplicaId(subject & !NO_ENTRY)),
            crc: list.u32()?,
            bytes: list.u32()?,
        };
        end = end.checked_add(item.bytes)?;
        items.push(item);
    }
    let header = RoundHeader {
        round,
        watermark,
        manifest,
        chain,
        flags,
    };
    (end <= bytes_all).then_some(ParsedRound {
        header,
        crc,
        bytes: bytes_all,
        frames_at,
        items,
    })
}

impl ParsedRound {
    /// Its frames in order with their offsets from the round's start; None for a damaged one. `bytes` begin at the
    /// round.
    pub(crate) fn frames<'a>(
        &'a self,
        place: Place,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (Item, u64, Option<(FrameHeader, Frame<'a>)>)> + 'a {
        let mut at = self.frames_at as usize;
        self.items.iter().map(move |item| {
            let start = at;
            at += item.bytes as usize;
            let position = place.position + start as u64;
            let found = bytes
                .get(start..at)
                .and_then(|bytes| frame::parse(Place { position, ..place }, bytes))
                .filter(|(header, frame)| {
                    header.crc == item.crc
                        && header.group == item.group
                        && frame.size() == item.bytes as usize
                });
            (*item, position, found)
        })
    }

    /// Whether every frame is whole.
    pub(crate) fn intact(&self, place: Place, bytes: &[u8]) -> bool {
        self.frames(place, bytes)
            .all(|(_, _, frame)| frame.is_some())
    }
}
