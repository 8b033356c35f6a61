//! Handing leadership over: the target catches up while proposals wait, then campaigns at once
//! (dissertation 3.10).

use crate::effect::Effect;
use crate::input::Refused;
use crate::message::Body;
use crate::node::{self, Node};
use crate::progress::State;
use crate::types::{ReplicaId, Tick};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) to: ReplicaId,
    /// When the leader goes on by itself.
    pub(crate) until: Tick,
    told: bool,
}

impl Node {
    pub(crate) fn transfer(&mut self, now: Tick, to: ReplicaId, out: &mut Vec<Effect>) {
        if let Err(why) = self.begin_transfer(now, to) {
            out.push(Effect::Refused { why });
            return;
        }
        self.wake(now, out);
        self.maybe_hand_over(out);
    }

    fn begin_transfer(&mut self, now: Tick, to: ReplicaId) -> Result<(), Refused> {
        let until = Tick(now.0 + self.config.transfer_timeout_ms);
        let membership = self.history.effective();
        let node::State::Leader(leader) = &mut self.state else {
            return Err(Refused::NotLeader {
                leader: self.leader,
            });
        };
        if to == self.me.replica {
            return Err(Refused::Invalid("it leads already"));
        }
        if !membership.voters.iter().any(|voter| voter.replica == to) {
            return Err(Refused::Invalid("leadership goes to a voter"));
        }
        if leader.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        let Some(p) = leader.follower(to).filter(|p| !p.down) else {
            return Err(Refused::Invalid("its node is down"));
        };
        if p.full || p.state == State::Regressed {
            return Err(Refused::Invalid("its disk is full, or has lost data"));
        }
        leader.transfer = Some(Transfer {
            to,
            until,
            told: false,
        });
        Ok(())
    }

    /// Tells the target once it has everything, the entry that made it a voter among it.
    pub(crate) fn maybe_hand_over(&mut self, out: &mut Vec<Effect>) {
        let last = self.log.last_index();
        let node::State::Leader(leader) = &mut self.state else {
            return;
        };
        let Some(Transfer {
            to, told: false, ..
        }) = leader.transfer
        else {
            return;
        };
        let Some(p) = leader.follower(to).filter(|p| p.matched == last) else {
            return;
        };
        let member = p.member;
        if let Some(transfer) = &mut leader.transfer {
            transfer.told = true;
        }
        self.send_now(member, Body::TimeoutNow, out);
    }

    pub(crate) fn end_transfer_in_time(&mut self, now: Tick) {
        let node::State::Leader(leader) = &mut self.state else {
            return;
        };
        leader.transfer.take_if(|transfer| transfer.until <= now);
    }
}
