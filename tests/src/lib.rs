//! Whole-system tests: brokers as processes, real clients, faults, and a judge of what happened.
//!
//! - [`checker`] judges a recorded history of sends and reads; pure, no I/O.
//! - [`cluster`] runs brokers as processes and kills, pauses, restarts, wipes them.
//! - [`workload`] sends and reads with a real client (librdkafka) and records what it sees.
//! - [`groups`] has members of a consumer group written by hand, and a judge of their history.
//! - [`sequences`] compares the answers to consumer groups with recorded ones of Kafka.
//! - [`network`] puts a [`proxy`] between brokers.
//! - [`wire`] is a second client, written by hand, for wrong bytes and plain questions.
//! - [`size`] reads sizes on command lines.
//! - [`wait`] is the only place that sleeps.
//!
//! The simulator is in `sim/`, the clients of other languages are in `clients/`, the suites
//! themselves in `tests/`.

pub mod checker;
pub mod cluster;
pub mod groups;
pub mod network;
pub mod proxy;
pub mod sequences;
pub mod size;
pub mod wait;
pub mod wire;
pub mod workload;
