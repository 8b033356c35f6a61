//! Drives a coordinator with a model of the log: proposals and confirmations are settled at once, or when a test says.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use protocol::error_code::ErrorCode;
use raft::types::Tick;

use crate::coordinator::catalog::Catalog;
use crate::coordinator::command::GroupCommand;
use crate::coordinator::consumer::assignor::Assignors;
use crate::coordinator::core::{Config, Coordinator, Now};
use crate::coordinator::effect::{Effect, Token};
use crate::coordinator::reply::{Described, GroupReply, Joined};
use crate::coordinator::request::{
    Client, Commit, CommitOffset, Fetch, GroupRequest, Join, MemberRef, Sync,
};
use crate::coordinator::state::Groups;
use crate::metadata::TopicId;
use crate::shard::Ticket;

pub(super) const DELAY: u64 = 3_000;
pub(super) const SESSION: u64 = 10_000;
pub(super) const REBALANCE: u64 = 60_000;
pub(super) const RETENTION: u64 = 100_000;
pub(super) const EXPIRY: u64 = 5_000;

pub(super) fn config() -> Config {
    Config {
        assignors: Assignors::default(),
        initial_rebalance_delay_ms: DELAY,
        session_timeout_min_ms: 6_000,
        session_timeout_max_ms: 1_800_000,
        members_max: 4,
        groups_max: 20,
        offsets_max: 3_000,
        offset_metadata_bytes_max: 16,
        command_bytes_max: 4_096,
        offsets_retention_ms: RETENTION,
        consumer_session_timeout_ms: SESSION,
        consumer_heartbeat_interval_ms: 1_000,
        consumer_members_max: 4,
        upgrades: true,
        downgrades: true,
        expiry_interval_ms: EXPIRY,
        seed: 7,
    }
}

/// What the log does with what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    AtOnce,
    Waits,
    Refuses,
}

#[derive(Debug)]
pub(super) struct Harness {
    pub(super) coordinator: Option<Coordinator>,
    pub(super) config: Config,
    pub(super) groups: Groups,
    pub(super) topics: Topics,
    pub(super) now_ms: u64,
    pub(super) commits: Log,
    pub(super) confirms: Log,
    pub(super) proposed: VecDeque<(Token, GroupCommand)>,
    pub(super) asked: VecDeque<Token>,
    /// Everything that was applied, oldest first.
    pub(super) history: Vec<GroupCommand>,
    /// When each was.
    pub(super) applied_ms: Vec<u64>,
    /// All answers in their order, each with how much was applied before it.
    pub(super) answered: Vec<(Ticket, usize)>,
    /// None while it is not answered.
    pub(super) tickets: BTreeMap<Ticket, Option<GroupReply>>,
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: Config) -> Self {
        let mut harness = Self {
            coordinator: None,
            config,
            groups: Groups::default(),
            topics: Topics::default(),
            now_ms: 1_000,
            commits: Log::AtOnce,
            confirms: Log::AtOnce,
            proposed: VecDeque::new(),
            asked: VecDeque::new(),
            history: Vec::new(),
            applied_ms: Vec::new(),
            answered: Vec::new(),
            tickets: BTreeMap::new(),
        };
        harness.begin();
        harness
    }

    /// A new coordinator, from what is applied.
    pub(super) fn begin(&mut self) {
        let now = now(self.now_ms, &self.groups, &self.topics);
        self.coordinator = Some(Coordinator::new(self.config.clone(), now));
    }

    /// The coordinator is none any more; of what it has proposed so many are committed nevertheless.
    pub(super) fn resign(&mut self, committed: usize) {
        let mut out = Vec::new();
        self.coordinator.take().unwrap().resign(&mut out);
        self.absorb(out);
        for (_, command) in std::mem::take(&mut self.proposed)
            .into_iter()
            .take(committed)
        {
            self.apply(command);
        }
        self.asked.clear();
    }

    pub(super) fn fail_over(&mut self) {
        self.resign(usize::MAX);
        self.begin();
    }

    fn with_core(&mut self, f: impl FnOnce(&mut Coordinator, Now<'_>, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        let coordinator = self.coordinator.as_mut().unwrap();
        let now = now(self.now_ms, &self.groups, &self.topics);
        f(coordinator, now, &mut out);
        self.absorb(out);
        self.pump();
    }

    fn absorb(&mut self, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Answer(ticket, reply) => {
                    let slot = self.tickets.get_mut(&ticket).expect("nobody asked that");
                    assert_eq!(*slot, None, "{ticket:?} is answered twice");
                    *slot = Some(reply);
                    self.answered.push((ticket, self.history.len()));
                }
                Effect::Propose(token, command) => self.proposed.push_back((token, command)),
                Effect::Confirm(token) => self.asked.push_back(token),
            }
        }
    }

    fn pump(&mut self) {
        loop {
            if self.commits != Log::Waits && !self.proposed.is_empty() {
                self.settle_proposal(self.commits == Log::AtOnce);
            } else if self.confirms != Log::Waits && !self.asked.is_empty() {
                self.settle_confirm(self.confirms == Log::AtOnce);
            } else {
                return;
            }
        }
    }

    fn apply(&mut self, command: GroupCommand) {
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        assert_eq!(bytes.len(), command.size_bytes());
        let command = GroupCommand::decode(&bytes).expect("it can be read again");
        self.groups.apply(&command);
        self.history.push(command);
        self.applied_ms.push(self.now_ms);
    }

    /// The oldest proposal is committed, or was not appended. False when there is none.
    pub(super) fn settle_proposal(&mut self, is_committed: bool) -> bool {
        let Some((token, command)) = self.proposed.pop_front() else {
            return false;
        };
        if is_committed {
            self.apply(command);
            self.with_core(|core, now, out| core.committed(now, token, out));
        } else {
            self.with_core(|core, now, out| core.refused(now, token, out));
        }
        true
    }

    pub(super) fn settle_confirm(&mut self, is_confirmed: bool) -> bool {
        let Some(token) = self.asked.pop_front() else {
            return false;
        };
        self.with_core(|core, now, out| match is_confirmed {
            true => core.confirmed(now, token, out),
            false => core.refused(now, token, out),
        });
        true
    }

    /// From now on at once, and what waits too.
    pub(super) fn release(&mut self) {
        self.commits = Log::AtOnce;
        self.confirms = Log::AtOnce;
        self.pump();
    }

    /// Asks, and does not wait.
    pub(super) fn send(&mut self, request: GroupRequest) -> Ticket {
        let ticket = Ticket(self.tickets.len() as u64);
        self.tickets.insert(ticket, None);
        self.with_core(|core, now, out| core.request(now, ticket, request, out));
        ticket
    }

    pub(super) fn reply(&self, ticket: Ticket) -> Option<&GroupReply> {
        self.tickets[&ticket].as_ref()
    }

    /// Asks what is answered at once.
    pub(super) fn ask(&mut self, request: GroupRequest) -> GroupReply {
        let ticket = self.send(request);
        self.reply(ticket).expect("it is not answered").clone()
    }

    #[track_caller]
    pub(super) fn assert_failed(&mut self, request: GroupRequest, code: ErrorCode) {
        let reply = self.ask(request);
        assert_eq!(failure(&reply), code, "{reply:?}");
    }

    #[track_caller]
    pub(super) fn assert_code(&self, ticket: Ticket, code: ErrorCode) {
        let reply = self.reply(ticket).expect("it is not answered");
        assert_eq!(failure(reply), code, "{reply:?}");
    }

    #[track_caller]
    pub(super) fn joined(&self, ticket: Ticket) -> Joined {
        match self.reply(ticket) {
            Some(GroupReply::Joined(joined)) => joined.clone(),
            other => panic!("not joined: {other:?}"),
        }
    }

    pub(super) fn open(&self) -> usize {
        self.tickets
            .values()
            .filter(|reply| reply.is_none())
            .count()
    }

    /// Time passes, with a tick at each deadline.
    pub(super) fn advance(&mut self, ms: u64) {
        let target = self.now_ms + ms;
        for _ in 0..100_000 {
            let deadline = self.coordinator.as_ref().unwrap().deadline();
            match deadline {
                Some(Tick(at)) if at <= target => self.now_ms = self.now_ms.max(at),
                _ => {
                    self.now_ms = target;
                    return;
                }
            }
            self.with_core(Coordinator::tick);
        }
        panic!("the timers never end");
    }

    /// A member joins with the id that it is first given, and waits.
    pub(super) fn join(&mut self, group: &str) -> (String, Ticket) {
        let request = Join {
            id_required: true,
            ..join(group, "")
        };
        let reply = self.ask(GroupRequest::Join(request));
        let GroupReply::Failed { code, member } = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(code, ErrorCode::MemberIdRequired);
        let ticket = self.send(GroupRequest::Join(join(group, &member)));
        (member, ticket)
    }

    /// All who wait have joined: the leader assigns to each its own id, and all are told.
    pub(super) fn sync_all(&mut self, group: &str, members: &[(String, Ticket)]) -> i32 {
        let joined = self.joined(members[0].1);
        let mut tickets = Vec::new();
        for (id, _) in members {
            let mut request = sync(group, joined.generation, id);
            if *id == joined.leader {
                request.assignments = assignments(members.iter().map(|(id, _)| id.as_str()));
            }
            tickets.push((id, self.send(GroupRequest::Sync(request))));
        }
        for (id, ticket) in tickets {
            assert_eq!(assignment(self.reply(ticket)), id.as_bytes());
        }
        joined.generation
    }

    /// A stable group of so many members, the first of them the leader, in generation 1.
    pub(super) fn stable(&mut self, group: &str, count: usize) -> Vec<String> {
        let members = (0..count).map(|_| self.join(group)).collect::<Vec<_>>();
        self.advance(2 * DELAY);
        assert_eq!(self.sync_all(group, &members), 1);
        members.into_iter().map(|(id, _)| id).collect()
    }

    pub(super) fn describe(&mut self, group: &str) -> Described {
        let request = GroupRequest::Describe {
            group: group.to_owned(),
        };
        match self.ask(request) {
            GroupReply::Described(described) => described,
            other => panic!("{other:?}"),
        }
    }

    /// -1 for none.
    pub(super) fn offset(&mut self, group: &str, topic: &str, partition: i32) -> i64 {
        let fetch = Fetch {
            group: group.to_owned(),
            member_epoch: -1,
            partitions: Some(vec![(topic.to_owned(), partition)]),
            ..Fetch::default()
        };
        match self.ask(GroupRequest::Fetch(fetch)) {
            GroupReply::Fetched(offsets) => offsets[0].offset,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn now<'a>(now_ms: u64, groups: &'a Groups, topics: &'a Topics) -> Now<'a> {
    Now {
        tick: Tick(now_ms),
        wall_ms: wall_ms(now_ms),
        groups,
        topics,
    }
}

pub(super) fn wall_ms(now_ms: u64) -> i64 {
    1_700_000_000_000 + now_ms.cast_signed()
}

/// The cluster's topics. Their ids are not in the order of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    pub(super) version: u64,
    by_name: BTreeMap<String, (TopicId, i32)>,
}

impl Topics {
    /// A topic comes or grows; without partitions, it goes.
    pub(super) fn put(&mut self, name: &str, count: i32) {
        self.version += 1;
        let id = TopicId(u128::MAX - u128::from(self.version));
        if count == 0 {
            self.by_name.remove(name);
        } else {
            let topic = self.by_name.entry(name.to_owned()).or_insert((id, 0));
            topic.1 = count;
        }
    }
}

impl Catalog for Topics {
    fn version(&self) -> u64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        self.by_name.get(name).copied()
    }

    fn name(&self, id: TopicId) -> Option<&str> {
        let mut topics = self.by_name.iter();
        let (name, _) = topics.find(|(_, topic)| topic.0 == id)?;
        Some(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.by_name.keys().map(String::as_str))
    }
}

/// A small generator (xorshift).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

/// None for a success.
pub(super) fn failure(reply: &GroupReply) -> ErrorCode {
    match reply {
        GroupReply::Failed { code, .. } => *code,
        _ => ErrorCode::None,
    }
}

pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(i32::try_from(topics.len()).unwrap());
    for topic in topics {
        bytes.put_i16(i16::try_from(topic.len()).unwrap());
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.put_i32(0);
    bytes.freeze()
}

pub(super) fn protocol(name: &str, topics: &[&str]) -> (String, Bytes) {
    (name.to_owned(), subscription(topics))
}

pub(super) fn join(group: &str, id: &str) -> Join {
    Join {
        group: group.to_owned(),
        member: member(id),
        client: Client {
            id: "client".to_owned(),
            host: "/127.0.0.1".to_owned(),
        },
        session_timeout_ms: SESSION,
        rebalance_timeout_ms: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range", &["t"]), protocol("roundrobin", &["t"])],
        id_required: false,
        may_skip_assignment: true,
        reason: String::new(),
    }
}

pub(super) fn join_static(group: &str, id: &str, instance: &str) -> Join {
    Join {
        member: instance_of(id, instance),
        ..join(group, id)
    }
}

pub(super) fn member(id: &str) -> MemberRef {
    MemberRef {
        id: id.to_owned(),
        instance: None,
    }
}

pub(super) fn instance_of(id: &str, instance: &str) -> MemberRef {
    MemberRef {
        id: id.to_owned(),
        instance: Some(instance.to_owned()),
    }
}

pub(super) fn sync(group: &str, generation: i32, id: &str) -> Sync {
    Sync {
        group: group.to_owned(),
        generation,
        member: member(id),
        protocol_type: None,
        protocol_name: None,
        assignments: Vec::new(),
    }
}

/// To each its own id.
pub(super) fn assignments<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<(String, Bytes)> {
    ids.map(|id| (id.to_owned(), Bytes::copy_from_slice(id.as_bytes())))
        .collect()
}

#[track_caller]
pub(super) fn assignment(reply: Option<&GroupReply>) -> &[u8] {
    match reply {
        Some(GroupReply::Synced { assignment, .. }) => assignment,
        other => panic!("not synced: {other:?}"),
    }
}

pub(super) fn heartbeat(group: &str, generation: i32, id: &str) -> GroupRequest {
    GroupRequest::Heartbeat {
        group: group.to_owned(),
        generation,
        member: member(id),
    }
}

pub(super) fn leave(group: &str, members: Vec<MemberRef>) -> GroupRequest {
    GroupRequest::Leave {
        group: group.to_owned(),
        members: members.into_iter().map(Into::into).collect(),
    }
}

pub(super) fn commit(group: &str, generation: i32, id: &str, offset: i64) -> Commit {
    Commit {
        group: group.to_owned(),
        generation,
        member: member(id),
        offsets: vec![offset_of("t", 0, offset)],
        knows_epochs: true,
        retention_ms: None,
    }
}

pub(super) fn offset_of(topic: &str, partition: i32, offset: i64) -> CommitOffset {
    CommitOffset {
        topic: topic.to_owned(),
        partition,
        offset,
        leader_epoch: 5,
        metadata: "words".to_owned(),
    }
}

pub(super) fn simple(group: &str, offset: i64) -> GroupRequest {
    GroupRequest::Commit(commit(group, -1, "", offset))
}

impl Harness {
    pub(super) fn topic_deleted(&mut self, topic: &str) {
        self.topics.put(topic, 0);
        self.with_core(|core, now, _| core.topics_changed(now));
    }
}
