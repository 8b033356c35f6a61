//! A member says that it is there, what it wants, and what it owns.

use protocol::error_code::ErrorCode;

use super::partitions::Partitions;
use super::state::{Change, LEFT, Member, Phase};
use super::{Group, pattern};
use crate::coordinator::context::Context;
use crate::coordinator::rebalances::Reason;
use crate::coordinator::reply::{ConsumerBeaten, GroupReply};
use crate::coordinator::request::ConsumerBeat;

/// As what a member is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It comes for the first time.
    New,
    /// It is there.
    Member,
    /// It takes the place of a static member that has left, under its own id.
    Returned,
}

impl Group {
    /// What it is told, once everything that was decided is committed.
    pub(super) fn heartbeat(&mut self, cx: &mut Context<'_>, mut beat: ConsumerBeat) -> GroupReply {
        if beat.epoch < 0 {
            return self.leave(cx, &beat);
        }
        // NB: an older coordinator may have known more topics. What is not known here would be taken from its owners.
        if cx.now.topics.version() < self.state.topics_version {
            return GroupReply::failed(ErrorCode::CoordinatorLoadInProgress);
        }
        if beat.epoch == 0 && beat.member.id.is_empty() {
            beat.member.id = cx.ids.give("member");
        }
        let known = match self.admit(cx, &beat) {
            Ok(known) => known,
            Err(code) => return GroupReply::failed(code),
        };
        if known == Known::Returned {
            let instance = beat.member.instance.clone().unwrap_or_default();
            self.hand_over(cx, &instance, &beat.member.id);
        }
        let id = beat.member.id.clone();
        let before = self.state.members.get(&id).cloned().unwrap_or_default();
        let after = described_anew(&before, &beat);
        let subscribes = known == Known::New
            || before.topics != after.topics
            || before.regex != after.regex
            || before.assignor != after.assignor;
        if known == Known::New || after != before {
            let member = after.clone();
            self.change(Change::PutMember {
                id: id.clone(),
                member,
            });
        }
        let reason = match known {
            _ if self.is_upgrading && self.has_classic() => Reason::Upgraded,
            Known::New => Reason::Joined,
            Known::Member | Known::Returned => Reason::SubscriptionChanged,
        };
        self.maybe_raise_epoch(cx, subscribes.then_some(reason), &id);
        self.maybe_assign(cx);
        self.reconcile(cx, &id, beat.owned.as_ref());
        self.keep_session(cx, &id);
        self.told(cx, &id, &beat, &before)
    }

    /// Whether the member may come.
    pub(in crate::coordinator) fn may_enter(
        &self,
        cx: &Context<'_>,
        beat: &ConsumerBeat,
    ) -> Result<(), ErrorCode> {
        self.admit(cx, beat).map(|_| ())
    }

    /// Whether the member may go on, and as what. Nothing is changed by asking.
    fn admit(&self, cx: &Context<'_>, beat: &ConsumerBeat) -> Result<Known, ErrorCode> {
        let known = self.recognize(beat)?;
        if known == Known::New && self.state.members.len() >= cx.config.consumer_members_max {
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        if let Some(regex) = beat.regex.as_ref().filter(|regex| !regex.is_empty()) {
            pattern::compile(regex).map_err(|()| ErrorCode::InvalidRegularExpression)?;
        }
        if beat.says_something() || known != Known::Member {
            let before = self.state.members.get(&beat.member.id);
            let after = described_anew(before.unwrap_or(&Member::default()), beat);
            if !self.has_room(cx, &beat.member.id, &after) {
                return Err(ErrorCode::GroupMaxSizeReached);
            }
        }
        Ok(known)
    }

    /// Whether all that the members say of themselves leaves room for what this one says.
    pub(super) fn has_room(&self, cx: &Context<'_>, id: &str, member: &Member) -> bool {
        let others = self.state.members.iter().filter(|(other, _)| *other != id);
        let others = others.map(|(id, member)| id.len() + member.said_bytes());
        // A half: the partitions of a member have to go into a command too.
        member.said_bytes() + others.sum::<usize>() <= cx.config.command_bytes_max / 2
    }

    fn recognize(&self, beat: &ConsumerBeat) -> Result<Known, ErrorCode> {
        let id = &beat.member.id;
        let Some(instance) = &beat.member.instance else {
            return match self.state.members.get(id) {
                Some(member) => may_go_on(member, beat).map(|()| Known::Member),
                None if beat.epoch == 0 => Ok(Known::New),
                None => Err(ErrorCode::UnknownMemberId),
            };
        };
        let Some(holder) = self.instances.get(instance) else {
            // NB: a member that is there without an instance does not get one later.
            return match beat.epoch {
                0 if !self.state.members.contains_key(id) => Ok(Known::New),
                _ => Err(ErrorCode::UnknownMemberId),
            };
        };
        let member = &self.state.members[holder];
        // NB: one of the classic protocol does not say that it will come back, as it does not among its own.
        let may_return = member.epoch == LEFT || (member.classic.is_some() && holder != id);
        if beat.epoch == 0 && may_return {
            let is_taken = holder != id && self.state.members.contains_key(id);
            return match is_taken {
                true => Err(ErrorCode::UnreleasedInstanceId),
                false => Ok(Known::Returned),
            };
        }
        if holder == id {
            return may_go_on(member, beat).map(|()| Known::Member);
        }
        match beat.epoch {
            0 => Err(ErrorCode::UnreleasedInstanceId),
            _ => Err(ErrorCode::FencedInstanceId),
        }
    }

    /// The new id gets all that the old one had; it has yet to reach the target's epoch.
    pub(super) fn hand_over(&mut self, cx: &mut Context<'_>, instance: &str, new: &str) {
        let old = self.instances.get(instance);
        let old = old.expect("the member was recognized by it").clone();
        let new = new.to_owned();
        let mut member = self.state.members[&old].clone();
        let target = self.state.targets.get(&old).cloned();
        member.epoch = 0;
        member.previous_epoch = 0;
        member.phase = Phase::Stable;
        // Its process has ended, or is fenced: what it was to give up is free.
        member.revoking = Partitions::default();
        self.cancel_timers(cx, &old);
        if old != new {
            self.change(Change::RemoveMember { id: old });
        }
        self.change(Change::PutMember {
            id: new.clone(),
            member,
        });
        if let Some(partitions) = target {
            let id = new;
            self.change(Change::Target { id, partitions });
        }
    }

    /// The assignment is told when it is new, and to who may not have heard: it asks in full, or comes with an epoch
    /// that it should have left, or owns something else.
    fn told(&self, cx: &Context<'_>, id: &str, beat: &ConsumerBeat, before: &Member) -> GroupReply {
        let member = &self.state.members[id];
        let is_full = beat.rebalance_timeout_ms.is_some()
            && (beat.topics.is_some() || beat.regex.is_some())
            && beat.owned.is_some();
        let tells = beat.epoch == 0
            || is_full
            || beat.epoch != before.epoch
            || member.assigned != before.assigned
            || beat
                .owned
                .as_ref()
                .is_some_and(|owned| *owned != member.assigned);
        GroupReply::ConsumerBeaten(ConsumerBeaten {
            member: id.to_owned(),
            epoch: member.epoch,
            interval_ms: cx.config.consumer_heartbeat_interval_ms,
            assignment: tells.then(|| member.assigned.clone()),
        })
    }
}

/// The epoch is the member's; or the one before, if what it owns shows that it has not heard the answer.
fn may_go_on(member: &Member, beat: &ConsumerBeat) -> Result<(), ErrorCode> {
    let owns_no_other = || {
        let owned = beat.owned.as_ref();
        owned.is_some_and(|owned| owned.is_subset(&member.assigned))
    };
    let has_missed = beat.epoch < member.epoch && beat.epoch == member.previous_epoch;
    if beat.epoch == member.epoch || (has_missed && owns_no_other()) {
        return Ok(());
    }
    Err(ErrorCode::FencedMemberEpoch)
}

/// The member with what it now says of itself.
fn described_anew(before: &Member, beat: &ConsumerBeat) -> Member {
    let mut member = before.clone();
    if member.instance.is_none() && beat.epoch == 0 {
        member.instance.clone_from(&beat.member.instance);
    }
    member.client = beat.client.clone();
    member.classic = None;
    if beat.rack.is_some() {
        member.rack.clone_from(&beat.rack);
    }
    if let Some(ms) = beat.rebalance_timeout_ms {
        member.rebalance_timeout_ms = ms;
    }
    if beat.assignor.is_some() {
        member.assignor.clone_from(&beat.assignor);
    }
    if let Some(topics) = &beat.topics {
        member.topics = topics.iter().cloned().collect();
    }
    if let Some(regex) = &beat.regex {
        member.regex = Some(regex.clone()).filter(|regex| !regex.is_empty());
    }
    member
}
