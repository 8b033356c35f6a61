//! What operators see of groups: as this coordinator knows it now, without asking a majority.

use std::collections::BTreeSet;

use super::core::Coordinator;
use super::rebalances::Rebalanced;
use super::reply::GroupStateName;
use super::state::{Groups, StoredGroup};

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFigures {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: GroupStateName,
    /// Members that it has.
    pub members: usize,
    /// Of its members, or their group's epoch; None for a group that only ever committed.
    pub generation: Option<i32>,
    /// When the last rebalance ended or the last member left, in wall-clock ms; None when neither ever happened. From
    /// the log, so it outlives coordinators.
    pub changed_ms: Option<i64>,
    /// The rebalances that this coordinator has seen begin; of the consumer protocol, the epochs that it has begun.
    pub rebalanced: Rebalanced,
    /// When this coordinator began, in wall-clock ms: what was before is known from the log alone.
    pub since_ms: i64,
}

impl Coordinator {
    /// The names of all groups, stored or live.
    #[must_use]
    pub fn names<'a>(&'a self, groups: &'a Groups) -> BTreeSet<&'a str> {
        let stored = groups.iter().map(|(name, _)| name);
        let live = self.live.keys().map(String::as_str);
        stored.chain(live).collect()
    }

    /// A group; None when it is not there.
    #[must_use]
    pub fn figures(&self, groups: &Groups, name: &str) -> Option<GroupFigures> {
        let stored = groups.get(name);
        let membership = stored.and_then(|stored| stored.membership.as_ref());
        let consumers = stored.and_then(|stored| stored.consumer.as_ref());
        let (state, members, generation) = match (self.live.get(name), stored) {
            (Some(live), _) => {
                let (state, members, generation) = live.figures();
                (state, members, Some(generation))
            }
            (None, Some(stored)) => match consumers {
                Some(group) => (group.name(), group.members.len(), Some(group.epoch)),
                None => {
                    let generation = membership.map(|membership| membership.generation);
                    let members = membership.map_or(0, |membership| membership.members.len());
                    (stored.classic_name(), members, generation)
                }
            },
            (None, None) => return None,
        };
        Some(GroupFigures {
            name: name.to_owned(),
            state,
            members,
            generation,
            changed_ms: stored.and_then(StoredGroup::changed_ms),
            rebalanced: self.rebalances.get(name).cloned().unwrap_or_default(),
            since_ms: self.since_ms,
        })
    }
}
