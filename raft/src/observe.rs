//! What a member shows of itself.

use crate::effect::Role;
use crate::node::{Node, State};
use crate::progress::{MemberProgress, Progress};
use crate::quorum;
use crate::types::{Base, Entry, Index, Member, Membership, ReplicaId, Term, Tick};

impl Node {
    /// The entries in memory from `from` on; those below [`Node::first_in_memory`] are left out.
    pub fn tail(&self, from: Index) -> impl Iterator<Item = &Entry> {
        self.log.tail(from)
    }

    /// The first index whose payload is in memory; one above the last when none is.
    #[must_use]
    pub fn first_in_memory(&self) -> Index {
        self.log.first_in_memory()
    }

    /// When [`crate::input::Input::Tick`] is due. None when only an event can bring work.
    #[must_use]
    pub fn deadline(&self) -> Option<Tick> {
        if self.quiesced {
            return None;
        }
        match &self.state {
            State::Leader(leader) => Some(leader.deadline(self.timer)),
            State::Follower(_) | State::Candidate(_) => self.may_lead().then_some(self.timer),
        }
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.state {
            State::Leader(_) => Role::Leader,
            State::Candidate(candidate) if candidate.pre => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Follower(_) if self.may_lead() => Role::Follower,
            State::Follower(_) => Role::Learner,
        }
    }

    /// Itself.
    #[must_use]
    pub fn me(&self) -> Member {
        self.me
    }

    /// Its term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The leader of its term as far as known.
    #[must_use]
    pub fn leader(&self) -> Option<ReplicaId> {
        self.leader
    }

    /// The commit index.
    #[must_use]
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The end of the log in memory.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.log.last_index()
    }

    /// The log is synced up to here.
    #[must_use]
    pub fn durable_index(&self) -> Index {
        self.durability.index()
    }

    /// As leader: a majority holds the log up to here in memory, synced or not. Nothing in Raft rests
    /// on it.
    #[must_use]
    pub fn received_index(&self) -> Index {
        let State::Leader(leader) = &self.state else {
            return self.commit;
        };
        let received = quorum::agreed(self.history.effective(), |replica| {
            if replica == self.me.replica {
                self.log.last_index().0
            } else {
                leader.position(replica, |p| p.received.0)
            }
        });
        Index(received).max(self.commit)
    }

    /// From now on, see [`crate::Config::announce_received`].
    pub fn announce_received(&mut self, announce: bool) {
        self.config.announce_received = announce;
    }

    /// Where the log begins. Without its state.
    #[must_use]
    pub fn base(&self) -> &Base {
        self.log.base()
    }

    /// The membership in force.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.history.effective()
    }

    /// Whether the entry that says so is committed.
    #[must_use]
    pub fn is_membership_committed(&self) -> bool {
        self.history.effective_index() <= self.commit
    }

    /// The term of an entry in the log, or of the base. None elsewhere.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Whether it leads and has committed an entry of its own term: only then its commit index is
    /// the group's.
    #[must_use]
    pub fn is_leader_established(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.first_index <= self.commit)
    }

    /// As leader: up to where another member's log is known to be its own, synced.
    #[must_use]
    pub fn matched(&self, replica: ReplicaId) -> Option<Index> {
        let State::Leader(leader) = &self.state else {
            return None;
        };
        leader
            .followers
            .iter()
            .find(|p| p.member.replica == replica)
            .map(|p| p.matched)
    }

    /// What the leader knows of each other member, by replica id; empty elsewhere.
    #[must_use]
    pub fn progress(&self) -> Vec<MemberProgress> {
        match &self.state {
            State::Leader(leader) => leader.followers.iter().map(Progress::show).collect(),
            State::Follower(_) | State::Candidate(_) => Vec::new(),
        }
    }

    /// Whom leadership is being handed to; proposals are refused meanwhile.
    #[must_use]
    pub fn transferring_to(&self) -> Option<ReplicaId> {
        match &self.state {
            State::Leader(leader) => leader.transfer.as_ref().map(|transfer| transfer.to),
            State::Follower(_) | State::Candidate(_) => None,
        }
    }

    /// Whether only an event can bring work.
    #[must_use]
    pub fn quiesced(&self) -> bool {
        self.quiesced
    }
}
