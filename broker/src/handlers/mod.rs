//! One module per API (or per family of APIs): request in, answer out.
//!
//! Handlers decide nothing about the log: they ask [`crate::broker::Broker`], and put its answers into the shape that
//! clients expect. An error never becomes success on the way.

pub mod api_versions;
pub mod configs;
pub mod delete_records;
pub mod describe_cluster;
pub mod describe_producers;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod groups;
pub mod init_producer_id;
pub mod leader_epoch;
pub mod list_offsets;
pub mod log_dirs;
pub mod lookup;
pub mod metadata;
pub mod produce;
pub mod reassignments;
pub mod topic_partitions;
pub mod topics;
