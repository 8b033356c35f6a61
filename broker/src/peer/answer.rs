//! Answers between brokers that are whole or none: a checksum over all of it is at the end.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Adds the checksum.
#[must_use]
pub(crate) fn seal(mut answer: BytesMut) -> Bytes {
    let crc = crc32fast::hash(&answer);
    answer.put_u32(crc);
    answer.freeze()
}

/// What was sealed; None when it is not what was sent.
#[must_use]
pub(crate) fn unseal(sealed: &Bytes) -> Option<Bytes> {
    let end = sealed.len().checked_sub(4)?;
    let (answer, mut crc) = (sealed.slice(..end), sealed.slice(end..));
    (crc32fast::hash(&answer) == crc.get_u32()).then_some(answer)
}
