//! Copies from logs, for a store that has lost something: this broker's log first, then those of the other members, the leader's
//! first.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::record_batch::BatchHeader;
use raft::types::{Entry, EntryKind, GroupId, Index};
use snapshot::key::Key;
use snapshot::mend::{Donor, Later};
use snapshot::source::Source;
use snapshot::tail;
use uuid::Uuid;

use crate::broker::Broker;
use crate::heal::AskedRecords;
use crate::metadata::TopicId;

/// Bytes that are asked for at once.
const COPIED_BYTES: u64 = 2 << 20;

/// See the module.
pub(super) struct Logs<'a> {
    broker: &'a Broker,
    objects: BTreeMap<Key, Bytes>,
}

impl<'a> Logs<'a> {
    /// With sealed objects that are known whole.
    pub(super) fn new(broker: &'a Broker, objects: BTreeMap<Key, Bytes>) -> Self {
        Self { broker, objects }
    }

    fn group(&self, (topic_id, partition): (Uuid, i32)) -> Option<GroupId> {
        let image = self.broker.image();
        let topic = image.topic(TopicId(topic_id.as_u128()))?;
        let at = usize::try_from(partition).ok()?;
        topic.partitions.get(at).copied()
    }

    async fn batches(&self, source: &Source, first: i64, below: i64) -> Option<Vec<Bytes>> {
        let group = self.group((source.topic_id, source.partition))?;
        let asked = AskedRecords {
            group,
            first,
            below,
            max_bytes: COPIED_BYTES,
        };
        let payloads = |entries: Vec<Entry>| -> Vec<Bytes> {
            entries.into_iter().map(|entry| entry.payload).collect()
        };
        let own = self.broker.records_here(asked).await.unwrap_or_default();
        if begins_at(&own, first) {
            return Some(payloads(own));
        }
        for node in self.broker.other_members(group) {
            let entries = self.broker.ask_for_records(node, asked).await;
            if begins_at(&entries, first) {
                tracing::info!(target: "snapshot", group = group.0, first, from = node.0, "fetched records for the store from another replica");
                return Some(payloads(entries));
            }
        }
        None
    }

    async fn entries(&self, place: (Uuid, i32), first: u64, last: u64) -> Option<Vec<tail::Entry>> {
        let group = self.group(place)?;
        let range = (Index(first), Index(last));
        let begins = |entries: &[Entry]| entries.first().map(|entry| entry.index.0) == Some(first);
        let mut entries = self.broker.entries_here(group, range, COPIED_BYTES).await;
        if !begins(&entries) {
            for node in self.broker.other_members(group) {
                entries = self
                    .broker
                    .ask_for_committed(node, group, range, COPIED_BYTES)
                    .await;
                if begins(&entries) {
                    break;
                }
            }
        }
        Some(entries.into_iter().map(super::tail::entry_of).collect())
    }
}

/// Whether the first of these entries is the batch that begins at an offset.
fn begins_at(entries: &[Entry], first: i64) -> bool {
    let header = entries
        .first()
        .map(|entry| BatchHeader::parse(&entry.payload));
    matches!(header, Some(Ok(header)) if header.base_offset == first)
}

impl Donor for Logs<'_> {
    fn batches<'a>(&'a self, source: &'a Source, first: i64, below: i64) -> Later<'a, Vec<Bytes>> {
        Box::pin(async move { self.batches(source, first, below).await.unwrap_or_default() })
    }

    fn entries<'a>(
        &'a self,
        place: (Uuid, i32),
        first: u64,
        last: u64,
    ) -> Later<'a, Vec<tail::Entry>> {
        Box::pin(async move { self.entries(place, first, last).await.unwrap_or_default() })
    }

    fn objects(&self) -> BTreeMap<Key, Bytes> {
        self.objects.clone()
    }
}

impl Broker {
    /// Committed batches of a replica here, from the one on that holds an offset; None where there is no such replica.
    pub(crate) async fn records_here(&self, asked: AskedRecords) -> Option<Vec<Entry>> {
        let (replica, until) = self.shard.borrow().committed_of(asked.group)?;
        let reader = Arc::clone(&self.reader);
        let max_bytes = asked.max_bytes.min(COPIED_BYTES);
        let work = move || {
            let Some(first) = reader.index_of_offset(asked.group, replica, asked.first)? else {
                return Ok(Vec::new());
            };
            Ok(reader.whole_entries(asked.group, replica, (first, until), max_bytes))
        };
        let mut entries = self.disk_reads.run(max_bytes, work).await.ok()?;
        entries.retain(|entry| {
            let header = BatchHeader::parse(&entry.payload);
            let is_below = header.is_ok_and(|header| header.base_offset < asked.below);
            entry.kind == EntryKind::Records && is_below
        });
        Some(entries)
    }
}
