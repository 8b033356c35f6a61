//! How a log is laid out and how much it may use.

use crate::error::Error;
use crate::layout::{DATA_START, ROUND_HEADER_BYTES};
use std::time::Duration;

/// The log's configuration. `segment_bytes` must be the same on all nodes of a cluster and never changes within a
/// data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Size of a segment file in bytes, a multiple of 4 KiB. Default 256 MiB. Larger: fewer checkpoints; smaller: less
    /// space held by a few live entries. The largest entry is a quarter of it.
    pub segment_bytes: u64,
    /// Most bytes of entries in one round, default 4 MiB; one larger entry passes alone.
    pub round_bytes_max: u64,
    /// Spare segments kept ready ahead of need, beyond the reserves. Default 4 (1 GiB). What recycling adds to them is
    /// kept while the log is written to; a quiet one has no more than these.
    pub spares: usize,
    /// Most bytes of one run of adjacent entries: how much a lookup reads at most to find one. Default 64 KiB. Never
    /// lowered within a data directory: segments keep room for a footer of so many runs.
    pub run_bytes_max: u64,
    /// Most runs in one segment; it rolls before. Bounds the footer and the memory of an open segment. Default 65,536.
    pub runs_max: usize,
    /// Memory for the newest rounds, in bytes: reads of these touch no file. Default 256 MiB.
    pub tail_bytes: u64,
    /// Footers of sealed segments kept in memory. Default 64.
    pub footers_kept: usize,
    /// Every how many checkpoints a whole one is written. Default 64.
    pub checkpoint_whole_every: u64,
    /// How often the highest synced round goes to the meta file while the log is active. Default 1 s.
    pub meta_interval: Duration,
    /// How often a checkpoint may be written only because a segment has died. Default 1 s.
    pub dead_interval: Duration,
    /// A log that has filled no segment for so long is quiet: it gives back to the file system what it does not need.
    /// Shorter: space is back sooner, and is taken again sooner where the load comes in bursts. Default 10 s.
    pub quiet_after: Duration,
    /// Bytes that are never taken from the file system for spares. Default 256 MiB.
    pub free_bytes_min: u64,
    /// Most bytes that all files of the log may take, the reserves included. Default unlimited.
    pub used_bytes_max: u64,
    /// The cleaner starts when sealed segments take more than 1.3 times their live bytes and this, in a quiet log more
    /// than a quarter of it. Default 1 GiB: unsealed segments and outputs come on top of it.
    pub clean_slack_bytes: u64,
    /// The cleaner also starts when entries in short runs take more than this. Default 1 GiB.
    pub unsorted_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            round_bytes_max: 4 << 20,
            spares: 4,
            run_bytes_max: 64 << 10,
            runs_max: 65_536,
            tail_bytes: 256 << 20,
            footers_kept: 64,
            checkpoint_whole_every: 64,
            meta_interval: Duration::from_secs(1),
            dead_interval: Duration::from_secs(1),
            quiet_after: Duration::from_secs(10),
            free_bytes_min: 256 << 20,
            used_bytes_max: u64::MAX,
            clean_slack_bytes: 1 << 30,
            unsorted_bytes_max: 1 << 30,
        }
    }
}

impl Config {
    /// For `walser dev`: segments of 16 MiB and little memory.
    #[must_use]
    pub fn dev() -> Self {
        Self {
            segment_bytes: 16 << 20,
            tail_bytes: 32 << 20,
            spares: 4,
            free_bytes_min: 64 << 20,
            clean_slack_bytes: 128 << 20,
            unsorted_bytes_max: 64 << 20,
            ..Self::default()
        }
    }

    /// For tests: segments of 64 KiB, everything small.
    #[must_use]
    pub fn tiny() -> Self {
        Self {
            segment_bytes: 64 << 10,
            round_bytes_max: 16 << 10,
            spares: 1,
            run_bytes_max: 4 << 10,
            runs_max: 256,
            tail_bytes: 0,
            footers_kept: 2,
            checkpoint_whole_every: 4,
            meta_interval: Duration::ZERO,
            dead_interval: Duration::ZERO,
            quiet_after: Duration::from_secs(1),
            free_bytes_min: 0,
            used_bytes_max: u64::MAX,
            clean_slack_bytes: 256 << 10,
            unsorted_bytes_max: 1 << 30,
        }
    }

    /// The largest payload of one entry: a quarter of a segment, so that every follower can always store it.
    #[must_use]
    pub fn entry_bytes_max(&self) -> u64 {
        self.segment_bytes / 4
    }

    /// The most bytes that one round can take: an empty segment with room for its footer.
    pub(crate) fn round_capacity(&self) -> u64 {
        self.segment_bytes - DATA_START - self.segment_bytes / 16 - ROUND_HEADER_BYTES as u64
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`] names the field.
    pub fn validate(&self) -> Result<(), Error> {
        if !self.segment_bytes.is_multiple_of(4096) || self.segment_bytes < 64 << 10 {
            return Err(Error::Config(
                "segment_bytes must be a multiple of 4 KiB, at least 64 KiB",
            ));
        }
        if self.segment_bytes > 2 << 30 {
            return Err(Error::Config("segment_bytes must be at most 2 GiB"));
        }
        if self.runs_max < 16 || self.checkpoint_whole_every == 0 {
            return Err(Error::Config(
                "runs_max must be at least 16, checkpoint_whole_every 1",
            ));
        }
        if self.used_bytes_max < USED_SEGMENTS_MIN * self.segment_bytes {
            return Err(Error::Config("used_bytes_max must be at least 8 segments"));
        }
        Ok(())
    }
}

/// The open segment, the next one, two that wait to be sealed, the reserves.
const USED_SEGMENTS_MIN: u64 = 8;
