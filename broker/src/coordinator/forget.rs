//! Offsets of deleted topics are forgotten, however often it takes: a proposal may be refused, and a commit that was
//! under way when its topic went comes later.
//!
//! An offset is of a topic's id. It is forgotten by the id, and only where the metadata is at least as new as that in
//! which the id was there: what a broker hears late, or again after a restart, harms no topic that came since under the
//! same name. Nobody has to remember what was deleted.

use std::collections::BTreeSet;

use super::command::GroupCommand;
use super::context::later;
use super::core::{Coordinator, Now};
use super::effect::{Effect, Token};
use super::state::StoredGroup;
use super::timers::Timer;
use crate::metadata::TopicId;

/// From a change to the look at it, and between two looks.
const LOOK_MS: u64 = 1_000;
/// Groups that one look may shorten.
const GROUPS_PER_LOOK: usize = 1_000;
/// Topics of one command.
const TOPICS_PER_COMMAND: usize = 200;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    /// What was proposed up to here may still commit offsets of topics that went meanwhile.
    until: Option<Token>,
    /// What a look has proposed.
    proposed: Vec<Token>,
}

impl Coordinator {
    /// Topics may have been deleted.
    pub fn topics_changed(&mut self, now: Now<'_>) {
        self.forgetting.until = Some(self.under_way.last());
        if !self.timers.is_set(&Timer::Forget) {
            self.timers.set(Timer::Forget, later(now.tick, LOOK_MS));
        }
    }

    /// Looks for what there is to forget; again until nothing is left, and nothing can come.
    pub(super) fn forget(&mut self, now: Now<'_>, out: &mut Vec<Effect>) {
        let under_way = &self.under_way;
        self.forgetting
            .proposed
            .retain(|token| under_way.is_open(*token));
        // NB: while some is under way, the same again would only fill the log.
        let is_left = !self.forgetting.proposed.is_empty() || self.propose_to_forget(now, out);
        let until = self.forgetting.until;
        let oldest = self.under_way.oldest();
        if is_left || oldest.is_some_and(|oldest| Some(oldest) <= until) {
            self.timers.set(Timer::Forget, later(now.tick, LOOK_MS));
        }
    }

    /// Whether there was something.
    fn propose_to_forget(&mut self, now: Now<'_>, out: &mut Vec<Effect>) -> bool {
        let groups = now.groups.iter();
        let groups = groups.map(|(name, group)| (name, gone(now, group)));
        let groups = groups.filter(|(_, gone)| !gone.is_empty());
        for (name, gone) in groups.take(GROUPS_PER_LOOK) {
            let gone: Vec<TopicId> = gone.into_iter().collect();
            for topics in gone.chunks(TOPICS_PER_COMMAND) {
                let command = GroupCommand::ForgetTopics {
                    group: name.to_owned(),
                    topics: topics.to_vec(),
                };
                let token = self.propose(name, command, Vec::new(), None, out);
                self.forgetting.proposed.push(token);
            }
        }
        !self.forgetting.proposed.is_empty()
    }
}

/// Deleted topics of which the group has offsets.
fn gone(now: Now<'_>, group: &StoredGroup) -> BTreeSet<TopicId> {
    let offsets = group.offsets.values().flat_map(|topic| topic.values());
    let topics = offsets.filter_map(|offset| offset.topic);
    let gone = topics.filter(|topic| now.topics.is_gone(*topic));
    gone.map(|topic| topic.id).collect()
}
