//! Commands in a partition's own log.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::types::Index;

use super::stored::Stored;
use crate::coordinator::command::GroupCommand;

/// A command of a partition's state machine: an entry of kind `Command`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionCommand {
    /// Everything below this offset is deleted (retention, `DeleteRecords`). Never moves back.
    AdvanceLogStart(i64),
    /// Producers whose last batch lies below this offset are forgotten. By an offset, so that all replicas forget the
    /// same ones: only who proposes it looks at a clock.
    ForgetProducers(i64),
    /// Of a coordinator of consumer groups.
    Groups(GroupCommand),
    /// A snapshot is in the store: from now on replicas may drop from their logs what it holds. Where each replica has its
    /// own copies: this is what they have to be, and a replica drops what its own hold.
    Stored(Stored),
    /// From now on the group's leaders act on this version of its assignment in the metadata, or on a later one.
    Assigned(Index),
}

const ADVANCE_LOG_START: u8 = 1;
const FORGET_PRODUCERS: u8 = 2;
const GROUPS: u8 = 3;
const STORED: u8 = 4;
/// With an identity.
const STORED_BY_EACH: u8 = 5;
const ASSIGNED: u8 = 6;

impl PartitionCommand {
    /// Tag byte and fields, big endian.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        match self {
            Self::AdvanceLogStart(offset) => {
                out.put_u8(ADVANCE_LOG_START);
                out.put_i64(*offset);
            }
            Self::ForgetProducers(offset) => {
                out.put_u8(FORGET_PRODUCERS);
                out.put_i64(*offset);
            }
            Self::Groups(command) => {
                out.put_u8(GROUPS);
                command.encode(&mut out);
            }
            Self::Stored(stored) => {
                out.put_u8(match stored.identity {
                    None => STORED,
                    Some(_) => STORED_BY_EACH,
                });
                stored.encode(&mut out);
            }
            Self::Assigned(version) => {
                out.put_u8(ASSIGNED);
                out.put_u64(version.0);
            }
        }
        out.freeze()
    }

    /// None for anything that this version does not know.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let tag = bytes.try_get_u8().ok()?;
        match (tag, bytes.len()) {
            (ADVANCE_LOG_START, 8) => Some(Self::AdvanceLogStart(bytes.get_i64())),
            (FORGET_PRODUCERS, 8) => Some(Self::ForgetProducers(bytes.get_i64())),
            (GROUPS, _) => GroupCommand::decode(bytes).map(Self::Groups),
            (STORED | STORED_BY_EACH, _) => {
                let has_identity = tag == STORED_BY_EACH;
                let stored = Stored::decode(&mut bytes, has_identity).map(Self::Stored);
                stored.filter(|_| bytes.is_empty())
            }
            (ASSIGNED, 8) => Some(Self::Assigned(Index(bytes.get_u64()))),
            _ => None,
        }
    }
}
