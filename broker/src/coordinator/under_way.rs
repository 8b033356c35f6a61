//! Who waits for the log: answers that leave when a proposal is committed, or when a majority has confirmed the leader.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::Tick;

use super::classic::Replaced;
use super::command::GroupCommand;
use super::effect::{Effect, Token};
use super::reply::GroupReply;
use crate::shard::Ticket;

/// What a group does once its proposal is committed or refused.
#[derive(Debug)]
pub(super) enum Step {
    /// The leader of the group has assigned.
    Assigned {
        /// What each member gets.
        assignments: BTreeMap<String, Bytes>,
    },
    /// The last member is gone.
    Emptied,
    /// A static member came back under a new id.
    Replaced(Box<Replaced>),
    /// The group is to be forgotten.
    Deleted,
    /// A group of the consumer protocol changes.
    Changed,
    /// A group of the consumer protocol, whose members all speak the classic one, is of that again.
    Downgraded,
}

/// A proposal that is not yet committed.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Whose.
    pub(super) group: String,
    /// Sent when it is committed.
    pub(super) answers: Vec<(Ticket, GroupReply)>,
    /// None when the log has all that there is to know.
    pub(super) step: Option<Step>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    next: u64,
    proposals: BTreeMap<Token, Waiting>,
    /// How many proposals of each group; never 0.
    by_group: BTreeMap<String, usize>,
    /// The confirmation that was asked for, and who waits for it.
    asked: Option<(Token, Vec<(Ticket, GroupReply)>)>,
    /// Who came after it was asked for: a confirmation says nothing of later moments, they wait for the next one.
    held: Vec<(Ticket, GroupReply)>,
}

impl UnderWay {
    /// NB: the moment is part of the tokens, so that a late answer to an earlier coordinator means nothing to this one.
    pub(super) fn new(now: Tick) -> Self {
        Self {
            next: now.0 << 20,
            ..Self::default()
        }
    }

    /// Answers when a majority has confirmed the leader as of now.
    pub(super) fn hold(&mut self, ticket: Ticket, reply: GroupReply, out: &mut Vec<Effect>) {
        self.held.push((ticket, reply));
        self.maybe_ask(out);
    }

    /// Proposes a command of this group.
    pub(super) fn propose(
        &mut self,
        command: GroupCommand,
        waiting: Waiting,
        out: &mut Vec<Effect>,
    ) -> Token {
        let token = self.token();
        *self.by_group.entry(waiting.group.clone()).or_default() += 1;
        self.proposals.insert(token, waiting);
        out.push(Effect::Propose(token, command));
        token
    }

    /// Answers with this proposal, which is not settled yet.
    pub(super) fn attach(&mut self, token: Token, ticket: Ticket, reply: GroupReply) {
        let waiting = self.proposals.get_mut(&token);
        let waiting = waiting.expect("a group forgets its proposal when the proposal is settled");
        waiting.answers.push((ticket, reply));
    }

    /// A proposal is settled.
    pub(super) fn take(&mut self, token: Token) -> Option<Waiting> {
        let waiting = self.proposals.remove(&token)?;
        let count = self.by_group.get_mut(&waiting.group);
        let count = count.expect("each proposal is counted with its group");
        *count -= 1;
        if *count == 0 {
            self.by_group.remove(&waiting.group);
        }
        Some(waiting)
    }

    /// Whether this proposal is not yet settled.
    pub(super) fn is_open(&self, token: Token) -> bool {
        self.proposals.contains_key(&token)
    }

    /// The oldest proposal that is not yet settled.
    pub(super) fn oldest(&self) -> Option<Token> {
        self.proposals.first_key_value().map(|(token, _)| *token)
    }

    /// Every proposal so far has this token or an earlier one.
    pub(super) fn last(&self) -> Token {
        Token(self.next)
    }

    /// Whether a proposal of this group is not yet settled.
    pub(super) fn is_proposing(&self, group: &str) -> bool {
        self.by_group.contains_key(group)
    }

    /// Whether one is that the group goes on with a step.
    pub(super) fn is_stepping(&self, group: &str) -> bool {
        let proposals = self.proposals.values();
        let mut steps = proposals.filter(|waiting| waiting.step.is_some());
        self.is_proposing(group) && steps.any(|waiting| waiting.group == group)
    }

    /// A majority has confirmed.
    pub(super) fn confirmed(&mut self, token: Token, out: &mut Vec<Effect>) {
        let Some((_, answers)) = self.asked.take_if(|(asked, _)| *asked == token) else {
            return;
        };
        out.extend(
            answers
                .into_iter()
                .map(|(t, reply)| Effect::Answer(t, reply)),
        );
        self.maybe_ask(out);
    }

    /// Nobody confirmed in time.
    pub(super) fn unconfirmed(&mut self, token: Token, out: &mut Vec<Effect>) {
        let Some((_, answers)) = self.asked.take_if(|(asked, _)| *asked == token) else {
            return;
        };
        out.extend(answers.into_iter().map(refusal));
        self.maybe_ask(out);
    }

    /// Everybody who waits.
    pub(super) fn into_tickets(self) -> impl Iterator<Item = Ticket> {
        let proposals = self
            .proposals
            .into_values()
            .flat_map(|waiting| waiting.answers);
        let asked = self.asked.into_iter().flat_map(|(_, answers)| answers);
        let all = proposals.chain(asked).chain(self.held);
        all.map(|(ticket, _)| ticket)
    }

    fn maybe_ask(&mut self, out: &mut Vec<Effect>) {
        if self.asked.is_none() && !self.held.is_empty() {
            let token = self.token();
            self.asked = Some((token, std::mem::take(&mut self.held)));
            out.push(Effect::Confirm(token));
        }
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        Token(self.next)
    }
}

/// The answer of one who does not know whether it is still the coordinator.
///
/// NB: for a fetch it is `NotCoordinator`, as Kafka does it: older Java clients give up on the other code there.
pub(super) fn refusal((ticket, reply): (Ticket, GroupReply)) -> Effect {
    let code = match reply {
        GroupReply::Fetched(_) => ErrorCode::NotCoordinator,
        _ => ErrorCode::CoordinatorNotAvailable,
    };
    Effect::Answer(ticket, GroupReply::failed(code))
}
