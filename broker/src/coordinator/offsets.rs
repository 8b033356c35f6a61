//! Offsets are committed, read and deleted.

use protocol::error_code::ErrorCode;

use super::catalog::Catalog;
use super::command::GroupCommand;
use super::core::{Coordinator, Now};
use super::effect::Effect;
use super::reply::{FetchedOffset, GroupReply};
use super::request::{Commit, CommitOffset, Fetch};
use super::state::{StoredGroup, StoredOffset};
use crate::shard::Ticket;

impl Coordinator {
    /// Answered when it is committed. One whose metadata is too long fails alone, and one of a further partition where
    /// the group has as many as it may. NB: commits under way are not counted.
    pub(super) fn commit(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        commit: Commit,
        out: &mut Vec<Effect>,
    ) {
        if let Err(code) = self.may_commit(now, &commit, out) {
            return self.hold(ticket, GroupReply::failed(code), out);
        }
        let codes = self.check_offsets(now, &commit);
        let offsets = commit.offsets.into_iter().zip(&codes);
        let offsets = offsets.filter(|(_, code)| **code == ErrorCode::None);
        let offsets = offsets.map(|(offset, _)| offset).collect::<Vec<_>>();
        let reply = GroupReply::Offsets(codes);
        if offsets.is_empty() {
            return self.hold(ticket, reply, out);
        }
        let topic = |offset: &CommitOffset| {
            let (id, _) = now.topics.topic(&offset.topic)?;
            Some((offset.topic.clone(), id))
        };
        let expires_ms = |kept_ms: i64| now.wall_ms.saturating_add(kept_ms);
        let command = GroupCommand::CommitOffsets {
            group: commit.group.clone(),
            at_ms: now.wall_ms,
            expires_ms: commit.retention_ms.map(expires_ms),
            known_at: now.topics.version(),
            topics: offsets.iter().filter_map(topic).collect(),
            offsets,
        };
        if command.size_bytes() > self.config.command_bytes_max {
            let code = ErrorCode::InvalidCommitOffsetSize;
            return self.hold(ticket, GroupReply::failed(code), out);
        }
        self.note_unstored(now, &commit.group);
        self.propose(&commit.group, command, vec![(ticket, reply)], None, out);
    }

    fn check_offsets(&self, now: Now<'_>, commit: &Commit) -> Vec<ErrorCode> {
        let stored = now.groups.get(&commit.group);
        let mut count = stored.map_or(0, StoredGroup::offsets_count);
        let code = |offset: &CommitOffset| {
            if offset.metadata.len() > self.config.offset_metadata_bytes_max {
                return ErrorCode::OffsetMetadataTooLarge;
            }
            let known = stored.and_then(|group| group.offsets.get(&offset.topic));
            if known.is_some_and(|partitions| partitions.contains_key(&offset.partition)) {
                return ErrorCode::None;
            }
            if count >= self.config.offsets_max {
                return ErrorCode::InvalidCommitOffsetSize;
            }
            count += 1;
            ErrorCode::None
        };
        commit.offsets.iter().map(code).collect()
    }

    /// Anybody who is no member may commit to a group without members, and so make one.
    fn may_commit(
        &mut self,
        now: Now<'_>,
        commit: &Commit,
        out: &mut Vec<Effect>,
    ) -> Result<(), ErrorCode> {
        if let Some(group) = self.consumers.get(&commit.group) {
            return group.may_commit(commit);
        }
        let (live, mut cx) = self.live(now, out);
        if let Some(live) = live.get_mut(&commit.group) {
            return live.may_commit(&mut cx, commit.generation, &commit.member);
        }
        let is_stored = now.groups.get(&commit.group).is_some();
        match (is_stored, commit.generation < 0) {
            (true, true) => Ok(()),
            (false, true) => self.has_room(now, &commit.group),
            (false, false) => Err(ErrorCode::GroupIdNotFound),
            // It has no members: generation 0 and above are of a member.
            (true, false) => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Offsets as committed; -1 for a partition, or a group, that is not there. Those of a deleted topic are not, also
    /// before they are forgotten: a topic of its name begins anew.
    pub(super) fn fetch(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        fetch: Fetch,
        out: &mut Vec<Effect>,
    ) {
        let stored = now.groups.get(&fetch.group);
        if let Err(code) = self.may_fetch(stored, &fetch) {
            return self.hold(ticket, GroupReply::failed(code), out);
        }
        let offsets = match fetch.partitions {
            Some(partitions) => partitions
                .into_iter()
                .map(|(topic, partition)| {
                    let offset = stored
                        .and_then(|group| group.offsets.get(&topic))
                        .and_then(|partitions| partitions.get(&partition))
                        .filter(|offset| !offset.is_gone(now.topics));
                    fetched(topic, partition, offset)
                })
                .collect(),
            None => stored.map_or_else(Vec::new, |group| all_offsets(group, now.topics)),
        };
        self.hold(ticket, GroupReply::Fetched(offsets), out);
    }

    /// One who says that he is a member of the consumer protocol has to be one, as of his epoch.
    fn may_fetch(&self, stored: Option<&StoredGroup>, fetch: &Fetch) -> Result<(), ErrorCode> {
        if fetch.member.id.is_empty() && fetch.member_epoch < 0 {
            return Ok(());
        }
        match self.consumers.get(&fetch.group) {
            Some(group) => group.is_current(&fetch.member, fetch.member_epoch),
            None if self.live.contains_key(&fetch.group) => Ok(()),
            None if stored.is_some_and(|stored| stored.consumer.is_some()) => {
                Err(ErrorCode::UnknownMemberId)
            }
            None => Ok(()),
        }
    }

    /// Answered when it is committed. Offsets of a topic that a member reads stay; one that is not there is no error.
    pub(super) fn delete_offsets(
        &mut self,
        now: Now<'_>,
        ticket: Ticket,
        group: String,
        partitions: Vec<(String, i32)>,
        out: &mut Vec<Effect>,
    ) {
        if group.is_empty() {
            return self.hold(ticket, GroupReply::failed(ErrorCode::InvalidGroupId), out);
        }
        let live = self.live.get(&group);
        let may = match (live, now.groups.get(&group)) {
            (Some(live), _) => live.may_delete_offsets(),
            (None, Some(_)) => Ok(()),
            (None, None) if self.consumers.contains_key(&group) => Ok(()),
            (None, None) => Err(ErrorCode::GroupIdNotFound),
        };
        if let Err(code) = may {
            return self.hold(ticket, GroupReply::failed(code), out);
        }
        let consumers = self.consumers.get(&group);
        let is_subscribed = |topic: &str| {
            live.is_some_and(|live| live.is_subscribed(topic))
                || consumers.is_some_and(|group| group.is_subscribed(topic))
        };
        let code = |topic: &str| match is_subscribed(topic) {
            true => ErrorCode::GroupSubscribedToTopic,
            false => ErrorCode::None,
        };
        let codes = partitions
            .iter()
            .map(|(topic, _)| code(topic))
            .collect::<Vec<_>>();
        let deleted = partitions.into_iter().zip(&codes);
        let deleted = deleted.filter(|(_, code)| **code == ErrorCode::None);
        let deleted = deleted.map(|(partition, _)| partition).collect::<Vec<_>>();
        let reply = GroupReply::Offsets(codes);
        if deleted.is_empty() {
            return self.hold(ticket, reply, out);
        }
        let command = GroupCommand::DeleteOffsets {
            group: group.clone(),
            partitions: deleted,
        };
        self.propose(&group, command, vec![(ticket, reply)], None, out);
    }
}

fn all_offsets(group: &StoredGroup, catalog: &dyn Catalog) -> Vec<FetchedOffset> {
    let topics = group.offsets.iter().flat_map(|(topic, partitions)| {
        let offsets = partitions.iter();
        let offsets = offsets.filter(|(_, offset)| !offset.is_gone(catalog));
        offsets.map(|(partition, offset)| fetched(topic.clone(), *partition, Some(offset)))
    });
    topics.collect()
}

fn fetched(topic: String, partition: i32, offset: Option<&StoredOffset>) -> FetchedOffset {
    FetchedOffset {
        topic,
        partition,
        offset: offset.map_or(-1, |offset| offset.offset),
        leader_epoch: offset.map_or(-1, |offset| offset.leader_epoch),
        metadata: offset.map_or_else(String::new, |offset| offset.metadata.clone()),
    }
}
