//! A whole group in one thread: real cores, model disks, a model network, and the invariants
//! checked after every event. Time is virtual, chance is seeded: a seed is a run.

use bytes::Bytes;
use raft::config::Config;
use raft::effect::{After, Effect, Persist, Role};
use raft::input::Input;
use raft::message::{AppendResult, Body, Message};
use raft::types::{
    Base, DirectoryId, Entry, EntryKind, HardState, Index, Member, Membership, NodeId, PersistSeq,
    ReplicaId, Term, Tick,
};
use raft::{Node, Start, quorum};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Seeded chance.
#[derive(Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What is synced, or would be once everything written is.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub base: Base,
    pub entries: VecDeque<Entry>,
}

impl Disk {
    pub fn last(&self) -> Index {
        self.entries.back().map_or(self.base.index, |e| e.index)
    }

    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let first = self.entries.front()?.index;
        self.entries.get(index.0.checked_sub(first.0)? as usize)
    }

    pub fn holds(&self, index: Index, term: Term) -> bool {
        index <= self.base.index || self.entry(index).is_some_and(|e| e.term == term)
    }

    pub fn apply(&mut self, persist: &Persist) {
        if let Some(base) = &persist.base {
            assert!(base.index > self.base.index, "bases move forward");
            self.entries.retain(|e| e.index > base.index);
            self.base = base.clone();
        }
        if let Some(from) = persist.truncate {
            self.entries.retain(|e| e.index < from);
        }
        for entry in &persist.entries {
            assert_eq!(entry.index, self.last().next(), "the disk's log has no gap");
            self.entries.push_back(entry.clone());
        }
        assert!(
            self.entries
                .front()
                .is_none_or(|e| e.index == self.base.index.next()),
            "no gap"
        );
        if let Some(hard) = persist.hard_state {
            assert!(
                hard.term >= self.hard_state.term,
                "terms on disk never go down"
            );
            let same = hard.term == self.hard_state.term;
            let kept = self.hard_state.vote.is_none() || self.hard_state.vote == hard.vote;
            assert!(!same || kept, "a vote is never taken back");
            self.hard_state = hard;
        }
    }

    pub fn start(&self, me: Member, seed: u64) -> Start {
        let mut terms: Vec<(Term, Index)> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|run| run.0 != entry.term) {
                terms.push((entry.term, entry.index));
            }
            if entry.kind == EntryKind::Membership {
                memberships.push((entry.index, Membership::decode(&entry.payload).unwrap()));
            }
        }
        Start {
            me,
            hard_state: self.hard_state,
            base: self.base.clone(),
            last_index: self.last(),
            terms,
            memberships,
            seed,
            priority: 0,
        }
    }
}

/// One replica: its core while it runs, its disk for ever.
pub struct Host {
    pub me: Member,
    pub node: Option<Node>,
    pub disk: Disk,
    /// The disk with everything that was written but not synced.
    pub view: Disk,
    pub writing: VecDeque<Persist>,
    /// The sync under way ends then.
    pub sync_at: Option<u64>,
    pub waiting: Vec<(PersistSeq, Member, Message)>,
    pub membership: Membership,
    pub applied: Index,
    pub state: u64,
    pub wiped: bool,
    pub full: bool,
    pub asked: BTreeMap<u64, u64>,
    lives: u64,
}

/// A message on its way.
#[derive(Clone)]
pub struct Flight {
    pub at: u64,
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub elections: u64,
    pub commits: u64,
    pub installs: u64,
    pub truncations: u64,
    pub lost: u64,
    pub crashes: u64,
    pub reads_ready: u64,
    pub reads_refused: u64,
    pub reads_from_disk: u64,
    pub changes: u64,
    pub full_answers: u64,
    pub conflicts: u64,
    pub torn_writes: u64,
    pub quiesced: u64,
    pub wiped: u64,
    pub given_up: u64,
}

pub struct World {
    pub now: u64,
    pub chance: Chance,
    pub config: Config,
    pub hosts: Vec<Host>,
    pub net: Vec<Flight>,
    /// Pairs (from, to) that nothing passes.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub loss_percent: u64,
    pub twice_percent: u64,
    pub delay_max: u64,
    pub sync_max: u64,
    pub read_fails_percent: u64,
    leaders: BTreeMap<Term, ReplicaId>,
    /// Committed entries from index 1 on, and the state after each.
    pub committed: Vec<(Entry, u64)>,
    pub stats: Stats,
    pub trace: u64,
    next_read: u64,
}

pub fn member(replica: u64) -> Member {
    on_node(replica, replica)
}

pub fn on_node(replica: u64, node: u64) -> Member {
    let directory = DirectoryId(u128::from(replica) << 64);
    Member {
        replica: ReplicaId(replica),
        node: NodeId(node as i32),
        directory,
    }
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value)
        .wrapping_mul(0x0100_0000_01b3)
        .rotate_left(23)
        ^ 0x9e37_79b9
}

fn digest(state: u64, entry: &Entry) -> u64 {
    let head = mix(
        mix(mix(state, entry.index.0), entry.term.0),
        entry.kind as u64,
    );
    entry
        .payload
        .iter()
        .fold(head, |hash, byte| mix(hash, u64::from(*byte)))
}

impl World {
    /// `voters` replicas that know each other, and `fresh` ones that know nobody.
    pub fn new(seed: u64, config: Config, voters: u64, fresh: u64) -> Self {
        let membership = Membership {
            voters: (1..=voters).map(member).collect(),
            ..Membership::default()
        };
        let mut world = Self {
            now: 0,
            chance: Chance(seed),
            config,
            hosts: Vec::new(),
            net: Vec::new(),
            cut: BTreeSet::new(),
            loss_percent: 0,
            twice_percent: 0,
            delay_max: 5,
            sync_max: 5,
            read_fails_percent: 0,
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            stats: Stats::default(),
            trace: 0,
            next_read: 0,
        };
        for replica in 1..=voters + fresh {
            let known = if replica <= voters {
                membership.clone()
            } else {
                Membership::default()
            };
            world.add_host(member(replica), known);
        }
        world
    }

    pub fn add_host(&mut self, me: Member, membership: Membership) -> usize {
        let mut disk = Disk::default();
        disk.base.membership = membership;
        disk.base.state = Bytes::copy_from_slice(&0u64.to_le_bytes());
        self.hosts.push(Host {
            me,
            node: None,
            view: disk.clone(),
            disk,
            writing: VecDeque::new(),
            sync_at: None,
            waiting: Vec::new(),
            membership: Membership::default(),
            applied: Index(0),
            state: 0,
            wiped: false,
            full: false,
            asked: BTreeMap::new(),
            lives: 0,
        });
        let at = self.hosts.len() - 1;
        self.start(at);
        at
    }

    /// Starts a replica from what its disk holds.
    pub fn start(&mut self, at: usize) {
        let seed = self.chance.next();
        let (config, now) = (self.config, Tick(self.now));
        let host = &mut self.hosts[at];
        assert!(host.node.is_none() && !host.wiped);
        host.lives += 1;
        host.view = host.disk.clone();
        host.membership.clone_from(&host.disk.base.membership);
        for entry in &host.disk.entries {
            if entry.kind == EntryKind::Membership {
                host.membership = Membership::decode(&entry.payload).unwrap();
            }
        }
        host.applied = host.disk.base.index;
        host.state = u64::from_le_bytes(host.disk.base.state[..8].try_into().unwrap());
        let node = Node::new(config, host.disk.start(host.me, seed), now);
        let commit = node.commit();
        host.node = Some(node);
        host.full = false;
        self.apply_to(at, commit);
    }

    /// The process dies; of what was written and not synced, a prefix reaches the disk.
    pub fn crash(&mut self, at: usize) {
        let survive = self.chance.below(self.hosts[at].writing.len() as u64 + 1);
        let host = &mut self.hosts[at];
        if host.node.take().is_none() {
            return;
        }
        self.stats.crashes += 1;
        for _ in 0..survive {
            let persist = host.writing.pop_front().unwrap();
            host.disk.apply(&persist);
        }
        self.stats.torn_writes += u64::from(!host.writing.is_empty());
        host.writing.clear();
        host.waiting.clear();
        host.asked.clear();
        host.sync_at = None;
        let node = host.me.node;
        for other in 0..self.hosts.len() {
            if other != at && self.chance.percent(80) {
                self.step(other, Input::NodeDown(node));
            }
        }
    }

    pub fn host_of(&self, replica: ReplicaId) -> usize {
        self.hosts
            .iter()
            .position(|h| h.me.replica == replica)
            .unwrap()
    }

    /// The running leader of the highest term.
    pub fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| self.node(*at).is_some_and(|n| n.role() == Role::Leader);
        let running = (0..self.hosts.len()).filter(leads);
        running.max_by_key(|at| self.node(*at).map(Node::term))
    }

    pub fn node(&self, at: usize) -> Option<&Node> {
        self.hosts[at].node.as_ref()
    }

    pub fn step(&mut self, at: usize, input: Input) {
        let Some(node) = &mut self.hosts[at].node else {
            return;
        };
        let (term, commit, quiet) = (node.term(), node.commit(), node.quiesced());
        let mut out = Vec::new();
        node.step(Tick(self.now), input, &mut out);
        assert!(node.term() >= term, "terms never go down");
        assert!(node.commit() >= commit, "commit never goes down");
        self.stats.quiesced += u64::from(node.quiesced() && !quiet);
        self.execute(at, out);
        self.check(at);
    }

    pub fn propose(&mut self, at: usize, kind: EntryKind, payload: &[u8]) -> Option<Index> {
        let now = Tick(self.now);
        let node = self.hosts[at].node.as_mut()?;
        let mut out = Vec::new();
        let index = node
            .propose(now, kind, Bytes::copy_from_slice(payload))
            .ok();
        if self.chance.percent(70) {
            self.hosts[at].node.as_mut().unwrap().flush(now, &mut out);
        }
        self.execute(at, out);
        index
    }

    pub fn flush(&mut self, at: usize) {
        let mut out = Vec::new();
        if let Some(node) = &mut self.hosts[at].node {
            node.flush(Tick(self.now), &mut out);
        }
        self.execute(at, out);
    }

    pub fn trim(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let state = Bytes::copy_from_slice(&host.state.to_le_bytes());
        let base = Base {
            index: host.applied,
            state,
            ..Base::default()
        };
        let mut out = Vec::new();
        if let Some(node) = &mut host.node {
            let _ = node.trim(base, &mut out);
        }
        self.execute(at, out);
    }

    pub fn read_index(&mut self, at: usize) {
        let id = self.next_read;
        self.next_read += 1;
        let floor = self.committed.len() as u64;
        self.hosts[at].asked.insert(id, floor);
        self.step(at, Input::ReadIndex(id));
    }

    /// What must hold of one member after each of its steps.
    fn check(&self, at: usize) {
        let host = &self.hosts[at];
        let Some(node) = &host.node else { return };
        assert_eq!(
            node.membership(),
            &host.membership,
            "M8: the membership in force is the log's last"
        );
        assert_eq!(
            host.applied,
            node.commit(),
            "everything committed was announced"
        );
        let bound = self.config.inflight_max_bytes + self.config.append_max_bytes;
        for progress in node.progress() {
            assert!(
                progress.inflight_bytes <= bound,
                "inflight is bounded: {progress:?}"
            );
            assert!(
                progress.matched <= node.last_index(),
                "nobody has more than the leader"
            );
        }
    }

    fn execute(&mut self, at: usize, effects: Vec<Effect>) {
        let mut later = Vec::new();
        for effect in effects {
            self.trace = format!("{at}{effect:?}")
                .bytes()
                .fold(self.trace, |h, b| mix(h, b.into()));
            match effect {
                Effect::Persist(persist) => self.written(at, persist),
                Effect::Send { to, message, after } => match after {
                    After::Persisted(seq) => self.hosts[at].waiting.push((seq, to, message)),
                    After::Now => self.send(at, to, message),
                },
                Effect::Read {
                    to,
                    session,
                    from,
                    until,
                    max_bytes,
                } => {
                    later.push(self.read(at, to, session, (from, until), max_bytes));
                }
                Effect::NeedsInstall { to, session } => {
                    let host = &self.hosts[at];
                    let state = Bytes::copy_from_slice(&host.state.to_le_bytes());
                    let base = Base {
                        index: host.applied,
                        state,
                        ..Base::default()
                    };
                    later.push(Input::InstallState { to, session, base });
                    self.stats.installs += 1;
                }
                Effect::Installed { base, .. } => {
                    let host = &mut self.hosts[at];
                    assert!(
                        base.index > host.applied,
                        "an install moves the state forward"
                    );
                    host.applied = base.index;
                    host.state = u64::from_le_bytes(base.state[..8].try_into().unwrap());
                    let (entry, state) = &self.committed[base.index.0 as usize - 1];
                    assert_eq!(
                        (entry.term, *state),
                        (base.term, host.state),
                        "invariant 4: install"
                    );
                }
                Effect::Truncated { from } => {
                    self.stats.truncations += 1;
                    assert!(
                        from > self.hosts[at].applied,
                        "nothing applied is truncated"
                    );
                }
                Effect::Committed { index } => self.committed(at, index),
                Effect::Role { role, term, .. } => self.role(at, role, term),
                Effect::Membership { membership, .. } => self.hosts[at].membership = membership,
                Effect::ReadReady { id, index } => {
                    let floor = self.hosts[at]
                        .asked
                        .remove(&id)
                        .expect("a read is answered once");
                    assert!(
                        index.0 >= floor,
                        "invariant 11: a read misses what was committed"
                    );
                    self.stats.reads_ready += 1;
                }
                Effect::ReadRefused { id } => {
                    self.hosts[at]
                        .asked
                        .remove(&id)
                        .expect("a read is answered once");
                    self.stats.reads_refused += 1;
                }
                Effect::Violation { what } => panic!("violation at {at}: {what}"),
                Effect::Appended { .. } | Effect::Refused { .. } => {}
            }
        }
        for input in later {
            self.step(at, input);
        }
    }

    fn written(&mut self, at: usize, persist: Persist) {
        let sync = self.now + 1 + self.chance.below(self.sync_max);
        let host = &mut self.hosts[at];
        host.view.apply(&persist);
        host.writing.push_back(persist);
        host.sync_at.get_or_insert(sync);
    }

    fn read(
        &mut self,
        at: usize,
        to: ReplicaId,
        session: u64,
        (from, until): (Index, Index),
        max_bytes: u64,
    ) -> Input {
        if self.chance.percent(self.read_fails_percent) {
            return Input::ReadFailed { to, session };
        }
        self.stats.reads_from_disk += 1;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in (from.0..=until.0).map(Index) {
            let Some(entry) = self.hosts[at].view.entry(index) else {
                break;
            };
            bytes += entry.payload.len() as u64;
            if !entries.is_empty() && bytes > max_bytes {
                break;
            }
            entries.push(entry.clone());
        }
        Input::Read {
            to,
            session,
            entries,
        }
    }

    /// The sync under way is done: everything written until now, or a part of it, is on disk.
    fn synced(&mut self, at: usize) {
        let count = 1 + self.chance.below(self.hosts[at].writing.len() as u64);
        let mut last = PersistSeq(0);
        for _ in 0..count {
            let host = &mut self.hosts[at];
            let Some(persist) = host.writing.pop_front() else {
                break;
            };
            host.disk.apply(&persist);
            last = persist.seq;
            let (ready, waiting) = std::mem::take(&mut host.waiting)
                .into_iter()
                .partition(|w| w.0 <= last);
            host.waiting = waiting;
            let ready: Vec<_> = ready;
            for (_, to, message) in ready {
                self.send(at, to, message);
            }
        }
        let again = self.now + 1 + self.chance.below(self.sync_max);
        let host = &mut self.hosts[at];
        host.sync_at = (!host.writing.is_empty()).then_some(again);
        self.step(at, Input::Persisted(last));
    }

    /// Invariant 10: what a message asserts is on disk when it leaves.
    fn assert_synced(&self, at: usize, message: &Message) {
        let disk = &self.hosts[at].disk;
        let hard = disk.hard_state;
        if !matches!(
            message.body,
            Body::PreVote(_) | Body::PreVoteResponse { granted: true }
        ) {
            assert!(
                hard.term >= message.term,
                "invariant 10: a term that is not synced"
            );
        }
        match &message.body {
            Body::VoteResponse { granted: true } => {
                let ours = hard.term > message.term || hard.vote == Some(message.to);
                assert!(ours, "invariant 10: a vote that is not synced");
            }
            Body::Vote(_) => {
                let ours = hard.term > message.term || hard.vote == Some(message.from);
                assert!(ours, "a candidate votes for itself first");
            }
            Body::AppendResponse(answer) => {
                if let AppendResult::Matched(index) = answer.result {
                    assert!(
                        disk.last() >= index,
                        "invariant 10: entries that are not synced"
                    );
                }
            }
            Body::InstallResponse { index, .. } => {
                assert!(
                    disk.last() >= *index,
                    "invariant 10: an install that is not synced"
                );
            }
            _ => {}
        }
    }

    fn send(&mut self, at: usize, to: Member, message: Message) {
        self.assert_synced(at, &message);
        match &message.body {
            Body::AppendResponse(answer) => match answer.result {
                AppendResult::Full => self.stats.full_answers += 1,
                AppendResult::Conflict { .. } => self.stats.conflicts += 1,
                AppendResult::Matched(_) => {}
            },
            Body::Append(append) => {
                let bytes: usize = append.entries.iter().map(|e| e.payload.len()).sum();
                let is_command = |e: &Entry| e.kind == EntryKind::Command;
                let node = self.hosts[at].node.as_ref().expect("who sends is up");
                let is_full = node.progress().iter().any(|p| p.member == to && p.full);
                let bound = match is_full && append.entries.last().is_some_and(is_command) {
                    // A full disk may wait for it.
                    true => self.config.command_max_bytes,
                    false => self.config.append_max_bytes,
                };
                assert!(
                    append.entries.len() == 1 || bytes <= bound as usize,
                    "appends are bounded"
                );
            }
            _ => {}
        }
        let from = self.hosts[at].me.node;
        if self.cut.contains(&(from, to.node)) || self.chance.percent(self.loss_percent) {
            self.stats.lost += 1;
            return;
        }
        let copies = 1 + u64::from(self.chance.percent(self.twice_percent));
        for copy in 0..copies {
            let delay = 1 + self.chance.below(self.delay_max) + copy * self.chance.below(200);
            let flight = Flight {
                at: self.now + delay,
                from,
                to: to.node,
                message: message.clone(),
            };
            self.net.push(flight);
        }
    }

    fn role(&mut self, at: usize, role: Role, term: Term) {
        if role != Role::Leader {
            return;
        }
        self.stats.elections += 1;
        let me = self.hosts[at].me.replica;
        let first = *self.leaders.entry(term).or_insert(me);
        assert_eq!(first, me, "invariant 1: two leaders in {term}");
        for (entry, _) in &self.committed {
            let node = self.node(at).unwrap();
            let below = entry.index <= node.base().index;
            let held = below || node.term_at(entry.index) == Some(entry.term);
            assert!(
                held,
                "invariant 3: leader {me} of {term} lacks {}",
                entry.index
            );
        }
    }

    fn committed(&mut self, at: usize, index: Index) {
        if index.0 > self.committed.len() as u64 {
            let term = self
                .node(at)
                .unwrap()
                .term_at(index)
                .expect("it is in the log");
            let membership = &self.hosts[at].membership;
            let synced = |r| {
                let host = self.hosts.iter().find(|h| h.me.replica == r).unwrap();
                host.disk.holds(index, term)
            };
            assert!(
                quorum::has(membership, synced),
                "invariant 5: {index} is not on a quorum"
            );
        }
        self.stats.commits += 1;
        self.apply_to(at, index);
    }

    /// Invariants 2, 4 and 6: what is applied at an index is the same everywhere and for ever.
    fn apply_to(&mut self, at: usize, index: Index) {
        let host = &mut self.hosts[at];
        while host.applied < index {
            let next = host.applied.next();
            let tail = host.node.as_ref().and_then(|n| n.tail(next).next());
            let entry = tail.filter(|e| e.index == next).or(host.view.entry(next));
            let Some(entry) = entry else {
                let node = host.node.as_ref();
                let seen =
                    node.map(|n| (n.base(), n.first_in_memory(), n.last_index(), n.commit()));
                panic!(
                    "{next} is not here: {seen:?}, disk {:?}..{:?}",
                    host.view.base,
                    host.view.last()
                );
            };
            host.applied = entry.index;
            host.state = digest(host.state, entry);
            let seen = self.committed.get(entry.index.0 as usize - 1);
            match seen {
                Some((first, state)) => {
                    assert_eq!(first, entry, "invariant 6: committed entries never change");
                    assert_eq!(*state, host.state, "invariant 4: one state per index");
                }
                None => self.committed.push((entry.clone(), host.state)),
            }
        }
    }

    /// When something happens next.
    fn next_event(&self) -> Option<u64> {
        let flights = self.net.iter().map(|f| f.at);
        let syncs = self.hosts.iter().filter_map(|h| h.sync_at);
        let ticks = self
            .hosts
            .iter()
            .filter_map(|h| h.node.as_ref()?.deadline());
        flights
            .chain(syncs)
            .chain(ticks.map(|t| t.0))
            .min()
            .map(|at| at.max(self.now))
    }

    /// Runs everything that is due until `until`.
    pub fn run(&mut self, until: u64) {
        while let Some(at) = self.next_event().filter(|at| *at <= until) {
            self.now = at;
            self.event();
        }
        self.now = until;
    }

    fn event(&mut self) {
        let now = self.now;
        if let Some(first) = self.net.iter().position(|f| f.at <= now) {
            let flight = self.net.swap_remove(first);
            let to = self
                .hosts
                .iter()
                .position(|h| h.me.replica == flight.message.to);
            let here = to.filter(|to| self.hosts[*to].me.node == flight.to);
            let cut = self.cut.contains(&(flight.from, flight.to));
            if let Some(to) = here.filter(|_| !cut) {
                let (node, message) = (flight.from, flight.message);
                self.step(to, Input::Message { node, message });
            }
            return;
        }
        for at in 0..self.hosts.len() {
            if self.hosts[at].sync_at.is_some_and(|sync| sync <= now) {
                self.synced(at);
                return;
            }
            if self
                .node(at)
                .and_then(Node::deadline)
                .is_some_and(|due| due.0 <= now)
            {
                self.step(at, Input::Tick);
                return;
            }
        }
    }

    /// Ends all faults; all come back, but for one that is given up.
    pub fn heal(&mut self, missing: Option<usize>) {
        if let Some(missing) = missing {
            self.crash(missing);
            self.stats.given_up += 1;
        }
        self.cut.clear();
        self.loss_percent = 0;
        self.twice_percent = 0;
        self.read_fails_percent = 0;
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            if host.node.is_none() && !host.wiped && missing != Some(at) {
                self.start(at);
            }
            self.hosts[at].full = false;
            self.step(at, Input::DiskFull(false));
        }
        let up: Vec<_> = self
            .hosts
            .iter()
            .filter(|h| h.node.is_some())
            .map(|h| h.me.node)
            .collect();
        for at in 0..self.hosts.len() {
            for node in &up {
                self.step(at, Input::NodeUp(*node));
            }
        }
    }
}

impl Stats {
    pub fn add(&mut self, other: Self) {
        self.elections += other.elections;
        self.commits += other.commits;
        self.installs += other.installs;
        self.truncations += other.truncations;
        self.lost += other.lost;
        self.crashes += other.crashes;
        self.reads_ready += other.reads_ready;
        self.reads_refused += other.reads_refused;
        self.reads_from_disk += other.reads_from_disk;
        self.changes += other.changes;
        self.full_answers += other.full_answers;
        self.conflicts += other.conflicts;
        self.torn_writes += other.torn_writes;
        self.quiesced += other.quiesced;
        self.wiped += other.wiped;
        self.given_up += other.given_up;
    }

    /// Runs in which a fault was not felt prove nothing about it.
    pub fn assert_felt(&self, runs: u64) {
        let felt = [
            ("elections", self.elections, runs),
            ("commits", self.commits, runs * 20),
            ("installs", self.installs, runs / 10),
            ("truncations", self.truncations, runs / 10),
            ("lost", self.lost, runs),
            ("crashes", self.crashes, runs),
            ("reads_ready", self.reads_ready, runs),
            ("reads_refused", self.reads_refused, runs / 10),
            ("reads_from_disk", self.reads_from_disk, runs / 10),
            ("changes", self.changes, runs),
            ("full_answers", self.full_answers, runs / 10),
            ("conflicts", self.conflicts, runs / 10),
            ("torn_writes", self.torn_writes, runs / 10),
            ("quiesced", self.quiesced, runs / 10),
            ("wiped", self.wiped, runs / 20),
            ("given_up", self.given_up, runs / 10),
        ];
        for (name, count, least) in felt {
            assert!(count >= least, "{name}: only {count} in {runs} runs");
        }
    }
}
