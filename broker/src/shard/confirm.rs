//! What only the true leader may say: it waits until a majority has confirmed this one.
//!
//! A leader that was deposed without hearing of it lacks what its successor has committed since: to it, the next batch
//! of a correct producer is out of order, and a client takes that answer for loss, or for a duplicate. So the leader
//! asks before it judges a producer aloud; this is rare, and costs one round of heartbeats. Coordinators of consumer
//! groups ask the same way, and so does who says where a log ends: less than what was acknowledged would be a lie.

use protocol::error_code::ErrorCode;
use raft::input::Input;
use raft::types::{GroupId, Tick};

use super::coordinate::Signal;
use super::group::Group;
use super::output::{Answer, Ticket};
use super::{Io, Shard};
use crate::coordinator::effect::Token;

/// What to do once it is known whether this is the leader.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// Refuse a produce with this code.
    Refuse {
        ticket: Ticket,
        deadline: Tick,
        code: ErrorCode,
    },
    /// Tell the coordinator.
    Tell(Token),
    /// Say so.
    Answer { ticket: Ticket, deadline: Tick },
}

impl Then {
    /// Until when it waits at most.
    fn deadline(&self) -> Option<Tick> {
        match self {
            Self::Refuse { deadline, .. } | Self::Answer { deadline, .. } => Some(*deadline),
            Self::Tell(_) => None,
        }
    }
}

impl Shard {
    /// Finds out whether this broker leads a partition, by the word of a majority after this moment: what it says of
    /// it then is not less than what anybody knew before.
    pub fn confirm_leader(&mut self, now: Tick, id: GroupId, deadline: Tick, ticket: Ticket) {
        match self.leading(id, -1) {
            Ok(_) => self.ask_majority(now, id, Then::Answer { ticket, deadline }),
            Err(why) => self.io.answers.push(Answer::Confirmed(ticket, Err(why))),
        }
    }

    /// Asks a majority whether this is still the leader.
    pub(super) fn ask_majority(&mut self, now: Tick, id: GroupId, then: Then) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        self.io.reads += 1;
        let read = self.io.reads;
        group.unconfirmed.push((read, then));
        self.step(now, id, Input::ReadIndex(read));
    }
}

impl Io {
    /// A round of heartbeats told whether this was the leader when it asked.
    pub(super) fn confirmed(&mut self, group: &mut Group, read: u64, leads: bool) {
        let Some(at) = group.unconfirmed.iter().position(|(r, _)| *r == read) else {
            return;
        };
        match group.unconfirmed.swap_remove(at).1 {
            Then::Answer { ticket, .. } if leads => {
                self.answers.push(Answer::Confirmed(ticket, Ok(())));
            }
            Then::Answer { ticket, .. } => self.not_confirmed(group, ticket),
            Then::Refuse { ticket, code, .. } if leads => self.refuse_produce(group, ticket, code),
            Then::Refuse { ticket, .. } => {
                self.refuse_produce(group, ticket, ErrorCode::NotLeaderOrFollower);
            }
            Then::Tell(token) if leads => {
                self.signals.push((group.id, Signal::Confirmed(token)));
            }
            Then::Tell(token) => self.signals.push((group.id, Signal::Refused(token))),
        }
    }

    /// Gives up what has waited for a majority until this time.
    pub(super) fn give_up(&mut self, group: &mut Group, until: Tick) {
        let over = |(_, then): &mut (u64, Then)| then.deadline().is_some_and(|at| at <= until);
        let over: Vec<_> = group.unconfirmed.extract_if(.., over).collect();
        for (_, then) in over {
            match then {
                Then::Refuse { ticket, .. } => {
                    self.refuse_produce(group, ticket, ErrorCode::NotLeaderOrFollower);
                }
                Then::Answer { ticket, .. } => self.not_confirmed(group, ticket),
                Then::Tell(_) => unreachable!("it has no deadline"),
            }
        }
    }

    /// The coordinator has ended: it waits for nothing.
    pub(super) fn forget_tokens(group: &mut Group) {
        group
            .unconfirmed
            .retain(|(_, then)| !matches!(then, Then::Tell(_)));
    }

    fn not_confirmed(&mut self, group: &Group, ticket: Ticket) {
        let why = self.rejection(group, ErrorCode::NotLeaderOrFollower);
        self.answers.push(Answer::Confirmed(ticket, Err(why)));
    }

    fn refuse_produce(&mut self, group: &Group, ticket: Ticket, code: ErrorCode) {
        let why = self.rejection(group, code);
        self.answers.push(Answer::Produced(ticket, Err(why)));
    }
}
