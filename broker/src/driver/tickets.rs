//! Who waits for which answer of the shard.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::control::Applied;
use crate::broker::{Produced, Rejection};
use crate::coordinator::reply::GroupReply;
use crate::shard::{Answer, Ticket};

/// What was asked, with where the answer goes.
pub enum Asked {
    /// A produce.
    Produce(Box<dyn FnOnce(Result<Produced, Rejection>)>),
    /// A log start advance.
    LogStart(oneshot::Sender<Result<i64, Rejection>>),
    /// Whether a partition is led here.
    Confirm(oneshot::Sender<Result<(), Rejection>>),
    /// A request to a coordinator.
    Group(oneshot::Sender<Result<GroupReply, Rejection>>),
    /// A metadata command.
    Command(Box<dyn FnOnce(Applied)>),
}

/// The open questions.
#[derive(Default)]
pub struct Tickets {
    last: u64,
    open: HashMap<Ticket, Asked>,
}

impl Tickets {
    /// A new ticket.
    pub fn issue(&mut self, asked: Asked) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.open.insert(ticket, asked);
        ticket
    }

    /// Takes who waits for this answer.
    pub fn redeem(&mut self, answer: &Answer) -> Option<Asked> {
        let (Answer::Produced(ticket, _)
        | Answer::LogStart(ticket, _)
        | Answer::Confirmed(ticket, _)
        | Answer::Group(ticket, _)
        | Answer::Applied(ticket, _)) = answer;
        self.open.remove(ticket)
    }

    /// How many questions are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl Asked {
    /// Hands the answer over. A receiver that went away does not mind.
    ///
    /// # Panics
    /// When the answer is to another kind of question: tickets are never reused.
    pub fn answer(self, answer: Answer) {
        match (self, answer) {
            (Self::Produce(done), Answer::Produced(_, result)) => done(result),
            (Self::LogStart(sender), Answer::LogStart(_, result)) => {
                let _ = sender.send(result);
            }
            (Self::Confirm(sender), Answer::Confirmed(_, result)) => {
                let _ = sender.send(result);
            }
            (Self::Command(done), Answer::Applied(_, result)) => done(result),
            (Self::Group(sender), Answer::Group(_, result)) => {
                let _ = sender.send(result);
            }
            _ => unreachable!("an answer of another kind than the question"),
        }
    }
}
