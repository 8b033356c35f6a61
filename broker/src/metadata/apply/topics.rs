//! Topics and partitions come and go.

use raft::types::{GroupId, Index, NodeId};
use std::collections::BTreeMap;

use super::{Applied, merge};
use crate::metadata::{Change, ConfigChanges, Image, Partition, Rejected, Topic, TopicId};
use crate::partition::stored::Stored;

impl Image {
    pub(super) fn create_topic(
        &mut self,
        index: Index,
        id: TopicId,
        name: &str,
        assignments: &[Vec<NodeId>],
        configs: &BTreeMap<String, String>,
    ) -> Applied {
        if id.0 == 0 || name.is_empty() {
            return Err(Rejected::InvalidAssignment(
                "a topic without an id or a name",
            ));
        }
        if self.names.contains_key(name) || self.topics.contains_key(&id) {
            return Err(Rejected::TopicExists(name.to_owned()));
        }
        self.check_assignments(0, assignments)?;
        self.names.insert(name.to_owned(), id);
        self.topics.insert(
            id,
            Topic {
                id,
                name: name.to_owned(),
                partitions: Vec::with_capacity(assignments.len()),
                configs: configs.clone(),
                created: index,
            },
        );
        let mut changes = vec![Change::TopicCreated { topic: id }];
        self.append_partitions(index, id, 0, assignments, &mut changes);
        Ok(changes)
    }

    pub(super) fn restore_topic(
        &mut self,
        index: Index,
        id: TopicId,
        name: &str,
        assignments: &[Vec<NodeId>],
        configs: &BTreeMap<String, String>,
        origins: &[Stored],
    ) -> Applied {
        if origins.len() != assignments.len() {
            return Err(Rejected::InvalidAssignment(
                "not as many snapshots as partitions",
            ));
        }
        let changes = self.create_topic(index, id, name, assignments, configs)?;
        let groups = self.topics[&id].partitions.clone();
        for (group, origin) in groups.iter().zip(origins) {
            let partition = self.groups.get_mut(group);
            partition.expect("it was just put in").origin = Some(*origin);
        }
        Ok(changes)
    }

    pub(super) fn add_partitions(
        &mut self,
        index: Index,
        id: TopicId,
        first: i32,
        assignments: &[Vec<NodeId>],
    ) -> Applied {
        let topic = self.topics.get(&id).ok_or(Rejected::UnknownTopic(id))?;
        let count = i32::try_from(topic.partitions.len()).expect("counts were checked when made");
        if count != first {
            return Err(Rejected::PartitionCountChanged {
                expected: first,
                actual: count,
            });
        }
        self.check_assignments(first, assignments)?;
        let mut changes = Vec::with_capacity(assignments.len());
        self.append_partitions(index, id, first, assignments, &mut changes);
        Ok(changes)
    }

    pub(super) fn delete_topic(&mut self, id: TopicId) -> Applied {
        let topic = self.topics.remove(&id).ok_or(Rejected::UnknownTopic(id))?;
        self.names.remove(&topic.name);
        let mut changes = Vec::with_capacity(topic.partitions.len() + 1);
        for group in topic.partitions {
            let partition = self
                .take_partition(group)
                .expect("a topic's partitions are in the image");
            let replicas = partition.holders();
            self.note_removals(group, &replicas);
            let number = partition.partition;
            changes.push(Change::PartitionRemoved {
                group,
                topic: id,
                partition: number,
                replicas,
            });
        }
        changes.push(Change::TopicRemoved {
            topic: id,
            name: topic.name,
        });
        Ok(changes)
    }

    pub(super) fn set_topic_configs(&mut self, id: TopicId, changes: &ConfigChanges) -> Applied {
        let topic = self.topics.get_mut(&id).ok_or(Rejected::UnknownTopic(id))?;
        merge(&mut topic.configs, changes)?;
        Ok(vec![Change::ConfigChanged { topic: id }])
    }

    fn check_assignments(&self, first: i32, assignments: &[Vec<NodeId>]) -> Result<(), Rejected> {
        if assignments.is_empty() {
            return Err(Rejected::InvalidAssignment("no partitions"));
        }
        let last = i32::try_from(assignments.len())
            .ok()
            .and_then(|n| first.checked_add(n));
        if last.is_none() {
            return Err(Rejected::InvalidAssignment("too many partitions"));
        }
        assignments
            .iter()
            .try_for_each(|nodes| self.check_nodes(nodes))
    }

    /// Appends checked partitions to a topic that is there.
    fn append_partitions(
        &mut self,
        index: Index,
        id: TopicId,
        first: i32,
        assignments: &[Vec<NodeId>],
        changes: &mut Vec<Change>,
    ) {
        for (number, nodes) in (first..).zip(assignments) {
            let group = self.next_group;
            self.next_group = GroupId(group.0 + 1);
            let replicas = nodes
                .iter()
                .map(|node| self.new_member(group, *node))
                .collect();
            self.put_partition(Partition::new(group, id, number, replicas, index));
            let topic = self
                .topics
                .get_mut(&id)
                .expect("the topic was put in or found before");
            topic.partitions.push(group);
            changes.push(Change::PartitionCreated { group });
        }
    }
}
