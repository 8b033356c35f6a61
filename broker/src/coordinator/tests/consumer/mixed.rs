//! One group whose members are restarted as clients of the one protocol and of the other, over a log that loses and
//! delays, with coordinators that follow one another and may know older metadata. What must hold all the time: no
//! partition has two owners, epochs never fall, what a client was told is what the log says, each request is answered
//! once, no commit is lost; and when it is calm, everything is owned.

mod client;

use std::collections::BTreeSet;

use super::*;
use crate::coordinator::command::GroupCommand;
use crate::coordinator::consumer::state::State;
use crate::coordinator::request::{Commit, MemberRef};
use crate::coordinator::tests::harness::{
    Dice, Log, SESSION, Topics, commit, config, leave, offset_of,
};
use client::{Client, Process, Stage};

const TOPICS: [&str; 2] = ["t", "u"];
const CLIENTS: usize = 5;

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
