//! The whole image as bytes: the state of the metadata group's state records and base.

use raft::types::{DirectoryId, GroupId, Index, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::{Broker, ConfigScope, Image, Partition, Topic, form};

/// The first byte; a reader refuses what it does not know.
const FORMAT: u8 = 1;

/// Why bytes are not an image. Never a reason to begin with an empty one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// No bytes.
    #[error("a metadata state without bytes")]
    Empty,
    /// Written by a newer broker.
    #[error("metadata state format {0} is newer than this broker")]
    UnknownFormat(u8),
    /// Not what the format says.
    #[error("malformed metadata state: {0}")]
    Malformed(String),
    /// It contradicts itself.
    #[error("inconsistent metadata state: {0}")]
    Inconsistent(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    #[serde(with = "form")]
    cluster: DirectoryId,
    #[serde(with = "form")]
    applied: Index,
    level: u16,
    #[serde(with = "form")]
    next_group: GroupId,
    #[serde(with = "form")]
    next_replica: ReplicaId,
    next_producer_id: i64,
    #[serde(default)]
    restored: u32,
    brokers: Vec<Broker>,
    topics: Vec<Topic>,
    groups: Vec<Partition>,
    configs: Vec<(ConfigScope, BTreeMap<String, String>)>,
    #[serde(with = "form")]
    disks: BTreeMap<DirectoryId, NodeId>,
    #[serde(with = "form")]
    removals: BTreeMap<DirectoryId, BTreeMap<ReplicaId, GroupId>>,
}

impl Image {
    /// The image as bytes. Equal images give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let state = State {
            cluster: DirectoryId(self.cluster),
            applied: self.applied,
            level: self.level,
            next_group: self.next_group,
            next_replica: self.next_replica,
            next_producer_id: self.next_producer_id,
            restored: self.restored,
            brokers: self.brokers.values().cloned().collect(),
            topics: self.topics.values().cloned().collect(),
            groups: self.groups.values().cloned().collect(),
            configs: self.configs.iter().map(|(k, v)| (*k, v.clone())).collect(),
            disks: self.disks.clone(),
            removals: self.removals.clone(),
        };
        let mut bytes = vec![FORMAT];
        serde_json::to_writer(&mut bytes, &state)
            .expect("the state has string keys and writes to memory");
        bytes
    }

    /// The image in these bytes.
    ///
    /// # Errors
    /// [`StateError`]: the broker must stop, not go on with less.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let state: State = match bytes.split_first() {
            None => return Err(StateError::Empty),
            Some((&FORMAT, json)) => {
                serde_json::from_slice(json).map_err(|e| StateError::Malformed(e.to_string()))?
            }
            Some((&format, _)) => return Err(StateError::UnknownFormat(format)),
        };
        let image = assemble(state);
        image.check().map_err(StateError::Inconsistent)?;
        Ok(image)
    }

    /// Whether the image agrees with itself.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), &'static str> {
        self.check_groups()?;
        self.check_topics()?;
        if self.cluster == 0 {
            return Err("the cluster id is zero");
        }
        if self.names.len() != self.topics.len() {
            return Err("two topics have one name");
        }
        let mut directories = BTreeSet::new();
        for broker in self.brokers.values() {
            if broker.metadata >= self.next_replica || !directories.insert(broker.directory()) {
                return Err(
                    "a broker's metadata replica is not from the counter, or its disk is another's",
                );
            }
        }
        if !self
            .removals
            .keys()
            .all(|directory| directories.contains(directory))
        {
            return Err("removals of a disk that no broker has");
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<(), &'static str> {
        let mut replicas = BTreeSet::new();
        for (group, partition) in &self.groups {
            if *group >= self.next_group || *group != partition.group {
                return Err("a group id is not from the counter");
            }
            if partition.replicas.is_empty() || partition.desired().is_empty() {
                return Err("a group without replicas");
            }
            let mut disks = BTreeSet::new();
            for holder in partition.holders() {
                if holder.replica >= self.next_replica || !replicas.insert(holder.replica) {
                    return Err("a replica id is not from the counter, or used twice");
                }
                if !disks.insert(holder.directory) {
                    return Err("two replicas of a group on one disk");
                }
                if !self
                    .hosted
                    .get(&holder.node)
                    .is_some_and(|groups| groups.contains(group))
                {
                    return Err("a holder is missing from the groups of its node");
                }
            }
        }
        if !self.groups.contains_key(&GroupId::METADATA) {
            return Err("the metadata group is missing");
        }
        let removed = self.removals.values().flat_map(BTreeMap::keys);
        if removed
            .into_iter()
            .any(|replica| replicas.contains(replica))
        {
            return Err("a removed replica is still a holder");
        }
        Ok(())
    }

    fn check_topics(&self) -> Result<(), &'static str> {
        let mut listed = 0;
        for (id, topic) in &self.topics {
            if self.names.get(&topic.name) != Some(id) || id.0 == 0 {
                return Err("a topic without its name, or without an id");
            }
            for (number, group) in topic.partitions.iter().enumerate() {
                let partition = self
                    .groups
                    .get(group)
                    .ok_or("a partition without its group")?;
                let is_right = partition.topic == *id
                    && usize::try_from(partition.partition).is_ok_and(|n| n == number);
                if !is_right {
                    return Err("a group that belongs to another partition");
                }
                listed += 1;
            }
        }
        if listed != self.partition_count() {
            Err("a group without its topic")
        } else {
            Ok(())
        }
    }
}

fn assemble(state: State) -> Image {
    let mut image = Image {
        cluster: state.cluster.0,
        applied: state.applied,
        level: state.level,
        next_group: state.next_group,
        next_replica: state.next_replica,
        next_producer_id: state.next_producer_id,
        restored: state.restored,
        brokers: state.brokers.into_iter().map(|b| (b.node(), b)).collect(),
        names: state
            .topics
            .iter()
            .map(|t| (t.name.clone(), t.id))
            .collect(),
        topics: state.topics.into_iter().map(|t| (t.id, t)).collect(),
        groups: BTreeMap::new(),
        configs: state.configs.into_iter().collect(),
        disks: state.disks,
        removals: state.removals,
        hosted: BTreeMap::new(),
    };
    for partition in state.groups {
        image.put_partition(partition);
    }
    image
}
