//! The run: events in the order of virtual time, faults, healing, checks.

use std::collections::BTreeMap;

use broker::broker::{Acks, FetchAt};
use broker::controller::Action;
use broker::metadata::{Command, Registration, TopicId};
use broker::shard::{Answer, LogDone, Order, PeerBatch, Plan as ReadPlan, Ticket};
use raft::types::{DirectoryId, EntryKind, GroupId, Member, NodeId, ReplicaId, Tick};

use wal::model::Fault;

use crate::client::{Client, History, Operation, Waiting};
use crate::invariants::Account;
use crate::network::{Network, Packet};
use crate::node::Node;
use crate::plan::Plan;
use crate::random::Random;

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// Virtual time in ms.
    pub at: u64,
    /// What does not hold.
    pub what: String,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A digest of every event: the same for the same seed.
    pub digest: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Events.
    pub events: u64,
    /// Acknowledged records.
    pub acked: u64,
    /// Elections won.
    pub elections: u64,
    /// Crashes of single brokers, and of all at once.
    pub crashes: u64,
    /// Network cuts.
    pub cuts: u64,
    /// Messages lost.
    pub lost: u64,
    /// Reassignments finished.
    pub moves: u64,
    /// Answers by kind.
    pub answers: BTreeMap<String, u64>,
}

/// Virtual time after the faults in which everything must be well again.
const HEAL_MS: u64 = 60_000;
/// Events that one run may take: more means that something spins.
const EVENTS_MAX: u64 = 3_000_000;

/// See the module.
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) nodes: Vec<Node>,
    network: Network,
    /// Pairs whose brokers have a connection, with the lives that it joins.
    connected: BTreeMap<(usize, usize), (u64, u64)>,
    founders: Vec<Member>,
    pub(crate) clients: Vec<Client>,
    waiting: BTreeMap<(NodeId, u64, Ticket), Option<Waiting>>,
    tickets: u64,
    values: u64,
    pub(crate) history: History,
    pub(crate) account: Account,
    pub(crate) report: Report,
    /// When the next fault of each kind comes.
    faults: [u64; 5],
    restarts: BTreeMap<usize, u64>,
    heal_at: Option<u64>,
    housekeeping_at: u64,
    pub(crate) chaos: bool,
}

type Outcome = Result<(), String>;

/// Runs one seed.
///
/// # Errors
/// The first thing that does not hold.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    let mut world = World::new(plan.clone());
    let result = world.all();
    result.map_err(|what| Failure {
        seed: plan.seed,
        at: world.now,
        what,
    })?;
    let mut report = world.report;
    report.virtual_ms = world.now;
    report.elections = world.account.elections;
    report.acked = world.history.acked.len() as u64;
    report.cuts = world.network.counts.cuts;
    report.lost = world.network.counts.lost;
    report.answers = world.history.answers;
    Ok(report)
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let directory = |n: i32| DirectoryId(0xD000 + u128::from(n.unsigned_abs()));
        let nodes = (1..=plan.nodes).map(|n| Node::new(NodeId(n), directory(n), plan.seed));
        let founders = (1..=3_i32).map(|n| Member {
            replica: ReplicaId(u64::from(n.unsigned_abs())),
            node: NodeId(n),
            directory: directory(n),
        });
        let clients = (0..plan.clients).map(|id| Client {
            id,
            producer_id: (id > 0).then(|| 1000 + i64::try_from(id).expect("small")),
            sequences: BTreeMap::new(),
            open: BTreeMap::new(),
            acts_at: random.below(50),
        });
        let clients = clients.collect();
        Self {
            now: 0,
            nodes: nodes.collect(),
            network: Network::default(),
            connected: BTreeMap::new(),
            founders: founders.collect(),
            clients,
            waiting: BTreeMap::new(),
            tickets: 0,
            values: 0,
            history: History::default(),
            account: Account::default(),
            report: Report::default(),
            faults: [0; 5],
            restarts: BTreeMap::new(),
            heal_at: None,
            housekeeping_at: 0,
            chaos: false,
            random,
            plan,
        }
    }

    fn all(&mut self) -> Outcome {
        for at in 0..self.nodes.len() {
            self.start(at)?;
        }
        self.until("a topic with leaders", HEAL_MS, Self::has_topic)?;
        self.chaos = true;
        for kind in 0..self.faults.len() {
            self.faults[kind] = self.next_fault(kind);
        }
        let end = self.now + self.plan.chaos_ms;
        while self.now < end {
            self.event()?;
        }
        self.chaos = false;
        self.network.heal();
        self.heal_at = None;
        for node in &mut self.nodes {
            node.disk.heal();
            node.power_cut = false;
        }
        let down: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].up.is_none())
            .collect();
        for at in down {
            self.restarts.remove(&at);
            self.start(at)?;
        }
        self.values += 1_000_000;
        self.until(
            "everything acknowledged and every replica level",
            HEAL_MS,
            Self::is_well,
        )?;
        self.final_check()
    }

    fn until(&mut self, what: &str, limit: u64, well: impl Fn(&Self) -> bool) -> Outcome {
        let end = self.now + limit;
        while !well(self) {
            if self.now > end {
                return Err(format!("not in time: {what}; {}", self.why_not_well()));
            }
            self.event()?;
        }
        Ok(())
    }

    /// The next thing that happens, and what follows.
    fn event(&mut self) -> Outcome {
        self.report.events += 1;
        if self.report.events > EVENTS_MAX {
            return Err("too many events: something spins".to_owned());
        }
        self.now = self.next_time().max(self.now);
        while let Some(packet) = self.network.arrived(self.now) {
            self.deliver(packet)?;
        }
        for at in 0..self.nodes.len() {
            self.disk_of(at)?;
            let due = self.nodes[at]
                .up
                .as_ref()
                .is_some_and(|up| up.shard.deadline().0 <= self.now);
            if due {
                let now = Tick(self.now);
                if let Some(up) = &mut self.nodes[at].up {
                    up.shard.tick(now);
                }
                self.flush(at)?;
            }
            self.control(at)?;
        }
        for at in 0..self.clients.len() {
            if self.clients[at].acts_at <= self.now {
                self.client(at)?;
            }
        }
        if self.housekeeping_at <= self.now {
            self.housekeeping_at = self.now + 25;
            self.housekeeping()?;
        }
        if self.chaos {
            self.inject()?;
        }
        Ok(())
    }

    fn next_time(&self) -> u64 {
        let mut next = self.housekeeping_at;
        next = next.min(self.network.next().unwrap_or(u64::MAX));
        for up in self.nodes.iter().filter_map(|n| n.up.as_ref()) {
            next = next.min(up.shard.deadline().0).min(up.controls_at);
            next = next.min(up.writing.front().map_or(u64::MAX, |w| w.0));
        }
        next.min(
            self.clients
                .iter()
                .map(|c| c.acts_at)
                .min()
                .unwrap_or(u64::MAX),
        )
    }

    /// Notes an event in the run's digest.
    fn note(&mut self, what: u64) {
        let mixed =
            (self.report.digest ^ what ^ self.now.rotate_left(20)).wrapping_mul(0x0100_0000_01B3);
        self.report.digest = mixed.rotate_left(7);
    }

    fn start(&mut self, at: usize) -> Outcome {
        let founders = self.founders.clone();
        let node = &mut self.nodes[at];
        node.start(self.now, &self.plan, &founders)
            .map_err(|why| format!("{}: {why}", node.id))?;
        let id = node.id;
        let statuses: Vec<_> = node.up.iter().flat_map(|up| up.shard.status()).collect();
        for status in statuses {
            self.account.recovered(id, &status)?;
        }
        self.note(0xA0 + at as u64);
        self.flush(at)
    }

    fn stop(&mut self, at: usize) {
        let seed = self.random.next();
        let node = &mut self.nodes[at];
        node.up = None;
        node.disk.crash(seed);
        node.power_cut = false;
        let id = node.id;
        self.account.crashed(id);
        self.waiting.retain(|(asked, _, _), _| *asked != id);
        self.note(0xB0 + at as u64);
        let links: Vec<(usize, usize)> = self
            .connected
            .keys()
            .copied()
            .filter(|(a, b)| *a == at || *b == at)
            .collect();
        for link in links {
            self.disconnect(link);
        }
    }

    fn disconnect(&mut self, link: (usize, usize)) {
        if self.connected.remove(&link).is_none() {
            return;
        }
        let (a, b) = link;
        for (here, there) in [(a, b), (b, a)] {
            let there = self.nodes[there].id;
            if let Some(up) = &mut self.nodes[here].up {
                up.shard.peer_down(Tick(self.now), there);
            }
        }
    }

    fn connect_all(&mut self) -> Outcome {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                let both = self.nodes[a].up.is_some() && self.nodes[b].up.is_some();
                let whole = self.network.is_whole(self.nodes[a].id, self.nodes[b].id);
                if !both || !whole || self.connected.contains_key(&(a, b)) {
                    continue;
                }
                self.connected.insert((a, b), (self.random.next(), 0));
                for (here, there) in [(a, b), (b, a)] {
                    let (there, disk) = (self.nodes[there].id, self.nodes[there].directory);
                    if let Some(up) = &mut self.nodes[here].up {
                        up.shard.peer_up(Tick(self.now), there, disk);
                    }
                    self.flush(here)?;
                }
            }
        }
        Ok(())
    }

    fn link_of(&self, a: NodeId, b: NodeId) -> Option<(u64, u64)> {
        let place = |id: NodeId| self.nodes.iter().position(|n| n.id == id);
        let (a, b) = (place(a)?, place(b)?);
        self.connected.get(&(a.min(b), a.max(b))).copied()
    }

    fn deliver(&mut self, packet: Packet) -> Outcome {
        if self.link_of(packet.from, packet.to) != Some(packet.lives) {
            return Ok(());
        }
        let Some(at) = self.nodes.iter().position(|n| n.id == packet.to) else {
            return Ok(());
        };
        self.note(0xC0 + packet.batch.messages.len() as u64);
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        up.shard
            .peer_frame(Tick(self.now), packet.from, packet.batch);
        self.flush(at)
    }

    /// Finishes the writes whose time has come; a crash in the middle of one is the disk's to model.
    fn disk_of(&mut self, at: usize) -> Outcome {
        loop {
            let Some(up) = &mut self.nodes[at].up else {
                return Ok(());
            };
            if up.writing.front().is_none_or(|w| w.0 > self.now) {
                return Ok(());
            }
            match up.write() {
                Ok((done, records)) => {
                    let id = self.nodes[at].id;
                    self.account.written(id, &records);
                    self.log_done(at, &done)?;
                }
                Err(_) if self.nodes[at].power_cut => {
                    self.crash(at);
                    return Ok(());
                }
                Err(why) => return Err(format!("{}: the log failed: {why}", self.nodes[at].id)),
            }
        }
    }

    fn log_done(&mut self, at: usize, done: &LogDone) -> Outcome {
        self.note(0xD0 + done.through.0);
        if let Some(up) = &mut self.nodes[at].up {
            up.shard.log_done(Tick(self.now), done);
        }
        self.flush(at)
    }

    /// Hands out what a broker's shard decided, until nothing follows.
    fn flush(&mut self, at: usize) -> Outcome {
        loop {
            let id = self.nodes[at].id;
            let Some(up) = &mut self.nodes[at].up else {
                return Ok(());
            };
            let output = up.shard.flush(Tick(self.now));
            let latency = self.random.between(0, self.plan.sync_max_ms);
            if let Some((append, records)) = output.append {
                let after = up.writing.back().map_or(self.now, |w| w.0).max(self.now);
                up.writing.push_back((after + latency, append, records));
            }
            for (to, batch) in output.frames {
                self.send(id, to, batch)?;
            }
            for answer in output.answers {
                self.answered(id, answer)?;
            }
            let more = !output.orders.is_empty();
            for order in output.orders {
                self.order(at, order)?;
            }
            if !more {
                return self.observe(at);
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, batch: PeerBatch) -> Outcome {
        self.account.sending(from, &batch)?;
        let Some(lives) = self.link_of(from, to) else {
            return Ok(());
        };
        let packet = Packet {
            from,
            to,
            lives,
            batch,
        };
        let quiet = Plan {
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            delay_max_ms: 2,
            ..self.plan.clone()
        };
        let plan = if self.chaos { &self.plan } else { &quiet };
        self.network.send(self.now, packet, plan, &mut self.random);
        Ok(())
    }

    fn observe(&mut self, at: usize) -> Outcome {
        let id = self.nodes[at].id;
        let Some(up) = &self.nodes[at].up else {
            return Ok(());
        };
        let statuses: Vec<_> = up.shard.status().collect();
        for status in statuses {
            let (group, replica) = (status.group, status.replica);
            self.account.observe(id, &status, |from, until| {
                let memory = up.shard.entries_in_memory(group, from, until);
                if memory.first().is_some_and(|e| e.index == from) {
                    return memory;
                }
                up.entries(group, replica, from, until)
            })?;
        }
        Ok(())
    }

    fn order(&mut self, at: usize, order: Order) -> Outcome {
        let now = Tick(self.now);
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        match order {
            Order::ReadEntries {
                group,
                replica,
                to,
                session,
                from,
                until,
                max_bytes,
            } => {
                let entries = match up.reader.entries(group, replica, from, until, max_bytes) {
                    Ok(entries) => Some(entries),
                    Err(wal::ReadError::NotFound { .. }) => Some(Vec::new()),
                    Err(why) => return Err(format!("{group} {from}: cannot be read: {why}")),
                };
                up.shard.entries_read(now, group, to, session, entries);
            }
            Order::LocateTrim {
                group,
                replica,
                offset,
            } => {
                let found = up.reader.index_of_offset(group, replica, offset);
                let index = found.map_err(|why| format!("{group} {offset}: not located: {why}"))?;
                let entries = index
                    .map(|i| up.entries(group, replica, i, i))
                    .unwrap_or_default();
                let facts = entries
                    .first()
                    .and_then(|e| broker::partition::state::BatchFacts::of(&e.payload));
                let found = index.zip(facts.map(|f| f.base_offset));
                up.shard.trim_at(now, group, found);
            }
            Order::ConfirmRemovals(replicas) => {
                let directory = up.shard.directory();
                self.propose(&Command::ConfirmRemovals {
                    directory,
                    replicas,
                });
            }
            Order::ReportReassignment(group) => {
                if let Some(command) = up.shard.finished_reassignment(group)
                    && self.propose(&command)
                {
                    self.report.moves += 1;
                }
            }
            Order::Disconnect(node) => {
                if let Some(other) = self.nodes.iter().position(|n| n.id == node) {
                    self.disconnect((at.min(other), at.max(other)));
                }
            }
            Order::Halt(halt) => return Err(format!("a broker halted: {halt}")),
            Order::CheckRetention { .. } | Order::Peers(_) | Order::ProducerIds { .. } => {}
        }
        Ok(())
    }

    /// Proposes at the controller, if there is one. Whether it was proposed.
    fn propose(&mut self, command: &Command) -> bool {
        let leads = |n: &Node| n.up.as_ref().is_some_and(|up| up.shard.is_controller());
        let Some(at) = self.nodes.iter().position(leads) else {
            return false;
        };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let key = (self.nodes[at].id, self.nodes[at].life, ticket);
        let Some(up) = &mut self.nodes[at].up else {
            return false;
        };
        let deadline = Tick(self.now + 5000);
        up.shard
            .propose_metadata(Tick(self.now), command, deadline, ticket);
        self.waiting.insert(key, None);
        true
    }

    fn control(&mut self, at: usize) -> Outcome {
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        if up.controls_at > self.now {
            return Ok(());
        }
        up.controls_at = self.now + 100;
        if !up.shard.is_controller() {
            return Ok(());
        }
        let actions = up
            .controller
            .tick(Tick(self.now), up.shard.image_or_empty(), &up.shard);
        for action in actions {
            match action {
                Action::Propose(command) => {
                    self.propose(&command);
                }
                Action::AskTransfer { group, leader, to } => {
                    let to = self.nodes[at]
                        .up
                        .as_ref()
                        .and_then(|up| Some(up.shard.image()?.partition(group)?.holder(to)?.node));
                    let leader = self.nodes.iter_mut().find(|n| n.id == leader);
                    if let (Some(up), Some(to)) = (leader.and_then(|n| n.up.as_mut()), to) {
                        up.shard.transfer(Tick(self.now), group, to);
                    }
                }
            }
        }
        for at in 0..self.nodes.len() {
            self.flush(at)?;
        }
        Ok(())
    }

    fn housekeeping(&mut self) -> Outcome {
        self.connect_all()?;
        self.register();
        self.create_topic();
        self.consume()?;
        let due: Vec<usize> = self
            .restarts
            .iter()
            .filter(|(_, when)| **when <= self.now)
            .map(|(at, _)| *at)
            .collect();
        for at in due {
            self.restarts.remove(&at);
            self.start(at)?;
        }
        for at in 0..self.nodes.len() {
            self.flush(at)?;
        }
        Ok(())
    }

    /// Brokers make themselves known, and open their replica of the metadata group where they have none.
    fn register(&mut self) {
        let Some(controller) = self.controller() else {
            return;
        };
        let known = |node: &Node| {
            let up = controller.up.as_ref()?;
            let broker = up.shard.image()?.broker(node.id)?;
            Some((broker.registration.boot, broker.metadata))
        };
        let states: Vec<_> = self.nodes.iter().map(known).collect();
        let image = broker::metadata::Image::bootstrap(crate::node::CLUSTER, self.founders.clone());
        for (at, state) in states.into_iter().enumerate() {
            let node = &mut self.nodes[at];
            let (life, now) = (node.life, Tick(self.now));
            let Some(up) = &mut node.up else { continue };
            match state {
                Some((boot, metadata)) if boot == life => {
                    if up.shard.replica(GroupId::METADATA).is_none() {
                        up.shard.bootstrap(now, metadata, &image);
                    }
                }
                _ => {
                    let registration = Registration {
                        node: node.id,
                        directory: node.directory,
                        host: "sim".to_owned(),
                        port: 9092,
                        peer: format!("sim:{}", node.id),
                        rack: None,
                        boot: life,
                    };
                    self.propose(&Command::RegisterBroker(registration));
                }
            }
        }
    }

    fn controller(&self) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|n| n.up.as_ref().is_some_and(|up| up.shard.is_controller()))
    }

    fn create_topic(&mut self) {
        let Some(image) = self.controller().and_then(|n| n.up.as_ref()?.shard.image()) else {
            return;
        };
        if image.brokers().len() < self.nodes.len() || image.topic_named("t").is_some() {
            return;
        }
        let nodes: Vec<NodeId> = self.nodes.iter().map(|n| n.id).collect();
        let replicas = |p: i32| {
            let from = usize::try_from(p).expect("small");
            (0..self.plan.replication)
                .map(|r| nodes[(from + r) % nodes.len()])
                .collect()
        };
        let assignments: Vec<Vec<NodeId>> = (0..self.plan.partitions).map(replicas).collect();
        let (name, configs) = ("t".to_owned(), BTreeMap::new());
        self.propose(&Command::CreateTopic {
            topic: TopicId(7),
            name,
            assignments,
            configs,
        });
    }

    pub(crate) fn groups(&self) -> Vec<GroupId> {
        let images = self
            .nodes
            .iter()
            .filter_map(|n| n.up.as_ref()?.shard.image());
        let newest = images.max_by_key(|image| image.applied());
        newest
            .map(|image| image.partitions().map(|p| p.group).collect())
            .unwrap_or_default()
    }

    fn has_topic(&self) -> bool {
        let groups = self.groups();
        !groups.is_empty() && groups.iter().all(|g| self.leader_of(*g).is_some())
    }

    pub(crate) fn leader_of(&self, group: GroupId) -> Option<&Node> {
        self.nodes.iter().find(|n| {
            n.up.as_ref()
                .is_some_and(|up| up.shard.offsets(group).is_ok())
        })
    }

    /// A client acts: begins operations, sends what is to be sent, gives up on what was not answered.
    fn client(&mut self, at: usize) -> Outcome {
        self.clients[at].acts_at = self.now + self.random.between(1, 40);
        for group in self.groups() {
            if !self.clients[at].open.contains_key(&group) && self.chaos && self.random.chance(600)
            {
                self.values += 1;
                let client = &mut self.clients[at];
                let next = client.sequences.entry(group).or_default();
                let (value, sequence) = (self.values, *next);
                *next += 1;
                let operation = Operation {
                    value,
                    sequence,
                    deadline: 0,
                    first_sent: self.now,
                    sent: false,
                };
                client.open.insert(group, operation);
                let idempotent = client.producer_id.is_some();
                self.history.sent.insert(value, (group, idempotent));
            }
            self.send_operation(at, group)?;
        }
        Ok(())
    }

    fn send_operation(&mut self, at: usize, group: GroupId) -> Outcome {
        let now = self.now;
        let client = &mut self.clients[at];
        let Some(operation) = client.open.get_mut(&group) else {
            return Ok(());
        };
        if operation.sent && operation.deadline > now {
            return Ok(());
        }
        operation.sent = true;
        operation.deadline = now + 400;
        let operation = operation.clone();
        let batch = client.batch(&operation);
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].up.is_some())
            .collect();
        let Some(&asked) = self.random.pick(&up) else {
            return Ok(());
        };
        let told = self.nodes[asked]
            .up
            .as_ref()
            .and_then(|up| up.shard.leader(group));
        let Some(leader) = told.and_then(|l| self.nodes.iter().position(|n| n.id == l.node)) else {
            return Ok(());
        };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let node = &mut self.nodes[leader];
        let (id, life) = (node.id, node.life);
        let Some(up) = &mut node.up else {
            return Ok(());
        };
        let waiting = Waiting {
            client: at,
            group,
            value: operation.value,
            node: id,
        };
        self.waiting.insert((id, life, ticket), Some(waiting));
        let deadline = Tick(now + 300);
        up.shard
            .produce(Tick(now), 0, group, batch, Acks::All, deadline, ticket);
        self.flush(leader)
    }

    fn answered(&mut self, node: NodeId, answer: Answer) -> Outcome {
        let life = self
            .nodes
            .iter()
            .find(|n| n.id == node)
            .map_or(0, |n| n.life);
        let (Answer::Produced(ticket, _)
        | Answer::LogStart(ticket, _)
        | Answer::Applied(ticket, _)) = &answer;
        let Some(waiting) = self.waiting.remove(&(node, life, *ticket)) else {
            return Err(format!(
                "{node}: {ticket:?} was answered twice, or never asked"
            ));
        };
        if let Answer::LogStart(_, Ok(_)) | Answer::Applied(..) = answer {
            return Ok(());
        }
        let (Some(waiting), Answer::Produced(_, result)) = (waiting, answer) else {
            return Ok(());
        };
        self.note(0xE0 + waiting.value);
        self.history
            .produced(waiting.group, waiting.value, &result)?;
        let lost = self.chaos && self.random.chance(50);
        let client = &mut self.clients[waiting.client];
        let open = client
            .open
            .get_mut(&waiting.group)
            .filter(|o| o.value == waiting.value);
        let Some(operation) = open else { return Ok(()) };
        match result {
            _ if lost => {}
            Ok(_) => {
                client.open.remove(&waiting.group);
            }
            Err(_) => operation.deadline = self.now + 20,
        }
        Ok(())
    }

    /// A consumer reads everything that every leader serves from a random place.
    fn consume(&mut self) -> Outcome {
        for group in self.groups() {
            for at in 0..self.nodes.len() {
                let Some(up) = &self.nodes[at].up else {
                    continue;
                };
                let Ok(offsets) = up.shard.offsets(group) else {
                    continue;
                };
                let span = offsets.high_watermark - offsets.log_start;
                if span <= 0 {
                    continue;
                }
                let back = self.random.below(span.unsigned_abs().min(30)) + 1;
                let from = offsets.high_watermark - i64::try_from(back).expect("small");
                self.read_from(at, group, from)?;
            }
        }
        Ok(())
    }

    /// Reads from an offset to the high watermark at one broker. Returns how many records it saw.
    pub(crate) fn read_from(
        &mut self,
        at: usize,
        group: GroupId,
        from: i64,
    ) -> Result<i64, String> {
        let Some(up) = &self.nodes[at].up else {
            return Ok(0);
        };
        let fetch = FetchAt {
            group,
            offset: from,
            max_bytes: 1 << 20,
            current_leader_epoch: -1,
            read_committed: false,
        };
        let (batches, end) = match up.shard.plan_read(&fetch) {
            Ok(ReadPlan::Ready(fetched)) => (fetched.batches, fetched.offsets.high_watermark),
            Ok(ReadPlan::Disk {
                replica,
                offsets,
                until,
            }) => {
                let index = up.reader.index_of_offset(group, replica, from);
                let index = index.map_err(|why| format!("{group} {from}: {why}"))?;
                let Some(index) = index else {
                    return Err(format!(
                        "{group} {from}: below the high watermark, not in the log"
                    ));
                };
                let entries = up.entries(group, replica, index, until);
                let records = entries.into_iter().filter(|e| e.kind == EntryKind::Records);
                (records.map(|e| e.payload).collect(), offsets.high_watermark)
            }
            Err(_) => return Ok(0),
        };
        let mut next = from;
        for batch in batches {
            let records = protocol::record_batch::records(&batch).map_err(|why| why.to_string())?;
            for record in records {
                let record = record.map_err(|why| format!("{group}: a stored record: {why}"))?;
                if record.offset < from {
                    continue;
                }
                if record.offset != next || record.offset >= end {
                    return Err(format!(
                        "{group}: offset {} where {next} was due",
                        record.offset
                    ));
                }
                next += 1;
                let value = record.value.as_deref().and_then(|v| v.try_into().ok());
                let value = u64::from_be_bytes(value.ok_or("a record without its value")?);
                self.history.read(group, record.offset, value)?;
            }
        }
        if next == from {
            return Err(format!(
                "{group} at {}: nothing at {from} below {end}",
                self.nodes[at].id
            ));
        }
        Ok(next - from)
    }

    fn crash(&mut self, at: usize) {
        self.report.crashes += 1;
        self.stop(at);
        let back = self.now + self.random.between(10, 1500);
        self.restarts.insert(at, back);
    }

    fn next_fault(&mut self, kind: usize) -> u64 {
        let plan = &self.plan;
        let every = [
            plan.crash_every_ms,
            plan.cut_every_ms,
            plan.transfer_every_ms,
            plan.move_every_ms,
            plan.delete_every_ms,
        ][kind];
        if every == 0 {
            u64::MAX
        } else {
            self.now + self.random.between(1, every * 2)
        }
    }

    fn inject(&mut self) -> Outcome {
        for kind in 0..self.faults.len() {
            if self.faults[kind] > self.now {
                continue;
            }
            self.faults[kind] = self.next_fault(kind);
            self.note(0xF0 + kind as u64);
            match kind {
                0 => self.inject_crash(),
                1 => self.inject_cut(),
                2 => self.inject_transfer()?,
                3 => self.inject_move(),
                _ => self.inject_delete()?,
            }
        }
        if self.heal_at.is_some_and(|at| at <= self.now) {
            self.heal_at = None;
            self.network.heal();
        }
        Ok(())
    }

    fn inject_crash(&mut self) {
        let all = self.random.chance(self.plan.crash_all_per_mille);
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].up.is_some())
            .collect();
        if all {
            for at in up {
                self.crash(at);
            }
        } else if let Some(&at) = self.random.pick(&up) {
            if self.random.chance(500) {
                // The power goes at one of the next calls to the disk.
                let calls = self.random.between(1, 12);
                let node = &mut self.nodes[at];
                node.disk
                    .fail_at(node.disk.calls() + calls, Fault::PowerCut);
                node.power_cut = true;
            } else {
                self.crash(at);
            }
        }
    }

    fn inject_cut(&mut self) {
        let ids: Vec<NodeId> = self.nodes.iter().map(|n| n.id).collect();
        let Some(&one) = self.random.pick(&ids) else {
            return;
        };
        let kind = self.random.below(3);
        for &other in ids.iter().filter(|id| **id != one) {
            if kind == 2 && self.random.chance(500) {
                continue;
            }
            if kind != 1 {
                self.network.cut(one, other);
            }
            self.network.cut(other, one);
        }
        self.heal_at = Some(self.now + self.random.between(50, 1500));
    }

    fn inject_transfer(&mut self) -> Outcome {
        let groups = self.groups();
        let Some(&group) = self.random.pick(&groups) else {
            return Ok(());
        };
        let ids: Vec<NodeId> = self.nodes.iter().map(|n| n.id).collect();
        let Some(&to) = self.random.pick(&ids) else {
            return Ok(());
        };
        for at in 0..self.nodes.len() {
            if let Some(up) = &mut self.nodes[at].up {
                up.shard.transfer(Tick(self.now), group, to);
            }
            self.flush(at)?;
        }
        Ok(())
    }

    fn inject_move(&mut self) {
        let groups = self.groups();
        let Some(&group) = self.random.pick(&groups) else {
            return;
        };
        let Some(image) = self.controller().and_then(|n| n.up.as_ref()?.shard.image()) else {
            return;
        };
        let Some(version) = image.partition(group).map(|p| p.version) else {
            return;
        };
        let mut nodes: Vec<NodeId> = self.nodes.iter().map(|n| n.id).collect();
        while nodes.len() > self.plan.replication {
            let at = usize::try_from(self.random.below(nodes.len() as u64)).expect("small");
            nodes.remove(at);
        }
        self.propose(&Command::SetTarget {
            group,
            nodes,
            as_of: version,
        });
    }

    fn inject_delete(&mut self) -> Outcome {
        let groups = self.groups();
        let Some(&group) = self.random.pick(&groups) else {
            return Ok(());
        };
        for at in 0..self.nodes.len() {
            let (id, life) = (self.nodes[at].id, self.nodes[at].life);
            let Some(up) = &mut self.nodes[at].up else {
                continue;
            };
            let Ok(offsets) = up.shard.offsets(group) else {
                continue;
            };
            let span = (offsets.high_watermark - offsets.log_start).unsigned_abs();
            let before =
                offsets.log_start + i64::try_from(self.random.below(span + 1)).expect("small");
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.waiting.insert((id, life, ticket), None);
            let (now, deadline) = (Tick(self.now), Tick(self.now + 300));
            up.shard
                .advance_log_start(now, group, before, deadline, Some(ticket));
            self.flush(at)?;
        }
        Ok(())
    }
}
