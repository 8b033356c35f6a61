//! Commands in a partition's own log.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A command of a partition's state machine: an entry of kind `Command`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionCommand {
    /// Everything below this offset is deleted (retention, `DeleteRecords`). Never moves back.
    AdvanceLogStart(i64),
    /// Producers whose last batch lies below this offset are forgotten. By an offset, so that all replicas forget the
    /// same ones: only who proposes it looks at a clock.
    ForgetProducers(i64),
}

impl PartitionCommand {
    /// Tag byte and fields, big endian.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let (tag, offset) = match self {
            Self::AdvanceLogStart(offset) => (1, offset),
            Self::ForgetProducers(offset) => (2, offset),
        };
        let mut out = BytesMut::with_capacity(9);
        out.put_u8(tag);
        out.put_i64(offset);
        out.freeze()
    }

    /// None for anything that this version does not know.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 9 {
            return None;
        }
        match (bytes.get_u8(), bytes.get_i64()) {
            (1, offset) => Some(Self::AdvanceLogStart(offset)),
            (2, offset) => Some(Self::ForgetProducers(offset)),
            _ => None,
        }
    }
}
