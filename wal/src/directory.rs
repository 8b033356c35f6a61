//! What is alive: every group's base, hard state, terms and live extents, and every segment's share of them.
//!
//! The same functions apply a frame at run time (after its sync) and at recovery, so that a restart cannot come to
//! another result.

mod group;
mod segments;

pub(crate) use group::{Extent, Group};
pub(crate) use segments::{SegmentState, Segments, Sums};

use crate::footer::Span;
use crate::frame::{self, Frame, FrameType};
use crate::kafka;
use crate::record::Faulty;
use bytes::Bytes;
use raft::types::{Base, EntryKind, GroupId, Index, ReplicaId};
use std::collections::BTreeMap;

/// Bytes of extents that came to life or died, by segment.
pub(crate) type Change = (u64, i64, i64);

/// What is alive.
#[derive(Default)]
pub(crate) struct Directory {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// Removed replicas: none of these ids, and none below, ever comes back in its group.
    pub(crate) removed: BTreeMap<GroupId, ReplicaId>,
    /// By sequence.
    pub(crate) segments: Segments,
    pub(crate) run_bytes_max: u64,
    /// A segment may have lost its last live extent since the last checkpoint.
    pub(crate) died: bool,
    /// Rounds were lost of which nobody knows what was in them: groups that are not here may have been.
    pub(crate) suspect: bool,
    /// Memory for one frame's changes.
    pub(crate) scratch: Vec<Change>,
    /// Groups that were removed since the last checkpoint.
    pub(crate) gone: Vec<GroupId>,
}

impl Directory {
    /// The group, if this replica of it lives here.
    pub(crate) fn group(&self, group: GroupId, replica: ReplicaId) -> Option<&Group> {
        self.groups
            .get(&group)
            .filter(|found| found.replica == replica)
    }

    /// Notes that an entry's frame lies there, alive or not.
    pub(crate) fn note(&mut self, frame: &Frame<'_>, sequence: u64, position: u64) {
        if frame.frame_type != FrameType::Entry {
            return;
        }
        let run_bytes_max = self.run_bytes_max;
        if let Some(index) = self.segments.runs_mut(sequence) {
            let bytes = u32::try_from(frame.size()).expect("frames are below a segment");
            let key = (frame.group, frame.replica);
            index.add(
                key,
                frame.index.0,
                position,
                bytes,
                span_of(frame),
                run_bytes_max,
            );
        }
    }

    /// Applies a durable frame. False when it makes no sense (recovery then reports damage).
    pub(crate) fn apply(&mut self, frame: &Frame<'_>, sequence: u64, position: u64) -> bool {
        if self
            .removed
            .get(&frame.group)
            .is_some_and(|removed| frame.replica <= *removed)
        {
            return true;
        }
        if frame.frame_type == FrameType::Base {
            return self.apply_base(frame);
        }
        let Some(group) = self.groups.get_mut(&frame.group) else {
            return false;
        };
        if group.replica != frame.replica {
            // An older instance's is dead. A newer one's is senseless: its base came first.
            return group.replica > frame.replica;
        }
        let mut changes = std::mem::take(&mut self.scratch);
        let sensible = match frame.frame_type {
            FrameType::Entry => apply_entry(group, frame, sequence, position, &mut changes),
            FrameType::HardState => frame::hard_state(frame).is_some_and(|state| {
                group.hard_state = state;
                true
            }),
            FrameType::Truncate => {
                group.truncate(frame.index.0, &mut changes);
                true
            }
            FrameType::Derived => {
                group.derived = Some((frame.index, Bytes::copy_from_slice(&frame.payload)));
                group.derived_changed = true;
                true
            }
            FrameType::Remove => {
                group.drop_all(&mut changes);
                self.groups.remove(&frame.group);
                self.removed.insert(frame.group, frame.replica);
                self.gone.push(frame.group);
                true
            }
            FrameType::Base => false,
        };
        if let Some(group) = self.groups.get_mut(&frame.group) {
            group.changed = true;
        }
        self.account(&changes);
        changes.clear();
        self.scratch = changes;
        sensible
    }

    fn apply_base(&mut self, frame: &Frame<'_>) -> bool {
        let Some(base) = frame::base(frame) else {
            return false;
        };
        let mut changes = Vec::new();
        match self.groups.get_mut(&frame.group) {
            Some(group) if group.replica > frame.replica => return true,
            Some(group) if group.replica == frame.replica => {
                if base.index >= group.base.index {
                    group.set_base(base, &mut changes);
                }
            }
            older => {
                if let Some(older) = older {
                    older.drop_all(&mut changes);
                }
                self.groups
                    .insert(frame.group, Group::new(frame.replica, base));
            }
        }
        self.account(&changes);
        true
    }

    /// Whether a sealed segment holds nothing alive.
    pub(crate) fn any_dead(&self) -> bool {
        self.died
            && self
                .segments
                .values()
                .any(|state| state.index.is_none() && state.extents == 0)
    }

    /// Takes changes of extents into the segments' accounts.
    pub(crate) fn account(&mut self, changes: &[Change]) {
        for (sequence, bytes, extents) in changes {
            self.died |= self.segments.change(*sequence, *bytes, *extents) == Some(0);
        }
    }

    /// Counts every extent again, after the directory was loaded. Returns a segment that is referred to but not there.
    pub(crate) fn account_all(&mut self) -> Option<u64> {
        self.segments.forget_extents();
        for group in self.groups.values() {
            for extent in &group.extents {
                let bytes = extent.bytes.cast_signed();
                if self.segments.change(extent.segment, bytes, 1).is_none() {
                    return Some(extent.segment);
                }
            }
        }
        None
    }

    /// Something of a replica that is no entry was synced and is lost, and with it perhaps the base that made the
    /// replica: then it is here from now on, with nothing but that fact. It must never count as one that was never made.
    pub(crate) fn mark_lost(&mut self, group: GroupId, replica: ReplicaId) {
        let removed = self
            .removed
            .get(&group)
            .is_some_and(|gone| replica <= *gone);
        let found = self.groups.get(&group).map(|found| found.replica);
        if removed || found.is_some_and(|found| found > replica) {
            return;
        }
        if found != Some(replica) {
            let mut changes = Vec::new();
            if let Some(older) = self.groups.get_mut(&group) {
                older.drop_all(&mut changes);
            }
            self.groups
                .insert(group, Group::new(replica, Base::default()));
            self.account(&changes);
        }
        let from = self.groups[&group].base.index.next();
        self.mark_faulty(group, from, Index(u64::MAX), true);
    }

    /// Marks a range of a group as not to be trusted; ranges join.
    pub(crate) fn mark_faulty(&mut self, group: GroupId, from: Index, until: Index, control: bool) {
        if let Some(found) = self.groups.get_mut(&group) {
            let joined = found.faulty.map_or(
                Faulty {
                    from,
                    until,
                    control,
                },
                |old| Faulty {
                    from: old.from.min(from),
                    until: old.until.max(until),
                    control: old.control || control,
                },
            );
            found.faulty = Some(joined);
            found.changed = true;
        }
    }
}

/// An entry at run time follows the last one; at recovery it may be a damaged round's successor: then the hole is
/// bridged, because the range is marked faulty by the caller.
fn apply_entry(
    group: &mut Group,
    frame: &Frame<'_>,
    sequence: u64,
    position: u64,
    changes: &mut Vec<Change>,
) -> bool {
    let index = frame.index.0;
    if index <= group.last || EntryKind::from_u8(frame.kind).is_none() {
        return false;
    }
    let contiguous = index == group.last + 1;
    let extent = Extent {
        segment: sequence,
        first: index,
        last: index,
        position,
        end: position + frame.size() as u64,
        bytes: frame.size() as u64,
        span: span_of(frame),
        cut: false,
    };
    group.append(extent, frame.term, changes);
    if frame.kind == EntryKind::Membership as u8
        && let Some(entry) = frame.entry(Bytes::copy_from_slice(&frame.payload))
    {
        group.memberships.push(entry);
    }
    contiguous
}

/// The Kafka offsets in an entry.
pub(crate) fn span_of(frame: &Frame<'_>) -> Span {
    if frame.kind == EntryKind::Records as u8 {
        kafka::batch_span(&frame.payload).into()
    } else {
        Span::EMPTY
    }
}
