//! What is replicated of the groups of one partition.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::catalog::Catalog;
use super::codec::{
    get_bytes, get_len, get_option, get_str, get_time, put_bytes, put_len, put_option, put_str,
    put_time,
};
use super::command::GroupCommand;
use super::consumer;
use super::reply::GroupStateName;
use super::request::{Client, CommitOffset};
use super::subscription::CONSUMER as CONSUMER_TYPE;
use crate::metadata::TopicId;

/// The groups of a partition, as of its applied index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    by_name: BTreeMap<String, StoredGroup>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredGroup {
    /// Of the classic protocol. None for a group that only ever committed.
    pub membership: Option<Membership>,
    /// Of the consumer protocol: a group is of one or the other.
    pub consumer: Option<consumer::state::State>,
    /// By topic, then partition.
    pub offsets: BTreeMap<String, BTreeMap<i32, StoredOffset>>,
}

impl StoredGroup {
    /// What it is for one who joins by the classic protocol: its generations go on from where the epochs were.
    pub(super) fn as_classic(&self) -> Option<Membership> {
        let former = |state: &consumer::state::State| Membership {
            generation: state.epoch,
            protocol_type: CONSUMER_TYPE.to_owned(),
            changed_ms: state.changed_ms,
            ..Membership::default()
        };
        let former = self.consumer.as_ref().map(former);
        self.membership.clone().or(former)
    }

    /// What it is for one who joins by the consumer protocol. It has no members.
    pub(super) fn as_consumers(&self) -> consumer::state::State {
        let former = |membership: &Membership| consumer::state::State {
            epoch: membership.generation.max(0),
            target_epoch: membership.generation.max(0),
            changed_ms: membership.changed_ms,
            ..consumer::state::State::default()
        };
        let former = self.membership.as_ref().map(former);
        self.consumer.clone().or(former).unwrap_or_default()
    }

    /// The state of a group of the classic protocol that is not live. If it has members, it is about to be one of the
    /// consumer protocol.
    pub(super) fn classic_name(&self) -> GroupStateName {
        let membership = self.membership.as_ref();
        match membership.is_some_and(|membership| !membership.members.is_empty()) {
            true => GroupStateName::PreparingRebalance,
            false => GroupStateName::Empty,
        }
    }

    /// When it lost its last member, if it ever had one.
    pub(super) fn changed_ms(&self) -> Option<i64> {
        let classic = self.membership.as_ref().map(|members| members.changed_ms);
        classic.or(self.consumer.as_ref().map(|state| state.changed_ms))
    }
}

/// The members of the last completed rebalance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Rises with each rebalance.
    pub generation: i32,
    /// `consumer` and the like.
    pub protocol_type: String,
    /// Chosen; empty without members.
    pub protocol_name: String,
    /// The member that assigned; empty without members.
    pub leader: String,
    /// By id.
    pub members: BTreeMap<String, Member>,
    /// When it became so, in wall-clock ms: offsets of empty groups expire from here.
    pub changed_ms: i64,
}

/// A member of the last completed rebalance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Of a static member.
    pub instance: Option<String>,
    /// Who it is.
    pub client: Client,
    /// See [`super::request::Join`].
    pub session_timeout_ms: u64,
    /// See [`super::request::Join`].
    pub rebalance_timeout_ms: u64,
    /// For the chosen protocol.
    pub subscription: Bytes,
    /// What it was given.
    pub assignment: Bytes,
}

/// A committed offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredOffset {
    /// The next offset to read.
    pub offset: i64,
    /// -1 for unknown.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
    /// When it was committed, in wall-clock ms.
    pub committed_ms: i64,
    /// When it expires, where its commit said so.
    pub expires_ms: Option<i64>,
    /// Its topic. None where the coordinator did not know it: such an offset can only expire.
    pub topic: Option<KnownTopic>,
}

impl StoredOffset {
    /// Whether its topic is deleted for sure.
    #[must_use]
    pub fn is_gone(&self, topics: &dyn Catalog) -> bool {
        self.topic.is_some_and(|topic| topics.is_gone(topic))
    }
}

/// A topic, however many of its name there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownTopic {
    /// Never used again.
    pub id: TopicId,
    /// A version of the metadata in which it was there. In a later one it is either there, or deleted.
    pub known_at: u64,
}

impl StoredGroup {
    /// How many offsets are committed.
    #[must_use]
    pub fn offsets_count(&self) -> usize {
        self.offsets.values().map(BTreeMap::len).sum()
    }
}

impl Groups {
    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// A group.
    #[must_use]
    pub fn get(&self, group: &str) -> Option<&StoredGroup> {
        self.by_name.get(group)
    }

    /// All groups, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StoredGroup)> {
        self.by_name
            .iter()
            .map(|(name, group)| (name.as_str(), group))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut StoredGroup)> {
        let groups = self.by_name.iter_mut();
        groups.map(|(name, group)| (name.as_str(), group))
    }

    #[cfg(test)]
    pub(super) fn put(&mut self, name: &str, group: StoredGroup) {
        self.by_name.insert(name.to_owned(), group);
    }

    /// A command is committed. Every replica does the same with it.
    pub fn apply(&mut self, command: &GroupCommand) {
        match command {
            GroupCommand::PutMembership { group, membership } => {
                let stored = self.by_name.entry(group.clone()).or_default();
                stored.membership = Some(membership.clone());
                stored.consumer = None;
            }
            GroupCommand::ChangeConsumers { group, changes } => {
                let stored = self.by_name.entry(group.clone()).or_default();
                let consumer = stored.consumer.get_or_insert_default();
                for change in changes {
                    consumer.apply(change);
                }
                stored.membership = None;
            }
            GroupCommand::CommitOffsets {
                group,
                at_ms,
                expires_ms,
                known_at,
                topics,
                offsets,
            } => {
                let committed = |offset: &CommitOffset| StoredOffset {
                    offset: offset.offset,
                    leader_epoch: offset.leader_epoch,
                    metadata: offset.metadata.clone(),
                    committed_ms: *at_ms,
                    expires_ms: *expires_ms,
                    topic: topics.get(&offset.topic).map(|id| KnownTopic {
                        id: *id,
                        known_at: *known_at,
                    }),
                };
                let stored = self.by_name.entry(group.clone()).or_default();
                for offset in offsets {
                    let partitions = stored.offsets.entry(offset.topic.clone()).or_default();
                    partitions.insert(offset.partition, committed(offset));
                }
            }
            GroupCommand::ForgetTopics { group, topics } => self.forget_topics(group, topics),
            GroupCommand::DeleteOffsets { group, partitions } => {
                self.delete_offsets(group, partitions);
            }
            GroupCommand::DeleteGroup { group } => {
                self.by_name.remove(group);
            }
        }
    }

    /// A group that has nothing left is still there, until it expires.
    fn delete_offsets(&mut self, group: &str, partitions: &[(String, i32)]) {
        let Some(stored) = self.by_name.get_mut(group) else {
            return;
        };
        for (topic, partition) in partitions {
            let Some(committed) = stored.offsets.get_mut(topic) else {
                continue;
            };
            committed.remove(partition);
            if committed.is_empty() {
                stored.offsets.remove(topic);
            }
        }
    }

    /// The same with the offsets of these topics.
    fn forget_topics(&mut self, group: &str, topics: &[TopicId]) {
        let Some(stored) = self.by_name.get_mut(group) else {
            return;
        };
        let is_of = |topic: &KnownTopic| topics.contains(&topic.id);
        stored.offsets.retain(|_, partitions| {
            partitions.retain(|_, offset| !offset.topic.as_ref().is_some_and(is_of));
            !partitions.is_empty()
        });
    }

    /// As bytes, in the order of names.
    pub fn encode(&self, out: &mut BytesMut) {
        put_len(out, self.by_name.len());
        for (name, group) in &self.by_name {
            put_str(out, name);
            match (&group.membership, &group.consumer) {
                (None, None) => out.put_u8(NO_MEMBERSHIP),
                (Some(membership), None) => {
                    out.put_u8(CLASSIC);
                    membership.encode(out);
                }
                (None, Some(consumer)) => {
                    out.put_u8(CONSUMER);
                    consumer.encode(out);
                }
                (Some(_), Some(_)) => unreachable!("a group is of one protocol"),
            }
            put_len(out, group.offsets.len());
            for (topic, partitions) in &group.offsets {
                put_str(out, topic);
                put_len(out, partitions.len());
                for (partition, offset) in partitions {
                    out.put_i32(*partition);
                    out.put_i64(offset.offset);
                    out.put_i32(offset.leader_epoch);
                    put_str(out, &offset.metadata);
                    out.put_i64(offset.committed_ms);
                    put_time(out, offset.expires_ms);
                    let known = offset.topic.unwrap_or(UNKNOWN_TOPIC);
                    out.put_u128(known.id.0);
                    out.put_u64(known.known_at);
                }
            }
        }
    }

    /// None when the bytes are not what `encode` wrote.
    #[must_use]
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut by_name = BTreeMap::new();
        for _ in 0..get_len(bytes, 9)? {
            let name = get_str(bytes)?;
            let (membership, consumer) = match bytes.try_get_u8().ok()? {
                NO_MEMBERSHIP => (None, None),
                CLASSIC => (Some(Membership::decode(bytes)?), None),
                CONSUMER => (None, Some(consumer::state::State::decode(bytes)?)),
                _ => return None,
            };
            let mut offsets = BTreeMap::new();
            for _ in 0..get_len(bytes, 8)? {
                let topic = get_str(bytes)?;
                let mut partitions = BTreeMap::new();
                for _ in 0..get_len(bytes, 61)? {
                    let partition = bytes.try_get_i32().ok()?;
                    let offset = StoredOffset {
                        offset: bytes.try_get_i64().ok()?,
                        leader_epoch: bytes.try_get_i32().ok()?,
                        metadata: get_str(bytes)?,
                        committed_ms: bytes.try_get_i64().ok()?,
                        expires_ms: get_time(bytes)?,
                        topic: get_topic(bytes)?,
                    };
                    partitions.insert(partition, offset);
                }
                offsets.insert(topic, partitions);
            }
            let group = StoredGroup {
                membership,
                consumer,
                offsets,
            };
            by_name.insert(name, group);
        }
        Some(Self { by_name })
    }
}

/// Stands for none; no topic has this id.
const UNKNOWN_TOPIC: KnownTopic = KnownTopic {
    id: TopicId(0),
    known_at: 0,
};

fn get_topic(bytes: &mut &[u8]) -> Option<Option<KnownTopic>> {
    let known = KnownTopic {
        id: TopicId(bytes.try_get_u128().ok()?),
        known_at: bytes.try_get_u64().ok()?,
    };
    Some(Some(known).filter(|known| *known != UNKNOWN_TOPIC))
}

/// What follows a group's name: the kind of its membership.
const NO_MEMBERSHIP: u8 = 0;
const CLASSIC: u8 = 1;
const CONSUMER: u8 = 2;

impl Membership {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_i32(self.generation);
        put_str(out, &self.protocol_type);
        put_str(out, &self.protocol_name);
        put_str(out, &self.leader);
        out.put_i64(self.changed_ms);
        put_len(out, self.members.len());
        for (id, member) in &self.members {
            put_str(out, id);
            put_option(out, member.instance.as_deref());
            put_str(out, &member.client.id);
            put_str(out, &member.client.host);
            out.put_u64(member.session_timeout_ms);
            out.put_u64(member.rebalance_timeout_ms);
            put_bytes(out, &member.subscription);
            put_bytes(out, &member.assignment);
        }
    }

    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut membership = Self {
            generation: bytes.try_get_i32().ok()?,
            protocol_type: get_str(bytes)?,
            protocol_name: get_str(bytes)?,
            leader: get_str(bytes)?,
            changed_ms: bytes.try_get_i64().ok()?,
            members: BTreeMap::new(),
        };
        for _ in 0..get_len(bytes, 37)? {
            let id = get_str(bytes)?;
            let member = Member {
                instance: get_option(bytes)?,
                client: Client {
                    id: get_str(bytes)?,
                    host: get_str(bytes)?,
                },
                session_timeout_ms: bytes.try_get_u64().ok()?,
                rebalance_timeout_ms: bytes.try_get_u64().ok()?,
                subscription: get_bytes(bytes)?,
                assignment: get_bytes(bytes)?,
            };
            membership.members.insert(id, member);
        }
        Some(membership)
    }
}
