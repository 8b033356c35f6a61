use std::fmt;

use crate::key::Key;
use crate::source::Source;

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Manifests that were read.
    pub manifests: u64,
    /// Chunks that were read.
    pub chunks: u64,
    /// Tails that were read.
    pub tails: u64,
    /// Cuts that were read.
    pub cuts: u64,
    /// Stored bytes of chunks and tails.
    pub stored_bytes: u64,
    /// Their records' bytes.
    pub raw_bytes: u64,
    /// What is wrong; empty when everything is as it was written.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How wrong.
    pub kind: Kind,
    /// Where.
    pub key: Key,
    /// Of which partition, where that is known.
    pub source: Option<Source>,
    /// Offsets that cannot be read because of it: the first one, and the first one beyond.
    pub offsets: Option<(i64, i64)>,
    /// In words.
    pub what: String,
}

/// How wrong something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is not what was written.
    Damaged,
    /// It should be there and is not.
    Missing,
    /// Nothing refers to it. It may be of a snapshot that is being made, or that was given up.
    Orphan,
}

impl Report {
    /// Whether everything that anything refers to is as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|found| found.kind == Kind::Orphan)
    }

    pub(super) fn find(&mut self, kind: Kind, key: &Key, source: Option<&Source>, what: String) {
        self.findings.push(Finding {
            kind,
            key: key.clone(),
            source: source.cloned(),
            offsets: None,
            what,
        });
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Damaged => "damaged",
            Kind::Missing => "missing",
            Kind::Orphan => "orphan",
        };
        write!(f, "{kind}: {}", self.key)?;
        if let Some(source) = &self.source {
            write!(f, ", {source}")?;
        }
        if let Some((first, next)) = self.offsets {
            write!(f, ", offsets {first} to {}", next - 1)?;
        }
        write!(f, ": {}", self.what)
    }
}
