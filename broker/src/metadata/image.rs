//! The state of the metadata group, and the questions that it answers.

use raft::types::{DirectoryId, GroupId, Index, Member, Membership, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::{ConfigScope, Partition, Registration, TopicId, form};

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// What it said about itself last.
    pub registration: Registration,
    /// Its replica of the metadata group on this disk, as voter or learner.
    #[serde(with = "form")]
    pub metadata: ReplicaId,
    /// The index of its last registration; Kafka's broker epoch.
    #[serde(with = "form")]
    pub epoch: Index,
    /// Whether it is to be emptied.
    pub draining: bool,
}

impl Broker {
    /// Its id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.registration.node
    }

    /// Its current disk.
    #[must_use]
    pub fn directory(&self) -> DirectoryId {
        self.registration.directory
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its id, never zero.
    #[serde(with = "form")]
    pub id: TopicId,
    /// Its name, unique among the topics that are.
    pub name: String,
    /// The groups of partitions 0, 1, 2, ...
    #[serde(with = "form")]
    pub partitions: Vec<GroupId>,
    /// The explicit configs.
    pub configs: BTreeMap<String, String>,
    /// The index of the command that created it.
    #[serde(with = "form")]
    pub created: Index,
}

/// What the image says about a replica that a disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is, or may be, part of its group.
    Holder,
    /// A committed command removed it: its data is to be dropped, then confirmed.
    Removed,
    /// Not mentioned. Never a reason to delete anything: keep, report.
    Unknown,
}

/// The state of the metadata group. Lookups by topic id, name, group and node cost a few comparisons each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The cluster's id, made at formation.
    pub(super) cluster: u128,
    /// Every entry up to here is applied.
    pub(super) applied: Index,
    /// What all brokers understand.
    pub(super) level: u16,
    pub(super) next_group: GroupId,
    pub(super) next_replica: ReplicaId,
    pub(super) next_producer_id: i64,
    /// The life of the cluster that began with a restore which is complete; 0 for none.
    pub(super) restored: u32,
    pub(super) brokers: BTreeMap<NodeId, Broker>,
    pub(super) topics: BTreeMap<TopicId, Topic>,
    /// Every group, the metadata group included.
    pub(super) groups: BTreeMap<GroupId, Partition>,
    pub(super) configs: BTreeMap<ConfigScope, BTreeMap<String, String>>,
    /// Every disk ever seen and whose it is, for ever: a disk never speaks for another node.
    pub(super) disks: BTreeMap<DirectoryId, NodeId>,
    /// Per registered disk: removed replicas whose data the broker has not yet confirmed gone.
    pub(super) removals: BTreeMap<DirectoryId, BTreeMap<ReplicaId, GroupId>>,
    /// Derived from `topics`.
    pub(super) names: BTreeMap<String, TopicId>,
    /// Derived from `groups`: where a node's holders are. No entry is empty.
    pub(super) hosted: BTreeMap<NodeId, BTreeSet<GroupId>>,
}

impl Image {
    /// The state before the first command: the bootstrap record's cluster id and metadata voters.
    #[must_use]
    pub fn bootstrap(cluster: u128, voters: Vec<Member>) -> Self {
        assert!(cluster != 0, "a cluster id is never zero");
        let highest = voters.iter().map(|m| m.replica.0).max().unwrap_or(0);
        let disks = voters.iter().map(|m| (m.directory, m.node)).collect();
        let metadata = Partition::new(
            GroupId::METADATA,
            TopicId::default(),
            0,
            voters,
            Index::default(),
        );
        let mut image = Self {
            cluster,
            applied: Index::default(),
            level: 1,
            next_group: GroupId(1),
            next_replica: ReplicaId(highest + 1),
            restored: 0,
            next_producer_id: 0,
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            configs: BTreeMap::new(),
            disks,
            removals: BTreeMap::new(),
            names: BTreeMap::new(),
            hosted: BTreeMap::new(),
        };
        image.put_partition(metadata);
        image
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// The index of the last applied entry.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The level of commands and formats that all brokers understand.
    #[must_use]
    pub fn metadata_version(&self) -> u16 {
        self.level
    }

    /// The registered broker with this id.
    #[must_use]
    pub fn broker(&self, node: NodeId) -> Option<&Broker> {
        self.brokers.get(&node)
    }

    /// All registered brokers, by id.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }

    /// A topic by id.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// A topic by name.
    #[must_use]
    pub fn topic_named(&self, name: &str) -> Option<&Topic> {
        self.topics.get(self.names.get(name)?)
    }

    /// Whether it holds everything that this life of the cluster began with. One that was restored is nobody's truth
    /// before that: what it does not know (yet) is not deleted.
    #[must_use]
    pub fn is_complete(&self, incarnation: u32) -> bool {
        incarnation <= 1 || self.restored == incarnation
    }

    /// Producer ids from here on were given to nobody.
    #[must_use]
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// A group's assignment; for the metadata group its voters.
    #[must_use]
    pub fn partition(&self, group: GroupId) -> Option<&Partition> {
        self.groups.get(&group)
    }

    /// The assignment of a topic's partition.
    #[must_use]
    pub fn partition_of(&self, topic: TopicId, partition: i32) -> Option<&Partition> {
        let topic = self.topics.get(&topic)?;
        self.groups
            .get(topic.partitions.get(usize::try_from(partition).ok()?)?)
    }

    /// All partitions by group id, without the metadata group.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.groups
            .range(GroupId(1)..)
            .map(|(_, partition)| partition)
    }

    /// How many partitions there are, without the metadata group.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.groups.len() - 1
    }

    /// The groups in which the node, on its present or an earlier disk, may hold a replica.
    pub fn groups_on(&self, node: NodeId) -> impl Iterator<Item = &Partition> {
        self.hosted
            .get(&node)
            .into_iter()
            .flatten()
            .filter_map(|group| self.groups.get(group))
    }

    /// The membership that a group's leader works towards. In the metadata group every other broker is a learner.
    #[must_use]
    pub fn desired_membership(&self, group: GroupId) -> Option<Membership> {
        let partition = self.groups.get(&group)?;
        let mut voters = partition.desired().to_vec();
        voters.sort_by_key(|m| m.replica);
        let mut learners = Vec::new();
        if group == GroupId::METADATA {
            learners.extend(self.brokers.values().filter_map(|broker| {
                let is_voter = voters.iter().any(|v| v.replica == broker.metadata);
                (!is_voter).then(|| self.metadata_member(broker))
            }));
            learners.sort_by_key(|m| m.replica);
        }
        Some(Membership {
            voters,
            outgoing: Vec::new(),
            learners,
        })
    }

    /// The broker's replica of the metadata group.
    #[must_use]
    pub fn metadata_member(&self, broker: &Broker) -> Member {
        Member {
            replica: broker.metadata,
            node: broker.node(),
            directory: broker.directory(),
        }
    }

    /// The explicit dynamic broker configs of a scope.
    #[must_use]
    pub fn broker_configs(&self, scope: ConfigScope) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.configs.get(&scope).unwrap_or(&NONE)
    }

    /// Replicas whose data this disk is to drop and then confirm. Not ended by a restart or an install.
    pub fn removals(&self, directory: DirectoryId) -> impl Iterator<Item = (ReplicaId, GroupId)> {
        self.removals
            .get(&directory)
            .into_iter()
            .flatten()
            .map(|(r, g)| (*r, *g))
    }

    /// What is known about a replica that a disk holds.
    #[must_use]
    pub fn standing(&self, directory: DirectoryId, group: GroupId, replica: ReplicaId) -> Standing {
        let is_here = |m: Member| m.directory == directory;
        let follows_metadata = group == GroupId::METADATA
            && self
                .brokers
                .values()
                .any(|b| b.metadata == replica && b.directory() == directory);
        if follows_metadata
            || self
                .groups
                .get(&group)
                .and_then(|p| p.holder(replica))
                .is_some_and(is_here)
        {
            return Standing::Holder;
        }
        let removed = self
            .removals
            .get(&directory)
            .and_then(|of_disk| of_disk.get(&replica));
        if removed == Some(&group) {
            Standing::Removed
        } else {
            Standing::Unknown
        }
    }

    /// Puts a partition in, in place of its earlier state, and keeps `hosted` right.
    pub(super) fn put_partition(&mut self, partition: Partition) {
        self.take_partition(partition.group);
        for member in partition.holders() {
            self.hosted
                .entry(member.node)
                .or_default()
                .insert(partition.group);
        }
        self.groups.insert(partition.group, partition);
    }

    /// Takes a partition out and keeps `hosted` right.
    pub(super) fn take_partition(&mut self, group: GroupId) -> Option<Partition> {
        let partition = self.groups.remove(&group)?;
        for member in partition.holders() {
            if let Some(groups) = self.hosted.get_mut(&member.node) {
                groups.remove(&group);
                if groups.is_empty() {
                    self.hosted.remove(&member.node);
                }
            }
        }
        Some(partition)
    }
}
