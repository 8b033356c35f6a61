//! What of a partition is in the snapshot store.

use bytes::{Buf, BufMut, BytesMut};
use serde::{Deserialize, Serialize};

/// A snapshot that is whole, durable and committed: what the store's manifest of this name holds need not be here. By
/// its fields alone a manifest is found; no object's name or time decides which one is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// The life of the cluster in which it was taken.
    pub incarnation: u32,
    /// The epoch of the leader that took it.
    pub leader_epoch: i32,
    /// The last index that it sums up.
    pub index: u64,
    /// First offset that it does not hold.
    pub next_offset: i64,
}

/// Bytes of an encoded one.
const LENGTH: usize = 24;

impl Stored {
    /// As bytes, big endian.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.incarnation);
        out.put_i32(self.leader_epoch);
        out.put_u64(self.index);
        out.put_i64(self.next_offset);
    }

    /// None when the bytes are too few.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        (bytes.len() >= LENGTH).then(|| Self {
            incarnation: bytes.get_u32(),
            leader_epoch: bytes.get_i32(),
            index: bytes.get_u64(),
            next_offset: bytes.get_i64(),
        })
    }
}
