//! Reading entries, from any thread. Lookup and pin are one step: what was found cannot be recycled before it is read.

use crate::directory::{Directory, Extent};
use crate::error::ReadError;
use crate::footer::{Run, RunIndex};
use crate::footers;
use crate::frame::{self, FrameType};
use crate::layout::FRAME_HEADER_BYTES;
use crate::log::Shared;
use crate::prefetch::prefetch;
use crate::salvage::{Salvaged, salvage};
use crate::segment::Segment;
use bytes::Bytes;
use raft::types::{Entry, EntryKind, GroupId, Index, ReplicaId};
use std::sync::Arc;

/// Reads what the log holds. Every call is short: no pin outlives it.
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

/// An extent with its segment pinned and the runs that it may need.
struct Pinned {
    segment: Arc<Segment>,
    extent: Extent,
    runs: Runs,
}

enum Runs {
    /// Of an unsealed segment: from the wanted index on.
    Here(Vec<Run>),
    /// In the footer.
    Footer(u64),
}

/// Whether what is read is likely to be read again soon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// By other consumers.
    Often,
    /// In order: the page cache would keep it for nobody, and bring what lies around it.
    Once,
}

/// A smaller run gains by what the page cache reads around it.
const DIRECT_BYTES_MIN: usize = 16 << 10;

/// Whoever reads comes back for what follows: twice as much as is wanted is asked of the kernel, within these bounds.
const AHEAD_BYTES_MIN: u64 = 64 << 10;
const AHEAD_BYTES_MAX: u64 = 4 << 20;

/// Runs of an unsealed segment that one lookup copies at most.
const RUNS_AT_ONCE: usize = 256;

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Entries from `from` to `until` (inclusive) at most, at least one, about `max_bytes` of payload.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when `from` is not in the log of this replica; the others when it is, but unreadable.
    /// Damage behind the first entry ends the answer early.
    pub fn entries(
        &self,
        group: GroupId,
        replica: ReplicaId,
        from: Index,
        until: Index,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, ReadError> {
        self.entries_read((group, replica), from, until, max_bytes, Reading::Often)
    }

    /// The same, of what is read in order and once: runs of 16 KiB and more past the page cache, and no entry twice: the
    /// last may go over `max_bytes`.
    ///
    /// # Errors
    /// As [`Reader::entries`].
    pub fn entries_once(
        &self,
        group: GroupId,
        replica: ReplicaId,
        from: Index,
        until: Index,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, ReadError> {
        self.entries_read((group, replica), from, until, max_bytes, Reading::Once)
    }

    fn entries_read(
        &self,
        (group, replica): (GroupId, ReplicaId),
        from: Index,
        until: Index,
        max_bytes: u64,
        reading: Reading,
    ) -> Result<Vec<Entry>, ReadError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut next = from;
        while next <= until && (entries.is_empty() || bytes < max_bytes) {
            let left = max_bytes.saturating_sub(bytes);
            let more = self.pin_or_why(group, replica, next).and_then(|pinned| {
                self.read(&pinned, (group, replica), next, until, left, reading)
            });
            match more {
                Ok(more) => {
                    for entry in more {
                        let size = entry.payload.len() as u64;
                        let is_over = !entries.is_empty() && bytes + size > max_bytes;
                        if is_over && reading == Reading::Often {
                            return Ok(entries);
                        }
                        bytes += size;
                        next = entry.index.next();
                        entries.push(entry);
                    }
                }
                Err(_) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        if entries.is_empty() {
            return Err(ReadError::NotFound { group, index: from });
        }
        Ok(entries)
    }

    /// The entry whose record batch holds a Kafka offset; None when no entry in this log does.
    ///
    /// # Errors
    /// As [`Reader::entries`].
    pub fn index_of_offset(
        &self,
        group: GroupId,
        replica: ReplicaId,
        offset: i64,
    ) -> Result<Option<Index>, ReadError> {
        let holds =
            |span: &crate::footer::Span| span.base_offset <= offset && offset < span.next_offset;
        // From the back: a truncated extent's offsets are a bound that a later one may overlap.
        let candidates = self.extents(group, replica, |extent| holds(&extent.span));
        self.search(group, replica, candidates.iter().rev(), holds)
    }

    /// The first entry whose record batch has a timestamp at or after this one.
    ///
    /// # Errors
    /// As [`Reader::entries`].
    pub fn index_for_timestamp(
        &self,
        group: GroupId,
        replica: ReplicaId,
        timestamp_ms: i64,
    ) -> Result<Option<Index>, ReadError> {
        let late = |span: &crate::footer::Span| {
            span.base_offset != i64::MAX && span.max_timestamp >= timestamp_ms
        };
        let candidates = self.extents(group, replica, |extent| late(&extent.span));
        self.search(group, replica, candidates.iter(), late)
    }

    /// Live bytes of a group, frame headers included; after a trim or truncation within a segment an estimate.
    #[must_use]
    pub fn group_bytes(&self, group: GroupId, replica: ReplicaId) -> u64 {
        self.shared
            .read()
            .group(group, replica)
            .map_or(0, crate::directory::Group::bytes)
    }

    /// The first entry that retention by time keeps: its record batch has a timestamp at or after this one, or none
    /// at all (-1), so that nobody can say how old it is.
    ///
    /// # Errors
    /// As [`Reader::entries`].
    pub fn index_not_older(
        &self,
        group: GroupId,
        replica: ReplicaId,
        timestamp_ms: i64,
    ) -> Result<Option<Index>, ReadError> {
        let kept = |span: &crate::footer::Span| {
            let untimed = span.max_timestamp < 0;
            span.base_offset != i64::MAX && (untimed || span.max_timestamp >= timestamp_ms)
        };
        let candidates = self.extents(group, replica, |extent| kept(&extent.span));
        self.search(group, replica, candidates.iter(), kept)
    }

    /// The first index of the shortest suffix of at least `keep_bytes` live bytes, to the granularity of a segment:
    /// where a trim by size would put the log's start. What is in the newest segment is always kept.
    #[must_use]
    pub fn index_for_bytes(
        &self,
        group: GroupId,
        replica: ReplicaId,
        keep_bytes: u64,
    ) -> Option<Index> {
        let directory = self.shared.read();
        let found = directory.group(group, replica)?;
        let mut kept = 0;
        let mut first = None;
        for extent in found.extents.iter().rev() {
            if first.is_some() && kept >= keep_bytes {
                break;
            }
            first = Some(Index(extent.first));
            kept += extent.bytes;
        }
        first
    }

    /// Base and last index of a group in the log.
    #[must_use]
    pub fn bounds(&self, group: GroupId, replica: ReplicaId) -> Option<(Index, Index)> {
        let directory = self.shared.read();
        directory
            .group(group, replica)
            .map(|found| (found.base.index, Index(found.last)))
    }

    fn extents(
        &self,
        group: GroupId,
        replica: ReplicaId,
        wanted: impl Fn(&Extent) -> bool,
    ) -> Vec<Extent> {
        let directory = self.shared.read();
        directory
            .group(group, replica)
            .map_or_else(Vec::new, |found| {
                found
                    .extents
                    .iter()
                    .filter(|extent| wanted(extent))
                    .copied()
                    .collect()
            })
    }

    /// The first live entry in these extents whose batch satisfies `wanted`.
    fn search<'a>(
        &self,
        group: GroupId,
        replica: ReplicaId,
        extents: impl Iterator<Item = &'a Extent>,
        wanted: impl Fn(&crate::footer::Span) -> bool,
    ) -> Result<Option<Index>, ReadError> {
        for candidate in extents {
            let mut next = candidate.first;
            while next <= candidate.last {
                // The extent may have moved meanwhile; then its successor is searched from the same index on.
                let Some(pinned) = self.pin(group, replica, Index(next)) else {
                    break;
                };
                let runs = self.runs(&pinned, (group, replica), next)?;
                let Some(last_run) = runs.last() else { break };
                let upto = last_run.last().min(pinned.extent.last).min(candidate.last);
                let wanted_runs = runs
                    .iter()
                    .filter(|run| run.last() >= next && wanted(&run.span));
                for run in wanted_runs {
                    self.prefetch(&pinned, std::slice::from_ref(run), 0);
                    let found = self.read_run(&pinned, (group, replica), run, Reading::Often)?;
                    let hit = found.into_iter().find(|entry| {
                        (next..=upto).contains(&entry.index.0)
                            && entry.kind == EntryKind::Records
                            && wanted(&crate::kafka::batch_span(&entry.payload).into())
                    });
                    if let Some(entry) = hit {
                        return Ok(Some(entry.index));
                    }
                }
                next = upto + 1;
            }
        }
        Ok(None)
    }

    /// Pins an index, or says why it has no extent: it is not in the log, or it was damaged and is in doubt since the
    /// last start. One look at the directory: the entry may be written between two.
    fn pin_or_why(
        &self,
        group: GroupId,
        replica: ReplicaId,
        index: Index,
    ) -> Result<Pinned, ReadError> {
        let directory: &Directory = &self.shared.read();
        if let Some(pinned) = Self::pin_in(directory, group, replica, index) {
            return Ok(pinned);
        }
        Err(match directory.group(group, replica) {
            Some(found) if found.base.index < index && index.0 <= found.last => {
                ReadError::Corrupt {
                    segment: 0,
                    position: 0,
                    why: "lost to damage that the last start has reported",
                }
            }
            _ => ReadError::NotFound { group, index },
        })
    }

    /// Finds the extent of an index and pins its segment, in one step.
    fn pin(&self, group: GroupId, replica: ReplicaId, index: Index) -> Option<Pinned> {
        Self::pin_in(&self.shared.read(), group, replica, index)
    }

    fn pin_in(
        directory: &Directory,
        group: GroupId,
        replica: ReplicaId,
        index: Index,
    ) -> Option<Pinned> {
        let found = directory.group(group, replica)?;
        let extent = *found.extent_of(index.0)?;
        let state = directory.segments.get(&extent.segment)?;
        let segment = Arc::clone(&state.segment);
        let runs = match &state.index {
            Some(runs) => {
                let runs = runs.within((group, replica), extent.position, extent.end);
                let start = runs.partition_point(|run| run.last() < index.0);
                Runs::Here(runs[start..].iter().take(RUNS_AT_ONCE).copied().collect())
            }
            None => Runs::Footer(state.footer_at),
        };
        Some(Pinned {
            segment,
            extent,
            runs,
        })
    }

    /// The runs of a pinned extent from an index on.
    fn runs(
        &self,
        pinned: &Pinned,
        key: (GroupId, ReplicaId),
        index: u64,
    ) -> Result<Vec<Run>, ReadError> {
        match &pinned.runs {
            Runs::Here(runs) => Ok(runs.clone()),
            Runs::Footer(footer_at) => {
                let footer = self.footer(&pinned.segment, *footer_at)?;
                let runs = footer.within(key, pinned.extent.position, pinned.extent.end);
                let start = runs.partition_point(|run| run.last() < index);
                Ok(runs[start..].iter().take(RUNS_AT_ONCE).copied().collect())
            }
        }
    }

    fn footer(&self, segment: &Arc<Segment>, footer_at: u64) -> Result<Arc<RunIndex>, ReadError> {
        if let Some(footer) = segment.footer_in_memory() {
            return Ok(footer);
        }
        let (segment_bytes, run_bytes_max) = (self.shared.segment_bytes, self.shared.run_bytes_max);
        let read = footers::read_footer(segment, footer_at, segment_bytes, run_bytes_max);
        if !read.as_ref().is_ok_and(|(_, whole)| *whole) {
            self.shared.quarantine().note_segment(segment.sequence);
        }
        let (footer, _) = read?;
        self.shared.keep_footer(segment, Arc::clone(&footer));
        Ok(footer)
    }

    fn read(
        &self,
        pinned: &Pinned,
        key: (GroupId, ReplicaId),
        from: Index,
        until: Index,
        max_bytes: u64,
        reading: Reading,
    ) -> Result<Vec<Entry>, ReadError> {
        let last = until.0.min(pinned.extent.last);
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let runs = self.runs(pinned, key, from.0)?;
        if reading == Reading::Often {
            let those = runs.partition_point(|run| run.first <= last);
            let ahead = 2 * max_bytes.clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX);
            self.prefetch(pinned, &runs[..those], ahead);
        }
        for run in runs {
            if run.first > last || (bytes >= max_bytes && !entries.is_empty()) {
                break;
            }
            let expected = entries.last().map_or(from, |entry| entry.index.next());
            // NB: a start does not put damaged frames into runs: they may lack an entry between two.
            if run.first > expected.0 {
                break;
            }
            let (found, damage) = match self.read_run(pinned, key, &run, reading) {
                Ok(found) => (found, None),
                Err(error) => {
                    let found = whole_before_damage(pinned, key, &run, expected);
                    (found, Some(error))
                }
            };
            let wanted = expected.0..=last;
            let found = found.into_iter();
            for entry in found.filter(|entry| wanted.contains(&entry.index.0)) {
                bytes += entry.payload.len() as u64;
                entries.push(entry);
            }
            match damage {
                Some(error) if entries.is_empty() => return Err(error),
                Some(_) => break,
                None => {}
            }
        }
        if entries.is_empty() {
            let (segment, position) = (pinned.segment.sequence, pinned.extent.position);
            self.note(pinned, key.0, (from.0, from.0));
            return Err(ReadError::Corrupt {
                segment,
                position,
                why: "the runs lack an entry",
            });
        }
        Ok(entries)
    }

    /// These runs are about to be read, as far as that goes through the page cache.
    fn prefetch(&self, pinned: &Pinned, runs: &[Run], bytes: u64) {
        let is_sealed = matches!(pinned.runs, Runs::Footer(_));
        let is_in_memory = |run: &Run| {
            self.shared
                .tail()
                .find(pinned.segment.sequence, run.position)
                .is_some()
        };
        if is_sealed && !runs.first().is_some_and(is_in_memory) {
            prefetch(&pinned.segment, runs, bytes);
        }
    }

    /// All entries of a run, checked. Damage is looked at twice: the second time past every cache.
    fn read_run(
        &self,
        pinned: &Pinned,
        key: (GroupId, ReplicaId),
        run: &Run,
        reading: Reading,
    ) -> Result<Vec<Entry>, ReadError> {
        let segment = &pinned.segment;
        if let Some(bytes) = self.shared.tail().find(segment.sequence, run.position)
            && bytes.len() >= run.bytes as usize
        {
            return parse_run(segment, key, run, &bytes);
        }
        let length = run.bytes as usize;
        let is_sealed = matches!(pinned.runs, Runs::Footer(_));
        let is_direct = reading == Reading::Once && length >= DIRECT_BYTES_MIN;
        let first_try = if is_sealed && !is_direct {
            let mut buffer = vec![0; length];
            match segment.file.read_mapped(run.position, &mut buffer) {
                Ok(()) => parse_run(segment, key, run, &Bytes::from(buffer)),
                Err(error) => Err(io_error(segment, run.position, error)),
            }
        } else {
            read_direct(segment, run).and_then(|bytes| parse_run(segment, key, run, &bytes))
        };
        let second_try =
            |_| read_direct(segment, run).and_then(|bytes| parse_run(segment, key, run, &bytes));
        first_try.or_else(second_try).inspect_err(|_| {
            self.note(pinned, key.0, (run.first, run.last()));
        })
    }

    /// Damage was met among these entries of a group.
    fn note(&self, pinned: &Pinned, group: GroupId, (first, last): (u64, u64)) {
        let mut quarantine = self.shared.quarantine();
        quarantine.note(pinned.segment.sequence, group, first, last);
    }
}

/// Of a run with damage: the entries from one on, up to the first that is not whole.
fn whole_before_damage(
    pinned: &Pinned,
    key: (GroupId, ReplicaId),
    run: &Run,
    from: Index,
) -> Vec<Entry> {
    let salvaged = salvage(&pinned.segment, key, run).into_iter();
    let mut next = from;
    let mut entries = Vec::new();
    for Salvaged { header, payload } in salvaged.filter(|s| s.header.index >= from) {
        let entry = payload.and_then(|payload| header.with(&[]).entry(payload));
        match entry {
            Some(entry) if entry.index == next => entries.push(entry),
            _ => break,
        }
        next = next.next();
    }
    entries
}

pub(crate) fn io_error(segment: &Segment, position: u64, error: std::io::Error) -> ReadError {
    ReadError::Io {
        segment: segment.sequence,
        position,
        source: Arc::new(error),
    }
}

pub(crate) fn read_direct(segment: &Segment, run: &Run) -> Result<Bytes, ReadError> {
    let (pages, skip) = segment
        .read_pages(run.position, run.bytes as usize)
        .map_err(|error| io_error(segment, run.position, error))?;
    Ok(Bytes::from_owner(pages).slice(skip..skip + run.bytes as usize))
}

/// Parses a run's frames: place, group, replica and index must be what the run says.
pub(crate) fn parse_run(
    segment: &Segment,
    key: (GroupId, ReplicaId),
    run: &Run,
    bytes: &Bytes,
) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::with_capacity(run.count as usize);
    let mut offset = 0;
    for index in run.first..=run.last() {
        let position = run.position + offset as u64;
        let broken = |why| ReadError::Corrupt {
            segment: segment.sequence,
            position,
            why,
        };
        let rest = bytes
            .get(offset..run.bytes as usize)
            .ok_or(broken("shorter than its run"))?;
        let Some((header, frame)) = frame::parse(segment.place(position), rest) else {
            return Err(broken("checksum"));
        };
        if (header.group, header.replica) != key
            || header.index.0 != index
            || header.frame_type != FrameType::Entry
        {
            return Err(broken("another entry than the one that is expected here"));
        }
        let start = offset + FRAME_HEADER_BYTES;
        let payload = bytes.slice(start..start + header.payload_bytes);
        entries.push(
            frame
                .entry(payload)
                .ok_or(broken("unknown kind of entry"))?,
        );
        offset += frame::frame_bytes(header.payload_bytes);
    }
    Ok(entries)
}
