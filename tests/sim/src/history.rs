//! Everything that clients were told and have read, held against each other as it comes.

use std::collections::BTreeMap;

use broker::broker::{Produced, Rejection};
use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::GroupId;

use crate::client::{Kind, Operation, record_value};

/// A batch that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// To which partition.
    pub group: GroupId,
    /// By which client.
    pub client: usize,
    /// How that works.
    pub kind: Kind,
    /// Its records.
    pub count: u8,
    /// When its client began with it.
    pub begun_at: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    /// Batches by number.
    pub sent: BTreeMap<u64, Sent>,
    /// Acknowledged with acks=all: the batch by partition and base offset.
    pub acked: BTreeMap<(GroupId, i64), u64>,
    /// When each was first acknowledged.
    pub acked_at: BTreeMap<(GroupId, i64), u64>,
    /// What consumers have read: the record's value by partition and offset.
    pub seen: BTreeMap<(GroupId, i64), u64>,
    /// Where a record that stands in the log once was read.
    place: BTreeMap<u64, i64>,
    /// Which base offset was told for a batch that stands in the log once.
    told: BTreeMap<u64, i64>,
    /// How often a batch was acknowledged again, with the same offset.
    pub acked_again: u64,
    /// Batches acknowledged with less than acks=all.
    pub acked_weakly: u64,
    /// Answers by kind, for the report.
    pub answers: BTreeMap<String, u64>,
}

type Checked = Result<(), String>;

impl History {
    /// An answer to a produce. An error tells what no broker may answer.
    pub fn produced(
        &mut self,
        group: GroupId,
        operation: &Operation,
        answer: &Result<Produced, Rejection>,
    ) -> Checked {
        let kind = match answer {
            Ok(_) => "ack".to_owned(),
            Err(why) => format!("{:?}", why.code),
        };
        *self.answers.entry(kind).or_default() += 1;
        match answer {
            Ok(produced) => self.acknowledged(group, operation, produced.base_offset),
            Err(why) => match why.code {
                ErrorCode::NotLeaderOrFollower
                | ErrorCode::NotEnoughReplicas
                | ErrorCode::RequestTimedOut
                | ErrorCode::KafkaStorageError => Ok(()),
                other => Err(format!("{group}: a correct produce was answered {other:?}")),
            },
        }
    }

    fn acknowledged(&mut self, group: GroupId, operation: &Operation, base: i64) -> Checked {
        let value = operation.value;
        let Some(sent) = self.sent.get(&value).copied() else {
            return Err(format!("{group}: {value} was acknowledged, never sent"));
        };
        if !sent.kind.may_repeat() {
            match self.told.insert(value, base) {
                Some(before) if before != base => {
                    return Err(format!(
                        "{group}: {value} was acknowledged at {before}, then at {base}"
                    ));
                }
                Some(_) => self.acked_again += 1,
                None => {}
            }
            self.agrees_with_place(group, value, base)?;
        }
        if !sent.kind.is_strong() {
            self.acked_weakly += 1;
            return Ok(());
        }
        if let Some(other) = self.acked.insert((group, base), value)
            && other != value
        {
            return Err(format!(
                "{group} offset {base} was acknowledged to {other} and to {value}"
            ));
        }
        for at in 0..operation.count {
            let offset = base + i64::from(at);
            match self.seen.get(&(group, offset)) {
                Some(seen) if *seen != record_value(value, at) => {
                    return Err(format!(
                        "{group} offset {offset} was read as {seen} and acknowledged to {value}"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn agrees_with_place(&self, group: GroupId, value: u64, base: i64) -> Checked {
        match self.place.get(&record_value(value, 0)) {
            Some(place) if *place != base => Err(format!(
                "{group}: {value} stands at {place} and was acknowledged at {base}"
            )),
            _ => Ok(()),
        }
    }

    /// A consumer read these batches from an offset on. Returns the first offset beyond them.
    pub fn read_batches(
        &mut self,
        group: GroupId,
        from: i64,
        batches: &[Bytes],
    ) -> Result<i64, String> {
        let mut next = from;
        for batch in batches {
            let records = protocol::record_batch::records(batch).map_err(|why| why.to_string())?;
            for record in records {
                let record = record.map_err(|why| format!("{group}: a stored record: {why}"))?;
                if record.offset < from {
                    continue;
                }
                if record.offset != next {
                    let found = record.offset;
                    return Err(format!("{group}: offset {found} where {next} was due"));
                }
                next += 1;
                let value = record.value.as_deref().and_then(|v| v.first_chunk::<8>());
                let value = u64::from_be_bytes(*value.ok_or("a record without its value")?);
                self.read(group, record.offset, value)?;
            }
        }
        Ok(next)
    }

    /// A consumer read this record.
    pub fn read(&mut self, group: GroupId, offset: i64, record: u64) -> Checked {
        if let Some(before) = self.seen.insert((group, offset), record)
            && before != record
        {
            return Err(format!(
                "{group} offset {offset} was read as {before}, then as {record}"
            ));
        }
        let (value, at) = (record >> 2, i64::try_from(record & 3).expect("two bits"));
        let Some(sent) = self.sent.get(&value).filter(|s| s.group == group) else {
            return Err(format!(
                "{group} offset {offset} holds {value}, which nobody sent there"
            ));
        };
        if !sent.kind.may_repeat() {
            if let Some(place) = self.place.insert(record, offset)
                && place != offset
            {
                return Err(format!(
                    "{group}: {value} stands at {place} and again at {offset}"
                ));
            }
            if let Some(told) = self.told.get(&value)
                && told + at != offset
            {
                return Err(format!(
                    "{group}: {value} was acknowledged at {told}, its record {at} stands at {offset}"
                ));
            }
        }
        self.agrees_with_acked(group, offset, value)
    }

    /// An acknowledged batch covers its offsets.
    /// Where the last acknowledged batch of a partition ends.
    #[must_use]
    pub fn acked_end(&self, group: GroupId) -> i64 {
        let last = self.acked.range((group, 0)..(group, i64::MAX)).next_back();
        last.map_or(0, |(&(_, base), value)| {
            base + self.sent.get(value).map_or(1, |sent| i64::from(sent.count))
        })
    }

    fn agrees_with_acked(&self, group: GroupId, offset: i64, value: u64) -> Checked {
        let before = self.acked.range((group, 0)..=(group, offset)).next_back();
        let Some((&(_, base), acked)) = before else {
            return Ok(());
        };
        let count = self.sent.get(acked).map_or(1, |sent| i64::from(sent.count));
        if offset < base + count && *acked != value {
            return Err(format!(
                "{group} offset {offset} was acknowledged to {acked} and read as of {value}"
            ));
        }
        Ok(())
    }

    /// Holds what the log of a partition shows from its start to its end against everything acknowledged.
    pub fn account_for(&self, group: GroupId, start: i64, end: i64) -> Checked {
        for (&(_, base), value) in self.acked.range((group, 0)..(group, i64::MAX)) {
            let count = self.sent.get(value).map_or(1, |sent| sent.count);
            for at in 0..count {
                let offset = base + i64::from(at);
                if offset >= end {
                    return Err(format!(
                        "{group}: {value}, acknowledged at {base}, lies above the end {end}"
                    ));
                }
                let seen = self.seen.get(&(group, offset));
                if offset >= start && seen != Some(&record_value(*value, at)) {
                    return Err(format!(
                        "{group}: {value}, acknowledged at {base}, is not there"
                    ));
                }
            }
        }
        self.in_order(group)
    }

    /// What a client sent one after the other, each at most once, stands in that order.
    fn in_order(&self, group: GroupId) -> Checked {
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        for (&(_, offset), record) in self.seen.range((group, 0)..(group, i64::MAX)) {
            let Some(sent) = self.sent.get(&(record >> 2)) else {
                continue;
            };
            if sent.kind.may_repeat() {
                continue;
            }
            let last = last.entry(sent.client).or_default();
            if *record <= *last {
                return Err(format!(
                    "{group} offset {offset}: {record} stands behind {last} of the same client"
                ));
            }
            *last = *record;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
