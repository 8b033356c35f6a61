//! Requests on their way to a coordinator and back.

use std::collections::BTreeSet;

use broker::broker::Rejection;
use broker::coordinator::reply::GroupReply;
use protocol::error_code::ErrorCode;
use raft::types::{NodeId, Tick};

use super::hearing::Moment;
use super::member::Phase;
use super::plan::Sharing;
use crate::client::Waiting;
use crate::world::{Outcome, World};

/// How long a member waits for an answer, in ms. For one that waits for others it waits longer.
const ANSWER_MS: u64 = 400;
/// Chance that an answer is lost on its way to the member, in a thousand.
const ANSWER_LOST_PER_MILLE: u64 = 30;
/// Chance that a member looks for its coordinator though it knows one, in a thousand: so that a new one gets commits
/// while an old one has not heard of it.
const LOOKS_ANEW_PER_MILLE: u64 = 250;
/// Chance that a broker dies with an answer that it has just given, in a thousand.
const DIES_PER_MILLE: u64 = 40;
/// By then every request that reached a coordinator is answered, in ms.
const SETTLED_MS: u64 = 4_000;
/// The wall clock when a run begins, in ms.
const WALL_MS: u64 = 1_700_000_000_000;

/// What a member asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To be a member.
    Join,
    /// For its assignment.
    Sync {
        /// In this generation.
        generation: i32,
        /// Whom it was told to be the leader; None where that may change.
        leader: Option<String>,
    },
    /// Nothing: it lives.
    Heartbeat,
    /// To be a member, to own what it owns, or to be a member no longer: all of the consumer protocol.
    Beat {
        /// 0 to join, below to leave.
        epoch: i32,
        /// It says everything.
        is_full: bool,
        /// What it owns, if it says so.
        owned: Option<BTreeSet<i32>>,
    },
    /// How the group is, where the coordinator gives partitions.
    Describe,
    /// To be a member no longer.
    Leave,
    /// To commit.
    Commit {
        /// In this generation; -1 for one who is no member.
        generation: i32,
        /// Offsets by partition.
        offsets: Vec<(i32, i64)>,
    },
    /// For what is committed.
    Fetch {
        /// Of these partitions.
        partitions: Vec<i32>,
        /// As a member of this epoch; -1 for one who does not say that he is one.
        epoch: i32,
    },
}

/// A request that is not answered.
#[derive(Clone, Debug)]
pub struct Asked {
    /// By whom.
    pub member: usize,
    /// When, in the time of the group's history.
    pub begun: u64,
    /// When, in ms.
    pub at: u64,
    /// What.
    pub ask: Ask,
}

impl World {
    /// The wall clock.
    pub(crate) fn wall_ms(&self) -> i64 {
        i64::try_from(WALL_MS + self.now).expect("a run is short")
    }

    /// A member acts.
    pub(crate) fn member(&mut self, number: usize) -> Outcome {
        let acted = self.act(number);
        self.consumer_groups.note_kept(number, self.now);
        acted
    }

    fn act(&mut self, number: usize) -> Outcome {
        let (now, chaos) = (self.now, self.chaos);
        let groups = &mut self.consumer_groups;
        let member = &mut groups.members[number];
        member.acts_at = now + self.random.between(1, 40);
        groups.groups[member.group].history.at(now);
        if let Some((asked, reply)) = member.inbox.take() {
            return self.hear(&asked, reply);
        }
        if member.is_down() {
            member.start(self.plan.partitions);
            return Ok(());
        }
        if let Some((_, deadline)) = member.asked {
            if deadline > now {
                member.acts_at = deadline;
                return Ok(());
            }
            member.asked = None;
            member.hears_nothing();
        }
        if self.disturb(number) {
            return Ok(());
        }
        let groups = &mut self.consumer_groups;
        let member = &mut groups.members[number];
        let group = &mut groups.groups[member.group];
        let ask = member.next_ask((now, chaos), group, &mut self.random);
        match ask.map_err(|why| format!("{}: {why}", group.name))? {
            Some(ask) => self.ask_coordinator(number, ask),
            None => {
                member.rest(now, chaos);
                Ok(())
            }
        }
    }

    /// Something happens to a member. Whether it can go on no further.
    fn disturb(&mut self, number: usize) -> bool {
        let per_mille = self.consumer_groups.plan.disturbed_per_mille;
        let is_observer = self.consumer_groups.members[number].is_observer();
        if !self.chaos || is_observer || !self.random.chance(per_mille) {
            return false;
        }
        let back = self.now + self.random.between(50, 2000);
        let groups = &mut self.consumer_groups;
        let member = &mut groups.members[number];
        let plan = &groups.groups[member.group].plan;
        match self.random.below(4) {
            0 => {
                self.report.counts.members_ended += 1;
                member.end(back);
                true
            }
            1 if member.phase == Phase::Working && plan.sharing != Sharing::Alone => {
                self.report.counts.members_left += 1;
                member.phase = Phase::Leaving;
                false
            }
            _ => {
                self.pause(number);
                true
            }
        }
    }

    /// A member does nothing for some time: as often as not its session ends meanwhile.
    fn pause(&mut self, number: usize) {
        let groups = &mut self.consumer_groups;
        let member = &mut groups.members[number];
        let session = groups.groups[member.group].plan.session_ms;
        let until = self.now + self.random.between(session / 4, session * 3);
        self.report.counts.members_paused += 1;
        (member.paused_until, member.acts_at) = (until, until);
    }

    fn ask_coordinator(&mut self, number: usize, ask: Ask) -> Outcome {
        let now = self.now;
        let Some(id) = self
            .consumer_groups
            .partition(self.consumer_groups.members[number].group)
        else {
            return Ok(());
        };
        let Some(at) = self.coordinator_of(number, id) else {
            self.consumer_groups.members[number].begin_anew();
            return Ok(());
        };
        let groups = &mut self.consumer_groups;
        let topic = groups.topic;
        let member = &mut groups.members[number];
        let group = &mut groups.groups[member.group];
        let wait = match ask {
            Ask::Join | Ask::Sync { .. } => ANSWER_MS + group.plan.rebalance_ms,
            _ => ANSWER_MS,
        };
        let request = member.request(group, topic, &ask);
        groups.note_kept(number, now);
        let member = &mut groups.members[number];
        let group = &mut groups.groups[member.group];
        let begun = group.history.now();
        group.history.said(number, &ask);
        member.coordinator = Some(at);
        member.asked = Some((begun, now + wait));
        member.acts_at = now + wait;
        let asked = Asked {
            member: number,
            begun,
            at: now,
            ask,
        };
        if self.chaos
            && self
                .random
                .chance(self.consumer_groups.plan.disturbed_per_mille / 2)
        {
            self.pause(number);
        }
        let ticket = self.ticket(at, Some(Waiting::Group(asked)));
        let wall = self.wall_ms();
        if let Some(up) = &mut self.nodes[at].up {
            up.shard.set_wall(wall);
            up.shard.group_request(Tick(now), id, request, ticket);
        }
        self.flush(at)
    }

    /// Whom a member asks: the broker that it knows, or that some broker takes for the leader. One who only looks asks
    /// anybody.
    fn coordinator_of(&mut self, number: usize, id: raft::types::GroupId) -> Option<usize> {
        let member = &self.consumer_groups.members[number];
        let (known, is_observer) = (member.coordinator, member.is_observer());
        if is_observer && self.chaos && self.random.chance(700) {
            let up = (0..self.nodes.len()).filter(|n| self.nodes[*n].up.is_some());
            return self.random.pick(&up.collect::<Vec<_>>()).copied();
        }
        let looks_anew = is_observer || self.random.chance(LOOKS_ANEW_PER_MILLE);
        let known = known.filter(|at| self.nodes[*at].up.is_some() && !looks_anew);
        known.or_else(|| self.ask_for_leader(id))
    }

    /// A coordinator answered.
    pub(crate) fn group_answered(
        &mut self,
        at: usize,
        asked: Asked,
        answer: Result<GroupReply, Rejection>,
    ) -> Outcome {
        let reply = match answer {
            Ok(reply) => reply,
            Err(why) => GroupReply::failed(why.code),
        };
        self.note(0x1_0000 + asked.begun);
        let assigns = matches!(
            reply,
            GroupReply::Joined(_) | GroupReply::Synced { .. } | GroupReply::ConsumerBeaten(_)
        );
        let may_die = self.chaos && assigns && self.plan.every.crash > 0;
        if may_die && self.random.chance(DIES_PER_MILLE) {
            self.faults.dying = Some(at);
        }
        self.count_answer(at, &asked, &reply);
        let groups = &mut self.consumer_groups;
        let member = &mut groups.members[asked.member];
        let group = &mut groups.groups[member.group];
        group.history.at(self.now);
        group
            .history
            .answered(&asked, &reply)
            .map_err(|why| format!("{} at {}: {why}", group.name, self.nodes[at].id))?;
        let is_lost = self.chaos && self.random.chance(ANSWER_LOST_PER_MILLE);
        if is_lost || member.asked.is_none_or(|(begun, _)| begun != asked.begun) {
            return Ok(());
        }
        member.asked = None;
        if member.paused_until > self.now {
            member.inbox = Some((asked, reply));
            return Ok(());
        }
        let heard = self.hear(&asked, reply);
        self.consumer_groups.note_kept(asked.member, self.now);
        heard
    }

    fn hear(&mut self, asked: &Asked, reply: GroupReply) -> Outcome {
        let groups = &mut self.consumer_groups;
        let member = &mut groups.members[asked.member];
        let group = &mut groups.groups[member.group];
        let heard = group.history.heard(asked, &reply, &group.plan);
        heard.map_err(|why| format!("{}: {why}", group.name))?;
        let mut moment = Moment {
            now: self.now,
            chaos: self.chaos,
            sharing: group.plan.sharing,
            rebalance_ms: group.plan.rebalance_ms,
            partitions: self.plan.partitions,
            random: &mut self.random,
        };
        member.acts_at = moment.now + moment.random.between(1, 20);
        member.hears(&asked.ask, reply, &mut moment);
        Ok(())
    }

    fn count_answer(&mut self, at: usize, asked: &Asked, reply: &GroupReply) {
        let counts = &mut self.report.counts;
        let group = self.consumer_groups.members[asked.member].group;
        match (&asked.ask, reply) {
            (Ask::Commit { .. }, GroupReply::Offsets(_)) => {
                counts.group_commits += 1;
                let group = &mut self.consumer_groups.groups[group];
                let before = group.coordinator.replace(self.nodes[at].id);
                let moved = before.is_some_and(|before| before != self.nodes[at].id);
                counts.coordinators_moved += u64::from(moved);
            }
            (Ask::Commit { .. }, GroupReply::Failed { code, .. }) => {
                let is_old = matches!(
                    code,
                    ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId
                );
                counts.zombies_refused += u64::from(is_old);
                counts.stale_epochs += u64::from(*code == ErrorCode::StaleMemberEpoch);
            }
            (Ask::Beat { epoch, .. }, GroupReply::Failed { code, .. }) => {
                let is_fenced = matches!(
                    code,
                    ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId
                );
                counts.members_fenced += u64::from(is_fenced && *epoch > 0);
                let is_taken = *code == ErrorCode::UnreleasedInstanceId;
                counts.instances_unreleased += u64::from(is_taken);
            }
            (Ask::Beat { epoch, .. }, GroupReply::ConsumerBeaten(beaten)) => {
                let gives = beaten.assignment.as_ref().filter(|_| *epoch >= 0);
                counts.members_given += u64::from(gives.is_some());
            }
            (Ask::Fetch { .. }, GroupReply::Fetched(_)) => counts.group_fetches += 1,
            (Ask::Sync { .. }, GroupReply::Synced { .. }) => counts.members_assigned += 1,
            _ => {}
        }
    }

    /// A broker went down with everything that it was asked.
    pub(crate) fn forget_asked(&mut self, node: NodeId) {
        let lost = self
            .waiting
            .extract_if(.., |(asked, _, _), _| *asked == node);
        let lost: Vec<Option<Waiting>> = lost.map(|(_, waiting)| waiting).collect();
        for waiting in lost.into_iter().flatten() {
            let Waiting::Group(asked) = waiting else {
                continue;
            };
            let groups = &mut self.consumer_groups;
            let member = &mut groups.members[asked.member];
            let history = &mut groups.groups[member.group].history;
            history.at(self.now);
            history.unanswered(&asked);
            if member.asked.is_some_and(|(begun, _)| begun == asked.begun) {
                // Its connection ends.
                member.asked = None;
                member.hears_nothing();
                member.acts_at = member.paused_until.max(self.now + 1);
            }
        }
    }

    /// No coordinator has forgotten that it was asked.
    pub(crate) fn all_are_answered(&self) -> Outcome {
        for ((node, _, ticket), waiting) in &self.waiting {
            if let Some(Waiting::Group(asked)) = waiting
                && asked.at + SETTLED_MS < self.now
            {
                return Err(format!("{node}: {ticket:?} was never answered: {asked:?}"));
            }
        }
        Ok(())
    }
}
