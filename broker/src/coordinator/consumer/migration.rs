//! From the classic protocol to this one, when the first member of this one comes, and back, when the last one goes.
//!
//! Both happen in one command, so that there is never a member that is in neither. What was is in the log until it is
//! committed: a conversion that is refused leaves the group as the log has it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;

use super::classic_member::assignment;
use super::partitions::Partitions;
use super::state::{Change, Member, State};
use super::{Call, Group};
use crate::coordinator::command::GroupCommand;
use crate::coordinator::context::Context;
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::GroupRequest;
use crate::coordinator::state::{self, Membership};
use crate::coordinator::subscription::{CONSUMER, Subscription};
use crate::coordinator::under_way::Step;
use crate::shard::Ticket;

/// What is answered now.
type Answers = Vec<(Ticket, GroupReply)>;
/// What is still to be decided.
type Questions = Vec<(Ticket, GroupRequest)>;

impl Group {
    /// The group of these members, who were of the classic protocol in this generation. None when a command cannot
    /// hold them.
    pub(in crate::coordinator) fn upgraded(
        cx: &Context<'_>,
        name: &str,
        generation: i32,
        members: BTreeMap<String, Member>,
    ) -> Option<Self> {
        let mut group = Self::new(name, State::default());
        group.change(Change::Group {
            epoch: generation,
            topics_hash: 0,
            topics_version: cx.now.topics.version(),
            changed_ms: cx.now.wall_ms,
        });
        let mut targets = Vec::new();
        for (id, member) in members {
            let partitions = member.assigned.clone();
            let id_of_target = id.clone();
            group.change(Change::PutMember { id, member });
            targets.push(Change::Target {
                id: id_of_target,
                partitions,
            });
        }
        // NB: up to here it has to be one command: then the log no longer knows the group as it was. Without what
        // follows, its targets are of no epoch yet, and are made anew.
        let mut bytes = BytesMut::new();
        for change in &group.changes {
            change.encode(&mut bytes);
        }
        for target in targets {
            group.change(target);
        }
        group.change(Change::TargetEpoch(generation));
        group.is_upgrading = true;
        let room = cx.config.command_bytes_max / 2;
        (bytes.len() <= room).then_some(group)
    }

    /// It begins: the former members' sessions are as they were.
    pub(in crate::coordinator) fn begin(&self, cx: &mut Context<'_>) {
        self.restart_timers(cx);
    }

    /// Whether there are members of the classic protocol.
    pub(super) fn has_classic(&self) -> bool {
        let mut members = self.state.members.values();
        members.any(|member| member.classic.is_some())
    }

    /// Whether the log knows it as one of the classic protocol still.
    pub(in crate::coordinator) fn is_upgrading(&self) -> bool {
        self.is_upgrading
    }

    /// It is to be of the classic protocol again, if it has no other members and that is allowed.
    pub(super) fn maybe_downgrade(&mut self, cx: &Context<'_>) {
        let members = &self.state.members;
        let may = cx.config.downgrades
            && !members.is_empty()
            && members.len() <= cx.config.members_max
            && members.values().all(|member| member.classic.is_some());
        if !may {
            return;
        }
        let command = self.as_classic(cx);
        let command = command.filter(|command| command.size_bytes() <= cx.config.command_bytes_max);
        self.downgrade = command;
    }

    /// With what its members own. Nobody leads it, so that it begins with a rebalance.
    fn as_classic(&self, cx: &Context<'_>) -> Option<GroupCommand> {
        let protocol = self.common_protocol()?;
        let member = |(id, member): (&String, &Member)| {
            let classic = member.classic.as_ref()?;
            let (_, subscription) = classic
                .protocols
                .iter()
                .find(|(name, _)| *name == protocol)?;
            let version = Subscription::decode(subscription).map_or(0, |said| said.version);
            let owned: Partitions = member.owned().collect();
            let stored = state::Member {
                instance: member.instance.clone(),
                client: member.client.clone(),
                session_timeout_ms: classic.session_timeout_ms,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                subscription: subscription.clone(),
                assignment: assignment(version, &owned, cx.now.topics),
            };
            Some((id.clone(), stored))
        };
        let membership = Membership {
            generation: self.state.epoch,
            protocol_type: CONSUMER.to_owned(),
            leader: String::new(),
            members: self.state.members.iter().filter_map(member).collect(),
            changed_ms: cx.now.wall_ms,
            protocol_name: protocol,
        };
        Some(GroupCommand::PutMembership {
            group: self.name.clone(),
            membership,
        })
    }

    /// The first in order that all members speak.
    fn common_protocol(&self) -> Option<String> {
        let members = self.state.members.values();
        let classic = members.filter_map(|member| member.classic.as_ref());
        let names = classic.clone().next()?.protocols.iter();
        let names: BTreeSet<&String> = names.map(|(name, _)| name).collect();
        let mut names = names.into_iter();
        let found = names.find(|name| classic.clone().all(|member| member.speaks(name)));
        found.cloned()
    }

    /// What was decided is summed up in that command: it replaces all that the log knows of the group.
    pub(super) fn propose_downgrade(
        &mut self,
        cx: &mut Context<'_>,
        command: GroupCommand,
        answers: Vec<(Ticket, GroupReply)>,
    ) {
        self.changes.clear();
        self.answers = answers;
        self.under_way = Some(cx.propose(&self.name, command, Step::Downgraded));
    }

    /// It is over: what is answered now, and what is still to be decided by who comes after it.
    pub(in crate::coordinator) fn dissolve(self, cx: &mut Context<'_>) -> (Answers, Questions) {
        self.forget_timers(cx);
        let waiting = self.waiting.into_iter().filter_map(|call| match call {
            Call::Asked(ticket, request) => Some((ticket, *request)),
            Call::Silent(_) | Call::Unrevoked(_) | Call::Late(_) => None,
        });
        (self.answers, waiting.collect())
    }
}
