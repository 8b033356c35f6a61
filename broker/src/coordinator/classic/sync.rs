//! Members ask for their assignment, and the leader brings it.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::error_code::ErrorCode;

use super::member::Member;
use super::{Group, State};
use crate::coordinator::context::Context;
use crate::coordinator::effect::Token;
use crate::coordinator::rebalances::Reason;
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::Sync;
use crate::coordinator::timers::Timer;
use crate::coordinator::under_way::Step;
use crate::shard::Ticket;

impl Group {
    /// Answered when the leader's assignment is committed; at once in a stable group.
    pub(in crate::coordinator) fn sync(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        sync: Sync,
    ) {
        if let Err(code) = self.may_sync(&sync) {
            return cx.hold(ticket, GroupReply::failed(code));
        }
        match self.state {
            State::Empty => cx.hold(ticket, GroupReply::failed(ErrorCode::UnknownMemberId)),
            State::Preparing => {
                cx.hold(ticket, GroupReply::failed(ErrorCode::RebalanceInProgress));
            }
            State::Completing => self.await_assignment(cx, ticket, sync),
            State::Stable => {
                self.has_synced(cx, &sync.member.id);
                let member = &self.members[&sync.member.id];
                cx.hold(ticket, self.synced(member));
            }
        }
    }

    fn may_sync(&self, sync: &Sync) -> Result<(), ErrorCode> {
        self.known(&sync.member)?;
        self.is_current(sync.generation)?;
        let differs = |sent: &Option<String>, own: &Option<String>| {
            sent.is_some() && own.is_some() && sent != own
        };
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn has_synced(&mut self, cx: &mut Context<'_>, id: &str) {
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            cx.timers.cancel(&Timer::Sync(self.name.clone()));
        }
    }

    fn await_assignment(&mut self, cx: &mut Context<'_>, ticket: Ticket, sync: Sync) {
        let id = sync.member.id;
        self.has_synced(cx, &id);
        let member = self
            .members
            .get_mut(&id)
            .expect("may_sync has found the member");
        if let Some(earlier) = member.syncing.replace(ticket) {
            cx.hold(earlier, GroupReply::failed(ErrorCode::RebalanceInProgress));
        }
        // NB: the first assignment of a generation holds. A second one would be in the log what the first is here.
        if self.is_leader(&id) && self.assigning.is_none() {
            self.assign(cx, sync.assignments.into_iter().collect());
        }
    }

    /// The leader has assigned: the log has to know before any member does.
    fn assign(&mut self, cx: &mut Context<'_>, assignments: BTreeMap<String, Bytes>) {
        let command =
            self.put_membership(cx, |id, _| assignments.get(id).cloned().unwrap_or_default());
        if command.size_bytes() > cx.config.command_bytes_max {
            return self.fail_assignment(cx, ErrorCode::UnknownServerError);
        }
        let token = cx.propose(&self.name, command, Step::Assigned { assignments });
        self.assigning = Some(token);
    }

    /// The assignment is committed; it counts unless another rebalance has begun meanwhile.
    pub(super) fn assigned(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        assignments: &BTreeMap<String, Bytes>,
    ) {
        if self.assigning != Some(token) {
            return;
        }
        assert!(
            self.state == State::Completing,
            "else the proposal is forgotten"
        );
        self.assigning = None;
        self.state = State::Stable;
        for (id, member) in &mut self.members {
            member.assignment = assignments.get(id).cloned().unwrap_or_default();
        }
        for (id, ticket) in self.take_syncs() {
            cx.answer(ticket, self.synced(&self.members[&id]));
            self.keep_session(cx, &id);
        }
    }

    /// The assignment cannot be stored: the members are to try again.
    pub(super) fn fail_assignment(&mut self, cx: &mut Context<'_>, code: ErrorCode) {
        let leader = self.leader.clone().unwrap_or_default();
        let cause = self.cause(Reason::AssignmentNotStored, &leader);
        self.answer_syncs(cx, code);
        self.prepare(cx, cause);
    }

    /// All who wait for their assignment get that instead.
    pub(super) fn answer_syncs(&mut self, cx: &mut Context<'_>, code: ErrorCode) {
        for (id, ticket) in self.take_syncs() {
            cx.hold(ticket, GroupReply::failed(code));
            self.keep_session(cx, &id);
        }
    }

    fn take_syncs(&mut self) -> Vec<(String, Ticket)> {
        let members = self.members.iter_mut();
        let syncs = members.filter_map(|(id, member)| Some((id.clone(), member.syncing.take()?)));
        syncs.collect()
    }

    fn synced(&self, member: &Member) -> GroupReply {
        GroupReply::Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: self.protocol_name.clone().unwrap_or_default(),
            assignment: member.assignment.clone(),
        }
    }
}
