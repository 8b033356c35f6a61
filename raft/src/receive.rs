//! Messages: who may speak, and what terms mean (Raft, section 5.1).

use crate::effect::Effect;
use crate::message::{Body, Message};
use crate::node::{Needs, Node, State};
use crate::types::{Member, NodeId, ReplicaId, Term, Tick};

impl Node {
    pub(crate) fn receive(
        &mut self,
        now: Tick,
        node: NodeId,
        message: Message,
        out: &mut Vec<Effect>,
    ) {
        if message.to != self.me.replica || message.from == self.me.replica {
            return;
        }
        if !is_plausible(&message) {
            return;
        }
        let known = self.history.effective().member(message.from);
        if known.is_some_and(|member| member.node != node) {
            return;
        }
        self.down.remove(&node);
        let from = self.address(message.from, node);
        match message.body {
            Body::PreVote(claim) => self.asked_for_pre_vote(now, from, message.term, claim, out),
            Body::Vote(claim) => self.asked_for_vote(now, from, message.term, claim, out),
            Body::PreVoteResponse { granted } => {
                self.pre_vote_answered(now, from.replica, message.term, granted, out);
            }
            Body::VoteResponse { granted } => {
                if self.is_current_answer(now, from.replica, message.term, out) {
                    self.vote_answered(now, from.replica, granted, out);
                }
            }
            Body::AppendResponse(answer) => {
                if self.is_current_answer(now, from.replica, message.term, out) {
                    self.append_answered(now, from.replica, answer, out);
                }
            }
            Body::HeartbeatResponse {
                read_round,
                last_index,
            } => {
                if self.is_current_answer(now, from.replica, message.term, out) {
                    self.heartbeat_answered(now, from.replica, read_round, last_index, out);
                }
            }
            Body::InstallResponse { index, session } => {
                if self.is_current_answer(now, from.replica, message.term, out) {
                    self.install_answered(now, from.replica, index, session, out);
                }
            }
            Body::TimeoutNow => {
                if message.term == self.term && self.leader == Some(message.from) {
                    self.told_to_campaign(now, out);
                }
            }
            Body::Append(_) | Body::Heartbeat { .. } | Body::Install { .. } => {
                self.heard_leader(now, from, message, out);
            }
        }
    }

    /// An answer counts in its own term only. A higher one, from a member, ends whatever role this
    /// was.
    fn is_current_answer(
        &mut self,
        now: Tick,
        from: ReplicaId,
        term: Term,
        out: &mut Vec<Effect>,
    ) -> bool {
        if term > self.term && self.history.effective().member(from).is_some() {
            self.become_follower(now, term, None, out);
        }
        term == self.term && !matches!(self.state, State::Follower(_))
    }

    fn heard_leader(&mut self, now: Tick, from: Member, message: Message, out: &mut Vec<Effect>) {
        if message.term < self.term {
            // A leader of the past, or one whose term this member outran: the answer's term tells
            // it.
            let body = Body::HeartbeatResponse {
                read_round: 0,
                last_index: self.commit,
            };
            self.answer(from, body, Needs::HardState);
            return;
        }
        if message.term == self.term && matches!(self.state, State::Leader(_)) {
            out.push(Effect::Violation {
                what: "two leaders in one term",
            });
            return;
        }
        if message.term == self.term && self.leader.is_some_and(|known| known != from.replica) {
            out.push(Effect::Violation {
                what: "two leaders in one term",
            });
            return;
        }
        self.follow(now, message.term, from.replica, out);
        match message.body {
            Body::Append(append) => self.append(from, append, out),
            Body::Heartbeat {
                commit,
                read_round,
                quiesce,
            } => {
                self.heartbeat(from, commit, read_round, quiesce, out);
            }
            Body::Install { base, session } => self.install(from, base, session, out),
            _ => {}
        }
    }
}

/// No group comes near this term or index; beyond it is a broken peer, and sums would overflow.
const LIMIT: u64 = 1 << 60;

fn is_plausible(message: &Message) -> bool {
    let index = match &message.body {
        Body::Append(append) => append.prev_index.0,
        Body::Install { base, .. } => base.index.0,
        _ => 0,
    };
    message.term.0 < LIMIT && index < LIMIT
}
