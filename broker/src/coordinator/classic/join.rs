//! A member joins, for the first time or again.

use bytes::Bytes;
use protocol::error_code::ErrorCode;

use super::member::{Joining, Member};
use super::{Group, State};
use crate::coordinator::context::Context;
use crate::coordinator::rebalances::{Cause, Reason};
use crate::coordinator::reply::{GroupReply, Joined, JoinedMember};
use crate::coordinator::request::Join;
use crate::shard::Ticket;

/// A new member does not know its id yet, so it sends no heartbeats: it is forgotten after so long, in case its client
/// has given up and joined once more.
const NEW_MEMBER_TIMEOUT_MS: u64 = 300_000;

/// Protocols of one member, which speaks a handful: all are compared with those of all others.
const PROTOCOLS_MAX: usize = 100;

fn size_bytes(client: &str, protocols: &[(String, Bytes)]) -> usize {
    let protocols = protocols.iter();
    let protocols = protocols.map(|(name, subscription)| name.len() + subscription.len());
    client.len() + protocols.sum::<usize>()
}

/// A member joins: why others have to.
pub(super) fn cause_of(reason: Reason, id: &str, join: &Join) -> Cause {
    let known = Some((&join.member.instance, &join.client));
    Cause::of(reason, id, known).in_words(&join.reason)
}

impl Group {
    /// Answered at once, or when the rebalance is over.
    pub(in crate::coordinator) fn join(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        join: Join,
    ) {
        if !self.accepts(&join.member.id, cx.config.members_max) {
            self.remove(cx, &join.member.id);
            cx.hold(ticket, GroupReply::failed(ErrorCode::GroupMaxSizeReached));
            self.maybe_complete_join(cx);
        } else if !self.holds(&join, cx.config.command_bytes_max) {
            cx.hold(ticket, GroupReply::failed(ErrorCode::GroupMaxSizeReached));
        } else if !self.supports(&join) {
            let code = ErrorCode::InconsistentGroupProtocol;
            cx.hold(ticket, GroupReply::join_failed(code, &join.member.id));
        } else if join.member.id.is_empty() {
            self.join_first(cx, ticket, join);
        } else if self.pending.contains(&join.member.id) && join.member.instance.is_none() {
            let id = join.member.id.clone();
            self.add(cx, ticket, id, join);
        } else if let Err(code) = self.known(&join.member) {
            cx.hold(ticket, GroupReply::join_failed(code, &join.member.id));
        } else {
            self.join_again(cx, ticket, join);
        }
    }

    /// Whether there is room. While members join, those count who have come (so the last ones of a group that is too
    /// large have to go), else all.
    fn accepts(&self, id: &str, members_max: usize) -> bool {
        let member = self.members.get(id);
        match self.state {
            State::Empty => true,
            State::Preparing => {
                member.is_some_and(|member| member.joining.is_some())
                    || self.joining().count() < members_max
            }
            State::Completing | State::Stable => {
                member.is_some() || self.members.len() < members_max
            }
        }
    }

    /// Whether all that the members say of themselves would fit into one command, with what this one says now.
    fn holds(&self, join: &Join, bytes_max: usize) -> bool {
        let others = self.members.iter().filter(|(id, _)| **id != join.member.id);
        let others = others.map(|(_, member)| size_bytes(&member.client.id, &member.protocols));
        let pending = self.pending.iter().map(String::len);
        let own = size_bytes(&join.client.id, &join.protocols);
        own + others.chain(pending).sum::<usize>() <= bytes_max
    }

    /// Whether a protocol of the member is one that all the others speak.
    fn supports(&self, join: &Join) -> bool {
        if join.protocols.len() > PROTOCOLS_MAX {
            return false;
        }
        if self.is_empty() {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let all_speak = |name: &str| self.members.values().all(|member| member.speaks(name));
        self.protocol_type.as_deref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|(name, _)| all_speak(name))
    }

    fn join_first(&mut self, cx: &mut Context<'_>, ticket: Ticket, join: Join) {
        let prefix = join.member.instance.as_ref().unwrap_or(&join.client.id);
        let id = self.unused_id(cx, prefix);
        if let Some(instance) = &join.member.instance {
            match self.instances.get(instance).cloned() {
                Some(old) => self.replace(cx, ticket, &old, id, join),
                None => self.add(cx, ticket, id, join),
            }
        } else if !join.id_required {
            self.add(cx, ticket, id, join);
        } else if self.pending.len() >= cx.config.members_max {
            cx.hold(ticket, GroupReply::failed(ErrorCode::GroupMaxSizeReached));
        } else {
            cx.set_timer(self.session(&id), join.session_timeout_ms);
            let code = ErrorCode::MemberIdRequired;
            cx.hold(ticket, GroupReply::join_failed(code, &id));
            self.pending.insert(id);
        }
    }

    fn unused_id(&self, cx: &mut Context<'_>, prefix: &str) -> String {
        loop {
            let id = cx.ids.give(prefix);
            if !self.members.contains_key(&id) && !self.pending.contains(&id) {
                return id;
            }
        }
    }

    fn add(&mut self, cx: &mut Context<'_>, ticket: Ticket, id: String, join: Join) {
        let cause = cause_of(Reason::Joined, &id, &join);
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(initial) = &mut self.initial {
            initial.member_added = true;
        }
        if let Some(instance) = &join.member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.pending.remove(&id);
        self.arrivals += 1;
        let member = Member::new(ticket, join, self.arrivals);
        cx.set_timer(self.session(&id), NEW_MEMBER_TIMEOUT_MS);
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, member);
        self.rebalance(cx, cause);
    }

    fn join_again(&mut self, cx: &mut Context<'_>, ticket: Ticket, join: Join) {
        let id = &join.member.id;
        let changed = self.members.get(id).map(|member| &member.protocols) != Some(&join.protocols);
        let rebalances = match self.state {
            State::Preparing => true,
            State::Completing => changed,
            // The leader may have seen what no subscription tells, such as new partitions.
            State::Stable => changed || self.is_leader(id),
            State::Empty => {
                let code = ErrorCode::UnknownMemberId;
                return cx.hold(ticket, GroupReply::join_failed(code, id));
            }
        };
        if rebalances {
            let reason = match changed {
                true => Reason::SubscriptionChanged,
                false => Reason::LeaderRejoined,
            };
            let (id, cause) = (id.clone(), cause_of(reason, id, &join));
            self.update(cx, ticket, &id, join);
            self.rebalance(cx, cause);
        } else {
            let with_members = self.state == State::Completing;
            cx.hold(ticket, GroupReply::Joined(self.joined(id, with_members)));
        }
    }

    /// The member waits for the rebalance, with what it now says. A join of its that waited is superseded.
    pub(super) fn update(&mut self, cx: &mut Context<'_>, ticket: Ticket, id: &str, join: Join) {
        let member = self
            .members
            .get_mut(id)
            .expect("the caller has found the member");
        member.protocols = join.protocols;
        member.session_timeout_ms = join.session_timeout_ms;
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        let earlier = member.joining.replace(Joining {
            ticket,
            may_skip_assignment: join.may_skip_assignment,
        });
        if let Some(earlier) = earlier {
            let code = ErrorCode::RebalanceInProgress;
            cx.hold(earlier.ticket, GroupReply::join_failed(code, id));
        }
    }

    /// What a member is told of this generation; the leader also learns the members, if it is to assign.
    pub(super) fn joined(&self, id: &str, with_members: bool) -> Joined {
        let protocol_name = self.protocol_name.clone().unwrap_or_default();
        let mut members = Vec::new();
        if with_members && self.is_leader(id) {
            members.extend(self.members.iter().map(|(id, member)| JoinedMember {
                id: id.clone(),
                instance: member.instance.clone(),
                subscription: member.subscription(&protocol_name),
            }));
        }
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name,
            leader: self.leader.clone().unwrap_or_default(),
            member: id.to_owned(),
            skip_assignment: false,
            members,
        }
    }

    /// Those who have joined the rebalance that is being prepared.
    pub(super) fn joining(&self) -> impl Iterator<Item = &String> {
        let joining = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_some());
        joining.map(|(id, _)| id)
    }
}
