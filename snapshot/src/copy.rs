//! Copies of objects: from a replica that has them into one's own store, and whether what is there is what was written.
//!
//! - Nothing that a donor says is believed: a manifest has to have the committed identity, a chunk the committed digest of
//!   its records. Of a chunk the index comes first, which has to agree with the manifest; then each member is inflated and
//!   compared, and only when all of it is right does the chunk get its name.
//! - A copy may be made by another compressor: what it takes and its CRC-32 are its own.

use std::future::Future;

use bytes::{Bytes, BytesMut};

use crate::aside::aside;
use crate::chunk::{self, Reader, Summary, check_batches};
use crate::digest::Digest;
use crate::key::Key;
use crate::manifest::{self, Chunk, EpochStart, Manifest, Name};
use crate::source::Source;
use crate::store::{self, Condition, Store, there};

/// Bytes that are asked for at once.
pub const PIECE_BYTES: usize = 1 << 20;
/// Members longer than this are not believed: a member ends with the batch that brings it to 1 MiB.
const MEMBER_BYTES_MAX: u64 = 256 << 20;

/// A part of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How long the whole object is.
    pub total: u64,
    /// The part: as many bytes as were asked for, or all up to the end.
    pub bytes: Bytes,
}

/// Why there is no piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPiece {
    /// It does not have the object.
    NotThere,
    /// It does not answer, or not sensibly.
    NoAnswer,
}

/// A replica that may have what is wanted.
pub trait Donor {
    /// For people.
    fn name(&self) -> String;

    /// A part of one of its objects, of at most [`PIECE_BYTES`].
    fn piece(
        &self,
        key: &Key,
        position: u64,
        length: usize,
    ) -> impl Future<Output = Result<Piece, NoPiece>>;
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The own store cannot do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The donor does not have it.
    #[error("{donor} does not have {key}")]
    NotThere {
        /// Who was asked.
        donor: String,
        /// For what.
        key: Key,
    },
    /// The donor does not answer.
    #[error("{donor} does not answer")]
    NoAnswer {
        /// Who was asked.
        donor: String,
    },
    /// What the donor has is not what was committed.
    #[error("{key} as {donor} has it: {why}")]
    Wrong {
        /// Who was asked.
        donor: String,
        /// For what.
        key: Key,
        /// What is wrong with it.
        why: String,
    },
}

/// A manifest from a donor. It is the committed one, and describes the donor's copies of the chunks.
///
/// # Errors
/// See [`Error`].
pub async fn manifest(
    donor: &impl Donor,
    name: &Name,
    identity: Digest,
) -> Result<Manifest, Error> {
    let key = name.key();
    let wrong = |why: String| Error::Wrong {
        donor: donor.name(),
        key: key.clone(),
        why,
    };
    let mut bytes = BytesMut::new();
    loop {
        let piece = ask(donor, &key, bytes.len() as u64, PIECE_BYTES).await?;
        bytes.extend_from_slice(&piece.bytes);
        let length = bytes.len() as u64;
        if piece.total > manifest::BYTES_MAX as u64 || length > piece.total {
            return Err(wrong("it is longer than it may be".to_owned()));
        }
        if length == piece.total {
            break;
        }
        if piece.bytes.is_empty() {
            return Err(wrong("it ends too early".to_owned()));
        }
    }
    let found =
        Manifest::decode(&bytes, &key, &name.source).map_err(|why| wrong(why.to_string()))?;
    match found.identity() == identity {
        true => Ok(found),
        false => Err(wrong("it is not the committed one".to_owned())),
    }
}

/// Puts a donor's copy of a chunk into a store, under the same name. The manifest that describes it is the committed
/// one, so what it says of the records is true; the object is verified against that before it has its name, and read back.
///
/// # Errors
/// See [`Error`]. Then it is not there, or it is what it was.
pub async fn chunk(
    donor: &impl Donor,
    store: &dyn Store,
    source: &Source,
    named: &Chunk,
    epochs: &[EpochStart],
) -> Result<(), Error> {
    let Chunk { key, chunk } = named;
    let wrong = |why: String| Error::Wrong {
        donor: donor.name(),
        key: key.clone(),
        why,
    };
    let index_bytes = chunk.index_bytes();
    let index_bytes = index_bytes.ok_or_else(|| wrong("no index is so long".to_owned()))?;
    let index = exactly(donor, key, chunk.index_position, index_bytes).await?;
    let reader = Reader::open(&index, chunk, source).map_err(|why| wrong(why.to_string()))?;
    let mut upload = store.upload(key).await?;
    let mut crc = crc32fast::Hasher::new();
    for member in reader.members() {
        if member.stored_bytes > MEMBER_BYTES_MAX {
            return Err(wrong("no member is so long".to_owned()));
        }
        let length = usize::try_from(member.stored_bytes).expect("it is bounded");
        let stored = exactly(donor, key, member.position, length).await?;
        crc.update(&stored);
        let (member, found, epochs) = (member.clone(), stored.clone(), epochs.to_vec());
        let open = move || {
            let raw = Reader::inflate(&member, &found)?;
            check_batches(&raw, &member, &epochs)
        };
        let opened: Result<(), chunk::Error> = aside(open).await;
        opened.map_err(|why| wrong(why.to_string()))?;
        upload.write(stored).await?;
    }
    crc.update(&index);
    if crc.finalize() != chunk.stored_crc32 {
        return Err(wrong("its CRC-32 does not match".to_owned()));
    }
    upload.write(index).await?;
    upload.finish(Condition::None).await?;
    match is_as_written(store, key, chunk).await? {
        true => Ok(()),
        false => Err(wrong("the own disk did not keep it".to_owned())),
    }
}

/// Whether an object is there, as long as it was written and with the same bytes. It costs reading all of it.
///
/// # Errors
/// When the store cannot be read. An object that is not there, or shorter, is no error.
pub async fn is_as_written(
    store: &dyn Store,
    key: &Key,
    written: &Summary,
) -> Result<bool, store::Error> {
    let mut crc = crc32fast::Hasher::new();
    let mut position = 0;
    while position < written.stored_bytes {
        let rest = written.stored_bytes - position;
        let length = usize::try_from(rest).map_or(PIECE_BYTES, |rest| rest.min(PIECE_BYTES));
        let Some(bytes) = there(store.range(key, position, length).await)? else {
            return Ok(false);
        };
        crc.update(&bytes);
        position += length as u64;
    }
    let has_more = there(store.range(key, written.stored_bytes, 1).await)?.is_some();
    Ok(!has_more && crc.finalize() == written.stored_crc32)
}

/// Whether an object is there, at least as long as it was written, and ends with the index of that chunk. It costs little,
/// and says nothing of the records.
///
/// # Errors
/// When the store cannot be read.
pub async fn has_index(
    store: &dyn Store,
    source: &Source,
    named: &Chunk,
) -> Result<bool, store::Error> {
    let Some(length) = named.chunk.index_bytes() else {
        return Ok(false);
    };
    let position = named.chunk.index_position;
    let index = there(store.range(&named.key, position, length).await)?;
    Ok(index.is_some_and(|index| Reader::open(&index, &named.chunk, source).is_ok()))
}

/// So many bytes, piece by piece.
async fn exactly(
    donor: &impl Donor,
    key: &Key,
    position: u64,
    length: usize,
) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while bytes.len() < length {
        let next = position.saturating_add(bytes.len() as u64);
        let wanted = (length - bytes.len()).min(PIECE_BYTES);
        let piece = ask(donor, key, next, wanted).await?;
        if piece.bytes.len() != wanted {
            return Err(Error::Wrong {
                donor: donor.name(),
                key: key.clone(),
                why: format!("it has no {wanted} bytes at {next}"),
            });
        }
        bytes.extend_from_slice(&piece.bytes);
    }
    Ok(bytes.freeze())
}

async fn ask(donor: &impl Donor, key: &Key, position: u64, length: usize) -> Result<Piece, Error> {
    let asked = donor.piece(key, position, length).await;
    asked.map_err(|why| match why {
        NoPiece::NotThere => Error::NotThere {
            donor: donor.name(),
            key: key.clone(),
        },
        NoPiece::NoAnswer => Error::NoAnswer {
            donor: donor.name(),
        },
    })
}

#[cfg(test)]
mod tests;
