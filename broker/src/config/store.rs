//! Where the snapshot store is, as it was written.

use std::str::FromStr;

use snapshot::store::location::{BadLocation, Location};

/// The value for copies of each replica's own.
pub const LOCAL: &str = "local";

/// Where snapshots are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// Each broker keeps copies of its own, in its data directory.
    Local,
    /// In one store that all brokers share.
    Shared {
        /// Where.
        location: Location,
        /// As it was written.
        text: String,
    },
}

impl StoreAddress {
    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Local => LOCAL,
            Self::Shared { text, .. } => text,
        }
    }
}

impl FromStr for StoreAddress {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        if text == LOCAL {
            return Ok(Self::Local);
        }
        Ok(Self::Shared {
            location: text.parse()?,
            text: text.to_owned(),
        })
    }
}
