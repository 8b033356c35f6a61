//! The run: events in the order of virtual time, in two phases.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use broker::broker::Acks;
use broker::shard::Ticket;
use raft::types::{DirectoryId, GroupId, Member, NodeId, ReplicaId, Tick};

use crate::client::{Client, Kind, Waiting};
use crate::consumer_groups::ConsumerGroups;
use crate::faults::Faults;
use crate::history::History;
use crate::invariants::Account;
use crate::network::Network;
use crate::node::Node;
use crate::plan::Plan;
use crate::random::Random;
use crate::report::{Failure, Report};
use crate::snapshots::Snapshots;

/// Virtual time after the faults in which everything must be well again.
const HEAL_MS: u64 = 60_000;
/// Events that may come without a millisecond passing: more means that something spins.
const EVENTS_AT_ONCE_MAX: u64 = 2_000;
/// How often the world looks after itself, in ms.
const HOUSEKEEPING_MS: u64 = 25;

/// Whose answer each ticket is, by the broker and the life of it that was asked; None when nobody cares.
pub(crate) type Tickets = BTreeMap<(NodeId, u64, Ticket), Option<Waiting>>;

/// See the module.
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    /// Pairs of brokers that have a connection, and the number of it.
    pub(crate) connected: BTreeMap<(usize, usize), u64>,
    pub(crate) founders: Vec<Member>,
    pub(crate) groups: Vec<GroupId>,
    pub(crate) clients: Vec<Client>,
    pub(crate) waiting: Tickets,
    pub(crate) tickets: u64,
    /// The number of the last batch.
    pub(crate) values: u64,
    pub(crate) history: History,
    pub(crate) account: Account,
    pub(crate) report: Report,
    pub(crate) faults: Faults,
    pub(crate) consumer_groups: ConsumerGroups,
    /// The snapshot store, where there is one.
    pub(crate) snapshots: Option<Snapshots>,
    /// When brokers that are down come up again.
    pub(crate) restarts: BTreeMap<usize, u64>,
    housekeeping_at: u64,
    /// Events since time went on.
    events_at_once: u64,
    /// The first phase: faults happen, clients begin new operations.
    pub(crate) chaos: bool,
}

/// What does not hold, if something.
pub(crate) type Outcome = Result<(), String>;

/// Runs one seed. A panic anywhere in it is a failure like any other.
///
/// # Errors
/// The first thing that does not hold.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    let mut world = World::new(plan.clone());
    let result = catch_unwind(AssertUnwindSafe(|| world.all()));
    let result = result.unwrap_or_else(|panic| Err(format!("panicked: {}", said(&*panic))));
    match result {
        Ok(()) => Ok(world.reported()),
        Err(what) => Err(Failure {
            seed: plan.seed,
            at: world.now,
            what,
        }),
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a word".to_owned())
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let nodes: Vec<Node> = (1..=plan.nodes)
            .map(|n| Node::new(NodeId(n), plan.seed))
            .collect();
        let founder = |node: &Node| member(node.id, node.directory);
        let founders = nodes.iter().take(3).map(founder).collect();
        let kinds = kinds(&plan).into_iter();
        let clients = kinds
            .map(|kind| Client::new(kind, random.below(50)))
            .collect();
        let consumer_groups = ConsumerGroups::new(plan.consumer_groups.clone(), &mut random);
        let snapshots = plan.snapshots.clone();
        let snapshots = snapshots.map(|of| Snapshots::new(of, plan.seed));
        Self {
            now: 0,
            snapshots,
            consumer_groups,
            nodes,
            network: Network::default(),
            connected: BTreeMap::new(),
            founders,
            groups: Vec::new(),
            clients,
            waiting: BTreeMap::new(),
            tickets: 0,
            values: 0,
            history: History::default(),
            account: Account::default(),
            report: Report::default(),
            faults: Faults::default(),
            restarts: BTreeMap::new(),
            housekeeping_at: 0,
            events_at_once: 0,
            chaos: false,
            random,
            plan,
        }
    }

    fn reported(self) -> Report {
        let mut report = self.report;
        report.virtual_ms = self.now;
        report.counts.add(&self.account.counts);
        report.counts.acked = self.history.acked.len() as u64;
        report.counts.acked_weakly = self.history.acked_weakly;
        report.counts.acked_again = self.history.acked_again;
        report.counts.cuts = self.network.counts.cuts;
        report.counts.lost = self.network.counts.lost;
        report.counts.doubled = self.network.counts.doubled;
        if let Some(snapshots) = &self.snapshots {
            report.counts.add(&snapshots.store.counts());
        }
        report.answers = self.history.answers;
        report
    }

    fn all(&mut self) -> Outcome {
        for at in 0..self.nodes.len() {
            self.start(at)?;
        }
        self.until("a topic with leaders", HEAL_MS, Self::has_topic)?;
        self.chaos = true;
        self.trouble_store();
        self.consumer_groups.begin();
        self.plan_faults();
        let end = self.now + self.plan.chaos_ms;
        while self.now < end {
            self.event()?;
        }
        self.heal()?;
        let what = "everything acknowledged and every replica level";
        self.until(what, HEAL_MS, Self::is_well)?;
        self.final_check()
    }

    /// The second phase begins: no more faults, everybody is up, every client sends something once more.
    fn heal(&mut self) -> Outcome {
        self.chaos = false;
        self.network.heal();
        self.faults = Faults::default();
        self.heal_store();
        if !self.consumer_groups.partitions.is_empty() && self.random.chance(500) {
            self.crash_all();
        }
        self.restarts.clear();
        for at in 0..self.nodes.len() {
            if self.nodes[at].disk.is_cut() {
                self.crash(at);
                self.restarts.clear();
            }
            self.nodes[at].disk.heal();
            if self.nodes[at].up.is_none() {
                self.start(at)?;
            }
        }
        for at in 0..self.clients.len() {
            for group in self.groups.clone() {
                self.begin(at, group);
            }
        }
        self.consumer_groups.heal(self.now, &mut self.random);
        Ok(())
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
        let next = self.next_time().max(self.now);
        self.events_at_once = if next > self.now {
            0
        } else {
            self.events_at_once + 1
        };
        self.now = next;
        if self.events_at_once > EVENTS_AT_ONCE_MAX {
            return Err(format!("something spins: {}", self.who_spins()));
        }
        while let Some(packet) = self.network.arrived(self.now) {
            self.deliver(packet)?;
        }
        self.store_events()?;
        for at in 0..self.nodes.len() {
            self.log_of(at)?;
            self.tick(at)?;
            self.control(at)?;
        }
        for at in 0..self.clients.len() {
            if self.clients[at].acts_at <= self.now {
                self.client(at)?;
            }
        }
        self.go_on_with_cut()?;
        for member in self.consumer_groups.due(self.now) {
            self.member(member)?;
        }
        if self.housekeeping_at <= self.now {
            self.housekeeping_at = self.now + HOUSEKEEPING_MS;
            self.housekeeping()?;
        }
        if self.chaos { self.inject() } else { Ok(()) }
    }

    /// For the message of a run that does not get on.
    fn who_spins(&self) -> String {
        let mut who = Vec::new();
        if self.network.next().is_some_and(|at| at <= self.now) {
            who.push("the network".to_owned());
        }
        for node in &self.nodes {
            let Some(up) = &node.up else { continue };
            if up.log_wants() <= self.now {
                who.push(format!("the log of {}", node.id));
            }
            if up.shard.deadline().0.min(up.controls_at) <= self.now {
                who.push(format!("the timers of {}", node.id));
            }
        }
        who.join(", ")
    }

    fn next_time(&self) -> u64 {
        let mut next = self.housekeeping_at;
        next = next.min(self.network.next().unwrap_or(u64::MAX));
        if let Some(snapshots) = &self.snapshots {
            next = next.min(snapshots.store.next()).min(snapshots.wire.next());
            next = next.min(snapshots.cuts.next());
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(up) = &node.up else { continue };
            if !self.faults.is_deaf(at, self.now) {
                next = next.min(up.shard.deadline().0);
            }
            next = next.min(up.controls_at).min(up.log_wants());
        }
        let clients = self.clients.iter().map(|c| c.acts_at);
        next.min(clients.min().unwrap_or(u64::MAX))
            .min(self.consumer_groups.next())
    }

    fn tick(&mut self, at: usize) -> Outcome {
        let (now, wall_ms) = (Tick(self.now), self.wall_ms());
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        if up.shard.deadline() > now || self.faults.is_deaf(at, self.now) {
            return Ok(());
        }
        up.shard.set_wall(wall_ms);
        up.shard.tick(now);
        self.flush(at)
    }

    fn housekeeping(&mut self) -> Outcome {
        self.connect_all()?;
        self.register()?;
        self.create_topic()?;
        self.consume()?;
        self.use_store()?;
        self.all_are_answered()?;
        let due = self.restarts.iter().filter(|(_, when)| **when <= self.now);
        for at in due.map(|(at, _)| *at).collect::<Vec<_>>() {
            self.restarts.remove(&at);
            self.start(at)?;
        }
        Ok(())
    }

    /// Notes an event in the run's digest.
    pub(crate) fn note(&mut self, what: u64) {
        let mixed =
            (self.report.digest ^ what ^ self.now.rotate_left(20)).wrapping_mul(0x0100_0000_01B3);
        self.report.digest = mixed.rotate_left(7);
    }

    /// A ticket for a question to a broker; what it answers is for `waiting`.
    pub(crate) fn ticket(&mut self, at: usize, waiting: Option<Waiting>) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let node = &self.nodes[at];
        self.waiting.insert((node.id, node.life, ticket), waiting);
        ticket
    }

    pub(crate) fn place_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|n| n.id == id)
    }

    fn has_topic(&self) -> bool {
        let leads = |group: &GroupId| {
            let mut up = self.nodes.iter().filter_map(|n| n.up.as_ref());
            up.any(|up| up.shard.offsets(*group).is_ok())
        };
        let all = self.groups.iter().chain(&self.consumer_groups.partitions);
        !self.groups.is_empty() && all.into_iter().all(leads)
    }
}

fn member(node: NodeId, directory: DirectoryId) -> Member {
    Member {
        replica: ReplicaId(u64::from(node.0.unsigned_abs())),
        node,
        directory,
    }
}

fn kinds(plan: &Plan) -> Vec<Kind> {
    let id = |n: u64| i64::try_from(n).expect("small");
    let strong = (0..plan.clients).map(|n| match n {
        0 => Kind::Plain,
        _ => Kind::Idempotent(1000 + id(n)),
    });
    let weak = (0..plan.weak_clients).map(|n| match n {
        0 => Kind::Once(Acks::Leader),
        _ => Kind::Once(Acks::None),
    });
    strong.chain(weak).collect()
}
