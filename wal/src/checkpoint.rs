//! Checkpoints: what is alive as of a round. A chain of one whole checkpoint and the changes since.

use crate::blob::{self, Blob, BlobKind};
use crate::codec::{self, Decoder, Encode};
use crate::directory::{Directory, Extent, Group};
use crate::disk::{Disk, File};
use crate::error::{Damage, Error};
use crate::footer::Span;
use crate::layout::checkpoint_name;
use crate::mutant::{self, Mutant};
use crate::record::Faulty;
use raft::types::{
    Base, DirectoryId, Entry, EntryKind, GroupId, HardState, Index, ReplicaId, Term,
};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Where the log goes on after a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Point {
    /// The last round that the checkpoint holds.
    pub(crate) round: u64,
    /// That round's checksum.
    pub(crate) crc: u32,
    /// The segment that was open.
    pub(crate) segment: u64,
    /// Where its next round goes.
    pub(crate) position: u64,
}

/// A checkpoint ready to be written.
pub(crate) struct Prepared {
    pub(crate) number: u64,
    pub(crate) whole: bool,
    pub(crate) body: Vec<u8>,
    /// Segments without a live extent as of it: free once it is the truth.
    pub(crate) dead: Vec<u64>,
}

/// Encodes what changed since the last one (or everything), and notes that it did.
pub(crate) fn prepare(
    directory: &mut Directory,
    point: Point,
    number: u64,
    previous: u64,
    whole: bool,
) -> Prepared {
    let mut out = Vec::new();
    out.put_u64(if whole { 0 } else { previous });
    out.put_u64(point.round);
    out.put_u32(point.crc);
    out.put_u64(point.segment);
    out.put_u64(point.position);
    out.put_u8(u8::from(directory.suspect));
    out.put_len(directory.removed.len());
    for (group, replica) in &directory.removed {
        out.put_u64(group.0);
        out.put_u64(replica.0);
    }
    let gone = std::mem::take(&mut directory.gone);
    out.put_len(gone.len());
    for group in &gone {
        out.put_u64(group.0);
    }
    let changed = directory
        .groups
        .values()
        .filter(|group| whole || group.changed)
        .count();
    out.put_len(changed);
    for (id, group) in &mut directory.groups {
        if whole || group.changed {
            out.put_u64(id.0);
            encode_group(group, whole, &mut out);
            group.set_unchanged();
        }
    }
    directory.died = false;
    let dead = directory
        .segments
        .iter()
        .filter(|(_, state)| state.index.is_none() && state.extents == 0)
        .map(|(sequence, _)| *sequence)
        .collect();
    Prepared {
        number,
        whole,
        body: out,
        dead,
    }
}

fn encode_group(group: &Group, whole: bool, out: &mut Vec<u8>) {
    out.put_u64(group.replica.0);
    out.put_u64(group.last);
    out.put_u64(group.hard_state.term.0);
    out.put_u64(group.hard_state.vote.map_or(0, |replica| replica.0));
    out.put_u64(group.hard_state.commit.0);
    let faulty = group.faulty.unwrap_or(Faulty {
        from: Index(0),
        until: Index(0),
        control: false,
    });
    out.put_u8(u8::from(group.faulty.is_some()) | u8::from(faulty.control) << 1);
    out.put_u64(faulty.from.0);
    out.put_u64(faulty.until.0);
    out.put_u8(u8::from(whole || group.base_changed));
    if whole || group.base_changed {
        out.put_u64(group.base.index.0);
        out.put_u64(group.base.term.0);
        codec::put_membership(out, &group.base.membership);
        out.put_bytes(&group.base.state);
    }
    let derived = group
        .derived
        .as_ref()
        .filter(|_| whole || group.derived_changed);
    out.put_u8(u8::from(derived.is_some()));
    if let Some((index, state)) = derived {
        out.put_u64(index.0);
        out.put_bytes(state);
    }
    out.put_len(group.terms.len());
    for (term, first) in &group.terms {
        out.put_u64(term.0);
        out.put_u64(first.0);
    }
    out.put_len(group.memberships.len());
    for entry in &group.memberships {
        out.put_u64(entry.index.0);
        out.put_u64(entry.term.0);
        out.put_bytes(&entry.payload);
    }
    let changed_from = if whole { 0 } else { group.extents_changed_from };
    let start = group
        .extents
        .partition_point(|extent| extent.first < changed_from);
    out.put_u64(changed_from);
    out.put_len(group.extents.len() - start);
    for extent in group.extents.range(start..) {
        encode_extent(extent, out);
    }
}

const EXTENT_BYTES: usize = 6 * 8 + 24 + 1;

fn encode_extent(extent: &Extent, out: &mut Vec<u8>) {
    out.put_u64(extent.segment);
    out.put_u64(extent.first);
    out.put_u64(extent.last);
    out.put_u64(extent.position);
    out.put_u64(extent.end);
    out.put_u64(extent.bytes);
    extent.span.encode(out);
    out.put_u8(u8::from(extent.cut));
}

fn decode_extent(from: &mut Decoder<'_>) -> Option<Extent> {
    let extent = Extent {
        segment: from.u64()?,
        first: from.u64()?,
        last: from.u64()?,
        position: from.u64()?,
        end: from.u64()?,
        bytes: from.u64()?,
        span: Span::decode(from)?,
        cut: from.u8()? != 0,
    };
    (extent.first <= extent.last).then_some(extent)
}

/// Applies one checkpoint of a chain to the directory.
fn apply(directory: &mut Directory, body: &[u8], previous: u64) -> Option<Point> {
    let mut from = Decoder::new(body);
    if from.u64()? != previous {
        return None;
    }
    let point = Point {
        round: from.u64()?,
        crc: from.u32()?,
        segment: from.u64()?,
        position: from.u64()?,
    };
    directory.suspect = from.u8()? != 0;
    directory.removed.clear();
    for _ in 0..from.count(16)? {
        directory
            .removed
            .insert(GroupId(from.u64()?), ReplicaId(from.u64()?));
    }
    for _ in 0..from.count(8)? {
        directory.groups.remove(&GroupId(from.u64()?));
    }
    for _ in 0..from.count(8)? {
        let id = GroupId(from.u64()?);
        let old = directory.groups.remove(&id);
        directory.groups.insert(id, decode_group(&mut from, old)?);
    }
    from.is_empty().then_some(point)
}

fn decode_group(from: &mut Decoder<'_>, old: Option<Group>) -> Option<Group> {
    let replica = ReplicaId(from.u64()?);
    let mut group = old
        .filter(|old| old.replica == replica)
        .unwrap_or_else(|| Group::new(replica, Base::default()));
    group.last = from.u64()?;
    let (term, vote, commit) = (Term(from.u64()?), from.u64()?, Index(from.u64()?));
    group.hard_state = HardState {
        term,
        vote: (vote != 0).then_some(ReplicaId(vote)),
        commit,
    };
    let flags = from.u8()?;
    let faulty = Faulty {
        from: Index(from.u64()?),
        until: Index(from.u64()?),
        control: flags & 2 != 0,
    };
    group.faulty = (flags & 1 != 0).then_some(faulty);
    if from.u8()? != 0 {
        group.base = Base {
            index: Index(from.u64()?),
            term: Term(from.u64()?),
            membership: codec::membership(from)?,
            state: codec::owned_bytes(from)?,
        };
    }
    if from.u8()? != 0 {
        group.derived = Some((Index(from.u64()?), codec::owned_bytes(from)?));
    }
    group.terms.clear();
    for _ in 0..from.count(16)? {
        group.terms.push((Term(from.u64()?), Index(from.u64()?)));
    }
    group.memberships.clear();
    for _ in 0..from.count(20)? {
        group.memberships.push(Entry {
            index: Index(from.u64()?),
            term: Term(from.u64()?),
            kind: EntryKind::Membership,
            payload: codec::owned_bytes(from)?,
        });
    }
    decode_extents(from, &mut group)?;
    group.set_unchanged();
    Some(group)
}

fn decode_extents(from: &mut Decoder<'_>, group: &mut Group) -> Option<()> {
    let changed_from = from.u64()?;
    // First what the base has killed since: the cut moves an extent's first index, which `changed_from` speaks of.
    let first = group.base.index.0 + 1;
    while group
        .extents
        .front()
        .is_some_and(|extent| extent.last < first)
    {
        group.extents.pop_front();
    }
    if let Some(extent) = group.extents.front_mut() {
        extent.cut_front(first);
    }
    let kept = group
        .extents
        .partition_point(|extent| extent.first < changed_from);
    group.extents.truncate(kept);
    for _ in 0..from.count(EXTENT_BYTES)? {
        group.extents.push_back(decode_extent(from)?);
    }
    Some(())
}

/// The checkpoint files. A slot that neither this manifest nor the one before names may be overwritten.
#[derive(Default)]
pub(crate) struct Slots {
    pub(crate) files: BTreeMap<u64, (Arc<dyn File>, u64)>,
}

/// Where a checkpoint goes: an existing slot, or a file to be made.
#[derive(Clone)]
pub(crate) enum SlotChoice {
    Existing(u64, Arc<dyn File>),
    New(u64, u64),
}

impl Slots {
    /// Opens every slot in the directory.
    pub(crate) fn open(disk: &dyn Disk, names: &[String]) -> Result<Self, Error> {
        let mut slots = Self::default();
        for name in names {
            if let Some(slot) = crate::layout::checkpoint_number(name) {
                let file = disk
                    .open(name)
                    .map_err(|error| Error::io("open", name, error))?;
                let bytes = file
                    .size()
                    .map_err(|error| Error::io("measure", name, error))?;
                slots.files.insert(slot, (file, bytes));
            }
        }
        Ok(slots)
    }

    /// A slot for a body of this length that is not among `taken`. Two free ones are kept back for when the disk is
    /// full (`last_resort`).
    pub(crate) fn choose(&self, body_bytes: usize, taken: &[u64], last_resort: bool) -> SlotChoice {
        let mut free: Vec<(u64, u64, &Arc<dyn File>)> = self
            .files
            .iter()
            .filter(|(slot, (_, bytes))| !taken.contains(slot) && blob::fits(*bytes, body_bytes))
            .map(|(slot, (file, bytes))| (*bytes, *slot, file))
            .collect();
        free.sort_unstable_by_key(|(bytes, slot, _)| (*bytes, *slot));
        match free.first() {
            Some((_, slot, file)) if last_resort || free.len() > SLOTS_KEPT_BACK => {
                SlotChoice::Existing(*slot, Arc::clone(file))
            }
            _ => {
                let slot = self.files.keys().next_back().map_or(0, |last| last + 1);
                SlotChoice::New(slot, blob::file_bytes(body_bytes).max(64 << 10))
            }
        }
    }

    /// Makes the slots that are kept back, at format.
    pub(crate) fn reserve(&mut self, disk: &dyn Disk, bytes: u64) -> io::Result<()> {
        for slot in 0..SLOTS_KEPT_BACK as u64 {
            let file = disk.create(&checkpoint_name(slot), bytes)?;
            file.sync()?;
            self.files.insert(slot, (file, bytes));
        }
        Ok(())
    }
}

/// Free slots that are only used when no new one can be made.
const SLOTS_KEPT_BACK: usize = 2;

/// Writes a checkpoint. Returns its slot and the file, if that is new.
pub(crate) fn write(
    disk: &dyn Disk,
    choice: SlotChoice,
    directory: DirectoryId,
    number: u64,
    body: &[u8],
) -> io::Result<(u64, Arc<dyn File>)> {
    let (slot, file, is_new) = match choice {
        SlotChoice::Existing(slot, file) => (slot, file, false),
        SlotChoice::New(slot, bytes) => (slot, disk.create(&checkpoint_name(slot), bytes)?, true),
    };
    let blob = Blob {
        number,
        directory,
        body: body.to_vec(),
    };
    blob::write(&*file, BlobKind::Checkpoint, &blob)?;
    if is_new && !mutant::on(Mutant::NamesNotSynced) {
        disk.sync_directory()?;
    }
    Ok((slot, file))
}

/// Loads a chain into an empty directory.
pub(crate) fn load(
    slots: &Slots,
    chain: &[(u64, u64)],
    id: DirectoryId,
    directory: &mut Directory,
) -> Result<Point, Error> {
    let mut point = None;
    let mut previous = 0;
    for (slot, number) in chain {
        let name = checkpoint_name(*slot);
        let broken = |why: &str| Error::Corrupt(Damage::new(&name, 0, why));
        let (file, _) = slots
            .files
            .get(slot)
            .ok_or_else(|| broken("named, but missing"))?;
        let found = blob::read(&**file, &name, BlobKind::Checkpoint)?;
        let found = found.ok_or_else(|| broken("neither copy is valid"))?;
        if found.number != *number || found.directory != id {
            return Err(broken("not the checkpoint that the manifest names"));
        }
        let applied = apply(directory, &found.body, previous);
        point = Some(applied.ok_or_else(|| broken("valid checksum, senseless content"))?);
        previous = *number;
    }
    point.ok_or_else(|| Error::Corrupt(Damage::new("manifest", 0, "names no checkpoint")))
}
