//! What the cluster knows about itself: brokers, topics, where each partition's replicas are, configs.
//!
//! The metadata group (group 0) replicates [`Command`]s; every broker applies them in log order to its own
//! [`Image`] and answers from it. Pure code: no clock, no randomness, no I/O.
//!
//! Invariants:
//! - The same commands in the same order give the same image, byte for byte.
//! - Group ids, replica ids and producer ids come from counters of the image and are never used twice.
//! - A command that no longer fits changes nothing and says why ([`Rejected`]); a command applies whole or not at all.
//! - A replica's data may be dropped only if the image says so in so many words ([`Image::removals`]), because a
//!   committed command put it there. That a replica is *not mentioned* proves nothing.
//! - A replica that may still count in its group (old, new, or left over from an abandoned move) stays a holder
//!   until the group's leader reports the target reached.
//!
//! Where to start: [`Command`], then [`Image::apply`], then [`Partition`].

mod apply;
pub mod change;
pub mod command;
pub(crate) mod form;
pub mod ids;
pub mod image;
pub mod partition;
pub mod state;

pub use change::{Change, Rejected};
pub use command::{Command, CommandError, ConfigChanges, ConfigScope, Registration};
pub use ids::TopicId;
pub use image::{Broker, Image, Standing, Topic};
pub use partition::Partition;
pub use state::StateError;

#[cfg(test)]
pub(crate) mod tests;
