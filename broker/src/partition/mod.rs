//! A partition's state machine: what Kafka knows of a log, derived from the group's entries. Pure.
//!
//! [`state::PartitionState`] is fed with what Raft does (appended, truncated, committed) and answers what handlers
//! ask. Entries count twice: when they are appended (offsets are given, duplicates are known) and when they are
//! committed (consumers may see them). Truncation undoes the first, nothing undoes the second.

pub mod command;
pub mod epochs;
pub mod max_timestamp;
pub mod producers;
pub mod state;
pub mod stored;

#[cfg(test)]
mod tests;
