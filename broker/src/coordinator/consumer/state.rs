//! What is replicated of a group of the consumer protocol, and the steps in which it changes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::partitions::Partitions;
use crate::coordinator::codec::{
    get_bytes, get_len, get_option, get_str, put_bytes, put_len, put_option, put_str,
};
use crate::coordinator::request::Client;

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Rises with each change of members, subscriptions or topics. Never 0 in a group that has or had members.
    pub epoch: i32,
    /// The group's epoch that the targets are of; below it they are to be made anew.
    pub target_epoch: i32,
    /// Of the topics that members subscribe to, with their partitions.
    pub topics_hash: u64,
    /// The version of the metadata that the hash is of: an older one is not looked at any more.
    pub topics_version: u64,
    /// When a member last came or went, in wall-clock ms: offsets of empty groups expire from here.
    pub changed_ms: i64,
    /// By id.
    pub members: BTreeMap<String, Member>,
    /// What each member is to own in the end. A member without an entry is to own nothing.
    pub targets: BTreeMap<String, Partitions>,
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Of a static member.
    pub instance: Option<String>,
    /// Where it is. Kept for who describes the group.
    pub rack: Option<String>,
    /// Who it is.
    pub client: Client,
    /// So long it may take to give up partitions.
    pub rebalance_timeout_ms: u64,
    /// The assignor that it would like.
    pub assignor: Option<String>,
    /// Topics that it subscribes to, by name.
    pub topics: BTreeSet<String>,
    /// And those whose name fits.
    pub regex: Option<String>,
    /// The group's epoch that it has reached; [`LEFT`] of a static member that will come back.
    pub epoch: i32,
    /// Before.
    pub previous_epoch: i32,
    /// How far it is on its way to the target.
    pub phase: Phase,
    /// What it owns, and was told to own.
    pub assigned: Partitions,
    /// What it owns still, and was told to give up.
    pub revoking: Partitions,
    /// Of a member that speaks the classic protocol: its generation is its epoch here.
    pub classic: Option<Classic>,
}

/// What there is more to say of a member that speaks the classic protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classic {
    /// Removed after so long a silence.
    pub session_timeout_ms: u64,
    /// Protocols that it speaks, the best first, each with its subscription. There is at least one.
    pub protocols: Vec<(String, Bytes)>,
}

/// The epoch of a static member that has left and will come back.
pub const LEFT: i32 = -2;

/// Where a member stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It owns what the target of its epoch says.
    #[default]
    Stable,
    /// It has to give up partitions first.
    Unrevoked,
    /// It waits for partitions that others have to give up.
    Unreleased,
}

/// A step.
#[expect(
    clippy::large_enum_variant,
    reason = "most steps are of a member, and they are few at a time"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The group goes on to another epoch.
    Group {
        /// See [`State::epoch`].
        epoch: i32,
        /// See [`State::topics_hash`].
        topics_hash: u64,
        /// See [`State::topics_version`].
        topics_version: u64,
        /// See [`State::changed_ms`].
        changed_ms: i64,
    },
    /// A member comes, or is another than before.
    PutMember {
        /// Its id.
        id: String,
        /// Instead of what was there.
        member: Member,
    },
    /// A member goes, with its target.
    RemoveMember {
        /// Its id.
        id: String,
    },
    /// What a member is to own.
    Target {
        /// Its id.
        id: String,
        /// Instead of what was there.
        partitions: Partitions,
    },
    /// The targets are those of this epoch.
    TargetEpoch(i32),
}

const GROUP: u8 = 1;
const PUT_MEMBER: u8 = 2;
const REMOVE_MEMBER: u8 = 3;
const TARGET: u8 = 4;
const TARGET_EPOCH: u8 = 5;

impl State {
    /// A step is committed.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Group {
                epoch,
                topics_hash,
                topics_version,
                changed_ms,
            } => {
                self.epoch = *epoch;
                self.topics_hash = *topics_hash;
                self.topics_version = *topics_version;
                self.changed_ms = *changed_ms;
            }
            Change::PutMember { id, member } => {
                self.members.insert(id.clone(), member.clone());
            }
            Change::RemoveMember { id } => {
                self.members.remove(id);
                self.targets.remove(id);
            }
            Change::Target { id, partitions } => {
                if partitions.is_empty() {
                    self.targets.remove(id);
                } else {
                    self.targets.insert(id.clone(), partitions.clone());
                }
            }
            Change::TargetEpoch(epoch) => self.target_epoch = *epoch,
        }
    }

    pub(in crate::coordinator) fn encode(&self, out: &mut BytesMut) {
        out.put_i32(self.epoch);
        out.put_i32(self.target_epoch);
        out.put_u64(self.topics_hash);
        out.put_u64(self.topics_version);
        out.put_i64(self.changed_ms);
        put_len(out, self.members.len());
        for (id, member) in &self.members {
            put_str(out, id);
            member.encode(out);
        }
        put_len(out, self.targets.len());
        for (id, partitions) in &self.targets {
            put_str(out, id);
            partitions.encode(out);
        }
    }

    pub(in crate::coordinator) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut state = Self {
            epoch: bytes.try_get_i32().ok()?,
            target_epoch: bytes.try_get_i32().ok()?,
            topics_hash: bytes.try_get_u64().ok()?,
            topics_version: bytes.try_get_u64().ok()?,
            changed_ms: bytes.try_get_i64().ok()?,
            ..Self::default()
        };
        for _ in 0..get_len(bytes, 4 + Member::LEAST_BYTES)? {
            state
                .members
                .insert(get_str(bytes)?, Member::decode(bytes)?);
        }
        for _ in 0..get_len(bytes, 8)? {
            let id = get_str(bytes)?;
            state.targets.insert(id, Partitions::decode(bytes)?);
        }
        Some(state)
    }
}

impl Member {
    /// Of an encoded one.
    const LEAST_BYTES: usize = 46;

    /// Whether it owns what the target says, and nothing else.
    #[must_use]
    pub fn has_reached(&self, target_epoch: i32) -> bool {
        self.phase == Phase::Stable && self.epoch == target_epoch
    }

    /// What it owns, also while it gives it up.
    pub fn owned(&self) -> impl Iterator<Item = (crate::metadata::TopicId, i32)> {
        self.assigned.iter().chain(self.revoking.iter())
    }

    fn encode(&self, out: &mut BytesMut) {
        put_option(out, self.instance.as_deref());
        put_option(out, self.rack.as_deref());
        put_str(out, &self.client.id);
        put_str(out, &self.client.host);
        out.put_u64(self.rebalance_timeout_ms);
        put_option(out, self.assignor.as_deref());
        put_len(out, self.topics.len());
        for topic in &self.topics {
            put_str(out, topic);
        }
        put_option(out, self.regex.as_deref());
        out.put_i32(self.epoch);
        out.put_i32(self.previous_epoch);
        out.put_u8(match self.phase {
            Phase::Stable => 0,
            Phase::Unrevoked => 1,
            Phase::Unreleased => 2,
        });
        self.assigned.encode(out);
        self.revoking.encode(out);
        out.put_u8(u8::from(self.classic.is_some()));
        if let Some(classic) = &self.classic {
            classic.encode(out);
        }
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut member = Self {
            instance: get_option(bytes)?,
            rack: get_option(bytes)?,
            client: Client {
                id: get_str(bytes)?,
                host: get_str(bytes)?,
            },
            rebalance_timeout_ms: bytes.try_get_u64().ok()?,
            assignor: get_option(bytes)?,
            ..Self::default()
        };
        for _ in 0..get_len(bytes, 4)? {
            member.topics.insert(get_str(bytes)?);
        }
        member.regex = get_option(bytes)?;
        member.epoch = bytes.try_get_i32().ok()?;
        member.previous_epoch = bytes.try_get_i32().ok()?;
        member.phase = match bytes.try_get_u8().ok()? {
            0 => Phase::Stable,
            1 => Phase::Unrevoked,
            2 => Phase::Unreleased,
            _ => return None,
        };
        member.assigned = Partitions::decode(bytes)?;
        member.revoking = Partitions::decode(bytes)?;
        member.classic = match bytes.try_get_u8().ok()? {
            0 => None,
            1 => Some(Classic::decode(bytes)?),
            _ => return None,
        };
        Some(member)
    }

    /// What it says of itself, in bytes.
    pub(super) fn said_bytes(&self) -> usize {
        let topics = self.topics.iter().map(String::len).sum::<usize>();
        let options = [&self.instance, &self.rack, &self.assignor, &self.regex];
        let options = options.into_iter().flatten().map(String::len);
        let protocols = self.classic.iter().flat_map(|classic| &classic.protocols);
        let protocols = protocols.map(|(name, subscription)| name.len() + subscription.len());
        self.client.id.len() + topics + options.sum::<usize>() + protocols.sum::<usize>()
    }
}

impl Classic {
    /// The protocol that it is told was chosen: the coordinator assigns, so any would do.
    #[must_use]
    pub fn protocol(&self) -> &str {
        let (name, _) = self.protocols.first().expect("there is at least one");
        name
    }

    /// Whether it speaks that.
    #[must_use]
    pub fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.session_timeout_ms);
        put_len(out, self.protocols.len());
        for (name, subscription) in &self.protocols {
            put_str(out, name);
            put_bytes(out, subscription);
        }
    }

    /// None also when there is no protocol.
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut classic = Self {
            session_timeout_ms: bytes.try_get_u64().ok()?,
            protocols: Vec::new(),
        };
        for _ in 0..get_len(bytes, 8)? {
            classic.protocols.push((get_str(bytes)?, get_bytes(bytes)?));
        }
        (!classic.protocols.is_empty()).then_some(classic)
    }
}

impl Change {
    /// Tag byte and fields, big endian.
    pub(in crate::coordinator) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Group {
                epoch,
                topics_hash,
                topics_version,
                changed_ms,
            } => {
                out.put_u8(GROUP);
                out.put_i32(*epoch);
                out.put_u64(*topics_hash);
                out.put_u64(*topics_version);
                out.put_i64(*changed_ms);
            }
            Self::PutMember { id, member } => {
                out.put_u8(PUT_MEMBER);
                put_str(out, id);
                member.encode(out);
            }
            Self::RemoveMember { id } => {
                out.put_u8(REMOVE_MEMBER);
                put_str(out, id);
            }
            Self::Target { id, partitions } => {
                out.put_u8(TARGET);
                put_str(out, id);
                partitions.encode(out);
            }
            Self::TargetEpoch(epoch) => {
                out.put_u8(TARGET_EPOCH);
                out.put_i32(*epoch);
            }
        }
    }

    /// The least that one takes.
    pub(in crate::coordinator) const LEAST_BYTES: usize = 5;

    pub(in crate::coordinator) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(match bytes.try_get_u8().ok()? {
            GROUP => Self::Group {
                epoch: bytes.try_get_i32().ok()?,
                topics_hash: bytes.try_get_u64().ok()?,
                topics_version: bytes.try_get_u64().ok()?,
                changed_ms: bytes.try_get_i64().ok()?,
            },
            PUT_MEMBER => Self::PutMember {
                id: get_str(bytes)?,
                member: Member::decode(bytes)?,
            },
            REMOVE_MEMBER => Self::RemoveMember {
                id: get_str(bytes)?,
            },
            TARGET => Self::Target {
                id: get_str(bytes)?,
                partitions: Partitions::decode(bytes)?,
            },
            TARGET_EPOCH => Self::TargetEpoch(bytes.try_get_i32().ok()?),
            _ => return None,
        })
    }
}
