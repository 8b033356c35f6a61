//! A checksummed byte string in a pre-allocated file, in two copies, read back after writing. Manifests and checkpoints
//! are blobs. A blob in place means no allocation and no journal commit beside the rounds' syncs.

use crate::codec::{Decoder, Encode};
use crate::disk::File;
use crate::error::Error;
use crate::layout::{BLOB_MAGIC, VERSION};
use crate::pages::{PAGE_BYTES, Pages, page_align};
use raft::types::DirectoryId;
use std::io;

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum BlobKind {
    Manifest = 1,
    Checkpoint = 2,
}

const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 16 + 4 + 4 + 4;

/// A blob read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Its version: manifests and checkpoints are numbered from 1.
    pub(crate) number: u64,
    pub(crate) directory: DirectoryId,
    pub(crate) body: Vec<u8>,
}

/// The size of a file for bodies of this length, with room to grow.
pub(crate) fn file_bytes(body_bytes: usize) -> u64 {
    2 * page_align((HEADER_BYTES + body_bytes) * 3 / 2) as u64
}

/// Whether a file of this size holds a body of this length.
pub(crate) fn fits(file_bytes: u64, body_bytes: usize) -> bool {
    page_align(HEADER_BYTES + body_bytes) as u64 <= half(file_bytes)
}

fn half(file_bytes: u64) -> u64 {
    file_bytes / 2 / PAGE_BYTES as u64 * PAGE_BYTES as u64
}

/// Writes both copies, syncs once, reads both back.
pub(crate) fn write(file: &dyn File, kind: BlobKind, blob: &Blob) -> io::Result<()> {
    let size = file.size()?;
    assert!(
        fits(size, blob.body.len()),
        "the caller has chosen a file that is large enough"
    );
    let mut pages = Pages::with_capacity(HEADER_BYTES + blob.body.len());
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.put_u64(BLOB_MAGIC);
    header.put_u32(VERSION);
    header.put_u32(kind as u32);
    header.put_u64(blob.number);
    header.put_u128(blob.directory.0);
    header.put_u32(crc32fast::hash(&blob.body));
    header.put_len(blob.body.len());
    let crc = crc32fast::hash(&header);
    header.put_u32(crc);
    pages.extend(&header);
    pages.extend(&blob.body);
    pages.pad_to(PAGE_BYTES);
    for position in [0, half(size)] {
        file.write_at(position, &pages)?;
    }
    file.sync()?;
    // What the page cache shows proves nothing.
    file.evict()?;
    let mut back = Pages::zeroed(pages.len());
    for position in [0, half(size)] {
        file.read_at(position, &mut back)?;
        if back[..] != pages[..] {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "read back other bytes",
            ));
        }
    }
    Ok(())
}

/// The first valid copy; None when neither is.
///
/// # Errors
/// [`Error::UnknownVersion`]; [`Error::Io`] when the file cannot be read at all.
pub(crate) fn read(file: &dyn File, name: &str, kind: BlobKind) -> Result<Option<Blob>, Error> {
    let size = file
        .size()
        .map_err(|error| Error::io("measure", name, error))?;
    for position in [0, half(size)] {
        if let Some(blob) = whole_copy(file, name, position, half(size), kind)? {
            return Ok(Some(blob));
        }
    }
    Ok(None)
}

/// What is at one of the two places, if it is whole. A copy that cannot be read is as good as a damaged one: a bad sector
/// under it is what the other one is for.
fn whole_copy(
    file: &dyn File,
    name: &str,
    position: u64,
    room: u64,
    kind: BlobKind,
) -> Result<Option<Blob>, Error> {
    match read_copy(file, position, room, kind) {
        Ok(Some((version, _))) if version != VERSION => Err(Error::UnknownVersion {
            name: name.to_owned(),
            version,
            known: VERSION,
        }),
        Ok(found) => Ok(found.map(|(_, blob)| blob)),
        Err(error) => {
            tracing::error!(name, position, %error, "a copy cannot be read");
            Ok(None)
        }
    }
}

/// One of the two places of a blob.
pub(crate) struct Copy {
    pub(crate) position: u64,
    /// Pages that it takes; a page where it cannot be told.
    pub(crate) bytes: u64,
    /// What is there, if it is whole.
    pub(crate) blob: Option<Blob>,
    /// Whether the rest of its last page is as it was written: zeros.
    pub(crate) padded: bool,
}

/// Both copies, each for itself.
///
/// # Errors
/// [`Error::UnknownVersion`]; [`Error::Io`] when the file cannot be measured.
pub(crate) fn copies(file: &dyn File, name: &str, kind: BlobKind) -> Result<[Copy; 2], Error> {
    let size = file
        .size()
        .map_err(|error| Error::io("measure", name, error))?;
    let copy = |position| -> Result<Copy, Error> {
        let blob = whole_copy(file, name, position, half(size), kind)?;
        let length = blob
            .as_ref()
            .map_or(0, |blob| HEADER_BYTES + blob.body.len());
        let bytes = page_align(length.max(1));
        let mut pages = Pages::zeroed(bytes);
        let read = file.read_at(position, &mut pages);
        let padded = read.is_ok() && pages[length..].iter().all(|byte| *byte == 0);
        Ok(Copy {
            position,
            bytes: bytes as u64,
            padded: padded || blob.is_none(),
            blob,
        })
    };
    Ok([copy(0)?, copy(half(size))?])
}

fn read_copy(
    file: &dyn File,
    position: u64,
    room: u64,
    kind: BlobKind,
) -> io::Result<Option<(u32, Blob)>> {
    if room < PAGE_BYTES as u64 {
        return Ok(None);
    }
    let mut first = Pages::zeroed(PAGE_BYTES);
    file.read_at(position, &mut first)?;
    let Some(header) = Header::decode(&first[..HEADER_BYTES]) else {
        return Ok(None);
    };
    if header.kind != kind as u32 && header.version == VERSION {
        return Ok(None);
    }
    let length = HEADER_BYTES + header.length;
    if page_align(length) as u64 > room {
        return Ok(None);
    }
    let mut pages = Pages::zeroed(page_align(length));
    file.read_at(position, &mut pages)?;
    let body = &pages[HEADER_BYTES..length];
    // The version comes first: another version may have other rules for everything else.
    if header.version == VERSION && crc32fast::hash(body) != header.body_crc {
        return Ok(None);
    }
    let blob = Blob {
        number: header.number,
        directory: header.directory,
        body: body.to_vec(),
    };
    Ok(Some((header.version, blob)))
}

struct Header {
    version: u32,
    kind: u32,
    number: u64,
    directory: DirectoryId,
    body_crc: u32,
    length: usize,
}

impl Header {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Decoder::new(bytes);
        if from.u64()? != BLOB_MAGIC {
            return None;
        }
        let header = Self {
            version: from.u32()?,
            kind: from.u32()?,
            number: from.u64()?,
            directory: DirectoryId(from.u128()?),
            body_crc: from.u32()?,
            length: usize::try_from(from.u32()?).ok()?,
        };
        (from.u32()? == crc32fast::hash(&bytes[..HEADER_BYTES - 4])).then_some(header)
    }
}
