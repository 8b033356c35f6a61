use crate::key::Key;
use crate::{cut, manifest, owner, store, tail};

/// Why nothing more is removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be asked, or does not do it.
    #[error("the store ended the collection: {0}")]
    Store(#[from] store::Error),
    /// A manifest that has to stay cannot be read, so that nobody knows which chunks it reaches.
    #[error("nothing is collected here: {key} has to stay and cannot be read: {why}")]
    Unreadable {
        /// Which manifest.
        key: Key,
        /// What is wrong with it.
        why: manifest::Error,
    },
    /// A tail cannot be read, so that nobody knows what it holds.
    #[error("no tails are collected: {0}")]
    Tail(#[from] tail::Error),
    /// It is not known what has to stay of earlier lives.
    #[error("nothing is collected: {0}")]
    Owner(#[from] owner::Error),
    /// A cut cannot be read, so that nobody knows what it needs.
    #[error("nothing is collected: {0}")]
    Cut(#[from] cut::Error),
    /// A cut was made meanwhile.
    #[error("nothing is collected this time: a cut was made meanwhile")]
    CutMeanwhile,
    /// The committed manifest, one of its chunks, or a manifest that has to stay is gone. What would be removed may be
    /// all that is left.
    #[error("nothing is collected here: {0} has to be there and is not")]
    Missing(Key),
    /// A later life of the cluster was begun, whose objects these are now.
    #[error("nothing is collected any more: {0} is of a later life of the cluster")]
    Superseded(Key),
    /// There is no topic at all.
    #[error("nothing is collected: a cluster without any topic is one whose metadata is missing")]
    NothingAlive,
}

impl Error {
    /// Whether the same may succeed later without anybody's doing.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match self {
            Self::Store(why)
            | Self::Tail(tail::Error::Store(why))
            | Self::Owner(owner::Error::Store(why))
            | Self::Cut(cut::Error::Store(why)) => why.retriable(),
            Self::CutMeanwhile => true,
            Self::Unreadable { .. }
            | Self::Cut(_)
            | Self::Tail(_)
            | Self::Owner(_)
            | Self::Missing(_)
            | Self::Superseded(_)
            | Self::NothingAlive => false,
        }
    }
}
