use std::sync::Arc;

use crate::key::Key;
use crate::store;

/// Why something in the archive cannot be read. Clones are cheap: all who waited for one request get its error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store did not answer the question, so nothing is known about the object.
    #[error("{key} cannot be read from the store: {why}")]
    Unavailable {
        /// Which object.
        key: Key,
        /// What the store said.
        why: Arc<store::Error>,
    },
    /// The store answered that there is no such object.
    #[error("{key} is not in the store")]
    Missing {
        /// Which object.
        key: Key,
    },
    /// The object is there and is not what it has to be: damaged, cut off, another's, or of a later version.
    #[error("{key} is not what it has to be: {why}")]
    Damaged {
        /// Which object.
        key: Key,
        /// What is wrong with it.
        why: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The manifest does not reach that offset.
    #[error(
        "offset {offset} is not in manifest {key}, which holds {first_offset} to {next_offset}"
    )]
    OutOfRange {
        /// Which manifest.
        key: Key,
        /// What was asked for.
        offset: i64,
        /// The first offset that it holds.
        first_offset: i64,
        /// The first offset that it does not hold.
        next_offset: i64,
    },
}

impl Error {
    /// Whether the same request may succeed later without anybody's doing.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match self {
            Self::Unavailable { why, .. } => why.retriable(),
            Self::Missing { .. } | Self::Damaged { .. } | Self::OutOfRange { .. } => false,
        }
    }

    pub(super) fn of_store(key: &Key, why: store::Error) -> Self {
        let key = key.clone();
        match why {
            store::Error::NotFound(_) => Self::Missing { key },
            store::Error::Length { .. } => Self::damaged(&key, why),
            store::Error::Unavailable { .. }
            | store::Error::Refused { .. }
            | store::Error::Conflict(_) => {
                let why = Arc::new(why);
                Self::Unavailable { key, why }
            }
        }
    }

    pub(super) fn damaged(key: &Key, why: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Damaged {
            key: key.clone(),
            why: Arc::new(why),
        }
    }
}
