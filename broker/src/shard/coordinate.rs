//! Consumer groups at the leaders of their partitions: carries out what a coordinator's core wants, and tells it what
//! became of that.

use protocol::error_code::ErrorCode;
use raft::types::{EntryKind, GroupId, Tick};

use super::confirm::Then;
use super::group::{Group, Waiting, Wanted};
use super::output::{Answer, Ticket};
use super::{Io, Shard};
use crate::broker::{Acks, Rejection};
use crate::coordinator::OFFSETS_TOPIC;
use crate::coordinator::core::{Coordinator, Now};
use crate::coordinator::effect::{Effect, Token};
use crate::coordinator::request::GroupRequest;
use crate::partition::command::PartitionCommand;

/// What became of something that a coordinator waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    Committed(Token),
    Confirmed(Token),
    Refused(Token),
}

/// What a coordinator is told.
enum Event {
    Request(Ticket, Box<GroupRequest>),
    Signal(Signal),
    TopicsChanged,
    Tick,
}

impl Shard {
    /// The wall clock, for what happens until it is told again.
    pub fn set_wall(&mut self, wall_ms: i64) {
        self.wall_ms = wall_ms;
    }

    /// Asks the coordinator of a partition of [`OFFSETS_TOPIC`].
    pub fn group_request(&mut self, now: Tick, id: GroupId, request: GroupRequest, ticket: Ticket) {
        match self.begin_to_coordinate(now, id) {
            Ok(()) => self.coordinate(now, id, Event::Request(ticket, Box::new(request))),
            Err(why) => self.io.answers.push(Answer::Group(ticket, Err(why))),
        }
    }

    /// Whether this broker coordinates the groups of a partition; begins with it when it has just become the leader.
    fn begin_to_coordinate(&mut self, now: Tick, id: GroupId) -> Result<(), Rejection> {
        let not_here = |code| Rejection {
            code,
            message: String::new(),
            leader: None,
        };
        let Some(group) = self.groups.get(&id).filter(|g| g.is_leader()) else {
            return Err(not_here(ErrorCode::NotCoordinator));
        };
        if !group.node.is_leader_established() {
            return Err(not_here(ErrorCode::CoordinatorLoadInProgress));
        }
        let Some(state) = group.partition() else {
            return Err(not_here(ErrorCode::NotCoordinator));
        };
        if group.coordinator.is_none() {
            let mut config = self.config.groups.clone();
            config.seed ^= self.config.seed ^ id.0.rotate_left(32) ^ group.node.term().0;
            let moment = Now {
                tick: now,
                wall_ms: self.wall_ms,
                groups: state.groups(),
                topics: self.image_or_empty(),
            };
            let coordinator = Coordinator::new(config, moment);
            if let Some(at) = coordinator.deadline() {
                self.coordinator_timers.schedule(id, at);
            }
            if let Some(group) = self.groups.get_mut(&id) {
                group.coordinator = Some(Box::new(coordinator));
            }
        }
        Ok(())
    }

    /// New leaders begin, so that members that are silent meanwhile are missed.
    pub(super) fn begin_coordinators(&mut self, now: Tick) {
        let image = self.image_or_empty();
        let Some(topic) = image.topic_named(OFFSETS_TOPIC) else {
            return;
        };
        let idle = |id: &GroupId| {
            let group = self.groups.get(id);
            group.is_some_and(|g| g.coordinator.is_none() && g.node.is_leader_established())
        };
        let idle: Vec<GroupId> = topic.partitions.iter().copied().filter(idle).collect();
        for id in idle {
            // NB: one that may not begin yet is looked at again.
            let _ = self.begin_to_coordinate(now, id);
        }
    }

    /// Coordinators whose time has come.
    pub(super) fn tick_coordinators(&mut self, now: Tick) {
        while let Some(id) = self.coordinator_timers.due(now) {
            self.coordinate(now, id, Event::Tick);
        }
    }

    /// What became of what coordinators asked for since the last flush.
    pub(super) fn signal_coordinators(&mut self, now: Tick) -> bool {
        let signals = std::mem::take(&mut self.io.signals);
        let any = !signals.is_empty();
        for (id, signal) in signals {
            self.coordinate(now, id, Event::Signal(signal));
        }
        any
    }

    /// Topics may be gone: then no group has offsets of them any longer.
    pub(super) fn topics_changed(&mut self, now: Tick) {
        let coordinating = self.groups.values().filter(|g| g.coordinator.is_some());
        let coordinating: Vec<GroupId> = coordinating.map(|g| g.id).collect();
        for id in coordinating {
            self.coordinate(now, id, Event::TopicsChanged);
        }
    }

    /// Tells a coordinator something, and carries out what follows.
    fn coordinate(&mut self, now: Tick, id: GroupId, event: Event) {
        let group = self.groups.get_mut(&id);
        let Some(mut coordinator) = group.and_then(|group| group.coordinator.take()) else {
            return;
        };
        let mut effects = Vec::new();
        let state = self.groups[&id].partition().expect("it coordinates");
        let moment = Now {
            tick: now,
            wall_ms: self.wall_ms,
            groups: state.groups(),
            topics: self.image_or_empty(),
        };
        match event {
            Event::Request(ticket, request) => {
                coordinator.request(moment, ticket, *request, &mut effects);
            }
            Event::Signal(Signal::Committed(token)) => {
                coordinator.committed(moment, token, &mut effects);
            }
            Event::Signal(Signal::Confirmed(token)) => {
                coordinator.confirmed(moment, token, &mut effects);
            }
            Event::Signal(Signal::Refused(token)) => {
                coordinator.refused(moment, token, &mut effects);
            }
            Event::TopicsChanged => coordinator.topics_changed(moment),
            Event::Tick => coordinator.tick(moment, &mut effects),
        }
        if let Some(at) = coordinator.deadline() {
            self.coordinator_timers.schedule(id, at);
        }
        if let Some(group) = self.groups.get_mut(&id) {
            group.coordinator = Some(coordinator);
        }
        for effect in effects {
            self.carry_out(now, id, effect);
        }
    }

    fn carry_out(&mut self, now: Tick, id: GroupId, effect: Effect) {
        match effect {
            Effect::Answer(ticket, reply) => {
                self.io.answers.push(Answer::Group(ticket, Ok(reply)));
            }
            Effect::Propose(token, command) => {
                let command = PartitionCommand::Groups(command).encode();
                let proposed = self.propose_for_groups(now, id, command);
                let Some(group) = self.groups.get_mut(&id) else {
                    return;
                };
                match proposed {
                    Ok(index) => group.for_commit.push_back(Waiting {
                        index,
                        ticket: Ticket(0),
                        deadline: Tick(u64::MAX),
                        wanted: Wanted::Coordinator(token),
                    }),
                    Err(why) => {
                        tracing::debug!(target: "coordinator", group = id.0, ?why, "not appended");
                        self.io.signals.push((id, Signal::Refused(token)));
                    }
                }
            }
            Effect::Confirm(token) => self.ask_majority(now, id, Then::Tell(token)),
        }
    }

    fn propose_for_groups(
        &mut self,
        now: Tick,
        id: GroupId,
        command: bytes::Bytes,
    ) -> Result<raft::types::Index, Rejection> {
        let Some(group) = self.groups.get(&id) else {
            return Err(self.io.not_here(id));
        };
        self.io.may_append(group, Acks::All)?;
        self.propose(now, id, EntryKind::Command, command)
    }

    /// Sums a log up that holds commands only, where it has grown enough.
    pub(super) fn trim_command_logs(&mut self, now: Tick) {
        let limit = self.config.metadata_trim_entries;
        let is_long = |g: &&Group| {
            let records = g.partition().map_or(1, |s| s.log_end() - s.log_start());
            records == 0 && g.applied().0 >= g.node.base().index.0 + limit
        };
        for id in std::mem::take(&mut self.io.command_logs) {
            let Some(group) = self.groups.get(&id).filter(is_long) else {
                continue;
            };
            let (applied, state) = (group.applied(), group.derived_state());
            self.trim(now, id, applied, state);
        }
    }
}

impl Io {
    /// This broker coordinates the groups no longer: who waits is told to look for another one.
    pub(super) fn resign_coordinator(&mut self, group: &mut Group) {
        Self::forget_tokens(group);
        let Some(coordinator) = group.coordinator.take() else {
            return;
        };
        let mut effects = Vec::new();
        coordinator.resign(&mut effects);
        for effect in effects {
            if let Effect::Answer(ticket, reply) = effect {
                self.answers.push(Answer::Group(ticket, Ok(reply)));
            }
        }
    }
}
