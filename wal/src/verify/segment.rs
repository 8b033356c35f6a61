//! The segments: headers, rounds, footers, and whether what is alive lies where it should.

use super::control::Control;
use super::rounds::{Walk, Walked};
use super::{Finding, Kind, Report};
use crate::directory::Extent;
use crate::error::{Error, ReadError};
use crate::footer::{Run, RunIndex};
use crate::layout::{DATA_START, segment_number};
use crate::manifest::{Named, Sealed, SegmentRole};
use crate::pages::{PAGE_BYTES, Pages};
use crate::reader::{parse_run, read_direct};
use crate::segment::{Segment, SegmentHeader, header_copies};
use raft::types::{GroupId, Index, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};

/// Live extents, by segment.
type Live = BTreeMap<u64, Vec<(GroupId, ReplicaId, Extent)>>;

/// Reads every segment.
pub(super) fn read_all(
    control: &Control,
    keep: Option<GroupId>,
    report: &mut Report,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    for name in control.files.keys() {
        if let Some(number) = segment_number(name) {
            header(control, name, number, report)?;
        }
    }
    let live = live_extents(control, report);
    let total: u64 = control
        .named
        .values()
        .map(|(_, role)| expected(*role))
        .sum();
    let mut done = 0;
    let mut before = None;
    let mut rounds = BTreeSet::new();
    for (sequence, (segment, role)) in &control.named {
        if *role == SegmentRole::Output || !has_size(control, segment, report) {
            continue;
        }
        report.segments += 1;
        let mut read = |bytes| {
            done += bytes;
            progress(done.min(total), total);
        };
        let walk = Walk::new(control, segment, *role, keep, report);
        let walked = walk.run(before, &mut read);
        let mut footer = None;
        if let SegmentRole::Sealed(sealed) = role {
            ends(segment, *sealed, &walked, report);
            footer = read_footer(control, segment, *sealed, &walked, report);
        }
        if !matches!(role, SegmentRole::Sealed(sealed) if sealed.cleaned) {
            before = walked.last.or(before);
        }
        for (group, replica, extent) in live.get(sequence).map_or(&[][..], Vec::as_slice) {
            let key = (*group, *replica);
            let lookup = Lookup {
                segment,
                key,
                extent: *extent,
                walked: &walked,
                footer: footer.as_ref(),
            };
            lookup.look(report);
        }
        let told = walked.damaged.into_iter();
        rounds.extend(told.map(|position| (segment.name(), position)));
    }
    progress(total, total);
    rest_of_damages(control, &rounds, report);
    Ok(())
}

/// Bytes of rounds that a segment is expected to hold, for the progress.
fn expected(role: SegmentRole) -> u64 {
    match role {
        SegmentRole::Sealed(sealed) => sealed.end.saturating_sub(DATA_START),
        SegmentRole::Prepared | SegmentRole::Open | SegmentRole::Output => 0,
    }
}

fn has_size(control: &Control, segment: &Segment, report: &mut Report) -> bool {
    let expected = control.manifest.segment_bytes;
    let what = match segment.file.size() {
        Ok(size) if size == expected => return true,
        Ok(size) => format!("{size} bytes instead of {expected}"),
        Err(error) => format!("cannot be measured: {error}"),
    };
    let finding = Finding::new(Kind::Damaged, &segment.name(), 0, 0, what);
    report.findings.push(finding);
    false
}

/// Both header pages of a segment file, named or not.
fn header(control: &Control, name: &str, number: u64, report: &mut Report) -> Result<(), Error> {
    let file = &control.files[name];
    let mut pages = Pages::zeroed(2 * PAGE_BYTES);
    let read = file.read_at(0, &mut pages);
    let copies = header_copies(name, &pages)?;
    let mut tell = |kind, position, what: String| {
        let bytes = PAGE_BYTES as u64;
        let finding = Finding::new(kind, name, position, bytes, what);
        report.findings.push(finding);
    };
    for (header, _) in &copies {
        if let Some(header) = header
            && let Some(what) = foreign(control, header)
        {
            tell(Kind::Damaged, 0, what);
            return Ok(());
        }
    }
    let mut named = control.manifest.segments.iter();
    let Some(named) = named.find(|named| named.number == number) else {
        return Ok(());
    };
    let of_this_life = |header: &Option<SegmentHeader>| is_life(named, header.as_ref());
    // Until a prepared segment is used its header is written anew at every start, and may be of an earlier life.
    let in_use = matches!(named.state, SegmentRole::Open | SegmentRole::Sealed(_))
        || control
            .scan
            .ends
            .iter()
            .any(|(sequence, ..)| *sequence == named.sequence);
    if !in_use && !copies.iter().any(|(header, _)| of_this_life(header)) {
        return Ok(());
    }
    for (copy, (header, padded)) in (0..).zip(&copies) {
        let position = copy * PAGE_BYTES as u64;
        if let Err(error) = &read {
            tell(Kind::Copy, position, format!("cannot be read: {error}"));
        } else if !of_this_life(header) {
            // Sequence and seed are in the manifest, too.
            let kind = if in_use { Kind::Copy } else { Kind::NotLive };
            let what = "a copy of the header is damaged";
            tell(kind, position, what.to_owned());
        } else if !padded {
            tell(
                Kind::NotLive,
                position,
                "padding that is not zero".to_owned(),
            );
        }
    }
    let bytes = copies.len() * PAGE_BYTES;
    report.uncovered_bytes = report.uncovered_bytes.saturating_sub(bytes as u64);
    Ok(())
}

fn is_life(named: &Named, header: Option<&SegmentHeader>) -> bool {
    header.is_some_and(|header| (header.sequence, header.seed) == (named.sequence, named.seed))
}

fn foreign(control: &Control, header: &SegmentHeader) -> Option<String> {
    if header.identity.directory != control.manifest.identity.directory {
        return Some("belongs to another data directory".to_owned());
    }
    (header.sequence >= control.manifest.next_sequence).then(|| {
        let sequence = header.sequence;
        format!("life {sequence} was never given out: the manifest is stale")
    })
}

/// Holds the end of a sealed segment against what the manifest says of it.
fn ends(segment: &Segment, sealed: Sealed, walked: &Walked, report: &mut Report) {
    let said = (sealed.last_round, sealed.last_crc);
    let other = walked.last.is_some_and(|last| last != said);
    if walked.whole && (other || walked.end != sealed.end) {
        let what = format!(
            "ends with round {} at {}, the manifest says {} at {}",
            walked.last.map_or(0, |(round, _)| round),
            walked.end,
            sealed.last_round,
            sealed.end
        );
        let finding = Finding::new(Kind::Damaged, &segment.name(), walked.end, 0, what);
        report.findings.push(finding);
    }
}

/// A sealed segment's footer, held against the rounds where these are whole.
fn read_footer(
    control: &Control,
    segment: &Segment,
    sealed: Sealed,
    walked: &Walked,
    report: &mut Report,
) -> Option<RunIndex> {
    let end = control.manifest.segment_bytes;
    let bytes = end.saturating_sub(sealed.footer_at);
    report.uncovered_bytes = report.uncovered_bytes.saturating_sub(bytes);
    let mut tell = |kind, what: &str| {
        let finding = Finding::new(kind, &segment.name(), sealed.footer_at, bytes, what);
        report.findings.push(finding);
    };
    let length = usize::try_from(bytes).unwrap_or(0);
    let read = segment.read_pages(sealed.footer_at, length);
    let found = read.ok().and_then(|(pages, skip)| {
        let bytes = &pages[skip..];
        let index = RunIndex::decode(segment.seed, segment.sequence, sealed.footer_at, bytes)?;
        // The same facts make the same bytes, padding included.
        let written = index.encode(segment.seed, segment.sequence, end);
        Some((index, written[..] == *bytes))
    });
    let Some((index, same)) = found else {
        tell(
            Kind::Copy,
            "the footer is damaged: it is made again from the rounds when it is read",
        );
        return None;
    };
    if walked.whole && joined(&index) != joined(&walked.index) {
        tell(
            Kind::Damaged,
            "the footer says other things than the rounds",
        );
    } else if !same {
        tell(Kind::NotLive, "padding of the footer that is not zero");
    }
    Some(index)
}

/// Runs as long as they can be: how long they are otherwise is a setting.
fn joined(index: &RunIndex) -> BTreeMap<(GroupId, ReplicaId), Vec<Run>> {
    let join = |runs: &Vec<Run>| {
        let mut all: Vec<Run> = Vec::new();
        for run in runs {
            match all.last_mut() {
                Some(last) if last.end() == run.position && last.last() + 1 == run.first => {
                    last.count += run.count;
                    last.bytes += run.bytes;
                    last.span.add(run.span);
                }
                _ => all.push(*run),
            }
        }
        all
    };
    index
        .groups
        .iter()
        .map(|(key, runs)| (*key, join(runs)))
        .collect()
}

/// The live extents of every segment; a gap in a group's is told.
fn live_extents(control: &Control, report: &mut Report) -> Live {
    let mut live = Live::new();
    for (id, group) in &control.directory.groups {
        let mut next = group.base.index.0 + 1;
        let mut holes = Vec::new();
        for extent in &group.extents {
            if extent.first != next {
                holes.push((next, extent.first));
            }
            next = extent.last + 1;
            let of_segment = live.entry(extent.segment).or_default();
            of_segment.push((*id, group.replica, *extent));
        }
        if next != group.last + 1 {
            holes.push((next, group.last + 1));
        }
        for (from, until) in holes.into_iter().filter(|_| group.faulty.is_none()) {
            let what = format!("the directory has no entries from index {from} to {until}");
            report.findings.push(Finding {
                group: Some(*id),
                replica: Some(group.replica),
                index: Some(Index(from)),
                ..Finding::new(Kind::Damaged, "checkpoint", 0, 0, what)
            });
        }
    }
    live
}

/// A live extent, and all that leads to its entries.
struct Lookup<'a> {
    segment: &'a Segment,
    key: (GroupId, ReplicaId),
    extent: Extent,
    walked: &'a Walked,
    footer: Option<&'a RunIndex>,
}

impl Lookup<'_> {
    /// Tells which entries nobody can read: they are in no whole round, and the footer leads to none.
    fn look(&self, report: &mut Report) {
        let (from, end) = (self.extent.position, self.extent.end);
        let mut next = self.extent.first;
        for run in self.walked.index.within(self.key, from, end) {
            let until = run.first.min(self.extent.last + 1);
            while next < until {
                next = self.lacks(next, until, report);
            }
            if (run.first..=run.last()).contains(&next) {
                next = run.last() + 1;
            }
        }
        while next <= self.extent.last {
            next = self.lacks(next, self.extent.last + 1, report);
        }
    }

    /// One index that is in no whole round, below `until`. Returns the next one to look at.
    fn lacks(&self, index: u64, until: u64, report: &mut Report) -> u64 {
        if self.walked.told.contains(&(self.key.0, index)) {
            return index + 1;
        }
        let (from, end) = (self.extent.position, self.extent.end);
        let runs = self.footer.map(|footer| footer.within(self.key, from, end));
        let mut runs = runs.unwrap_or_default().iter();
        let found = runs.find(|run| (run.first..=run.last()).contains(&index));
        let (next, position, bytes, what) = match found {
            None => {
                let what = format!("entries {index} to {} are not here", until - 1);
                (until, from, end - from, what)
            }
            Some(run) => {
                let read = read_direct(self.segment, run);
                let next = run.last() + 1;
                match read.and_then(|bytes| parse_run(self.segment, self.key, run, &bytes)) {
                    Ok(_) => return next,
                    Err(ReadError::Corrupt { position, why, .. }) => {
                        let bytes = run.end().saturating_sub(position);
                        (next, position, bytes, format!("an entry: {why}"))
                    }
                    Err(other) => (next, run.position, u64::from(run.bytes), other.to_string()),
                }
            }
        };
        let offsets = (self.extent.span.base_offset, self.extent.span.next_offset);
        let name = self.segment.name();
        report.findings.push(Finding {
            group: Some(self.key.0),
            replica: Some(self.key.1),
            index: Some(Index(index)),
            offsets: Some(offsets).filter(|(from, until)| from < until),
            ..Finding::new(Kind::Damaged, &name, position, bytes, what)
        });
        next
    }
}

/// What a start would complain of and nothing here has told yet.
fn rest_of_damages(control: &Control, rounds: &BTreeSet<(String, u64)>, report: &mut Report) {
    for damage in &control.scan.damages {
        let tells = |finding: &Finding| {
            let end = finding.position + finding.bytes.max(1);
            finding.file == damage.file && (finding.position..end).contains(&damage.position)
        };
        let told = rounds.contains(&(damage.file.clone(), damage.position))
            || report.findings.iter().any(tells);
        if control.files.contains_key(&damage.file) && !told {
            let (file, position) = (&damage.file, damage.position);
            let finding = Finding::new(Kind::Damaged, file, position, 0, damage.why.clone());
            report.findings.push(finding);
        }
    }
}
