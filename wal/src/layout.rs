//! All file names, magic numbers and sizes of the data directory.

/// The version of every format in the data directory.
pub(crate) const VERSION: u32 = 1;
/// Where a segment's first round begins: after two header pages.
pub(crate) const DATA_START: u64 = 2 * 4096;
/// Size of a round's header without its list of frames.
pub(crate) const ROUND_HEADER_BYTES: usize = 72;
/// Size of one item of that list.
pub(crate) const ROUND_ITEM_BYTES: usize = 24;
/// Size of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 64;

/// Segments never lent: for the cleaner's output.
pub(crate) const CLEANER_RESERVE: usize = 2;
/// Segments never lent: for what frees space.
pub(crate) const HOUSEKEEPING_RESERVE: usize = 2;

pub(crate) const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"WlsrSegm");
pub(crate) const META_MAGIC: u64 = u64::from_le_bytes(*b"WlsrMeta");
pub(crate) const BLOB_MAGIC: u64 = u64::from_le_bytes(*b"WlsrBlob");
pub(crate) const FOOTER_MAGIC: u64 = u64::from_le_bytes(*b"WlsrFoot");
pub(crate) const ROUND_MAGIC: u32 = u32::from_le_bytes(*b"Rnd1");

/// The highest synced round.
pub(crate) const META: &str = "meta";
/// Held by flock while the directory is open.
pub(crate) const LOCK: &str = "lock";
/// There while the directory is being formatted, and only then.
pub(crate) const FORMATTING: &str = "formatting";
/// The two manifest slots.
pub(crate) const MANIFESTS: [&str; 2] = ["manifest-0", "manifest-1"];

const SEGMENT: &str = "segment-";
const CHECKPOINT: &str = "checkpoint-";

/// The name of a segment file.
pub(crate) fn segment_name(file: u64) -> String {
    format!("{SEGMENT}{file:08}")
}

/// The name of a checkpoint slot.
pub(crate) fn checkpoint_name(slot: u64) -> String {
    format!("{CHECKPOINT}{slot:04}")
}

/// The number in a segment file's name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    name.strip_prefix(SEGMENT)?.parse().ok()
}

/// The number in a checkpoint slot's name.
pub(crate) fn checkpoint_number(name: &str) -> Option<u64> {
    name.strip_prefix(CHECKPOINT)?.parse().ok()
}

/// Whether a file of this name belongs to the log.
pub(crate) fn is_ours(name: &str) -> bool {
    name == META
        || MANIFESTS.contains(&name)
        || segment_number(name).is_some()
        || checkpoint_number(name).is_some()
}
