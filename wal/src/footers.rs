//! The footers of sealed segments: kept in memory, read, or built again from the rounds, which hold the facts.

use crate::error::ReadError;
use crate::footer::RunIndex;
use crate::frame::FrameType;
use crate::layout::DATA_START;
use crate::log::Shared;
use crate::reader::io_error;
use crate::segment::Segment;
use crate::window::{Found, Window};
use std::sync::Arc;

impl Shared {
    /// Keeps a footer in memory; the one that was kept longest goes.
    pub(crate) fn keep_footer(&self, segment: &Arc<Segment>, footer: Arc<RunIndex>) {
        segment.set_footer(Some(footer));
        let mut kept = self.footers();
        let this = Arc::downgrade(segment);
        kept.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&this));
        kept.push_back(this);
        while kept.len() > self.footers_kept
            && let Some(oldest) = kept.pop_front()
        {
            if let Some(segment) = oldest.upgrade() {
                segment.set_footer(None);
            }
        }
    }
}

/// A segment's footer; one that is damaged is built again from the rounds, which hold the facts.
pub(crate) fn load_footer(
    segment: &Segment,
    footer_at: u64,
    segment_bytes: u64,
    run_bytes_max: u64,
) -> Result<Arc<RunIndex>, ReadError> {
    match segment.footer_in_memory() {
        Some(footer) => Ok(footer),
        None => {
            read_footer(segment, footer_at, segment_bytes, run_bytes_max).map(|(index, _)| index)
        }
    }
}

/// The footer, and whether it lies there as it was written.
pub(crate) fn read_footer(
    segment: &Segment,
    footer_at: u64,
    segment_bytes: u64,
    run_bytes_max: u64,
) -> Result<(Arc<RunIndex>, bool), ReadError> {
    if let Some(index) = stored_footer(segment, footer_at, segment_bytes) {
        return Ok((Arc::new(index), true));
    }
    tracing::error!(
        segment = segment.sequence,
        "a footer is damaged: built again from the rounds"
    );
    let index = rebuild_footer(segment, footer_at, run_bytes_max)?;
    Ok((Arc::new(index), false))
}

fn stored_footer(segment: &Segment, footer_at: u64, segment_bytes: u64) -> Option<RunIndex> {
    let length = usize::try_from(segment_bytes - footer_at).ok()?;
    let (pages, skip) = segment.read_pages(footer_at, length).ok()?;
    RunIndex::decode(segment.seed, segment.sequence, footer_at, &pages[skip..])
}

/// Whether a sealed segment's footer lies there as it was written.
pub(crate) fn footer_is_whole(segment: &Segment, footer_at: u64, segment_bytes: u64) -> bool {
    stored_footer(segment, footer_at, segment_bytes).is_some()
}

/// Walks a sealed segment's rounds. Runs come out as they were: the same entries join, up to the bound.
fn rebuild_footer(
    segment: &Segment,
    footer_at: u64,
    run_bytes_max: u64,
) -> Result<RunIndex, ReadError> {
    let mut index = RunIndex::default();
    let mut window = Window::new(footer_at);
    let mut position = DATA_START;
    while position < footer_at {
        let found = window
            .round(segment, position)
            .map_err(|error| io_error(segment, position, error))?;
        let Some(Found { round, bytes, .. }) = found else {
            break;
        };
        let place = segment.place(position);
        for (_, at, frame) in round.frames(place, bytes) {
            if let Some((_, frame)) = frame
                && frame.frame_type == FrameType::Entry
            {
                let size = u32::try_from(frame.size()).unwrap_or(u32::MAX);
                let span = crate::directory::span_of(&frame);
                let key = (frame.group, frame.replica);
                index.add(key, frame.index.0, at, size, span, run_bytes_max);
            }
        }
        position += u64::from(round.bytes);
    }
    Ok(index)
}
