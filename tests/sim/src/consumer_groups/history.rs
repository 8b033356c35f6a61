//! What members of a group asked and were answered, as the judge of histories wants it.
//!
//! An answer counts from when the broker gave it, also where it was lost on its way: what a broker has said must hold.

use std::collections::BTreeMap;

use broker::coordinator::reply::GroupReply;
use judge::{Event, Judge, Outcome, What};
use protocol::error_code::ErrorCode;

use super::asking::{Ask, Asked};
use super::assignor;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct History {
    judge: Judge,
    /// Time as the judge sees it: no two things happen at once.
    clock: u64,
    /// Who led each generation, by those who synced in it.
    leaders: BTreeMap<i32, String>,
    /// The highest offset that anybody read, by partition.
    read: BTreeMap<i32, i64>,
}

type Checked = Result<(), String>;

impl History {
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
            (Ask::Fetch { partitions }, GroupReply::Fetched(offsets)) => {
                let answered = offsets.iter().map(|offset| offset.partition);
                if !answered.eq(partitions.iter().copied()) {
                    return Err(format!("{asked:?} was answered {offsets:?}"));
                }
                for told in offsets {
                    let what = What::Began {
                        partition: told.partition,
                        offset: told.offset.max(0),
                    };
                    self.take(asked.member, asked.begun, what)?;
                }
                Ok(())
            }
            (Ask::Join, GroupReply::Joined(_))
            | (Ask::Heartbeat, GroupReply::Done)
            | (Ask::Leave, GroupReply::Left(_)) => Ok(()),
            (ask, reply) => Err(format!("{ask:?} was answered {reply:?}")),
        }
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
        let what = What::Assigned {
            generation,
            partitions,
        };
        self.take(asked.member, asked.begun, what)
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
        ErrorCode::GroupIdNotFound => {
            matches!(ask, Ask::Commit { generation, .. } if *generation >= 0)
        }
        _ => match ask {
            Ask::Fetch { .. } => false,
            Ask::Commit { generation, .. } => *generation >= 0 && is_of_members,
            _ => is_of_members,
        },
    }
}
