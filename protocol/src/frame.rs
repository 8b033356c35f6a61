//! Frames: a length of four bytes, then as many bytes.
//!
//! Memory follows the bytes that came, never the length that was claimed: [`next_frame`] reserves
//! nothing, so a connection holds at most what its peer really sent.

use bytes::{Buf, Bytes, BytesMut};

/// Why a connection's bytes are no frames. It is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer speaks TLS to a port that does not.
    #[error("a TLS hello on a plaintext port")]
    Tls,
    /// The peer speaks HTTP.
    #[error("an HTTP request on the Kafka port")]
    Http,
    /// The length is below zero.
    #[error("the frame length {length}")]
    Negative {
        /// What is claimed.
        length: i32,
    },
    /// The length is above the limit.
    #[error("the frame length {length} above the limit {max}")]
    TooLarge {
        /// What is claimed, in bytes.
        length: usize,
        /// The limit, in bytes.
        max: usize,
    },
}

/// Takes the next whole frame off the front, without its length; `None` until all of it came.
///
/// A wrong length is refused as soon as its four bytes are there.
pub fn next_frame(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(&prefix) = buffer.first_chunk::<4>() else {
        // A hello is told from its first bytes: a slow or short one must not look like a wait for
        // more.
        return if buffer.starts_with(&[0x16, 0x03]) {
            Err(FrameError::Tls)
        } else {
            Ok(None)
        };
    };
    let length = frame_length(prefix, max)?;
    if buffer.len() - 4 < length {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// The length that the prefix says, when frames up to `max` bytes are accepted.
pub fn frame_length(prefix: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(prefix);
    let claimed = usize::try_from(length).map_err(|_| FrameError::Negative { length })?;
    match &prefix {
        // Each of these would be the length of a frame above 350 MB.
        [0x16, 0x03, ..] => Err(FrameError::Tls),
        b"GET " | b"POST" | b"HEAD" | b"PUT " | b"OPTI" | b"DELE" | b"PATC" | b"CONN" | b"PRI " => {
            Err(FrameError::Http)
        }
        _ if claimed > max => Err(FrameError::TooLarge {
            length: claimed,
            max,
        }),
        _ => Ok(claimed),
    }
}
