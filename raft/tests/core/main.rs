//! Tests of the Raft core: scripts, exhaustive tables, and random clusters under faults.

// The allowance for tests does not reach the helpers beside them: a helper that fails fails its
// test.
#![allow(clippy::unwrap_used)]

mod cases;
mod hostile;
mod liveness;
mod random_cluster;
mod script;
mod tables;
mod world;
