//! What of a partition is in the snapshot store.

use bytes::{Buf, BufMut, BytesMut};
use serde::{Deserialize, Serialize};
use snapshot::digest::Digest;

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
    /// What its manifest says, whoever's copy it describes, where each replica has its own
    /// ([`snapshot::manifest::Manifest::identity`]): so boundaries and records of all chunks are committed. None for a
    /// snapshot in a store that all share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Digest>,
}

/// Bytes of an encoded one, and of its identity behind it.
const LENGTH: usize = 24;
const IDENTITY: usize = 32;

impl Stored {
    /// As bytes, big endian.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.incarnation);
        out.put_i32(self.leader_epoch);
        out.put_u64(self.index);
        out.put_i64(self.next_offset);
        if let Some(identity) = &self.identity {
            out.put_slice(&identity.0);
        }
    }

    /// None when the bytes are too few. Whether an identity is among them was written elsewhere.
    pub fn decode(bytes: &mut &[u8], has_identity: bool) -> Option<Self> {
        let length = LENGTH + if has_identity { IDENTITY } else { 0 };
        (bytes.len() >= length).then(|| Self {
            incarnation: bytes.get_u32(),
            leader_epoch: bytes.get_i32(),
            index: bytes.get_u64(),
            next_offset: bytes.get_i64(),
            identity: has_identity.then(|| {
                let mut digest = [0; IDENTITY];
                bytes.copy_to_slice(&mut digest);
                Digest(digest)
            }),
        })
    }
}
