//! Requests and responses of every API that is served, one module per API, generated from
//! `messages/*.txt`.
//!
//! Each structure has `decode` and `encode` for every version of its API. Fields that a version
//! does not have are left out on encoding and have their default after decoding.

use crate::api::ApiKey;
use crate::wire::{DecodeError, Encoder, Reader};

/// A request or a response.
pub trait Message: Sized + Default {
    /// Whose it is.
    const KEY: ApiKey;
    /// Lowest and highest version that can be decoded and encoded.
    const VERSIONS: (i16, i16);
    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE: i16;

    /// Takes the whole rest of the reader; what is too much is an error.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the body; errors come out of the encoder at its end.
    fn encode(&self, e: &mut Encoder, version: i16);

    /// Refuses a version that is not in the table.
    fn check(version: i16) -> Result<(), DecodeError> {
        if Self::VERSIONS.0 <= version && version <= Self::VERSIONS.1 {
            return Ok(());
        }
        Err(DecodeError::Version {
            key: Self::KEY.number(),
            version,
        })
    }
}

/// A request knows its response.
pub trait Request: Message {
    /// What answers it.
    type Response: Message;
}

mod prelude {
    pub(super) use super::{Message, Request};
    pub(super) use crate::api::ApiKey;
    pub(super) use crate::wire::{
        DecodeError, Element, Encoder, FIRST_CAPACITY, Reader, Slices, Str, Uuid,
    };
    pub(super) use bytes::Bytes;
}

pub use generated::*;

#[allow(clippy::all, unused_imports)]
mod generated {
    use crate::api::ApiKey;
    use crate::wire::{DecodeError, Encoder, Reader};
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}
