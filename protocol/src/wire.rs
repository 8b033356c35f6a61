//! The primitive types of Kafka's wire format: reading them from a frame, writing them into a chain
//! of buffers.

mod encoder;
mod reader;
mod slices;
mod uuid;

pub use encoder::{EncodeError, Encoder};
pub use reader::{DecodeError, Element, FIRST_CAPACITY, Reader, Tags};
pub use slices::Slices;
pub use uuid::{InvalidUuid, Uuid};

/// A string that is a slice of the frame it came in, checked to be UTF-8; `Deref<Target = str>`.
///
/// NB: it keeps its whole frame in memory. What outlives the request takes `to_string()`.
pub use bytestring::ByteString as Str;
