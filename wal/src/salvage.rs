//! What of a damaged run is whole: each frame by itself, whatever lies around it.

use crate::footer::Run;
use crate::frame::{self, FrameHeader, FrameType};
use crate::layout::FRAME_HEADER_BYTES;
use crate::pages::{PAGE_BYTES, Pages};
use crate::segment::Segment;
use bytes::Bytes;
use raft::types::{GroupId, ReplicaId};

/// A frame whose header is whole.
pub(crate) struct Salvaged {
    pub(crate) header: FrameHeader,
    /// None when the payload is damaged.
    pub(crate) payload: Option<Bytes>,
}

/// The frames of a run with a whole header, by index. What cannot be read at all lacks in it.
///
/// Where a header is damaged nobody knows how long its frame is: then the next one is looked for, at every place where
/// one may begin. A header's checksum binds its place and the segment's secret seed, so that nothing else looks like one.
pub(crate) fn salvage(segment: &Segment, key: (GroupId, ReplicaId), run: &Run) -> Vec<Salvaged> {
    let bytes = read_around(segment, run);
    let mut found: Vec<Salvaged> = Vec::new();
    let mut at = 0;
    while at + FRAME_HEADER_BYTES <= bytes.len() {
        let place = segment.place(run.position + at as u64);
        let next = found.last().map_or(run.first, |s| s.header.index.0 + 1);
        let header = frame::parse_header(place, &bytes[at..]).filter(|header| {
            header.frame_type == FrameType::Entry
                && (header.group, header.replica) == key
                && (next..=run.last()).contains(&header.index.0)
        });
        let Some(header) = header else {
            at += 8;
            continue;
        };
        let payload = at + FRAME_HEADER_BYTES..at + FRAME_HEADER_BYTES + header.payload_bytes;
        let payload = bytes.slice(payload);
        let whole = crc32fast::hash(&payload) == header.payload_crc;
        found.push(Salvaged {
            header,
            payload: whole.then_some(payload),
        });
        at += frame::frame_bytes(header.payload_bytes);
    }
    found
}

/// The bytes of a run; zeros stand for the pages that cannot be read.
fn read_around(segment: &Segment, run: &Run) -> Bytes {
    let length = run.bytes as usize;
    if let Ok((pages, skip)) = segment.read_pages(run.position, length) {
        return Bytes::from_owner(pages).slice(skip..skip + length);
    }
    let page = PAGE_BYTES as u64;
    let first = run.position / page * page;
    let end = run.end().next_multiple_of(page);
    let all = usize::try_from(end - first).expect("a run is far below 2 GiB");
    let mut pages = Pages::zeroed(all);
    for (page, at) in pages
        .chunks_mut(PAGE_BYTES)
        .zip((first..).step_by(PAGE_BYTES))
    {
        if segment.file.read_at(at, page).is_err() {
            page.fill(0);
        }
    }
    let skip = usize::try_from(run.position - first).expect("less than a page");
    Bytes::from_owner(pages).slice(skip..skip + length)
}
