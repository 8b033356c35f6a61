//! Names, meta file, manifests, checkpoints: what says where everything else lies.

use super::{Finding, Kind, Report};
use crate::blob::{self, BlobKind};
use crate::checkpoint::{self, Point, Slots};
use crate::directory::Directory;
use crate::disk::{Disk, File};
use crate::error::Error;
use crate::layout::{
    FORMATTING, LOCK, MANIFESTS, META, checkpoint_name, checkpoint_number, is_ours, segment_name,
    segment_number,
};
use crate::manifest::Manifest;
use crate::meta::{self, Mark};
use crate::pages::PAGE_BYTES;
use crate::parts::{NamedSegments, fill_segments, highest_mark, log_segments};
use crate::recovery::{Replay, Scan};
use crate::segment::Segment;
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the control files say, and what the rounds after the checkpoint make of it.
pub(super) struct Control {
    pub(super) manifest: Manifest,
    pub(super) files: BTreeMap<String, Arc<dyn File>>,
    pub(super) named: NamedSegments,
    pub(super) directory: Directory,
    /// None when the checkpoints cannot be read: then nothing is known to be dead.
    pub(super) point: Option<Point>,
    pub(super) scan: Scan,
}

/// Reads the control files. None when there is nothing to go on from.
pub(super) fn read(disk: &dyn Disk, report: &mut Report) -> Result<Option<Control>, Error> {
    let names = disk.list().map_err(|error| Error::io("list", ".", error))?;
    let mut files = BTreeMap::new();
    for name in &names {
        if look_at_name(name, &names, report) {
            let file = disk.open(name);
            let file = file.map_err(|error| Error::io("open", name, error))?;
            let size = file.size();
            report.bytes += size.map_err(|error| Error::io("measure", name, error))?;
            report.files += 1;
            files.insert(name.clone(), file);
        }
    }
    report.uncovered_bytes = report.bytes;
    if files.is_empty() {
        return Ok(None);
    }
    let slots = manifests(&files, report)?;
    let found = slots.iter().filter_map(|(_, _, found)| found.as_ref());
    let Some(manifest) = found.max_by_key(|found| found.version).cloned() else {
        let what = "no valid manifest: nothing says what the other files are";
        report
            .findings
            .push(Finding::new(Kind::Damaged, MANIFESTS[0], 0, 0, what));
        return Ok(None);
    };
    let mark = match files.get(META) {
        Some(file) => marks(&**file, &manifest, report),
        None => {
            report
                .findings
                .push(Finding::new(Kind::Damaged, META, 0, 0, "missing"));
            Mark::default()
        }
    };
    for (name, copies, found) in &slots {
        let kind = kind_of_manifest(found.as_ref(), &manifest, mark);
        blob_copies(name, copies, kind, report);
    }
    let mut control = Control {
        named: BTreeMap::new(),
        directory: Directory {
            // Runs as long as they can be: a footer's, which are shorter, are joined before they are compared.
            run_bytes_max: u64::MAX,
            ..Directory::default()
        },
        point: None,
        scan: Scan::default(),
        manifest,
        files,
    };
    control.name_segments(report);
    control.checkpoints(report)?;
    control.replay(mark, report)?;
    Ok(Some(control))
}

/// Whether a file is the log's and to be read.
fn look_at_name(name: &str, names: &[String], report: &mut Report) -> bool {
    let ours = |number: fn(&str) -> Option<u64>, of: fn(u64) -> String| {
        number(name).is_some_and(|number| of(number) == name)
    };
    let known = name == META
        || MANIFESTS.contains(&name)
        || ours(segment_number, segment_name)
        || ours(checkpoint_number, checkpoint_name);
    if known {
        return true;
    }
    let formatting = names.iter().any(|name| name == FORMATTING);
    let what = match name {
        LOCK => return false,
        FORMATTING => "the directory was being formatted when the process ended",
        // Left behind where a larger manifest was being written.
        _ if name.strip_suffix(".new").is_some_and(is_ours) => "a file that was never finished",
        _ => "no name of the log's",
    };
    let torn = name == FORMATTING || formatting || name.ends_with(".new");
    let kind = if torn { Kind::Torn } else { Kind::NotLive };
    report.findings.push(Finding::new(kind, name, 0, 0, what));
    false
}

/// A manifest's slot: its name, both copies, and what they say.
type ManifestSlot = (&'static str, [blob::Copy; 2], Option<Manifest>);

/// Both manifests.
fn manifests(
    files: &BTreeMap<String, Arc<dyn File>>,
    report: &mut Report,
) -> Result<Vec<ManifestSlot>, Error> {
    let mut slots = Vec::new();
    for name in MANIFESTS {
        let Some(file) = files.get(name) else {
            report
                .findings
                .push(Finding::new(Kind::NotLive, name, 0, 0, "missing"));
            continue;
        };
        let copies = blob::copies(&**file, name, BlobKind::Manifest)?;
        let blob = copies.iter().find_map(|copy| copy.blob.as_ref());
        let manifest = blob.and_then(Manifest::decode);
        if blob.is_some() && manifest.is_none() {
            let what = "valid checksum, senseless content";
            report
                .findings
                .push(Finding::new(Kind::Damaged, name, 0, 0, what));
        }
        slots.push((name, copies, manifest));
    }
    Ok(slots)
}

/// What a damaged copy of a manifest means. The older version is not believed any longer, and its slot is the next to be
/// written; the newest is sure to be whole once the meta file knows it.
fn kind_of_manifest(found: Option<&Manifest>, newest: &Manifest, mark: Mark) -> Kind {
    match found {
        Some(found) if found != newest => Kind::NotLive,
        None => Kind::NotLive,
        Some(found) if mark.manifest < found.version => Kind::Torn,
        Some(_) => Kind::Copy,
    }
}

/// Tells which copies of a blob are not whole, or not the same.
fn blob_copies(name: &str, copies: &[blob::Copy; 2], kind: Kind, report: &mut Report) {
    let first = copies.iter().find_map(|copy| copy.blob.as_ref());
    let bytes = copies.iter().map(|copy| copy.bytes).max().unwrap_or(0);
    for copy in copies {
        report.uncovered_bytes = report.uncovered_bytes.saturating_sub(bytes);
        let (kind, what) = match &copy.blob {
            None => (kind, "a copy's checksum does not hold"),
            blob if blob.as_ref() != first => (kind, "the copies differ"),
            Some(_) if !copy.padded => (Kind::NotLive, "padding that is not zero"),
            Some(_) => continue,
        };
        report
            .findings
            .push(Finding::new(kind, name, copy.position, bytes, what));
    }
}

/// The meta file's four copies; returns the newest mark.
fn marks(file: &dyn File, manifest: &Manifest, report: &mut Report) -> Mark {
    let copies = meta::copies(file, manifest.identity.directory);
    let marks = copies.iter().filter_map(|copy| copy.mark);
    let newest = marks.max_by_key(|mark| mark.generation);
    report.uncovered_bytes = report.uncovered_bytes.saturating_sub(meta::META_BYTES);
    for (slot, pair) in copies.chunks(2).enumerate() {
        let live = newest.is_some_and(|mark| mark.generation % 2 == slot as u64);
        let whole = pair.iter().find_map(|copy| copy.mark);
        for copy in pair {
            let (kind, what) = match copy.mark {
                // While the log is open it is written every second. The other copy, and the slot before, are whole.
                mark if live && mark != newest && !manifest.clean => {
                    (Kind::Torn, "not written to its end, or damaged")
                }
                mark if live && mark != newest => (Kind::Copy, "a copy's checksum does not hold"),
                mark if !live && (mark.is_none() || mark != whole) => {
                    (Kind::NotLive, "an older mark that is not whole")
                }
                _ if !copy.padded => (Kind::NotLive, "padding that is not zero"),
                _ => continue,
            };
            let page = PAGE_BYTES as u64;
            report
                .findings
                .push(Finding::new(kind, META, copy.position, page, what));
        }
    }
    let stale = newest.is_some_and(|mark| mark.manifest > manifest.version);
    let what = match newest {
        None => "no copy is valid".to_owned(),
        Some(mark) if stale => format!(
            "the manifest is stale: version {}, but version {} was the truth",
            manifest.version, mark.manifest
        ),
        Some(mark) => return mark,
    };
    report
        .findings
        .push(Finding::new(Kind::Damaged, META, 0, 0, what));
    newest.unwrap_or_default()
}

impl Control {
    /// The segments that the manifest names, as far as they are there.
    fn name_segments(&mut self, report: &mut Report) {
        for named in &self.manifest.segments {
            let name = segment_name(named.number);
            let Some(file) = self.files.get(&name) else {
                let what = "named by the manifest, but missing";
                report
                    .findings
                    .push(Finding::new(Kind::Damaged, &name, 0, 0, what));
                continue;
            };
            let segment = Segment::new(named.number, named.sequence, named.seed, Arc::clone(file));
            self.named.insert(named.sequence, (segment, named.state));
        }
        fill_segments(&self.named, &mut self.directory);
    }

    /// Every checkpoint of the chain, in both copies; then what they add up to.
    fn checkpoints(&mut self, report: &mut Report) -> Result<(), Error> {
        let mut slots = Slots::default();
        for (slot, _) in &self.manifest.chain {
            let name = checkpoint_name(*slot);
            let Some(file) = self.files.get(&name) else {
                continue;
            };
            let copies = blob::copies(&**file, &name, BlobKind::Checkpoint)?;
            blob_copies(&name, &copies, Kind::Copy, report);
            let size = file.size();
            let size = size.map_err(|error| Error::io("measure", &name, error))?;
            slots.files.insert(*slot, (Arc::clone(file), size));
        }
        let mut loaded = Directory::default();
        let id = self.manifest.identity.directory;
        match checkpoint::load(&slots, &self.manifest.chain, id, &mut loaded) {
            Ok(point) => {
                self.point = Some(point);
                self.directory.groups = loaded.groups;
                self.directory.removed = loaded.removed;
                self.directory.suspect = loaded.suspect;
            }
            Err(Error::Corrupt(damage)) => report.findings.push(Finding::new(
                Kind::Damaged,
                &damage.file,
                damage.position,
                0,
                damage.why,
            )),
            Err(other) => return Err(other),
        }
        if let Some(sequence) = self.directory.account_all() {
            let what = format!("refers to segment {sequence}, which the manifest does not name");
            report
                .findings
                .push(Finding::new(Kind::Damaged, "checkpoint", 0, 0, what));
        }
        self.marked_before(report);
        Ok(())
    }

    /// What an earlier start has found lost stays a finding for as long as it is.
    fn marked_before(&self, report: &mut Report) {
        let chain = self.manifest.chain.last();
        let name = chain.map_or_else(String::new, |(slot, _)| checkpoint_name(*slot));
        for (id, group) in &self.directory.groups {
            let Some(faulty) = group.faulty else { continue };
            let what = format!(
                "an earlier start has found it damaged, from index {} to {}",
                faulty.from, faulty.until
            );
            report.findings.push(Finding {
                group: Some(*id),
                replica: Some(group.replica),
                index: Some(faulty.from),
                ..Finding::new(Kind::Damaged, &name, 0, 0, what)
            });
        }
    }

    /// What a start would read, and what it would say of it.
    fn replay(&mut self, mark: Mark, report: &mut Report) -> Result<(), Error> {
        let Some(point) = self.point else {
            return Ok(());
        };
        let damaged = |damage: crate::error::Damage| {
            Finding::new(Kind::Damaged, &damage.file, damage.position, 0, damage.why)
        };
        let segments = match log_segments(&self.named, point) {
            Ok(segments) => segments,
            Err(Error::Corrupt(damage)) => {
                report.findings.push(damaged(damage));
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let replay = Replay {
            directory: &mut self.directory,
            point,
            manifest: self.manifest.version,
            mark: highest_mark(&self.named, mark.round, point),
            segment_bytes: self.manifest.segment_bytes,
            scan: Scan::default(),
        };
        match replay.run(&segments) {
            Ok(scan) => self.scan = scan,
            Err(Error::Corrupt(damage)) => report.findings.push(damaged(damage)),
            Err(other) => return Err(other),
        }
        // Those with a place are found again, and told in detail, where the segments are read.
        let files: BTreeSet<String> = self.files.keys().cloned().collect();
        let elsewhere = |damage: &&crate::error::Damage| !files.contains(&damage.file);
        let elsewhere = self.scan.damages.iter().filter(elsewhere).cloned();
        report.findings.extend(elsewhere.map(damaged));
        Ok(())
    }

    /// Whether a start says that there is damage at a place.
    pub(super) fn says_damaged(&self, segment: &Segment, position: u64) -> bool {
        let name = segment.name();
        let mut damages = self.scan.damages.iter();
        damages.any(|damage| damage.file == name && damage.position == position)
    }

    /// Whether a start cannot trust an entry of this group, or anything of it.
    pub(super) fn distrusted(&self, group: GroupId, index: Option<u64>) -> bool {
        let found = self.directory.groups.get(&group);
        found.and_then(|found| found.faulty).is_some_and(|faulty| {
            index.is_none_or(|index| (faulty.from.0..=faulty.until.0).contains(&index))
        })
    }
}
