//! Reading a segment from one round to the next: few reads for many small rounds, and no more lost by a bad sector than
//! what lies in it.

use crate::pages::{PAGE_BYTES, Pages};
use crate::round::{self, ParsedRound};
use crate::segment::Segment;
use std::io;

/// Bytes read at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// A moving view of a segment, so that many small rounds cost few reads.
pub(crate) struct Window {
    start: u64,
    pages: Pages,
    /// Nothing is read at or behind this position.
    end: u64,
    /// A larger read up to here has failed: no more than what is asked for is read at once.
    careful_until: u64,
    /// Zeros stand for some of the pages: they serve nobody else.
    patched: bool,
    pub(crate) bytes_read: u64,
}

impl Window {
    pub(crate) fn new(end: u64) -> Self {
        Self {
            start: 0,
            pages: Pages::default(),
            end,
            careful_until: 0,
            patched: false,
            bytes_read: 0,
        }
    }

    /// The bytes from a position on, at least `least` of them; None beyond the end.
    fn bytes(&mut self, segment: &Segment, position: u64, least: u64) -> io::Result<Option<&[u8]>> {
        if position.checked_add(least).is_none_or(|end| end > self.end) {
            return Ok(None);
        }
        let have_until = self.start + self.pages.len() as u64;
        if self.patched || position < self.start || position + least > have_until {
            let ahead = if position < self.careful_until {
                least
            } else {
                least.max(WINDOW_BYTES).min(self.end - position)
            };
            if let Err(error) = self.fill(segment, position, ahead) {
                // A bad sector behind what is asked for is no matter of this place.
                self.careful_until = position + ahead;
                if ahead == least {
                    return Err(error);
                }
                self.fill(segment, position, least)?;
            }
        }
        let skip = usize::try_from(position - self.start).expect("within the window");
        Ok(Some(&self.pages[skip..]))
    }

    fn fill(&mut self, segment: &Segment, position: u64, length: u64) -> io::Result<()> {
        self.size(position, length);
        let read = segment.file.read_at(position, &mut self.pages);
        if read.is_err() {
            self.size(position, 0);
        }
        self.bytes_read += length;
        read
    }

    fn size(&mut self, position: u64, length: u64) {
        let length = usize::try_from(length).expect("a segment is below 2 GiB");
        if self.pages.capacity() < length {
            self.pages = Pages::zeroed(length);
        } else {
            self.pages.set_len(length);
        }
        self.start = position;
        self.patched = false;
    }

    /// Reads page by page what cannot be read at once; zeros stand for the pages that cannot be read at all.
    fn fill_around(&mut self, segment: &Segment, position: u64, length: u64) {
        self.size(position, length);
        self.patched = true;
        for (page, at) in self
            .pages
            .chunks_mut(PAGE_BYTES)
            .zip((position..).step_by(PAGE_BYTES))
        {
            if segment.file.read_at(at, page).is_err() {
                page.fill(0);
            }
        }
    }

    /// The round whose header is at a position; None when there is no valid header of this place. An error when that
    /// cannot be told.
    pub(crate) fn round(
        &mut self,
        segment: &Segment,
        position: u64,
    ) -> io::Result<Option<Found<'_>>> {
        let Some(first) = self.bytes(segment, position, PAGE_BYTES as u64)? else {
            return Ok(None);
        };
        let place = segment.place(position);
        let Some(said) = round::said_bytes(place, first) else {
            return Ok(None);
        };
        let unreadable = match self.bytes(segment, position, said) {
            Ok(None) => return Ok(None),
            Ok(Some(_)) => None,
            Err(error) => {
                self.fill_around(segment, position, said);
                Some(error)
            }
        };
        let skip = usize::try_from(position - self.start).expect("within the window");
        let bytes = &self.pages[skip..];
        match (round::parse(place, bytes), unreadable) {
            (Some(round), unreadable) => Ok(Some(Found {
                round,
                bytes,
                unreadable,
            })),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }
}

/// A round with a valid header.
pub(crate) struct Found<'a> {
    pub(crate) round: ParsedRound,
    /// From its start on.
    pub(crate) bytes: &'a [u8],
    /// Why some of its pages are missing from `bytes`.
    pub(crate) unreadable: Option<io::Error>,
}
