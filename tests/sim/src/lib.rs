//! Deterministic simulation: three to five brokers in one thread under one seed.
//!
//! Real: the shard (controller state machine, partitions, Raft core, deferred sends), the controller, and the log
//! with its recovery, group commit and background jobs. Modelled: the disk (what was not synced can be lost or torn at
//! a power cut, sector by sector), the network (delay, loss, duplication, reordering, one-way cuts), time, clients.
//!
//! A run has two phases: faults, then healing. Safety is checked after every event ([`invariants`], [`history`]),
//! liveness and the accounting of everything acknowledged at the end ([`accounting`]). Three runs in ten have
//! [`consumer_groups`] besides; of the others two in seven have a store for [`snapshots`], whose replicas keep little of
//! their logs, and of those without one four in eleven have copies of each replica's own ([`snapshots::own`]). The same
//! seed gives the same run: [`Report::digest`] sums up everything that happened.
//!
//! Not modelled: the wire protocol, threads, errors of a disk that goes on working, bit rot of a log, a full disk, clocks that
//! jump, a cluster that is restored from its snapshots.
//!
//! Budgets: the integration test (`cargo test -p sim`) runs twenty fixed seeds, ten of them twice, in under a minute; the
//! slow tier is `cargo run --release -p sim -- --from N --seeds 5000`. A batch of at least
//! [`report::VACUITY_SEEDS`] seeds in which some kind of fault never happened fails: it proves nothing.
//!
//! Start reading at [`world`]; then [`brokers`] (what drives a broker), [`faults`], [`producing`], [`invariants`].

pub mod accounting;
pub mod brokers;
pub mod client;
pub mod consumer_groups;
pub mod consuming;
pub mod controlling;
pub mod faults;
pub mod history;
pub mod invariants;
pub mod links;
pub mod network;
pub mod node;
pub mod plan;
pub mod producing;
pub mod random;
pub mod report;
pub mod snapshots;
pub mod synced;
pub mod world;

pub use plan::Plan;
pub use report::{Failure, Report, Totals};
pub use world::run;
