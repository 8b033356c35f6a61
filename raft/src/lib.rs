//! Raft decisions, and nothing else: no clock, random number generator, file, socket, thread or
//! channel.
//!
//! One [`types`] vocabulary, [`input`] in, [`effect`] out. Start reading at [`node`] (one group
//! member) and its `receive`, then the roles: `follower`, `candidate`, `leader`. Their
//! collaborators: `log` (what the group agreed on), `durability` (what is on disk), [`progress`]
//! and `replication` (feeding followers), [`quorum`], [`membership`] and `change`, `transfer`,
//! `read_index`, `quiesce`.
//!
//! Invariants:
//! - A message that asserts durable state names the persist that it waits for ([`effect::After`]).
//! - At most one leader per term; a leader never overwrites its own log; commit counts only entries
//!   of its own term, synced on a majority of each half of the membership in force, the leader's
//!   own disk like any other.
//! - base <= commit <= last. Nothing committed is ever truncated: a message that asks for it is a
//!   [`effect::Effect::Violation`], and changes nothing.
//! - A leader appends no membership entry before it has committed an entry of its own term, and no
//!   second one before the first is committed.
//! - Learners never count and never campaign; a member that asks for votes gets an answer even from
//!   one that still takes itself for a learner.
//! - The same inputs give the same effects, byte for byte.
//!
//! What the driver owes:
//! - [`node::Node::step`] for each event, `Input::Tick` at [`node::Node::deadline`]; after
//!   proposals one [`node::Node::flush`].
//! - Effects in order. A `Send` that waits for a persist leaves when that and all before it are
//!   synced; what was written and not synced may be lost in a crash, but only as a suffix.
//! - An answer to every `Read` and `NeedsInstall`; failure is an answer.
//! - `Committed` may come before the `Persist` of the same entries: they are in
//!   [`node::Node::tail`] by then.
//! - `NodeDown` and `NodeUp` as it sees them. They may be wrong or late, which costs time, never
//!   safety; but silent groups rest on them: a node that comes back, or breaks down, must be
//!   reported in the end.
//! - A `Violation` halts the group and alarms. It is never answered by repairing one's own log.
//!
//! What it does not do: keep payloads on disk, encode messages, know Kafka's offsets, measure
//! liveness of nodes (it is told). Leases are off.

mod candidate;
mod change;
pub mod config;
mod durability;
pub mod effect;
mod follower;
pub mod input;
mod leader;
mod log;
pub mod membership;
pub mod message;
pub mod node;
mod observe;
pub mod progress;
mod quiesce;
pub mod quorum;
mod random;
mod read_index;
mod receive;
mod replication;
mod shared;
mod transfer;
pub mod types;

pub use config::Config;
pub use node::{Node, Start};
