//! What members say to groups of the consumer protocol, and how a group becomes one, and is none any more: without
//! members at any time, and while it has members (KIP-848) where the operator allows it.

use protocol::error_code::ErrorCode;

use super::core::{Coordinator, Now, Outcome};
use super::effect::{Effect, Token};
use super::reply::GroupReply;
use super::request::{ConsumerBeat, GroupRequest};
use super::state::StoredGroup;
use super::under_way::refusal;
use super::{classic, consumer};
use crate::shard::Ticket;

impl Coordinator {
    /// A group without members becomes one of the consumer protocol, whatever it was.
    pub(super) fn consumer_beat(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        beat: ConsumerBeat,
        out: &mut Vec<Effect>,
    ) {
        let stored = now.groups.get(&beat.group);
        let may = if self.live.contains_key(&beat.group) {
            self.upgrade(now, &beat, out)
        } else if beat.epoch == 0 {
            stored.map_or_else(|| self.has_room(now, &beat.group), |_| Ok(()))
        } else if stored.is_some_and(|stored| stored.consumer.is_some()) {
            Err(ErrorCode::UnknownMemberId)
        } else {
            Err(ErrorCode::GroupIdNotFound)
        };
        if let Err(code) = may {
            return self.hold(ticket, GroupReply::failed(code), out);
        }
        let name = beat.group.clone();
        self.note_unstored(now, &name);
        self.consumers.entry(name.clone()).or_insert_with(|| {
            let state = stored.map(StoredGroup::as_consumers).unwrap_or_default();
            consumer::Group::new(&name, state)
        });
        self.ask_consumers(now, ticket, GroupRequest::ConsumerBeat(beat), out);
    }

    /// A member says something to a live group of the consumer protocol, in either protocol.
    pub(super) fn ask_consumers(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        request: GroupRequest,
        out: &mut Vec<Effect>,
    ) {
        let name = request.said_to().expect("a group is asked").to_owned();
        let (consumers, mut cx) = self.consumers(now, out);
        let group = consumers.get_mut(&name);
        let group = group.expect("the caller has found it");
        group.ask(&mut cx, ticket, request);
        self.settle(now, &name, out);
    }

    /// The first member of the consumer protocol comes into a live group of the classic one: it is of the other one
    /// from now on, and the member goes on in it. Nothing has happened when that cannot be.
    fn upgrade(
        &mut self,
        now: Now<'_>,
        beat: &ConsumerBeat,
        out: &mut Vec<Effect>,
    ) -> Result<(), ErrorCode> {
        let name = &beat.group;
        let group = self.live.get(name).expect("the caller has found it");
        let may = beat.epoch == 0
            && group.size() <= self.config.consumer_members_max
            && (group.is_empty() || self.config.upgrades);
        if !may {
            return Err(ErrorCode::GroupIdNotFound);
        }
        // NB: what is under way would be written over what the group becomes, or the other way round.
        if self.under_way.is_stepping(name) {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        let (generation, members) = group.converted(now.topics)?;
        let (_, cx) = self.consumers(now, out);
        let group = consumer::Group::upgraded(&cx, name, generation, members);
        let group = group.ok_or(ErrorCode::GroupMaxSizeReached)?;
        group.may_enter(&cx, beat)?;
        let (live, mut cx) = self.live(now, out);
        let former = live.remove(name).expect("it is there still");
        former.hand_over(&mut cx);
        group.begin(&mut cx);
        self.consumers.insert(name.clone(), group);
        Ok(())
    }

    /// A command of a group of the consumer protocol is settled.
    pub(super) fn consumers_changed(
        &mut self,
        now: Now<'_>,
        name: &str,
        token: Token,
        outcome: Outcome,
        out: &mut Vec<Effect>,
    ) {
        let (consumers, mut cx) = self.consumers(now, out);
        let group = consumers.get_mut(name);
        let group = group.expect("a group stays while its command is under way");
        match outcome {
            Outcome::Committed => group.committed(&mut cx, token),
            // The log still has it as it was before.
            Outcome::Refused if group.is_upgrading() => self.dissolve(now, name, outcome, out),
            Outcome::Refused => group.refused(&mut cx, token),
        }
    }

    /// A group's command to be of the classic protocol from now on is settled.
    pub(super) fn downgraded(
        &mut self,
        now: Now<'_>,
        name: &str,
        token: Token,
        outcome: Outcome,
        out: &mut Vec<Effect>,
    ) {
        match outcome {
            Outcome::Committed => self.dissolve(now, name, outcome, out),
            Outcome::Refused => self.consumers_changed(now, name, token, outcome, out),
        }
    }

    /// The log has it as a group of the classic protocol: it goes on as that, and what waits is asked there.
    fn dissolve(&mut self, now: Now<'_>, name: &str, outcome: Outcome, out: &mut Vec<Effect>) {
        let (live, consumers, mut cx) = self.split(now, out);
        let group = consumers.remove(name);
        let group = group.expect("a group stays while its command is under way");
        let (answers, waiting) = group.dissolve(&mut cx);
        let answers = answers.into_iter().map(|(ticket, reply)| match outcome {
            Outcome::Committed => Effect::Answer(ticket, reply),
            Outcome::Refused => refusal((ticket, reply)),
        });
        cx.out.extend(answers);
        let stored = now.groups.get(name);
        let membership = stored.and_then(|stored| stored.membership.as_ref());
        if let Some(membership) = membership.filter(|stored| !stored.members.is_empty()) {
            let group = classic::Group::restored(name, membership, &mut cx);
            live.insert(name.to_owned(), group);
        }
        for (ticket, request) in waiting {
            self.request(now, ticket, request, out);
        }
    }
}
