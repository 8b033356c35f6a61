//! What can go wrong, by what the caller does next.

use raft::types::{GroupId, Index};
use std::sync::Arc;

/// Why the log could not be opened or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The log has failed: a write or a sync did not succeed, now or earlier. Nothing that was not returned for
    /// before is durable, and nothing will be. Stop acknowledging, resign, exit.
    #[error("the log has failed and accepts nothing any longer: {why}")]
    Poisoned {
        /// The first failure.
        why: Arc<str>,
    },
    /// No room for this class of records. Nothing was written; retry when [`crate::Room`] says so.
    #[error("the disk has no room for these records")]
    Full,
    /// One entry or state that no segment can hold. Nothing was written.
    #[error("group {group}: {size_bytes} bytes do not fit, at most {max_bytes} do")]
    TooLarge {
        /// Whose.
        group: GroupId,
        /// Its size.
        size_bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// The records contradict what the log holds (a gap, an unknown group, another replica). Nothing was written.
    #[error("group {group}: {why}")]
    Invalid {
        /// Whose.
        group: GroupId,
        /// What is wrong.
        why: &'static str,
    },
    /// The data directory cannot be trusted: something that was synced is missing or damaged. Nothing was changed.
    #[error("the data directory is damaged: {0}")]
    Corrupt(Damage),
    /// The file system failed while the log was opened. Nothing was given up.
    #[error("{doing} {name}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        name: String,
        /// The failure.
        source: Arc<std::io::Error>,
    },
    /// Another process holds the data directory.
    #[error("the data directory {path} is in use by another process")]
    Locked {
        /// The directory.
        path: String,
    },
    /// The data directory belongs to somebody else.
    #[error("the data directory belongs to {found}, not to {expected}")]
    WrongIdentity {
        /// Who opens it.
        expected: String,
        /// What it says.
        found: String,
    },
    /// Written by a version that this one does not know. Nothing was changed.
    #[error("{name} has format version {version}; this program knows version {known}")]
    UnknownVersion {
        /// The file.
        name: String,
        /// Its version.
        version: u32,
        /// What is known.
        known: u32,
    },
    /// A configuration that cannot work.
    #[error("configuration: {0}")]
    Config(&'static str),
}

impl Error {
    /// Whether the same records may be accepted later by the same log.
    #[must_use]
    pub fn retriable(&self) -> bool {
        matches!(self, Self::Full)
    }

    pub(crate) fn io(doing: &'static str, name: &str, source: std::io::Error) -> Self {
        Self::Io {
            doing,
            name: name.to_owned(),
            source: Arc::new(source),
        }
    }
}

/// Which place is damaged, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} at {position}: {why}")]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The byte in it where the damage begins, as far as known.
    pub position: u64,
    /// How it is known.
    pub why: String,
}

impl Damage {
    pub(crate) fn new(file: &str, position: u64, why: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            position,
            why: why.into(),
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Corrupt(damage)
    }
}

/// Why entries could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// Not in this log: at or below the base, above the end, or another replica's.
    #[error("group {group}: index {index} is not in the log")]
    NotFound {
        /// Whose.
        group: GroupId,
        /// What was asked for.
        index: Index,
    },
    /// The bytes at this place are not what was written. The log itself goes on.
    #[error("segment {segment} at {position}: {why}")]
    Corrupt {
        /// The segment's sequence.
        segment: u64,
        /// Where in it.
        position: u64,
        /// How it is known.
        why: &'static str,
    },
    /// The file system could not read this place.
    #[error("segment {segment} at {position}: {source}")]
    Io {
        /// The segment's sequence.
        segment: u64,
        /// Where in it.
        position: u64,
        /// The failure.
        source: Arc<std::io::Error>,
    },
}

/// Whether there was no room for a file: the disk is full, the quota is used up, or files may not be so large.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
