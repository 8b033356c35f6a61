//! Appending at the leader: checks, duplicates, offsets, proposal.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use protocol::error_code::ErrorCode;
use raft::input::Refused;
use raft::types::{Entry, EntryKind, GroupId, Index, Tick};

use super::confirm::Then;
use super::group::{Group, Waiting, Wanted};
use super::output::{Answer, Ticket};
use super::{Io, Shard};
use crate::broker::{Acks, Produced, Rejection};
use crate::partition::command::PartitionCommand;
use crate::partition::producers::Verdict;
use crate::partition::state::BatchFacts;
use crate::topic_config::TimestampType;

/// What became of a proposal.
enum Step {
    /// Wait for this index.
    Wait(Index, Produced),
    /// It is there already, committed.
    Done(Produced),
    /// The producer is wrong, if this is the leader.
    Refuse(ErrorCode),
}

impl Shard {
    /// Appends one batch, whose bytes were validated. `wall_ms` is the wall clock, for `LogAppendTime`.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call a batch: a struct would say the same twice"
    )]
    pub fn produce(
        &mut self,
        now: Tick,
        wall_ms: i64,
        id: GroupId,
        batch: Bytes,
        acks: Acks,
        deadline: Tick,
        ticket: Ticket,
    ) {
        match self.try_produce(now, wall_ms, id, batch, acks) {
            Err(why) => self.io.answers.push(Answer::Produced(ticket, Err(why))),
            Ok(Step::Done(produced)) => {
                self.io.answers.push(Answer::Produced(ticket, Ok(produced)));
            }
            Ok(Step::Refuse(code)) => {
                let then = Then::Refuse {
                    ticket,
                    deadline,
                    code,
                };
                self.ask_majority(now, id, then);
            }
            Ok(Step::Wait(_, produced)) if acks == Acks::None => {
                self.io.answers.push(Answer::Produced(ticket, Ok(produced)));
            }
            Ok(Step::Wait(index, produced)) => {
                let waiting = Waiting {
                    index,
                    ticket,
                    deadline,
                    wanted: Wanted::Produce(produced),
                };
                let group = self
                    .groups
                    .get_mut(&id)
                    .expect("it has just accepted a batch");
                wait(group.queue_for(acks), waiting);
                // A duplicate of what is there already; or one replica, which need not wait.
                self.io.answer_early(group);
            }
        }
    }

    fn try_produce(
        &mut self,
        now: Tick,
        wall_ms: i64,
        id: GroupId,
        batch: Bytes,
        acks: Acks,
    ) -> Result<Step, Rejection> {
        let Some(group) = self.groups.get_mut(&id) else {
            return Err(self.io.not_here(id));
        };
        self.io.may_append(group, acks)?;
        let state = group.partition().ok_or_else(|| self.io.not_here(id))?;
        let Some(facts) = BatchFacts::of(&batch) else {
            return Err(self.io.rejection(group, ErrorCode::CorruptMessage));
        };
        let mut produced = Produced {
            base_offset: state.log_end(),
            log_append_time_ms: -1,
            log_start_offset: state.log_start(),
        };
        if let Some(mark) = &facts.mark {
            match state.judge(mark) {
                Verdict::Next => {}
                Verdict::Duplicate { base_offset } => {
                    produced.base_offset = base_offset;
                    let pending = state.pending_index(base_offset);
                    return Ok(pending.map_or(Step::Done(produced), |i| Step::Wait(i, produced)));
                }
                Verdict::OutOfOrder => {
                    return Ok(Step::Refuse(ErrorCode::OutOfOrderSequenceNumber));
                }
                Verdict::Fenced => {
                    return Ok(Step::Refuse(ErrorCode::InvalidProducerEpoch));
                }
            }
        }
        let epoch = i32::try_from(group.node.term().0).expect("terms stay below 2^31");
        // The frame's bytes are shared with other slices of it: this is the one copy of the batch.
        let mut bytes = batch
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        protocol::record_batch::patch(&mut bytes, produced.base_offset, epoch);
        if group.config.timestamp_type == TimestampType::LogAppendTime {
            protocol::record_batch::set_log_append_time(&mut bytes, wall_ms);
            produced.log_append_time_ms = wall_ms;
        }
        let (size, span) = (bytes.len() as u64, facts.records());
        let index = self.propose(now, id, EntryKind::Records, bytes.freeze())?;
        let group = self
            .groups
            .get_mut(&id)
            .expect("it has just accepted a batch");
        group.counts.bytes_in += size;
        group.counts.records_in += span;
        Ok(Step::Wait(index, produced))
    }

    /// Moves the log start forward through the group's log; -1 means the high watermark.
    pub fn advance_log_start(
        &mut self,
        now: Tick,
        id: GroupId,
        before: i64,
        deadline: Tick,
        ticket: Option<Ticket>,
    ) {
        let result = self.try_advance(now, id, before);
        let Some(ticket) = ticket else { return };
        match result {
            Err(why) => self.io.answers.push(Answer::LogStart(ticket, Err(why))),
            Ok(None) => {
                let group = self.groups.get(&id).and_then(Group::partition);
                let start = group.map_or(0, |state| state.log_start());
                self.io.answers.push(Answer::LogStart(ticket, Ok(start)));
            }
            Ok(Some(index)) => {
                let waiting = Waiting {
                    index,
                    ticket,
                    deadline,
                    wanted: Wanted::LogStart,
                };
                let group = self
                    .groups
                    .get_mut(&id)
                    .expect("it has just accepted a command");
                wait(&mut group.for_commit, waiting);
            }
        }
    }

    fn try_advance(
        &mut self,
        now: Tick,
        id: GroupId,
        before: i64,
    ) -> Result<Option<Index>, Rejection> {
        let Some(group) = self.groups.get_mut(&id) else {
            return Err(self.io.not_here(id));
        };
        let Some(state) = group.partition() else {
            return Err(self.io.not_here(id));
        };
        if !group.is_leader() {
            return Err(self.io.rejection(group, ErrorCode::NotLeaderOrFollower));
        }
        // NB: until then its high watermark may be behind what clients have seen.
        if !group.node.is_leader_established() {
            return Err(self.io.rejection(group, ErrorCode::OffsetNotAvailable));
        }
        let offset = if before == -1 {
            state.high_watermark()
        } else {
            before
        };
        if offset < 0 || offset > state.high_watermark() {
            return Err(self.io.rejection(group, ErrorCode::OffsetOutOfRange));
        }
        if offset <= state.log_start() {
            return Ok(None);
        }
        let command = PartitionCommand::AdvanceLogStart(offset).encode();
        self.propose(now, id, EntryKind::Command, command).map(Some)
    }

    /// Proposes an entry; it goes out with the next flush.
    pub(super) fn propose(
        &mut self,
        now: Tick,
        id: GroupId,
        kind: EntryKind,
        payload: Bytes,
    ) -> Result<Index, Rejection> {
        let Some(group) = self.groups.get_mut(&id) else {
            return Err(self.io.not_here(id));
        };
        let most = self.config.entry_bytes_max;
        if payload.len() as u64 > most {
            let mut why = self.io.rejection(group, ErrorCode::MessageTooLarge);
            why.message = format!("{} bytes, an entry has at most {most}", payload.len());
            return Err(why);
        }
        let mut effects = std::mem::take(&mut self.effects);
        let proposed = group.node.propose(now, kind, payload.clone());
        if let Ok(index) = proposed {
            self.proposed.insert(id);
            let entry = Entry {
                index,
                term: group.node.term(),
                kind,
                payload,
            };
            let shown = group.appended(&entry);
            shown.expect("what the leader itself has made continues its log");
        }
        self.execute(now, id, &mut effects);
        self.effects = effects;
        let group = self.groups.get(&id).expect("a proposal removes no group");
        proposed.map_err(|refused| {
            let code = match refused {
                Refused::NotLeader { .. } | Refused::Transferring => ErrorCode::NotLeaderOrFollower,
                Refused::Busy => ErrorCode::NotEnoughReplicas,
                Refused::ChangeUnderWay | Refused::NotCaughtUp(_) | Refused::Invalid(_) => {
                    unreachable!("only membership changes are refused so")
                }
            };
            self.io.rejection(group, code)
        })
    }

    /// Answers with a time-out those who waited too long. What they wait for may still be committed.
    pub(super) fn expire_answers(&mut self, now: Tick) {
        for group in self.groups.values_mut() {
            self.io.give_up(group, now);
            for queue in [
                &mut group.for_commit,
                &mut group.for_receipt,
                &mut group.for_sync,
            ] {
                if !queue.iter().any(|w| w.deadline <= now) {
                    continue;
                }
                let (late, rest): (VecDeque<_>, VecDeque<_>) = std::mem::take(queue)
                    .into_iter()
                    .partition(|w| w.deadline <= now);
                *queue = rest;
                for waiting in late {
                    let why = Rejection {
                        code: ErrorCode::RequestTimedOut,
                        message: "appended, but not committed in time".to_owned(),
                        leader: None,
                    };
                    self.io.refuse(&waiting, why);
                }
            }
        }
    }
}

/// Queues by index: a duplicate of a pending batch waits for an index in the middle.
fn wait(queue: &mut VecDeque<Waiting>, waiting: Waiting) {
    let at = queue.partition_point(|w| w.index <= waiting.index);
    queue.insert(at, waiting);
}

impl Io {
    /// Whether a leader may take records now: leadership, room, and for acks=all a
    /// majority in contact and enough voters in sync.
    pub(super) fn may_append(&self, group: &Group, acks: Acks) -> Result<(), Rejection> {
        if !group.is_leader() {
            return Err(self.rejection(group, ErrorCode::NotLeaderOrFollower));
        }
        if self.disk_full {
            let mut why = self.rejection(group, ErrorCode::KafkaStorageError);
            why.message = "the disk is full: free space or delete records".to_owned();
            return Err(why);
        }
        let needed = group
            .config
            .min_insync_replicas
            .max(group.node.membership().quorum());
        if acks == Acks::All && group.in_sync.len() < needed {
            let mut why = self.rejection(group, ErrorCode::NotEnoughReplicas);
            why.message = format!("{} voters in sync, {needed} needed", group.in_sync.len());
            return Err(why);
        }
        Ok(())
    }

    /// A refusal with what is known of the group's leader.
    pub(super) fn rejection(&self, group: &Group, code: ErrorCode) -> Rejection {
        let leader = self.leaders.get(group.id).filter(|l| l.node != self.node);
        Rejection {
            code,
            message: String::new(),
            leader,
        }
    }

    /// This broker has no replica of that group.
    pub(super) fn not_here(&self, id: GroupId) -> Rejection {
        let leader = self.leaders.get(id);
        let message = "this broker has no replica of the partition".to_owned();
        Rejection {
            code: ErrorCode::NotLeaderOrFollower,
            message,
            leader,
        }
    }
}
