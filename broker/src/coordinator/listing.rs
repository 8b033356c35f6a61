//! Groups are described, listed and deleted.

use protocol::error_code::ErrorCode;

use super::classic;
use super::command::GroupCommand;
use super::core::{Coordinator, Now};
use super::effect::Effect;
use super::reply::{Described, GroupReply, GroupStateName, Listed};
use super::state::StoredGroup;
use super::under_way::Step;
use crate::shard::Ticket;

impl Coordinator {
    /// A group that is not there is dead, and so is one of the other protocol.
    pub(super) fn describe(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        group: &str,
        out: &mut Vec<Effect>,
    ) {
        let described = match (self.live.get(group), now.groups.get(group)) {
            (Some(live), _) => live.described(),
            (None, stored) => {
                let is_other = self.consumers.contains_key(group);
                let stored = stored.filter(|stored| stored.consumer.is_none() && !is_other);
                Described {
                    state: stored.map_or(GroupStateName::Dead, |_| GroupStateName::Empty),
                    protocol_type: stored.map_or_else(String::new, protocol_type),
                    protocol_name: String::new(),
                    members: Vec::new(),
                }
            }
        };
        self.hold(ticket, GroupReply::Described(described), out);
    }

    /// As it is committed. One of the other protocol is not there.
    pub(super) fn describe_consumers(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        group: &str,
        out: &mut Vec<Effect>,
    ) {
        let stored = now
            .groups
            .get(group)
            .filter(|_| !self.live.contains_key(group));
        let stored = stored.and_then(|stored| stored.consumer.as_ref());
        let reply = match stored {
            Some(state) => {
                let described = state.described(now.topics, &self.config.assignors);
                GroupReply::ConsumerDescribed(described)
            }
            None => GroupReply::failed(ErrorCode::GroupIdNotFound),
        };
        self.hold(ticket, reply, out);
    }

    /// By name.
    pub(super) fn list(&mut self, now: Now<'_>, ticket: Ticket, out: &mut Vec<Effect>) {
        let stored = now.groups.iter();
        let stored = stored.filter(|(name, _)| !self.live.contains_key(*name));
        let stored = stored.map(|(name, group)| match &group.consumer {
            Some(state) => state.listed(name),
            None => Listed {
                group: name.to_owned(),
                protocol_type: protocol_type(group),
                state: group.classic_name(),
                group_type: "classic",
            },
        });
        let live = self.live.values().map(classic::Group::listed);
        let mut groups = live.chain(stored).collect::<Vec<_>>();
        groups.sort_by(|one, other| one.group.cmp(&other.group));
        self.hold(ticket, GroupReply::Listed(groups), out);
    }

    /// With its offsets, if it has no members. Answered when it is committed.
    pub(super) fn delete(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        group: String,
        out: &mut Vec<Effect>,
    ) {
        let has_consumers = self.consumers.contains_key(&group);
        let (live, mut cx) = self.live(now, out);
        let may = match (live.get_mut(&group), now.groups.get(&group)) {
            _ if has_consumers => Err(ErrorCode::NonEmptyGroup),
            (Some(live), _) if live.is_empty() => {
                live.forget_pending(&mut cx);
                Ok(())
            }
            (Some(_), _) => Err(ErrorCode::NonEmptyGroup),
            (None, Some(_)) => Ok(()),
            (None, None) => Err(ErrorCode::GroupIdNotFound),
        };
        if let Err(code) = may {
            return self.hold(ticket, GroupReply::failed(code), out);
        }
        let command = GroupCommand::DeleteGroup {
            group: group.clone(),
        };
        let answers = vec![(ticket, GroupReply::Done)];
        self.propose(&group, command, answers, Some(Step::Deleted), out);
    }
}

fn protocol_type(group: &StoredGroup) -> String {
    let membership = group.membership.as_ref();
    membership.map_or_else(String::new, |membership| membership.protocol_type.clone())
}
