//! One group that has members or is about to have some, at its coordinator, in the classic protocol.
//!
//! ```text
//!          join                    all joined, or time is up          leader's assignment committed
//!   Empty ------> PreparingRebalance ------> CompletingRebalance ------> Stable
//!     ^                |      ^                      |                     |
//!     +-- nobody left -+      +-- a member comes, goes, changes, is late --+
//! ```
//!
//! NB: between a proposal and its commit the log knows less than the group does, so a group is kept until the log knows
//! that it is empty ([`Group::is_idle`]); only then does what is stored speak for it.

mod join;
mod leave;
mod member;
mod migration;
mod rebalance;
mod static_member;
mod sync;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use protocol::error_code::ErrorCode;

use self::member::Member;
pub(super) use self::static_member::Replaced;
use super::command::GroupCommand;
use super::context::Context;
use super::effect::Token;
use super::reply::GroupReply;
use super::request::MemberRef;
use super::state::Membership;
use super::subscription::CONSUMER;
use super::timers::Timer;
use super::under_way::Step;
use crate::shard::Ticket;

/// Of a live group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Preparing,
    Completing,
    Stable,
}

/// The first rebalance of an empty group waits a little for more members.
#[derive(Debug)]
struct Initial {
    /// How long it waits this time.
    delay_ms: u64,
    /// How much longer it may wait afterwards.
    remaining_ms: u64,
    /// Since the timer was set.
    member_added: bool,
}

/// How far the log knows that the group is empty.
#[derive(Debug, PartialEq, Eq)]
enum Emptying {
    /// It does, or the group is not empty.
    No,
    /// It is proposed.
    Proposed(Token),
    /// It was refused and will be proposed again.
    Refused,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    state: State,
    generation: i32,
    /// Of its first member.
    protocol_type: Option<String>,
    /// Chosen; None without members.
    protocol_name: Option<String>,
    /// Who assigns; None without members.
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Ids of static members by instance id.
    instances: BTreeMap<String, String>,
    /// Ids that were given out and have not come back with.
    pending: BTreeSet<String>,
    /// Members that have joined this generation and not asked for their assignment.
    unsynced: BTreeSet<String>,
    /// While preparing the first rebalance.
    initial: Option<Initial>,
    /// The proposed assignment, while completing.
    assigning: Option<Token>,
    emptying: Emptying,
    /// Topics of all members as of this generation; None when they cannot be told.
    subscribed: Option<BTreeSet<String>>,
    /// How many members ever came.
    arrivals: u64,
}

impl Group {
    /// A group that has no members yet, with what is stored of an earlier time.
    pub(super) fn new(name: &str, stored: Option<&Membership>) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Empty,
            generation: stored.map_or(0, |stored| stored.generation),
            protocol_type: stored.map(|stored| stored.protocol_type.clone()),
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            initial: None,
            assigning: None,
            emptying: Emptying::No,
            subscribed: stored
                .filter(|stored| stored.protocol_type == CONSUMER)
                .map(|_| BTreeSet::new()),
            arrivals: 0,
        }
    }

    /// A coordinator begins: the members of the last completed rebalance go on, with fresh sessions.
    pub(super) fn restored(name: &str, stored: &Membership, cx: &mut Context<'_>) -> Self {
        assert!(!stored.members.is_empty(), "an empty group is not live");
        let mut live = Self::new(name, Some(stored));
        live.state = State::Stable;
        live.protocol_name = Some(stored.protocol_name.clone());
        live.leader = Some(stored.leader.clone());
        for (id, member) in &stored.members {
            if let Some(instance) = &member.instance {
                live.instances.insert(instance.clone(), id.clone());
            }
            let member = Member::restored(&stored.protocol_name, member);
            live.members.insert(id.clone(), member);
            live.keep_session(cx, id);
        }
        live.subscribed = live.subscribed_topics();
        if stored.leader.is_empty() {
            live.begin_anew(cx);
        }
        live
    }

    /// Whether what is stored can speak for it.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.pending.is_empty() && self.emptying == Emptying::No
    }

    /// Whether what is stored is of before it became empty.
    pub(super) fn is_unstored(&self) -> bool {
        self.emptying != Emptying::No
    }

    /// Whether it has no members, and is not about to have some.
    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// It is deleted: who was given an id has to begin anew.
    pub(super) fn forget_pending(&mut self, cx: &mut Context<'_>) {
        assert!(self.is_empty(), "else the group is not deleted");
        for id in std::mem::take(&mut self.pending) {
            cx.timers.cancel(&self.session(&id));
        }
    }

    /// It is not live any more: nothing of it is due.
    pub(super) fn forget(&mut self, cx: &mut Context<'_>) {
        self.forget_pending(cx);
        cx.timers.cancel(&Timer::Join(self.name.clone()));
        cx.timers.cancel(&Timer::Sync(self.name.clone()));
        cx.timers.cancel(&Timer::Empty(self.name.clone()));
    }

    /// Its proposal is committed.
    pub(super) fn committed(&mut self, cx: &mut Context<'_>, token: Token, step: Step) {
        match step {
            Step::Assigned { assignments } => self.assigned(cx, token, &assignments),
            Step::Emptied => {
                if self.emptying == Emptying::Proposed(token) {
                    self.emptying = Emptying::No;
                }
            }
            Step::Replaced(replaced) => self.replacement_stored(cx, &replaced),
            Step::Changed | Step::Downgraded => unreachable!("of another protocol"),
            Step::Deleted => {
                // Nothing is stored that would have to be replaced.
                if self.emptying == Emptying::Refused {
                    self.emptying = Emptying::No;
                    cx.timers.cancel(&Timer::Empty(self.name.clone()));
                }
            }
        }
    }

    /// Its proposal was not appended.
    pub(super) fn refused(&mut self, cx: &mut Context<'_>, token: Token, step: Step) {
        match step {
            Step::Assigned { .. } => {
                if self.assigning == Some(token) {
                    self.fail_assignment(cx, ErrorCode::CoordinatorNotAvailable);
                }
            }
            Step::Emptied => self.emptying_refused(cx, token),
            Step::Replaced(replaced) => self.replacement_refused(cx, *replaced),
            Step::Changed | Step::Downgraded => unreachable!("of another protocol"),
            Step::Deleted => {}
        }
    }

    /// Everybody who waits, of a coordinator that is none any more.
    pub(super) fn into_tickets(self) -> impl Iterator<Item = Ticket> {
        self.members.into_values().flat_map(|member| {
            let joining = member.joining.map(|joining| joining.ticket);
            joining.into_iter().chain(member.syncing)
        })
    }

    /// The member is alive.
    pub(super) fn heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        generation: i32,
        member: &MemberRef,
    ) {
        let known = self
            .known(member)
            .and_then(|()| self.is_current(generation));
        let reply = match known {
            Err(code) => GroupReply::failed(code),
            Ok(()) => {
                self.keep_session(cx, &member.id);
                match self.state {
                    State::Preparing => GroupReply::failed(ErrorCode::RebalanceInProgress),
                    State::Empty => GroupReply::failed(ErrorCode::UnknownMemberId),
                    State::Completing | State::Stable => GroupReply::Done,
                }
            }
        };
        cx.hold(ticket, reply);
    }

    /// Whether one may commit: a member of this generation that is not about to be told its assignment, or one who is
    /// no member of an empty group. The commit is also a sign of life.
    pub(super) fn may_commit(
        &mut self,
        cx: &mut Context<'_>,
        generation: i32,
        member: &MemberRef,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation < 0 && member.id.is_empty() && member.instance.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.known(member)?;
        self.is_current(generation)?;
        if self.state == State::Completing {
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.keep_session(cx, &member.id);
        Ok(())
    }

    fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// Whether the request names a member, and the one that its instance id stands for now.
    fn known(&self, member: &MemberRef) -> Result<(), ErrorCode> {
        if let Some(instance) = &member.instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(id) if *id != member.id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(&member.id) {
            return Ok(());
        }
        Err(ErrorCode::UnknownMemberId)
    }

    fn is_current(&self, generation: i32) -> Result<(), ErrorCode> {
        if generation == self.generation {
            return Ok(());
        }
        Err(ErrorCode::IllegalGeneration)
    }

    fn session(&self, id: &str) -> Timer {
        Timer::Session(self.name.clone(), id.to_owned())
    }

    /// The member has been heard of.
    fn keep_session(&self, cx: &mut Context<'_>, id: &str) {
        if let Some(member) = self.members.get(id) {
            cx.set_timer(self.session(id), member.session_timeout_ms);
        }
    }

    /// A member, or an id that was given out, is gone. Who waits for it learns that it is unknown.
    fn remove(&mut self, cx: &mut Context<'_>, id: &str) {
        cx.timers.cancel(&self.session(id));
        self.pending.remove(id);
        self.unsynced.remove(id);
        let Some(member) = self.members.remove(id) else {
            return;
        };
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if let Some(joining) = member.joining {
            let unknown = GroupReply::failed(ErrorCode::UnknownMemberId);
            cx.hold(joining.ticket, unknown);
        }
        if let Some(ticket) = member.syncing {
            cx.hold(ticket, GroupReply::failed(ErrorCode::UnknownMemberId));
        }
        if self.is_leader(id) {
            self.leader = self.earliest(|_| true);
        }
    }

    /// Who came first of those.
    fn earliest(&self, of: impl Fn(&Member) -> bool) -> Option<String> {
        let those = self.members.iter().filter(|(_, member)| of(member));
        let first = those.min_by_key(|(_, member)| member.arrival)?;
        Some(first.0.clone())
    }

    /// What is to be stored, with each member's assignment as `assignment` tells it.
    fn put_membership(
        &self,
        cx: &Context<'_>,
        assignment: impl Fn(&str, &Member) -> bytes::Bytes,
    ) -> GroupCommand {
        let protocol = self.protocol_name.clone().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| {
            let stored = member.stored(&protocol, assignment(id, member));
            (id.clone(), stored)
        });
        GroupCommand::PutMembership {
            group: self.name.clone(),
            membership: Membership {
                generation: self.generation,
                protocol_type: self.protocol_type.clone().unwrap_or_default(),
                leader: self.leader.clone().unwrap_or_default(),
                members: members.collect(),
                changed_ms: cx.now.wall_ms,
                protocol_name: protocol,
            },
        }
    }
}
