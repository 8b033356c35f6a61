//! Where the snapshot store is, as it was written.

use std::str::FromStr;

use snapshot::store::location::{BadLocation, Location};

/// A location, and the text that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAddress {
    /// What it says.
    pub location: Location,
    text: String,
}

impl StoreAddress {
    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for StoreAddress {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        Ok(Self {
            location: text.parse()?,
            text: text.to_owned(),
        })
    }
}
