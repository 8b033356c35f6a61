//! The walser broker: listeners, dispatch, handlers, partitions, peers, controller, HTTP, metrics, config, CLI.
//!
//! One thread runs everything hot: sockets, dispatch, partitions, Raft. A log thread writes and syncs. Start reading
//! at `broker` (what handlers may ask), then `shard` (all decisions, without I/O), then `driver` (who executes).

pub mod broker;
pub mod cli;
pub mod compare;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod data_directory;
pub mod dispatch;
pub mod driver;
pub mod formation;
pub mod handlers;
pub mod heal;
pub mod http;
pub mod lag;
pub mod metadata;
pub mod metrics;
pub mod partition;
pub mod peer;
pub mod restore;
pub mod server;
pub mod shard;
pub mod snapshots;
pub mod topic_config;
