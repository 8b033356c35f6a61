//! Refusals that only the true leader may give.
//!
//! A leader that was deposed without hearing of it lacks what its successor has committed since: to it, the next batch
//! of a correct producer is out of order. A client takes that answer for loss, or for a duplicate. So the leader
//! confirms with a majority that it still leads before it judges a producer aloud; this is rare, and costs one round
//! of heartbeats.

use protocol::error_code::ErrorCode;
use raft::input::Input;
use raft::types::{GroupId, Tick};

use super::group::Group;
use super::output::{Answer, Ticket};
use super::{Io, Shard};

/// A refusal that waits for its leader's confirmation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    read: u64,
    ticket: Ticket,
    deadline: Tick,
    code: ErrorCode,
}

impl Shard {
    /// Refuses a produce with `code` once this leader is confirmed.
    pub(super) fn refuse_confirmed(
        &mut self,
        now: Tick,
        id: GroupId,
        code: ErrorCode,
        deadline: Tick,
        ticket: Ticket,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        self.io.doubts += 1;
        let read = self.io.doubts;
        group.doubts.push(Doubt {
            read,
            ticket,
            deadline,
            code,
        });
        self.step(now, id, Input::ReadIndex(read));
    }
}

impl Io {
    /// A round of heartbeats told whether this was the leader when it judged.
    pub(super) fn judged(&mut self, group: &mut Group, read: u64, leads: bool) {
        let Some(at) = group.doubts.iter().position(|d| d.read == read) else {
            return;
        };
        let doubt = group.doubts.swap_remove(at);
        let code = if leads {
            doubt.code
        } else {
            ErrorCode::NotLeaderOrFollower
        };
        let why = self.rejection(group, code);
        self.answers.push(Answer::Produced(doubt.ticket, Err(why)));
    }

    /// Refuses those that waited too long for a majority.
    pub(super) fn expire_doubts(&mut self, group: &mut Group, now: Tick) {
        let doubts = std::mem::take(&mut group.doubts);
        let (late, rest) = doubts.into_iter().partition(|d| d.deadline <= now);
        group.doubts = rest;
        self.give_up(group, late);
    }

    /// Nobody will confirm these any more.
    pub(super) fn give_up(&mut self, group: &Group, doubts: Vec<Doubt>) {
        for doubt in doubts {
            let why = self.rejection(group, ErrorCode::NotLeaderOrFollower);
            self.answers.push(Answer::Produced(doubt.ticket, Err(why)));
        }
    }
}
