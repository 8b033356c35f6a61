//! A segment file in one of its lives: handle, header, guarded reads.

use crate::codec::{Decoder, Encode};
use crate::disk::File;
use crate::error::{Damage, Error};
use crate::footer::RunIndex;
use crate::frame::Place;
use crate::layout::{SEGMENT_MAGIC, VERSION, segment_name};
use crate::pages::{PAGE_BYTES, Pages};
use crate::record::Identity;
use crate::spares::Spare;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// One life of a segment file. Clones of its Arc are pins: the file is not used again before they are gone.
pub(crate) struct Segment {
    /// The file's number, in its name.
    pub(crate) number: u64,
    /// The life's number: never given out twice.
    pub(crate) sequence: u64,
    /// Random; every checksum of headers in this life starts from it.
    pub(crate) seed: u64,
    pub(crate) file: Arc<dyn File>,
    /// Written from end to end in an earlier life, as far as is known.
    pub(crate) written_before: bool,
    /// The footer while it is in memory.
    pub(crate) footer: Mutex<Option<Arc<RunIndex>>>,
}

impl Segment {
    /// A life that was begun earlier: its file may never have been written.
    pub(crate) fn new(number: u64, sequence: u64, seed: u64, file: Arc<dyn File>) -> Arc<Self> {
        Arc::new(Self {
            number,
            sequence,
            seed,
            file,
            written_before: false,
            footer: Mutex::new(None),
        })
    }

    /// A spare's new life.
    pub(crate) fn of_spare(spare: Spare, sequence: u64, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            number: spare.number,
            sequence,
            seed,
            file: spare.file,
            written_before: spare.zeroed,
            footer: Mutex::new(None),
        })
    }

    pub(crate) fn name(&self) -> String {
        segment_name(self.number)
    }

    pub(crate) fn place(&self, position: u64) -> Place {
        Place {
            seed: self.seed,
            sequence: self.sequence,
            position,
        }
    }

    pub(crate) fn set_footer(&self, footer: Option<Arc<RunIndex>>) {
        *self.footer.lock().unwrap_or_else(PoisonError::into_inner) = footer;
    }

    pub(crate) fn footer_in_memory(&self) -> Option<Arc<RunIndex>> {
        self.footer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads whole pages around a range, past the page cache. Returns them and where the range begins in them.
    pub(crate) fn read_pages(&self, position: u64, bytes: usize) -> io::Result<(Pages, usize)> {
        let page = PAGE_BYTES as u64;
        let first = position / page * page;
        let end = (position + bytes as u64).next_multiple_of(page);
        let length = usize::try_from(end - first).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut pages = Pages::zeroed(length);
        self.file.read_at(first, &mut pages)?;
        let skip = usize::try_from(position - first).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok((pages, skip))
    }
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: Identity,
    pub(crate) sequence: u64,
    pub(crate) seed: u64,
    pub(crate) segment_bytes: u64,
}

/// The two header pages.
pub(crate) fn encode_header(header: &SegmentHeader) -> Pages {
    let mut out = Vec::with_capacity(96);
    out.put_u64(SEGMENT_MAGIC);
    out.put_u32(VERSION);
    out.put_u32(0);
    out.put_u128(header.identity.cluster);
    out.put_i32(header.identity.node.0);
    out.put_u128(header.identity.directory.0);
    out.put_u64(header.sequence);
    out.put_u64(header.seed);
    out.put_u64(header.segment_bytes);
    let crc = header_crc(&out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    let mut pages = Pages::with_capacity(2 * PAGE_BYTES);
    for _ in 0..2 {
        pages.extend(&out);
        pages.pad_to(PAGE_BYTES);
    }
    pages
}

const HEADER_BYTES: usize = 8 + 4 + 4 + 16 + 4 + 16 + 8 + 8 + 8;

fn header_crc(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..12]);
    hasher.update(&header[16..HEADER_BYTES]);
    hasher.finalize()
}

/// The first valid copy in the two header pages; None when neither is (a file never used, or damage).
///
/// # Errors
/// [`Error::UnknownVersion`]: then nothing may be touched.
pub(crate) fn decode_header(name: &str, pages: &[u8]) -> Result<Option<SegmentHeader>, Error> {
    for copy in pages.chunks(PAGE_BYTES) {
        if let Some((version, header)) = decode_copy(copy) {
            if version != VERSION {
                return Err(Error::UnknownVersion {
                    name: name.to_owned(),
                    version,
                    known: VERSION,
                });
            }
            return Ok(Some(header));
        }
    }
    Ok(None)
}

fn decode_copy(copy: &[u8]) -> Option<(u32, SegmentHeader)> {
    let copy = copy.get(..HEADER_BYTES)?;
    let mut from = Decoder::new(copy);
    if from.u64()? != SEGMENT_MAGIC {
        return None;
    }
    let version = from.u32()?;
    if from.u32()? != header_crc(copy) {
        return None;
    }
    let identity = Identity {
        cluster: from.u128()?,
        node: raft::types::NodeId(from.i32()?),
        directory: raft::types::DirectoryId(from.u128()?),
    };
    let header = SegmentHeader {
        identity,
        sequence: from.u64()?,
        seed: from.u64()?,
        segment_bytes: from.u64()?,
    };
    Some((version, header))
}

/// What each of the two header pages says by itself, and whether the rest of the page is zeros.
///
/// # Errors
/// [`Error::UnknownVersion`].
pub(crate) fn header_copies(
    name: &str,
    pages: &[u8],
) -> Result<Vec<(Option<SegmentHeader>, bool)>, Error> {
    let copies = pages.chunks(PAGE_BYTES).map(|page| {
        let padded = page[HEADER_BYTES..].iter().all(|byte| *byte == 0);
        Ok((decode_header(name, page)?, padded))
    });
    copies.collect()
}

/// Damage in a segment.
pub(crate) fn damage(segment: &Segment, position: u64, why: impl Into<String>) -> Damage {
    Damage::new(&segment.name(), position, why)
}
