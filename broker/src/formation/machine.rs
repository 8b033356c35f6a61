//! The state machine. No clock, socket, disk or random number: see [`Setup`] and [`Effect`].

use std::collections::BTreeMap;
use std::fmt;

use raft::types::{DirectoryId, NodeId, Tick};

use super::message::Message;
use super::record::{BootstrapRecord, ClusterId};
use crate::config::NodeConfig;

/// What a node begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// This node.
    pub me: NodeId,
    /// Its disk.
    pub directory: DirectoryId,
    /// The founding nodes. Empty: this node alone. Without this node in it: it joins an existing cluster.
    pub seeds: Vec<NodeId>,
    /// Of the whole `cluster.seeds`, addresses included.
    pub seeds_fingerprint: u64,
    /// How often it asks before it gives up. At least 1.
    pub tries: u32,
    /// Wait after the first try, doubling, in milliseconds. At least 1.
    pub retry_min_ms: u64,
    /// Longest wait between two tries, in milliseconds.
    pub retry_max_ms: u64,
    /// The record on this disk.
    pub held: Option<BootstrapRecord>,
    /// The cluster id to use if it falls to this node to make one. Random.
    pub new_cluster: ClusterId,
}

impl Setup {
    /// From the configuration and what the data directory holds, with a random id for a cluster yet to be founded.
    #[must_use]
    pub fn new(config: &NodeConfig, directory: DirectoryId, held: Option<BootstrapRecord>) -> Self {
        Self {
            me: NodeId(config.node_id),
            directory,
            seeds: config.cluster_seeds.iter().map(|seed| seed.node).collect(),
            seeds_fingerprint: config.seeds_fingerprint(),
            tries: config.formation_tries,
            retry_min_ms: config.formation_retry_min_ms,
            retry_max_ms: config.formation_retry_max_ms,
            held,
            new_cluster: ClusterId::random(),
        }
    }
}

/// What happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed; the first event. See [`Formation::wakeup`].
    Tick,
    /// There is a new connection to this node.
    PeerUp(NodeId),
    /// A node presented itself.
    Presented {
        /// Who, by the connection's handshake.
        node: NodeId,
        /// What it said.
        message: Message,
    },
    /// The record of [`Effect::SyncRecord`] is on disk.
    RecordSynced,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send it if there is a connection; drop it otherwise.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Put the record on disk, then say [`Event::RecordSynced`].
    SyncRecord(BootstrapRecord),
    /// The record is on this disk: the metadata group may start, this node may vote if it is in the record.
    /// Comes once; messages go on to be answered.
    Formed(BootstrapRecord),
    /// A node cannot take part. Comes once per node and reason; for the log.
    Refused {
        /// Which.
        node: NodeId,
        /// Why.
        refusal: Refusal,
    },
    /// The tries are spent: the process ends (exit code 4).
    Failed(Failure),
}

/// Why a node cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// It has another list of seeds.
    #[error("its cluster.seeds differs from this node's: make them the same on all seeds")]
    SeedsDiffer,
    /// It belongs to another cluster.
    #[error(
        "it belongs to the cluster {theirs}, this node to {ours}: its data directory or its address is wrong"
    )]
    OtherCluster {
        /// Its cluster.
        theirs: ClusterId,
        /// This node's.
        ours: ClusterId,
    },
}

/// Why the cluster did not form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How often was asked.
    pub tries: u32,
    /// Seeds that never answered.
    pub missing: Vec<NodeId>,
    /// Seeds that answered with another list of seeds.
    pub differing: Vec<NodeId>,
    /// All answered, but this one, which makes the record, did not send it.
    pub waiting_for: Option<NodeId>,
}

impl Failure {
    /// The exit code of the process: timeout or unreachable.
    pub const EXIT_CODE: i32 = 4;
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[NodeId]| {
            nodes
                .iter()
                .map(NodeId::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        write!(f, "the cluster did not form in {} tries", self.tries)?;
        if !self.missing.is_empty() {
            write!(f, "; missing: node {}", list(&self.missing))?;
            f.write_str(" (is it started, and its address in cluster.seeds right?)")?;
        }
        if !self.differing.is_empty() {
            write!(
                f,
                "; with another cluster.seeds: node {}",
                list(&self.differing)
            )?;
        }
        if let Some(node) = self.waiting_for {
            write!(
                f,
                "; node {node} founds the cluster and has not sent its record: see its log"
            )?;
        }
        Ok(())
    }
}

#[derive(Debug)]
enum State {
    /// No record here.
    Asking {
        tries: u32,
        next: Tick,
        backoff_ms: u64,
    },
    /// On its way to the disk. Says nothing to anybody.
    Syncing(BootstrapRecord),
    /// On the disk. Answers.
    Formed(BootstrapRecord),
    Failed,
}

/// What a seed said in this process life.
#[derive(Clone, Copy, Debug)]
struct Presentation {
    directory: DirectoryId,
    /// It said so to this very directory.
    to_me: bool,
}

/// The formation of a cluster as one node sees it.
#[derive(Debug)]
pub struct Formation {
    setup: Setup,
    state: State,
    presented: BTreeMap<NodeId, Presentation>,
    refused: BTreeMap<NodeId, Refusal>,
    announced: bool,
}

impl Formation {
    /// Not started: the first event is a [`Event::Tick`].
    ///
    /// # Panics
    /// When the setup names no node or no try: the configuration was not validated.
    #[must_use]
    pub fn new(mut setup: Setup) -> Self {
        assert!(setup.me.0 >= 1, "a node id is at least 1");
        assert!(
            setup.tries >= 1 && setup.retry_min_ms >= 1,
            "at least one try, and a wait"
        );
        if setup.seeds.is_empty() {
            setup.seeds = vec![setup.me];
        }
        setup.seeds.sort_unstable();
        setup.seeds.dedup();
        let state = match setup.held.take() {
            Some(record) => State::Formed(record),
            None => State::Asking {
                tries: 0,
                next: Tick(0),
                backoff_ms: setup.retry_min_ms,
            },
        };
        let (presented, refused) = (BTreeMap::new(), BTreeMap::new());
        Self {
            setup,
            state,
            presented,
            refused,
            announced: false,
        }
    }

    /// The record, once it is synced.
    #[must_use]
    pub fn record(&self) -> Option<&BootstrapRecord> {
        match &self.state {
            State::Formed(record) => Some(record),
            _ => None,
        }
    }

    /// When the next [`Event::Tick`] is due.
    #[must_use]
    pub fn wakeup(&self) -> Option<Tick> {
        match self.state {
            State::Asking { next, .. } => Some(next),
            _ => None,
        }
    }

    /// One event in, effects out.
    pub fn step(&mut self, now: Tick, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Tick => self.tick(now, out),
            Event::PeerUp(node) if matches!(self.state, State::Asking { .. }) => {
                self.present(node, out);
            }
            Event::PeerUp(_) => {}
            Event::Presented { node, message } => self.presented(node, message, out),
            Event::RecordSynced => self.record_synced(out),
        }
        self.maybe_found(out);
    }

    fn tick(&mut self, now: Tick, out: &mut Vec<Effect>) {
        if let State::Formed(record) = &self.state
            && !self.announced
        {
            self.announced = true;
            out.push(Effect::Formed(record.clone()));
        }
        let State::Asking {
            tries,
            next,
            backoff_ms,
        } = &mut self.state
        else {
            return;
        };
        if now < *next {
            return;
        }
        if *tries == self.setup.tries {
            let failure = self.failure();
            self.state = State::Failed;
            out.push(Effect::Failed(failure));
            return;
        }
        *tries += 1;
        *next = Tick(now.0 + *backoff_ms);
        *backoff_ms = (*backoff_ms * 2).min(self.setup.retry_max_ms.max(1));
        for seed in self.others() {
            self.present(seed, out);
        }
    }

    fn presented(&mut self, node: NodeId, message: Message, out: &mut Vec<Effect>) {
        if node == self.setup.me {
            return;
        }
        match (&self.state, message.record) {
            (State::Asking { .. }, Some(record)) => self.sync(record, out),
            (State::Asking { .. }, None) => {
                let (directory, seen) = (message.directory, message.seen);
                self.heard(node, directory, seen, message.seeds_fingerprint, out);
            }
            (State::Formed(ours) | State::Syncing(ours), Some(theirs)) if *ours != theirs => {
                let refusal = Refusal::OtherCluster {
                    theirs: theirs.cluster,
                    ours: ours.cluster,
                };
                self.refuse(node, refusal, out);
            }
            (State::Formed(record), None) => {
                let message = self.message(message.directory, Some(record.clone()));
                out.push(Effect::Send { to: node, message });
            }
            (State::Formed(_) | State::Syncing(_), Some(_))
            | (State::Syncing(_), None)
            | (State::Failed, _) => {}
        }
    }

    /// A node without a record, heard while this one has none either.
    fn heard(
        &mut self,
        node: NodeId,
        directory: DirectoryId,
        seen: DirectoryId,
        seeds_fingerprint: u64,
        out: &mut Vec<Effect>,
    ) {
        if !self.setup.seeds.contains(&node) {
            return; // It waits to join a cluster that is not there yet.
        }
        if seeds_fingerprint != self.setup.seeds_fingerprint {
            self.presented.remove(&node);
            self.refuse(node, Refusal::SeedsDiffer, out);
            return;
        }
        self.refused.remove(&node);
        let to_me = seen == self.setup.directory;
        let before = self
            .presented
            .insert(node, Presentation { directory, to_me });
        let news = before.is_none_or(|before| before.directory != directory);
        if news || !to_me {
            self.present(node, out);
        }
    }

    /// The lowest seed makes the record when all others have said that they hold none.
    fn maybe_found(&mut self, out: &mut Vec<Effect>) {
        if !matches!(self.state, State::Asking { .. }) || self.founder() != self.setup.me {
            return;
        }
        let others = self.others();
        let ready = |node| {
            self.presented
                .get(node)
                .is_some_and(|presented| presented.to_me)
        };
        if !others.iter().all(ready) {
            return;
        }
        let mut nodes = vec![(self.setup.me, self.setup.directory)];
        nodes.extend(
            others
                .iter()
                .map(|node| (*node, self.presented[node].directory)),
        );
        self.sync(BootstrapRecord::new(self.setup.new_cluster, nodes), out);
    }

    fn sync(&mut self, record: BootstrapRecord, out: &mut Vec<Effect>) {
        out.push(Effect::SyncRecord(record.clone()));
        self.state = State::Syncing(record);
    }

    fn record_synced(&mut self, out: &mut Vec<Effect>) {
        let State::Syncing(record) = &self.state else {
            panic!("a sync is reported only after it was asked for");
        };
        let record = record.clone();
        self.state = State::Formed(record.clone());
        self.announced = true;
        for to in self.others() {
            let seen = self
                .presented
                .get(&to)
                .map_or(DirectoryId(0), |seed| seed.directory);
            out.push(Effect::Send {
                to,
                message: self.message(seen, Some(record.clone())),
            });
        }
        out.push(Effect::Formed(record));
    }

    fn refuse(&mut self, node: NodeId, refusal: Refusal, out: &mut Vec<Effect>) {
        if self.refused.insert(node, refusal) != Some(refusal) {
            out.push(Effect::Refused { node, refusal });
        }
    }

    fn failure(&self) -> Failure {
        let differs = |node: &NodeId| self.refused.get(node) == Some(&Refusal::SeedsDiffer);
        let (differing, rest): (Vec<_>, Vec<_>) = self.others().into_iter().partition(differs);
        let silent = |node: &NodeId| !self.presented.contains_key(node);
        let missing: Vec<_> = rest.into_iter().filter(silent).collect();
        let complete = missing.is_empty() && differing.is_empty();
        let waiting_for = complete
            .then(|| self.founder())
            .filter(|node| *node != self.setup.me);
        Failure {
            tries: self.setup.tries,
            missing,
            differing,
            waiting_for,
        }
    }

    /// Says who this node is, without a record.
    fn present(&self, to: NodeId, out: &mut Vec<Effect>) {
        let seen = self
            .presented
            .get(&to)
            .map_or(DirectoryId(0), |seed| seed.directory);
        out.push(Effect::Send {
            to,
            message: self.message(seen, None),
        });
    }

    fn message(&self, seen: DirectoryId, record: Option<BootstrapRecord>) -> Message {
        let Setup {
            directory,
            seeds_fingerprint,
            ..
        } = self.setup;
        Message {
            directory,
            seen,
            seeds_fingerprint,
            record,
        }
    }

    fn founder(&self) -> NodeId {
        self.setup.seeds[0]
    }

    fn others(&self) -> Vec<NodeId> {
        self.setup
            .seeds
            .iter()
            .copied()
            .filter(|seed| *seed != self.setup.me)
            .collect()
    }
}
