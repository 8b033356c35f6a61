//! Members go: they say so, or are silent too long, or do not give up what they were told to.

use protocol::error_code::ErrorCode;

use super::Group;
use super::partitions::Partitions;
use super::state::{Change, LEFT, Phase};
use crate::coordinator::context::Context;
use crate::coordinator::rebalances::Reason;
use crate::coordinator::reply::{ConsumerBeaten, GroupReply};
use crate::coordinator::request::{ConsumerBeat, Leaver, MemberRef};

impl Group {
    /// With the epoch -1 for good; with -2 a static member that will come back, and keeps what it has till then.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, beat: &ConsumerBeat) -> GroupReply {
        let id = match self.named(&beat.member) {
            Ok(id) if id != beat.member.id => {
                return GroupReply::failed(ErrorCode::FencedInstanceId);
            }
            Ok(id) => id,
            Err(code) => return GroupReply::failed(code),
        };
        if beat.epoch == LEFT {
            let mut member = self.state.members[&id].clone();
            member.previous_epoch = member.epoch;
            member.epoch = LEFT;
            // Its process has ended: what it was to give up is free.
            member.revoking = Partitions::default();
            member.phase = Phase::Stable;
            cx.timers.cancel(&self.revocation(&id));
            let put = Change::PutMember {
                id: id.clone(),
                member,
            };
            self.change(put);
        } else {
            self.remove(cx, std::slice::from_ref(&id), Reason::Left, "");
        }
        GroupReply::ConsumerBeaten(ConsumerBeaten {
            member: id,
            epoch: beat.epoch,
            interval_ms: 0,
            assignment: None,
        })
    }

    /// Unless it was heard meanwhile.
    pub(super) fn drop_silent(&mut self, cx: &mut Context<'_>, id: &str) {
        if self.state.members.contains_key(id) && !cx.timers.is_set(&self.session(id)) {
            self.remove(cx, &[id.to_owned()], Reason::SessionExpired, "");
        }
    }

    /// Unless it has joined, and asked for its assignment, meanwhile.
    pub(super) fn drop_late(&mut self, cx: &mut Context<'_>, id: &str) {
        let member = self.state.members.get(id);
        let is_classic = member.is_some_and(|member| member.classic.is_some());
        if is_classic && !cx.timers.is_set(&self.rejoin(id)) {
            self.remove(cx, &[id.to_owned()], Reason::SyncTimedOut, "");
        }
    }

    /// Unless it has given it up meanwhile. It has to begin anew: it hears that it is unknown.
    pub(super) fn drop_unrevoked(&mut self, cx: &mut Context<'_>, id: &str) {
        let member = self.state.members.get(id);
        let is_late = member.is_some_and(|member| member.phase == Phase::Unrevoked);
        if is_late && !cx.timers.is_set(&self.revocation(id)) {
            self.remove(cx, &[id.to_owned()], Reason::RevocationTimedOut, "");
        }
    }

    /// Members of the classic protocol leave, or an operator sends members away (`LeaveGroup`), static ones by their
    /// instance alone.
    pub(super) fn expel(&mut self, cx: &mut Context<'_>, members: &[Leaver]) -> GroupReply {
        let mut gone: Vec<String> = Vec::new();
        let mut words = None;
        let mut codes = Vec::with_capacity(members.len());
        for leaver in members {
            let found = match self.named(&leaver.member) {
                Ok(id) if gone.contains(&id) => Err(ErrorCode::UnknownMemberId),
                found => found,
            };
            codes.push(found.as_ref().err().copied().unwrap_or(ErrorCode::None));
            if let Ok(id) = found {
                gone.push(id);
                words.get_or_insert(leaver.reason.as_str());
            }
        }
        self.remove(cx, &gone, Reason::Left, words.unwrap_or_default());
        GroupReply::Left(codes)
    }

    fn named(&self, member: &MemberRef) -> Result<String, ErrorCode> {
        let id = match &member.instance {
            None => Some(&member.id),
            Some(instance) => self.instances.get(instance),
        };
        let id = id.filter(|id| self.state.members.contains_key(*id));
        let id = id.ok_or(ErrorCode::UnknownMemberId)?;
        if !member.id.is_empty() && *id != member.id {
            return Err(ErrorCode::FencedInstanceId);
        }
        Ok(id.clone())
    }

    /// They go, for this reason, and in the first one's own words. If only members of the classic protocol are left, the
    /// group is theirs again.
    fn remove(&mut self, cx: &mut Context<'_>, ids: &[String], reason: Reason, words: &str) {
        let Some(first) = ids.first() else {
            return;
        };
        let cause = self.cause(reason, first).in_words(words);
        for id in ids {
            self.cancel_timers(cx, id);
            self.change(Change::RemoveMember { id: id.clone() });
        }
        self.maybe_downgrade(cx);
        if self.downgrade.is_some() {
            return;
        }
        let topics = (self.state.topics_hash, self.state.topics_version);
        // Topics are looked at with the next heartbeat: without these members they may be fewer.
        self.seen = None;
        self.raise_epoch(cx, topics, cause);
    }
}
