//! Consumer groups: one coordinator per partition of `__consumer_offsets`, without I/O.
//!
//! Two halves. What must survive ([`state::Groups`]: memberships and committed offsets) is a state machine over the
//! partition's Raft log: every replica applies [`command::GroupCommand`]s, a new leader has it at once, and a state
//! record stands for the log below it. What is only of the moment ([`core::Coordinator`]: who joins, who is late, who
//! waits for whom) lives at the leader alone and begins anew with each leader.
//!
//! The core is asked with [`request::GroupRequest`]s and answers with [`effect::Effect`]s. Whatever it tells a client
//! rests on the log: a rebalance, a commit and a removal are answered when they are committed, a read when a majority
//! has confirmed the leader. So two coordinators of one group never both answer.
//!
//! | file | |
//! |---|---|
//! | `request`, `reply` | what clients ask and are told, in Kafka's terms, of any version |
//! | `effect` | what the core wants done |
//! | `state`, `command` | what is replicated |
//! | `core` | the coordinator: routes requests, answers of the log, and timers |
//! | `classic/` | one group with members, of the classic protocol: join, rebalance, sync, leave |
//! | `consumer/` | one group with members, of the consumer protocol (KIP-848) |
//! | `catalog` | the topics of the cluster, for what the broker assigns itself |
//! | `offsets`, `listing`, `expiry`, `forget` | what needs no members |
//! | `rebalances`, `figures` | why members had to join anew, and what else operators see |
//! | `under_way`, `timers`, `member_ids` | who waits for the log, who is late, what newcomers are called |
//! | `subscription` | the topics of a member of a consumer group |

pub mod catalog;
mod classic;
mod codec;
pub mod command;
pub mod consumer;
mod context;
pub mod core;
pub mod effect;
mod expiry;
pub mod figures;
mod forget;
mod listing;
mod member_ids;
mod migration;
mod offsets;
pub mod rebalances;
pub mod rebirth;
pub mod reply;
pub mod request;
pub mod state;
mod subscription;
#[cfg(test)]
mod tests;
mod timers;
mod under_way;

use raft::types::GroupId;

use crate::metadata::Image;

/// The internal topic whose partitions hold the groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The Raft group whose leader coordinates a group; None while there have never been groups in the cluster.
#[must_use]
pub fn log_of(image: &Image, group: &str) -> Option<GroupId> {
    let partitions = &image.topic_named(OFFSETS_TOPIC)?.partitions;
    let count = i32::try_from(partitions.len()).ok()?;
    let number = usize::try_from(partition_of(group, count)).ok()?;
    partitions.get(number).copied()
}

/// The partition of [`OFFSETS_TOPIC`] that a group belongs to: Kafka's hash, so that tools agree.
#[must_use]
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let mut hash = 0_i32;
    for unit in group.encode_utf16() {
        hash = hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    }
    // NB: Java's absolute value, not the hash without its sign bit.
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}
