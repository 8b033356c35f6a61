//! Clients at work: producers that send and are answered.

use broker::broker::{Produced, Rejection};
use broker::shard::Answer;
use raft::types::{GroupId, Tick};

use crate::client::{Kind, Operation, Sending, Waiting};
use crate::history::Sent;
use crate::world::{Outcome, World};

/// How long a client waits for an answer, in ms.
const ANSWER_MS: u64 = 400;
/// What it tells the broker, in ms.
const REQUEST_MS: u64 = 300;
/// Wait after a refusal, in ms.
const RETRY_MS: u64 = 20;
/// Chance that an idle client begins something, in a thousand.
const BEGIN_PER_MILLE: u64 = 600;
/// Chance that an answer is lost on its way to the client, in a thousand.
const ANSWER_LOST_PER_MILLE: u64 = 50;

impl World {
    /// A client acts: begins operations, sends what is to be sent, gives up on what was not answered.
    pub(crate) fn client(&mut self, at: usize) -> Outcome {
        self.clients[at].acts_at = self.now + self.random.between(1, 40);
        for group in self.groups.clone() {
            if self.chaos && self.random.chance(BEGIN_PER_MILLE) {
                self.begin(at, group);
            }
            self.send_operation(at, group)?;
            self.ask_for_end(group)?;
        }
        Ok(())
    }

    /// Somebody asks a broker that takes itself for the leader, one after the other, where a partition ends.
    fn ask_for_end(&mut self, group: GroupId) -> Outcome {
        let takes_itself = |at: &usize| {
            let up = self.nodes[*at].up.as_ref();
            up.is_some_and(|up| up.shard.offsets(group).is_ok())
        };
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(takes_itself).collect();
        for at in leaders {
            let acked = self.history.acked_end(group);
            let ticket = self.ticket(at, Some(Waiting::End { group, acked }));
            let (now, deadline) = (Tick(self.now), Tick(self.now + REQUEST_MS));
            if let Some(up) = &mut self.nodes[at].up {
                up.shard.confirm_leader(now, group, deadline, ticket);
            }
            self.flush(at)?;
        }
        Ok(())
    }

    /// It says so as the handler of `ListOffsets` does: with what it has when it was confirmed.
    fn end_told(&mut self, at: usize, group: GroupId, acked: i64) -> Outcome {
        let up = self.nodes[at].up.as_ref();
        let Some(Ok(offsets)) = up.map(|up| up.shard.offsets(group)) else {
            return Ok(());
        };
        self.report.counts.ends_told += 1;
        let end = offsets.high_watermark;
        if end < acked {
            let id = self.nodes[at].id;
            return Err(format!(
                "{group}: {id} says that it ends at {end}, after what ends at {acked} was acknowledged"
            ));
        }
        Ok(())
    }

    /// Begins an operation of a client, if it has none under way.
    pub(crate) fn begin(&mut self, at: usize, group: GroupId) {
        if self.clients[at].open.contains_key(&group) {
            return;
        }
        self.values += 1;
        let count = u8::try_from(self.random.between(1, 3)).expect("small");
        self.clients[at].begin(group, self.values, count);
        let sent = Sent {
            group,
            client: at,
            kind: self.clients[at].kind,
            count,
            begun_at: self.now,
        };
        self.history.sent.insert(self.values, sent);
    }

    fn send_operation(&mut self, at: usize, group: GroupId) -> Outcome {
        let now = self.now;
        let client = &mut self.clients[at];
        let Some(operation) = client.open.get_mut(&group) else {
            return Ok(());
        };
        if operation.sent && operation.deadline > now {
            return Ok(());
        }
        if operation.sent && !client.kind.is_strong() {
            client.open.remove(&group);
            return Ok(());
        }
        let Some(leader) = self.ask_for_leader(group) else {
            return Ok(());
        };
        let Some(operation) = self.clients[at].open.get_mut(&group) else {
            return Ok(());
        };
        (operation.sent, operation.deadline) = (true, now + ANSWER_MS);
        let operation = *operation;
        self.produce(leader, at, group, operation)
    }

    /// Whom some broker takes for the leader, if that is up.
    pub(crate) fn ask_for_leader(&mut self, group: GroupId) -> Option<usize> {
        let up = (0..self.nodes.len()).filter(|n| self.nodes[*n].up.is_some());
        let &asked = self.random.pick(&up.collect::<Vec<_>>())?;
        let leader = self.nodes[asked].up.as_ref()?.shard.leader(group)?;
        let at = self.place_of(leader.node)?;
        self.nodes[at].up.is_some().then_some(at)
    }

    pub(crate) fn produce(
        &mut self,
        leader: usize,
        client: usize,
        group: GroupId,
        operation: Operation,
    ) -> Outcome {
        let batch = self.clients[client].batch(&operation, self.plan.padding_max);
        let acks = self.clients[client].kind.acks();
        let sending = Sending {
            client,
            group,
            operation,
            node: self.nodes[leader].id,
        };
        let ticket = self.ticket(leader, Some(Waiting::Produce(sending)));
        let (now, deadline) = (Tick(self.now), Tick(self.now + REQUEST_MS));
        if let Some(up) = &mut self.nodes[leader].up {
            up.shard
                .produce(now, 0, group, batch, acks, deadline, ticket);
        }
        self.flush(leader)
    }

    /// An answer of a broker. Each ticket is answered once.
    pub(crate) fn answered(&mut self, at: usize, answer: Answer) -> Outcome {
        let (Answer::Produced(ticket, _)
        | Answer::LogStart(ticket, _)
        | Answer::Confirmed(ticket, _)
        | Answer::Group(ticket, _)
        | Answer::Applied(ticket, _)) = &answer;
        let (id, life) = (self.nodes[at].id, self.nodes[at].life);
        let Some(waiting) = self.waiting.remove(&(id, life, *ticket)) else {
            return Err(format!(
                "{id}: {ticket:?} was answered twice, or never asked"
            ));
        };
        match (waiting, answer) {
            (Some(Waiting::Produce(sending)), Answer::Produced(_, result)) => {
                self.produced(at, &sending, result)
            }
            (Some(Waiting::Cut(id)), Answer::Confirmed(_, result)) => {
                self.cut_confirmed(id, result.is_ok());
                Ok(())
            }
            (Some(Waiting::End { group, acked }), Answer::Confirmed(_, Ok(()))) => {
                self.end_told(at, group, acked)
            }
            (Some(Waiting::Group(asked)), Answer::Group(_, reply)) => {
                self.group_answered(at, asked, reply)
            }
            _ => Ok(()),
        }
    }

    fn produced(
        &mut self,
        at: usize,
        waiting: &Sending,
        result: Result<Produced, Rejection>,
    ) -> Outcome {
        self.note(0xE0 + waiting.operation.value);
        let (group, operation) = (waiting.group, waiting.operation);
        self.history.produced(group, &operation, &result)?;
        if let Ok(produced) = &result
            && self.clients[waiting.client].kind.is_strong()
        {
            self.is_committed(at, group, &operation, produced)?;
            let place = (group, produced.base_offset);
            self.history.acked_at.entry(place).or_insert(self.now);
        }
        if self.chaos && self.random.chance(ANSWER_LOST_PER_MILLE) {
            return Ok(());
        }
        let now = self.now;
        let client = &mut self.clients[waiting.client];
        let open = client.open.get_mut(&group);
        let Some(open) = open.filter(|o| o.value == operation.value) else {
            return Ok(());
        };
        if result.is_ok() || !client.kind.is_strong() {
            client.open.remove(&group);
            if let (Kind::Idempotent(_), Ok(_)) = (client.kind, result) {
                client.last_acked.insert(group, operation);
            }
        } else {
            open.deadline = now + RETRY_MS;
        }
        Ok(())
    }

    /// At the moment of an acknowledgement with acks=all the batch lies below the leader's high watermark.
    fn is_committed(
        &self,
        at: usize,
        group: GroupId,
        operation: &Operation,
        produced: &Produced,
    ) -> Outcome {
        let Some(up) = &self.nodes[at].up else {
            return Ok(());
        };
        let status = up.shard.status().find(|s| s.group == group);
        let high = status.map_or(0, |s| s.offsets.1);
        let end = produced.base_offset + i64::from(operation.count);
        if end > high {
            return Err(format!(
                "{group}: {} was acknowledged up to {end} with the high watermark at {high}",
                operation.value
            ));
        }
        Ok(())
    }
}
