//! To the consumer protocol, and from it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::error_code::ErrorCode;

use super::{Group, Member, State};
use crate::coordinator::catalog::Catalog;
use crate::coordinator::consumer::classic_member::placed;
use crate::coordinator::consumer::partitions::Partitions;
use crate::coordinator::consumer::state::{self, Phase};
use crate::coordinator::context::Context;
use crate::coordinator::rebalances::Reason;
use crate::coordinator::subscription::{Assignment, Subscription};
use crate::coordinator::timers::Timer;

impl Group {
    /// Its generation, and its members as they are in a group of the consumer protocol, where they keep what they were
    /// assigned.
    ///
    /// Kafka converts a group at any time. Here it has to be stable, else the client tries again: of members that are
    /// between two generations nobody but themselves knows what they own. And it tries again while a member was
    /// assigned what this broker does not know (a new topic, or one that was just deleted, which a rebalance settles):
    /// left out, as Kafka does it, a partition would be given to a second member while the first still reads it.
    pub(in crate::coordinator) fn converted(
        &self,
        catalog: &dyn Catalog,
    ) -> Result<(i32, BTreeMap<String, state::Member>), ErrorCode> {
        // As Kafka says that a group cannot be converted.
        let unfit = ErrorCode::GroupIdNotFound;
        if self.is_empty() {
            return Ok((self.generation, BTreeMap::new()));
        }
        if !self.is_consumer() {
            return Err(unfit);
        }
        if self.state != State::Stable {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        let members = self.members.iter();
        let members = members
            .map(|(id, member)| Some((id.clone(), self.member(member, catalog)?)))
            .collect::<Option<BTreeMap<_, _>>>();
        let mut members = members.ok_or(unfit)?;
        if !own_apart(&mut members) {
            return Err(unfit);
        }
        let mut assigned = self.members.values().zip(members.values());
        match assigned.all(|(before, after)| is_known(before, &after.assigned)) {
            true => Ok((self.generation, members)),
            false => Err(ErrorCode::CoordinatorLoadInProgress),
        }
    }

    /// None when it cannot be read, or when something would be lost that its assignor has said to it.
    fn member(&self, member: &Member, catalog: &dyn Catalog) -> Option<state::Member> {
        let protocol = self.protocol_name.as_deref()?;
        let subscription = Subscription::decode(&member.subscription(protocol))?;
        let assignment = Assignment::decode(&member.assignment)?;
        if assignment.has_user_data {
            return None;
        }
        let has_all = !member.protocols.is_empty();
        has_all.then(|| state::Member {
            instance: member.instance.clone(),
            rack: subscription.rack,
            client: member.client.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            topics: subscription.topics,
            epoch: self.generation,
            previous_epoch: self.generation,
            assigned: placed(&assignment.partitions, catalog),
            revoking: placed(&subscription.owned, catalog),
            classic: Some(state::Classic {
                session_timeout_ms: member.session_timeout_ms,
                protocols: member.protocols.clone(),
            }),
            ..state::Member::default()
        })
    }

    /// How many there are.
    pub(in crate::coordinator) fn size(&self) -> usize {
        self.members.len()
    }

    /// It is of the consumer protocol from now on: nothing of it is due. Nobody waits for it, as it is stable or empty.
    pub(in crate::coordinator) fn hand_over(&self, cx: &mut Context<'_>) {
        for id in self.members.keys().chain(&self.pending) {
            cx.timers.cancel(&self.session(id));
        }
        cx.timers.cancel(&Timer::Join(self.name.clone()));
        cx.timers.cancel(&Timer::Sync(self.name.clone()));
        cx.timers.cancel(&Timer::Empty(self.name.clone()));
    }

    /// It comes from the consumer protocol, and nobody leads it: its members are to join, and to assign again.
    pub(super) fn begin_anew(&mut self, cx: &mut Context<'_>) {
        self.leader = self.earliest(|_| true);
        let first = self.leader.clone().unwrap_or_default();
        let cause = self.cause(Reason::Downgraded, &first);
        self.prepare(cx, cause);
    }
}

/// Each partition has one owner: who was assigned it, else who had it before the last rebalance, which a cooperative
/// member may not have given up yet: it says so when it joins again. False if two were assigned one.
fn own_apart(members: &mut BTreeMap<String, state::Member>) -> bool {
    let mut owned = BTreeSet::new();
    for member in members.values() {
        if !member.assigned.iter().all(|place| owned.insert(place)) {
            return false;
        }
    }
    for member in members.values_mut() {
        let before = std::mem::take(&mut member.revoking);
        member.revoking = before.iter().filter(|place| owned.insert(*place)).collect();
        if !member.revoking.is_empty() {
            member.phase = Phase::Unrevoked;
        }
    }
    true
}

/// Whether these are all that the member was assigned.
fn is_known(member: &Member, placed: &Partitions) -> bool {
    let assignment = Assignment::decode(&member.assignment).unwrap_or_default();
    let assigned = assignment.partitions.iter().collect::<BTreeSet<_>>();
    assigned.len() == placed.len()
}
