//! Are the replicas of a partition the same? The leader makes digests of ranges of its own committed entries and asks the others
//! for theirs; where they differ, ever smaller ranges say where. Here is what they say to each other, and how a range is
//! searched; who asks and reads is `broker/comparing`.
//!
//! An entry is its index, its term, its kind and its payload, byte for byte. Where a replica's log begins later, or ends
//! earlier, only what both have is compared.

use std::future::Future;
use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::record_batch::BatchHeader;
use raft::types::{Entry, EntryKind, GroupId, Index};
use serde::{Deserialize, Serialize};
use snapshot::digest::Digest;

use crate::heal;

/// Payload of the entries that one digest is about; one entry, if that is more.
pub const RANGE_BYTES: u64 = 4 << 20;
/// A replica whose entries of a range are longer than that has others.
const DIGESTED_BYTES_MAX: u64 = 2 * RANGE_BYTES;
/// So many differences of one replica are told.
pub const DIFFERENCES_MAX: usize = 16;

/// Entries whose digest is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose.
    pub group: GroupId,
    /// Which.
    pub range: RangeInclusive<u64>,
}

impl Asked {
    /// For the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(24);
        for number in [self.group.0, *self.range.start(), *self.range.end()] {
            out.put_u64(number);
        }
        out.freeze()
    }

    /// From the wire.
    #[must_use]
    pub fn decode(body: &Bytes) -> Option<Self> {
        let mut from = body.clone();
        let group = GroupId(from.try_get_u64().ok()?);
        let (first, last) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
        (first <= last).then_some(Self {
            group,
            range: first..=last,
        })
    }
}

/// What a replica says of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has all of it.
    Digest(Digest),
    /// It has committed entries from the first to the last of these only.
    Holds(u64, u64),
    /// It cannot read this one.
    Unreadable(u64),
    /// Its entries are far longer.
    Longer,
}

impl Answer {
    /// For the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(33);
        match self {
            Self::Digest(digest) => {
                out.put_u8(0);
                out.put_slice(&digest.0);
            }
            Self::Holds(first, last) => {
                out.put_u8(1);
                out.put_u64(*first);
                out.put_u64(*last);
            }
            Self::Unreadable(index) => {
                out.put_u8(2);
                out.put_u64(*index);
            }
            Self::Longer => out.put_u8(3),
        }
        out.freeze()
    }

    /// From the wire.
    #[must_use]
    pub fn decode(body: &Bytes) -> Option<Self> {
        let mut from = body.clone();
        let answer = match from.try_get_u8().ok()? {
            0 => {
                let mut digest = [0; 32];
                from.try_copy_to_slice(&mut digest).ok()?;
                Self::Digest(Digest(digest))
            }
            1 => Self::Holds(from.try_get_u64().ok()?, from.try_get_u64().ok()?),
            2 => Self::Unreadable(from.try_get_u64().ok()?),
            3 => Self::Longer,
            _ => return None,
        };
        (!from.has_remaining()).then_some(answer)
    }

    /// What a log that holds committed entries from the first to the last of these says of a range.
    pub fn of_log(
        reader: &wal::Reader,
        (group, replica): (GroupId, raft::types::ReplicaId),
        (first, last): (u64, u64),
        range: &RangeInclusive<u64>,
    ) -> Self {
        if *range.start() < first || *range.end() > last {
            return Self::Holds(first, last);
        }
        let (mut next, until) = (Index(*range.start()), Index(*range.end()));
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while next <= until {
            if bytes > DIGESTED_BYTES_MAX {
                return Self::Longer;
            }
            let Ok(more) = reader.entries(group, replica, next, until, RANGE_BYTES) else {
                return Self::Unreadable(next.0);
            };
            bytes += more
                .iter()
                .map(|entry| entry.payload.len() as u64)
                .sum::<u64>();
            next = more.last().map_or(until, |entry| entry.index).next();
            entries.extend(more);
        }
        Self::Digest(digest_of(&entries))
    }
}

/// The digest of entries that follow each other.
#[must_use]
pub fn digest_of(entries: &[Entry]) -> Digest {
    Digest::of(&heal::encode_entries(entries))
}

/// Where a replica, or the store, is not what the leader is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `broker 3`, or `store`.
    pub of: String,
    /// The first offset, and the first one beyond; None where no records are among these entries.
    pub offsets: Option<(i64, i64)>,
    /// The first index of the Raft log, and the last one; None of the store, which knows none.
    pub indexes: Option<(u64, u64)>,
    /// What it is.
    pub what: String,
}

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Who compared with his own log.
    pub leader: i32,
    /// The entries of that.
    pub indexes: (u64, u64),
    /// Entries that each of the others has, too, by its name; chunks' members for the store.
    pub compared: std::collections::BTreeMap<String, u64>,
    /// What is not the same.
    pub differences: Vec<Difference>,
}

impl Compared {
    /// Counts what was the same, or notes what was not.
    pub fn note(&mut self, of: &str, compared: u64, found: Vec<Difference>) {
        *self.compared.entry(of.to_owned()).or_default() += compared;
        let told = self.differences.iter().filter(|told| told.of == of).count();
        let room = DIFFERENCES_MAX.saturating_sub(told);
        self.differences.extend(found.into_iter().take(room));
    }

    /// Whether nothing more would be told of this one.
    #[must_use]
    pub fn is_full(&self, of: &str) -> bool {
        let told = self.differences.iter().filter(|told| told.of == of);
        told.count() >= DIFFERENCES_MAX
    }
}

/// Compares entries of the leader, which follow each other, with those of another one, who is asked for digests. How many it
/// has as well, and where they are not the same.
pub async fn compare<F>(
    of: &str,
    entries: &[Entry],
    mut ask: impl FnMut(RangeInclusive<u64>) -> F,
) -> (u64, Vec<Difference>)
where
    F: Future<Output = Option<Answer>>,
{
    let mut found = Vec::new();
    let mut compared = 0;
    // The second half first on the stack, so that differences come in the order of their indexes.
    let mut left = vec![entries];
    while let Some(part) = left.pop() {
        let Some((first, last)) = part.first().zip(part.last()) else {
            continue;
        };
        let (first, last) = (first.index.0, last.index.0);
        let difference = |what: &str| Difference {
            of: of.to_owned(),
            offsets: offsets(part),
            indexes: Some((first, last)),
            what: what.to_owned(),
        };
        if found.len() >= DIFFERENCES_MAX {
            break;
        }
        let within = |index: u64| usize::try_from(index.clamp(first, last + 1) - first);
        match ask(first..=last).await {
            None => {
                found.push(difference("it does not answer"));
                break;
            }
            Some(Answer::Digest(digest)) if digest == digest_of(part) => {
                compared += last - first + 1
            }
            Some(Answer::Unreadable(index)) if (first..=last).contains(&index) => {
                let (before, rest) = part.split_at(within(index).expect("it is within"));
                found.push(Difference {
                    offsets: offsets(&rest[..1]),
                    indexes: Some((index, index)),
                    ..difference("it cannot read this from its disk")
                });
                left.push(&rest[1..]);
                left.push(before);
            }
            Some(Answer::Holds(from, to)) if from > first || to < last => {
                let from = within(from).expect("it is within");
                let to = within(to.saturating_add(1)).expect("it is within");
                // Nobody has both: that is trimmed there already, or not known to be committed yet.
                left.extend(part.get(from..to));
            }
            Some(_) if part.len() > 1 => {
                let (low, high) = part.split_at(part.len() / 2);
                left.extend([high, low]);
            }
            Some(_) => {
                compared += 1;
                found.push(difference("it is not what the leader has"));
            }
        }
    }
    (compared, found)
}

/// The offsets of the records among entries.
fn offsets(entries: &[Entry]) -> Option<(i64, i64)> {
    let headers = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Records)
        .filter_map(|entry| BatchHeader::parse(&entry.payload).ok());
    headers.fold(None, |found: Option<(i64, i64)>, header| {
        let first = found.map_or(header.base_offset, |(first, _)| first);
        Some((first, header.last_offset().saturating_add(1)))
    })
}

#[cfg(test)]
mod tests {
    use protocol::record_batch::BatchBuilder;
    use raft::types::{Base, ReplicaId, Term};
    use wal::model::ModelDisk;
    use wal::{Log, Record};

    use super::*;

    const GROUP: GroupId = GroupId(1);
    const REPLICA: ReplicaId = ReplicaId(1);

    /// Every second entry is a batch of five records.
    fn entry(index: u64, text: &str) -> Entry {
        let mut batch =
            BatchBuilder::new().base_offset(i64::try_from(index / 2).expect("small") * 5, 1);
        for _ in 0..5 {
            batch.value(1_000, text.as_bytes());
        }
        let is_batch = index.is_multiple_of(2);
        Entry {
            index: Index(index),
            term: Term(1),
            kind: if is_batch {
                EntryKind::Records
            } else {
                EntryKind::Noop
            },
            payload: if is_batch {
                batch.build()
            } else {
                Bytes::new()
            },
        }
    }

    /// A log with these entries; one of them holds another value.
    fn log(indexes: RangeInclusive<u64>, others: &[u64]) -> Log {
        let opened = Log::open(
            ModelDisk::new(1),
            wal::Config::tiny(),
            wal::Identity::default(),
        );
        let mut log = opened.expect("a new log").0;
        let (group, replica) = (GROUP, REPLICA);
        let base = Base {
            index: Index(indexes.start() - 1),
            term: Term(1),
            ..Base::default()
        };
        let base = Record::Base {
            group,
            replica,
            base,
        };
        let text = |index| {
            if others.contains(&index) {
                "valuf"
            } else {
                "value"
            }
        };
        let entries = indexes.map(|index| entry(index, text(index))).collect();
        let entries = Record::Entries {
            group,
            replica,
            entries,
        };
        log.write(vec![base]).expect("written");
        log.write(vec![entries]).expect("written");
        log
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(work)
    }

    fn compared(
        ours: RangeInclusive<u64>,
        theirs: (RangeInclusive<u64>, &[u64]),
    ) -> (u64, Vec<Difference>, usize) {
        let (held, others) = theirs;
        let other = log(held.clone(), others);
        let reader = other.reader();
        let entries: Vec<Entry> = ours.map(|index| entry(index, "value")).collect();
        let mut asked = 0;
        let (compared, found) = run(compare("broker 2", &entries, |range| {
            asked += 1;
            let asked = Asked {
                group: GROUP,
                range,
            };
            let asked = Asked::decode(&asked.encode()).expect("what was encoded");
            let holds = (*held.start(), *held.end());
            let answer = Answer::of_log(&reader, (GROUP, REPLICA), holds, &asked.range);
            std::future::ready(Answer::decode(&answer.encode()))
        }));
        (compared, found, asked)
    }

    #[test]
    fn logs_that_are_the_same_are_compared_with_one_question() {
        assert_eq!(compared(1..=200, (1..=200, &[])), (200, vec![], 1));
    }

    #[test]
    fn a_difference_is_named_with_its_offsets() {
        let (count, found, asked) = compared(1..=200, (1..=200, &[42, 43, 160]));
        let difference = |index: u64, first: i64| Difference {
            of: "broker 2".to_owned(),
            offsets: Some((first, first + 5)),
            indexes: Some((index, index)),
            what: "it is not what the leader has".to_owned(),
        };
        assert_eq!(found, [difference(42, 105), difference(160, 400)]);
        assert!(count == 200 && asked < 40, "{count} {asked}");
    }

    #[test]
    fn what_one_of_them_has_trimmed_or_not_yet_is_not_compared() {
        assert_eq!(compared(1..=200, (50..=120, &[])), (71, vec![], 2));
        assert_eq!(compared(50..=60, (70..=80, &[])), (0, vec![], 1));
        let (count, found, _) = compared(1..=200, (50..=120, &[60]));
        assert_eq!((count, found.len()), (71, 1));
    }

    #[test]
    fn who_does_not_answer_or_cannot_read_is_told() {
        let entries: Vec<Entry> = (1..=10).map(|index| entry(index, "value")).collect();
        let (count, found) = run(compare("broker 2", &entries, |_| std::future::ready(None)));
        assert_eq!((count, found.len()), (0, 1));
        assert_eq!(found[0].offsets, Some((5, 30)));
        let (count, found) = run(compare("broker 2", &entries, |range| {
            let part = &entries[usize::try_from(range.start() - 1).expect("small")..]
                [..usize::try_from(range.end() - range.start() + 1).expect("small")];
            std::future::ready(Some(match range.contains(&4) {
                true => Answer::Unreadable(4),
                false => Answer::Digest(digest_of(part)),
            }))
        }));
        assert_eq!((count, found.len(), found[0].indexes), (9, 1, Some((4, 4))));
        assert_eq!(found[0].offsets, Some((10, 15)));
    }

    #[test]
    fn there_is_an_end_to_what_is_told() {
        let others: Vec<u64> = (1..=200).collect();
        let (_, found, asked) = compared(1..=200, (1..=200, &others));
        assert_eq!(found.len(), DIFFERENCES_MAX);
        assert!(asked < 100, "{asked}");
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for answer in [
            Answer::Digest(Digest::of(b"x")),
            Answer::Holds(3, 9),
            Answer::Unreadable(4),
            Answer::Longer,
        ] {
            let body = answer.encode();
            assert_eq!(Answer::decode(&body).as_ref(), Some(&answer));
            for length in 0..body.len() {
                assert_eq!(Answer::decode(&body.slice(..length)), None);
            }
            assert_eq!(Answer::decode(&[&body[..], b"x"].concat().into()), None);
        }
        let asked = Asked {
            group: GROUP,
            range: 5..=9,
        };
        assert_eq!(Asked::decode(&asked.encode().slice(..23)), None);
        let nothing = [1_u64, 9, 5].map(u64::to_be_bytes).concat();
        assert_eq!(Asked::decode(&nothing.into()), None);
    }
}
