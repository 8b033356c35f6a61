//! One group member: what it holds, and where each input goes. The roles decide.

use crate::config::Config;
use crate::durability::Durability;
use crate::effect::{Effect, Persist, Role};
use crate::input::{Input, Refused};
use crate::leader::Leader;
use crate::log::Log;
use crate::membership::History;
use crate::message::Message;
use crate::random::Random;
use crate::types::{
    Base, HardState, Index, Member, Membership, NodeId, PersistSeq, ReplicaId, Term, Tick,
};
use std::collections::BTreeSet;

/// What a member is started from: its disk, as recovered, and who it is.
#[derive(Clone, Debug)]
pub struct Start {
    /// Itself. A replica that a disk does not know is started with an empty log and an empty
    /// membership, and waits.
    pub me: Member,
    /// As recovered. The commit hint is clamped to the log.
    pub hard_state: HardState,
    /// As recovered. The state may be left empty.
    pub base: Base,
    /// Last index of the recovered log; the base's for an empty one.
    pub last_index: Index,
    /// The runs of one term above the base: (term, first index), ascending. Empty for an empty log.
    pub terms: Vec<(Term, Index)>,
    /// The membership entries above the base, ascending.
    pub memberships: Vec<(Index, Membership)>,
    /// Spreads the timeouts; should differ between members and groups.
    pub seed: u64,
    /// The higher, the sooner it campaigns. 0 waits up to a quarter of the timeouts' spread longer.
    pub priority: u32,
}

/// One member of one group.
///
/// Feed it with [`Node::step`]; call [`Node::propose`] as often as a tick has proposals, then
/// [`Node::flush`] once. Every effect must be executed, in order; a persist that fails ends the
/// process (or the group), it is not retried.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) config: Config,
    pub(crate) me: Member,
    pub(crate) priority: u32,
    pub(crate) random: Random,
    pub(crate) term: Term,
    /// Who got the vote in `term`.
    pub(crate) vote: Option<ReplicaId>,
    /// Never goes down.
    pub(crate) commit: Index,
    pub(crate) log: Log,
    pub(crate) durability: Durability,
    pub(crate) history: History,
    pub(crate) state: State,
    /// Whom it follows in `term`; itself when it leads.
    pub(crate) leader: Option<ReplicaId>,
    /// When a follower or candidate campaigns, when a leader sends heartbeats.
    pub(crate) timer: Tick,
    /// Waits for something to happen; node liveness stands in for heartbeats.
    pub(crate) quiesced: bool,
    pub(crate) disk_full: bool,
    /// Nodes known to be down.
    pub(crate) down: BTreeSet<NodeId>,
    pub(crate) gathered: Gathered,
    pub(crate) announced: (Role, Term, Option<ReplicaId>),
}

/// A role and what belongs to it alone.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Follower {
    /// When the leader was last heard; None without one, or when its node is down.
    pub(crate) contact: Option<Tick>,
    /// Up to here the log is known to be this leader's, in memory.
    pub(crate) verified: Index,
}

#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Only asks whether it would win.
    pub(crate) pre: bool,
    pub(crate) votes: Vec<(ReplicaId, bool)>,
}

/// What a step has decided and not yet handed out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) persist: Persist,
    pub(crate) hard_state: bool,
    /// How many of the persist's entries were announced as appended.
    pub(crate) announced: usize,
    pub(crate) answers: Vec<(Member, Message, Needs)>,
}

/// What must be synced before a message may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The current term and vote.
    HardState,
    /// The log up to here, and the current term.
    Index(Index),
}

impl Node {
    /// A member as its disk left it: a follower or learner that knows no leader. The only voter of
    /// its group campaigns at its first tick, which is due at once.
    #[must_use]
    pub fn new(config: Config, start: Start, now: Tick) -> Self {
        assert!(config.validate().is_ok(), "the configuration was validated");
        assert!(start.me.replica > ReplicaId(0), "replica ids begin at 1");
        let history = History::new(&start.base, start.memberships);
        assert!(
            history.effective_index() <= start.last_index,
            "memberships lie in the log"
        );
        let commit = start
            .hard_state
            .commit
            .min(start.last_index)
            .max(start.base.index);
        let log = Log::new(start.base, start.last_index, start.terms);
        assert!(
            start.hard_state.term >= log.last_term(),
            "the term is never below the log's"
        );
        let mut node = Self {
            config,
            me: start.me,
            priority: start.priority,
            random: Random::new(start.seed ^ start.me.replica.0.rotate_left(32)),
            term: start.hard_state.term,
            vote: start.hard_state.vote,
            commit,
            durability: Durability::new(start.last_index),
            log,
            history,
            state: State::Follower(Follower::default()),
            leader: None,
            timer: now,
            quiesced: false,
            disk_full: false,
            down: BTreeSet::new(),
            gathered: Gathered::default(),
            announced: (Role::Follower, start.hard_state.term, None),
        };
        if !node.is_only_voter() {
            node.rest(now);
        }
        node.announced.0 = node.role();
        node
    }

    /// One event. Effects are added to `out`; those of proposals that were not flushed come first.
    pub fn step(&mut self, now: Tick, input: Input, out: &mut Vec<Effect>) {
        if !self.gathered.is_empty() {
            self.flush(now, out);
        }
        match input {
            Input::Tick => self.tick(now, out),
            Input::Message { node, message } => self.receive(now, node, message, out),
            Input::Persisted(seq) => self.persisted(now, seq, out),
            Input::Read {
                to,
                session,
                entries,
            } => self.entries_read(to, session, entries, out),
            Input::ReadFailed { to, session } => self.read_failed(to, session),
            Input::InstallState { to, session, base } => {
                self.install_state(to, session, base, out);
            }
            Input::ReadIndex(id) => self.read_index(id, now, out),
            Input::ChangeMembership(change) => self.change_membership(now, change, out),
            Input::Transfer(to) => self.transfer(now, to, out),
            Input::Campaign { forced } => self.asked_to_campaign(now, forced, out),
            Input::NodeDown(node) => self.node_down(now, node, out),
            Input::NodeUp(node) => self.node_up(now, node, out),
            Input::DiskFull(full) => self.disk_full = full,
        }
        self.flush(now, out);
        self.check();
    }

    fn tick(&mut self, now: Tick, out: &mut Vec<Effect>) {
        let Some(due) = self.deadline() else { return };
        if now < due {
            return;
        }
        match self.state {
            State::Leader(_) => self.leader_tick(now, out),
            State::Follower(_) | State::Candidate(_) => self.campaign(now, out),
        }
    }

    fn persisted(&mut self, now: Tick, seq: PersistSeq, out: &mut Vec<Effect>) {
        self.durability.complete(seq);
        match self.state {
            State::Leader(_) => self.maybe_commit(now, out),
            State::Candidate(_) => self.own_vote(now, out),
            State::Follower(_) => {}
        }
    }

    /// Hands out what was decided: what was appended, one append per follower, one persist, then
    /// the answers that wait for it. Called by `step` itself; after `propose` by the driver.
    pub fn flush(&mut self, now: Tick, out: &mut Vec<Effect>) {
        self.announce_appended(out);
        self.replicate(out);
        self.start_read_round(now, out);
        self.hand_out(out);
    }

    fn hand_out(&mut self, out: &mut Vec<Effect>) {
        let hard_state = std::mem::take(&mut self.gathered.hard_state);
        let mut persist = std::mem::take(&mut self.gathered.persist);
        self.gathered.announced = 0;
        if hard_state {
            persist.hard_state = Some(HardState {
                term: self.term,
                vote: self.vote,
                commit: self.commit,
            });
        }
        let installed = persist.base.clone();
        if persist != Persist::default() {
            persist.seq = self.durability.issue(self.log.last_index(), hard_state);
            out.push(Effect::Persist(persist));
        }
        if let Some(base) = installed {
            let after = self.durability.after_index(base.index);
            out.push(Effect::Installed { base, after });
        }
        for (to, message, needs) in std::mem::take(&mut self.gathered.answers) {
            let after = match needs {
                Needs::HardState => self.durability.after_hard_state(),
                Needs::Index(index) => self.durability.after_index(index),
            };
            out.push(Effect::Send { to, message, after });
        }
    }

    /// Drops the log up to `base.index`, which is committed, for `base.state`. Term and membership
    /// are filled in here. Members that still need what is dropped will be sent the state instead.
    ///
    /// # Errors
    /// `Refused::Invalid` when the index is not above the base or not committed.
    pub fn trim(&mut self, base: Base, out: &mut Vec<Effect>) -> Result<PersistSeq, Refused> {
        if base.index <= self.log.base().index {
            return Err(Refused::Invalid("already trimmed"));
        }
        let Some(term) = self
            .log
            .term_at(base.index)
            .filter(|_| base.index <= self.commit)
        else {
            return Err(Refused::Invalid("only what is committed can be trimmed"));
        };
        let membership = self.history.at(base.index);
        let base = Base {
            term,
            membership,
            ..base
        };
        self.announce_appended(out);
        self.replicate(out);
        self.hand_out(out);
        self.log.trim(base.clone());
        self.history.trim(base.index);
        let seq = self.durability.issue(self.log.last_index(), false);
        out.push(Effect::Persist(Persist {
            seq,
            base: Some(base),
            ..Persist::default()
        }));
        Ok(seq)
    }

    /// How soon it campaigns from its next timeout on, see [`Start::priority`].
    pub fn set_priority(&mut self, priority: u32) {
        self.priority = priority;
    }

    /// Drops payloads up to here from memory, as far as they are synced and committed. Later needs
    /// are read back with [`Effect::Read`].
    pub fn evict(&mut self, upto: Index) {
        self.log
            .evict(upto.min(self.commit).min(self.durability.index()));
    }
}

impl Gathered {
    fn is_empty(&self) -> bool {
        !self.hard_state && self.persist == Persist::default() && self.answers.is_empty()
    }
}
