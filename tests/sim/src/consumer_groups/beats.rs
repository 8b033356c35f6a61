//! A member to which the coordinator gives partitions (the consumer protocol): what its heartbeats say, and what it makes
//! of their answers. As Java's does it: it tells what has changed, and everything after an answer that it did not get; it
//! gives partitions up before it takes new ones, which takes its time, and says so at once.

use std::collections::BTreeSet;

use broker::coordinator::consumer::partitions::Partitions;
use broker::coordinator::reply::{ConsumerBeaten, ConsumerDescribed, GroupStateName};
use broker::coordinator::request::{Client, ConsumerBeat, MemberRef};
use broker::metadata::TopicId;
use protocol::error_code::ErrorCode;

use super::asking::Ask;
use super::hearing::Moment;
use super::member::{Kind, Member, Phase, Proof, TOPIC};
use super::plan::GroupPlan;
use crate::random::Random;

/// It leaves.
const LEAVES: i32 = -1;
/// A static member leaves for a while.
const LEAVES_FOR_A_WHILE: i32 = -2;
/// So long it takes as a rule to give partitions up, in ms.
const GIVES_UP_MS: u64 = 40;
/// Chance that it takes longer, perhaps too long, in a thousand.
const SLOW_PER_MILLE: u64 = 300;
/// Chance that a static member leaves for good, in a thousand.
const FOR_GOOD_PER_MILLE: u64 = 300;

/// What it knows beside what every member knows.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// What it is to own, and from when on it does.
    pub(super) pending: Option<(BTreeSet<i32>, u64)>,
    /// What it told last that it owns; None where it is to tell everything anew.
    pub(super) said: Option<BTreeSet<i32>>,
    /// What it owned or was told to own when the judge last heard of it.
    pub(super) noted: BTreeSet<i32>,
}

impl Member {
    /// It tells everything anew: its last heartbeat was not answered.
    pub(super) fn begin_anew(&mut self) {
        self.given.said = None;
    }

    /// It is a member no longer, and joins again under its own id.
    pub(super) fn is_fenced(&mut self) {
        self.owned.clear();
        (self.given.pending, self.given.said) = (None, None);
        self.generation = 0;
        self.phase = Phase::Joining;
    }

    /// What it owns, or is about to.
    pub(super) fn held(&self) -> BTreeSet<i32> {
        let pending = self.given.pending.iter().flat_map(|(target, _)| target);
        self.owned.keys().chain(pending).copied().collect()
    }

    /// When it is to give something up or take something on.
    pub(super) fn reconciles_at(&self) -> u64 {
        self.given.pending.as_ref().map_or(u64::MAX, |(_, at)| *at)
    }

    /// It gives up what it is to own no longer, owns the rest, and says so.
    pub(super) fn maybe_reconcile(&mut self, now: u64) {
        if let Some((target, _)) = self.given.pending.take_if(|(_, at)| *at <= now) {
            let held = std::mem::take(&mut self.owned);
            let position = |p: &i32| held.get(p).copied().flatten();
            self.owned = target.iter().map(|p| (*p, position(p))).collect();
            self.proof = Proof::Nothing;
            self.heartbeat_at = now;
        }
    }

    /// That it lives, and what has changed.
    pub(super) fn beat(&mut self) -> Ask {
        let owned: BTreeSet<i32> = self.owned.keys().copied().collect();
        let is_full = self.given.said.is_none();
        let is_new = self.given.said.as_ref() != Some(&owned);
        self.given.said = Some(owned.clone());
        Ask::Beat {
            epoch: self.generation,
            is_full,
            owned: is_new.then_some(owned),
        }
    }

    /// That it goes: it owns nothing any more.
    pub(super) fn farewell(&mut self, random: &mut Random) -> Ask {
        self.owned.clear();
        self.given.pending = None;
        let is_static = matches!(self.kind, Kind::Static(_));
        let returns = is_static && !random.chance(FOR_GOOD_PER_MILLE);
        Ask::Beat {
            epoch: if returns { LEAVES_FOR_A_WHILE } else { LEAVES },
            is_full: false,
            owned: None,
        }
    }

    pub(super) fn beat_request(
        &self,
        plan: &GroupPlan,
        name: (String, MemberRef),
        topic: TopicId,
        ask: (i32, bool, Option<&BTreeSet<i32>>),
    ) -> ConsumerBeat {
        let (group, member) = name;
        let (epoch, is_full, owned) = ask;
        let partitions = |owned: &BTreeSet<i32>| -> Partitions {
            owned.iter().map(|partition| (topic, *partition)).collect()
        };
        ConsumerBeat {
            group,
            member,
            epoch,
            client: Client {
                id: format!("member-{}", self.number),
                host: "/sim".to_owned(),
            },
            rebalance_timeout_ms: is_full.then_some(plan.rebalance_ms),
            topics: is_full.then(|| vec![TOPIC.to_owned()]),
            owned: owned.map(partitions),
            ..ConsumerBeat::default()
        }
    }

    pub(super) fn has_beaten(&mut self, beaten: ConsumerBeaten, moment: &mut Moment<'_>) {
        if self.phase == Phase::Leaving {
            return self.end(moment.later());
        }
        (self.phase, self.generation) = (Phase::Working, beaten.epoch);
        let Some(assignment) = beaten.assignment else {
            return;
        };
        let target: BTreeSet<i32> = assignment.iter().map(|(_, p)| p).collect();
        let owns_it = target.iter().eq(self.owned.keys());
        self.given.pending = None;
        if !owns_it {
            let takes = match moment.chaos && moment.random.chance(SLOW_PER_MILLE) {
                true => moment.random.between(0, moment.rebalance_ms * 3 / 2),
                false => moment.random.between(0, GIVES_UP_MS),
            };
            self.given.pending = Some((target, moment.now + takes));
            self.proof = Proof::Nothing;
        }
    }

    pub(super) fn has_seen(&mut self, described: &ConsumerDescribed) {
        if self.proof == Proof::Seen && described.state == GroupStateName::Stable {
            self.proof = Proof::Read;
        }
    }

    /// Whether the failure is one of this protocol.
    pub(super) fn hears_of_epochs(
        &mut self,
        ask: &Ask,
        code: ErrorCode,
        moment: &mut Moment<'_>,
    ) -> bool {
        match (ask, code) {
            (Ask::Beat { epoch, .. }, ErrorCode::UnknownMemberId) if *epoch < 0 => {
                self.end(moment.later());
            }
            (Ask::Beat { .. }, ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => {
                self.is_fenced();
            }
            // Another process has its name: that ends it.
            (Ask::Beat { .. }, ErrorCode::UnreleasedInstanceId | ErrorCode::FencedInstanceId) => {
                self.end(moment.later())
            }
            // What it is now the answer to its next heartbeat says.
            (
                Ask::Commit { .. } | Ask::Fetch { .. },
                ErrorCode::StaleMemberEpoch | ErrorCode::UnknownMemberId,
            ) => self.heartbeat_at = moment.now,
            _ => {
                self.given.said = None;
                return false;
            }
        }
        true
    }
}
