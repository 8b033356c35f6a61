//! A whole cluster is restored from its snapshot store into a new one, which goes on where the snapshots end.
//!
//! - What there is to restore is read first, and checked: [`Plan::read`]. Nothing is written until all of it is sound.
//! - The next life of the cluster is begun by one conditional write: of two restores one goes on, and the cluster that was
//!   is refused by the store from then on.
//! - Tails continue the newest manifests ([`Added`]): their records become a chunk of the new life.
//! - Each partition gets a manifest of the new life ([`Reborn`]): the same records, and a state in which terms, leader
//!   epochs and generations are far beyond what anybody can have seen, and no committed offset lies beyond the end. Every
//!   replica begins with that manifest, and with nothing else.
//! - The topic of the groups comes last: its offsets speak of topics that are there.
//! - Of some topics only ([`Selection`]), the others are written down as left: they were not deleted.
//! - Doing it again after an interruption goes on where it ended.
//!
//! A single topic also goes into a cluster that runs, from any store: [`struct@Copy`].

mod added;
mod copy;
mod plan;
mod reborn;
#[cfg(test)]
mod tests;

pub use added::Added;
pub use copy::Copy;
pub use plan::{Error, PartitionPlan, Plan, Selection, TopicPlan};
pub use reborn::Reborn;
