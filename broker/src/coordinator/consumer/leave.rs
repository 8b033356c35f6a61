//! Members go: they say so, or are silent too long, or do not give up what they were told to.

use protocol::error_code::ErrorCode;

use super::Group;
use super::partitions::Partitions;
use super::state::{Change, LEFT, Phase};
use crate::coordinator::context::Context;
use crate::coordinator::reply::{ConsumerBeaten, GroupReply};
use crate::coordinator::request::ConsumerBeat;

impl Group {
    /// With the epoch -1 for good; with -2 a static member that will come back, and keeps what it has till then.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, beat: &ConsumerBeat) -> GroupReply {
        let id = match &beat.member.instance {
            None => Some(&beat.member.id),
            Some(instance) => self.instances.get(instance),
        };
        let Some((id, member)) = id.and_then(|id| self.state.members.get_key_value(id)) else {
            return GroupReply::failed(ErrorCode::UnknownMemberId);
        };
        if *id != beat.member.id {
            return GroupReply::failed(ErrorCode::FencedInstanceId);
        }
        let id = id.clone();
        if beat.epoch == LEFT {
            let mut member = member.clone();
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
            self.remove(cx, &id);
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
            self.remove(cx, id);
        }
    }

    /// Unless it has given it up meanwhile. It has to begin anew: it hears that it is unknown.
    pub(super) fn drop_unrevoked(&mut self, cx: &mut Context<'_>, id: &str) {
        let member = self.state.members.get(id);
        let is_late = member.is_some_and(|member| member.phase == Phase::Unrevoked);
        if is_late && !cx.timers.is_set(&self.revocation(id)) {
            self.remove(cx, id);
        }
    }

    fn remove(&mut self, cx: &mut Context<'_>, id: &str) {
        cx.timers.cancel(&self.session(id));
        cx.timers.cancel(&self.revocation(id));
        self.change(Change::RemoveMember { id: id.to_owned() });
        let (hash, version) = (self.state.topics_hash, self.state.topics_version);
        // Topics are looked at with the next heartbeat: without this member they may be fewer.
        self.seen = None;
        self.raise_epoch(cx, hash, version);
    }
}
