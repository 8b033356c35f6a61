//! What the coordinator's core wants done.

use super::command::GroupCommand;
use super::reply::GroupReply;
use crate::shard::Ticket;

/// The core's name for something that it waits for: a proposal's commit, or a confirmation. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// In the order in which it is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a request. Each ticket is answered exactly once.
    Answer(Ticket, GroupReply),
    /// Append a command to the partition's log. Answered by `committed` once it is applied, or by `refused`.
    Propose(Token, GroupCommand),
    /// Ask a majority whether this is still the leader. Answered by `confirmed`, or by `refused`.
    Confirm(Token),
}
