//! Raft decisions, and nothing else: no clock, random number generator, file, socket, thread or channel.
//!
//! One [`types`] vocabulary, [`input`] in, [`effect`] out. Start reading at `node.rs` (one group member), then
//! the roles.
//!
//! Invariants:
//! - A message that asserts durable state names the persist that it waits for ([`effect::After`]).
//! - At most one leader per term; a leader never overwrites its own log; commit counts only entries of its own term.
//! - A leader appends no membership entry before it has committed an entry of its own term.
//!
//! What it does not do: keep payloads on disk, encode bytes, know Kafka's offsets. Leases are off.

pub mod effect;
pub mod input;
pub mod message;
pub mod types;
