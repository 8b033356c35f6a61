//! A member's way to its target. It is never told to own what another one owns, or gives up only now.

use super::Group;
use super::partitions::Partitions;
use super::state::{Change, Member, Phase};
use crate::coordinator::context::Context;
use crate::metadata::TopicId;

impl Group {
    /// One step, as far as what the member says that it owns allows it.
    pub(super) fn reconcile(&mut self, cx: &mut Context<'_>, id: &str, owned: Option<&Partitions>) {
        let before = &self.state.members[id];
        let after = self.next(id, before, owned);
        if after == *before {
            return;
        }
        let revokes = after.phase == Phase::Unrevoked;
        let timeout_ms = after.rebalance_timeout_ms;
        let put = Change::PutMember {
            id: id.to_owned(),
            member: after,
        };
        self.change(put);
        if revokes {
            cx.set_timer(self.revocation(id), timeout_ms);
        } else {
            cx.timers.cancel(&self.revocation(id));
        }
    }

    fn next(&self, id: &str, member: &Member, owned: Option<&Partitions>) -> Member {
        match member.phase {
            Phase::Stable if member.epoch == self.state.target_epoch => member.clone(),
            Phase::Stable | Phase::Unreleased => self.towards_target(id, member, owned),
            Phase::Unrevoked => {
                let has_revoked = owned.is_some_and(|owned| !owned.meets(&member.revoking));
                if !has_revoked {
                    return member.clone();
                }
                let freed = Member {
                    revoking: Partitions::default(),
                    phase: Phase::Stable,
                    ..member.clone()
                };
                self.towards_target(id, &freed, owned)
            }
        }
    }

    fn towards_target(&self, id: &str, member: &Member, owned: Option<&Partitions>) -> Member {
        assert!(member.revoking.is_empty(), "that comes first");
        let none = Partitions::default();
        let target = self.state.targets.get(id).unwrap_or(&none);
        let (keep, lose): (Partitions, Partitions) = {
            let (keep, lose): (Vec<_>, Vec<_>) = member
                .assigned
                .iter()
                .partition(|(topic, partition)| target.contains(*topic, *partition));
            (keep.into_iter().collect(), lose.into_iter().collect())
        };
        let owns_lost = owned.is_none_or(|owned| owned.meets(&lose));
        if !lose.is_empty() && owns_lost {
            return Member {
                phase: Phase::Unrevoked,
                assigned: keep,
                revoking: lose,
                ..member.clone()
            };
        }
        let is_free = |place: &(TopicId, i32)| self.owners.get(place).is_none_or(|by| by == id);
        let gains = target.iter().filter(|(t, p)| !keep.contains(*t, *p));
        let (free, held): (Vec<_>, Vec<_>) = gains.partition(is_free);
        let goes_on = member.epoch != self.state.target_epoch;
        Member {
            epoch: self.state.target_epoch,
            previous_epoch: match goes_on {
                true => member.epoch,
                false => member.previous_epoch,
            },
            phase: match held.is_empty() {
                true => Phase::Stable,
                false => Phase::Unreleased,
            },
            assigned: keep.iter().chain(free).collect(),
            ..member.clone()
        }
    }
}
