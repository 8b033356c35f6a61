//! Elections: pre-vote, vote, and who gets one (Raft, sections 5.2 and 5.4.1; dissertation, section
//! 9.6).

use crate::effect::Effect;
use crate::message::{Body, Campaign};
use crate::node::{Candidate, Follower, Needs, Node, State};
use crate::quorum::{self, Outcome};
use crate::types::{Member, NodeId, ReplicaId, Term, Tick};

impl Node {
    /// The timer ran out: asks whether an election would be won, or holds it at once when nobody
    /// else votes.
    pub(crate) fn campaign(&mut self, now: Tick, out: &mut Vec<Effect>) {
        if !self.may_lead() {
            self.rest(now);
            return;
        }
        self.state = State::Candidate(Candidate {
            pre: true,
            votes: vec![(self.me.replica, true)],
        });
        self.leader = None;
        self.quiesced = false;
        self.rest(now);
        self.announce_role(out);
        if self.is_only_voter() {
            self.stand(now, false, out);
            return;
        }
        let body = Body::PreVote(self.claim(false));
        for to in self.other_voters() {
            let mut message = self.message(to.replica, body.clone());
            message.term = self.term.next();
            out.push(Effect::Send {
                to,
                message,
                after: crate::effect::After::Now,
            });
        }
    }

    /// Whether the others can be expected to wait for this one: it led last, as far as it knows, or nobody ever led and it
    /// is the first voter. Then it has nothing to wait for when it hears another one: the pre-vote finds out whether
    /// somebody leads.
    pub(crate) fn is_expected_to_lead(&self) -> bool {
        let membership = self.history.effective();
        let is_first = || {
            let voters = membership.voters.iter().map(|voter| voter.replica);
            voters.min() == Some(self.me.replica)
        };
        let is_fresh = || self.vote.is_none() && self.log.last_index() == self.log.base().index;
        let is_standing = match &self.state {
            State::Follower(_) => false,
            State::Candidate(candidate) => !candidate.pre,
            State::Leader(_) => true,
        };
        let is_next = self.vote == Some(self.me.replica) || (is_fresh() && is_first());
        self.leader.is_none() && !is_standing && is_next
    }

    /// An operator's word. A leader stays what it is; a member without a vote does too.
    pub(crate) fn asked_to_campaign(&mut self, now: Tick, forced: bool, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Leader(_)) || !self.may_lead() {
            return;
        }
        if forced {
            self.stand(now, true, out);
        } else {
            self.campaign(now, out);
        }
    }

    /// Leadership is handed over: voters must not wait for the old leader.
    pub(crate) fn told_to_campaign(&mut self, now: Tick, out: &mut Vec<Effect>) {
        assert!(
            !matches!(self.state, State::Leader(_)),
            "a leader follows nobody"
        );
        if self.may_lead() {
            self.stand(now, true, out);
        }
    }

    /// Takes the next term. Requests leave, and the own vote counts, when the term is synced.
    fn stand(&mut self, now: Tick, forced: bool, out: &mut Vec<Effect>) {
        assert!(self.may_lead(), "only voters stand");
        self.term = self.term.next();
        self.vote = Some(self.me.replica);
        self.gather_hard_state();
        self.state = State::Candidate(Candidate {
            pre: false,
            votes: Vec::new(),
        });
        self.leader = None;
        self.quiesced = false;
        self.rest(now);
        self.announce_role(out);
        let body = Body::Vote(self.claim(forced));
        for to in self.other_voters() {
            self.answer(to, body.clone(), Needs::HardState);
        }
    }

    fn claim(&self, forced: bool) -> Campaign {
        Campaign {
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
            forced,
        }
    }

    pub(crate) fn other_voters(&self) -> Vec<Member> {
        let membership = self.history.effective();
        let mut all = membership.all_members();
        all.retain(|m| m.replica != self.me.replica && membership.is_voter(m.replica));
        all
    }

    /// Whether a claim comes from somebody who can be a candidate at all: a member. Two exceptions,
    /// or a vote that is needed would be missing for ever: a voter that knows no membership yet
    /// cannot tell, and one whose log ends before the claim's, and that hears no leader, may lack
    /// the entry that made the claimant a member.
    fn may_stand(&self, now: Tick, replica: ReplicaId, claim: Campaign) -> bool {
        let membership = self.history.effective();
        let own = (self.log.last_term(), self.log.last_index());
        let may_lack_it = || (claim.last_term, claim.last_index) > own && !self.hears_leader(now);
        membership.is_empty() || membership.member(replica).is_some() || may_lack_it()
    }

    /// The leader that this member believes in asks for votes: so it does not lead.
    fn forget_if_leader(&mut self, replica: ReplicaId, out: &mut Vec<Effect>) {
        if self.leader == Some(replica) {
            self.leader = None;
            if let State::Follower(follower) = &mut self.state {
                follower.contact = None;
            }
            self.announce_role(out);
        }
    }

    /// Changes no state but to wake up: neither term, nor vote, nor timer of a running election.
    pub(crate) fn asked_for_pre_vote(
        &mut self,
        now: Tick,
        from: Member,
        term: Term,
        claim: Campaign,
        out: &mut Vec<Effect>,
    ) {
        if !self.may_stand(now, from.replica, claim) {
            return;
        }
        let hears_leader = self.hears_leader(now) && self.leader != Some(from.replica);
        self.forget_if_leader(from.replica, out);
        self.wake(now, out);
        let granted = term > self.term
            && !hears_leader
            && self.is_up_to_date(claim)
            && !matches!(self.state, State::Leader(_));
        let mut message = self.message(from.replica, Body::PreVoteResponse { granted });
        if granted {
            message.term = term;
            out.push(Effect::Send {
                to: from,
                message,
                after: crate::effect::After::Now,
            });
        } else {
            self.answer(from, message.body, Needs::HardState);
        }
    }

    pub(crate) fn asked_for_vote(
        &mut self,
        now: Tick,
        from: Member,
        term: Term,
        claim: Campaign,
        out: &mut Vec<Effect>,
    ) {
        if !self.may_stand(now, from.replica, claim) {
            return;
        }
        let hears_leader = self.hears_leader(now) && self.leader != Some(from.replica);
        self.wake(now, out);
        if term > self.term {
            if hears_leader && !claim.forced {
                // Silence: an answer could not be heard in the candidate's term, and the leader
                // stands.
                return;
            }
            self.become_follower(now, term, None, out);
        }
        let free = self.vote.is_none() && self.leader.is_none();
        let granted = term == self.term
            && (free || self.vote == Some(from.replica))
            && self.is_up_to_date(claim);
        if granted && self.vote.is_none() {
            self.vote = Some(from.replica);
            self.gather_hard_state();
            self.rest(now);
        }
        self.answer(from, Body::VoteResponse { granted }, Needs::HardState);
    }

    /// By last term, then by length: never component by component (Raft, section 5.4.1).
    fn is_up_to_date(&self, claim: Campaign) -> bool {
        (claim.last_term, claim.last_index) >= (self.log.last_term(), self.log.last_index())
    }

    pub(crate) fn pre_vote_answered(
        &mut self,
        now: Tick,
        from: ReplicaId,
        term: Term,
        granted: bool,
        out: &mut Vec<Effect>,
    ) {
        if !granted && term > self.term {
            // Its own term: without taking it, members of a lower term would ask for ever.
            if self.history.effective().member(from).is_some() {
                self.become_follower(now, term, None, out);
            }
            return;
        }
        let asked = self.term.next();
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        if !candidate.pre || (granted && term != asked) {
            return;
        }
        candidate.record(from, granted);
        match self.tally() {
            Outcome::Won => self.stand(now, false, out),
            Outcome::Lost => self.give_up(out),
            Outcome::Open => {}
        }
    }

    /// In the current term only; the receiver has seen to that.
    pub(crate) fn vote_answered(
        &mut self,
        now: Tick,
        from: ReplicaId,
        granted: bool,
        out: &mut Vec<Effect>,
    ) {
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        // Nobody was asked before the own vote was synced.
        if candidate.pre || !self.durability.is_hard_state_done() {
            return;
        }
        candidate.record(from, granted);
        self.decide(now, out);
    }

    /// The own vote counts like any other: when it is synced.
    pub(crate) fn own_vote(&mut self, now: Tick, out: &mut Vec<Effect>) {
        let synced = self.durability.is_hard_state_done();
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        if !candidate.pre && synced {
            candidate.record(self.me.replica, true);
            self.decide(now, out);
        }
    }

    fn decide(&mut self, now: Tick, out: &mut Vec<Effect>) {
        match self.tally() {
            Outcome::Won => self.become_leader(now, out),
            Outcome::Lost => {
                self.give_up(out);
                // Mostly to a rival that stood in the same moment and lost as well.
                let soon = self.soon(now);
                self.timer = self.timer.min(soon);
            }
            Outcome::Open => {}
        }
    }

    /// Who is not heard will not answer: without that two rivals would wait for the vote of the leader that both miss.
    fn tally(&self) -> Outcome {
        let State::Candidate(candidate) = &self.state else {
            return Outcome::Open;
        };
        let membership = self.history.effective();
        let is_down = |replica| {
            let member = membership.member(replica);
            member.is_some_and(|member| self.down.contains(&member.node))
        };
        quorum::count(membership, |replica| {
            let silent = || is_down(replica).then_some(false);
            candidate.vote(replica).or_else(silent)
        })
    }

    /// A voter is heard again. Whoever stands asks it anew: what it was sent before is lost.
    pub(crate) fn ask_anew(&mut self, node: NodeId) {
        let State::Candidate(candidate) = &self.state else {
            return;
        };
        if candidate.pre {
            return;
        }
        let body = Body::Vote(self.claim(false));
        let there = |voter: &Member| voter.node == node;
        if let Some(voter) = self.other_voters().into_iter().find(there) {
            self.answer(voter, body, Needs::HardState);
        }
    }

    /// Lost: waits for the winner, or for its timer, which runs already.
    fn give_up(&mut self, out: &mut Vec<Effect>) {
        self.state = State::Follower(Follower::default());
        self.announce_role(out);
    }
}

impl Candidate {
    /// A later answer of the same voter replaces the earlier one only from no to yes: a repeated or
    /// late message takes nothing back.
    fn record(&mut self, from: ReplicaId, granted: bool) {
        match self.votes.iter_mut().find(|vote| vote.0 == from) {
            Some(vote) => vote.1 |= granted,
            None => self.votes.push((from, granted)),
        }
    }

    fn vote(&self, replica: ReplicaId) -> Option<bool> {
        self.votes
            .iter()
            .find(|vote| vote.0 == replica)
            .map(|vote| vote.1)
    }
}
