//! Fetch requests, and a reader that goes through the partitions of one leader.

use super::client::Client;
use super::error_name;
use super::record::{self, Found};
use crate::error::{Error, Result};
use bytes::Buf;
use protocol::messages::FetchRequest;
use protocol::messages::fetch::{FetchPartition, FetchTopic};
use std::collections::BTreeMap;

pub(super) const VERSION: i16 = 11;
/// As consumers do by default.
const PARTITION_BYTES: i32 = 1 << 20;
const FETCH_BYTES: i32 = 50 << 20;
/// How long a broker that has nothing may wait before it says so.
const WAIT_MS: i32 = 200;

/// A request for what follows these offsets.
pub(super) fn request(
    topic: &str,
    partitions: impl Iterator<Item = (i32, i64)>,
    partition_bytes: i32,
    bytes: i32,
) -> FetchRequest {
    let partitions = partitions.map(|(partition, fetch_offset)| FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: partition_bytes,
        ..FetchPartition::default()
    });
    FetchRequest {
        max_wait_ms: WAIT_MS,
        min_bytes: 1,
        max_bytes: bytes,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: partitions.collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// Reads partitions that one broker leads, forwards, checking every batch.
pub(crate) struct Reader {
    client: Client,
    leader: String,
    topic: String,
    next: BTreeMap<i32, i64>,
    is_refused: bool,
}

impl Reader {
    /// Begins at these offsets.
    pub(crate) fn connect(leader: &str, topic: &str, from: BTreeMap<i32, i64>) -> Result<Self> {
        Ok(Self {
            client: Client::connect(leader)?,
            leader: leader.into(),
            topic: topic.into(),
            next: from,
            is_refused: false,
        })
    }

    /// One fetch of all partitions but those that are `done` at this offset. Each batch is handed on; returns their bytes.
    ///
    /// # Errors
    /// When the broker answers what is no batch, or a damaged one.
    pub(crate) fn read(
        &mut self,
        done: impl Fn(i32, i64) -> bool,
        mut each: impl FnMut(&Found),
    ) -> Result<usize> {
        let due = self
            .next
            .iter()
            .map(|(partition, next)| (*partition, *next));
        let due = due.filter(|(partition, next)| !done(*partition, *next));
        let request = request(&self.topic, due, PARTITION_BYTES, FETCH_BYTES);
        let answer = self.client.call(&request, VERSION)?;
        let found = answer.responses.into_iter().flat_map(|t| t.partitions);
        let mut bytes = 0;
        for data in found {
            let partition = data.partition_index;
            let named = format!("partition {partition} of {} at {}", self.topic, self.leader);
            if data.error_code != 0 {
                eprintln!("bench: fetch {named}: {}", error_name(data.error_code));
                self.is_refused = true;
                continue;
            }
            let malformed = |what: String| Error::Malformed {
                peer: named.clone(),
                what,
            };
            let Some(records) = data.records else {
                continue;
            };
            let mut records = records.into_bytes();
            while let Some(batch) = record::find(&records).map_err(|e| malformed(e.to_string()))? {
                if batch.id.is_none() {
                    return Err(malformed(format!("damaged at {}", batch.base_offset)));
                }
                records.advance(batch.bytes);
                bytes += batch.bytes;
                self.next.insert(partition, batch.last_offset + 1);
                each(&batch);
            }
        }
        Ok(bytes)
    }

    /// Whether the broker has refused a partition: it leads it no more, say.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Where it has come to in each partition.
    pub(crate) fn into_next(self) -> BTreeMap<i32, i64> {
        self.next
    }

    /// Whether every partition is `done` at its offset.
    pub(crate) fn is_done(&self, done: impl Fn(i32, i64) -> bool) -> bool {
        let mut next = self.next.iter();
        next.all(|(partition, next)| done(*partition, *next))
    }
}
