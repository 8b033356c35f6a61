//! One segment's rounds, one after the other: what is in them, and which of it is whole.

use super::control::Control;
use super::{Finding, Kind, Report};
use crate::footer::{RunIndex, Span};
use crate::frame::{self, Frame, FrameType, Place};
use crate::layout::DATA_START;
use crate::manifest::{Sealed, SegmentRole};
use crate::pages::PAGE_BYTES;
use crate::round::{FLAG_CLEANED, Item, ParsedRound};
use crate::segment::Segment;
use crate::window::{Found, Window};
use bytes::Bytes;
use protocol::record_batch::{BatchHeader, crc_of};
use raft::types::{EntryKind, GroupId, Index, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};

/// What came out of a segment.
pub(super) struct Walked {
    /// Where the whole entries lie.
    pub(super) index: RunIndex,
    /// Entries that are already told to be damaged.
    pub(super) told: BTreeSet<(GroupId, u64)>,
    /// Its last round and that round's checksum; None when it has none, or when that cannot be said.
    pub(super) last: Option<(u64, u32)>,
    /// Whether every round and every frame is whole.
    pub(super) whole: bool,
    /// Rounds with damaged frames, all of them told.
    pub(super) damaged: Vec<u64>,
    /// Behind the last round that was met.
    pub(super) end: u64,
}

/// A group's place in the sequence of Kafka offsets while its entries pass by.
#[derive(Default)]
struct Passing {
    /// The offset after the last batch, and the index of the last entry.
    next: Option<(u64, i64)>,
    /// Findings about damaged entries since then.
    damaged: Vec<usize>,
}

pub(super) struct Walk<'a> {
    control: &'a Control,
    segment: &'a Segment,
    sealed: Option<Sealed>,
    keep: Option<GroupId>,
    report: &'a mut Report,
    /// The round before: None at the first one, and behind what cannot be read.
    last: Option<(u64, u32)>,
    passing: BTreeMap<GroupId, Passing>,
    out: Walked,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        control: &'a Control,
        segment: &'a Segment,
        role: SegmentRole,
        keep: Option<GroupId>,
        report: &'a mut Report,
    ) -> Self {
        let sealed = match role {
            SegmentRole::Sealed(sealed) => Some(sealed),
            SegmentRole::Prepared | SegmentRole::Open | SegmentRole::Output => None,
        };
        let cleaned = sealed.is_some_and(|sealed| sealed.cleaned);
        Self {
            control,
            segment,
            sealed,
            keep,
            report,
            // The cleaner numbers its output from 1.
            last: cleaned.then_some((0, 0)),
            passing: BTreeMap::new(),
            out: Walked {
                index: RunIndex::default(),
                told: BTreeSet::new(),
                last: None,
                whole: true,
                damaged: Vec::new(),
                end: DATA_START,
            },
        }
    }

    /// Reads all rounds. `before` is the last round of the segment before this one, if that is known.
    pub(super) fn run(mut self, before: Option<(u64, u32)>, read: &mut dyn FnMut(u64)) -> Walked {
        let limit = match self.sealed {
            Some(sealed) => sealed.end,
            None => self.control.manifest.segment_bytes,
        };
        let mut window = Window::new(limit);
        let mut position = DATA_START;
        while position < limit {
            let found = window.round(self.segment, position);
            let next = match found {
                Ok(Some(found)) if self.is_ours(&found.round) => {
                    if self.is_torn(position) {
                        self.torn(position, &found);
                        break;
                    }
                    if !self.follows(&found.round, before) && !self.broken_chain(position, &found) {
                        break;
                    }
                    self.round(position, &found);
                    position + u64::from(found.round.bytes)
                }
                other => {
                    let why = match other {
                        Err(error) => format!("cannot be read: {error}"),
                        Ok(_) => "a round's header is damaged".to_owned(),
                    };
                    match self.lost_round(&mut window, position, limit, &why) {
                        Some(next) => next,
                        None => break,
                    }
                }
            };
            read(next - position);
            position = next;
            self.out.end = next;
        }
        self.report.uncovered_bytes = self
            .report
            .uncovered_bytes
            .saturating_sub(self.out.end - DATA_START);
        self.out.last = self.last;
        self.out
    }

    fn is_ours(&self, round: &ParsedRound) -> bool {
        let cleaned = self.sealed.is_some_and(|sealed| sealed.cleaned);
        (round.header.flags & FLAG_CLEANED != 0) == cleaned
    }

    fn is_torn(&self, position: u64) -> bool {
        let torn = self.control.scan.torn.as_ref();
        torn.is_some_and(|torn| torn.segment == self.segment.sequence && torn.position == position)
    }

    fn torn(&mut self, position: u64, found: &Found<'_>) {
        let what = format!(
            "round {} was being written when the process ended",
            found.round.header.round
        );
        self.tell(Kind::Torn, position, u64::from(found.round.bytes), what);
    }

    /// Whether a round goes on where the one before it ended. Segments whose data has died leave gaps between segments.
    fn follows(&self, round: &ParsedRound, before: Option<(u64, u32)>) -> bool {
        let (number, chain) = (round.header.round, round.header.chain);
        match (self.last, before) {
            (Some((last, crc)), _) => number == last + 1 && chain == crc,
            (None, Some((last, crc))) if self.out.end == DATA_START => {
                number > last + 1 || (number == last + 1 && chain == crc)
            }
            (None, _) => true,
        }
    }

    /// A round that does not continue the log. False where the log ends before it.
    fn broken_chain(&mut self, position: u64, found: &Found<'_>) -> bool {
        if self.sealed.is_none() && !self.control.says_damaged(self.segment, position) {
            return false;
        }
        let what = format!("round {} does not follow", found.round.header.round);
        self.out.whole = false;
        let bytes = u64::from(found.round.bytes);
        self.tell(self.kind_of_round(), position, bytes, what);
        true
    }

    /// A restart reads the rounds of these segments; of the others the footers say what is in them.
    fn kind_of_round(&self) -> Kind {
        let point = self.control.point;
        let replayed = match self.sealed {
            None => true,
            Some(sealed) => {
                !sealed.cleaned && point.is_none_or(|point| self.segment.sequence >= point.segment)
            }
        };
        if replayed { Kind::Damaged } else { Kind::Copy }
    }

    /// There is no round at a position. Where reading goes on; None where the log ends.
    fn lost_round(
        &mut self,
        window: &mut Window,
        position: u64,
        limit: u64,
        why: &str,
    ) -> Option<u64> {
        let page = PAGE_BYTES as u64;
        if self.sealed.is_none() && !self.control.says_damaged(self.segment, position) {
            return None;
        }
        self.out.whole = false;
        let last = self.last.map(|(round, _)| round);
        let mut at = position + page;
        let next = loop {
            if at >= limit {
                break None;
            }
            if let Ok(Some(found)) = window.round(self.segment, at)
                && self.is_ours(&found.round)
                && last.is_none_or(|last| found.round.header.round > last)
            {
                break Some(at);
            }
            at += page;
        };
        let next = match (next, self.sealed) {
            (Some(next), _) => next,
            (None, Some(_)) => limit,
            (None, None) => position + page,
        };
        self.last = None;
        self.tell(
            self.kind_of_round(),
            position,
            next - position,
            why.to_owned(),
        );
        Some(next)
    }

    fn tell(&mut self, kind: Kind, position: u64, bytes: u64, what: impl Into<String>) {
        let name = self.segment.name();
        self.report
            .findings
            .push(Finding::new(kind, &name, position, bytes, what));
    }

    fn round(&mut self, position: u64, found: &Found<'_>) {
        let round = &found.round;
        let place = self.segment.place(position);
        let mut whole = true;
        let mut end = round.frames_at as usize;
        for (item, at, frame) in round.frames(place, found.bytes) {
            let start = end;
            end += item.bytes as usize;
            match frame {
                Some((_, frame)) => {
                    let rest = &found.bytes[start..end];
                    self.frame(&frame, at, rest);
                }
                None => {
                    whole = false;
                    let rest = found.bytes.get(start..end).unwrap_or(&[]);
                    let place = Place {
                        position: at,
                        ..place
                    };
                    self.bad_frame(round.header.round, &item, place, rest);
                }
            }
        }
        let bytes = round.bytes as usize;
        if let Some(padding) = found.bytes.get(end..bytes)
            && found.unreadable.is_none()
            && padding.iter().any(|byte| *byte != 0)
        {
            let what = "padding of a round that is not zero";
            let at = position + end as u64;
            self.tell(Kind::NotLive, at, (bytes - end) as u64, what);
        }
        if !whole {
            self.out.whole = false;
            self.out.damaged.push(position);
        }
        self.report.rounds += u64::from(whole);
        self.last = Some((round.header.round, round.crc));
    }

    /// A frame whose checksums hold; `bytes` are its own, padding included.
    fn frame(&mut self, frame: &Frame<'_>, at: u64, bytes: &[u8]) {
        let used = crate::layout::FRAME_HEADER_BYTES + frame.payload.len();
        if bytes[used..].iter().any(|byte| *byte != 0) {
            let what = "padding of a frame that is not zero";
            let (at, bytes) = (at + used as u64, (bytes.len() - used) as u64);
            self.tell(Kind::NotLive, at, bytes, what);
        }
        if frame.frame_type != FrameType::Entry {
            return;
        }
        self.report.entries += 1;
        let size = u32::try_from(frame.size()).expect("frames are below a segment");
        let span = crate::directory::span_of(frame);
        let key = (frame.group, frame.replica);
        self.out
            .index
            .add(key, frame.index.0, at, size, span, u64::MAX);
        self.pass(frame, span);
        let live = self.live(frame.group, Some(frame.replica), frame.index.0, at);
        if let Some(what) = self.senseless(frame, live) {
            let offsets = (span != Span::EMPTY).then_some((span.base_offset, span.next_offset));
            self.tell_entry(live, at, size, what, key, frame.index, offsets);
        } else if live
            && self.keep == Some(frame.group)
            && let Some(entry) = frame.entry(Bytes::copy_from_slice(&frame.payload))
        {
            self.report.kept.push(entry);
        }
    }

    /// What is wrong with an entry whose checksums hold: it was written so, or it is another one.
    fn senseless(&mut self, frame: &Frame<'_>, live: bool) -> Option<String> {
        if EntryKind::from_u8(frame.kind).is_none() {
            return Some(format!("an entry of the unknown kind {}", frame.kind));
        }
        if frame.kind == EntryKind::Records as u8 {
            match BatchHeader::parse(&frame.payload) {
                Err(why) => return Some(format!("no record batch: {why}")),
                Ok(header) if header.total_length() != frame.payload.len() => {
                    return Some("a record batch of another length than its entry".to_owned());
                }
                Ok(header) if crc_of(&frame.payload) != header.crc => {
                    return Some("the record batch's CRC-32C does not hold".to_owned());
                }
                Ok(_) => self.report.batches += 1,
            }
        }
        let group = self.control.directory.group(frame.group, frame.replica);
        let terms = group.filter(|_| live).map(|group| &group.terms)?;
        let at = terms.partition_point(|(_, first)| *first <= frame.index);
        let term = terms.get(at.checked_sub(1)?)?.0;
        (term != frame.term).then(|| {
            format!(
                "term {} instead of {term}, which the directory says",
                frame.term
            )
        })
    }

    /// A frame whose header or payload is not what was written.
    fn bad_frame(&mut self, round: u64, item: &Item, place: Place, bytes: &[u8]) {
        let header = frame::parse_header(place, bytes);
        let part = if header.is_some() {
            "payload"
        } else {
            "header"
        };
        let replayed = self.control.point.is_none_or(|point| round > point.round);
        let cleaned = self.sealed.is_some_and(|sealed| sealed.cleaned);
        let group = self.control.directory.groups.get(&item.group);
        let replica = header.map(|header| header.replica).or(item.replica);
        let at = place.position;
        if item.replica.is_some() {
            // The checkpoint says what these said up to its round.
            let lost = replayed && !cleaned && self.control.distrusted(item.group, None);
            let kind = if lost { Kind::Damaged } else { Kind::NotLive };
            let what = format!("the {part} of a frame that is no entry is damaged");
            self.tell(kind, at, u64::from(item.bytes), what);
            let told = self.report.findings.last_mut().expect("just told");
            (told.group, told.replica) = (Some(item.group), replica);
            return;
        }
        let live = self.live(item.group, replica, item.index.0, at)
            || (replayed && !cleaned && self.control.distrusted(item.group, Some(item.index.0)));
        let replica = replica.or(group.map(|group| group.replica));
        let key = (item.group, replica.unwrap_or_default());
        let what = format!("the {part} of an entry is damaged");
        self.tell_entry(live, at, item.bytes, what, key, item.index, None);
        let told = self.report.findings.len() - 1;
        let passing = self.passing.entry(item.group).or_default();
        passing.damaged.push(told);
        // The neighbours' offsets are its bounds; if they are not near, the directory has wider ones.
        let wide = group.and_then(|group| group.extent_of(item.index.0));
        let wide = wide.map(|extent| (extent.span.base_offset, extent.span.next_offset));
        let from = passing
            .next
            .filter(|(index, _)| *index < item.index.0)
            .map(|(_, next)| next);
        let bounds = wide.map(|(first, next)| (from.unwrap_or(first), next));
        self.report.findings[told].offsets = bounds.filter(|(from, until)| from < until);
    }

    /// Notes where a group's offsets have come to; damaged entries before end there.
    fn pass(&mut self, frame: &Frame<'_>, span: Span) {
        if span == Span::EMPTY {
            return;
        }
        let passing = self.passing.entry(frame.group).or_default();
        for told in passing.damaged.drain(..) {
            let finding = &mut self.report.findings[told];
            if finding.index.is_some_and(|index| index < frame.index)
                && let Some((from, until)) = &mut finding.offsets
                && *from < span.base_offset
            {
                *until = span.base_offset.min(*until);
            }
        }
        passing.next = Some((frame.index.0, span.next_offset));
    }

    /// Whether the entry at a place is the one that the directory refers to.
    fn live(&self, group: GroupId, replica: Option<ReplicaId>, index: u64, at: u64) -> bool {
        if self.control.point.is_none() {
            return true;
        }
        let Some(found) = self.control.directory.groups.get(&group) else {
            return false;
        };
        let extent = found.extent_of(index);
        replica.is_none_or(|replica| replica == found.replica)
            && extent.is_some_and(|extent| {
                extent.segment == self.segment.sequence
                    && (extent.position..extent.end).contains(&at)
            })
    }

    #[allow(clippy::too_many_arguments)] // What a finding about an entry consists of.
    fn tell_entry(
        &mut self,
        live: bool,
        at: u64,
        bytes: u32,
        what: String,
        (group, replica): (GroupId, ReplicaId),
        index: Index,
        offsets: Option<(i64, i64)>,
    ) {
        let kind = if live { Kind::Damaged } else { Kind::NotLive };
        self.out.told.insert((group, index.0));
        self.tell(kind, at, u64::from(bytes), what);
        let told = self.report.findings.last_mut().expect("just told");
        told.group = Some(group);
        told.replica = Some(replica);
        told.index = Some(index);
        told.offsets = offsets;
    }
}
