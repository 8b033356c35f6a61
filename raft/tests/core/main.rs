//! Tests of the Raft core: scripts, exhaustive tables, and random clusters under faults.

mod random_cluster;
mod world;
