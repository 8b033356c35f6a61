//! Segments in which damage was met: what of them is alive and damaged, until it is written again elsewhere.
//!
//! Whoever meets damage notes the segment: readers, the cleaner, a start. A survey then reads the segment from end to
//! end and says which live entries it lacks, each by itself. Nothing here is on the disk: what a restart forgets is met
//! again by whoever reads it.

use crate::directory::{Directory, Extent};
use crate::error::ReadError;
use crate::footer::{Run, RunIndex};
use crate::footers::{self, load_footer};
use crate::reader::Reader;
use crate::salvage::salvage;
use crate::segment::Segment;
use raft::types::{Entry, GroupId, Index, ReplicaId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Live entries without a gap that are damaged on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The file.
    pub file: String,
    /// Its segment's sequence.
    pub segment: u64,
    /// Whose entries.
    pub group: GroupId,
    /// The replica instance.
    pub replica: ReplicaId,
    /// The first damaged index.
    pub first: Index,
    /// The last damaged index.
    pub last: Index,
}

impl Lacking {
    /// How many entries.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// Entries that both speak of.
    fn shared(&self, other: &Self) -> u64 {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        match self.group == other.group && self.replica == other.replica {
            true => (last.0 + 1).saturating_sub(first.0),
            false => 0,
        }
    }

    /// Whether it says something about one of these entries.
    fn meets(&self, group: GroupId, first: u64, last: u64) -> bool {
        self.group == group && self.first.0 <= last && first <= self.last.0
    }
}

/// Figures of the damage that was met in this life of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damages {
    /// Live entries that were found damaged.
    pub found: u64,
    /// Entries that are damaged now.
    pub lacking: u64,
    /// Segments with damage that are not freed yet.
    pub segments: u64,
}

/// A segment in which damage was met.
#[derive(Default)]
struct Suspect {
    /// What the last survey has found.
    lacking: Vec<Lacking>,
    /// Nothing else was met since then.
    surveyed: bool,
    /// Damage was seen: the file is not used for anything else.
    confirmed: bool,
    /// Its footer is damaged.
    footer: bool,
}

/// By the segments' sequences.
#[derive(Default)]
pub(crate) struct Quarantine {
    suspects: BTreeMap<u64, Suspect>,
    /// Entries that were found damaged, over all surveys.
    found: u64,
}

impl Quarantine {
    /// A read of these entries has met damage in a segment. What a survey has seen is no news.
    pub(crate) fn note(&mut self, segment: u64, group: GroupId, first: u64, last: u64) {
        let suspect = self.suspects.entry(segment).or_default();
        let known = |lacking: &Lacking| lacking.meets(group, first, last);
        suspect.surveyed &= suspect.lacking.iter().any(known);
    }

    /// Something is wrong with a segment that is to be read from end to end.
    pub(crate) fn note_segment(&mut self, segment: u64) {
        self.suspects.entry(segment).or_default();
    }

    /// Forgets a segment. Whether there was damage in it.
    pub(crate) fn release(&mut self, segment: u64) -> bool {
        let suspect = self.suspects.remove(&segment);
        suspect.is_some_and(|suspect| suspect.confirmed)
    }

    /// What could be moved out of a segment has moved; if something is left, its footer is no reason to try again.
    pub(crate) fn taken_apart(&mut self, segment: u64) {
        if let Some(suspect) = self.suspects.get_mut(&segment) {
            suspect.footer = false;
        }
    }

    /// Whether a survey has found an entry damaged.
    pub(crate) fn lacks(&self, segment: u64, group: GroupId, index: u64) -> bool {
        let lacking = self.suspects.get(&segment).map(|suspect| &suspect.lacking);
        lacking.is_some_and(|all| all.iter().any(|l| l.meets(group, index, index)))
    }

    /// Segments that need nothing from others to be written again: all their entries are whole, their footer is not.
    pub(crate) fn whole_but_for_footers(&self) -> Vec<u64> {
        let found = self.suspects.iter();
        let found = found.filter(|(_, suspect)| suspect.footer && suspect.lacking.is_empty());
        found.map(|(sequence, _)| *sequence).collect()
    }

    /// What surveys have found and is still alive and where it was.
    fn lacking(&self, directory: &Directory) -> Vec<Lacking> {
        let all = self.suspects.values().flat_map(|suspect| &suspect.lacking);
        all.flat_map(|lacking| still(lacking, directory)).collect()
    }

    fn to_survey(&self) -> Vec<u64> {
        let new = self
            .suspects
            .iter()
            .filter(|(_, suspect)| !suspect.surveyed);
        new.map(|(sequence, _)| *sequence).collect()
    }

    fn surveyed(&mut self, sequence: u64, lacking: Vec<Lacking>, footer: bool) {
        let Some(suspect) = self.suspects.get_mut(&sequence) else {
            return;
        };
        suspect.confirmed |= footer || !lacking.is_empty();
        suspect.footer = footer;
        // A read may fail once and succeed the next time.
        if !suspect.confirmed {
            self.suspects.remove(&sequence);
            return;
        }
        let known = std::mem::replace(&mut suspect.lacking, lacking);
        suspect.surveyed = true;
        let again = |new: &Lacking| known.iter().map(|old| old.shared(new)).sum::<u64>();
        let new = suspect.lacking.iter();
        self.found += new.map(|new| new.count() - again(new)).sum::<u64>();
    }
}

/// The parts of what was found that are still alive in that segment.
fn still(lacking: &Lacking, directory: &Directory) -> Vec<Lacking> {
    let group = directory.group(lacking.group, lacking.replica);
    let extents = group.into_iter().flat_map(|group| &group.extents);
    let here = extents.filter(|extent| {
        extent.segment == lacking.segment
            && extent.first <= lacking.last.0
            && lacking.first.0 <= extent.last
    });
    let cut = |extent: &Extent| Lacking {
        first: lacking.first.max(Index(extent.first)),
        last: lacking.last.min(Index(extent.last)),
        ..lacking.clone()
    };
    here.map(cut).collect()
}

/// A segment with what is alive in it, as of one moment.
struct Surveyed {
    segment: Arc<Segment>,
    index: Option<Arc<RunIndex>>,
    footer_at: u64,
    live: Vec<(GroupId, ReplicaId, Extent)>,
}

impl Reader {
    /// Whether damage was met that is not healed yet. Cheap.
    #[must_use]
    pub fn any_damage(&self) -> bool {
        !self.shared.quarantine().suspects.is_empty()
    }

    /// Whether damage was met that no survey has looked at. Cheap.
    #[must_use]
    pub fn any_new_damage(&self) -> bool {
        !self.shared.quarantine().to_survey().is_empty()
    }

    /// How much damage there is, as far as surveys have told.
    #[must_use]
    pub fn damages(&self) -> Damages {
        let directory = self.shared.read();
        let quarantine = self.shared.quarantine();
        let lacking = quarantine.lacking(&directory);
        let confirmed = quarantine.suspects.values().filter(|s| s.confirmed);
        Damages {
            found: quarantine.found,
            lacking: lacking.iter().map(Lacking::count).sum(),
            segments: confirmed.count() as u64,
        }
    }

    /// Which live entries are damaged: reads every segment in which damage was met since the last survey, from end to
    /// end. Takes as long as that takes.
    #[must_use]
    pub fn survey(&self) -> Vec<Lacking> {
        let sequences = self.shared.quarantine().to_survey();
        for sequence in sequences {
            let (lacking, footer) = self.survey_segment(sequence);
            for lacking in &lacking {
                let (group, first, last) = (lacking.group, lacking.first, lacking.last);
                tracing::error!(file = lacking.file, %group, %first, %last, "entries are damaged");
            }
            let mut quarantine = self.shared.quarantine();
            quarantine.surveyed(sequence, lacking, footer);
        }
        let directory = self.shared.read();
        self.shared.quarantine().lacking(&directory)
    }

    /// The whole ones among a range's entries, about `max_bytes` of payload, by index: for another replica that lacks
    /// them. Where one is damaged, those behind it are there nevertheless.
    #[must_use]
    pub fn whole_entries(
        &self,
        group: GroupId,
        replica: ReplicaId,
        (first, last): (Index, Index),
        max_bytes: u64,
    ) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let base = self
            .bounds(group, replica)
            .map_or(first, |(base, _)| base.next());
        let (mut next, mut left) = (first.max(base), max_bytes);
        while next <= last && left > 0 {
            match self.entries(group, replica, next, last, left) {
                Ok(more) => {
                    let bytes: usize = more.iter().map(|entry| entry.payload.len()).sum();
                    left = left.saturating_sub(bytes as u64);
                    next = more.last().map_or(next, |entry| entry.index).next();
                    entries.extend(more);
                }
                Err(ReadError::NotFound { .. }) => break,
                Err(ReadError::Corrupt { .. } | ReadError::Io { .. }) => next = next.next(),
            }
        }
        entries
    }

    /// What a segment lacks, and whether its footer is damaged.
    fn survey_segment(&self, sequence: u64) -> (Vec<Lacking>, bool) {
        let Some(found) = self.surveyed(sequence) else {
            return (Vec::new(), false);
        };
        let segment = &found.segment;
        let (segment_bytes, run_bytes_max) = (self.shared.segment_bytes, self.shared.run_bytes_max);
        let footer_at = found.footer_at;
        let (runs, footer) = match found.index {
            Some(index) => (Some(index), false),
            None => (
                load_footer(segment, footer_at, segment_bytes, run_bytes_max).ok(),
                !footers::footer_is_whole(segment, footer_at, segment_bytes),
            ),
        };
        let mut lacking = Vec::new();
        for (group, replica, extent) in found.live {
            let key = (group, replica);
            let runs = runs.as_ref();
            let runs = runs.map_or(&[][..], |all| all.within(key, extent.position, extent.end));
            for (first, last) in holes(segment, key, &extent, runs) {
                lacking.push(Lacking {
                    file: segment.name(),
                    segment: sequence,
                    group,
                    replica,
                    first: Index(first),
                    last: Index(last),
                });
            }
        }
        (lacking, footer)
    }

    fn surveyed(&self, sequence: u64) -> Option<Surveyed> {
        let directory = self.shared.read();
        let state = directory.segments.get(&sequence)?;
        let live = directory.groups.iter().flat_map(|(id, group)| {
            let here = |extent: &&Extent| extent.segment == sequence;
            let live = group.extents.iter().filter(here);
            live.map(|extent| (*id, group.replica, *extent))
        });
        Some(Surveyed {
            segment: Arc::clone(&state.segment),
            index: state.index.clone(),
            footer_at: state.footer_at,
            live: live.collect(),
        })
    }
}

/// The ranges of an extent whose frames are not whole.
fn holes(
    segment: &Segment,
    key: (GroupId, ReplicaId),
    extent: &Extent,
    runs: &[Run],
) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    let mut next = extent.first;
    for run in runs {
        if run.last() < next || run.first > extent.last {
            continue;
        }
        for salvaged in salvage(segment, key, run) {
            let index = salvaged.header.index.0;
            if salvaged.payload.is_none() || index < next || index > extent.last {
                continue;
            }
            if index > next {
                holes.push((next, index - 1));
            }
            next = index + 1;
        }
    }
    if next <= extent.last {
        holes.push((next, extent.last));
    }
    holes
}
