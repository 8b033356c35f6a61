//! One group's assignment, and the move that it may be in.

use raft::types::{GroupId, Index, Member, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};

use super::{TopicId, form};
use crate::partition::stored::Stored;

/// Where one group's replicas are and where they are to be.
///
/// The group's leader turns [`Partition::desired`] into Raft membership changes and reports when it is reached.
/// NB: a leader acts on a version only when the group's own log names it (`PartitionCommand::Assigned`), and reports no
/// other. Without that an old image could bring back a replica whose removal is committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Its Raft group.
    #[serde(with = "form")]
    pub group: GroupId,
    /// Its topic; zero for the metadata group.
    #[serde(with = "form")]
    pub topic: TopicId,
    /// Its number in the topic, from 0.
    pub partition: i32,
    /// The last assignment that was reached, preferred leader first. Never empty.
    #[serde(with = "form")]
    pub replicas: Vec<Member>,
    /// The assignment to reach, while a move is under way.
    #[serde(with = "form")]
    pub target: Option<Vec<Member>>,
    /// Neither in `replicas` nor in `target`, but perhaps in the group's membership: left over from an earlier target.
    #[serde(with = "form")]
    pub leaving: Vec<Member>,
    /// The index of the last command that changed any of this.
    #[serde(with = "form")]
    pub version: Index,
    /// The snapshot that its first replicas begin with, in a restored cluster; else they begin with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Stored>,
}

impl Partition {
    /// A settled assignment.
    pub(super) fn new(
        group: GroupId,
        topic: TopicId,
        partition: i32,
        replicas: Vec<Member>,
        version: Index,
    ) -> Self {
        assert!(!replicas.is_empty(), "a group has at least one replica");
        Self {
            group,
            topic,
            partition,
            replicas,
            target: None,
            leaving: Vec::new(),
            version,
            origin: None,
        }
    }

    /// The voters to be: the target of a move, else the assignment. Preferred leader first.
    #[must_use]
    pub fn desired(&self) -> &[Member] {
        self.target.as_deref().unwrap_or(&self.replicas)
    }

    /// Whether a move is under way.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.target.is_some()
    }

    /// Every replica that may hold data or count in the group: desired first, no duplicates.
    #[must_use]
    pub fn holders(&self) -> Vec<Member> {
        let mut holders = self.desired().to_vec();
        let rest = if self.target.is_some() {
            self.replicas.as_slice()
        } else {
            &[]
        };
        for member in rest.iter().chain(&self.leaving) {
            if !holders.iter().any(|h| h.replica == member.replica) {
                holders.push(*member);
            }
        }
        holders
    }

    /// Replicas that the move brings.
    #[must_use]
    pub fn adding(&self) -> Vec<Member> {
        without(self.desired(), &self.replicas)
    }

    /// Replicas that the move takes away.
    #[must_use]
    pub fn removing(&self) -> Vec<Member> {
        without(&self.holders(), self.desired())
    }

    /// The first in the order of preference.
    #[must_use]
    pub fn preferred(&self) -> Member {
        *self
            .desired()
            .first()
            .expect("a group has at least one replica")
    }

    /// The holder on this node's current disk or any other of its disks.
    pub fn holders_on(&self, node: NodeId) -> impl Iterator<Item = Member> {
        self.holders().into_iter().filter(move |m| m.node == node)
    }

    /// The holder with this id.
    #[must_use]
    pub fn holder(&self, replica: ReplicaId) -> Option<Member> {
        self.holders().into_iter().find(|m| m.replica == replica)
    }
}

/// Those of `members` that are not in `others`.
pub(super) fn without(members: &[Member], others: &[Member]) -> Vec<Member> {
    members
        .iter()
        .filter(|m| !others.iter().any(|o| o.replica == m.replica))
        .copied()
        .collect()
}

/// Whether both are the same replicas, in any order.
pub(super) fn same_set(a: &[Member], b: &[Member]) -> bool {
    a.len() == b.len() && without(a, b).is_empty()
}
