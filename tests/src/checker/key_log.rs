//! The index that the checks share: per partition, every offset that was seen and by whom.

use std::collections::{BTreeMap, HashMap};

use super::history::{Body, Key, Op, Outcome, Record, Value};

/// One send, as the checks need it.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Who sent it.
    pub process: u32,
    /// When.
    pub invoked: u64,
    /// When it was answered.
    pub returned: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What was sent.
    pub value: Value,
    /// The acknowledged offset.
    pub offset: Option<i64>,
}

/// One partition read from its beginning.
#[derive(Debug, Clone)]
pub struct FullRead<'a> {
    /// When the read began.
    pub invoked: u64,
    /// What was found.
    pub records: &'a [Record],
}

/// First and last dense index of a value, and the earliest time at which a read had returned it.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Lowest index.
    pub first: usize,
    /// Highest index; equal to `first` unless the value is duplicated.
    pub last: usize,
    /// Earliest return of an ok read that held it.
    pub read: Option<u64>,
}

/// Everything known of one partition.
#[derive(Debug)]
pub struct KeyLog<'a> {
    /// Which one.
    pub key: Key,
    /// All records seen in polls or acknowledged, by offset then value, each once.
    pub records: Vec<Record>,
    /// The distinct offsets of `records`, ascending: their rank is the dense index.
    pub offsets: Vec<i64>,
    /// Where each value lies.
    pub values: HashMap<Value, Span>,
    /// All sends, by invocation.
    pub sends: Vec<Sent>,
    /// All full reads, by invocation.
    pub full_reads: Vec<FullRead<'a>>,
    /// Answers of `ListOffsets(latest)`: process, invoked, offset.
    pub latest: Vec<(u32, u64, i64)>,
}

impl<'a> KeyLog<'a> {
    /// Indexes a history, given by invocation.
    pub fn build_all(ops: &[&'a Op]) -> BTreeMap<Key, KeyLog<'a>> {
        let mut logs = BTreeMap::new();
        for op in ops {
            collect(op, &mut logs);
        }
        for log in logs.values_mut() {
            log.finish();
        }
        for op in ops.iter().filter(|op| op.outcome == Outcome::Ok) {
            for (key, records) in reads(op) {
                if let Some(log) = logs.get_mut(&key) {
                    log.note_read(records, op.returned);
                }
            }
        }
        logs
    }

    fn new(key: Key) -> Self {
        KeyLog {
            key,
            records: Vec::new(),
            offsets: Vec::new(),
            values: HashMap::new(),
            sends: Vec::new(),
            full_reads: Vec::new(),
            latest: Vec::new(),
        }
    }

    /// The dense index of an offset: its rank among the offsets that hold a record.
    pub fn index(&self, offset: i64) -> Option<usize> {
        let guess = usize::try_from(offset - self.offsets.first()?).ok()?;
        if self.offsets.get(guess) == Some(&offset) {
            return Some(guess); // no hole below it: the usual case
        }
        self.offsets.binary_search(&offset).ok()
    }

    fn finish(&mut self) {
        self.records.sort_unstable();
        self.records.dedup();
        self.offsets = self.records.iter().map(|record| record.offset).collect();
        self.offsets.dedup();
        let mut values = HashMap::with_capacity(self.records.len());
        for record in &self.records {
            let index = self
                .index(record.offset)
                .expect("every record's offset is listed");
            let fresh = Span {
                first: index,
                last: index,
                read: None,
            };
            values.entry(record.value).or_insert(fresh).last = index;
        }
        self.values = values;
    }

    fn note_read(&mut self, records: &[Record], returned: u64) {
        for record in records {
            let span = self
                .values
                .get_mut(&record.value)
                .expect("reads were indexed");
            span.read = Some(span.read.map_or(returned, |earlier| earlier.min(returned)));
        }
    }
}

/// The records that an operation read, per partition.
pub fn reads(op: &Op) -> impl Iterator<Item = (Key, &[Record])> {
    let (polled, full) = match &op.body {
        Body::Poll { reads } => (reads.as_slice(), None),
        Body::FullRead { key, records } => (&[][..], Some((*key, records.as_slice()))),
        _ => (&[][..], None),
    };
    polled
        .iter()
        .map(|(key, records)| (*key, records.as_slice()))
        .chain(full)
}

fn entry<'l, 'a>(logs: &'l mut BTreeMap<Key, KeyLog<'a>>, key: Key) -> &'l mut KeyLog<'a> {
    logs.entry(key).or_insert_with(|| KeyLog::new(key))
}

fn collect<'a>(op: &'a Op, logs: &mut BTreeMap<Key, KeyLog<'a>>) {
    match &op.body {
        Body::Send { key, value, offset } => {
            let log = entry(logs, *key);
            log.sends.push(Sent {
                process: op.process,
                invoked: op.invoked,
                returned: op.returned,
                outcome: op.outcome,
                value: *value,
                offset: *offset,
            });
            if let (Outcome::Ok, Some(offset)) = (op.outcome, *offset) {
                log.records.push(Record {
                    offset,
                    value: *value,
                });
            }
        }
        Body::FullRead { key, records } if op.outcome == Outcome::Ok => {
            let log = entry(logs, *key);
            log.full_reads.push(FullRead {
                invoked: op.invoked,
                records,
            });
            log.records.extend_from_slice(records);
        }
        Body::Poll { .. } | Body::FullRead { .. } => {
            for (key, records) in reads(op) {
                entry(logs, key).records.extend_from_slice(records);
            }
        }
        Body::Latest { key, offset } if op.outcome == Outcome::Ok => {
            entry(logs, *key)
                .latest
                .push((op.process, op.invoked, *offset));
        }
        Body::Assign { .. } | Body::Seek { .. } | Body::Latest { .. } => {}
    }
}
