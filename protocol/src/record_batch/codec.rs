//! Compression of records. Output is capped: a bomb ends as an error, and memory follows what is
//! really there.

#[cfg(feature = "codecs")]
use super::{lz4, snappy};
use bytes::Bytes;

/// Opened records may take at least so many bytes, whatever the batch's own size.
const INFLATED_LEAST: usize = 16 << 20;
/// And never more than so many.
const INFLATED_HARD: usize = 64 << 20;
/// In between, so many times the compressed size.
const INFLATED_RATIO: usize = 20;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Raw snappy, or blocks of it in the framing of the xerial library, as Java clients write it.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
}

impl Compression {
    /// The codec with this number in a batch's attributes.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Kafka's name, as in `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        (0..5)
            .filter_map(Self::from_number)
            .find(|codec| codec.name() == name)
    }
}

/// Why records cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not what the codec makes.
    #[error("the compressed records are corrupt")]
    Corrupt,
    /// There is more inside than is allowed.
    #[error("the compressed records hold more than {max} bytes")]
    TooLarge {
        /// The cap, in bytes.
        max: usize,
    },
    /// The feature `codecs` is off.
    #[error("built without compression codecs")]
    NotBuilt,
}

/// What the records of a batch of `compressed` bytes may take when opened, in bytes.
#[must_use]
pub fn inflated_max(compressed: usize) -> usize {
    compressed
        .saturating_mul(INFLATED_RATIO)
        .clamp(INFLATED_LEAST, INFLATED_HARD)
}

/// Opens records, at most `max` bytes of them.
///
/// NB: a zstd stream whose window is larger than both `max` and 8 MiB is refused as corrupt.
#[cfg(feature = "codecs")]
pub fn decompress(codec: Compression, bytes: &[u8], max: usize) -> Result<Bytes, CodecError> {
    match codec {
        Compression::None if bytes.len() > max => Err(CodecError::TooLarge { max }),
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => read_all(flate2::bufread::MultiGzDecoder::new(bytes), max, Vec::new()),
        Compression::Snappy => snappy::decompress(bytes, max),
        Compression::Lz4 => lz4::decompress(bytes, max),
        Compression::Zstd => zstd(bytes, max),
    }
    .map(Bytes::from)
}

/// Without the codecs only uncompressed records can be opened.
#[cfg(not(feature = "codecs"))]
pub fn decompress(codec: Compression, bytes: &[u8], max: usize) -> Result<Bytes, CodecError> {
    match codec {
        Compression::None if bytes.len() > max => Err(CodecError::TooLarge { max }),
        Compression::None => Ok(Bytes::copy_from_slice(bytes)),
        _ => Err(CodecError::NotBuilt),
    }
}

/// Compresses records, with each codec's fast setting.
#[cfg(feature = "codecs")]
pub fn compress(codec: Compression, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    use std::io::Write;
    let corrupt = |_| CodecError::Corrupt;
    match codec {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let level = flate2::Compression::fast();
            let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
            out.write_all(bytes)
                .and_then(|()| out.finish())
                .map_err(corrupt)
        }
        Compression::Snappy => snappy::compress(bytes),
        Compression::Lz4 => lz4::compress(bytes),
        Compression::Zstd => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            Ok(ruzstd::encoding::compress_to_vec(bytes, level))
        }
    }
}

/// Without the codecs nothing can be compressed.
#[cfg(not(feature = "codecs"))]
pub fn compress(codec: Compression, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    match codec {
        Compression::None => Ok(bytes.to_vec()),
        _ => Err(CodecError::NotBuilt),
    }
}

/// Reads on after `out`, to at most `max` bytes in all.
#[cfg(feature = "codecs")]
pub(super) fn read_all(
    from: impl std::io::Read,
    max: usize,
    mut out: Vec<u8>,
) -> Result<Vec<u8>, CodecError> {
    use std::io::Read;
    let room = (max - out.len()) as u64 + 1;
    from.take(room)
        .read_to_end(&mut out)
        .map_err(|_| CodecError::Corrupt)?;
    if out.len() > max {
        Err(CodecError::TooLarge { max })
    } else {
        Ok(out)
    }
}

#[cfg(feature = "codecs")]
fn zstd(mut bytes: &[u8], max: usize) -> Result<Vec<u8>, CodecError> {
    use ruzstd::decoding::StreamingDecoder;
    const WINDOW_LEAST: usize = 8 << 20;
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let window = max.max(WINDOW_LEAST) as u64;
        let frame = StreamingDecoder::new_with_max_window_size(&mut bytes, window);
        out = read_all(frame.map_err(|_| CodecError::Corrupt)?, max, out)?;
    }
    Ok(out)
}
