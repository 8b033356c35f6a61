//! Writing: records become frames, frames become a round, a round is one write and one sync.

use crate::directory::Directory;
use crate::error::Error;
use crate::frame::{Frame, FrameType, Stamp, frames_of};
use crate::layout::DATA_START;
use crate::log::{FullSegment, Log, OpenSegment};
use crate::manifest::Sealed;
use crate::mutant::{self, Mutant};
use crate::pages::page_align;
use crate::record::{Purpose, Record, Rolled, Round};
use crate::round::{self, FLAG_IDLE, RoundHeader, unpadded_bytes};
use crate::spares::Taker;
use bytes::Bytes;
use raft::types::{GroupId, Index, ReplicaId};
use std::collections::BTreeMap;
use std::ops::Range;

impl Log {
    /// Makes all these records durable by one write and one sync (more only if they do not fit into one round). When
    /// it returns Ok, everything is synced and readable.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`], [`Error::Invalid`]: nothing was written. [`Error::Poisoned`]: the log has
    /// failed; none of these records counts as durable, though a restart may find some of them.
    pub fn write(&mut self, records: Vec<Record>) -> Result<Round, Error> {
        let purposes = records.iter().map(Record::purpose);
        let purpose = purposes.max().unwrap_or(Purpose::Housekeeping);
        self.write_for(purpose, &records)
    }

    /// The same into the housekeeping reserve, whatever they are: entries before what frees space, in the same group. It is
    /// for less than three quarters of a segment, and while there are two to spare.
    ///
    /// # Errors
    /// As above.
    pub fn write_from_reserve(&mut self, records: &[Record]) -> Result<Round, Error> {
        self.check()?;
        self.spares.unpin();
        let bytes: usize = frames_of(records).iter().map(Frame::size).sum();
        let has_room = self.spares.for_housekeeping() >= 2 || self.may_create();
        if bytes as u64 > self.config.segment_bytes / 4 * 3 || !has_room {
            return Err(Error::Full);
        }
        self.write_for(Purpose::Housekeeping, records)
    }

    fn write_for(&mut self, purpose: Purpose, records: &[Record]) -> Result<Round, Error> {
        self.check()?;
        check_records(&self.shared.read(), records, self.config.entry_bytes_max())?;
        let mut frames = frames_of(records);
        let chunks = self.split(&frames)?;
        self.admit(&frames, &chunks, purpose)?;
        let mut done = Round {
            number: self.last_round,
            bytes: 0,
            entries: 0,
            frames: frames.len() as u64,
            rounds: 0,
            sync_seconds: 0.0,
            room: self.room(),
            rolled: None,
        };
        for chunk in chunks {
            let frames = &mut frames[chunk];
            let rolled = match self.make_room(frames, purpose) {
                // Half of the records are durable already: "nothing was written" would be a lie.
                Err(Error::Full) if done.rounds > 0 => {
                    return Err(
                        self.poison("make room for a write of several rounds", &Error::Full)
                    );
                }
                other => other?,
            };
            if rolled.is_some() {
                done.rolled = rolled;
            }
            let (bytes, seconds) = self.write_round(frames, 0)?;
            done.bytes += bytes;
            done.sync_seconds += seconds;
            done.rounds += 1;
            done.entries += frames
                .iter()
                .filter(|frame| frame.frame_type == FrameType::Entry)
                .count() as u64;
        }
        done.number = self.last_round;
        done.room = self.room();
        Ok(done)
    }

    /// Whether these can be written without turning to the next segment.
    #[must_use]
    pub fn takes_at_once(&self, records: &[Record]) -> bool {
        self.fits(&frames_of(records))
    }

    /// Writes the idle mark: one page that says that the last round is synced, so that damage to it is told from a
    /// torn write. Nobody waits for it. Does nothing if the last round is a mark already. Returns whether it wrote.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn idle(&mut self) -> Result<bool, Error> {
        self.check()?;
        if self.idle {
            return Ok(false);
        }
        if self.fits(&[]) {
            self.write_round(&mut [], FLAG_IDLE)?;
        }
        self.idle = true;
        self.advance_meta()?;
        Ok(true)
    }

    /// Where to cut what does not fit into one round: only where a crash between the parts is harmless, which is
    /// before an entry that follows an entry and between groups.
    fn split(&self, frames: &[Frame<'_>]) -> Result<Vec<Range<usize>>, Error> {
        let bytes_max = usize::try_from(
            self.config
                .round_bytes_max
                .min(self.config.round_capacity()),
        )
        .expect("a round is below 2 GiB");
        let mut chunks = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (at, frame) in frames.iter().enumerate() {
            let size = frame.size();
            let full = bytes + size > bytes_max || at - start >= self.config.runs_max / 2;
            let may_cut = at > start
                && (frames[at - 1].group != frame.group
                    || frame.frame_type == FrameType::Entry
                        && frames[at - 1].frame_type == FrameType::Entry);
            if full && may_cut {
                chunks.push(start..at);
                (start, bytes) = (at, 0);
            }
            bytes += size;
            let room = self.empty_room(at + 1 - start);
            if (unpadded_bytes(at + 1 - start, bytes) as u64) > room {
                return Err(Error::TooLarge {
                    group: frame.group,
                    size_bytes: bytes as u64,
                    max_bytes: room,
                });
            }
        }
        if start < frames.len() {
            chunks.push(start..frames.len());
        }
        Ok(chunks)
    }

    /// Bytes for a round of so many frames in an empty segment.
    fn empty_room(&self, frames: usize) -> u64 {
        let footer = crate::footer::RunIndex::default().footer_bytes(frames);
        (self.config.segment_bytes - DATA_START).saturating_sub(footer)
    }

    /// Whether a round of these frames fits into the open segment, with the footer that it needs then.
    fn fits(&self, frames: &[Frame<'_>]) -> bool {
        let bytes: usize = frames.iter().map(Frame::size).sum();
        let bytes = page_align(unpadded_bytes(frames.len(), bytes)) as u64;
        let directory = self.shared.read();
        let index = directory.segments[&self.open.segment.sequence]
            .index
            .as_ref()
            .expect("the open segment has its runs in memory");
        let footer = index.footer_bytes(frames.len());
        let runs_fit = index.runs == 0 || index.runs + frames.len() <= self.config.runs_max;
        runs_fit && self.open.position + bytes + footer <= self.config.segment_bytes
    }

    /// Refuses before anything is written what could not be written to its end.
    fn admit(
        &mut self,
        frames: &[Frame<'_>],
        chunks: &[Range<usize>],
        purpose: Purpose,
    ) -> Result<(), Error> {
        if chunks
            .first()
            .is_none_or(|first| chunks.len() == 1 && self.fits(&frames[first.clone()]))
        {
            return Ok(());
        }
        self.spares.unpin();
        self.look_at_free_bytes();
        let spares = match purpose {
            Purpose::Entries => self.spares.free(),
            Purpose::Housekeeping => self.spares.for_housekeeping(),
        };
        let available = spares + usize::from(self.prepared.is_some());
        // A segment holds at least three rounds; the open one counts for nothing here.
        if available >= chunks.len().div_ceil(3) || self.may_create() {
            return Ok(());
        }
        Err(Error::Full)
    }

    /// Rolls if these frames need it.
    fn make_room(
        &mut self,
        frames: &[Frame<'_>],
        purpose: Purpose,
    ) -> Result<Option<Rolled>, Error> {
        if self.fits(frames) {
            return Ok(None);
        }
        let taker = match purpose {
            Purpose::Entries => Taker::Entries,
            Purpose::Housekeeping => Taker::Housekeeping,
        };
        self.roll(taker).map(Some)
    }

    /// Goes on in the next segment. At most two are unsealed: a third waits here for the seal of the first.
    pub(crate) fn roll(&mut self, taker: Taker) -> Result<Rolled, Error> {
        if !self.full.is_empty() {
            self.finish_urgent()?;
        }
        if self.prepared.is_none() {
            self.prepare_segment(taker)?;
        }
        let Some(next) = self.prepared.take() else {
            return Err(Error::Full);
        };
        let mut directory = self.shared.write();
        let state = &directory.segments[&self.open.segment.sequence];
        let groups = state.index.as_ref().map_or_else(Vec::new, |index| {
            index.groups.keys().map(|(group, _)| *group).collect()
        });
        let sealed = Sealed {
            end: self.open.position,
            last_round: self.last_round,
            last_crc: self.last_crc,
            runs: state.index.as_ref().map_or(0, |index| index.runs as u32),
            ..Sealed::default()
        };
        let state = crate::directory::SegmentState::open(std::sync::Arc::clone(&next));
        directory.segments.insert(next.sequence, state);
        drop(directory);
        let open = std::mem::replace(&mut self.open, OpenSegment::at(next, DATA_START));
        self.filled_at = self.disk.elapsed();
        let rolled = Rolled {
            segment: open.segment.sequence,
            groups,
        };
        self.full.push_back(FullSegment {
            segment: open.segment,
            sealed,
        });
        Ok(rolled)
    }

    /// One write, one sync; then the frames are applied. Returns bytes and seconds.
    pub(crate) fn write_round(
        &mut self,
        frames: &mut [Frame<'_>],
        flags: u32,
    ) -> Result<(u64, f64), Error> {
        let number = self.last_round + 1;
        for (ordinal, frame) in (0..).zip(frames.iter_mut()) {
            frame.stamp = Stamp {
                round: number,
                ordinal,
            };
        }
        let header = RoundHeader {
            round: number,
            watermark: self.last_round,
            manifest: self.manifest_version,
            chain: self.last_crc,
            flags,
        };
        let position = self.open.position;
        let place = self.open.segment.place(position);
        let encoded = round::encode(&self.pool, place, header, frames);
        let started = self.disk.elapsed();
        let file = std::sync::Arc::clone(&self.open.segment.file);
        file.write_at(position, &encoded.pages)
            .map_err(|error| self.poison("write", &error))?;
        let mut synced = if mutant::on(Mutant::SyncForgotten) {
            Ok(())
        } else {
            file.sync()
        };
        if mutant::on(Mutant::SyncRetried) && synced.is_err() {
            synced = file.sync();
        }
        synced.map_err(|error| self.poison("sync", &error))?;
        let seconds = (self.disk.elapsed().saturating_sub(started)).as_secs_f64();
        // Durable from here on.
        let bytes = encoded.pages.len() as u64;
        self.last_round = number;
        self.last_crc = encoded.crc;
        self.last_round_bytes = bytes;
        self.open.position += bytes;
        self.idle = flags & FLAG_IDLE != 0;
        self.counters.bytes_written += bytes;
        if self.idle {
            self.counters.syncs_idle += 1;
            return Ok((bytes, seconds));
        }
        self.counters.syncs_round += 1;
        let sequence = self.open.segment.sequence;
        let mut directory = self.shared.write();
        for (frame, position) in frames.iter().zip(&encoded.positions) {
            if frame.frame_type == FrameType::Entry {
                self.counters.bytes_payload += frame.payload.len() as u64;
            }
            directory.note(frame, sequence, *position);
            let sensible = directory.apply(frame, sequence, *position);
            assert!(sensible, "records are checked before they are written");
        }
        drop(directory);
        if self.config.tail_bytes > 0 {
            let held = encoded.pages.held_bytes();
            let bytes = Bytes::from_owner(encoded.pages);
            self.shared.tail().push(sequence, position, bytes, held);
        }
        Ok((bytes, seconds))
    }
}

/// What a group will look like behind the records checked so far.
#[derive(Clone, Copy)]
struct Outlook {
    replica: ReplicaId,
    base: Index,
    last: Index,
}

/// Checks records against the directory and against each other, before anything is written.
fn check_records(
    directory: &Directory,
    records: &[Record],
    entry_bytes_max: u64,
) -> Result<(), Error> {
    let mut outlooks: BTreeMap<GroupId, (Option<Outlook>, Option<ReplicaId>)> = BTreeMap::new();
    for record in records {
        let id = record.group();
        let (outlook, removed) = outlooks.entry(id).or_insert_with(|| {
            let outlook = directory.groups.get(&id).map(|group| Outlook {
                replica: group.replica,
                base: group.base.index,
                last: Index(group.last),
            });
            (outlook, directory.removed.get(&id).copied())
        });
        check_record(record, outlook, *removed, entry_bytes_max)?;
        if let Record::Remove { replica, .. } = record {
            *removed = Some(*replica);
        }
    }
    Ok(())
}

fn check_record(
    record: &Record,
    outlook: &mut Option<Outlook>,
    removed: Option<ReplicaId>,
    entry_bytes_max: u64,
) -> Result<(), Error> {
    let id = record.group();
    let invalid = |why| Err(Error::Invalid { group: id, why });
    if let Record::Base { replica, base, .. } = record {
        if removed.is_some_and(|removed| *replica <= removed) {
            return invalid("a removed replica never comes back");
        }
        let fresh = Outlook {
            replica: *replica,
            base: base.index,
            last: base.index,
        };
        match outlook {
            Some(found) if found.replica > *replica => return invalid("an older replica's base"),
            Some(found) if found.replica == *replica => {
                if base.index < found.base {
                    return invalid("a base never goes back");
                }
                found.base = base.index;
                found.last = found.last.max(base.index);
            }
            _ => *outlook = Some(fresh),
        }
        return Ok(());
    }
    let replica = match record {
        Record::Entries { replica, .. }
        | Record::HardState { replica, .. }
        | Record::Truncate { replica, .. }
        | Record::Base { replica, .. }
        | Record::Derived { replica, .. }
        | Record::Remove { replica, .. } => *replica,
    };
    let Some(found) = outlook.as_mut().filter(|found| found.replica == replica) else {
        return invalid("unknown replica: a base comes first");
    };
    match record {
        Record::Entries { entries, .. } => {
            for entry in entries {
                if entry.index != found.last.next() {
                    return invalid("entries must follow the last one without a gap");
                }
                let size_bytes = entry.payload.len() as u64;
                if size_bytes > entry_bytes_max {
                    let max_bytes = entry_bytes_max;
                    return Err(Error::TooLarge {
                        group: id,
                        size_bytes,
                        max_bytes,
                    });
                }
                found.last = entry.index;
            }
        }
        Record::Truncate { from, .. } => {
            if *from <= found.base {
                return invalid("truncation at or below the base");
            }
            found.last = found.last.min(from.prev());
        }
        Record::Remove { .. } => *outlook = None,
        Record::HardState { .. } | Record::Derived { .. } | Record::Base { .. } => {}
    }
    Ok(())
}
