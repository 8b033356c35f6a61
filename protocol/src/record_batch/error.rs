use super::codec::CodecError;
use crate::error_code::ErrorCode;

/// Why bytes are not a batch that may be stored or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("a batch of {wanted} bytes in {have}")]
    Truncated {
        /// Bytes that it needs.
        wanted: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The length field is too small for a batch.
    #[error("the batch length {length}")]
    Length {
        /// The field.
        length: i32,
    },
    /// An older or unknown format.
    #[error("magic {magic}, only 2 is accepted")]
    Magic {
        /// The byte.
        magic: i8,
    },
    /// Larger than allowed.
    #[error("a batch of {length} bytes above the limit {max}")]
    TooLarge {
        /// Its bytes.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The checksum of the bytes is another one than the batch says.
    #[error("CRC-32C {computed:08x}, the batch says {stored:08x}")]
    Crc {
        /// In the batch.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A codec that is not known.
    #[error("compression codec {codec} is unknown")]
    UnknownCodec {
        /// Its number.
        codec: u8,
    },
    /// More bytes follow the one batch.
    #[error("{extra} bytes after the batch")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// Header fields contradict each other.
    #[error("{0}")]
    Header(&'static str),
    /// A record contradicts the format or the header.
    #[error("record {index}: {what}")]
    Record {
        /// Its place in the batch, from 0.
        index: i32,
        /// What is wrong.
        what: &'static str,
    },
    /// The compressed records cannot be opened.
    #[error("{0}")]
    Codec(#[from] CodecError),
}

impl BatchError {
    /// What the producer is told.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. } | Self::Length { .. } | Self::Crc { .. } => {
                ErrorCode::CorruptMessage
            }
            Self::Magic { .. } => ErrorCode::UnsupportedForMessageFormat,
            Self::TooLarge { .. } | Self::Codec(CodecError::TooLarge { .. }) => {
                ErrorCode::MessageTooLarge
            }
            Self::UnknownCodec { .. } | Self::Codec(CodecError::NotBuilt) => {
                ErrorCode::UnsupportedCompressionType
            }
            Self::Trailing { .. }
            | Self::Header(_)
            | Self::Record { .. }
            | Self::Codec(CodecError::Corrupt) => ErrorCode::InvalidRecord,
        }
    }
}
