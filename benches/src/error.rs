//! What can go wrong while measuring. A measurement that is merely bad is a void row, not an error.

/// Why a benchmark could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict themselves; nothing was started.
    #[error("{0}")]
    Usage(String),
    /// A socket, file or `/proc` entry failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the address or the path.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A peer answered bytes that do not fit the protocol that was spoken to it.
    #[error("{peer} answered what cannot be read: {what}")]
    Malformed {
        /// Address of the peer.
        peer: String,
        /// What did not fit.
        what: String,
    },
    /// The cluster answered an error, or did not come to the state that a cell needs.
    #[error("{0}")]
    Cluster(String),
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the deed that an I/O error interrupted.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Io {
            what: what(),
            source: e.into(),
        })
    }
}
