//! What others see of a group of the consumer protocol.

use protocol::error_code::ErrorCode;

use super::Group;
use super::assignor::Assignors;
use super::partitions::Partitions;
use super::state::{Member, State};
use crate::coordinator::catalog::Catalog;
use crate::coordinator::reply::{
    ConsumerDescribed, ConsumerMember, GroupStateName, Listed, NamedPartitions,
};
use crate::coordinator::request::{Commit, MemberRef};

impl State {
    /// In Kafka's words.
    #[must_use]
    pub fn name(&self) -> GroupStateName {
        let mut members = self.members.values();
        if self.members.is_empty() {
            GroupStateName::Empty
        } else if self.epoch > self.target_epoch {
            GroupStateName::Assigning
        } else if members.all(|member| member.has_reached(self.target_epoch)) {
            GroupStateName::Stable
        } else {
            GroupStateName::Reconciling
        }
    }

    /// In a list of groups.
    pub(in crate::coordinator) fn listed(&self, group: &str) -> Listed {
        Listed {
            group: group.to_owned(),
            protocol_type: crate::coordinator::subscription::CONSUMER.to_owned(),
            state: self.name(),
            group_type: "consumer",
        }
    }

    /// Partitions of topics that are gone are left out.
    pub(in crate::coordinator) fn described(
        &self,
        catalog: &dyn Catalog,
        assignors: &Assignors,
    ) -> ConsumerDescribed {
        let none = Partitions::default();
        let member = |(id, member): (&String, &Member)| ConsumerMember {
            id: id.clone(),
            instance: member.instance.clone(),
            rack: member.rack.clone(),
            epoch: member.epoch,
            client: member.client.clone(),
            topics: member.topics.iter().cloned().collect(),
            regex: member.regex.clone(),
            // Also what it still has to give up.
            assigned: named(&member.owned().collect(), catalog),
            target: named(self.targets.get(id).unwrap_or(&none), catalog),
            is_classic: member.classic.is_some(),
        };
        ConsumerDescribed {
            state: self.name(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: self.assignor(assignors).name(),
            members: self.members.iter().map(member).collect(),
        }
    }
}

fn named(partitions: &Partitions, catalog: &dyn Catalog) -> Vec<NamedPartitions> {
    let topics = partitions.topics().filter_map(|(topic, partitions)| {
        Some(NamedPartitions {
            name: catalog.name(topic)?.to_owned(),
            topic,
            partitions: partitions.iter().copied().collect(),
        })
    });
    topics.collect()
}

impl Group {
    /// Whether a member reads the topic.
    pub(in crate::coordinator) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed().contains(topic)
    }

    /// Whether one may commit or fetch with this epoch: a member with its own one.
    pub(in crate::coordinator) fn is_current(
        &self,
        member: &MemberRef,
        epoch: i32,
    ) -> Result<(), ErrorCode> {
        match self.state.members.get(&member.id) {
            None => Err(ErrorCode::UnknownMemberId),
            Some(member) if member.epoch == epoch => Ok(()),
            Some(member) if member.classic.is_some() => Err(ErrorCode::IllegalGeneration),
            Some(_) => Err(ErrorCode::StaleMemberEpoch),
        }
    }

    /// Whether one may commit: a member that knows what its epoch is, or anybody while there are no members.
    pub(in crate::coordinator) fn may_commit(&self, commit: &Commit) -> Result<(), ErrorCode> {
        if commit.generation < 0 && self.is_empty() {
            return Ok(());
        }
        let member = self.state.members.get(&commit.member.id);
        if member.is_some_and(|member| member.classic.is_none()) && !commit.knows_epochs {
            return Err(ErrorCode::UnsupportedVersion);
        }
        self.is_current(&commit.member, commit.generation)
    }

    /// Whether it has no members.
    pub(in crate::coordinator) fn is_empty(&self) -> bool {
        self.state.members.is_empty()
    }
}
