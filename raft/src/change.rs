//! Changing the members, by joint consensus, one change at a time (Raft, section 6; dissertation,
//! section 4).

use crate::effect::Effect;
use crate::input::{Change, Refused};
use crate::membership::LEARNERS_MAX;
use crate::node::{Node, State};
use crate::progress;
use crate::quorum::VOTERS_MAX;
use crate::types::{EntryKind, Member, Membership, ReplicaId, Tick};

impl Node {
    pub(crate) fn change_membership(&mut self, now: Tick, change: Change, out: &mut Vec<Effect>) {
        match self.changed(change) {
            Ok(membership) => {
                self.wake(now, out);
                self.lead_membership(now, membership, out);
            }
            Err(why) => out.push(Effect::Refused { why }),
        }
    }

    /// The membership that the change asks for.
    fn changed(&self, change: Change) -> Result<Membership, Refused> {
        let State::Leader(leader) = &self.state else {
            return Err(Refused::NotLeader {
                leader: self.leader,
            });
        };
        if leader.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        let membership = self.history.effective();
        // Without an own entry committed, a change of an earlier term could still win somewhere
        // else, with a quorum that does not meet this one's (Ongaro, 2015).
        let settled = self.is_leader_established() && self.is_membership_committed();
        if !settled || membership.is_joint() {
            return Err(Refused::ChangeUnderWay);
        }
        match change {
            Change::AddLearner(member) => add_learner(membership, member),
            Change::RemoveLearner(replica) => remove_learner(membership, replica),
            Change::SetVoters(voters) => self.set_voters(membership, voters),
        }
    }

    fn set_voters(
        &self,
        membership: &Membership,
        mut voters: Vec<Member>,
    ) -> Result<Membership, Refused> {
        voters.sort_unstable();
        if voters.is_empty() || voters.len() > VOTERS_MAX {
            return Err(Refused::Invalid("the number of voters"));
        }
        if voters
            .windows(2)
            .any(|pair| pair[0].replica == pair[1].replica)
        {
            return Err(Refused::Invalid("a voter is named twice"));
        }
        if voters == membership.voters {
            return Err(Refused::Invalid("already so"));
        }
        for voter in &voters {
            match membership.member(voter.replica) {
                None => return Err(Refused::NotCaughtUp(voter.replica)),
                Some(known) if known != voter => {
                    return Err(Refused::Invalid(
                        "a member does not change its node or disk",
                    ));
                }
                Some(_) if membership.is_voter(voter.replica) => {}
                Some(_) if self.has_caught_up(voter.replica) => {}
                Some(_) => return Err(Refused::NotCaughtUp(voter.replica)),
            }
        }
        let mut learners = membership.learners.clone();
        learners.retain(|learner| !voters.iter().any(|voter| voter.replica == learner.replica));
        Ok(Membership {
            voters,
            outgoing: membership.voters.clone(),
            learners,
        })
    }

    /// It has all that is committed; or, under load, all that was at the last heartbeat, and
    /// answers heartbeats.
    fn has_caught_up(&self, replica: ReplicaId) -> bool {
        let State::Leader(leader) = &self.state else {
            return false;
        };
        let Some(p) = leader
            .followers
            .iter()
            .find(|p| p.member.replica == replica)
        else {
            return false;
        };
        let answers = p.acked_round + 1 >= leader.reads.round();
        p.state == progress::State::Replicate
            && p.matched >= leader.first_index
            && (p.matched >= self.commit || (answers && p.matched >= leader.commit_then))
    }

    /// Both halves have agreed on the joint membership: the leader, whoever it is by now, ends it.
    pub(crate) fn leave_joint(&mut self, now: Tick, out: &mut Vec<Effect>) {
        assert!(
            self.is_membership_committed(),
            "a joint membership is left when it is committed"
        );
        let joint = self.history.effective();
        let membership = Membership {
            outgoing: Vec::new(),
            ..joint.clone()
        };
        self.lead_membership(now, membership, out);
    }

    fn lead_membership(&mut self, now: Tick, membership: Membership, out: &mut Vec<Effect>) {
        assert!(
            self.is_leader_established(),
            "no membership before an own entry is committed"
        );
        assert!(self.is_membership_committed(), "one change at a time");
        let index = self.lead_entry(EntryKind::Membership, membership.encode());
        self.history.append(index, membership);
        self.sync_followers(now);
        self.announce_appended(out);
        self.announce_membership(out);
    }
}

fn add_learner(membership: &Membership, member: Member) -> Result<Membership, Refused> {
    if membership.member(member.replica).is_some() {
        return Err(Refused::Invalid("already a member"));
    }
    if member.replica == ReplicaId(0) || membership.learners.len() >= LEARNERS_MAX {
        return Err(Refused::Invalid("the number of learners, or no replica id"));
    }
    let mut changed = membership.clone();
    changed.learners.push(member);
    changed.learners.sort_unstable();
    Ok(changed)
}

fn remove_learner(membership: &Membership, replica: ReplicaId) -> Result<Membership, Refused> {
    if !membership.is_learner(replica) {
        return Err(Refused::Invalid("not a learner"));
    }
    let mut changed = membership.clone();
    changed
        .learners
        .retain(|learner| learner.replica != replica);
    Ok(changed)
}
