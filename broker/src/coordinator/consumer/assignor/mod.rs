//! Who gets which partitions: functions of what members subscribe to and of what they had, and of nothing else.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::partitions::Partitions;
use crate::metadata::TopicId;

/// An assignor of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// As many partitions for each as for any other, and as few moves as that takes.
    Uniform,
    /// Of each topic a range.
    Range,
}

impl Assignor {
    /// All, in Kafka's order.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// As clients call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

/// Those that members may ask for: at least one, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignors(Vec<Assignor>);

impl Assignors {
    /// The one with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Assignor> {
        self.0.iter().copied().find(|each| each.name() == name)
    }

    /// The one with most votes; of equal ones the first, which is the default so.
    pub(super) fn elect(&self, votes: impl Fn(Assignor) -> usize) -> Assignor {
        let by_votes = self.0.iter().rev().max_by_key(|each| votes(**each));
        *by_votes.expect("there is at least one")
    }
}

impl Default for Assignors {
    fn default() -> Self {
        Self(Assignor::ALL.to_vec())
    }
}

impl fmt::Display for Assignors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|each| each.name());
        f.write_str(&names.collect::<Vec<_>>().join(", "))
    }
}

impl FromStr for Assignors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::default();
        let mut named = Vec::new();
        for name in text.split(',').map(str::trim) {
            let assignor = all
                .named(name)
                .ok_or_else(|| format!("must be a list of {all}: '{name}' is none of them"))?;
            if named.contains(&assignor) {
                return Err(format!("has {name} twice"));
            }
            named.push(assignor);
        }
        Ok(Self(named))
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
