//! From one generation to the next.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::error_code::ErrorCode;

use super::{Emptying, Group, Initial, State};
use crate::coordinator::context::Context;
use crate::coordinator::effect::Token;
use crate::coordinator::rebalances::{Cause, Reason};
use crate::coordinator::reply::GroupReply;
use crate::coordinator::timers::Timer;
use crate::coordinator::under_way::Step;

/// Between two tries of what cannot be done now.
const RETRY_MS: u64 = 1_000;

impl Group {
    /// Something has changed: a rebalance begins, or the one that is being prepared may be complete.
    pub(super) fn rebalance(&mut self, cx: &mut Context<'_>, cause: Cause) {
        if self.state == State::Preparing {
            self.maybe_complete_join(cx);
        } else {
            self.prepare(cx, cause);
        }
    }

    /// Members are to join anew.
    pub(super) fn prepare(&mut self, cx: &mut Context<'_>, cause: Cause) {
        assert!(self.state != State::Preparing, "it is being prepared");
        cx.rebalances.begin(&self.name, cx.now.wall_ms, cause);
        if self.state == State::Completing {
            self.answer_syncs(cx, ErrorCode::RebalanceInProgress);
            // Nobody assigns in the generation that is given up.
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
            }
        }
        self.assigning = None;
        self.unsynced.clear();
        cx.timers.cancel(&Timer::Sync(self.name.clone()));
        let is_first = self.is_empty();
        self.state = State::Preparing;
        let timer = Timer::Join(self.name.clone());
        if is_first {
            let delay_ms = cx.config.initial_rebalance_delay_ms;
            self.initial = Some(Initial {
                delay_ms,
                remaining_ms: self.rebalance_timeout_ms().saturating_sub(delay_ms),
                member_added: false,
            });
            cx.set_timer(timer, delay_ms);
        } else if self.all_joined() {
            self.complete_join(cx);
        } else {
            cx.set_timer(timer, self.rebalance_timeout_ms());
        }
    }

    /// Unless it is the first rebalance, which waits for its time.
    pub(super) fn maybe_complete_join(&mut self, cx: &mut Context<'_>) {
        if self.initial.is_none() {
            self.complete_join_if_all_joined(cx);
        }
    }

    /// Also the first rebalance.
    pub(super) fn complete_join_if_all_joined(&mut self, cx: &mut Context<'_>) {
        if self.state == State::Preparing && self.all_joined() {
            self.complete_join(cx);
        }
    }

    /// The time to join is up, unless it is the first rebalance and members still come.
    pub(in crate::coordinator) fn join_timer(&mut self, cx: &mut Context<'_>) {
        assert!(
            self.state == State::Preparing,
            "else the timer is cancelled"
        );
        let delay_max = cx.config.initial_rebalance_delay_ms;
        if let Some(initial) = &mut self.initial
            && initial.member_added
            && initial.remaining_ms > 0
        {
            let delay_ms = delay_max.min(initial.remaining_ms);
            *initial = Initial {
                delay_ms,
                remaining_ms: initial.remaining_ms.saturating_sub(initial.delay_ms),
                member_added: false,
            };
            cx.set_timer(Timer::Join(self.name.clone()), delay_ms);
        } else {
            self.complete_join(cx);
        }
    }

    fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// The longest of all members'.
    fn rebalance_timeout_ms(&self) -> u64 {
        let timeouts = self
            .members
            .values()
            .map(|member| member.rebalance_timeout_ms);
        timeouts.max().unwrap_or(0)
    }

    /// The next generation begins with those who have joined, and the static members.
    fn complete_join(&mut self, cx: &mut Context<'_>) {
        assert!(self.state == State::Preparing, "nobody joins otherwise");
        cx.timers.cancel(&Timer::Join(self.name.clone()));
        let late = self
            .members
            .iter()
            .filter(|(_, m)| m.joining.is_none() && m.instance.is_none());
        let late = late.map(|(id, _)| id.clone()).collect::<Vec<_>>();
        cx.rebalances.missed(&self.name, late.len());
        for id in late {
            self.remove(cx, &id);
        }
        if self.members.is_empty() {
            self.initial = None;
            self.become_empty(cx);
        } else if self.elect() {
            self.initial = None;
            self.next_generation(cx);
        } else {
            // Only static members, and none has come: their sessions will end, or they will come.
            let again_ms = self.rebalance_timeout_ms().max(RETRY_MS);
            cx.set_timer(Timer::Join(self.name.clone()), again_ms);
        }
    }

    /// The leader stays if it has joined, else it is the first who came of those who have. False if nobody has.
    fn elect(&mut self) -> bool {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(|leader| leader.joining.is_some()) {
            return true;
        }
        let next = self.earliest(|member| member.joining.is_some());
        let is_elected = next.is_some();
        if is_elected {
            self.leader = next;
        }
        is_elected
    }

    fn next_generation(&mut self, cx: &mut Context<'_>) {
        self.generation += 1;
        self.protocol_name = Some(self.choose_protocol());
        self.subscribed = self.subscribed_topics();
        self.state = State::Completing;
        self.emptying = Emptying::No;
        self.unsynced = self.members.keys().cloned().collect();
        for id in self.unsynced.clone() {
            let joined = self.joined(&id, true);
            let member = self.members.get_mut(&id).expect("it is a member's id");
            member.is_new = false;
            if let Some(joining) = member.joining.take() {
                cx.hold(joining.ticket, GroupReply::Joined(joined));
            }
            self.keep_session(cx, &id);
        }
        cx.set_timer(Timer::Sync(self.name.clone()), self.rebalance_timeout_ms());
    }

    /// Each member votes for the first of its protocols that all speak; of equal ones the first by name.
    pub(super) fn choose_protocol(&self) -> String {
        let mut members = self.members.values();
        let first = members
            .next()
            .expect("a group without members has no protocol");
        let candidates = first.protocols.iter().map(|(name, _)| name.as_str());
        let candidates = candidates
            .filter(|name| self.members.values().all(|member| member.speaks(name)))
            .collect::<BTreeSet<_>>();
        let mut votes = BTreeMap::<&str, usize>::new();
        for vote in self
            .members
            .values()
            .filter_map(|member| member.vote(&candidates))
        {
            *votes.entry(vote).or_default() += 1;
        }
        let most = votes.into_iter().rev().max_by_key(|(_, count)| *count);
        let (name, _) = most.expect("a member was accepted because of a protocol that all speak");
        name.to_owned()
    }

    /// The time to sync is up: who has not is gone.
    pub(in crate::coordinator) fn sync_timer(&mut self, cx: &mut Context<'_>) {
        assert!(
            matches!(self.state, State::Completing | State::Stable),
            "else the timer is cancelled"
        );
        let Some(first) = self.unsynced.first() else {
            return;
        };
        let cause = self.cause(Reason::SyncTimedOut, first);
        for id in self.unsynced.clone() {
            self.remove(cx, &id);
        }
        self.prepare(cx, cause);
    }

    fn become_empty(&mut self, cx: &mut Context<'_>) {
        self.generation += 1;
        self.state = State::Empty;
        self.protocol_name = None;
        self.leader = None;
        self.subscribed = self.is_consumer().then(BTreeSet::new);
        self.store_empty(cx);
    }

    fn store_empty(&mut self, cx: &mut Context<'_>) {
        let command = self.put_membership(cx, |_, _| Bytes::new());
        let token = cx.propose(&self.name, command, Step::Emptied);
        self.emptying = Emptying::Proposed(token);
    }

    /// Nobody is lost by that, but the log still has the former members: it is told again until it knows.
    pub(super) fn emptying_refused(&mut self, cx: &mut Context<'_>, token: Token) {
        if self.emptying != Emptying::Proposed(token) {
            return;
        }
        self.emptying = Emptying::Refused;
        cx.set_timer(Timer::Empty(self.name.clone()), RETRY_MS);
    }

    /// That the group is empty was refused, and it may be so still.
    pub(in crate::coordinator) fn empty_timer(&mut self, cx: &mut Context<'_>) {
        if self.emptying == Emptying::Refused {
            self.emptying = Emptying::No;
            if self.is_empty() {
                self.store_empty(cx);
            }
        }
    }
}
