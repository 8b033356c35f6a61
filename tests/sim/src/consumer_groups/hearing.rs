//! What a member makes of an answer, or of none.

use broker::coordinator::reply::{FetchedOffset, GroupReply, Joined};
use protocol::error_code::ErrorCode;

use super::asking::Ask;
use super::assignor;
use super::member::{Kind, Member, Phase, Proof};
use super::plan::Sharing;
use crate::random::Random;

/// A process that ended comes back within so many ms.
const BACK_MAX_MS: u64 = 2_000;

/// What it hears in.
pub(super) struct Moment<'a> {
    pub(super) now: u64,
    pub(super) chaos: bool,
    pub(super) sharing: Sharing,
    pub(super) rebalance_ms: u64,
    /// Of the topic that is read.
    pub(super) partitions: i32,
    pub(super) random: &'a mut Random,
}

impl Moment<'_> {
    /// When a process that ends now comes back.
    pub(super) fn later(&mut self) -> u64 {
        self.now + self.random.between(50, BACK_MAX_MS)
    }
}

impl Member {
    /// An answer.
    pub(super) fn hears(&mut self, ask: &Ask, reply: GroupReply, moment: &mut Moment<'_>) {
        if let Ask::Commit { generation, .. } | Ask::Sync { generation, .. } = ask
            && *generation != self.generation
        {
            // It was late, and nobody waits for it.
            return;
        }
        match reply {
            GroupReply::Failed { code, member } => self.hears_failure(ask, code, member, moment),
            GroupReply::Joined(joined) => self.has_joined(joined, moment.partitions),
            GroupReply::Synced { assignment, .. } => {
                self.has_synced(&assignor::partitions(&assignment), moment);
            }
            GroupReply::Fetched(offsets) => self.has_fetched(&offsets),
            GroupReply::Offsets(_) => self.has_committed(ask),
            GroupReply::Left(_) => self.end(moment.later()),
            GroupReply::ConsumerBeaten(beaten) => self.has_beaten(beaten, moment),
            GroupReply::ConsumerDescribed(described) => self.has_seen(&described),
            _ => {}
        }
    }

    fn hears_failure(
        &mut self,
        ask: &Ask,
        code: ErrorCode,
        member: String,
        moment: &mut Moment<'_>,
    ) {
        if *ask == Ask::Leave {
            return self.end(moment.later());
        }
        if self.is_given && self.hears_of_epochs(ask, code, moment) {
            return;
        }
        match code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => self.hears_nothing(),
            ErrorCode::MemberIdRequired => self.id = member,
            ErrorCode::RebalanceInProgress => {
                if moment.sharing == Sharing::Eager {
                    self.owned.clear();
                }
                self.phase = Phase::Joining;
            }
            ErrorCode::IllegalGeneration => {
                self.owned.clear();
                self.phase = Phase::Joining;
            }
            ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound => {
                self.id.clear();
                self.owned.clear();
                self.phase = Phase::Joining;
            }
            // Another process has its name: that ends it.
            ErrorCode::FencedInstanceId => self.end(moment.later()),
            // It asks again.
            _ => {}
        }
    }

    /// No answer, or none from a coordinator: it looks for another one. One that was about to get its assignment joins
    /// again.
    pub(super) fn hears_nothing(&mut self) {
        self.coordinator = None;
        self.begin_anew();
        if matches!(self.phase, Phase::Syncing(_)) {
            self.phase = Phase::Joining;
        }
    }

    fn has_joined(&mut self, joined: Joined, partitions: i32) {
        let assigns = joined.leader == joined.member && !joined.skip_assignment;
        let assignments = match assigns {
            true => assignor::assign(&joined, partitions),
            false => Vec::new(),
        };
        self.late_sync = Some(self.generation).filter(|before| *before >= 0);
        self.id = joined.member;
        self.generation = joined.generation;
        self.leader = joined.leader;
        self.phase = Phase::Syncing(assignments);
    }

    /// A member that shares by and by and has to give something up joins again, for somebody else to get it. When the
    /// faults have ended, one that took another one's place does so in its stead.
    fn has_synced(&mut self, assigned: &[i32], moment: &Moment<'_>) {
        let held = std::mem::take(&mut self.owned);
        let position = |partition: &i32| match moment.sharing {
            Sharing::Cooperative => held.get(partition).copied().flatten(),
            _ => None,
        };
        self.owned = assigned.iter().map(|p| (*p, position(p))).collect();
        self.proof = Proof::Nothing;
        let gives_up = held.keys().any(|p| !self.owned.contains_key(p))
            || (!moment.chaos && std::mem::take(&mut self.is_successor));
        self.phase = match moment.sharing {
            Sharing::Cooperative if gives_up => Phase::Joining,
            _ => Phase::Working,
        };
    }

    fn has_fetched(&mut self, offsets: &[FetchedOffset]) {
        for told in offsets {
            if let Some(next) = self.owned.get_mut(&told.partition) {
                *next = Some(told.offset.max(0));
            }
        }
        let is_proof = self.proof == Proof::Committed || self.kind == Kind::Observer;
        if is_proof && offsets.len() == self.owned.len() {
            let looks_on = self.is_given && self.is_observer();
            self.proof = if looks_on { Proof::Seen } else { Proof::Read };
        }
    }

    fn has_committed(&mut self, ask: &Ask) {
        let Ask::Commit { offsets, .. } = ask else {
            return;
        };
        if offsets.len() == self.owned.len() {
            self.proof = Proof::Committed;
        }
    }
}
