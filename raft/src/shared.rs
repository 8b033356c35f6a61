//! What the roles share: timers, changes of role, what a step gathers, and the invariants after it.

use crate::effect::{After, Effect, Persist};
use crate::message::{Body, Message};
use crate::node::{Follower, Needs, Node, State};
use crate::types::{Base, DirectoryId, Entry, Index, Member, NodeId, ReplicaId, Term, Tick};

impl Node {
    /// Whether it has a vote in the membership in force, in either half.
    pub(crate) fn votes(&self) -> bool {
        self.history.effective().is_voter(self.me.replica)
    }

    /// Whether it may lead. A voter that the membership in force removes may, until that is
    /// committed: it may be the only one whose log is long enough (dissertation, section 4.2.2).
    /// Its own vote does not count then.
    pub(crate) fn may_lead(&self) -> bool {
        let leaving = || {
            self.history
                .previous()
                .is_some_and(|m| m.is_voter(self.me.replica))
        };
        self.votes() || (!self.is_membership_committed() && leaving())
    }

    pub(crate) fn is_only_voter(&self) -> bool {
        let membership = self.history.effective();
        let mut voters = membership.voters.iter().chain(&membership.outgoing);
        !membership.voters.is_empty() && voters.all(|voter| voter.replica == self.me.replica)
    }

    /// Draws a new election timeout. Members that should not lead wait a little longer.
    pub(crate) fn rest(&mut self, now: Tick) {
        let spread = self.config.election_timeout_max_ms - self.config.election_timeout_min_ms;
        let wait = self.config.election_timeout_min_ms + self.random.below(spread);
        self.timer = Tick(now.0 + wait + self.patience(spread / 4));
    }

    /// The longest wait for the lowest priority; a quarter of it for each step above.
    pub(crate) fn patience(&self, longest: u64) -> u64 {
        longest >> (2 * self.priority.min(31))
    }

    /// Follows `leader` in `term`, or waits for one.
    pub(crate) fn become_follower(
        &mut self,
        now: Tick,
        term: Term,
        leader: Option<ReplicaId>,
        out: &mut Vec<Effect>,
    ) {
        assert!(term >= self.term, "terms never go down");
        assert!(leader != Some(self.me.replica), "nobody follows itself");
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.gathered.hard_state = true;
        }
        let contact = leader.map(|_| now);
        let before = State::Follower(Follower {
            contact,
            verified: Index(0),
        });
        let before = std::mem::replace(&mut self.state, before);
        self.leader = leader;
        self.quiesced = false;
        self.rest(now);
        if let State::Leader(mut leader) = before {
            leader.refuse_reads(out);
        }
        self.announce_role(out);
    }

    /// Says what changed, once.
    pub(crate) fn announce_role(&mut self, out: &mut Vec<Effect>) {
        let (role, term, leader) = (self.role(), self.term, self.leader);
        if self.announced != (role, term, leader) {
            self.announced = (role, term, leader);
            out.push(Effect::Role { role, term, leader });
        }
    }

    pub(crate) fn announce_membership(&mut self, out: &mut Vec<Effect>) {
        let membership = self.history.effective().clone();
        let committed = self.is_membership_committed();
        out.push(Effect::Membership {
            membership,
            committed,
        });
    }

    pub(crate) fn announce_appended(&mut self, out: &mut Vec<Effect>) {
        let new = &self.gathered.persist.entries[self.gathered.announced..];
        if !new.is_empty() {
            out.push(Effect::Appended {
                entries: new.to_vec(),
            });
            self.gathered.announced = self.gathered.persist.entries.len();
        }
    }

    pub(crate) fn gather_hard_state(&mut self) {
        self.gathered.hard_state = true;
    }

    pub(crate) fn gather_entry(&mut self, entry: Entry) {
        self.log.append(entry.clone());
        self.gathered.persist.entries.push(entry);
    }

    pub(crate) fn gather_truncate(&mut self, from: Index) {
        let persist = &mut self.gathered.persist;
        assert!(
            persist.entries.is_empty() && persist.truncate.is_none(),
            "one truncation a step"
        );
        persist.truncate = Some(from);
    }

    pub(crate) fn gather_base(&mut self, base: Base) {
        assert!(
            self.gathered.persist == Persist::default(),
            "one install a step"
        );
        self.gathered.persist.base = Some(base);
        self.gathered.hard_state = true;
    }

    pub(crate) fn answer(&mut self, to: Member, body: Body, needs: Needs) {
        let message = self.message(to.replica, body);
        self.gathered.answers.push((to, message, needs));
    }

    pub(crate) fn message(&self, to: ReplicaId, body: Body) -> Message {
        Message {
            from: self.me.replica,
            to,
            term: self.term,
            body,
        }
    }

    pub(crate) fn send_now(&self, to: Member, body: Body, out: &mut Vec<Effect>) {
        let message = self.message(to.replica, body);
        out.push(Effect::Send {
            to,
            message,
            after: After::Now,
        });
    }

    /// Where an answer to `replica` goes: what the membership says, or the node that it spoke from.
    pub(crate) fn address(&self, replica: ReplicaId, node: NodeId) -> Member {
        let known = self.history.effective().member(replica).copied();
        known.unwrap_or(Member {
            replica,
            node,
            directory: DirectoryId(0),
        })
    }

    /// Raises the commit index to what is known to be committed and in the log.
    pub(crate) fn commit_to(&mut self, index: Index, out: &mut Vec<Effect>) -> bool {
        assert!(
            index <= self.log.last_index(),
            "only what is in the log can be committed here"
        );
        if index <= self.commit {
            return false;
        }
        let membership_was_committed = self.is_membership_committed();
        self.commit = index;
        self.announce_appended(out);
        out.push(Effect::Committed { index });
        if !membership_was_committed && self.is_membership_committed() {
            self.announce_membership(out);
            self.announce_role(out);
        }
        true
    }

    /// Invariants that hold after every step.
    pub(crate) fn check(&self) {
        assert!(self.log.base().index <= self.commit, "base <= commit");
        assert!(self.commit <= self.log.last_index(), "commit <= last");
        assert!(
            self.durability.index() <= self.log.last_index(),
            "durable <= last"
        );
        assert!(
            self.log.last_term() <= self.term,
            "no entry is newer than the term"
        );
        let leads = matches!(self.state, State::Leader(_));
        assert_eq!(
            leads,
            self.leader == Some(self.me.replica),
            "a leader knows itself"
        );
    }
}
