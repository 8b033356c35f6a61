//! The one message of formation, and its bytes (JSON: rare, small, and readable in a capture).

use bytes::Bytes;
use raft::types::DirectoryId;
use serde::{Deserialize, Serialize};

use super::record::{BootstrapRecord, directory};

/// A node presents itself. Its node id is the connection's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The sender's disk.
    #[serde(with = "directory")]
    pub directory: DirectoryId,
    /// The receiver's disk as far as the sender knows it, from a message of this process life; else 0.
    #[serde(with = "directory")]
    pub seen: DirectoryId,
    /// Of the sender's `cluster.seeds`.
    pub seeds_fingerprint: u64,
    /// The record that the sender holds, synced.
    pub record: Option<BootstrapRecord>,
}

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
#[error("not a formation message: {0}")]
pub struct MessageError(String);

impl Message {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bytes = serde_json::to_vec(self);
        Bytes::from(bytes.expect("numbers, strings and lists always have a JSON form"))
    }

    /// From bytes; a record inside is checked to be one that this code could have made.
    ///
    /// # Errors
    /// When they are not a message. The sender is broken or of a future version.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let message: Self =
            serde_json::from_slice(bytes).map_err(|error| MessageError(error.to_string()))?;
        match message.record.as_ref().and_then(BootstrapRecord::defect) {
            Some(defect) => Err(MessageError(format!("bootstrap record: {defect}"))),
            None => Ok(message),
        }
    }
}
