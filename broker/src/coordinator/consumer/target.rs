//! Who is to own what: made anew for each epoch of the group.

use std::collections::{BTreeMap, BTreeSet};

use super::assignor::{Assignor, Assignors, Subscriber, assign};
use super::state::{Change, Member, State};
use super::{Group, pattern};
use crate::coordinator::catalog::Catalog;
use crate::coordinator::context::Context;
use crate::coordinator::rebalances::Reason;
use crate::metadata::TopicId;

impl Group {
    /// If subscriptions have changed, because of what this member says, or the topics that are subscribed to.
    pub(super) fn maybe_raise_epoch(
        &mut self,
        cx: &mut Context<'_>,
        changed: Option<Reason>,
        id: &str,
    ) {
        let version = cx.now.topics.version();
        let topics_changed = self.seen != Some(version);
        if topics_changed {
            self.matching.clear();
        }
        if changed.is_some() || topics_changed {
            self.match_patterns(cx.now.topics);
            let hash = hash(&self.topics(cx.now.topics));
            if changed.is_some() || hash != self.state.topics_hash {
                let cause = self.cause(changed.unwrap_or(Reason::TopicsChanged), id);
                self.raise_epoch(cx, (hash, version), cause);
            }
            self.seen = Some(version);
        }
    }

    /// If the targets are of an earlier epoch.
    pub(super) fn maybe_assign(&mut self, cx: &Context<'_>) {
        if self.state.target_epoch == self.state.epoch {
            return;
        }
        let topics = self.topics(cx.now.topics);
        let mut members = BTreeMap::new();
        for (id, member) in &self.state.members {
            let ids = self.names(member);
            let ids = ids.filter_map(|name| cx.now.topics.topic(name));
            let subscriber = Subscriber {
                instance: member.instance.as_deref(),
                topics: ids.map(|(id, _)| id).collect(),
                had: self.state.targets.get(id).cloned().unwrap_or_default(),
            };
            members.insert(id.as_str(), subscriber);
        }
        let targets = assign(self.state.assignor(&cx.config.assignors), &members, &topics);
        for (id, partitions) in targets {
            let before = self.state.targets.get(&id);
            if before.map_or(!partitions.is_empty(), |before| *before != partitions) {
                self.change(Change::Target { id, partitions });
            }
        }
        self.change(Change::TargetEpoch(self.state.epoch));
    }

    /// The topics that a member subscribes to, whether they exist or not; some may be there twice.
    fn names<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a str> {
        let matching = member.regex.as_ref().and_then(|r| self.matching.get(r));
        let matching = matching.into_iter().flatten();
        member.topics.iter().chain(matching).map(String::as_str)
    }

    /// All names that are subscribed to.
    pub(super) fn subscribed(&self) -> BTreeSet<&str> {
        let members = self.state.members.values();
        members.flat_map(|member| self.names(member)).collect()
    }

    /// Those of them that exist, with their partitions.
    fn topics(&self, catalog: &dyn Catalog) -> BTreeMap<TopicId, i32> {
        let names = self.subscribed().into_iter();
        names.filter_map(|name| catalog.topic(name)).collect()
    }

    /// What every pattern of a member stands for. Those that nobody has any more are forgotten.
    fn match_patterns(&mut self, catalog: &dyn Catalog) {
        let members = self.state.members.values();
        let patterns: BTreeSet<&String> = members.filter_map(|m| m.regex.as_ref()).collect();
        self.matching.retain(|regex, _| patterns.contains(regex));
        for regex in patterns {
            if self.matching.contains_key(regex) {
                continue;
            }
            let regex = regex.clone();
            let topics = match pattern::compile(&regex) {
                Ok(pattern) => {
                    let names = catalog.names().filter(|name| pattern.is_match(name));
                    names.map(str::to_owned).collect()
                }
                // Another version of the broker took it.
                Err(()) => BTreeSet::new(),
            };
            self.matching.insert(regex, topics);
        }
    }
}

impl State {
    /// The one that most members would like. One that the broker had under another configuration counts for nothing.
    pub(super) fn assignor(&self, offered: &Assignors) -> Assignor {
        offered.elect(|assignor| {
            let members = self.members.values();
            let named = members.filter_map(|member| member.assignor.as_deref());
            named.filter(|name| *name == assignor.name()).count()
        })
    }
}

/// FNV-1a over ids and counts.
fn hash(topics: &BTreeMap<TopicId, i32>) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for (id, count) in topics {
        for byte in id.0.to_be_bytes().into_iter().chain(count.to_be_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
    hash
}
