//! Silence by agreement: an idle group sends nothing, and the liveness of node pairs stands in for
//! its heartbeats.

use crate::effect::Effect;
use crate::message::Body;
use crate::node::{Follower, Needs, Node, State};
use crate::progress;
use crate::quorum;
use crate::types::{Index, NodeId, Tick};

impl Node {
    /// Something happened: timers run again. A leader makes itself heard at once.
    pub(crate) fn wake(&mut self, now: Tick, out: &mut Vec<Effect>) {
        if !self.quiesced {
            return;
        }
        self.resume(now);
        if matches!(self.state, State::Leader(_)) {
            self.broadcast_heartbeat(now, out);
        } else if let Some(leader) = self.leader {
            // The leader may not have heard what woke this member: an answer that knows of nothing
            // wakes it too.
            let nothing = Body::HeartbeatResponse {
                read_round: 0,
                last_index: Index(0),
            };
            let node = self.me.node;
            self.answer(self.address(leader, node), nothing, Needs::HardState);
        }
    }

    /// Timers run again; nothing is sent for it.
    pub(crate) fn resume(&mut self, now: Tick) {
        if !self.quiesced {
            return;
        }
        self.quiesced = false;
        match &mut self.state {
            State::Leader(leader) => {
                // The silence was agreed upon: it is nobody's fault.
                leader.assume_alive(now);
                self.timer = Tick(now.0 + self.config.heartbeat_ms);
            }
            State::Follower(follower) => {
                follower.contact = follower.contact.map(|_| now);
                self.rest(now);
            }
            State::Candidate(_) => assert!(!self.quiesced, "a candidate never rests"),
        }
    }

    pub(crate) fn node_down(&mut self, now: Tick, node: NodeId, out: &mut Vec<Effect>) {
        if node == self.me.node || !self.down.insert(node) {
            return;
        }
        let membership = self.history.effective();
        if !membership
            .all_members()
            .iter()
            .any(|member| member.node == node)
        {
            return;
        }
        if matches!(self.state, State::Leader(_)) {
            self.wake(now, out);
            self.follower_down(node);
            return;
        }
        let leader = self.leader.and_then(|leader| membership.member(leader));
        if leader.is_some_and(|leader| leader.node == node) {
            self.leader_down(now);
        }
    }

    /// A broken connection is evidence: no need to wait for the timeout. The spread keeps the
    /// others from campaigning in the same moment, and a thousand groups from waking in one.
    fn leader_down(&mut self, now: Tick) {
        let State::Follower(Follower { contact, .. }) = &mut self.state else {
            return;
        };
        *contact = None;
        // Who rests has no timer.
        let timer = (!self.quiesced).then_some(self.timer);
        self.quiesced = false;
        let soon = self.soon(now);
        self.timer = timer.map_or(soon, |timer| timer.min(soon));
    }

    /// When to campaign where there is no leader to wait for.
    pub(crate) fn soon(&mut self, now: Tick) -> Tick {
        let heartbeat = self.config.heartbeat_ms;
        Tick(now.0 + self.random.below(heartbeat) + self.patience(heartbeat / 2))
    }

    pub(crate) fn node_up(&mut self, now: Tick, node: NodeId, out: &mut Vec<Effect>) {
        self.down.remove(&node);
        let membership = self.history.effective();
        if !membership
            .all_members()
            .iter()
            .any(|member| member.node == node)
        {
            return;
        }
        if matches!(self.state, State::Leader(_)) {
            self.resume(now);
            self.follower_up(node);
            self.broadcast_heartbeat(now, out);
        } else if self.is_expected_to_lead() && self.other_voters().iter().any(|v| v.node == node) {
            self.campaign(now, out);
        } else {
            self.ask_anew(node);
        }
    }

    /// Whether nothing is open: all that are alive have everything and know it, and they are a
    /// majority.
    pub(crate) fn is_idle(&self, now: Tick) -> bool {
        let State::Leader(leader) = &self.state else {
            return false;
        };
        let last = self.log.last_index();
        let membership = self.history.effective();
        let is_settled = |p: &progress::Progress| {
            p.state == progress::State::Replicate && p.matched == last && !p.fetching && !p.full
        };
        let alive = |replica| {
            replica == self.me.replica
                || leader
                    .followers
                    .iter()
                    .any(|p| p.member.replica == replica && !p.down)
        };
        leader.is_idle(now, self.config.quiesce_after_ms)
            && self.commit == last
            && self.durability.index() == last
            && leader.first_index <= self.commit
            && !membership.is_joint()
            && leader.followers.iter().all(|p| p.down || is_settled(p))
            && quorum::has(membership, alive)
    }
}
