//! Everything that lies in a data directory, read and compared with what was written. Nothing is changed.
//!
//! What is looked at: names; all four copies of the meta file's mark; both manifests and every checkpoint that the newest
//! one names, each in both copies; both headers of every named segment; every round of every named segment: its header,
//! its place in the chain, each frame, the record batch in each entry, and the padding between them; every footer, against
//! the rounds that it sums up; every live entry of the directory that the checkpoint and the rounds after it add up to:
//! whether it lies where it should, in the term it should. A tail that was never synced is no damage.
//!
//! What no checksum and no rule covers, and why ([`Report::uncovered_bytes`], exactly): spare segments and outputs that
//! the cleaner has not handed over; checkpoint files that the manifest does not name; a blob's file behind the last page
//! of each copy; a segment between its last round and its footer, or its end. Those bytes are of an earlier use or of
//! none, and are written before they are read. The lock has no content.

mod control;
mod rounds;
mod segment;

use crate::disk::Disk;
use crate::error::Error;
use crate::record::{Identity, RecoveredGroup};
use raft::types::{Entry, GroupId, Index, ReplicaId};

/// What a finding means for who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something alive is not what was written, and nothing else here says what it was.
    Damaged,
    /// Damaged, but a copy of it is whole, or it can be made again from what is. One more such damage may cost data.
    Copy,
    /// The bytes were changed, but nothing alive is in them: no reader sees them.
    NotLive,
    /// A write that was cut short before anything rested on it. What a crash leaves behind; no damage.
    Torn,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub kind: Kind,
    /// The file.
    pub file: String,
    /// The first byte of what is damaged: a copy, a round's header, a frame.
    pub position: u64,
    /// How many bytes that is; 0 when it is no range.
    pub bytes: u64,
    /// How it is known.
    pub what: String,
    /// Whose it is, where that is known.
    pub group: Option<GroupId>,
    /// Which replica.
    pub replica: Option<ReplicaId>,
    /// Which entry.
    pub index: Option<Index>,
    /// The Kafka offsets that are in it, the end exclusive; as near as its neighbours tell.
    pub offsets: Option<(i64, i64)>,
}

impl Finding {
    fn new(kind: Kind, file: &str, position: u64, bytes: u64, what: impl Into<String>) -> Self {
        Self {
            kind,
            file: file.to_owned(),
            position,
            bytes,
            what: what.into(),
            group: None,
            replica: None,
            index: None,
            offsets: None,
        }
    }
}

/// What was read, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// By file and place.
    pub findings: Vec<Finding>,
    /// Files of the log.
    pub files: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Whole rounds.
    pub rounds: u64,
    /// Whole entries, dead ones too.
    pub entries: u64,
    /// Record batches among them whose CRC-32C holds.
    pub batches: u64,
    /// Bytes of all files of the log.
    pub bytes: u64,
    /// Of these, bytes that nobody reads before they are written again.
    pub uncovered_bytes: u64,
    /// Whose log it is, if the manifest can be read.
    pub identity: Option<Identity>,
    /// What the log knows of each group, if that can be told.
    pub groups: Vec<RecoveredGroup>,
    /// The live entries of the group that the caller asked for, by index.
    pub kept: Vec<Entry>,
}

impl Report {
    /// Whether everything alive is whole, in every copy.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages().next().is_none()
    }

    /// The findings that are damage.
    pub fn damages(&self) -> impl Iterator<Item = &Finding> {
        let damage = |kind| matches!(kind, Kind::Damaged | Kind::Copy);
        self.findings
            .iter()
            .filter(move |finding| damage(finding.kind))
    }
}

/// Reads a data directory. `keep` names a group whose live entries the report is to hold; `progress` hears how many bytes
/// of segments have been read, and of how many.
///
/// # Errors
/// [`Error::UnknownVersion`], or [`Error::Io`] when the directory or a file in it cannot be opened. Whatever can be
/// opened and is wrong, or cannot be read in parts, is a finding.
pub fn verify(
    disk: &dyn Disk,
    keep: Option<GroupId>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, Error> {
    let mut report = Report::default();
    if let Some(control) = control::read(disk, &mut report)? {
        segment::read_all(&control, keep, &mut report, &mut progress)?;
        report.identity = Some(control.manifest.identity);
        let groups = control.directory.groups.iter();
        report.groups = groups.map(|(id, group)| group.recovered(*id)).collect();
    }
    report.kept.sort_by_key(|entry| entry.index);
    let place = |finding: &Finding| (finding.file.clone(), finding.position, finding.kind);
    report.findings.sort_by_key(place);
    Ok(report)
}
