//! JSON objects with a seal: one line of JSON, one line with the SHA-256 of the first. Any flipped bit breaks it.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::key::Key;

/// Why an object is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no second line, or it is not the seal of the first.
    #[error("the seal does not match: the object is damaged or cut off")]
    Broken,
    /// The seal matches, but this version does not understand what it seals.
    #[error("this version cannot read it: {0}")]
    Unknown(#[from] serde_json::Error),
}

/// Why an object is not the one that its name says.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It is damaged.
    #[error("{key}: {why}")]
    Sealed {
        /// Which.
        key: Key,
        /// What is wrong.
        why: Error,
    },
    /// Written by a version that this one does not know.
    #[error("{0} has format {1}, which this version does not know")]
    Format(Key, u32),
    /// It is another cluster's, or lies under another one's name.
    #[error("{0} does not say of itself what its name says, or is another store's")]
    Foreign(Key),
    /// Another one of this name is there.
    #[error("{0} was written by somebody else")]
    Taken(Key),
}

/// An object's bytes.
///
/// # Panics
/// When a value cannot be JSON, which is a property of its type.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = serde_json::to_vec(value).expect("a sealed type is plain JSON");
    let seal = seal_of(&bytes);
    bytes.push(b'\n');
    bytes.extend_from_slice(seal.as_bytes());
    bytes.into()
}

/// What [`encode`] was given.
///
/// # Errors
/// See [`Error`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, rest) = bytes.split_at(end.ok_or(Error::Broken)?);
    if rest[1..] != *seal_of(line).as_bytes() {
        return Err(Error::Broken);
    }
    Ok(serde_json::from_slice(line)?)
}

/// Whether nothing has happened to an object, whatever it says.
#[must_use]
pub fn is_intact(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    end.is_some_and(|end| bytes[end + 1..] == *seal_of(&bytes[..end]).as_bytes())
}

fn seal_of(line: &[u8]) -> String {
    format!("{{\"sha256\":\"{}\"}}\n", Digest::of(line))
}
