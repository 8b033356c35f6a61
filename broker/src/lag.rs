//! How far a group of consumers is behind, in records and in seconds.
//!
//! - Records: from the committed offset (or the log start, where that is above it) to the high watermark, which is the
//!   end as consumers see it. Never below 0.
//! - Seconds: now, minus the highest timestamp of the batch that holds the first of these records: what its producer
//!   wrote there, or the broker in topics with `LogAppendTime`. 0 where no record is left to read, never below 0.
//!
//! The group's coordinator works both out when somebody asks, and only then. It asks the leader of each partition, itself
//! or over the wire: the leader alone knows the end, and it answers only when it is established. The time is read from
//! the record's own batch, so leaders may change, and no history has to be kept or guessed from. A batch never changes,
//! so its time is asked for once.
//!
//! What cannot be said is unknown, and no number: a partition without a leader, or whose leader does not answer in time,
//! has no lag; a batch without timestamps, or one that could not be read in time, has no seconds.

use std::collections::HashMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::types::GroupId;

/// What a leader is asked about one of its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The partition.
    pub group: GroupId,
    /// Committed by a group of consumers.
    pub offset: i64,
    /// Whether the record's time is wanted.
    pub timed: bool,
}

/// What a leader answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The first offset at or above the one asked for that is still there.
    pub first: i64,
    /// The high watermark.
    pub end: i64,
    /// Of the record there; meaningless at the end.
    pub time: Time,
}

/// When a record was written, in ms since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// At this time.
    At(i64),
    /// Its batch does not say.
    Never,
    /// Not asked for, or not found in time.
    Unknown,
}

impl Time {
    /// As a batch's header says it.
    #[must_use]
    pub fn of_batch(timestamp_ms: i64) -> Self {
        if timestamp_ms < 0 {
            return Self::Never;
        }
        Self::At(timestamp_ms)
    }

    fn number(self) -> i64 {
        match self {
            Self::At(ms) => ms,
            Self::Never => -1,
            Self::Unknown => -2,
        }
    }

    fn of_number(number: i64) -> Self {
        match number {
            ..=-2 => Self::Unknown,
            -1 => Self::Never,
            ms => Self::At(ms),
        }
    }
}

/// How far a group is behind in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Lag {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What is committed.
    pub committed: i64,
    /// The high watermark, where known.
    pub end: Option<i64>,
    /// In records, where known.
    pub records: Option<i64>,
    /// In seconds, where known.
    pub seconds: Option<f64>,
}

impl Lag {
    /// As of a moment of the wall clock, from what the leader said.
    #[must_use]
    pub fn new(now_ms: i64, place: (String, i32, i64), position: Option<Position>) -> Self {
        let (topic, partition, committed) = place;
        let records = position.map(|at| at.end.saturating_sub(at.first).max(0));
        let seconds = position.and_then(|at| match (records, at.time) {
            (Some(0), _) => Some(0.0),
            (_, Time::At(ms)) => Some(seconds(now_ms.saturating_sub(ms))),
            (_, Time::Never | Time::Unknown) => None,
        });
        Self {
            topic,
            partition,
            committed,
            end: position.map(|at| at.end),
            records,
            seconds,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact for 285 thousand years")]
fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1000.0
}

/// All of these together: the sum of records and the longest time; None where a part is unknown.
#[must_use]
pub fn total(lags: &[Lag]) -> (Option<i64>, Option<f64>) {
    let records = lags.iter().map(|lag| lag.records).sum();
    let seconds = lags.iter().map(|lag| lag.seconds);
    let longest = seconds.collect::<Option<Vec<_>>>();
    let longest = longest.map(|all| all.into_iter().fold(0.0, f64::max));
    (records, longest)
}

/// Times of records that are kept.
const TIMES_MAX: usize = 20_000;

/// Times of records by partition and offset. NB: a committed record stays what it is, and no partition has the group of
/// another one, so nothing here is ever outdated.
#[derive(Debug, Default)]
pub struct Times {
    known: HashMap<(GroupId, i64), Time>,
}

impl Times {
    /// Whether the time of the record there has to be asked for.
    #[must_use]
    pub fn lacks(&self, group: GroupId, offset: i64) -> bool {
        !self.known.contains_key(&(group, offset))
    }

    /// A leader has answered: keeps what it said, fills in what it was not asked.
    #[must_use]
    pub fn complete(&mut self, asked: &Asked, mut position: Position) -> Position {
        // The record that was asked for is gone: another one is the first.
        if position.first != asked.offset {
            self.known.remove(&(asked.group, asked.offset));
            return position;
        }
        let key = (asked.group, asked.offset);
        match position.time {
            Time::Unknown => {
                position.time = self.known.get(&key).copied().unwrap_or(Time::Unknown);
            }
            known if position.first < position.end => {
                if self.known.len() >= TIMES_MAX {
                    self.known.clear();
                }
                self.known.insert(key, known);
            }
            _ => {}
        }
        position
    }
}

/// As bytes between brokers.
#[must_use]
pub fn encode_asked(asked: &[Asked]) -> Bytes {
    let mut out = BytesMut::with_capacity(asked.len() * ASKED_BYTES);
    for one in asked {
        out.put_u64(one.group.0);
        out.put_i64(one.offset);
        out.put_u8(u8::from(one.timed));
    }
    out.freeze()
}

/// None for anything but what [`encode_asked`] makes.
#[must_use]
pub fn decode_asked(mut bytes: &[u8]) -> Option<Vec<Asked>> {
    if !bytes.len().is_multiple_of(ASKED_BYTES) {
        return None;
    }
    let mut asked = Vec::with_capacity(bytes.len() / ASKED_BYTES);
    while !bytes.is_empty() {
        asked.push(Asked {
            group: GroupId(bytes.get_u64()),
            offset: bytes.get_i64(),
            timed: bytes.get_u8() == 1,
        });
    }
    Some(asked)
}

/// As bytes between brokers, in the order asked. None where this broker cannot tell.
#[must_use]
pub fn encode_positions(positions: &[Option<Position>]) -> Bytes {
    let mut out = BytesMut::with_capacity(positions.len() * POSITION_BYTES);
    for position in positions {
        let (first, end, time) =
            position.map_or((-1, -1, Time::Unknown), |at| (at.first, at.end, at.time));
        out.put_u8(u8::from(position.is_some()));
        out.put_i64(first);
        out.put_i64(end);
        out.put_i64(time.number());
    }
    out.freeze()
}

/// None for anything but what [`encode_positions`] makes.
#[must_use]
pub fn decode_positions(mut bytes: &[u8]) -> Option<Vec<Option<Position>>> {
    if !bytes.len().is_multiple_of(POSITION_BYTES) {
        return None;
    }
    let mut positions = Vec::with_capacity(bytes.len() / POSITION_BYTES);
    while !bytes.is_empty() {
        let is_known = bytes.get_u8() == 1;
        let position = Position {
            first: bytes.get_i64(),
            end: bytes.get_i64(),
            time: Time::of_number(bytes.get_i64()),
        };
        positions.push(is_known.then_some(position));
    }
    Some(positions)
}

const ASKED_BYTES: usize = 17;
const POSITION_BYTES: usize = 25;

#[cfg(test)]
mod tests;
