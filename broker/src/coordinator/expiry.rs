//! Offsets that nobody will ask for again are forgotten, as Kafka does it:
//!
//! | group | an offset expires |
//! |---|---|
//! | without members | so long after the last one left, and after its commit |
//! | stable, of consumers | so long after its commit, if no member subscribes to its topic |
//! | of the consumer protocol | so long after its commit, if no member subscribes to its topic |
//! | that only ever committed | so long after its commit |
//! | any other | never |
//!
//! A commit of versions 2 to 4 may bring its own time: then that counts instead, where an offset may expire at all.
//!
//! (Kafka counts in the first row from when the group became empty alone, so that an offset that an operator has just
//! set may be gone at once.) A group without members or offsets goes as a whole.

use super::classic;
use super::command::GroupCommand;
use super::consumer;
use super::core::{Coordinator, Now};
use super::effect::Effect;
use super::state::{StoredGroup, StoredOffset};
use super::timers::Timer;

/// Groups that one pass may shorten.
const GROUPS_PER_PASS: usize = 1_000;
/// Before the next pass if there was more to do.
const NEXT_PASS_MS: u64 = 1_000;
/// Partitions of one command.
const PARTITIONS_PER_COMMAND: usize = 1_000;

impl Coordinator {
    /// NB: a group with a proposal under way is left alone: what is stored does not know yet what was committed anew.
    pub(super) fn expire(&mut self, now: Now<'_>, out: &mut Vec<Effect>) {
        let retention_ms = i64::try_from(self.config.offsets_retention_ms).unwrap_or(i64::MAX);
        let mut commands = Vec::new();
        let mut groups = 0;
        for (name, group) in now.groups.iter() {
            let live = self.live.get(name);
            if self.under_way.is_proposing(name) || live.is_some_and(classic::Group::is_unstored) {
                continue;
            }
            let before = commands.len();
            let members = Members {
                classic: live,
                consumers: self.consumers.get(name),
            };
            commands.extend(expired(name, group, &members, now.wall_ms, retention_ms));
            groups += usize::from(commands.len() > before);
            if groups == GROUPS_PER_PASS {
                break;
            }
        }
        for (name, command) in commands {
            self.propose(&name, command, Vec::new(), None, out);
        }
        let after_ms = match groups {
            GROUPS_PER_PASS => NEXT_PASS_MS.min(self.config.expiry_interval_ms),
            _ => self.config.expiry_interval_ms,
        };
        self.timers.set(
            Timer::Expiry,
            super::context::later(now.tick, after_ms.max(1)),
        );
    }
}

/// Of a group, if it is live.
struct Members<'a> {
    classic: Option<&'a classic::Group>,
    consumers: Option<&'a consumer::Group>,
}

fn expired(
    name: &str,
    group: &StoredGroup,
    members: &Members<'_>,
    now_ms: i64,
    retention_ms: i64,
) -> Vec<(String, GroupCommand)> {
    let is_over = |since_ms: i64| since_ms.saturating_add(retention_ms) <= now_ms;
    let is_expired = |topic: &str, offset: &StoredOffset| {
        let is_old = match offset.expires_ms {
            Some(at_ms) => at_ms <= now_ms,
            None => is_over(offset.committed_ms),
        };
        let has_own = offset.expires_ms.is_some();
        let classic = members.classic.filter(|live| !live.is_empty());
        is_old
            && match (classic, members.consumers) {
                (Some(live), _) => {
                    let topics = live.stable_topics();
                    topics.is_some_and(|topics| !topics.contains(topic))
                }
                (None, Some(consumers)) => !consumers.is_subscribed(topic),
                (None, None) => has_own || group.changed_ms().is_none_or(is_over),
            }
    };
    let mut partitions = Vec::new();
    let mut remain = 0_usize;
    for (topic, offsets) in &group.offsets {
        for (partition, offset) in offsets {
            if is_expired(topic, offset) {
                partitions.push((topic.clone(), *partition));
            } else {
                remain += 1;
            }
        }
    }
    let commands = if remain == 0 && members.classic.is_none() && members.consumers.is_none() {
        vec![GroupCommand::DeleteGroup {
            group: name.to_owned(),
        }]
    } else {
        deletions(name, partitions)
    };
    commands
        .into_iter()
        .map(|command| (name.to_owned(), command))
        .collect()
}

fn deletions(group: &str, partitions: Vec<(String, i32)>) -> Vec<GroupCommand> {
    let chunks = partitions.chunks(PARTITIONS_PER_COMMAND);
    let commands = chunks.map(|chunk| GroupCommand::DeleteOffsets {
        group: group.to_owned(),
        partitions: chunk.to_vec(),
    });
    commands.collect()
}
