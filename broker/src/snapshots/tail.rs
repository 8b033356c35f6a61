//! One tail: from the logs of many partitions into one object.

use std::sync::Arc;

use raft::types::{Entry, Index};
use snapshot::source::Incarnation;
use snapshot::store::{self, Condition, Store};
use snapshot::tail::{self, Writer};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::shard::{TailFate, TailPart};

/// A tail of so many stored bytes is long enough: what has no room is in the next one.
const BYTES_MAX: usize = 64 << 20;

/// Where a partition's changes belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
}

/// A tail to be made.
pub struct Tail {
    /// The log.
    pub reader: Arc<wal::Reader>,
    /// To what all objects of the store are bound.
    pub store_id: String,
    /// The life of the cluster.
    pub incarnation: Incarnation,
    /// This broker.
    pub broker: i32,
    /// By its clock.
    pub now_ms: i64,
    /// What it is to hold; without a place when the topic is gone.
    pub parts: Vec<(TailPart, Option<Place>)>,
    /// A part of more bytes is left out.
    pub part_bytes: u64,
}

/// One that was made.
pub struct Made {
    writer: Writer,
    /// What becomes of each part when it is written.
    fates: Vec<TailFate>,
}

impl Tail {
    /// Does it on a thread of its own that yields to everything else.
    ///
    /// # Errors
    /// When there can be no thread.
    pub async fn make_aside(self) -> std::io::Result<Made> {
        let (tell, told) = oneshot::channel();
        std::thread::Builder::new()
            .name("tail".to_owned())
            .spawn(move || {
                // A tail is little, and whole brokers may be lost before it is in the store.
                super::build::be_polite(true);
                // Nobody waits any longer where the broker stops.
                let _ = tell.send(self.make());
            })?;
        told.await.map_err(std::io::Error::other)
    }

    /// Reads the logs.
    #[must_use]
    pub fn make(self) -> Made {
        let mut writer = Writer::new(
            self.store_id.clone(),
            self.incarnation,
            self.broker,
            self.now_ms,
        );
        let mut fates = Vec::with_capacity(self.parts.len());
        for (part, place) in &self.parts {
            // NB: what has no place is of nobody any more, and nobody waits for it.
            let Some(place) = place else {
                fates.push(TailFate::Stored);
                continue;
            };
            if writer.stored_bytes() >= BYTES_MAX {
                fates.push(TailFate::Later);
                continue;
            }
            fates.push(match self.entries(part) {
                Some(entries) => {
                    writer.push(place.topic_id, place.partition, &entries);
                    TailFate::Stored
                }
                None => TailFate::Snapshot,
            });
        }
        Made { writer, fates }
    }

    /// All of a part; None when it is too much for a tail, or not in the log.
    fn entries(&self, part: &TailPart) -> Option<Vec<tail::Entry>> {
        let mut entries: Vec<tail::Entry> = Vec::new();
        let (mut next, mut bytes) = (part.first, 0);
        while next <= part.last {
            let read =
                self.reader
                    .entries(part.group, part.replica, next, part.last, self.part_bytes);
            let read = read.map_err(|why| {
                tracing::debug!(target: "snapshot", group = part.group.0, %why, "not for a tail");
            });
            for entry in read.ok()? {
                bytes += entry.payload.len() as u64;
                next = entry.index.next();
                entries.push(entry_of(entry));
            }
            // What was counted while it was written may be less than what is there.
            if bytes > self.part_bytes.saturating_mul(2) {
                return None;
            }
        }
        let first = entries.first().map(|entry| Index(entry.index));
        (first == Some(part.first)).then_some(entries)
    }
}

pub(super) fn entry_of(entry: Entry) -> tail::Entry {
    tail::Entry {
        index: entry.index.0,
        term: entry.term.0,
        kind: entry.kind as u8,
        payload: entry.payload,
    }
}

impl Made {
    /// Puts it into the store, if there is anything in it. Tells what became of each part, and how long the object is.
    ///
    /// # Errors
    /// When the store cannot do it.
    pub async fn put(self, store: &dyn Store) -> Result<(Vec<TailFate>, u64), store::Error> {
        if self.writer.parts() == 0 {
            return Ok((self.fates, 0));
        }
        let (key, object) = self.writer.finish();
        let bytes = object.len() as u64;
        // NB: the time in its name makes it this one's alone; where it is, it is there by an earlier try.
        match store.put(&key, object, Condition::Absent).await {
            Ok(_) | Err(store::Error::Conflict(_)) => Ok((self.fates, bytes)),
            Err(why) => Err(why),
        }
    }
}
