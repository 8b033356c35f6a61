//! Idempotent producers: the last batches of each, so that a retry is recognised.
//!
//! Kafka's rules: five batches are remembered per producer; a batch that equals one of them is a duplicate; the next
//! one must begin where the last ended; a higher epoch begins at 0. One rule is stricter than Kafka's: an unknown
//! producer may begin anywhere only when it can have been forgotten here. Otherwise a producer whose first batch was
//! refused, and whose pipelined second one then found a leader, would have a gap that its client takes for a
//! duplicate of what was acknowledged. Producer ids are given out in rising order: what is above every forgotten id
//! was never here.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, BytesMut};

/// Kafka's window: a producer has at most five requests in flight.
const REMEMBERED_MAX: usize = 5;
/// Producers per partition; above it the one that appended longest ago is forgotten.
const PRODUCERS_MAX: usize = 20_000;
/// In place of a producer id.
const NONE_FORGOTTEN: i64 = -1;

/// The identity of one batch of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Producer id, at least 0.
    pub producer_id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence of the first record.
    pub first_sequence: i32,
    /// Sequence of the last record (sequences wrap to 0 after `i32::MAX`).
    pub last_sequence: i32,
}

impl Mark {
    /// From a batch header's fields; None for a batch without a producer id.
    #[must_use]
    pub fn new(producer_id: i64, epoch: i16, first_sequence: i32, count: i32) -> Option<Self> {
        if producer_id < 0 || count < 1 {
            return None;
        }
        let last = (i64::from(first_sequence) + i64::from(count) - 1) & i64::from(i32::MAX);
        let last_sequence = i32::try_from(last).expect("masked to 31 bits");
        Some(Self {
            producer_id,
            epoch,
            first_sequence,
            last_sequence,
        })
    }
}

/// What a batch is to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In order: append it.
    Next,
    /// Already appended at this offset.
    Duplicate {
        /// Its base offset then.
        base_offset: i64,
    },
    /// A gap, or an epoch or a new producer that does not begin at 0.
    OutOfOrder,
    /// An older epoch of the producer.
    Fenced,
}

/// What a producer appended last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// Who.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of the batch's last record.
    pub last_sequence: i32,
    /// Offset of the batch's first record.
    pub base_offset: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Remembered {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Remembered>,
}

impl Producer {
    /// Where its last batch begins.
    fn newest(&self) -> i64 {
        self.batches.back().map_or(i64::MIN, |b| b.base_offset)
    }
}

/// All producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// The highest id that was ever forgotten.
    forgotten: Option<i64>,
}

impl Producers {
    /// Judges a batch before it is appended.
    #[must_use]
    pub fn judge(&self, mark: &Mark) -> Verdict {
        let Some(producer) = self.by_id.get(&mark.producer_id) else {
            return if mark.first_sequence == 0 || self.may_have_forgotten(mark.producer_id) {
                Verdict::Next
            } else {
                Verdict::OutOfOrder
            };
        };
        if mark.epoch < producer.epoch {
            return Verdict::Fenced;
        }
        if mark.epoch > producer.epoch {
            return if mark.first_sequence == 0 {
                Verdict::Next
            } else {
                Verdict::OutOfOrder
            };
        }
        let same = |b: &&Remembered| {
            b.first_sequence == mark.first_sequence && b.last_sequence == mark.last_sequence
        };
        if let Some(batch) = producer.batches.iter().rev().find(same) {
            return Verdict::Duplicate {
                base_offset: batch.base_offset,
            };
        }
        match producer.batches.back() {
            Some(last) if mark.first_sequence != next_sequence(last.last_sequence) => {
                Verdict::OutOfOrder
            }
            _ => Verdict::Next,
        }
    }

    /// Notes an appended batch. Batches that are already known (replayed over a newer state) change nothing.
    pub fn append(&mut self, mark: &Mark, base_offset: i64) {
        let fresh = || Producer {
            epoch: mark.epoch,
            batches: VecDeque::new(),
        };
        let producer = self.by_id.entry(mark.producer_id).or_insert_with(fresh);
        if producer
            .batches
            .back()
            .is_some_and(|last| last.base_offset >= base_offset)
        {
            return;
        }
        if producer.epoch != mark.epoch {
            *producer = fresh();
        }
        if producer.batches.len() == REMEMBERED_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Remembered {
            first_sequence: mark.first_sequence,
            last_sequence: mark.last_sequence,
            base_offset,
        });
        if self.by_id.len() > PRODUCERS_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets the producers whose last batch begins below an offset.
    pub fn forget_below(&mut self, offset: i64) {
        let forgotten = &mut self.forgotten;
        self.by_id.retain(|&id, producer| {
            let stays = producer.newest() >= offset;
            if !stays {
                *forgotten = (*forgotten).max(Some(id));
            }
            stays
        });
    }

    /// Whether [`Producers::forget_below`] would forget somebody.
    #[must_use]
    pub fn has_below(&self, offset: i64) -> bool {
        self.by_id.values().any(|p| p.newest() < offset)
    }

    fn forget_oldest(&mut self) {
        let oldest = self
            .by_id
            .iter()
            .min_by_key(|(_, p)| p.newest())
            .map(|(&id, _)| id);
        if let Some(id) = oldest {
            self.by_id.remove(&id);
            self.forgotten = self.forgotten.max(Some(id));
        }
    }

    fn may_have_forgotten(&self, id: i64) -> bool {
        self.forgotten.is_some_and(|highest| id <= highest)
    }

    /// Every producer's last batch, in the order of their ids.
    pub fn last_batches(&self) -> impl Iterator<Item = LastBatch> {
        self.by_id.iter().filter_map(|(&producer_id, producer)| {
            let last = producer.batches.back()?;
            Some(LastBatch {
                producer_id,
                epoch: producer.epoch,
                last_sequence: last.last_sequence,
                base_offset: last.base_offset,
            })
        })
    }

    /// How many producers are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no producer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// As bytes, in the order of the ids.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i64(self.forgotten.unwrap_or(NONE_FORGOTTEN));
        out.put_u32(u32::try_from(self.by_id.len()).expect("at most PRODUCERS_MAX"));
        for (&id, producer) in &self.by_id {
            out.put_i64(id);
            out.put_i16(producer.epoch);
            out.put_u8(u8::try_from(producer.batches.len()).expect("at most REMEMBERED_MAX"));
            for batch in &producer.batches {
                out.put_i32(batch.first_sequence);
                out.put_i32(batch.last_sequence);
                out.put_i64(batch.base_offset);
            }
        }
    }

    /// None when the bytes are not what `encode` wrote.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let forgotten = bytes.try_get_i64().ok()?;
        if forgotten < NONE_FORGOTTEN {
            return None;
        }
        let count = bytes.try_get_u32().ok()? as usize;
        if count > bytes.len() / 11 {
            return None;
        }
        let mut by_id = BTreeMap::new();
        for _ in 0..count {
            if bytes.len() < 11 {
                return None;
            }
            let (id, epoch, batches) = (bytes.get_i64(), bytes.get_i16(), bytes.get_u8() as usize);
            if batches > REMEMBERED_MAX || batches > bytes.len() / 16 {
                return None;
            }
            let remembered = |_| Remembered {
                first_sequence: bytes.get_i32(),
                last_sequence: bytes.get_i32(),
                base_offset: bytes.get_i64(),
            };
            let batches = (0..batches).map(remembered).collect();
            by_id.insert(id, Producer { epoch, batches });
        }
        Some(Self {
            by_id,
            forgotten: (forgotten != NONE_FORGOTTEN).then_some(forgotten),
        })
    }
}

fn next_sequence(last: i32) -> i32 {
    last.checked_add(1).unwrap_or(0)
}
