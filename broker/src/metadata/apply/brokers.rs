//! Brokers come, go, and take blocks of producer ids.

use raft::types::{DirectoryId, GroupId, Index, NodeId, ReplicaId};

use super::Applied;
use crate::metadata::{Broker, Change, ConfigScope, Image, Registration, Rejected};

impl Image {
    pub(super) fn register_broker(&mut self, index: Index, registration: &Registration) -> Applied {
        check_registration(registration)?;
        let (node, directory) = (registration.node, registration.directory);
        if let Some(owner) = self.disks.get(&directory).filter(|owner| **owner != node) {
            return Err(Rejected::DirectoryInUse(*owner));
        }
        let earlier = self.brokers.get(&node);
        let draining = earlier.is_some_and(|b| b.draining);
        let same_disk = earlier
            .filter(|b| b.directory() == directory)
            .map(|b| b.metadata);
        let lost_disk = earlier.map(Broker::directory).filter(|d| *d != directory);
        let metadata = match same_disk.or_else(|| self.voter_on(node, directory)) {
            Some(replica) => replica,
            None => self.next_replica(),
        };
        if let Some(lost) = lost_disk {
            self.removals.remove(&lost);
        }
        self.disks.insert(directory, node);
        let registration = registration.clone();
        self.brokers.insert(
            node,
            Broker {
                registration,
                metadata,
                epoch: index,
                draining,
            },
        );
        Ok(vec![Change::BrokerChanged { node }])
    }

    /// The metadata replica that this disk has from formation, or from before it was registered otherwise.
    fn voter_on(&self, node: NodeId, directory: DirectoryId) -> Option<ReplicaId> {
        let metadata = self.groups.get(&GroupId::METADATA)?;
        metadata
            .holders_on(node)
            .find(|m| m.directory == directory)
            .map(|m| m.replica)
    }

    pub(super) fn unregister_broker(&mut self, node: NodeId) -> Applied {
        let broker = self
            .brokers
            .get(&node)
            .ok_or(Rejected::UnknownBroker(node))?;
        let replicas = self.groups_on(node).count();
        if replicas > 0 {
            return Err(Rejected::BrokerInUse { node, replicas });
        }
        let directory = broker.directory();
        self.removals.remove(&directory);
        self.configs.remove(&ConfigScope::Node(node));
        self.brokers.remove(&node);
        Ok(vec![Change::BrokerRemoved { node }])
    }

    pub(super) fn set_draining(&mut self, node: NodeId, draining: bool) -> Applied {
        let broker = self
            .brokers
            .get_mut(&node)
            .ok_or(Rejected::UnknownBroker(node))?;
        if broker.draining == draining {
            return Err(Rejected::NothingToChange);
        }
        broker.draining = draining;
        Ok(vec![Change::BrokerChanged { node }])
    }

    pub(super) fn allocate_producer_ids(&mut self, node: NodeId, count: u32) -> Applied {
        if !self.brokers.contains_key(&node) {
            return Err(Rejected::UnknownBroker(node));
        }
        let first = self.next_producer_id;
        let next = first.checked_add(i64::from(count)).filter(|_| count > 0);
        self.next_producer_id = next.ok_or(Rejected::NoProducerIds(count))?;
        Ok(vec![Change::ProducerIdsAllocated { node, first, count }])
    }

    pub(super) fn confirm_removals(
        &mut self,
        directory: DirectoryId,
        replicas: &[ReplicaId],
    ) -> Applied {
        let waiting = self
            .removals
            .get_mut(&directory)
            .ok_or(Rejected::NothingToChange)?;
        let before = waiting.len();
        for replica in replicas {
            waiting.remove(replica);
        }
        let after = waiting.len();
        if after == 0 {
            self.removals.remove(&directory);
        }
        if after == before {
            return Err(Rejected::NothingToChange);
        }
        Ok(vec![Change::RemovalsConfirmed { directory }])
    }
}

fn check_registration(registration: &Registration) -> Result<(), Rejected> {
    let wrong = if registration.node.0 < 1 {
        "the node id is below 1"
    } else if registration.directory.0 == 0 {
        "the directory id is zero"
    } else if registration.host.is_empty() || registration.port == 0 {
        "the advertised address is empty"
    } else if registration.peer.is_empty() {
        "the peer address is empty"
    } else {
        return Ok(());
    };
    Err(Rejected::InvalidRegistration(wrong))
}
