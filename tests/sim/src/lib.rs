//! Deterministic simulation: three to five brokers in one thread under one seed.
//!
//! Real: the shard (controller state machine, partitions, Raft core, deferred sends) and the log with its recovery.
//! Modelled: the disk (what was not synced can be lost or torn at a crash), the network (delay, loss, duplication,
//! reordering, cuts), time, clients.
//!
//! A run has two phases: faults, then healing. Safety is checked after every event ([`invariants`]), liveness and the
//! accounting of acknowledged records at the end ([`accounting`]). The same seed gives the same run, byte for byte:
//! [`run`] returns a digest of everything that happened.
//!
//! Start reading at [`world`].

pub mod accounting;
pub mod client;
pub mod invariants;
pub mod network;
pub mod node;
pub mod plan;
pub mod random;
pub mod world;

pub use plan::Plan;
pub use world::{Failure, Report, run};
