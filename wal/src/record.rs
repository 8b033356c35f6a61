//! What goes into the log and what comes out of it: the crate's plain data.

use crate::cleaner::Reason;
use crate::error::Damage;
use bytes::Bytes;
use raft::types::{
    Base, DirectoryId, Entry, EntryKind, GroupId, HardState, Index, NodeId, ReplicaId, Term,
};
use std::time::Duration;

/// One durable statement about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Entries that follow the group's last one without a gap.
    Entries {
        /// The group.
        group: GroupId,
        /// The replica instance.
        replica: ReplicaId,
        /// In index order.
        entries: Vec<Entry>,
    },
    /// Term and vote.
    HardState {
        /// The group.
        group: GroupId,
        /// The replica instance.
        replica: ReplicaId,
        /// The state from now on.
        state: HardState,
    },
    /// Entries at and above `from` that were written earlier are void.
    Truncate {
        /// The group.
        group: GroupId,
        /// The replica instance.
        replica: ReplicaId,
        /// First void index.
        from: Index,
    },
    /// The prefix up to `base.index` is dead (trim or install). Makes the group when it is unknown, and starts it
    /// afresh when `replica` is a newer instance.
    Base {
        /// The group.
        group: GroupId,
        /// The replica instance.
        replica: ReplicaId,
        /// Where the log begins from now on.
        base: Base,
    },
    /// The state machine's state as of a committed index, for a fast restart. The newest wins; kept in checkpoints.
    Derived {
        /// The group.
        group: GroupId,
        /// The replica instance.
        replica: ReplicaId,
        /// The committed index that it sums up.
        index: Index,
        /// Opaque.
        state: Bytes,
    },
    /// The replica is gone; everything of it is dead.
    Remove {
        /// The group.
        group: GroupId,
        /// The replica instance.
        replica: ReplicaId,
    },
}

impl Record {
    /// The group that it is about.
    #[must_use]
    pub fn group(&self) -> GroupId {
        match self {
            Self::Entries { group, .. }
            | Self::HardState { group, .. }
            | Self::Truncate { group, .. }
            | Self::Base { group, .. }
            | Self::Derived { group, .. }
            | Self::Remove { group, .. } => *group,
        }
    }

    /// The room that it needs: entries of kind Records wait when the disk is full, everything else may use the
    /// housekeeping reserve.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        match self {
            Self::Entries { entries, .. }
                if entries.iter().any(|entry| entry.kind == EntryKind::Records) =>
            {
                Purpose::Entries
            }
            _ => Purpose::Housekeeping,
        }
    }
}

/// What room is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// What frees space or keeps the groups alive: may use the housekeeping reserve.
    Housekeeping,
    /// Produced records.
    Entries,
}

/// Whose data directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Identity {
    /// The cluster's incarnation; 0 until it is formed.
    pub cluster: u128,
    /// The node's id.
    pub node: NodeId,
    /// The directory's own id, made at format.
    pub directory: DirectoryId,
}

/// Which records the log has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For produced records: a next segment stands ready.
    pub entries: bool,
    /// For everything else.
    pub housekeeping: bool,
}

/// What one [`crate::Log::write`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// The number of the (last) round; rounds are numbered for ever.
    pub number: u64,
    /// Bytes written, headers and padding included.
    pub bytes: u64,
    /// Entries in it.
    pub entries: u64,
    /// Frames in it.
    pub frames: u64,
    /// Rounds that it took: 1, unless the records did not fit into one.
    pub rounds: u64,
    /// Seconds from the start of the write to the end of the sync, summed over the rounds.
    pub sync_seconds: f64,
    /// What there is room for from now on.
    pub room: Room,
    /// The last segment that became full, if one did.
    pub rolled: Option<Rolled>,
}

/// A segment that takes no more rounds and waits to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolled {
    /// Its sequence.
    pub segment: u64,
    /// The groups with entries in it.
    pub groups: Vec<GroupId>,
}

/// What the log knows after a start.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Recovery {
    /// Every group, by id.
    pub groups: Vec<RecoveredGroup>,
    /// The round that was being written when the power went, if its header was whole. It was never acknowledged.
    pub torn: Option<Torn>,
    /// Whether the last stop was not a clean one. Groups with other replicas then ask their voters first.
    pub unclean: bool,
    /// Damage to what was once synced. Every group that it may touch says so in `faulty`.
    pub damages: Vec<Damage>,
    /// Damage that cannot be put down to certain groups, now or at an earlier start: every group that was known then is
    /// marked faulty, and groups that are not named here may have been made before it. None may begin anew.
    pub suspect: bool,
    /// Rounds read after the checkpoint.
    pub rounds_replayed: u64,
    /// Bytes of log read.
    pub bytes_read: u64,
    /// Removed replicas, whose ids never come back.
    pub removed: Vec<(GroupId, ReplicaId)>,
    /// Whether the directory was empty and has been formatted.
    pub formatted: bool,
}

/// A group as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The group.
    pub group: GroupId,
    /// The replica instance.
    pub replica: ReplicaId,
    /// Where its log begins.
    pub base: Base,
    /// Its newest hard state.
    pub hard_state: HardState,
    /// Its last entry, or the base's index.
    pub last_index: Index,
    /// Each term in the log above the base with its first index there.
    pub terms: Vec<(Term, Index)>,
    /// The membership entries above the base.
    pub membership_entries: Vec<Entry>,
    /// The newest derived state.
    pub derived: Option<(Index, Bytes)>,
    /// What of it cannot be trusted. Such a replica neither votes nor leads nor acknowledges.
    pub faulty: Option<Faulty>,
}

/// A range of a group's log that was synced once and is damaged now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faulty {
    /// First index in doubt.
    pub from: Index,
    /// Last index in doubt (inclusive); `u64::MAX` when the end is unknown.
    pub until: Index,
    /// Whether hard state or base may be lost, too.
    pub control: bool,
}

/// A round that was discarded because it never became durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Its number.
    pub round: u64,
    /// The segment's sequence.
    pub segment: u64,
    /// Where in it.
    pub position: u64,
    /// What it would have held: groups and indexes (0 for what is not an entry).
    pub frames: Vec<(GroupId, Index)>,
}

/// Bytes that the cleaner has written, by why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CleanedBytes {
    /// Of segments in which little was alive.
    pub dead: u64,
    /// Of segments whose entries lay in short runs.
    pub scattered: u64,
    /// Of segments that were damaged.
    pub damaged: u64,
}

impl CleanedBytes {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.dead + self.scattered + self.damaged
    }

    pub(crate) fn of(&mut self, reason: Reason) -> &mut u64 {
        match reason {
            Reason::Dead => &mut self.dead,
            Reason::Scattered => &mut self.scattered,
            Reason::Damaged => &mut self.damaged,
        }
    }
}

/// Figures for metrics.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Stats {
    /// Unsealed segments.
    pub segments_open: u64,
    /// Sealed segments.
    pub segments_sealed: u64,
    /// Segments that stand ready: prepared and spare, the reserves included.
    pub segments_spare: u64,
    /// Spares that were written before, so that a write to them allocates nothing.
    pub segments_zeroed: u64,
    /// Bytes of frames that are alive.
    pub live_bytes: u64,
    /// Bytes of sealed segments that are not.
    pub dead_bytes: u64,
    /// Live bytes in runs shorter than 64 KiB on average.
    pub unsorted_bytes: u64,
    /// Bytes of all segment files.
    pub used_bytes: u64,
    /// What all segment files may take: the configured bound, or what the file system has for them if that is less.
    pub limit_bytes: u64,
    /// What the file system could still allocate, when last looked at.
    pub free_bytes: u64,
    /// Syncs of rounds.
    pub syncs_round: u64,
    /// Syncs of idle marks.
    pub syncs_idle: u64,
    /// Syncs of segment headers and footers.
    pub syncs_segment: u64,
    /// Syncs of manifests.
    pub syncs_manifest: u64,
    /// Syncs of checkpoints.
    pub syncs_checkpoint: u64,
    /// Syncs of the meta file.
    pub syncs_meta: u64,
    /// Bytes of rounds written.
    pub bytes_written: u64,
    /// Payload bytes of entries written.
    pub bytes_payload: u64,
    /// The newest synced round.
    pub round: u64,
    /// The newest manifest.
    pub manifest: u64,
    /// Segments that the cleaner has rewritten.
    pub segments_cleaned: u64,
    /// Bytes that the cleaner has written.
    pub bytes_cleaned: CleanedBytes,
    /// Time that the cleaner has worked.
    pub cleaning: Duration,
    /// Segments whose data has all died and whose file went back to the pool.
    pub segments_recycled: u64,
    /// Damaged entries that were written again from another replica's copy.
    pub entries_healed: u64,
    /// Whether the log has failed.
    pub poisoned: bool,
}
