//! Executing what the shard decides, with real sockets, disks and clocks. Decides nothing itself.
//!
//! One loop ([`run_loop`]): wait for anything, let every socket that is ready be read, hand all of it to the shard, flush
//! once: one frame per peer, one append for the log thread, one write per connection that has answers.

pub mod boot;
pub(crate) mod catch_up;
pub mod clock;
pub mod control;
mod founding;
mod held;
pub mod inbox;
pub mod log_thread;
pub mod orders;
pub mod panics;
pub mod progress;
pub mod run_loop;
mod settings;
pub mod tickets;
