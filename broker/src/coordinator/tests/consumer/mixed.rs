//! One group whose members are restarted as clients of the one protocol and of the other, over a log that loses and
//! delays, with coordinators that follow one another and may know older metadata. What must hold all the time: no
//! partition has two owners, epochs never fall, what a client was told is what the log says, each request is answered
//! once, no commit is lost; and when it is calm, everything is owned.

use std::collections::BTreeSet;

use super::old::{Old, given};
use super::*;
use crate::coordinator::command::GroupCommand;
use crate::coordinator::consumer::state::State;
use crate::coordinator::reply::Joined;
use crate::coordinator::request::{Commit, MemberRef};
use crate::coordinator::subscription::Subscription;
use crate::coordinator::tests::harness::{
    Dice, Log, SESSION, Topics, commit, config, leave, offset_of,
};

const TOPICS: [&str; 2] = ["t", "u"];
const CLIENTS: usize = 5;

/// A client of the classic protocol.
#[derive(Clone, Debug)]
enum Stage {
    /// It has to join (again).
    Joining,
    /// It has joined, and gives these assignments if it leads.
    Syncing { assignments: Given, leads: bool },
    /// It reads. If it leads, it sees when topics grow.
    Stable { leads: bool },
}

type Given = Vec<(String, bytes::Bytes)>;

#[derive(Clone, Debug)]
enum Process {
    /// Whether the next heartbeat tells everything.
    New(Consumer, bool),
    Old(Old, Stage),
}

struct Client {
    process: Process,
    topics: Vec<&'static str>,
    instance: Option<String>,
    waiting: Option<Ticket>,
    /// A commit of this offset.
    committing: Option<(Ticket, i64)>,
    /// The version of the topics as of its last assignment, if it leads.
    seen: u64,
}

impl Client {
    fn new(number: usize, is_eager: bool, dice: &mut Dice) -> Self {
        let topics = match dice.roll(3) {
            0 => vec!["t"],
            _ => TOPICS.to_vec(),
        };
        let mut client = Self {
            process: Process::Old(Old::new(is_eager), Stage::Joining),
            topics,
            instance: (dice.roll(3) == 0).then(|| format!("instance-{number}")),
            waiting: None,
            committing: None,
            seen: 0,
        };
        client.begin(dice.roll(2) == 0, format!("new-{number}"), is_eager);
        client
    }

    /// A process begins.
    fn begin(&mut self, is_new: bool, id: String, is_eager: bool) {
        self.waiting = None;
        self.committing = None;
        self.process = match is_new {
            true => Process::New(
                Consumer {
                    id,
                    epoch: 0,
                    owned: Partitions::default(),
                },
                true,
            ),
            false => {
                let mut old = Old::new(is_eager);
                old.topics.clone_from(&self.topics);
                Process::Old(old, Stage::Joining)
            }
        };
    }

    fn member(&self) -> MemberRef {
        let id = match &self.process {
            Process::New(consumer, _) => &consumer.id,
            Process::Old(old, _) => &old.id,
        };
        let instance = self.instance.clone();
        MemberRef {
            id: id.clone(),
            instance,
        }
    }

    fn epoch(&self) -> i32 {
        match &self.process {
            Process::New(consumer, _) => consumer.epoch,
            Process::Old(old, _) => old.generation,
        }
    }

    fn request(&mut self, topics: &Topics) -> GroupRequest {
        let member = self.member();
        match &mut self.process {
            Process::New(consumer, tells_all) => {
                let says = match tells_all {
                    true => ConsumerBeat {
                        epoch: consumer.epoch,
                        owned: Some(consumer.owned.clone()),
                        ..join(&consumer.id, &self.topics)
                    },
                    false => consumer.says(),
                };
                GroupRequest::ConsumerBeat(ConsumerBeat { member, ..says })
            }
            Process::Old(old, stage) => {
                if matches!(stage, Stage::Stable { leads: true }) && self.seen != topics.version {
                    *stage = Stage::Joining;
                }
                match stage {
                    Stage::Joining => {
                        old.before_join();
                        let mut request = old.request();
                        request.member = member;
                        GroupRequest::Join(request)
                    }
                    Stage::Syncing { assignments, .. } => {
                        let mut request = old.sync();
                        request.member = member;
                        request.assignments.clone_from(assignments);
                        GroupRequest::Sync(request)
                    }
                    Stage::Stable { .. } => GroupRequest::Heartbeat {
                        group: "g".to_owned(),
                        generation: old.generation,
                        member,
                    },
                }
            }
        }
    }

    fn hears(&mut self, reply: &GroupReply, topics: &Topics) {
        match &mut self.process {
            Process::New(consumer, tells_all) => hears_new(consumer, tells_all, reply),
            Process::Old(old, stage) => {
                if let GroupReply::Joined(_) = reply {
                    self.seen = topics.version;
                }
                hears_old(old, stage, reply, topics);
            }
        }
    }

    /// It knows its generation, and not yet what it owns in it.
    fn has_yet_to_hear(&self) -> bool {
        matches!(&self.process, Process::Old(_, Stage::Syncing { .. }))
    }

    /// Its connection broke: it asks again.
    fn is_cut_off(&mut self) {
        self.waiting = None;
        match &mut self.process {
            Process::New(_, tells_all) => *tells_all = true,
            Process::Old(old, stage) => joins_anew(old, stage),
        }
    }

    /// What it reads, if it is a member as far as it knows.
    fn owns(&self, topics: &Topics) -> BTreeSet<(String, i32)> {
        match &self.process {
            Process::New(consumer, _) => {
                let named =
                    |(id, partition)| Some((topics.name(id).map(str::to_owned)?, partition));
                consumer.owned.iter().filter_map(named).collect()
            }
            Process::Old(old, _) => old.owned.clone(),
        }
    }
}

/// If it does not know what it owns in its generation, it has none.
fn joins_anew(old: &mut Old, stage: &mut Stage) {
    if let Stage::Syncing { .. } = stage {
        old.generation = -1;
        *stage = Stage::Joining;
    }
}

fn hears_new(consumer: &mut Consumer, tells_all: &mut bool, reply: &GroupReply) {
    match reply {
        GroupReply::ConsumerBeaten(told) => {
            assert!(told.epoch >= consumer.epoch, "epochs never fall");
            consumer.hears(told);
            *tells_all = false;
        }
        GroupReply::Failed { code, .. } => match code {
            ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorLoadInProgress => *tells_all = true,
            ErrorCode::UnknownMemberId
            | ErrorCode::FencedMemberEpoch
            | ErrorCode::GroupIdNotFound => {
                consumer.epoch = 0;
                consumer.owned = Partitions::default();
                *tells_all = true;
            }
            ErrorCode::UnreleasedInstanceId | ErrorCode::GroupMaxSizeReached => {}
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn hears_old(old: &mut Old, stage: &mut Stage, reply: &GroupReply, topics: &Topics) {
    match reply {
        GroupReply::Joined(joined) => {
            // NB: it may be less than before: of the classic protocol a generation is stored with its assignment only.
            old.id.clone_from(&joined.member);
            old.generation = joined.generation;
            let leads = joined.leader == old.id;
            let assignments = match leads && !joined.skip_assignment {
                true => assign(joined, topics),
                false => Vec::new(),
            };
            *stage = Stage::Syncing { assignments, leads };
        }
        GroupReply::Synced { assignment, .. } => {
            let leads = matches!(stage, Stage::Syncing { leads: true, .. });
            *stage = match old.hears(assignment) {
                true => Stage::Joining,
                false => Stage::Stable { leads },
            };
        }
        GroupReply::Done => {}
        GroupReply::Failed { code, member } => match code {
            ErrorCode::MemberIdRequired => old.id.clone_from(member),
            ErrorCode::RebalanceInProgress => {
                joins_anew(old, stage);
                *stage = Stage::Joining;
            }
            ErrorCode::GroupMaxSizeReached => {}
            ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorLoadInProgress => joins_anew(old, stage),
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedInstanceId => {
                if *code != ErrorCode::IllegalGeneration {
                    old.id.clear();
                }
                old.generation = -1;
                old.owned.clear();
                *stage = Stage::Joining;
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// As a leader does it: in turns, and what another one still owns is given to nobody yet.
fn assign(joined: &Joined, topics: &Topics) -> Given {
    let members = joined.members.iter().map(|member| {
        let said = Subscription::decode(&member.subscription).expect("it can be read");
        (member.id.clone(), said)
    });
    let members: Vec<(String, Subscription)> = members.collect();
    let mut sets: BTreeMap<&str, BTreeSet<(String, i32)>> = BTreeMap::new();
    for topic in TOPICS {
        let takers = members
            .iter()
            .filter(|(_, said)| said.topics.contains(topic));
        let takers: Vec<&String> = takers.map(|(id, _)| id).collect();
        let Some((_, count)) = topics.topic(topic).filter(|_| !takers.is_empty()) else {
            continue;
        };
        for (partition, taker) in (0..count).zip(takers.iter().cycle()) {
            let place = (topic.to_owned(), partition);
            let owner = members.iter().find(|(_, said)| said.owned.contains(&place));
            if owner.is_none_or(|(id, _)| id == *taker) {
                sets.entry(taker).or_default().insert(place);
            }
        }
    }
    let set = |id: &String| given(sets.get(id.as_str()).unwrap_or(&BTreeSet::new()));
    members
        .iter()
        .map(|(id, _)| (id.clone(), set(id)))
        .collect()
}

struct World {
    h: Harness,
    dice: Dice,
    is_eager: bool,
    clients: Vec<Client>,
    /// As the newest broker knows them, and all clients.
    topics: Topics,
    begun: usize,
    epoch: i32,
    checked: usize,
    next_offset: i64,
    /// Offsets in the log: all, and the last one of each partition.
    committed: BTreeSet<i64>,
    last: BTreeMap<(String, i32), i64>,
    upgrades: usize,
    downgrades: usize,
    acknowledged: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = config();
        config.consumer_members_max = 2 * CLIENTS;
        config.members_max = 2 * CLIENTS;
        config.command_bytes_max = [8_000, 1 << 20][usize::from(!seed.is_multiple_of(3))];
        // Nothing goes because it is old.
        config.expiry_interval_ms = u64::MAX;
        let mut dice = Dice::new(seed);
        let mut h = Harness::with(config);
        for topic in TOPICS {
            h.topics
                .put(topic, 1 + i32::try_from(dice.roll(4)).expect("small"));
        }
        let is_eager = dice.roll(2) == 0;
        let clients = (0..CLIENTS).map(|n| Client::new(n, is_eager, &mut dice));
        Self {
            clients: clients.collect(),
            topics: h.topics.clone(),
            h,
            dice,
            is_eager,
            begun: 0,
            epoch: 0,
            checked: 0,
            next_offset: 0,
            committed: BTreeSet::new(),
            last: BTreeMap::new(),
            upgrades: 0,
            downgrades: 0,
            acknowledged: 0,
        }
    }

    fn step(&mut self) {
        match self.dice.roll(40) {
            0..=19 => {
                let at = self.dice.roll(CLIENTS);
                self.send(at);
            }
            20..=22 => self.commit(),
            23..=25 => {
                let is_committed = self.dice.roll(4) > 0;
                self.h.settle_proposal(is_committed);
            }
            26 | 27 => {
                let is_confirmed = self.dice.roll(4) > 0;
                self.h.settle_confirm(is_confirmed);
            }
            28 => {
                let paces = [Log::AtOnce, Log::AtOnce, Log::Waits, Log::Refuses];
                self.h.commits = paces[self.dice.roll(4)];
                self.h.confirms = paces[self.dice.roll(4)];
            }
            29..=32 => {
                let ms = [10, 1_000, SESSION / 3][self.dice.roll(3)];
                self.h.advance(ms);
            }
            33 if self.dice.roll(3) == 0 => self.fail_over(),
            34 if self.dice.roll(3) == 0 => {
                let topic = TOPICS[self.dice.roll(2)];
                let (_, count) = self.topics.topic(topic).expect("none goes");
                self.topics.put(topic, count + 1);
            }
            35 => self.h.topics = self.topics.clone(),
            36 if self.dice.roll(3) == 0 => self.restart(),
            37 => {
                let at = self.dice.roll(CLIENTS);
                self.clients[at].is_cut_off();
            }
            _ => {}
        }
        self.hear();
        self.check();
    }

    /// To a broker that may not have heard of the newest topics.
    fn fail_over(&mut self) {
        let committed = self.dice.roll(self.h.proposed.len() + 1);
        self.h.resign(committed);
        self.h.begin();
    }

    fn send(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.waiting.is_none() {
            let request = client.request(&self.topics);
            client.waiting = Some(self.h.send(request));
        }
    }

    fn commit(&mut self) {
        let at = self.dice.roll(CLIENTS);
        let client = &self.clients[at];
        let owned: Vec<_> = client.owns(&self.topics).into_iter().collect();
        if client.committing.is_some() || owned.is_empty() {
            return;
        }
        let (topic, partition) = &owned[self.dice.roll(owned.len())];
        self.next_offset += 1;
        let request = Commit {
            member: client.member(),
            offsets: vec![offset_of(topic, *partition, self.next_offset)],
            ..commit("g", client.epoch(), "", 0)
        };
        let ticket = self.h.send(GroupRequest::Commit(request));
        self.clients[at].committing = Some((ticket, self.next_offset));
    }

    /// A process ends, sometimes without a word, and another one begins, perhaps of the other protocol.
    fn restart(&mut self) {
        let at = self.dice.roll(CLIENTS);
        let says = self.dice.roll(3) > 0;
        let client = &self.clients[at];
        let member = client.member();
        match &client.process {
            Process::New(consumer, _) if says && consumer.epoch > 0 => {
                let epoch = if member.instance.is_some() { -2 } else { -1 };
                let goes = beat("g", &consumer.id, epoch);
                let goes = ConsumerBeat { member, ..goes };
                self.h.send(GroupRequest::ConsumerBeat(goes));
            }
            Process::Old(old, _) if says && member.instance.is_none() && !old.id.is_empty() => {
                self.h.send(leave("g", vec![member]));
            }
            _ => {}
        }
        self.begun += 1;
        let is_new = self.dice.roll(2) == 0;
        let id = format!("new-{at}-{}", self.begun);
        self.clients[at].begin(is_new, id, self.is_eager);
    }

    fn hear(&mut self) {
        self.look();
        for client in &mut self.clients {
            if let Some(ticket) = client.waiting
                && let Some(reply) = self.h.reply(ticket)
            {
                client.waiting = None;
                client.hears(reply, &self.topics);
            }
            if let Some((ticket, offset)) = client.committing
                && let Some(reply) = self.h.reply(ticket)
            {
                client.committing = None;
                if let GroupReply::Offsets(codes) = reply {
                    assert_eq!(codes, &[ErrorCode::None]);
                    assert!(self.committed.contains(&offset), "told, and not committed");
                    self.acknowledged += 1;
                }
            }
        }
    }

    /// At what the log has got.
    fn look(&mut self) {
        for at in self.checked..self.h.history.len() {
            if let GroupCommand::CommitOffsets { offsets, .. } = &self.h.history[at] {
                for offset in offsets {
                    self.committed.insert(offset.offset);
                    let place = (offset.topic.clone(), offset.partition);
                    self.last.insert(place, offset.offset);
                }
            }
            let turns = turns(&self.h.history[..=at]);
            self.upgrades += usize::from(turns == Some(true));
            self.downgrades += usize::from(turns == Some(false));
        }
        self.checked = self.h.history.len();
    }

    fn check(&mut self) {
        let Some(group) = self.h.groups.get("g") else {
            return;
        };
        for (topic, partitions) in &group.offsets {
            for (partition, stored) in partitions {
                let last = self.last[&(topic.clone(), *partition)];
                assert_eq!(stored.offset, last, "a commit is lost");
            }
        }
        let stored: usize = group.offsets.values().map(BTreeMap::len).sum();
        assert_eq!(stored, self.last.len(), "a commit is lost");
        if let Some(membership) = &group.membership {
            assert!(membership.generation >= self.epoch, "epochs never fall");
            self.epoch = membership.generation;
        }
        if let Some(state) = &group.consumer {
            assert!(state.epoch >= self.epoch, "epochs never fall");
            self.epoch = state.epoch;
            self.check_owners(state);
        }
    }

    fn check_owners(&self, state: &State) {
        let mut owners = BTreeMap::new();
        for (id, member) in &state.members {
            assert!(member.epoch <= state.epoch);
            for place in member.owned() {
                assert_eq!(owners.insert(place, id), None, "{place:?} is of two");
            }
        }
        for client in &self.clients {
            let MemberRef { id, .. } = client.member();
            let member = state.members.get(&id);
            let is_current = member.is_some_and(|member| member.epoch == client.epoch());
            if !is_current || client.has_yet_to_hear() {
                continue;
            }
            for (topic, partition) in client.owns(&self.topics) {
                let (topic, _) = self.topics.topic(&topic).expect("none goes");
                let owner = owners.get(&(topic, partition));
                assert_eq!(owner, Some(&&id), "it reads what is not its own");
            }
        }
    }

    /// Calm: everybody is a member, and every partition that is read has one owner.
    fn settle(&mut self) {
        self.h.topics = self.topics.clone();
        self.h.release();
        self.hear();
        for client in &mut self.clients {
            client.is_cut_off();
        }
        for _ in 0..120 {
            for at in 0..CLIENTS {
                self.send(at);
                self.hear();
                self.check();
            }
            self.h.advance(SESSION / 10);
        }
        for client in &mut self.clients {
            client.is_cut_off();
        }
        let mut owned = BTreeSet::new();
        for client in &self.clients {
            let is_member = match &client.process {
                Process::New(consumer, _) => consumer.epoch > 0,
                Process::Old(_, stage) => matches!(stage, Stage::Stable { .. }),
            };
            assert!(is_member, "{:?}", client.process);
            for place in client.owns(&self.topics) {
                assert!(owned.insert(place.clone()), "{place:?} is read by two");
            }
        }
        for name in TOPICS {
            let is_read = self.clients.iter().any(|c| c.topics.contains(&name));
            let (_, count) = self.topics.topic(name).expect("none goes");
            let mut all = (0..count).filter(|_| is_read);
            assert!(all.all(|p| owned.contains(&(name.to_owned(), p))), "{name}");
        }
        let is_mixed = |client: &Client| matches!(client.process, Process::New(..));
        let group = self.h.groups.get("g").expect("it has members");
        assert_eq!(
            group.consumer.is_some(),
            self.clients.iter().any(is_mixed),
            "of the protocol of its members"
        );
        assert_eq!(self.h.open(), 0);
    }
}

/// Whether the last of these made a group with members one of the consumer protocol (true), or of the classic one.
fn turns(history: &[GroupCommand]) -> Option<bool> {
    let (last, before) = history.split_last()?;
    let was = before.iter().rev().find_map(|command| match command {
        GroupCommand::PutMembership { membership, .. } => {
            Some((false, !membership.members.is_empty()))
        }
        GroupCommand::ChangeConsumers { .. } => Some((true, true)),
        _ => None,
    });
    match (last, was?) {
        (GroupCommand::ChangeConsumers { .. }, (false, true)) => Some(true),
        (GroupCommand::PutMembership { membership, .. }, (true, _)) => {
            (!membership.members.is_empty()).then_some(false)
        }
        _ => None,
    }
}

#[test]
fn members_of_both_kinds_come_and_go() {
    let (mut upgrades, mut downgrades, mut acknowledged) = (0, 0, 0);
    for seed in 1..=150 {
        let mut world = World::new(seed);
        for _ in 0..1_200 {
            world.step();
        }
        world.settle();
        upgrades += world.upgrades;
        downgrades += world.downgrades;
        acknowledged += world.acknowledged;
    }
    assert!(upgrades > 50, "{upgrades} upgrades");
    assert!(downgrades > 50, "{downgrades} downgrades");
    assert!(acknowledged > 1_000, "{acknowledged} commits");
}
