//! What a live group needs of its coordinator.

use raft::types::Tick;

use super::command::GroupCommand;
use super::core::{Config, Now};
use super::effect::{Effect, Token};
use super::member_ids::MemberIds;
use super::rebalances::Rebalances;
use super::reply::GroupReply;
use super::timers::{Timer, Timers};
use super::under_way::{Step, UnderWay, Waiting};
use crate::shard::Ticket;

/// See the module.
pub(super) struct Context<'a> {
    pub(super) config: &'a Config,
    pub(super) now: Now<'a>,
    pub(super) timers: &'a mut Timers,
    pub(super) under_way: &'a mut UnderWay,
    pub(super) ids: &'a mut MemberIds,
    pub(super) rebalances: &'a mut Rebalances,
    pub(super) out: &'a mut Vec<Effect>,
}

impl Context<'_> {
    /// Answers when a majority has confirmed the leader.
    pub(super) fn hold(&mut self, ticket: Ticket, reply: GroupReply) {
        self.under_way.hold(ticket, reply, self.out);
    }

    /// Answers now: what it says is committed.
    pub(super) fn answer(&mut self, ticket: Ticket, reply: GroupReply) {
        self.out.push(Effect::Answer(ticket, reply));
    }

    /// A group proposes, and goes on with the step.
    pub(super) fn propose(&mut self, group: &str, command: GroupCommand, step: Step) -> Token {
        let waiting = Waiting {
            group: group.to_owned(),
            answers: Vec::new(),
            step: Some(step),
        };
        self.under_way.propose(command, waiting, self.out)
    }

    /// Instead of when it was due before.
    pub(super) fn set_timer(&mut self, timer: Timer, after_ms: u64) {
        self.timers.set(timer, later(self.now.tick, after_ms));
    }
}

/// So many ms later.
pub(super) fn later(tick: Tick, after_ms: u64) -> Tick {
    Tick(tick.0.saturating_add(after_ms))
}
