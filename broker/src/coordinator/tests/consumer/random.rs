//! Many consumers, a log that loses and delays, coordinators that follow one another; and what must hold all the time:
//! no partition is owned by two who still count, epochs never fall, what was answered is committed, and in the end
//! everything is owned.

use super::*;
use crate::coordinator::tests::harness::{Dice, Log, SESSION, config};

const TOPICS: [&str; 3] = ["a", "b", "c"];

/// A consumer as a client is: it has what it was told, and gives up before it says so.
struct Client {
    consumer: Consumer,
    instance: Option<String>,
    topics: Vec<&'static str>,
    /// The next heartbeat tells everything.
    is_new: bool,
    waiting: Option<Ticket>,
    heard_ms: u64,
}

impl Client {
    fn new(number: usize, dice: &mut Dice) -> Self {
        let topics = TOPICS.into_iter().filter(|_| dice.roll(3) > 0).collect();
        Self {
            consumer: Consumer {
                id: format!("client-{number}"),
                epoch: 0,
                owned: Partitions::default(),
            },
            instance: (dice.roll(3) == 0).then(|| format!("instance-{number}")),
            topics,
            is_new: true,
            waiting: None,
            heard_ms: 0,
        }
    }

    fn request(&self) -> GroupRequest {
        let mut request = match self.is_new {
            true => ConsumerBeat {
                epoch: self.consumer.epoch,
                owned: Some(self.consumer.owned.clone()),
                ..join(&self.consumer.id, &self.topics)
            },
            false => self.consumer.says(),
        };
        request.member.instance.clone_from(&self.instance);
        GroupRequest::ConsumerBeat(request)
    }

    fn hears(&mut self, reply: &GroupReply, now_ms: u64) {
        match reply {
            GroupReply::ConsumerBeaten(told) => {
                assert!(told.epoch >= self.consumer.epoch, "epochs never fall");
                self.consumer.hears(told);
                self.is_new = false;
                self.heard_ms = now_ms;
            }
            GroupReply::Failed { code, .. } => match code {
                ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator => {
                    self.is_new = true;
                }
                ErrorCode::UnknownMemberId
                | ErrorCode::FencedMemberEpoch
                | ErrorCode::GroupIdNotFound => self.begin_anew(),
                ErrorCode::UnreleasedInstanceId | ErrorCode::GroupMaxSizeReached => {}
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn begin_anew(&mut self) {
        self.consumer.epoch = 0;
        self.consumer.owned = Partitions::default();
        self.is_new = true;
    }
}

struct World {
    h: Harness,
    dice: Dice,
    clients: Vec<Client>,
    epochs: i32,
    checked: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = config();
        config.consumer_members_max = 5;
        let mut h = Harness::with(config);
        let mut dice = Dice::new(seed);
        for topic in TOPICS {
            h.topics
                .put(topic, 1 + i32::try_from(dice.roll(5)).expect("small"));
        }
        let clients = (0..6).map(|n| Client::new(n, &mut dice)).collect();
        Self {
            h,
            dice,
            clients,
            epochs: 0,
            checked: 0,
        }
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0..=9 => self.send(),
            10 | 11 => {
                let is_committed = self.dice.roll(4) > 0;
                self.h.settle_proposal(is_committed);
            }
            12 | 13 => {
                let is_confirmed = self.dice.roll(4) > 0;
                self.h.settle_confirm(is_confirmed);
            }
            14 => self.pace(),
            15 => {
                let ms = [10, 1_000, SESSION / 3][self.dice.roll(3)];
                self.h.advance(ms);
            }
            16 if self.dice.roll(4) == 0 => {
                let committed = self.dice.roll(self.h.proposed.len() + 1);
                self.h.resign(committed);
                self.h.begin();
            }
            17 if self.dice.roll(4) == 0 => {
                let topic = TOPICS[self.dice.roll(3)];
                let more = i32::try_from(self.dice.roll(6)).expect("small");
                self.h.topics.put(topic, more);
            }
            18 if self.dice.roll(4) == 0 => self.restart(),
            19 => self.drop_answer(),
            _ => {}
        }
        self.hear();
        self.check();
    }

    fn pace(&mut self) {
        let paces = [Log::AtOnce, Log::Waits, Log::Refuses];
        self.h.commits = paces[self.dice.roll(3)];
        self.h.confirms = paces[self.dice.roll(3)];
    }

    fn send(&mut self) {
        let at = self.dice.roll(self.clients.len());
        if self.clients[at].waiting.is_none() {
            let request = self.clients[at].request();
            self.clients[at].waiting = Some(self.h.send(request));
        }
    }

    /// The connection breaks: the client asks again, in full.
    fn drop_answer(&mut self) {
        let at = self.dice.roll(self.clients.len());
        if self.clients[at].waiting.take().is_some() {
            self.clients[at].is_new = true;
        }
    }

    /// A process ends, sometimes without a word, and begins anew; a static one under another id.
    fn restart(&mut self) {
        let at = self.dice.roll(self.clients.len());
        let says = self.dice.roll(3);
        let client = &mut self.clients[at];
        if client.waiting.is_some() {
            return;
        }
        if says > 0 && client.consumer.epoch > 0 {
            let epoch = if client.instance.is_some() { -2 } else { -1 };
            let mut request = beat("g", &client.consumer.id, epoch);
            request.member.instance.clone_from(&client.instance);
            self.h.send(GroupRequest::ConsumerBeat(request));
        }
        let client = &mut self.clients[at];
        client.consumer.id.push('x');
        client.begin_anew();
    }

    fn hear(&mut self) {
        for client in &mut self.clients {
            let Some(ticket) = client.waiting else {
                continue;
            };
            if let Some(reply) = self.h.reply(ticket) {
                client.hears(reply, self.h.now_ms);
                client.waiting = None;
            }
        }
    }

    fn check(&mut self) {
        if self.checked == self.h.history.len() {
            return;
        }
        self.checked = self.h.history.len();
        let Some(state) = self.h.groups.get("g").and_then(|g| g.consumer.as_ref()) else {
            return;
        };
        assert!(state.epoch >= self.epochs, "the group's epoch never falls");
        assert!(state.target_epoch <= state.epoch);
        self.epochs = state.epoch;
        let mut owners = BTreeMap::new();
        for (id, member) in &state.members {
            assert!(member.epoch <= state.epoch);
            assert!(!member.assigned.meets(&member.revoking));
            for place in member.owned() {
                let other = owners.insert(place, id);
                assert_eq!(other, None, "{place:?} is of two");
            }
        }
        // What a client believes to own is its own in the log, as long as it is a member there.
        for client in &self.clients {
            if let Some(member) = state.members.get(&client.consumer.id) {
                let is_own = |place| owners.get(&place) == Some(&&client.consumer.id);
                assert!(
                    member.epoch < client.consumer.epoch
                        || client.consumer.epoch == 0
                        || client.consumer.owned.iter().all(is_own)
                );
            }
        }
        let mut targets = Partitions::default();
        for (topic, partition) in state.targets.values().flat_map(Partitions::iter) {
            let is_given = targets.contains(topic, partition);
            assert!(!is_given || state.target_epoch < state.epoch);
            targets.insert(topic, partition);
        }
    }

    /// Calm: everybody who may be a member is one, and every partition that is read has an owner.
    fn settle(&mut self) {
        self.h.release();
        self.hear();
        for client in &mut self.clients {
            client.waiting = None;
            client.is_new = true;
        }
        for _ in 0..60 {
            for at in 0..self.clients.len() {
                let request = self.clients[at].request();
                self.clients[at].waiting = Some(self.h.send(request));
                self.hear();
                self.check();
            }
            self.h.advance(SESSION / 10);
        }
        assert_eq!(self.h.open(), 0);
        let members: Vec<&Client> = self.clients.iter().filter(|c| !c.is_new).collect();
        assert_eq!(members.len(), 5, "as many as may be");
        let mut owned = Partitions::default();
        for client in &members {
            for (topic, partition) in client.consumer.owned.iter() {
                assert!(!owned.contains(topic, partition));
                owned.insert(topic, partition);
            }
        }
        for name in TOPICS {
            let is_read = members.iter().any(|client| client.topics.contains(&name));
            let Some((topic, count)) = self.h.topics.topic(name).filter(|_| is_read) else {
                continue;
            };
            assert!((0..count).all(|p| owned.contains(topic, p)), "{name}");
        }
    }
}

#[test]
fn nothing_that_must_hold_is_ever_broken() {
    let mut commands = 0;
    for seed in 1..=100 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.step();
        }
        world.settle();
        commands += world.h.history.len();
    }
    assert!(commands > 4_000, "{commands}: too little happened");
}
