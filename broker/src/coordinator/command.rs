//! What a coordinator writes into its partition's log.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, BytesMut};

use super::codec::{get_len, get_str, get_time, put_len, put_str, put_time};
use super::consumer::state::Change;
use super::request::CommitOffset;
use super::state::Membership;
use crate::metadata::TopicId;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupCommand {
    /// A rebalance is over, or the last member left.
    PutMembership {
        /// Which group.
        group: String,
        /// Instead of what was there.
        membership: Membership,
    },
    /// A group of the consumer protocol changes. One of the classic protocol, which has no members, becomes one.
    ChangeConsumers {
        /// Which group.
        group: String,
        /// In this order.
        changes: Vec<Change>,
    },
    /// Offsets are committed.
    CommitOffsets {
        /// By which group.
        group: String,
        /// At this time of the coordinator's wall clock, in ms.
        at_ms: i64,
        /// They expire then, by the same clock; None for when the broker is told to.
        expires_ms: Option<i64>,
        /// The version of the metadata in which the coordinator looked for the topics.
        known_at: u64,
        /// The ids of those that it found.
        topics: BTreeMap<String, TopicId>,
        /// Which.
        offsets: Vec<CommitOffset>,
    },
    /// Topics are deleted: what the group has of them goes. A topic of the same name has another id, and is not meant.
    ForgetTopics {
        /// Whose.
        group: String,
        /// Which.
        topics: Vec<TopicId>,
    },
    /// Committed offsets are forgotten: asked for, or expired.
    DeleteOffsets {
        /// Of which group.
        group: String,
        /// Which.
        partitions: Vec<(String, i32)>,
    },
    /// The group is forgotten, with its offsets.
    DeleteGroup {
        /// Which.
        group: String,
    },
}

const PUT_MEMBERSHIP: u8 = 1;
const COMMIT_OFFSETS: u8 = 2;
const DELETE_OFFSETS: u8 = 3;
const DELETE_GROUP: u8 = 4;
const CHANGE_CONSUMERS: u8 = 5;
const FORGET_TOPICS: u8 = 6;

impl GroupCommand {
    /// What `ChangeConsumers` takes beside the group's name and its changes.
    pub(super) const CHANGES_BYTES: usize = 9;

    /// Tag byte and fields, big endian.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::PutMembership { group, membership } => {
                out.put_u8(PUT_MEMBERSHIP);
                put_str(out, group);
                membership.encode(out);
            }
            Self::ChangeConsumers { group, changes } => {
                out.put_u8(CHANGE_CONSUMERS);
                put_str(out, group);
                put_len(out, changes.len());
                for change in changes {
                    change.encode(out);
                }
            }
            Self::CommitOffsets {
                group,
                at_ms,
                expires_ms,
                known_at,
                topics,
                offsets,
            } => {
                out.put_u8(COMMIT_OFFSETS);
                put_str(out, group);
                out.put_i64(*at_ms);
                put_time(out, *expires_ms);
                out.put_u64(*known_at);
                put_len(out, topics.len());
                for (name, id) in topics {
                    put_str(out, name);
                    out.put_u128(id.0);
                }
                put_len(out, offsets.len());
                for offset in offsets {
                    put_str(out, &offset.topic);
                    out.put_i32(offset.partition);
                    out.put_i64(offset.offset);
                    out.put_i32(offset.leader_epoch);
                    put_str(out, &offset.metadata);
                }
            }
            Self::DeleteOffsets { group, partitions } => {
                out.put_u8(DELETE_OFFSETS);
                put_str(out, group);
                put_len(out, partitions.len());
                for (topic, partition) in partitions {
                    put_str(out, topic);
                    out.put_i32(*partition);
                }
            }
            Self::ForgetTopics { group, topics } => {
                out.put_u8(FORGET_TOPICS);
                put_str(out, group);
                put_len(out, topics.len());
                for id in topics {
                    out.put_u128(id.0);
                }
            }
            Self::DeleteGroup { group } => {
                out.put_u8(DELETE_GROUP);
                put_str(out, group);
            }
        }
    }

    /// What [`Self::encode`] takes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let mut bytes = BytesMut::new();
        self.encode(&mut bytes);
        bytes.len()
    }

    /// None for anything that this version does not know, or that has bytes left over.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let tag = bytes.try_get_u8().ok()?;
        let group = get_str(bytes)?;
        let command = match tag {
            PUT_MEMBERSHIP => Self::PutMembership {
                group,
                membership: Membership::decode(bytes)?,
            },
            CHANGE_CONSUMERS => {
                let mut changes = Vec::new();
                for _ in 0..get_len(bytes, Change::LEAST_BYTES)? {
                    changes.push(Change::decode(bytes)?);
                }
                Self::ChangeConsumers { group, changes }
            }
            COMMIT_OFFSETS => {
                let at_ms = bytes.try_get_i64().ok()?;
                let expires_ms = get_time(bytes)?;
                let known_at = bytes.try_get_u64().ok()?;
                let mut topics = BTreeMap::new();
                for _ in 0..get_len(bytes, 20)? {
                    topics.insert(get_str(bytes)?, TopicId(bytes.try_get_u128().ok()?));
                }
                let mut offsets = Vec::new();
                for _ in 0..get_len(bytes, 24)? {
                    offsets.push(CommitOffset {
                        topic: get_str(bytes)?,
                        partition: bytes.try_get_i32().ok()?,
                        offset: bytes.try_get_i64().ok()?,
                        leader_epoch: bytes.try_get_i32().ok()?,
                        metadata: get_str(bytes)?,
                    });
                }
                Self::CommitOffsets {
                    group,
                    at_ms,
                    expires_ms,
                    known_at,
                    topics,
                    offsets,
                }
            }
            DELETE_OFFSETS => {
                let mut partitions = Vec::new();
                for _ in 0..get_len(bytes, 8)? {
                    partitions.push((get_str(bytes)?, bytes.try_get_i32().ok()?));
                }
                Self::DeleteOffsets { group, partitions }
            }
            FORGET_TOPICS => {
                let mut topics = Vec::new();
                for _ in 0..get_len(bytes, 16)? {
                    topics.push(TopicId(bytes.try_get_u128().ok()?));
                }
                Self::ForgetTopics { group, topics }
            }
            DELETE_GROUP => Self::DeleteGroup { group },
            _ => return None,
        };
        bytes.is_empty().then_some(command)
    }
}
