//! A produce through three brokers without sockets and disks: [`Brokers`] from the requests' bytes to the answers',
//! [`RaftGroup`] consensus alone. For micro-benchmarks, and for counting instructions.

mod brokers;
mod raft_group;

pub use brokers::{Brokers, batch, decode, encode, request};
pub use raft_group::RaftGroup;
