//! Reads of clients that touch the disk, or the store: off the broker's thread, bounded in bytes over all of them.

use std::sync::Arc;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::record_batch::BatchHeader;
use raft::types::{EntryKind, GroupId, Index, ReplicaId, Term};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wal::{ReadError, Reader};

use super::{
    Broker, ColdRead, FetchAt, Fetched, Offsets, Place, ReadPath, Rejection, TimestampOffset,
};
use crate::partition::producers::LastBatch;

/// Bytes that all reads under way together may bring into memory.
const READING_BYTES_MAX: u64 = 256 << 20;
/// What a read counts for at least, and what one step of a search by time reads.
const STEP_BYTES: u64 = 1 << 20;
/// Bytes of batches that one question about a partition's producers may read.
const PRODUCER_BYTES_MAX: usize = 64 << 20;
/// So many batches that promise a time and do not have it are opened; then the next one's word is taken.
const OPENED_MAX: usize = 64;

/// What the reads under way may still take, in KiB.
pub(crate) struct DiskReads(Arc<Semaphore>);

impl Default for DiskReads {
    fn default() -> Self {
        let kib = usize::try_from(READING_BYTES_MAX >> 10).expect("a small number");
        Self(Arc::new(Semaphore::new(kib)))
    }
}

impl DiskReads {
    /// Runs a read of about so many bytes on a blocking thread, when the others leave room for it. NB: a read cannot
    /// be stopped: it keeps its room when nobody waits for it any longer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let room = self.room(bytes).await;
        let work = move || {
            let result = work();
            drop(room);
            result
        };
        blocking(work).await
    }

    /// Waits until the others leave room for about so many bytes.
    pub(crate) async fn room(&self, bytes: u64) -> OwnedSemaphorePermit {
        let kib = bytes.clamp(STEP_BYTES, READING_BYTES_MAX) >> 10;
        let kib = u32::try_from(kib).expect("at most READING_BYTES_MAX");
        let room = Arc::clone(&self.0).acquire_many_owned(kib).await;
        room.expect("it is never closed")
    }
}

impl Broker {
    /// Carries out a planned read.
    ///
    /// # Errors
    /// `KAFKA_STORAGE_ERROR` (retriable) when the log or the store cannot be read there, also when a part that should be
    /// in it is not found; never an end of the log instead. What the plan can answer, when the log's first offset has
    /// moved meanwhile.
    pub async fn read_cold(&self, read: ColdRead) -> Result<Fetched, Rejection> {
        let mut read = read;
        for _ in 0..2 {
            let (reader, at) = (Arc::clone(&self.reader), read.at);
            let batches = match read.place {
                Place::Log(replica, until) => {
                    let work = move || batches_at(&reader, &at, replica, until);
                    let batches = self.disk_reads.run(at.max_bytes, work).await;
                    batches.map_err(|why| self.unreadable(at.group, &why))?
                }
                Place::Store(stored) => Some(self.stored_batches(&at, stored).await?),
            };
            if let Some(batches) = batches {
                let offsets = read.offsets;
                return Ok(Fetched { offsets, batches });
            }
            match self.read(at)? {
                ReadPath::Ready(fetched) => return Ok(fetched),
                ReadPath::Cold(again) => read = again,
            }
        }
        self.note_unreadable(read.at.group);
        Err(lost(read.at.group, read.at.offset))
    }

    /// First record at or after a time (`ListOffsets` with a timestamp).
    ///
    /// # Errors
    /// With Kafka's code.
    pub async fn offset_for_timestamp(
        &self,
        group: GroupId,
        timestamp_ms: i64,
    ) -> Result<TimestampOffset, Rejection> {
        let (offsets, replica, until) = self.readable(group)?;
        let (local_start, stored) = self.shard.borrow().store_of(group)?;
        if offsets.log_start < local_start {
            let within = (offsets.log_start, local_start);
            let found = self
                .stored_at_time(group, stored, timestamp_ms, within)
                .await?;
            if found.is_some() {
                return Ok(TimestampOffset::of(found, offsets.term));
            }
        }
        let reader = Arc::clone(&self.reader);
        let search = Search {
            group,
            replica,
            until,
            log_start: offsets.log_start,
        };
        let work = move || search.first_at(&reader, timestamp_ms);
        let found = self.disk_reads.run(STEP_BYTES, work).await;
        let found = found.map_err(|why| self.unreadable(group, &why))?;
        Ok(TimestampOffset::of(found, offsets.term))
    }

    /// The record with the highest timestamp (`ListOffsets` -3).
    ///
    /// # Errors
    /// With Kafka's code.
    pub async fn max_timestamp(&self, group: GroupId) -> Result<TimestampOffset, Rejection> {
        let (offsets, replica, _) = self.readable(group)?;
        let Some((highest, base)) = self.shard.borrow().max_timestamp(group)? else {
            return Ok(TimestampOffset::of(None, offsets.term));
        };
        let batch = self.batch_at(group, replica, base).await?;
        let place = match batch {
            Some(batch) => find_record(&batch, highest, offsets.log_start),
            None if base >= offsets.log_start => return Err(lost(group, base)),
            None => None,
        };
        Ok(TimestampOffset::of(place, offsets.term))
    }

    /// The batch that begins with an offset, wherever it is; None when it is gone.
    async fn batch_at(
        &self,
        group: GroupId,
        replica: ReplicaId,
        base: i64,
    ) -> Result<Option<Bytes>, Rejection> {
        let (local_start, stored) = self.shard.borrow().store_of(group)?;
        if base < local_start {
            let at = FetchAt {
                group,
                offset: base,
                max_bytes: 1,
                current_leader_epoch: -1,
                read_committed: false,
            };
            let batches = self.stored_batches(&at, stored).await?;
            return Ok(batches.into_iter().next());
        }
        let reader = Arc::clone(&self.reader);
        let work = move || {
            let Some(index) = reader.index_of_offset(group, replica, base)? else {
                return Ok(None);
            };
            let entries = reader.entries(group, replica, index, index, 1)?;
            Ok(entries.into_iter().next().map(|entry| entry.payload))
        };
        let batch = self.disk_reads.run(STEP_BYTES, work).await;
        batch.map_err(|why| self.unreadable(group, &why))
    }

    /// The last committed batch of every idempotent producer, each with its highest timestamp: -1 where the batch is
    /// gone from the log, or where it would take reading more than 64 MiB to tell (newest first).
    ///
    /// # Errors
    /// With Kafka's code.
    pub async fn producers(&self, group: GroupId) -> Result<Vec<(LastBatch, i64)>, Rejection> {
        let (offsets, replica, until) = self.readable(group)?;
        let mut batches = self.shard.borrow().last_batches(group)?;
        batches.sort_by_key(|batch| std::cmp::Reverse(batch.base_offset));
        let reader = Arc::clone(&self.reader);
        let work = move || {
            let mut bytes = 0;
            let mut timestamp = |batch: &LastBatch| -> Result<i64, ReadError> {
                if batch.base_offset < offsets.log_start || bytes > PRODUCER_BYTES_MAX {
                    return Ok(-1);
                }
                let index = reader.index_of_offset(group, replica, batch.base_offset)?;
                let Some(index) = index.filter(|index| *index <= until) else {
                    return Ok(-1);
                };
                let entries = reader.entries(group, replica, index, index, 1)?;
                let Some(entry) = entries.first() else {
                    return Ok(-1);
                };
                bytes += entry.payload.len();
                Ok(BatchHeader::parse(&entry.payload).map_or(-1, |header| header.max_timestamp))
            };
            let told = batches.into_iter().map(|b| Ok((b, timestamp(&b)?)));
            told.collect::<Result<Vec<_>, _>>()
        };
        let found = self.disk_reads.run(STEP_BYTES, work).await;
        let mut found = found.map_err(|why| self.unreadable(group, &why))?;
        found.sort_by_key(|(batch, _)| batch.producer_id);
        Ok(found)
    }

    /// What a client hears of a read that has failed. A log that is damaged there is led from elsewhere.
    fn unreadable(&self, group: GroupId, why: &ReadError) -> Rejection {
        match why {
            ReadError::Corrupt { .. } | ReadError::Io { .. } => self.note_unreadable(group),
            // Trimmed while it was looked for.
            ReadError::NotFound { .. } => {}
        }
        storage_error(group, why)
    }

    /// A read of a group's log here has met damage.
    pub(crate) fn note_unreadable(&self, group: GroupId) {
        self.shard.borrow_mut().note_unreadable(self.now(), group);
        self.work.notify_one();
    }

    fn readable(&self, group: GroupId) -> Result<(Offsets, ReplicaId, Index), Rejection> {
        let shard = self.shard.borrow();
        let offsets = shard.offsets(group)?;
        let (replica, until) = shard
            .committed_of(group)
            .ok_or_else(|| shard.unknown(group))?;
        Ok((offsets, replica, until))
    }
}

/// The batches from an offset on. None when no entry of the log has it.
fn batches_at(
    reader: &Reader,
    at: &FetchAt,
    replica: ReplicaId,
    until: Index,
) -> Result<Option<Vec<Bytes>>, ReadError> {
    let index = reader.index_of_offset(at.group, replica, at.offset)?;
    let Some(index) = index.filter(|index| *index <= until) else {
        return Ok(None);
    };
    let entries = reader.entries(at.group, replica, index, until, at.max_bytes.max(1))?;
    let records = entries.into_iter().filter(|e| e.kind == EntryKind::Records);
    Ok(Some(records.map(|e| e.payload).collect()))
}

/// A search by time in the committed part of a log.
struct Search {
    group: GroupId,
    replica: ReplicaId,
    until: Index,
    log_start: i64,
}

impl Search {
    /// The first record at or after a time. Bounded: a client that lies about the times of its batches makes others
    /// begin to read earlier, never later.
    fn first_at(
        &self,
        reader: &Reader,
        timestamp_ms: i64,
    ) -> Result<Option<RecordPlace>, ReadError> {
        let (group, replica, until) = (self.group, self.replica, self.until);
        let first = reader.index_for_timestamp(group, replica, timestamp_ms)?;
        let Some(mut next) = first else {
            return Ok(None);
        };
        let mut opened = 0;
        while next <= until {
            let entries = reader.entries(group, replica, next, until, STEP_BYTES)?;
            let Some(last) = entries.last() else { break };
            next = last.index.next();
            for entry in entries.iter().filter(|e| e.kind == EntryKind::Records) {
                let batch = &entry.payload;
                let Some(promised) = promise(batch, timestamp_ms, self.log_start) else {
                    continue;
                };
                opened += 1;
                if opened > OPENED_MAX {
                    return Ok(Some(promised));
                }
                let found = find_record(batch, timestamp_ms, self.log_start);
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }
}

impl TimestampOffset {
    fn of(found: Option<RecordPlace>, term: Term) -> Self {
        let (offset, timestamp_ms) = found.map_or((-1, -1), |r| (r.offset, r.timestamp_ms));
        Self {
            offset,
            timestamp_ms,
            term,
        }
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordPlace {
    pub(super) offset: i64,
    pub(super) timestamp_ms: i64,
}

/// What a batch's header says: that a record at or after this time, and from the log start on, is in it. As a place:
/// the batch's first offset with its highest time.
pub(super) fn promise(batch: &Bytes, timestamp_ms: i64, log_start: i64) -> Option<RecordPlace> {
    let header = BatchHeader::parse(batch).ok()?;
    let promises = header.max_timestamp >= timestamp_ms && header.last_offset() >= log_start;
    promises.then_some(RecordPlace {
        offset: header.base_offset.max(log_start),
        timestamp_ms: header.max_timestamp,
    })
}

/// The first record of a batch at or after this time and the log start; what the batch promises where its records
/// cannot be opened.
pub(super) fn find_record(batch: &Bytes, timestamp_ms: i64, log_start: i64) -> Option<RecordPlace> {
    let promised = promise(batch, timestamp_ms, log_start)?;
    let Ok(records) = protocol::record_batch::records(batch) else {
        return Some(promised);
    };
    for record in records {
        let Ok(record) = record else {
            return Some(promised);
        };
        if record.timestamp >= timestamp_ms && record.offset >= log_start {
            let (offset, timestamp_ms) = (record.offset, record.timestamp);
            return Some(RecordPlace {
                offset,
                timestamp_ms,
            });
        }
    }
    None
}

/// Runs on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn storage_error(group: GroupId, why: &ReadError) -> Rejection {
    tracing::error!(target: "wal", group = group.0, %why, "cannot read the log");
    Rejection {
        code: ErrorCode::KafkaStorageError,
        message: format!("the log cannot be read there: {why}"),
        leader: None,
    }
}

/// An offset between the log start and the high watermark that no entry has: its entry was damaged.
fn lost(group: GroupId, offset: i64) -> Rejection {
    tracing::error!(target: "wal", group = group.0, offset, "an offset is not in the log");
    Rejection {
        code: ErrorCode::KafkaStorageError,
        message: format!("offset {offset} should be in the log and is not found there"),
        leader: None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use protocol::record_batch::BatchBuilder;
    use raft::types::{Base, Entry};
    use wal::model::ModelDisk;
    use wal::{Log, Record};

    use super::*;

    const GROUP: GroupId = GroupId(1);
    const REPLICA: ReplicaId = ReplicaId(1);

    /// A batch of records with these times.
    fn entry(index: u64, base_offset: i64, times: &[i64]) -> Entry {
        let mut builder = BatchBuilder::new().base_offset(base_offset, 1);
        for time in times {
            builder.value(*time, b"value");
        }
        Entry {
            index: Index(index),
            term: Term(1),
            kind: EntryKind::Records,
            payload: builder.build(),
        }
    }

    /// The same, of a codec by which its records cannot be opened.
    fn closed(index: u64, base_offset: i64, times: &[i64]) -> Entry {
        let plain = entry(index, base_offset, times);
        let mut payload = BytesMut::from(&plain.payload[..]);
        payload[22] |= 4;
        let payload = payload.freeze();
        assert!(protocol::record_batch::records(&payload).is_err());
        Entry { payload, ..plain }
    }

    fn log(entries: Vec<Entry>) -> Log {
        let opened = Log::open(ModelDisk::new(1), wal::Config::tiny(), Default::default());
        let mut log = opened.expect("a new log").0;
        let (group, replica, base) = (GROUP, REPLICA, Base::default());
        log.write(vec![
            Record::Base {
                group,
                replica,
                base,
            },
            Record::Entries {
                group,
                replica,
                entries,
            },
        ])
        .expect("written");
        log
    }

    fn search(log: &Log, until: u64, log_start: i64, time: i64) -> Option<(i64, i64)> {
        let search = Search {
            group: GROUP,
            replica: REPLICA,
            until: Index(until),
            log_start,
        };
        let found = search.first_at(&log.reader(), time).expect("readable");
        found.map(|place| (place.offset, place.timestamp_ms))
    }

    #[test]
    fn a_batch_that_cannot_be_opened_is_not_skipped() {
        let entries = vec![
            entry(1, 0, &[100, 101]),
            closed(2, 2, &[200, 210]),
            entry(3, 4, &[300]),
        ];
        let log = log(entries);
        assert_eq!(search(&log, 3, 0, 101), Some((1, 101)));
        assert_eq!(search(&log, 3, 0, 150), Some((2, 210)), "not offset 4");
        assert_eq!(
            search(&log, 3, 3, 150),
            Some((3, 210)),
            "from the log start"
        );
        assert_eq!(search(&log, 3, 0, 211), Some((4, 300)));
        assert_eq!(search(&log, 2, 0, 211), None, "not what is not committed");
        assert_eq!(search(&log, 3, 0, 301), None);
    }

    #[test]
    fn batches_that_lie_about_their_time_are_opened_so_often_only() {
        let liar = |at: u64| {
            let mut entry = entry(at, at as i64 - 1, &[5]);
            let mut payload = BytesMut::from(&entry.payload[..]);
            payload[35..43].copy_from_slice(&1000_i64.to_be_bytes());
            entry.payload = payload.freeze();
            entry
        };
        let count = OPENED_MAX as u64 + 10;
        let log = log((1..=count).map(liar).collect());
        let found = search(&log, count, 0, 900).expect("a word that is taken");
        assert_eq!(found, (OPENED_MAX as i64, 1000));
    }

    #[test]
    fn an_offset_that_no_entry_has_is_no_empty_read() {
        let log = log(vec![entry(1, 0, &[1, 1]), entry(2, 2, &[2])]);
        let read = |offset| {
            let at = FetchAt {
                group: GROUP,
                offset,
                max_bytes: 1 << 20,
                current_leader_epoch: -1,
                read_committed: false,
            };
            batches_at(&log.reader(), &at, REPLICA, Index(2)).expect("readable")
        };
        assert_eq!(read(1).map(|batches| batches.len()), Some(2));
        assert_eq!(read(3), None);
        assert_eq!(lost(GROUP, 3).code, ErrorCode::KafkaStorageError);
    }
}
