//! Commands change the image: one verb a command, all checks before the first change.

mod brokers;
mod reassign;
mod topics;

use raft::types::{GroupId, Index, Member, NodeId, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Command, ConfigChanges, ConfigScope, Image, Rejected};

/// What became of a command.
type Applied = Result<Vec<Change>, Rejected>;

impl Image {
    /// Applies the committed command at `index` and says what changed.
    ///
    /// # Errors
    /// [`Rejected`]: the command no longer fits; nothing but [`Image::applied`] changed. Deterministic: the same on
    /// every broker.
    pub fn apply(&mut self, index: Index, command: &Command) -> Applied {
        if index <= self.applied {
            return Err(Rejected::AlreadyApplied(index));
        }
        self.applied = index;
        match command {
            Command::RegisterBroker(registration) => self.register_broker(index, registration),
            Command::UnregisterBroker { node } => self.unregister_broker(*node),
            Command::SetDraining { node, draining } => self.set_draining(*node, *draining),
            Command::CreateTopic {
                topic,
                name,
                assignments,
                configs,
            } => self.create_topic(index, *topic, name, assignments, configs),
            Command::RestoreTopic {
                topic,
                name,
                assignments,
                configs,
                origins,
            } => self.restore_topic(index, *topic, name, assignments, configs, origins),
            Command::RestoreCluster {
                configs,
                next_producer_id,
            } => self.restore_cluster(configs, *next_producer_id),
            Command::FinishRestore { incarnation } => self.finish_restore(*incarnation),
            Command::DeleteTopic { topic } => self.delete_topic(*topic),
            Command::AddPartitions {
                topic,
                first,
                assignments,
            } => self.add_partitions(index, *topic, *first, assignments),
            Command::SetTopicConfigs { topic, changes } => self.set_topic_configs(*topic, changes),
            Command::SetBrokerConfigs { scope, changes } => {
                self.set_broker_configs(*scope, changes)
            }
            Command::AllocateProducerIds { node, count } => {
                self.allocate_producer_ids(*node, *count)
            }
            Command::SetTarget {
                group,
                nodes,
                as_of,
            } => self.set_target(index, *group, nodes, *as_of),
            Command::CancelReassignment { group, as_of } => {
                self.cancel_reassignment(index, *group, *as_of)
            }
            Command::FinishReassignment {
                group,
                voters,
                as_of,
            } => self.finish_reassignment(index, *group, voters, *as_of),
            Command::ReplaceReplica {
                group,
                replica,
                as_of,
            } => self.replace_replica(index, *group, *replica, *as_of),
            Command::SetPreferredLeader {
                group,
                replica,
                as_of,
            } => self.set_preferred_leader(index, *group, *replica, *as_of),
            Command::ConfirmRemovals {
                directory,
                replicas,
            } => self.confirm_removals(*directory, replicas),
            Command::SetMetadataVersion { level } => self.set_metadata_version(*level),
        }
    }

    /// Notes an entry that is not a command (no-op, membership).
    pub fn skip(&mut self, index: Index) {
        self.applied = self.applied.max(index);
    }

    fn set_metadata_version(&mut self, level: u16) -> Applied {
        if level <= self.level {
            return Err(Rejected::NothingToChange);
        }
        self.level = level;
        Ok(vec![Change::MetadataVersionChanged { level }])
    }

    /// Doing it again changes nothing.
    fn restore_cluster(
        &mut self,
        configs: &BTreeMap<String, String>,
        next_producer_id: i64,
    ) -> Applied {
        let set = configs.iter().map(|(k, v)| (k.clone(), Some(v.clone())));
        let configs: ConfigChanges = set.collect();
        let before = self.next_producer_id;
        self.next_producer_id = before.max(next_producer_id);
        match self.set_broker_configs(ConfigScope::Cluster, &configs) {
            Err(why) if self.next_producer_id == before => Err(why),
            outcome => {
                let mut changes = outcome.unwrap_or_default();
                changes.push(Change::ProducerIdsRaised);
                Ok(changes)
            }
        }
    }

    fn finish_restore(&mut self, incarnation: u32) -> Applied {
        if self.restored >= incarnation {
            return Err(Rejected::NothingToChange);
        }
        self.restored = incarnation;
        Ok(vec![Change::Restored])
    }

    fn set_broker_configs(&mut self, scope: ConfigScope, changes: &ConfigChanges) -> Applied {
        if let ConfigScope::Node(node) = scope
            && !self.brokers.contains_key(&node)
        {
            return Err(Rejected::UnknownBroker(node));
        }
        let mut configs = self.broker_configs(scope).clone();
        merge(&mut configs, changes)?;
        if configs.is_empty() {
            self.configs.remove(&scope);
        } else {
            self.configs.insert(scope, configs);
        }
        Ok(vec![Change::BrokerConfigChanged { scope }])
    }

    /// Rejects an assignment that is empty, names a node twice, or one that is not registered.
    fn check_nodes(&self, nodes: &[NodeId]) -> Result<(), Rejected> {
        if nodes.is_empty() {
            return Err(Rejected::InvalidAssignment("no replicas"));
        }
        let mut seen = BTreeSet::new();
        for node in nodes {
            if !self.brokers.contains_key(node) {
                return Err(Rejected::UnknownBroker(*node));
            }
            if !seen.insert(*node) {
                return Err(Rejected::InvalidAssignment("a node is named twice"));
            }
        }
        Ok(())
    }

    /// A new replica on the node's present disk. In the metadata group each broker has its replica already.
    fn new_member(&mut self, group: GroupId, node: NodeId) -> Member {
        let broker = self
            .brokers
            .get(&node)
            .expect("the nodes were checked to be registered");
        let (directory, metadata) = (broker.directory(), broker.metadata);
        let replica = if group == GroupId::METADATA {
            metadata
        } else {
            self.next_replica()
        };
        Member {
            replica,
            node,
            directory,
        }
    }

    fn next_replica(&mut self) -> ReplicaId {
        let replica = self.next_replica;
        self.next_replica = ReplicaId(replica.0 + 1);
        replica
    }

    /// Remembers that these replicas' data is to go, as far as their disks are still in use.
    fn note_removals(&mut self, group: GroupId, members: &[Member]) {
        if group == GroupId::METADATA {
            return; // Every broker follows the metadata group, whether it votes or not.
        }
        for member in members {
            let disk = self.brokers.get(&member.node).map(super::Broker::directory);
            if disk == Some(member.directory) {
                self.removals
                    .entry(member.directory)
                    .or_default()
                    .insert(member.replica, group);
            }
        }
    }
}

/// Sets and removes keys.
fn merge(configs: &mut BTreeMap<String, String>, changes: &ConfigChanges) -> Result<(), Rejected> {
    let mut changed = false;
    for (key, value) in changes {
        changed |= match value {
            Some(value) => configs.insert(key.clone(), value.clone()).as_ref() != Some(value),
            None => configs.remove(key).is_some(),
        };
    }
    if changed {
        Ok(())
    } else {
        Err(Rejected::NothingToChange)
    }
}
