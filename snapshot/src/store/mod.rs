//! Where objects are kept. One trait, so that nothing above knows what is below.
//!
//! - What `put` and `finish` have answered is durable, and whole: nobody ever sees a part of an object.
//! - [`Condition::Absent`] is atomic: of many writers exactly one succeeds, and the others are told. NB: who is told may
//!   have been the one himself, in an earlier try whose answer was lost: what is there has to be looked at.
//! - An error is an answer to be acted on: [`Error::retriable`] says whether trying again can help. A request that fails
//!   may still have happened.
//! - Futures are cancel-safe: a request that is dropped has happened or has not.

mod folder;
pub mod location;
pub mod memory;
mod s3;
#[cfg(test)]
mod tests;

use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::digest::Digest;
use crate::key::Key;

pub use folder::Folder;
pub use s3::S3;

/// What a store answers later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// See the module.
pub trait Store: Send + Sync + Debug {
    /// Writes a whole object.
    fn put<'a>(&'a self, key: &'a Key, body: Bytes, condition: Condition) -> Later<'a, Version>;

    /// Begins to write an object in pieces. It is there when it is finished, and not before.
    fn upload<'a>(&'a self, key: &'a Key) -> Later<'a, Box<dyn Upload>>;

    /// Reads a whole object of at most so many bytes.
    fn get<'a>(&'a self, key: &'a Key, bytes_max: usize) -> Later<'a, (Bytes, Version)>;

    /// Reads exactly so many bytes of an object.
    fn range<'a>(&'a self, key: &'a Key, position: u64, length: usize) -> Later<'a, Bytes>;

    /// The objects whose names begin so, in the order of their names, after a name; at most so many.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Later<'a, Vec<Listed>>;

    /// Removes an object. One that is not there is removed already.
    fn delete<'a>(&'a self, key: &'a Key) -> Later<'a, ()>;
}

/// Writes a whole object unless it is there already. What is there, of at most so many bytes, is handed out, to be looked
/// at: it may be of an earlier try of the same writer, whose answer was lost.
///
/// # Errors
/// See [`Error`]; never [`Error::Conflict`].
pub async fn put_once(
    store: &dyn Store,
    key: &Key,
    body: Bytes,
    bytes_max: usize,
) -> Result<Option<Bytes>, Error> {
    match store.put(key, body, Condition::Absent).await {
        Ok(_) => Ok(None),
        Err(Error::Conflict(_)) => {
            let (found, _) = store.get(key, bytes_max).await?;
            Ok(Some(found))
        }
        Err(why) => Err(why),
    }
}

/// What was read; None where the object is not there, or not of the length that it should be.
///
/// # Errors
/// Any other one.
pub fn there<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Error::NotFound(_) | Error::Length { .. }) => Ok(None),
        Err(why) => Err(why),
    }
}

/// An object that is being written. Dropped before it is finished, it is as if it had never begun.
pub trait Upload: Send + Debug {
    /// Adds bytes. Answers when there is room for more.
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()>;

    /// Makes the object be there.
    fn finish(self: Box<Self>, condition: Condition) -> Later<'static, Version>;
}

/// On what a write depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// On nothing.
    None,
    /// That there is no such object.
    Absent,
    /// That the object is still of this version.
    Unchanged(Version),
}

/// Which of an object's successive contents. Equal versions are equal contents.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub String);

/// Of a store that knows contents by their digests.
impl From<Digest> for Version {
    fn from(digest: Digest) -> Self {
        Self(digest.to_string())
    }
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: Key,
    /// Its length.
    pub bytes: u64,
    /// When it was last written, in ms, by the store's clock.
    pub modified_ms: i64,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object.
    #[error("{0} is not in the store")]
    NotFound(Key),
    /// The condition of a write does not hold.
    #[error("{0} was written by somebody else")]
    Conflict(Key),
    /// The object is longer, or shorter, than it can be.
    #[error("{key} is not of the length it should be: {why}")]
    Length {
        /// Which.
        key: Key,
        /// What was wanted and what is there.
        why: String,
    },
    /// The store cannot serve this now: throttled, timed out, unreachable, full.
    #[error("the store cannot serve {key} now: {why}")]
    Unavailable {
        /// Which.
        key: String,
        /// What it said.
        why: String,
    },
    /// The store will not serve this until somebody changes something: credentials, permissions, a bucket's name.
    #[error("the store refuses {key}: {why}")]
    Refused {
        /// Which.
        key: String,
        /// What it said.
        why: String,
    },
}

impl Error {
    /// An object has more bytes than may be read.
    fn longer(key: &Key, bytes_max: usize) -> Self {
        Self::Length {
            key: key.clone(),
            why: format!("longer than {bytes_max} bytes"),
        }
    }

    /// An object ends before what is to be read.
    fn shorter(key: &Key, position: u64, length: usize, end: impl Display) -> Self {
        Self::Length {
            key: key.clone(),
            why: format!("{length} bytes from {position} on were wanted, it ends at {end}"),
        }
    }

    /// Whether the same request may succeed later without anybody's doing.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::NotFound(_) | Self::Conflict(_) | Self::Length { .. } | Self::Refused { .. } => {
                false
            }
        }
    }
}
