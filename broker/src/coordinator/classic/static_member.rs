//! A static member comes back under a new id: its process was restarted. It takes over what it had, if it can without
//! a rebalance, and whoever still uses the old id is fenced.

use bytes::Bytes;
use protocol::error_code::ErrorCode;

use super::join::cause_of;
use super::member::Member;
use super::{Group, State};
use crate::coordinator::context::Context;
use crate::coordinator::rebalances::Reason;
use crate::coordinator::reply::{GroupReply, Joined};
use crate::coordinator::request::{Client, Join};
use crate::coordinator::under_way::Step;
use crate::shard::Ticket;

/// How a static member was before it came back, until the log knows that it has.
#[derive(Debug)]
pub(in crate::coordinator) struct Replaced {
    old: String,
    new: String,
    /// Of the group, before.
    leader: String,
    generation: i32,
    protocols: Vec<(String, Bytes)>,
    client: Client,
    session_timeout_ms: u64,
    rebalance_timeout_ms: u64,
}

impl Group {
    /// Answered when it is committed, or with the rebalance that it causes.
    pub(super) fn replace(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        old: &str,
        new: String,
        join: Join,
    ) {
        let leader = self.leader.clone().unwrap_or_default();
        self.rename(cx, old, &new);
        let member = &self.members[&new];
        let replaced = Replaced {
            old: old.to_owned(),
            new: new.clone(),
            leader,
            generation: self.generation,
            protocols: member.protocols.clone(),
            client: member.client.clone(),
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
        };
        let cause = cause_of(Reason::StaticMemberReturned, &new, &join);
        let client = join.client.clone();
        self.update(cx, ticket, &new, join);
        self.members
            .entry(new.clone())
            .and_modify(|member| member.client = client);
        self.keep_session(cx, &new);
        match self.state {
            State::Stable if self.protocol_name == Some(self.choose_protocol()) => {
                let command =
                    self.put_membership(cx, |_, member: &Member| member.assignment.clone());
                cx.propose(&self.name, command, Step::Replaced(Box::new(replaced)));
            }
            State::Stable | State::Completing => self.prepare(cx, cause),
            State::Preparing => self.maybe_complete_join(cx),
            State::Empty => unreachable!("an empty group has no instances"),
        }
    }

    /// The member goes on under another id. Whoever waits under the old one is fenced.
    fn rename(&mut self, cx: &mut Context<'_>, old: &str, new: &str) {
        cx.timers.cancel(&self.session(old));
        let member = self.members.remove(old);
        let mut member = member.expect("an instance stands for a member");
        if let Some(joining) = member.joining.take() {
            let code = ErrorCode::FencedInstanceId;
            cx.hold(joining.ticket, GroupReply::join_failed(code, old));
        }
        if let Some(ticket) = member.syncing.take() {
            cx.hold(ticket, GroupReply::failed(ErrorCode::FencedInstanceId));
        }
        member.is_new = false;
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), new.to_owned());
        }
        if self.is_leader(old) {
            self.leader = Some(new.to_owned());
        }
        if self.unsynced.remove(old) {
            self.unsynced.insert(new.to_owned());
        }
        self.members.insert(new.to_owned(), member);
    }

    /// Unless a rebalance has begun meanwhile, which answers the member, it goes on with what it had.
    ///
    /// NB: a client that does not know "skip the assignment" would assign anew if it heard that it is the leader, while
    /// nobody else joins; so it hears the old leader's id.
    pub(super) fn replacement_stored(&mut self, cx: &mut Context<'_>, replaced: &Replaced) {
        if !self.still_replaces(replaced) {
            return;
        }
        let member = self.members.get_mut(&replaced.new);
        let Some(joining) = member.and_then(|member| member.joining.take()) else {
            return;
        };
        self.keep_session(cx, &replaced.new);
        let joined = if joining.may_skip_assignment {
            Joined {
                skip_assignment: self.is_leader(&replaced.new),
                ..self.joined(&replaced.new, true)
            }
        } else {
            Joined {
                leader: replaced.leader.clone(),
                ..self.joined(&replaced.new, false)
            }
        };
        cx.answer(joining.ticket, GroupReply::Joined(joined));
    }

    /// The log still knows the old id, so it stays, and the client has to try again.
    pub(super) fn replacement_refused(&mut self, cx: &mut Context<'_>, replaced: Replaced) {
        if !self.still_replaces(&replaced) {
            return;
        }
        let member = self.members.get_mut(&replaced.new);
        let member = member.expect("it still replaces");
        if let Some(joining) = member.joining.take() {
            let code = ErrorCode::CoordinatorNotAvailable;
            cx.hold(joining.ticket, GroupReply::failed(code));
        }
        member.protocols = replaced.protocols;
        member.client = replaced.client;
        member.session_timeout_ms = replaced.session_timeout_ms;
        member.rebalance_timeout_ms = replaced.rebalance_timeout_ms;
        self.rename(cx, &replaced.new, &replaced.old);
        self.keep_session(cx, &replaced.old);
    }

    /// Whether nothing has happened since that outdates it.
    fn still_replaces(&self, replaced: &Replaced) -> bool {
        self.state == State::Stable
            && self.generation == replaced.generation
            && self.members.contains_key(&replaced.new)
    }
}
