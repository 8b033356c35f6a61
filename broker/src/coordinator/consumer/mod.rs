//! One group of the consumer protocol (KIP-848) that has members, at its coordinator.
//!
//! The coordinator assigns. Each change of members, subscriptions or topics raises the group's epoch; for it a target
//! is made, who is to own what; and each member goes there at its own pace, from heartbeat to heartbeat: it gives up
//! what the target gives to others, says so, and is then told what it gets, as far as others have given that up.
//!
//! ```text
//!            the target takes something        it has given that up, or never had it
//!   Stable ------------------------> Unrevoked ----------------------> Stable
//!     ^  \                                                               ^
//!     |   `--- others still own what it gets ---> Unreleased ---> they do not any more
//!     `---------------------------------------------------------------------'
//! ```
//!
//! All of it is replicated ([`state::State`]); here are a copy of that, ahead by what is under way, and who waits.
//! A group has one command under way at a time. What comes meanwhile waits and is then decided together, so that every
//! decision rests on committed ones alone, and a command that is refused takes nothing else with it.
//!
//! | file | |
//! |---|---|
//! | `state` | what is replicated, and in which steps it changes |
//! | `heartbeat`, `leave` | what members say, and when they are silent |
//! | `classic_member` | what members of the classic protocol say |
//! | `migration` | from the classic protocol, and back |
//! | `target`, `assignor/`, `pattern` | who is to own what |
//! | `reconcile` | from what a member owns to what it is to own |
//! | `view` | what others see of it |

pub mod assignor;
pub(super) mod classic_member;
mod heartbeat;
mod leave;
pub(super) mod migration;
pub mod partitions;
mod pattern;
mod reconcile;
pub mod state;
mod target;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::state::{Change, Member, Phase, State};
use super::command::GroupCommand;
use super::context::Context;
use super::effect::Token;
use super::rebalances::{Cause, Reason};
use super::reply::GroupReply;
use super::request::GroupRequest;
use super::timers::Timer;
use super::under_way::{Step, refusal};
use crate::metadata::TopicId;
use crate::shard::Ticket;

/// What is decided in its turn.
#[derive(Debug)]
enum Call {
    /// See [`GroupRequest::said_to`].
    Asked(Ticket, Box<GroupRequest>),
    /// A member was silent too long.
    Silent(String),
    /// A member has not given up in time what it was told to.
    Unrevoked(String),
    /// A member of the classic protocol has not joined again in time, or not asked for its assignment.
    Late(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    /// As of the changes that are under way, or being decided.
    state: State,
    /// Being decided.
    changes: Vec<Change>,
    /// Who owns what, also while it gives that up.
    owners: BTreeMap<(TopicId, i32), String>,
    /// Ids of static members by instance id.
    instances: BTreeMap<String, String>,
    /// The command that is proposed.
    under_way: Option<Token>,
    /// Those that have to follow it: one command has a limit.
    following: VecDeque<Vec<Change>>,
    /// Sent when all of them are committed.
    answers: Vec<(Ticket, GroupReply)>,
    /// What came meanwhile.
    waiting: VecDeque<Call>,
    /// The version of the topics when they were looked at; None if they are to be looked at again in any case.
    seen: Option<u64>,
    /// The topics that fit each pattern, as of then.
    matching: BTreeMap<String, BTreeSet<String>>,
    /// The log knows it as one of the classic protocol, until the first command is committed.
    is_upgrading: bool,
    /// It was decided that it is one of the classic protocol again.
    downgrade: Option<GroupCommand>,
}

impl Group {
    /// A group that has no members yet, with what is stored of an earlier time.
    pub(super) fn new(name: &str, stored: State) -> Self {
        let mut group = Self {
            name: name.to_owned(),
            state: State::default(),
            changes: Vec::new(),
            owners: BTreeMap::new(),
            instances: BTreeMap::new(),
            under_way: None,
            following: VecDeque::new(),
            answers: Vec::new(),
            waiting: VecDeque::new(),
            seen: None,
            matching: BTreeMap::new(),
            is_upgrading: false,
            downgrade: None,
        };
        group.load(stored);
        group
    }

    /// A coordinator begins: the members go on, with fresh sessions.
    pub(super) fn restored(name: &str, stored: &State, cx: &mut Context<'_>) -> Self {
        let group = Self::new(name, stored.clone());
        group.restart_timers(cx);
        group
    }

    fn load(&mut self, state: State) {
        self.owners.clear();
        self.instances.clear();
        for (id, member) in &state.members {
            self.own(id, member);
        }
        self.state = state;
    }

    /// Whether what is stored can speak for it.
    pub(super) fn is_idle(&self) -> bool {
        self.state.members.is_empty() && self.under_way.is_none() && self.waiting.is_empty()
    }

    /// A member says something, of either protocol, or an operator sends members away.
    pub(super) fn ask(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: GroupRequest) {
        self.waiting
            .push_back(Call::Asked(ticket, Box::new(request)));
        self.decide(cx);
    }

    /// A member was silent too long.
    pub(super) fn session_timer(&mut self, cx: &mut Context<'_>, id: &str) {
        self.waiting.push_back(Call::Silent(id.to_owned()));
        self.decide(cx);
    }

    /// A member has not given up in time what it was told to.
    pub(super) fn revocation_timer(&mut self, cx: &mut Context<'_>, id: &str) {
        self.waiting.push_back(Call::Unrevoked(id.to_owned()));
        self.decide(cx);
    }

    /// A member of the classic protocol has not done in time what it was told to.
    pub(super) fn rejoin_timer(&mut self, cx: &mut Context<'_>, id: &str) {
        self.waiting.push_back(Call::Late(id.to_owned()));
        self.decide(cx);
    }

    /// Its command is committed.
    pub(super) fn committed(&mut self, cx: &mut Context<'_>, token: Token) {
        assert_eq!(self.under_way, Some(token), "one is under way at a time");
        self.under_way = None;
        self.is_upgrading = false;
        if let Some(changes) = self.following.pop_front() {
            return self.propose(cx, changes);
        }
        for (ticket, reply) in std::mem::take(&mut self.answers) {
            cx.answer(ticket, reply);
        }
        self.decide(cx);
    }

    /// Its command was not appended: what was decided is void, and who waits for it is to ask again.
    pub(super) fn refused(&mut self, cx: &mut Context<'_>, token: Token) {
        assert_eq!(self.under_way, Some(token), "one is under way at a time");
        self.under_way = None;
        self.following.clear();
        let answers = std::mem::take(&mut self.answers);
        cx.out.extend(answers.into_iter().map(refusal));
        let stored = cx.now.groups.get(&self.name);
        let stored = stored.and_then(|stored| stored.consumer.clone());
        self.forget_timers(cx);
        self.load(stored.unwrap_or_default());
        self.restart_timers(cx);
        self.seen = None;
        self.decide(cx);
    }

    /// Everybody who waits, of a coordinator that is none any more.
    pub(super) fn into_tickets(self) -> impl Iterator<Item = Ticket> {
        let waiting = self.waiting.into_iter().filter_map(|call| match call {
            Call::Asked(ticket, _) => Some(ticket),
            Call::Silent(_) | Call::Unrevoked(_) | Call::Late(_) => None,
        });
        let answers = self.answers.into_iter().map(|(ticket, _)| ticket);
        answers.chain(waiting)
    }

    /// All that waits, unless a command is under way.
    fn decide(&mut self, cx: &mut Context<'_>) {
        if self.under_way.is_some() {
            return;
        }
        let mut answers = Vec::new();
        while let Some(call) = self.waiting.pop_front() {
            match call {
                Call::Asked(ticket, request) => answers.push((ticket, self.reply(cx, *request))),
                Call::Silent(id) => self.drop_silent(cx, &id),
                Call::Unrevoked(id) => self.drop_unrevoked(cx, &id),
                Call::Late(id) => self.drop_late(cx, &id),
            }
            if let Some(command) = self.downgrade.take() {
                return self.propose_downgrade(cx, command, answers);
            }
        }
        let mut commands = self.commands(cx.config.command_bytes_max);
        match commands.pop_front() {
            None => {
                for (ticket, reply) in answers {
                    cx.hold(ticket, reply);
                }
            }
            Some(first) => {
                self.answers = answers;
                self.following = commands;
                self.propose(cx, first);
            }
        }
    }

    fn reply(&mut self, cx: &mut Context<'_>, request: GroupRequest) -> GroupReply {
        match request {
            GroupRequest::ConsumerBeat(beat) => self.heartbeat(cx, beat),
            GroupRequest::Join(join) => self.join(cx, join),
            GroupRequest::Sync(sync) => self.sync(cx, &sync),
            GroupRequest::Heartbeat {
                generation, member, ..
            } => self.classic_heartbeat(cx, generation, &member),
            GroupRequest::Leave { members, .. } => self.expel(cx, &members),
            other => unreachable!("no member says that: {other:?}"),
        }
    }

    /// What was decided, in commands that may follow one another. Each leaves a state that can be gone on from.
    fn commands(&mut self, bytes_max: usize) -> VecDeque<Vec<Change>> {
        let mut commands: VecDeque<Vec<Change>> = VecDeque::new();
        let mut room = 0;
        for change in std::mem::take(&mut self.changes) {
            let mut bytes = bytes::BytesMut::new();
            change.encode(&mut bytes);
            if bytes.len() > room {
                room = bytes_max.saturating_sub(GroupCommand::CHANGES_BYTES + self.name.len());
                commands.push_back(Vec::new());
            }
            room = room.saturating_sub(bytes.len());
            let last = commands.back_mut().expect("one is there by now");
            last.push(change);
        }
        commands
    }

    fn propose(&mut self, cx: &mut Context<'_>, changes: Vec<Change>) {
        let command = GroupCommand::ChangeConsumers {
            group: self.name.clone(),
            changes,
        };
        self.under_way = Some(cx.propose(&self.name, command, Step::Changed));
    }

    /// The one way in which the state changes.
    fn change(&mut self, change: Change) {
        match &change {
            Change::PutMember { id, member } => {
                self.disown(id);
                self.own(id, member);
            }
            Change::RemoveMember { id } => {
                self.disown(id);
                let instance = self.state.members.get(id).and_then(|m| m.instance.as_ref());
                if let Some(instance) = instance {
                    self.instances.remove(instance);
                }
            }
            Change::Group { .. } | Change::Target { .. } | Change::TargetEpoch(_) => {}
        }
        self.state.apply(&change);
        self.changes.push(change);
    }

    /// Notes what a member owns, and as which instance.
    fn own(&mut self, id: &str, member: &Member) {
        for place in member.owned() {
            let other = self.owners.insert(place, id.to_owned());
            assert!(other.is_none(), "a partition has one owner");
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.to_owned());
        }
    }

    fn disown(&mut self, id: &str) {
        if let Some(member) = self.state.members.get(id) {
            for place in member.owned() {
                self.owners.remove(&place);
            }
        }
    }

    /// The group goes on to its next epoch.
    fn raise_epoch(
        &mut self,
        cx: &mut Context<'_>,
        (topics_hash, topics_version): (u64, u64),
        cause: Cause,
    ) {
        cx.rebalances.begin(&self.name, cx.now.wall_ms, cause);
        let epoch = self.state.epoch.checked_add(1);
        self.change(Change::Group {
            epoch: epoch.expect("a group changes less often"),
            topics_hash,
            topics_version,
            changed_ms: cx.now.wall_ms,
        });
    }

    fn session(&self, id: &str) -> Timer {
        Timer::Session(self.name.clone(), id.to_owned())
    }

    fn revocation(&self, id: &str) -> Timer {
        Timer::Revocation(self.name.clone(), id.to_owned())
    }

    fn rejoin(&self, id: &str) -> Timer {
        Timer::Rejoin(self.name.clone(), id.to_owned())
    }

    /// The member has been heard of.
    fn keep_session(&self, cx: &mut Context<'_>, id: &str) {
        let member = self.state.members.get(id);
        let classic = member.and_then(|member| member.classic.as_ref());
        let after_ms = classic.map_or(cx.config.consumer_session_timeout_ms, |classic| {
            classic.session_timeout_ms
        });
        cx.set_timer(self.session(id), after_ms);
    }

    /// Of a member, as of now.
    fn cause(&self, reason: Reason, id: &str) -> Cause {
        let member = self.state.members.get(id);
        Cause::of(reason, id, member.map(|m| (&m.instance, &m.client)))
    }

    fn restart_timers(&self, cx: &mut Context<'_>) {
        for (id, member) in &self.state.members {
            self.keep_session(cx, id);
            if member.phase == Phase::Unrevoked {
                cx.set_timer(self.revocation(id), member.rebalance_timeout_ms);
            }
        }
    }

    fn forget_timers(&self, cx: &mut Context<'_>) {
        for id in self.state.members.keys() {
            self.cancel_timers(cx, id);
        }
    }

    fn cancel_timers(&self, cx: &mut Context<'_>, id: &str) {
        cx.timers.cancel(&self.session(id));
        cx.timers.cancel(&self.revocation(id));
        cx.timers.cancel(&self.rejoin(id));
    }
}
