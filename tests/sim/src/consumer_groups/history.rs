//! What members of a group asked and were answered, as the judge of histories wants it.
//!
//! An answer counts from when the broker gave it, also where it was lost on its way: what a broker has said must hold.

use std::collections::{BTreeMap, BTreeSet};

use broker::coordinator::consumer::partitions::Partitions;
use broker::coordinator::reply::{ConsumerBeaten, ConsumerDescribed, GroupReply};
use judge::{Event, Judge, Outcome, What};
use protocol::error_code::ErrorCode;

use super::asking::{Ask, Asked};
use super::assignor;
use super::plan::GroupPlan;

/// More than happens in a millisecond.
const IN_A_MS: u64 = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct History {
    judge: Judge,
    /// Time as the judge sees it: no two things happen at once. [`IN_A_MS`] of it are a millisecond.
    clock: u64,
    /// Who led each generation, by those who synced in it.
    leaders: BTreeMap<i32, String>,
    /// The highest offset that anybody read, by partition.
    read: BTreeMap<i32, i64>,
}

type Checked = Result<(), String>;

impl History {
    /// The time of the run, in ms.
    pub(super) fn at(&mut self, now: u64) {
        self.clock = self.clock.max(now * IN_A_MS);
    }

    /// Now.
    pub(super) fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn take(&mut self, member: usize, begun: u64, what: What) -> Checked {
        let ended = self.now();
        let event = Event {
            member,
            begun,
            ended,
            what,
        };
        match self.judge.take(&event).into_iter().next() {
            Some(wrong) => Err(wrong),
            None => Ok(()),
        }
    }

    /// What is wrong with the whole.
    pub(super) fn finish(&self) -> Checked {
        match self.judge.finish().into_iter().next() {
            Some(wrong) => Err(wrong),
            None => Ok(()),
        }
    }

    /// A member reads on: so many records beyond everything that was read before.
    pub(super) fn read_on(
        &mut self,
        member: usize,
        partition: i32,
        first: i64,
        more: i64,
    ) -> Result<i64, String> {
        let highest = self.read.entry(partition).or_default();
        let next = first.max(*highest) + more;
        *highest = next;
        let begun = self.now();
        let what = What::Read {
            partition,
            first,
            next,
        };
        self.take(member, begun, what)?;
        Ok(next)
    }

    /// A coordinator answered.
    pub(super) fn answered(&mut self, asked: &Asked, reply: &GroupReply) -> Checked {
        match (&asked.ask, reply) {
            (ask, GroupReply::Failed { code, .. }) if !may_fail(ask, *code) => {
                Err(format!("{ask:?} was answered {code:?}"))
            }
            (Ask::Commit { .. }, GroupReply::Failed { code, .. }) => match code {
                // It was appended, and this coordinator will not tell what became of it.
                ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                    self.committed(asked, Outcome::Unknown)
                }
                _ => self.committed(asked, Outcome::Refused),
            },
            (_, GroupReply::Failed { .. }) => Ok(()),
            (Ask::Commit { .. }, GroupReply::Offsets(codes)) => {
                if codes.iter().any(|code| *code != ErrorCode::None) {
                    return Err(format!("{asked:?} was answered {codes:?}"));
                }
                self.committed(asked, Outcome::Ok)
            }
            (Ask::Sync { generation, leader }, GroupReply::Synced { assignment, .. }) => {
                self.synced(asked, *generation, leader.as_deref(), assignment)
            }
            (Ask::Fetch { partitions, .. }, GroupReply::Fetched(offsets)) => {
                let answered = offsets.iter().map(|offset| offset.partition);
                if !answered.eq(partitions.iter().copied()) {
                    return Err(format!("{asked:?} was answered {offsets:?}"));
                }
                for told in offsets {
                    let what = What::AnsweredOffset {
                        partition: told.partition,
                        offset: told.offset.max(0),
                    };
                    self.take(asked.member, asked.begun, what)?;
                }
                Ok(())
            }
            (Ask::Describe, GroupReply::ConsumerDescribed(described)) => shares(described),
            (Ask::Beat { epoch: 0, .. }, GroupReply::ConsumerBeaten(beaten)) => {
                match beaten.assignment {
                    Some(_) => Ok(()),
                    None => Err(format!("{asked:?} was answered {beaten:?}")),
                }
            }
            (Ask::Join, GroupReply::Joined(_))
            | (Ask::Beat { .. }, GroupReply::ConsumerBeaten(_))
            | (Ask::Heartbeat, GroupReply::Done)
            | (Ask::Leave, GroupReply::Left(_)) => Ok(()),
            (ask, reply) => Err(format!("{ask:?} was answered {reply:?}")),
        }
    }

    /// And the member hears it.
    pub(super) fn heard(&mut self, asked: &Asked, reply: &GroupReply, plan: &GroupPlan) -> Checked {
        match (&asked.ask, reply) {
            (Ask::Beat { epoch, .. }, GroupReply::ConsumerBeaten(beaten)) if *epoch >= 0 => {
                self.told(asked, beaten, plan)
            }
            (Ask::Sync { generation, .. }, GroupReply::Synced { assignment, .. }) => {
                let what = What::Assigned {
                    generation: *generation,
                    partitions: assignor::partitions(assignment),
                };
                self.take(asked.member, asked.begun, what)
            }
            (Ask::Fetch { .. }, GroupReply::Fetched(offsets)) => {
                for told in offsets {
                    let what = What::Began {
                        partition: told.partition,
                        offset: told.offset.max(0),
                    };
                    self.take(asked.member, asked.begun, what)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn told(&mut self, asked: &Asked, beaten: &ConsumerBeaten, plan: &GroupPlan) -> Checked {
        let Ask::Beat { epoch, owned, .. } = &asked.ask else {
            return Ok(());
        };
        let numbers = |all: &Partitions| all.iter().map(|(_, partition)| partition).collect();
        let what = What::Told {
            epoch: beaten.epoch,
            joins: *epoch == 0,
            says_owned: owned.is_some(),
            partitions: beaten.assignment.as_ref().map(numbers),
            session: plan.session_ms * IN_A_MS,
            rebalance: plan.rebalance_ms * IN_A_MS,
        };
        self.take(asked.member, asked.begun, what)
    }

    /// A heartbeat leaves a member. It may be heard, whatever becomes of the answer.
    pub(super) fn said(&mut self, member: usize, ask: &Ask) {
        let Ask::Beat {
            owned: Some(owned), ..
        } = ask
        else {
            return;
        };
        let begun = self.now();
        let partitions = owned.iter().copied().collect();
        let taken = self.take(member, begun, What::Said { partitions });
        taken.expect("who tells what it owns does nothing wrong");
    }

    /// A member has given up everything but these.
    pub(super) fn kept(&mut self, member: usize, partitions: Vec<i32>) {
        let begun = self.now();
        let taken = self.take(member, begun, What::Kept { partitions });
        taken.expect("who gives up does nothing wrong");
    }

    /// The coordinator is gone with its answer.
    pub(super) fn unanswered(&mut self, asked: &Asked) {
        let taken = self.committed(asked, Outcome::Unknown);
        taken.expect("nothing is wrong with what nobody knows");
    }

    fn committed(&mut self, asked: &Asked, outcome: Outcome) -> Checked {
        let Ask::Commit {
            generation,
            offsets,
        } = &asked.ask
        else {
            return Ok(());
        };
        for &(partition, offset) in offsets {
            let what = What::Committed {
                generation: *generation,
                partition,
                offset,
                outcome,
            };
            self.take(asked.member, asked.begun, what)?;
        }
        Ok(())
    }

    fn synced(
        &mut self,
        asked: &Asked,
        generation: i32,
        leader: Option<&str>,
        assignment: &[u8],
    ) -> Checked {
        if let Some(leader) = leader {
            let known = self.leaders.entry(generation);
            let known = known.or_insert_with(|| leader.to_owned());
            if known != leader {
                return Err(format!(
                    "two leaders: {known} and {leader} in generation {generation}"
                ));
            }
        }
        let partitions = assignor::partitions(assignment);
        let what = What::AnsweredAssignment {
            generation,
            partitions,
        };
        self.take(asked.member, asked.begun, what)
    }
}

/// No partition is described as that of two members.
fn shares(described: &ConsumerDescribed) -> Checked {
    let assigned = described.members.iter().flat_map(|m| &m.assigned);
    let all: Vec<i32> = assigned.flat_map(|a| a.partitions.clone()).collect();
    let each: BTreeSet<i32> = all.iter().copied().collect();
    match all.len() == each.len() {
        true => Ok(()),
        false => Err(format!("a partition of two members: {described:?}")),
    }
}

/// What a correct request may be answered, in a world that fails.
fn may_fail(ask: &Ask, code: ErrorCode) -> bool {
    let is_of_members = matches!(
        code,
        ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::RebalanceInProgress
    );
    match code {
        ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress => true,
        ErrorCode::MemberIdRequired => matches!(ask, Ask::Join),
        ErrorCode::IllegalGeneration => {
            matches!(ask, Ask::Sync { .. } | Ask::Heartbeat | Ask::Commit { .. })
        }
        ErrorCode::GroupIdNotFound => match ask {
            Ask::Commit { generation, .. } => *generation >= 0,
            _ => *ask == Ask::Describe,
        },
        ErrorCode::FencedMemberEpoch | ErrorCode::UnreleasedInstanceId => {
            matches!(ask, Ask::Beat { .. })
        }
        ErrorCode::StaleMemberEpoch => match ask {
            Ask::Commit { .. } => true,
            Ask::Fetch { epoch, .. } => *epoch >= 0,
            _ => false,
        },
        _ => match ask {
            Ask::Describe => false,
            Ask::Beat { .. } => is_of_members && code != ErrorCode::RebalanceInProgress,
            Ask::Fetch { epoch, .. } => *epoch >= 0 && code == ErrorCode::UnknownMemberId,
            Ask::Commit { generation, .. } => *generation >= 0 && is_of_members,
            _ => is_of_members,
        },
    }
}
