//! Replicas move: target set, reached, given up; dead ones are replaced.
//!
//! Nobody is dropped before the group's leader has reported a membership without it: giving up a move is itself a
//! move, back to where it began, because the group may have gone over to the target already.

use raft::types::{GroupId, Index, Member, NodeId, ReplicaId};

use super::Applied;
use crate::metadata::partition::{same_set, without};
use crate::metadata::{Change, Image, Partition, Rejected};

impl Image {
    pub(super) fn set_target(
        &mut self,
        index: Index,
        group: GroupId,
        nodes: &[NodeId],
        as_of: Index,
    ) -> Applied {
        let partition = self.partition_as_of(group, as_of)?;
        self.check_nodes(nodes)?;
        let members = nodes
            .iter()
            .map(|node| self.member_on(&partition, *node))
            .collect();
        self.retarget(index, partition, members)
    }

    pub(super) fn cancel_reassignment(
        &mut self,
        index: Index,
        group: GroupId,
        as_of: Index,
    ) -> Applied {
        let partition = self.partition_as_of(group, as_of)?;
        if partition.target.is_none() {
            return Err(Rejected::NoReassignment(group));
        }
        let members = partition.replicas.clone();
        self.retarget(index, partition, members)
    }

    pub(super) fn replace_replica(
        &mut self,
        index: Index,
        group: GroupId,
        replica: ReplicaId,
        as_of: Index,
    ) -> Applied {
        let partition = self.partition_as_of(group, as_of)?;
        let mut members = partition.desired().to_vec();
        let place = members
            .iter_mut()
            .find(|m| m.replica == replica)
            .ok_or(Rejected::UnknownReplica(replica))?;
        let broker = self
            .brokers
            .get(&place.node)
            .ok_or(Rejected::UnknownBroker(place.node))?;
        if broker.directory() == place.directory {
            return Err(Rejected::NothingToChange);
        }
        *place = self.member_on(&partition, place.node);
        self.retarget(index, partition, members)
    }

    pub(super) fn finish_reassignment(
        &mut self,
        index: Index,
        group: GroupId,
        voters: &[ReplicaId],
        as_of: Index,
    ) -> Applied {
        let mut partition = self.partition_as_of(group, as_of)?;
        let holders = partition.holders();
        let target = partition
            .target
            .take()
            .ok_or(Rejected::NoReassignment(group))?;
        let reached =
            voters.len() == target.len() && target.iter().all(|m| voters.contains(&m.replica));
        if !reached {
            return Err(Rejected::NotTheTarget);
        }
        let removed = without(&holders, &target);
        partition.replicas = target;
        partition.leaving = Vec::new();
        partition.version = index;
        self.put_partition(partition);
        self.note_removals(group, &removed);
        Ok(vec![Change::ReassignmentFinished { group, removed }])
    }

    pub(super) fn set_preferred_leader(
        &mut self,
        index: Index,
        group: GroupId,
        replica: ReplicaId,
        as_of: Index,
    ) -> Applied {
        let mut partition = self.partition_as_of(group, as_of)?;
        let members = partition.target.as_mut().unwrap_or(&mut partition.replicas);
        let place = members
            .iter()
            .position(|m| m.replica == replica)
            .ok_or(Rejected::UnknownReplica(replica))?;
        if place == 0 {
            return Err(Rejected::NothingToChange);
        }
        members[..=place].rotate_right(1);
        partition.version = index;
        self.put_partition(partition);
        Ok(vec![Change::PreferenceChanged { group }])
    }

    /// A copy of the partition, if it is still what the proposer saw.
    fn partition_as_of(&self, group: GroupId, as_of: Index) -> Result<Partition, Rejected> {
        let partition = self
            .groups
            .get(&group)
            .ok_or(Rejected::UnknownGroup(group))?;
        if partition.version == as_of {
            Ok(partition.clone())
        } else {
            Err(Rejected::Stale {
                expected: as_of,
                actual: partition.version,
            })
        }
    }

    /// The holder on the node's present disk, or a new replica there.
    fn member_on(&mut self, partition: &Partition, node: NodeId) -> Member {
        let disk = self
            .brokers
            .get(&node)
            .map(crate::metadata::Broker::directory);
        let holder = partition
            .holders_on(node)
            .find(|m| Some(m.directory) == disk);
        holder.unwrap_or_else(|| self.new_member(partition.group, node))
    }

    /// Makes `members` the target. A settled group that only changes its order needs no move.
    fn retarget(
        &mut self,
        index: Index,
        mut partition: Partition,
        members: Vec<Member>,
    ) -> Applied {
        let group = partition.group;
        if partition.desired() == members {
            return Err(Rejected::NothingToChange);
        }
        let holders = partition.holders();
        partition.version = index;
        let change = if partition.target.is_none() && same_set(&members, &partition.replicas) {
            partition.replicas = members;
            Change::PreferenceChanged { group }
        } else {
            partition.leaving = without(&without(&holders, &partition.replicas), &members);
            partition.target = Some(members);
            Change::TargetChanged { group }
        };
        self.put_partition(partition);
        Ok(vec![change])
    }
}
