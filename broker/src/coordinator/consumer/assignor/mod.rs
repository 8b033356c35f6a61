//! Who gets which partitions: functions of what members subscribe to and of what they had, and of nothing else.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};

use super::partitions::Partitions;
use crate::metadata::TopicId;

/// An assignor of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// As many partitions for each as for any other, and as few moves as that takes. The default.
    Uniform,
    /// Of each topic a range.
    Range,
}

impl Assignor {
    /// All, the default first.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// As clients call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == name)
    }
}

/// A member, for an assignor.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscriber<'a> {
    /// Of a static member.
    pub(super) instance: Option<&'a str>,
    /// Topics that exist.
    pub(super) topics: BTreeSet<TopicId>,
    /// What it was to own so far.
    pub(super) had: Partitions,
}

/// Every partition of a topic that somebody subscribes to is given to exactly one subscriber of that topic.
pub(super) fn assign(
    assignor: Assignor,
    members: &BTreeMap<&str, Subscriber<'_>>,
    topics: &BTreeMap<TopicId, i32>,
) -> BTreeMap<String, Partitions> {
    let mut given: BTreeMap<&str, Partitions> = match assignor {
        Assignor::Uniform => uniform::assign(members, topics),
        Assignor::Range => range::assign(members, topics),
    };
    let all = members.keys();
    all.map(|id| ((*id).to_owned(), given.remove(id).unwrap_or_default()))
        .collect()
}

/// The subscribers of each topic, by id.
fn subscribers<'a>(members: &BTreeMap<&'a str, Subscriber<'_>>) -> BTreeMap<TopicId, Vec<&'a str>> {
    let mut by_topic: BTreeMap<TopicId, Vec<&str>> = BTreeMap::new();
    for (id, member) in members {
        for topic in &member.topics {
            by_topic.entry(*topic).or_default().push(id);
        }
    }
    by_topic
}
