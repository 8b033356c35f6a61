//! Members go: they say so, or are silent too long.

use protocol::error_code::ErrorCode;

use super::{Emptying, Group, State};
use crate::coordinator::context::Context;
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::MemberRef;
use crate::shard::Ticket;

impl Group {
    /// Answered when the log knows that the group is empty, if it is now; else when the leader is confirmed.
    pub(in crate::coordinator) fn leave(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        members: &[MemberRef],
    ) {
        let codes = members.iter().map(|member| self.leave_one(cx, member));
        let codes = codes.collect::<Vec<_>>();
        if codes.contains(&ErrorCode::None) && !self.is_empty() {
            self.rebalance(cx);
        }
        let reply = GroupReply::Left(codes);
        match self.emptying {
            Emptying::Proposed(token) if self.is_empty() => {
                cx.under_way.attach(token, ticket, reply);
            }
            _ => cx.hold(ticket, reply),
        }
    }

    /// An operator names a static member by its instance alone.
    fn leave_one(&mut self, cx: &mut Context<'_>, member: &MemberRef) -> ErrorCode {
        let id = if member.id.is_empty() {
            let instance = member.instance.as_ref();
            instance
                .and_then(|instance| self.instances.get(instance))
                .cloned()
        } else if self.pending.contains(&member.id) {
            Some(member.id.clone())
        } else {
            match self.known(member) {
                Ok(()) => Some(member.id.clone()),
                Err(code) => return code,
            }
        };
        let Some(id) = id else {
            return ErrorCode::UnknownMemberId;
        };
        self.remove(cx, &id);
        ErrorCode::None
    }

    /// A member was silent too long. One that waits for an answer of ours is excused, unless it has never heard its id;
    /// its time begins anew with the answer.
    pub(in crate::coordinator) fn session_timer(&mut self, cx: &mut Context<'_>, id: &str) {
        if let Some(member) = self.members.get(id) {
            let waits = member.joining.is_some() || member.syncing.is_some();
            if waits && !member.is_new {
                return;
            }
        }
        let was_member = self.members.contains_key(id);
        self.remove(cx, id);
        match self.state {
            State::Completing | State::Stable if was_member => self.prepare(cx),
            State::Preparing => self.complete_join_if_all_joined(cx),
            State::Completing | State::Stable | State::Empty => {}
        }
    }
}
