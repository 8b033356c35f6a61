//! Carrying out a group's effects: records to the pipeline, messages to the outbox, news to the state machine.

use std::collections::VecDeque;

use raft::effect::{After, Effect, Persist, Role};
use raft::input::Input;
use raft::types::{Base, GroupId, Index, Tick};
use wal::Record;

use super::coordinate::Signal;
use super::group::{Group, Machine, Waiting, Wanted};
use super::output::{Answer, Halt, Order};
use super::{Io, Shard};
use crate::metadata::Change;
use crate::partition::state::PartitionState;

impl Shard {
    /// Carries out effects in order, and those that follow from them.
    pub(super) fn execute(&mut self, now: Tick, id: GroupId, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        self.io.now = now;
        let mut again = Vec::new();
        loop {
            let mut committed = None;
            for effect in effects.drain(..) {
                match effect {
                    Effect::Committed { index } => committed = Some(index),
                    other => self.io.execute(group, other, &mut again),
                }
            }
            if let Some(index) = committed
                && !self.io.put_off(group, index)
            {
                self.io.committed(group, index, &mut self.changes);
            }
            self.io.answer_early(group);
            let Some(input) = again.pop() else { break };
            group.node.step(now, input, effects);
        }
        if let Some(at) = group.node.deadline() {
            self.io.timers.schedule(id, at);
        }
    }
}

impl Io {
    fn execute(&mut self, group: &mut Group, effect: Effect, again: &mut Vec<Input>) {
        match effect {
            Effect::Persist(persist) => self.persist(group, persist),
            Effect::Send { to, message, after } => {
                let send = (to.node, group.id, message);
                let append = match after {
                    After::Now => None,
                    After::Persisted(seq) => group.append_of(seq),
                };
                let unsent = match append {
                    Some(append) => self.pipeline.send_after(append, send),
                    None => Some(send),
                };
                if let Some((node, id, message)) = unsent {
                    self.outbox.entry(node).or_default().push((id, message));
                }
            }
            Effect::Read {
                to,
                session,
                from,
                until,
                max_bytes,
            } => {
                self.orders.push(Order::ReadEntries {
                    group: group.id,
                    replica: group.me.replica,
                    to,
                    session,
                    from,
                    until,
                    max_bytes,
                });
            }
            Effect::NeedsInstall { to, session } => {
                let state = group.base_state.clone();
                let base = Base {
                    state,
                    ..group.node.base().clone()
                };
                again.push(Input::InstallState { to, session, base });
            }
            Effect::Installed { base, .. } => self.installed(group, &base),
            Effect::Truncated { from } => {
                group.truncated(from);
                let lost = group.take_waiting_from(from);
                self.not_leader(group, lost);
            }
            Effect::Appended { entries } => {
                for entry in &entries {
                    if let Err(bad) = group.appended(entry) {
                        self.halt(group.id, bad.to_string());
                        return;
                    }
                    self.memory.add(group.id, entry.index, entry.payload.len());
                }
            }
            Effect::Role { role, term, leader } => self.role(group, role, term, leader),
            Effect::Membership { .. } => {}
            Effect::ReadReady { id, .. } => self.confirmed(group, id, true),
            Effect::ReadRefused { id } => self.confirmed(group, id, false),
            Effect::Refused { why } => {
                tracing::debug!(target: "raft", group = group.id.0, %why, "refused");
            }
            Effect::Violation { what } => self.halt(group.id, what.to_owned()),
            Effect::Committed { .. } => unreachable!("taken out by the caller"),
        }
    }

    fn halt(&mut self, group: GroupId, what: String) {
        tracing::error!(target: "raft", group = group.0, what, "halting");
        self.orders.push(Order::Halt(Halt::Group { group, what }));
    }

    fn persist(&mut self, group: &mut Group, persist: Persist) {
        let (id, replica) = (group.id, group.me.replica);
        let mut records = Vec::with_capacity(2);
        if let Some(base) = persist.base {
            records.push(Record::Base {
                group: id,
                replica,
                base,
            });
        }
        if let Some(from) = persist.truncate {
            records.push(Record::Truncate {
                group: id,
                replica,
                from,
            });
        }
        if !persist.entries.is_empty() {
            let membership = group.node.membership();
            let others = membership.voters.len().saturating_sub(1);
            self.others_commit |=
                group.node.role() == Role::Leader && others >= membership.quorum();
            records.push(Record::Entries {
                group: id,
                replica,
                entries: persist.entries,
            });
        }
        if let Some(state) = persist.hard_state {
            records.push(Record::HardState {
                group: id,
                replica,
                state,
            });
        }
        let append = self.pipeline.persist(id, persist.seq, records);
        group.persists.push_back((persist.seq, append));
    }

    /// The log was replaced by a leader's base.
    fn installed(&mut self, group: &mut Group, base: &Base) {
        let waiting = group.take_waiting_from(Index(0));
        self.not_leader(group, waiting);
        match &mut group.machine {
            Machine::Partition(state) => match PartitionState::restore(base.index, &base.state) {
                Some(restored) => **state = restored,
                None => self.halt(group.id, "an installed state cannot be read".to_owned()),
            },
            Machine::Metadata(state) => {
                self.image_replaced = true;
                if let Err(why) = state.install(base.index, &base.state) {
                    self.halt(
                        group.id,
                        format!("an installed state cannot be read: {why}"),
                    );
                }
            }
        }
        group.derived = base.index;
        group.shown = base.index;
        group.base_state = base.state.clone();
        self.progress.insert(group.id);
        // What came with it is to be held here too.
        self.stored.insert(group.id);
    }

    /// Everything up to `index` is committed: apply it, answer those who waited.
    pub(super) fn committed(
        &mut self,
        group: &mut Group,
        index: Index,
        changes: &mut VecDeque<Change>,
    ) {
        let before = group.applied();
        group.counts.commits += 1;
        let entries = index.0.saturating_sub(before.0);
        group.counts.entries_committed += entries;
        self.measures.committed(group, self.now, entries);
        match &mut group.machine {
            Machine::Partition(state) => {
                let applied = state.committed(index);
                let log_start = state.log_start();
                if applied.high_watermark || applied.log_start {
                    self.progress.insert(group.id);
                }
                if log_start == state.log_end() {
                    self.command_logs.insert(group.id);
                }
                if applied.log_start {
                    self.trims.insert(group.id);
                    self.advanced.insert(group.id);
                }
                while group.for_commit.front().is_some_and(|w| w.index <= index) {
                    let waiting = group.for_commit.pop_front().expect("just seen");
                    self.answer(group.id, &waiting, log_start);
                }
                if applied.stored {
                    self.note_stored(group);
                }
                // NB: a start commits changes and the news of the snapshot that holds them at once.
                let changed = group.partition().map(PartitionState::changed);
                if applied.changed && changed > Some(group.covered()) {
                    self.note_unstored(group, applied.bytes);
                }
            }
            Machine::Metadata(state) => {
                let (waiting, answers) = (&mut group.for_commit, &mut self.answers);
                state.committed(index, |at, outcome| {
                    while let Some(first) = waiting.pop_front_if(|w| w.index <= at) {
                        assert!(
                            first.index == at,
                            "each command is waited for at its own index"
                        );
                        answers.push(Answer::Applied(first.ticket, Ok(outcome.clone())));
                    }
                    changes.extend(outcome.unwrap_or_default());
                });
                self.progress.insert(group.id);
            }
        }
    }

    /// Answers those who wait for less than the commit: the own sync, or (of a relaxed topic) a majority's receipt.
    pub(super) fn answer_early(&mut self, group: &mut Group) {
        if self.hold.is_some() || group.for_sync.is_empty() && group.for_receipt.is_empty() {
            return;
        }
        let (durable, received) = (group.node.durable_index(), group.node.received_index());
        let log_start = group.partition().map_or(0, PartitionState::log_start);
        if group
            .for_receipt
            .front()
            .is_some_and(|w| w.index <= received)
        {
            group.acked_early = received;
        }
        for (queue, reached) in [
            (&mut group.for_sync, durable),
            (&mut group.for_receipt, received),
        ] {
            while let Some(waiting) = queue.pop_front_if(|w| w.index <= reached) {
                self.answer(group.id, &waiting, log_start);
            }
        }
    }

    fn role(
        &mut self,
        group: &mut Group,
        role: Role,
        term: raft::types::Term,
        leader: Option<raft::types::ReplicaId>,
    ) {
        tracing::debug!(target: "raft", group = group.id.0, term = term.0, ?role, ?leader, "role");
        self.progress.insert(group.id);
        self.measure_role(group, role, leader);
        count_role(group, role);
        if role == Role::Leader {
            group.in_sync.clear();
            // A new leader knows nobody's match: nobody lags before he had the time to answer.
            group.lag_marks = [(Tick(0), Index(0)); 2];
            self.refresh_in_sync(group, Tick(0), 0);
            group.copies.asked_at = None;
            // What the last leader had begun is begun again.
            group.is_noted = false;
            group.tailed = [Index(0); 2];
            if group.partition().is_some_and(PartitionState::is_unstored) {
                self.note_unstored(group, 0);
            } else {
                // What it once lacked came with a base.
                group.unstored_since = None;
            }
            return;
        }
        self.leaders.resign(group.id);
        self.resign_coordinator(group);
        if let Some(member) = leader.and_then(|leader| group.node.membership().member(leader)) {
            self.leaders.follow(group.id, term, member.node);
        }
        let waiting = group.take_waiting_from(Index(0));
        self.not_leader(group, waiting);
    }

    /// Leadership is lost: what these wait for may or may not be committed by the next leader.
    fn not_leader(&mut self, group: &Group, waiting: Vec<Waiting>) {
        for waiting in waiting {
            let why = self.rejection(group, protocol::error_code::ErrorCode::NotLeaderOrFollower);
            self.refuse(&waiting, why);
        }
    }
}

fn count_role(group: &mut Group, role: Role) {
    if role == group.was {
        return;
    }
    let counts = &mut group.counts;
    counts.role_changes += 1;
    match (group.was, role) {
        (_, Role::Leader) => counts.elections_won += 1,
        (Role::Candidate, Role::Follower) => counts.elections_lost += 1,
        _ => {}
    }
    group.was = role;
}

impl Io {
    /// What somebody waited for has come.
    fn answer(&mut self, id: GroupId, waiting: &Waiting, log_start: i64) {
        match &waiting.wanted {
            Wanted::Produce(produced) => {
                let produced = crate::broker::Produced {
                    log_start_offset: log_start,
                    ..*produced
                };
                self.answers
                    .push(Answer::Produced(waiting.ticket, Ok(produced)));
            }
            Wanted::LogStart => self
                .answers
                .push(Answer::LogStart(waiting.ticket, Ok(log_start))),
            Wanted::Coordinator(token) => self.signals.push((id, Signal::Committed(*token))),
            Wanted::Command => unreachable!("partitions take no metadata commands"),
        }
    }

    /// The negative answer to whatever somebody waits for.
    pub(super) fn refuse(&mut self, waiting: &Waiting, why: crate::broker::Rejection) {
        self.answers.push(match &waiting.wanted {
            Wanted::Produce(_) => Answer::Produced(waiting.ticket, Err(why)),
            Wanted::LogStart => Answer::LogStart(waiting.ticket, Err(why)),
            Wanted::Command => Answer::Applied(waiting.ticket, Err(why)),
            // It resigns when leadership is lost, and answers everybody itself.
            Wanted::Coordinator(_) => return,
        });
    }
}
