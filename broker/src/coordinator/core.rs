//! The coordinator of one partition's groups at its leader.
//!
//! Requests and timers go to the live group that they name; what needs no members is answered from what is stored.
//! Every stored group with members is live, so a group that is not has none. A live group is of one protocol.

use std::collections::{BTreeMap, BTreeSet};

use protocol::error_code::ErrorCode;
use raft::types::Tick;

use super::catalog::Catalog;
use super::classic;
use super::command::GroupCommand;
use super::consumer;
use super::consumer::assignor::Assignors;
use super::context::{Context, later};
use super::effect::{Effect, Token};
use super::forget::Forgetting;
use super::member_ids::MemberIds;
use super::rebalances::Rebalances;
use super::reply::GroupReply;
use super::request::{GroupRequest, Join, Leaver, MemberRef, Sync};
use super::state::{Groups, StoredGroup};
use super::timers::{Timer, Timers};
use super::under_way::{Step, UnderWay, Waiting, refusal};
use crate::shard::Ticket;

/// What holds for all groups of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Wait for more members before the first rebalance of an empty group.
    pub initial_rebalance_delay_ms: u64,
    /// The shortest session timeout that a member may ask for.
    pub session_timeout_min_ms: u64,
    /// The longest.
    pub session_timeout_max_ms: u64,
    /// Members of one group; also ids that were given out and not come back with.
    pub members_max: usize,
    /// Groups of one partition.
    pub groups_max: usize,
    /// Committed offsets of one group. Of a commit of more, those of further partitions fail.
    pub offsets_max: usize,
    /// Bytes of a committed offset's metadata.
    pub offset_metadata_bytes_max: usize,
    /// Bytes of one command: what an entry of the log may hold. A commit or an assignment above it is refused, and a
    /// member whose group would say more of itself.
    pub command_bytes_max: usize,
    /// Offsets of empty groups are kept so long.
    pub offsets_retention_ms: u64,
    /// A member of the consumer protocol is removed after so long a silence.
    pub consumer_session_timeout_ms: u64,
    /// A member of the consumer protocol is to be heard so often.
    pub consumer_heartbeat_interval_ms: u64,
    /// What members of the consumer protocol may ask for.
    pub assignors: Assignors,
    /// Members of one group of the consumer protocol.
    pub consumer_members_max: usize,
    /// A group of the classic protocol, with members, becomes one of the consumer protocol when a member of that comes.
    pub upgrades: bool,
    /// And is one of the classic protocol again when the last such member has gone.
    pub downgrades: bool,
    /// How often expiry looks.
    pub expiry_interval_ms: u64,
    /// Of the member ids that are given out.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            initial_rebalance_delay_ms: 3000,
            session_timeout_min_ms: 6000,
            session_timeout_max_ms: 1_800_000,
            members_max: 10_000,
            groups_max: 100_000,
            offsets_max: 100_000,
            offset_metadata_bytes_max: 4096,
            command_bytes_max: 8 << 20,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            assignors: Assignors::default(),
            consumer_members_max: 10_000,
            upgrades: true,
            downgrades: true,
            expiry_interval_ms: 600_000,
            seed: 1,
        }
    }
}

/// The moment of a call.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// Monotonic.
    pub tick: Tick,
    /// The wall clock, in ms.
    pub wall_ms: i64,
    /// What is committed and applied here.
    pub groups: &'a Groups,
    /// The topics of the cluster, as this broker knows them.
    pub topics: &'a dyn Catalog,
}

/// Groups of the classic protocol, by name.
type Classics = BTreeMap<String, classic::Group>;
/// Groups of the consumer protocol, by name.
type Consumers = BTreeMap<String, consumer::Group>;

/// What became of a proposal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Committed,
    Refused,
}

/// See the module.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) config: Config,
    /// Groups of the classic protocol.
    pub(super) live: Classics,
    /// Groups of the consumer protocol.
    pub(super) consumers: Consumers,
    /// Groups that count although they are not stored: live ones, and those that a commit under way will make.
    unstored: BTreeSet<String>,
    pub(super) timers: Timers,
    pub(super) under_way: UnderWay,
    ids: MemberIds,
    pub(super) rebalances: Rebalances,
    pub(super) forgetting: Forgetting,
    /// When this coordinator began, in wall-clock ms.
    pub(super) since_ms: i64,
}

impl Coordinator {
    /// A leader begins. It is established: everything that was ever committed is in `now.groups`.
    #[must_use]
    pub fn new(config: Config, now: Now<'_>) -> Self {
        let mut coordinator = Self {
            ids: MemberIds::new(config.seed, now),
            config,
            live: BTreeMap::new(),
            consumers: BTreeMap::new(),
            unstored: BTreeSet::new(),
            timers: Timers::default(),
            under_way: UnderWay::new(now.tick),
            rebalances: Rebalances::default(),
            forgetting: Forgetting::default(),
            since_ms: now.wall_ms,
        };
        let first_ms = coordinator.config.expiry_interval_ms.max(1);
        coordinator
            .timers
            .set(Timer::Expiry, later(now.tick, first_ms));
        coordinator.topics_changed(now);
        let mut none = Vec::new();
        let (live, consumers, mut cx) = coordinator.split(now, &mut none);
        for (name, group) in now.groups.iter() {
            let membership = group.membership.as_ref();
            if let Some(membership) = membership.filter(|m| !m.members.is_empty()) {
                let restored = classic::Group::restored(name, membership, &mut cx);
                live.insert(name.to_owned(), restored);
            }
            let state = group.consumer.as_ref();
            if let Some(state) = state.filter(|state| !state.members.is_empty()) {
                let restored = consumer::Group::restored(name, state, &mut cx);
                consumers.insert(name.to_owned(), restored);
            }
        }
        assert!(none.is_empty(), "nobody is there yet");
        coordinator
    }

    /// A client asks.
    pub fn request(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        request: GroupRequest,
        out: &mut Vec<Effect>,
    ) {
        if let Some(group) = request.said_to()
            && self.consumers.contains_key(group)
        {
            return self.ask_consumers(now, ticket, request, out);
        }
        match request {
            GroupRequest::Join(join) => self.join(now, ticket, join, out),
            GroupRequest::Sync(sync) => self.sync(now, ticket, sync, out),
            GroupRequest::Heartbeat {
                group,
                generation,
                member,
            } => self.heartbeat(now, ticket, (&group, generation, &member), out),
            GroupRequest::ConsumerBeat(beat) => self.consumer_beat(now, ticket, beat, out),
            GroupRequest::ConsumerDescribe { group } => {
                self.describe_consumers(now, ticket, &group, out);
            }
            GroupRequest::Leave { group, members } => {
                self.leave(now, ticket, &group, &members, out);
            }
            GroupRequest::Commit(commit) => self.commit(now, ticket, commit, out),
            GroupRequest::Fetch(fetch) => self.fetch(now, ticket, fetch, out),
            GroupRequest::Describe { group } => self.describe(now, ticket, &group, out),
            GroupRequest::List => self.list(now, ticket, out),
            GroupRequest::Delete { group } => self.delete(now, ticket, group, out),
            GroupRequest::DeleteOffsets { group, partitions } => {
                self.delete_offsets(now, ticket, group, partitions, out);
            }
        }
    }

    /// A proposed command is committed, and applied to `now.groups`.
    pub fn committed(&mut self, now: Now<'_>, token: Token, out: &mut Vec<Effect>) {
        let Some(waiting) = self.under_way.take(token) else {
            return;
        };
        let answers = waiting.answers.into_iter();
        out.extend(answers.map(|(ticket, reply)| Effect::Answer(ticket, reply)));
        self.go_on(
            now,
            token,
            &waiting.group,
            waiting.step,
            Outcome::Committed,
            out,
        );
    }

    /// This was the leader when the confirmation was asked for.
    pub fn confirmed(&mut self, _now: Now<'_>, token: Token, out: &mut Vec<Effect>) {
        self.under_way.confirmed(token, out);
    }

    /// A command was not appended, or nobody confirmed in time. The leader may go on.
    pub fn refused(&mut self, now: Now<'_>, token: Token, out: &mut Vec<Effect>) {
        let Some(waiting) = self.under_way.take(token) else {
            return self.under_way.unconfirmed(token, out);
        };
        out.extend(waiting.answers.into_iter().map(refusal));
        self.go_on(
            now,
            token,
            &waiting.group,
            waiting.step,
            Outcome::Refused,
            out,
        );
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now<'_>, out: &mut Vec<Effect>) {
        // What these set to be due at once is due at the next tick.
        for _ in 0..self.timers.due(now.tick) {
            if let Some(timer) = self.timers.pop(now.tick) {
                self.fire(now, timer, out);
            }
        }
    }

    /// When a tick is wanted next.
    #[must_use]
    pub fn deadline(&self) -> Option<Tick> {
        self.timers.deadline()
    }

    /// Leadership is lost: everybody who waits is told to look for another coordinator. What was proposed may still be
    /// committed by the next leader.
    pub fn resign(self, out: &mut Vec<Effect>) {
        let live = self.live.into_values();
        let live = live.flat_map(classic::Group::into_tickets);
        let consumers = self.consumers.into_values();
        let consumers = consumers.flat_map(consumer::Group::into_tickets);
        let tickets = self.under_way.into_tickets().chain(live).chain(consumers);
        let failed = GroupReply::failed(ErrorCode::NotCoordinator);
        out.extend(tickets.map(|ticket| Effect::Answer(ticket, failed.clone())));
    }

    /// A group's proposal is settled: who proposed goes on.
    fn go_on(
        &mut self,
        now: Now<'_>,
        token: Token,
        group: &str,
        step: Option<Step>,
        outcome: Outcome,
        out: &mut Vec<Effect>,
    ) {
        match step {
            None => {}
            Some(Step::Changed) => self.consumers_changed(now, group, token, outcome, out),
            Some(Step::Downgraded) => self.downgraded(now, group, token, outcome, out),
            Some(step) => {
                let (live, mut cx) = self.live(now, out);
                if let Some(live) = live.get_mut(group) {
                    match outcome {
                        Outcome::Committed => live.committed(&mut cx, token, step),
                        Outcome::Refused => live.refused(&mut cx, token, step),
                    }
                }
            }
        }
        self.settle(now, group, out);
    }

    /// The groups of both kinds, and what they need of the rest.
    pub(super) fn split<'a>(
        &'a mut self,
        now: Now<'a>,
        out: &'a mut Vec<Effect>,
    ) -> (&'a mut Classics, &'a mut Consumers, Context<'a>) {
        let context = Context {
            config: &self.config,
            now,
            timers: &mut self.timers,
            under_way: &mut self.under_way,
            ids: &mut self.ids,
            rebalances: &mut self.rebalances,
            out,
        };
        (&mut self.live, &mut self.consumers, context)
    }

    /// The live groups of the classic protocol, and what they need of the rest.
    pub(super) fn live<'a>(
        &'a mut self,
        now: Now<'a>,
        out: &'a mut Vec<Effect>,
    ) -> (&'a mut Classics, Context<'a>) {
        let (live, _, context) = self.split(now, out);
        (live, context)
    }

    /// The same with those of the consumer protocol.
    pub(super) fn consumers<'a>(
        &'a mut self,
        now: Now<'a>,
        out: &'a mut Vec<Effect>,
    ) -> (&'a mut Consumers, Context<'a>) {
        let (_, consumers, context) = self.split(now, out);
        (consumers, context)
    }

    /// Answers when a majority has confirmed the leader.
    pub(super) fn hold(&mut self, ticket: Ticket, reply: GroupReply, out: &mut Vec<Effect>) {
        self.under_way.hold(ticket, reply, out);
    }

    /// Proposes a command of a group.
    pub(super) fn propose(
        &mut self,
        group: &str,
        command: GroupCommand,
        answers: Vec<(Ticket, GroupReply)>,
        step: Option<Step>,
        out: &mut Vec<Effect>,
    ) -> Token {
        let waiting = Waiting {
            group: group.to_owned(),
            answers,
            step,
        };
        self.under_way.propose(command, waiting, out)
    }

    /// Whether there is room for one more group, unless it is counted already.
    pub(super) fn has_room(&self, now: Now<'_>, group: &str) -> Result<(), ErrorCode> {
        let count = now.groups.len() + self.unstored.len();
        if count < self.config.groups_max || self.unstored.contains(group) {
            return Ok(());
        }
        Err(ErrorCode::PolicyViolation)
    }

    /// The group counts, also while it is not stored.
    pub(super) fn note_unstored(&mut self, now: Now<'_>, group: &str) {
        if now.groups.get(group).is_none() {
            self.unstored.insert(group.to_owned());
        }
    }

    /// Something has happened to the group: is it still live, does it still count?
    pub(super) fn settle(&mut self, now: Now<'_>, group: &str, out: &mut Vec<Effect>) {
        let is_proposing = self.under_way.is_proposing(group);
        let (all, mut cx) = self.live(now, out);
        if let Some(live) = all.get_mut(group)
            && live.is_idle()
        {
            live.forget(&mut cx);
            all.remove(group);
        }
        let consumers = self.consumers.get(group);
        if consumers.is_some_and(consumer::Group::is_idle) {
            self.consumers.remove(group);
        }
        let counts =
            is_proposing || self.live.contains_key(group) || self.consumers.contains_key(group);
        let is_stored = now.groups.get(group).is_some();
        if !counts || is_stored {
            self.unstored.remove(group);
        }
        if !counts && !is_stored {
            self.rebalances.forget(group);
        }
    }

    fn join(&mut self, now: Now<'_>, ticket: Ticket, join: Join, out: &mut Vec<Effect>) {
        let timeouts = self.config.session_timeout_min_ms..=self.config.session_timeout_max_ms;
        let is_known = self.live.contains_key(&join.group) || now.groups.get(&join.group).is_some();
        let code = if join.group.is_empty() {
            ErrorCode::InvalidGroupId
        } else if !timeouts.contains(&join.session_timeout_ms) {
            ErrorCode::InvalidSessionTimeout
        } else if is_known {
            ErrorCode::None
        } else if !join.member.id.is_empty() {
            ErrorCode::UnknownMemberId
        } else {
            self.has_room(now, &join.group)
                .err()
                .unwrap_or(ErrorCode::None)
        };
        if code != ErrorCode::None {
            let reply = GroupReply::join_failed(code, &join.member.id);
            return self.hold(ticket, reply, out);
        }
        let group = join.group.clone();
        self.note_unstored(now, &group);
        let (live, mut cx) = self.live(now, out);
        let live = live.entry(group.clone()).or_insert_with(|| {
            let stored = now.groups.get(&group);
            let membership = stored.and_then(StoredGroup::as_classic);
            classic::Group::new(&group, membership.as_ref())
        });
        live.join(&mut cx, ticket, join);
        self.settle(now, &group, out);
    }

    fn sync(&mut self, now: Now<'_>, ticket: Ticket, sync: Sync, out: &mut Vec<Effect>) {
        if let Err(code) = self.has_members(&sync.group) {
            return self.hold(ticket, GroupReply::failed(code), out);
        }
        let (live, mut cx) = self.live(now, out);
        if let Some(live) = live.get_mut(&sync.group) {
            live.sync(&mut cx, ticket, sync);
        }
    }

    fn heartbeat(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        (group, generation, member): (&str, i32, &MemberRef),
        out: &mut Vec<Effect>,
    ) {
        if let Err(code) = self.has_members(group) {
            return self.hold(ticket, GroupReply::failed(code), out);
        }
        let (live, mut cx) = self.live(now, out);
        if let Some(live) = live.get_mut(group) {
            live.heartbeat(&mut cx, ticket, generation, member);
        }
    }

    fn leave(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        group: &str,
        members: &[Leaver],
        out: &mut Vec<Effect>,
    ) {
        match self.has_members(group) {
            Err(ErrorCode::UnknownMemberId) => {
                let codes = vec![ErrorCode::UnknownMemberId; members.len()];
                return self.hold(ticket, GroupReply::Left(codes), out);
            }
            Err(code) => return self.hold(ticket, GroupReply::failed(code), out),
            Ok(()) => {}
        }
        let (live, mut cx) = self.live(now, out);
        if let Some(live) = live.get_mut(group) {
            live.leave(&mut cx, ticket, members);
        }
        self.settle(now, group, out);
    }

    /// Or is about to have some.
    fn has_members(&self, group: &str) -> Result<(), ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        if self.live.contains_key(group) {
            return Ok(());
        }
        Err(ErrorCode::UnknownMemberId)
    }

    fn fire(&mut self, now: Now<'_>, timer: Timer, out: &mut Vec<Effect>) {
        let group = match &timer {
            Timer::Expiry => return self.expire(now, out),
            Timer::Forget => return self.forget(now, out),
            Timer::Join(group)
            | Timer::Sync(group)
            | Timer::Empty(group)
            | Timer::Session(group, _)
            | Timer::Revocation(group, _)
            | Timer::Rejoin(group, _) => group.clone(),
        };
        let (live, consumers, mut cx) = self.split(now, out);
        if let Some(consumers) = consumers.get_mut(&group) {
            match &timer {
                Timer::Session(_, id) => consumers.session_timer(&mut cx, id),
                Timer::Revocation(_, id) => consumers.revocation_timer(&mut cx, id),
                Timer::Rejoin(_, id) => consumers.rejoin_timer(&mut cx, id),
                Timer::Join(_)
                | Timer::Sync(_)
                | Timer::Empty(_)
                | Timer::Expiry
                | Timer::Forget => {}
            }
        }
        if let Some(live) = live.get_mut(&group) {
            match timer {
                Timer::Join(_) => live.join_timer(&mut cx),
                Timer::Sync(_) => live.sync_timer(&mut cx),
                Timer::Empty(_) => live.empty_timer(&mut cx),
                Timer::Session(_, id) => live.session_timer(&mut cx, &id),
                Timer::Revocation(..) | Timer::Rejoin(..) | Timer::Expiry | Timer::Forget => {}
            }
        }
        self.settle(now, &group, out);
    }
}
