//! The broker's one durable log.
//!
//! All groups of a broker write into one sequence of *rounds*; a round is what one sync covers. Rounds live in
//! *segments*, files of one fixed size that are overwritten once nothing in them is alive any longer. A *checkpoint*
//! says what is alive as of a round, the rounds after it say the rest, and the *manifest* is the one commit point for
//! everything that is not a round.
//!
//! Invariants:
//!
//! 1. What [`Log::write`] returned for is synced; nothing else is.
//! 2. One write and one sync are in flight at most; the first error of either poisons the log for good.
//! 3. No page of a round is written twice within a segment's life.
//! 4. Precedence is by (round, ordinal) alone, never by file.
//! 5. A damaged round that was ever known to be synced is reported as damage, never taken for the end of the log.
//! 6. A file that a reader has pinned is neither resized nor recycled nor removed.
//! 7. Restart reads the manifest, the checkpoint chain and the segments that are not sealed, whatever the log's size.
//! 8. A copy takes the place of a damaged entry only, of the same index and term; nothing else that was written changes.
//!
//! Not here: elections, commit indexes, the meaning of payloads (only a record batch's header is looked at), threads,
//! timers. Background work is handed out as [`Job`]s; [`Log::due`] says when to look for more though nothing happens.
//!
//! Start reading at [`Log::write`] (`writer.rs`), then `round.rs` (the bytes), `directory.rs` (what is alive),
//! `recovery.rs` (the decision table), `jobs.rs` (seal, checkpoint), `stock.rs` (spares), `reader.rs`, and `quarantine.rs` and
//! `heal.rs` for what a disk did not keep. [`verify`] reads everything that lies in a directory and changes nothing.

mod ahead;
mod blob;
mod checkpoint;
mod cleaner;
mod codec;
mod commit;
mod config;
mod directory;
mod disk;
mod error;
mod footer;
mod footers;
mod format;
mod frame;
mod heal;
mod jobs;
mod kafka;
mod layout;
mod log;
mod manifest;
mod meta;
#[cfg(feature = "model")]
pub mod model;
mod mutant;
mod open;
mod pages;
mod parts;
mod prefetch;
mod quarantine;
mod reader;
mod record;
mod recovery;
mod round;
mod salvage;
mod segment;
mod spares;
mod stock;
mod tail;
pub mod verify;
mod window;
mod writer;

pub use config::Config;
pub use disk::{Disk, File, RealDisk};
pub use error::{Damage, Error, ReadError};
pub use jobs::{Job, JobDone};
pub use log::Log;
pub use pages::{PAGE_BYTES, Pages};
pub use quarantine::{Damages, Lacking};
pub use reader::Reader;
pub use record::{
    CleanedBytes, Faulty, Identity, Purpose, Record, RecoveredGroup, Recovery, Rolled, Room, Round,
    Stats, Torn,
};
