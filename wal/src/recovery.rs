//! Reading the rounds after the checkpoint, and deciding what the first bad one means.
//!
//! | the first bad round | a later valid round, or a mark at or beyond it | neither |
//! |---|---|---|
//! | header whole, a frame damaged | corruption of those groups | torn: discarded, reported |
//! | header damaged | corruption, every group a suspect | the clean end |
//! | cannot be read | corruption, every group a suspect | the same: in doubt means faulty |
//!
//! Marks: the meta file, the checkpoint, sealed segments, and the watermark of every valid round. One sync is in flight
//! at most, so that a valid round proves that all before it were synced.

use crate::checkpoint::Point;
use crate::directory::{Directory, Group};
use crate::error::{Damage, Error};
use crate::frame::Frame;
use crate::layout::DATA_START;
use crate::mutant::{self, Mutant};
use crate::pages::PAGE_BYTES;
use crate::record::Torn;
use crate::round::{FLAG_CLEANED, FLAG_IDLE, Item, ParsedRound};
use crate::segment::{Segment, damage};
use crate::window::{Found, Window};
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A segment to be read, in sequence order.
pub(crate) struct LogSegment {
    pub(crate) segment: Arc<Segment>,
    /// Where to begin, and the round before that, if known.
    pub(crate) from: u64,
    pub(crate) previous: Option<(u64, u32)>,
    /// Where it ends, if it was sealed.
    pub(crate) sealed_end: Option<u64>,
}

/// What was found out.
#[derive(Default)]
pub(crate) struct Scan {
    /// The last valid round and its checksum.
    pub(crate) last: Option<(u64, u32)>,
    /// Where each unsealed segment's rounds end, and its last round; no entry for one without any.
    pub(crate) ends: Vec<(u64, u64, (u64, u32))>,
    pub(crate) torn: Option<Torn>,
    pub(crate) damages: Vec<Damage>,
    /// Segments with damage to entries that the checkpoint holds: nothing of what was promised is in doubt.
    pub(crate) damaged: BTreeSet<u64>,
    /// Every group was marked in this scan.
    suspect: bool,
    pub(crate) rounds_replayed: u64,
    pub(crate) bytes_read: u64,
    /// Whether the last round is an idle mark.
    pub(crate) idle: bool,
}

/// What is known about the first bad round at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Whether its header is whole.
    pub(crate) header: bool,
    /// Whether it could be read at all.
    pub(crate) readable: bool,
    /// The number that it has, or would have.
    pub(crate) round: u64,
    /// Whether a later valid round was found.
    pub(crate) later: bool,
    /// The highest round known to have been synced.
    pub(crate) mark: u64,
}

/// What a bad round means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The log ends before it.
    CleanEnd,
    /// It never became durable.
    Torn,
    /// It was durable once, or may have been.
    Corrupt,
}

/// The decision table.
pub(crate) fn decide(evidence: Evidence) -> Verdict {
    let later = evidence.later && !mutant::on(Mutant::LaterIgnored);
    let marked = evidence.mark >= evidence.round
        && !mutant::on(Mutant::LaterIgnored)
        && !mutant::on(Mutant::MarkIgnored);
    if later || marked || !evidence.readable {
        return Verdict::Corrupt;
    }
    if evidence.header {
        Verdict::Torn
    } else {
        Verdict::CleanEnd
    }
}

/// Replays what the checkpoint does not hold.
pub(crate) struct Replay<'a> {
    pub(crate) directory: &'a mut Directory,
    pub(crate) point: Point,
    /// The newest manifest: rounds that know a newer one prove it stale.
    pub(crate) manifest: u64,
    /// The highest round known to have been synced so far.
    pub(crate) mark: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) scan: Scan,
}

/// Whether the log goes on in the next segment.
enum Rolled {
    Yes,
    No,
    /// Where its first round would be, it cannot be read.
    InDoubt(Damage),
}

/// Where reading goes on after a bad round.
enum Next {
    At(u64),
    Following,
    End,
}

impl Replay<'_> {
    /// Reads all segments in order.
    pub(crate) fn run(mut self, segments: &[LogSegment]) -> Result<Scan, Error> {
        for (at, log) in segments.iter().enumerate() {
            if log.previous.is_some() && self.scan.last.is_none() {
                self.scan.last = log.previous;
            }
            if !self.segment(log, &segments[at + 1..])? {
                break;
            }
        }
        let last = self.scan.last.map_or(0, |(round, _)| round);
        let blind = mutant::on(Mutant::MarkIgnored) || mutant::on(Mutant::LaterIgnored);
        if self.mark > last && !self.scan.suspect && !blind {
            let why = format!(
                "the log ends at round {last}, round {} was synced",
                self.mark
            );
            self.suspect_all(Damage::new("log", 0, why));
        }
        Ok(self.scan)
    }

    /// Reads one segment. False when the log ends in it.
    fn segment(&mut self, log: &LogSegment, later: &[LogSegment]) -> Result<bool, Error> {
        let limit = log.sealed_end.unwrap_or(self.segment_bytes);
        let mut window = Window::new(limit);
        let mut position = log.from;
        let mut last_here = None;
        let mut goes_on = true;
        while position < limit {
            let read = self.round(log, &mut window, position)?;
            if let Some(bytes) = read {
                position += bytes;
                last_here = Some((position, self.scan.last));
                continue;
            }
            let doubt = match log.sealed_end {
                Some(_) => None,
                None => match self.rolled_to(later)? {
                    Rolled::Yes => break,
                    Rolled::No => None,
                    Rolled::InDoubt(damage) => Some(damage),
                },
            };
            match self.bad(log, &mut window, position, later, doubt)? {
                Next::At(next) => position = next,
                Next::Following => break,
                Next::End => {
                    goes_on = false;
                    break;
                }
            }
        }
        self.scan.bytes_read += window.bytes_read;
        if log.sealed_end.is_none()
            && let Some((end, Some(last))) = last_here
        {
            self.scan.ends.push((log.segment.sequence, end, last));
        }
        Ok(goes_on)
    }

    /// Takes in the round at a position, if it is whole and continues the log. Returns its bytes.
    fn round(
        &mut self,
        log: &LogSegment,
        window: &mut Window,
        position: u64,
    ) -> Result<Option<u64>, Error> {
        let segment = &log.segment;
        // An unreadable place is told from a damaged one where it is judged.
        let Ok(Some(Found { round, bytes, .. })) = window.round(segment, position) else {
            return Ok(None);
        };
        self.check_manifest(segment, position, &round)?;
        let place = segment.place(position);
        if !self.continues(&round)
            || !(round.intact(place, bytes) || mutant::on(Mutant::TornAccepted))
        {
            return Ok(None);
        }
        self.take_in(log, position, &round, bytes);
        Ok(Some(u64::from(round.bytes)))
    }

    fn continues(&self, round: &ParsedRound) -> bool {
        let other_than_checkpointed =
            round.header.round == self.point.round && round.crc != self.point.crc;
        round.header.flags & FLAG_CLEANED == 0
            && !other_than_checkpointed
            && self.scan.last.is_none_or(|(last, crc)| {
                round.header.round == last + 1 && round.header.chain == crc
            })
    }

    fn check_manifest(
        &self,
        segment: &Segment,
        position: u64,
        round: &ParsedRound,
    ) -> Result<(), Error> {
        let stale = round.header.manifest > self.manifest;
        if stale && !mutant::on(Mutant::StaleManifestAccepted) {
            let why = format!(
                "the manifest is stale: round {} knows version {}, the newest here is {}",
                round.header.round, round.header.manifest, self.manifest
            );
            return Err(damage(segment, position, why).into());
        }
        Ok(())
    }

    fn take_in(&mut self, log: &LogSegment, position: u64, round: &ParsedRound, bytes: &[u8]) {
        let number = round.header.round;
        let segment = &log.segment;
        self.mark = self.mark.max(round.header.watermark);
        self.scan.last = Some((number, round.crc));
        self.scan.idle = round.header.flags & FLAG_IDLE != 0;
        let after_checkpoint = number > self.point.round;
        self.scan.rounds_replayed += u64::from(after_checkpoint);
        for (item, at, frame) in round.frames(segment.place(position), bytes) {
            let Some((_, frame)) = frame else {
                if after_checkpoint {
                    self.lost_frame(&item);
                } else {
                    self.scan.damaged.insert(segment.sequence);
                }
                continue;
            };
            self.directory.note(&frame, segment.sequence, at);
            if !after_checkpoint {
                continue;
            }
            if !self.directory.apply(&frame, segment.sequence, at) {
                self.senseless(segment, at, &frame);
            }
        }
    }

    /// A frame that cannot follow what is known. Behind a damaged one that is no news: what is lacking was marked when
    /// that was met. Otherwise it proves that something is lacking.
    fn senseless(&mut self, segment: &Segment, at: u64, frame: &Frame<'_>) {
        let known = self.directory.group(frame.group, frame.replica);
        if known.is_some_and(|group| group.faulty.is_some()) {
            return;
        }
        let (id, replica, index) = (frame.group, frame.replica, frame.index);
        if known.is_some() {
            let why = format!("{id} {index} does not follow");
            self.scan.damages.push(damage(segment, at, why));
            self.directory.mark_faulty(id, index, index, false);
        } else {
            let why = format!("the base of {id}, replica {replica}, is lost");
            self.scan.damages.push(damage(segment, at, why));
            self.directory.mark_lost(id, replica);
            self.directory.apply(frame, segment.sequence, at);
        }
    }

    /// A frame that was synced is gone: an entry, or something that anything may rest on.
    fn lost_frame(&mut self, item: &Item) {
        match item.replica {
            None => self
                .directory
                .mark_faulty(item.group, item.index, item.index, false),
            Some(replica) => self.directory.mark_lost(item.group, replica),
        }
    }

    fn suspect_all(&mut self, damage: Damage) {
        tracing::error!(%damage, "every group is a suspect");
        self.scan.damages.push(damage);
        self.scan.suspect = true;
        self.directory.suspect = true;
        let of = |(id, group): (&GroupId, &Group)| (*id, group.replica);
        let groups: Vec<_> = self.directory.groups.iter().map(of).collect();
        for (group, replica) in groups {
            self.directory.mark_lost(group, replica);
        }
    }

    /// Whether a following segment goes on exactly here: then this one ended by rolling.
    fn rolled_to(&self, later: &[LogSegment]) -> Result<Rolled, Error> {
        let Some(next) = later.first() else {
            return Ok(Rolled::No);
        };
        let segment = &next.segment;
        let mut window = Window::new(self.segment_bytes);
        let round = match window.round(segment, DATA_START) {
            Ok(Some(found)) => found.round,
            Ok(None) => return Ok(Rolled::No),
            Err(error) => {
                let why = format!("cannot be read: {error}");
                return Ok(Rolled::InDoubt(damage(segment, DATA_START, why)));
            }
        };
        self.check_manifest(segment, DATA_START, &round)?;
        if self.scan.last.is_some() && self.continues(&round) {
            Ok(Rolled::Yes)
        } else {
            Ok(Rolled::No)
        }
    }

    /// Judges the bad round at a position.
    fn bad(
        &mut self,
        log: &LogSegment,
        window: &mut Window,
        position: u64,
        later: &[LogSegment],
        doubt: Option<Damage>,
    ) -> Result<Next, Error> {
        let segment = &log.segment;
        let expected = self.scan.last.map_or(1, |(last, _)| last + 1);
        let (header, unreadable) = match window.round(segment, position) {
            Ok(Some(found)) => (Some((found.round, found.bytes.to_vec())), found.unreadable),
            Ok(None) => (None, None),
            Err(error) => (None, Some(error)),
        };
        let readable = unreadable.is_none() && doubt.is_none();
        if let Some(error) = unreadable {
            let why = format!("cannot be read: {error}");
            self.scan.damages.push(damage(segment, position, why));
        }
        self.scan.damages.extend(doubt);
        let chained = header
            .as_ref()
            .is_some_and(|(round, _)| self.continues(round));
        let first_later = self.later_round(log, position, later)?;
        let evidence = Evidence {
            header: chained,
            readable,
            round: expected,
            // A valid header of this life that does not continue the log proves that what it continued is gone.
            later: first_later.is_some() || (header.is_some() && !chained),
            mark: self.mark,
        };
        match (decide(evidence), header) {
            (Verdict::CleanEnd, _) => Ok(Next::End),
            (Verdict::Torn, Some((round, _))) => {
                let frames = round
                    .items
                    .iter()
                    .map(|item| (item.group, item.index))
                    .collect();
                let torn = Torn {
                    round: expected,
                    segment: segment.sequence,
                    position,
                    frames,
                };
                tracing::warn!(?torn, "the last round is torn and was discarded");
                self.scan.torn = Some(torn);
                Ok(Next::End)
            }
            (_, Some((round, bytes))) if chained => {
                let why = format!("round {expected} was synced and is damaged");
                tracing::error!(segment = segment.sequence, position, why);
                self.scan.damages.push(damage(segment, position, why));
                self.take_in(log, position, &round, &bytes);
                Ok(Next::At(position + u64::from(round.bytes)))
            }
            (_, header) => {
                let why = format!("round {expected} was synced and its header is damaged");
                self.suspect_all(damage(segment, position, why));
                // What comes later still counts; nothing links it to what came before.
                self.scan.last = None;
                Ok(match (header, first_later) {
                    (Some((round, _)), _) if self.continues(&round) => Next::At(position),
                    (_, Some((sequence, next))) if sequence == segment.sequence => Next::At(next),
                    (_, Some(_)) => Next::Following,
                    (_, None) => {
                        self.scan.last = Some((self.mark.max(expected - 1), 0));
                        Next::End
                    }
                })
            }
        }
    }

    /// The first later page, here or in a following segment, with a valid round header of its place. Raises the mark.
    ///
    /// A page that cannot be read is no evidence: a round in it would prove that the bad one was synced and is damaged
    /// besides, and stale bytes behind the end of the log must not cost every group.
    fn later_round(
        &mut self,
        log: &LogSegment,
        position: u64,
        later: &[LogSegment],
    ) -> Result<Option<(u64, u64)>, Error> {
        let mut first = None;
        let here = (&log.segment, position + PAGE_BYTES as u64, log.sealed_end);
        let others = later
            .iter()
            .map(|log| (&log.segment, log.from, log.sealed_end));
        for (segment, from, end) in std::iter::once(here).chain(others) {
            let end = end.unwrap_or(self.segment_bytes);
            let mut window = Window::new(end);
            let mut at = from;
            while at < end {
                if let Ok(Some(Found { round, .. })) = window.round(segment, at)
                    && round.header.flags & FLAG_CLEANED == 0
                {
                    self.check_manifest(segment, at, &round)?;
                    self.mark = self.mark.max(round.header.watermark);
                    first = first.or(Some((segment.sequence, at)));
                }
                at += PAGE_BYTES as u64;
            }
            self.scan.bytes_read += window.bytes_read;
        }
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table: every combination of what can be known, and what it means.
    #[test]
    fn rule_14_decision_table() {
        for bits in 0..16_u64 {
            let bit = |at: u64| bits >> at & 1 == 1;
            let (header, readable, later, marked) = (bit(0), bit(1), bit(2), bit(3));
            let mark = if marked { 7 } else { 6 };
            let verdict = decide(Evidence {
                header,
                readable,
                round: 7,
                later,
                mark,
            });
            let expected = match (readable, later || marked, header) {
                (false, _, _) | (_, true, _) => Verdict::Corrupt,
                (true, false, true) => Verdict::Torn,
                (true, false, false) => Verdict::CleanEnd,
            };
            assert_eq!(verdict, expected, "{header} {readable} {later} {marked}");
        }
    }
}
