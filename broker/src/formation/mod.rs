//! How a cluster comes into being: who founds it, and how the others learn of it. Decisions only.
//!
//! The nodes of `cluster.seeds` present themselves to each other: (node id, directory UUID). When all have, and none
//! holds a bootstrap record, the seed with the lowest node id makes it: the cluster id and the voters of the metadata
//! group. Every other node adopts it. Start reading at [`Formation::step`].
//!
//! Invariants:
//! - Only the lowest seed makes a record, and only after every other seed has said, to this very directory of it, that
//!   it holds none.
//! - No node shows a record that it has not synced, and a node that is syncing one says nothing at all. So whoever
//!   forgets a record in a crash has shown it to nobody, and who says "none" is not about to have one.
//! - A held record is never replaced by another one.
//! - [`Effect::Formed`] comes after the sync of the record; a node may vote only then.
//!
//! NB: a seed that lost its disk in the middle of the formation is safe only because a connection carries nothing of
//! an earlier life of the other end: [`crate::peer`] delivers frames of the newest connection of a pair alone.

mod machine;
mod message;
#[cfg(test)]
mod race_tests;
mod record;
#[cfg(test)]
mod tests;

pub use machine::{Effect, Event, Failure, Formation, Refusal, Setup};
pub use message::{Message, MessageError};
pub use record::{BootstrapRecord, ClusterId, Voter};
pub(crate) use record::{directory as directory_text, node as node_text};
