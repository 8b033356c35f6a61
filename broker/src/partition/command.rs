//! Commands in a partition's own log.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A command of a partition's state machine: an entry of kind `Command`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionCommand {
    /// Everything below this offset is deleted (retention, `DeleteRecords`). Never moves back.
    AdvanceLogStart(i64),
}

impl PartitionCommand {
    /// Tag byte and fields, big endian.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(9);
        match self {
            Self::AdvanceLogStart(offset) => {
                out.put_u8(1);
                out.put_i64(offset);
            }
        }
        out.freeze()
    }

    /// None for anything that this version does not know.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 9 || bytes.get_u8() != 1 {
            return None;
        }
        Some(Self::AdvanceLogStart(bytes.get_i64()))
    }
}
