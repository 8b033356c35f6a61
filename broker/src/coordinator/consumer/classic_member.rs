//! Members of the classic protocol in a group of the consumer protocol: those of a group that is being migrated, while
//! its members are replaced one by one.
//!
//! Nobody of them assigns. A member's generation is its epoch, what it owns is told with its join (as its subscription
//! says), and what it is to own with its sync. It joins again when a heartbeat tells it to.

use protocol::error_code::ErrorCode;

use super::Group;
use super::partitions::Partitions;
use super::state::{Change, Classic, Member, Phase};
use crate::coordinator::catalog::Catalog;
use crate::coordinator::context::Context;
use crate::coordinator::rebalances::Reason;
use crate::coordinator::reply::{GroupReply, Joined};
use crate::coordinator::request::{Join, MemberRef, Sync};
use crate::coordinator::subscription::{Assignment, CONSUMER, Subscription};

/// Protocols of one member, which speaks a handful: all are compared with those of all others.
const PROTOCOLS_MAX: usize = 100;

impl Group {
    /// What it is told, once everything that was decided is committed.
    pub(super) fn join(&mut self, cx: &mut Context<'_>, mut join: Join) -> GroupReply {
        let sent = join.member.id.clone();
        let timeouts = cx.config.session_timeout_min_ms..=cx.config.session_timeout_max_ms;
        if !timeouts.contains(&join.session_timeout_ms) {
            return GroupReply::join_failed(ErrorCode::InvalidSessionTimeout, &sent);
        }
        // NB: as with a heartbeat: what is not known here would be taken from its owners. And a group that all have left
        // is of either protocol, once the log knows that.
        if cx.now.topics.version() < self.state.topics_version || self.is_empty() {
            return GroupReply::join_failed(ErrorCode::CoordinatorLoadInProgress, &sent);
        }
        if sent.is_empty() {
            let prefix = join.member.instance.as_ref().unwrap_or(&join.client.id);
            join.member.id = cx.ids.give(prefix);
        }
        match self.enter(cx, join, sent.is_empty()) {
            Ok(joined) => GroupReply::Joined(joined),
            Err((ErrorCode::MemberIdRequired, id)) => {
                GroupReply::join_failed(ErrorCode::MemberIdRequired, &id)
            }
            Err((code, _)) => GroupReply::join_failed(code, &sent),
        }
    }

    /// With the id that an error goes with.
    fn enter(
        &mut self,
        cx: &mut Context<'_>,
        join: Join,
        is_unnamed: bool,
    ) -> Result<Joined, (ErrorCode, String)> {
        let id = join.member.id.clone();
        let fail = |code| (code, id.clone());
        let holder = self.holder(&join.member, is_unnamed).map_err(fail)?;
        let returns = holder.as_ref().is_some_and(|holder| *holder != id);
        let is_new = holder.is_none();
        if is_new && self.state.members.len() >= cx.config.consumer_members_max {
            return Err(fail(ErrorCode::GroupMaxSizeReached));
        }
        let first = join.protocols.first();
        let subscription = first.and_then(|(_, bytes)| Subscription::decode(bytes));
        let Some(subscription) = subscription.filter(|_| self.supports(&join)) else {
            return Err(fail(ErrorCode::InconsistentGroupProtocol));
        };
        if is_unnamed && join.id_required && join.member.instance.is_none() {
            return Err(fail(ErrorCode::MemberIdRequired));
        }
        let before = holder.as_ref().and_then(|id| self.state.members.get(id));
        let before = before.cloned().unwrap_or_default();
        let owned = placed(&subscription.owned, cx.now.topics);
        let rebalance_timeout_ms = join.rebalance_timeout_ms;
        let mut after = described(&before, join, subscription);
        if !self.has_room(cx, holder.as_deref().unwrap_or(&id), &after) {
            return Err(fail(ErrorCode::GroupMaxSizeReached));
        }
        if returns {
            self.hand_over(cx, &after.instance.clone().unwrap_or_default(), &id);
            after.epoch = 0;
            after.previous_epoch = 0;
            after.phase = Phase::Stable;
            after.revoking = Partitions::default();
        }
        let subscribes = is_new || before.topics != after.topics || before.regex != after.regex;
        if is_new || returns || after != before {
            self.change(Change::PutMember {
                id: id.clone(),
                member: after,
            });
        }
        let reason = match is_new {
            true => Reason::Joined,
            false => Reason::SubscriptionChanged,
        };
        self.maybe_raise_epoch(cx, subscribes.then_some(reason), &id);
        self.maybe_assign(cx);
        self.reconcile(cx, &id, Some(&owned));
        self.keep_session(cx, &id);
        cx.set_timer(self.rejoin(&id), rebalance_timeout_ms);
        self.maybe_downgrade(cx);
        Ok(self.joined(&id))
    }

    /// The member that joins again, under this id or, if it is a static one that was restarted, under another.
    fn holder(&self, member: &MemberRef, is_unnamed: bool) -> Result<Option<String>, ErrorCode> {
        let Some(instance) = &member.instance else {
            let is_there = self.state.members.contains_key(&member.id);
            return Ok(is_there.then(|| member.id.clone()));
        };
        match self.instances.get(instance) {
            Some(holder) if is_unnamed || *holder == member.id => Ok(Some(holder.clone())),
            Some(_) => Err(ErrorCode::FencedInstanceId),
            None if is_unnamed => Ok(None),
            None => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Whether a protocol of the member is one that all others of the classic protocol speak.
    fn supports(&self, join: &Join) -> bool {
        let members = self.state.members.values();
        let classic = members.filter_map(|member| member.classic.as_ref());
        let all_speak = |name: &str| classic.clone().all(|other| other.speaks(name));
        join.protocol_type == CONSUMER
            && join.protocols.len() <= PROTOCOLS_MAX
            && join.protocols.iter().any(|(name, _)| all_speak(name))
    }

    fn joined(&self, id: &str) -> Joined {
        let member = &self.state.members[id];
        Joined {
            generation: member.epoch,
            protocol_type: CONSUMER.to_owned(),
            protocol_name: protocol(member).to_owned(),
            member: id.to_owned(),
            ..Joined::default()
        }
    }

    /// The member asks for what it is to own now.
    pub(super) fn sync(&mut self, cx: &mut Context<'_>, sync: &Sync) -> GroupReply {
        let id = &sync.member.id;
        let (member, classic) = match self.classic(&sync.member, sync.generation) {
            Ok(found) => found,
            Err(code) => return GroupReply::failed(code),
        };
        let differs = |sent: &Option<String>, own: &str| {
            let sent = sent.as_deref();
            sent.is_some_and(|sent| sent != own)
        };
        if differs(&sync.protocol_type, CONSUMER)
            || differs(&sync.protocol_name, classic.protocol())
        {
            return GroupReply::failed(ErrorCode::InconsistentGroupProtocol);
        }
        if member.epoch < self.state.epoch && member.phase != Phase::Unrevoked {
            self.await_join(cx, id, member.rebalance_timeout_ms);
            return GroupReply::failed(ErrorCode::RebalanceInProgress);
        }
        cx.timers.cancel(&self.rejoin(id));
        self.keep_session(cx, id);
        let version = classic.protocols.first();
        let version = version.and_then(|(_, bytes)| Subscription::decode(bytes));
        let version = version.map_or(0, |subscription| subscription.version);
        GroupReply::Synced {
            protocol_type: CONSUMER.to_owned(),
            protocol_name: classic.protocol().to_owned(),
            assignment: assignment(version, &member.assigned, cx.now.topics),
        }
    }

    /// The member is alive, and may have to join again.
    pub(super) fn classic_heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        generation: i32,
        member: &MemberRef,
    ) -> GroupReply {
        let id = &member.id;
        if let Err(code) = self.classic(member, generation) {
            return GroupReply::failed(code);
        }
        self.keep_session(cx, id);
        if cx.now.topics.version() >= self.state.topics_version {
            // NB: where groups do not turn back, nobody else may be there to see that topics have changed.
            self.maybe_raise_epoch(cx, None, id);
        }
        let member = &self.state.members[id];
        let goes_on = match member.phase {
            Phase::Stable => false,
            Phase::Unrevoked => true,
            Phase::Unreleased => !self.waits_for_others(id, member),
        };
        if goes_on || member.epoch < self.state.epoch {
            self.await_join(cx, id, member.rebalance_timeout_ms);
            return GroupReply::failed(ErrorCode::RebalanceInProgress);
        }
        GroupReply::Done
    }

    /// A member of the classic protocol in its own generation.
    fn classic(
        &self,
        member: &MemberRef,
        generation: i32,
    ) -> Result<(&Member, &Classic), ErrorCode> {
        if let Some(instance) = &member.instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(holder) if *holder != member.id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        let member = self.state.members.get(&member.id);
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        let classic = member.classic.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch != generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok((member, classic))
    }

    /// Whether something that it is to own is still owned by another one.
    fn waits_for_others(&self, id: &str, member: &Member) -> bool {
        let target = self.state.targets.get(id);
        let mut target = target.into_iter().flat_map(Partitions::iter);
        target.any(|(topic, partition)| {
            let owner = self.owners.get(&(topic, partition));
            !member.assigned.contains(topic, partition) && owner.is_some_and(|owner| owner != id)
        })
    }

    /// It was told to join again, and has to in time.
    fn await_join(&self, cx: &mut Context<'_>, id: &str, timeout_ms: u64) {
        let timer = self.rejoin(id);
        if !cx.timers.is_set(&timer) {
            cx.set_timer(timer, timeout_ms);
        }
    }
}

fn protocol(member: &Member) -> &str {
    let classic = member.classic.as_ref();
    classic
        .expect("it has joined by the classic protocol")
        .protocol()
}

/// The member with what it now says of itself.
fn described(before: &Member, join: Join, subscription: Subscription) -> Member {
    Member {
        instance: join.member.instance,
        rack: subscription.rack.or_else(|| before.rack.clone()),
        client: join.client,
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        assignor: None,
        topics: subscription.topics,
        regex: None,
        classic: Some(Classic {
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
        }),
        ..before.clone()
    }
}

/// By the topics' ids; topics that are not there are left out.
pub(in crate::coordinator) fn placed(
    partitions: &[(String, i32)],
    catalog: &dyn Catalog,
) -> Partitions {
    let place = |(name, partition): &(String, i32)| {
        let (id, count) = catalog.topic(name)?;
        (0..count).contains(partition).then_some((id, *partition))
    };
    partitions.iter().filter_map(place).collect()
}

/// As members of the classic protocol read it; topics that are gone are left out.
pub(in crate::coordinator) fn assignment(
    version: i16,
    partitions: &Partitions,
    catalog: &dyn Catalog,
) -> bytes::Bytes {
    let mut topics = partitions
        .topics()
        .filter_map(|(id, set)| Some((catalog.name(id)?, set.iter().copied().collect())))
        .collect::<Vec<(&str, Vec<i32>)>>();
    topics.sort_unstable();
    let topics = topics.iter();
    Assignment::encode(version, topics.map(|(name, set)| (*name, set.as_slice())))
}
