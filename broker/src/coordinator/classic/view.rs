//! What others see of a live group.

use std::collections::BTreeSet;

use protocol::error_code::ErrorCode;

use super::member::Member;
use super::{Group, State};
use crate::coordinator::rebalances::{Cause, Reason};
use crate::coordinator::reply::{Described, DescribedMember, GroupStateName, Listed};
use crate::coordinator::subscription;

impl Group {
    /// Whether offsets may be deleted at all.
    pub(in crate::coordinator) fn may_delete_offsets(&self) -> Result<(), ErrorCode> {
        if self.is_empty() || self.is_consumer() {
            return Ok(());
        }
        Err(ErrorCode::NonEmptyGroup)
    }

    /// Whether a member reads the topic. A consumer group whose topics cannot be told might read any.
    pub(in crate::coordinator) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer(),
        }
    }

    /// The topics of a stable consumer group: offsets of others may expire. None while that cannot be told.
    pub(in crate::coordinator) fn stable_topics(&self) -> Option<&BTreeSet<String>> {
        let tells = self.state == State::Stable && self.is_consumer();
        self.subscribed.as_ref().filter(|_| tells)
    }

    /// In a list of groups.
    pub(in crate::coordinator) fn listed(&self) -> Listed {
        Listed {
            group: self.name.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state_name(),
            group_type: "classic",
        }
    }

    /// Subscriptions are told of a stable group only; assignments also during a rebalance, as they were before it.
    pub(in crate::coordinator) fn described(&self) -> Described {
        let protocol = self.protocol_name.as_deref();
        let protocol = protocol.filter(|_| self.state == State::Stable);
        let member = |(id, member): (&String, &Member)| DescribedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client.id.clone(),
            client_host: member.client.host.clone(),
            subscription: protocol.map_or_else(Default::default, |p| member.subscription(p)),
            assignment: member.assignment.clone(),
        };
        Described {
            state: self.state_name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: protocol.unwrap_or_default().to_owned(),
            members: self.members.iter().map(member).collect(),
        }
    }

    /// In the figures.
    pub(in crate::coordinator) fn figures(&self) -> (GroupStateName, usize, i32) {
        (self.state_name(), self.members.len(), self.generation)
    }

    /// Why the others have to join anew, if it is because of this member.
    pub(super) fn cause(&self, reason: Reason, id: &str) -> Cause {
        let member = self.members.get(id);
        Cause::of(reason, id, member.map(|m| (&m.instance, &m.client)))
    }

    fn state_name(&self) -> GroupStateName {
        match self.state {
            State::Empty => GroupStateName::Empty,
            State::Preparing => GroupStateName::PreparingRebalance,
            State::Completing => GroupStateName::CompletingRebalance,
            State::Stable => GroupStateName::Stable,
        }
    }

    /// As of this generation.
    pub(super) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.is_consumer() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let subscription = member.subscription(self.protocol_name.as_deref()?);
            topics.append(&mut subscription::topics(&subscription)?);
        }
        Some(topics)
    }
}
