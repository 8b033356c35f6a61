//! What must be the same on every node of a cluster.

use super::kind::{GIB, KIB, Kind, MIB};
use super::table::settings;

settings! {
    /// The part of the configuration that must be the same everywhere; its fingerprint is exchanged at every peer
    /// handshake, and nodes that differ refuse each other.
    pub struct ClusterConfig {
        /// Size of a log segment file. Larger ones mean fewer files and longer runs, smaller ones finer recycling.
        segment_bytes: u64 = 256 * MIB as u64, "segment.size", Kind::Bytes { min: MIB, max: 2 * GIB };
        /// Largest entry of any log: no record batch above it is ever accepted, so every node can store every entry. At most
        /// a quarter of `segment.size`.
        entry_max_bytes: u64 = 32 * MIB as u64, "entry.max", Kind::Bytes { min: 64 * KIB, max: GIB };
    }
}

impl ClusterConfig {
    /// A number that differs when any value differs. The same in every build.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut text = String::new();
        for key in Self::KEYS {
            text += &format!("{}={}\n", key.name, self.get(key.name).unwrap_or_default());
        }
        fingerprint(text.as_bytes())
    }
}

/// FNV-1a, 64 bits: stable over builds and machines, unlike the standard library's hasher.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
