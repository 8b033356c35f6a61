//! Members go: they say so, or are silent too long.

use protocol::error_code::ErrorCode;

use super::{Emptying, Group, State};
use crate::coordinator::context::Context;
use crate::coordinator::rebalances::{Cause, Reason};
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::Leaver;
use crate::shard::Ticket;

impl Group {
    /// Answered when the log knows that the group is empty, if it is now; else when the leader is confirmed.
    pub(in crate::coordinator) fn leave(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        members: &[Leaver],
    ) {
        let mut first = None;
        let mut codes = Vec::with_capacity(members.len());
        for leaver in members {
            codes.push(match self.leave_one(cx, leaver) {
                Ok(cause) => {
                    first.get_or_insert(cause);
                    ErrorCode::None
                }
                Err(code) => code,
            });
        }
        if let Some(cause) = first
            && !self.is_empty()
        {
            self.rebalance(cx, cause);
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
    fn leave_one(&mut self, cx: &mut Context<'_>, leaver: &Leaver) -> Result<Cause, ErrorCode> {
        let member = &leaver.member;
        let id = if member.id.is_empty() {
            let instance = member.instance.as_ref();
            instance
                .and_then(|instance| self.instances.get(instance))
                .cloned()
        } else if self.pending.contains(&member.id) {
            Some(member.id.clone())
        } else {
            self.known(member)?;
            Some(member.id.clone())
        };
        let Some(id) = id else {
            return Err(ErrorCode::UnknownMemberId);
        };
        let cause = self.cause(Reason::Left, &id).in_words(&leaver.reason);
        self.remove(cx, &id);
        Ok(cause)
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
        let cause = self.cause(Reason::SessionExpired, id);
        self.remove(cx, id);
        match self.state {
            State::Completing | State::Stable if was_member => self.prepare(cx, cause),
            State::Preparing => self.complete_join_if_all_joined(cx),
            State::Completing | State::Stable | State::Empty => {}
        }
    }
}
