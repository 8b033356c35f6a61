//! The shard's orders: reads of the log on blocking threads, retention, reports to the controller.

use std::rc::Rc;
use std::time::{Duration, Instant};

use raft::types::{EntryKind, GroupId, Index, ReplicaId};
use snapshot::chunk::Summary;
use snapshot::manifest::Manifest;

use crate::broker::{Broker, blocking};
use crate::controller::ControllerRequest;
use crate::metadata::Command;
use crate::partition::state::BatchFacts;
use crate::shard::{Halt, Order};

/// How long a report to the controller is tried before the shard orders it anew.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Reports under way at once.
const REPORTS_MAX: usize = 64;

impl Broker {
    /// Begins to carry out an order. Returns the halt that it was.
    pub(crate) fn carry_out(self: &Rc<Self>, order: Order) -> Option<Halt> {
        match order {
            Order::ReadEntries {
                group,
                replica,
                to,
                session,
                from,
                until,
                max_bytes,
            } => {
                self.read_entries(group, replica, (to, session), from, until, max_bytes);
            }
            Order::LocateTrim {
                group,
                replica,
                offset,
            } => {
                self.locate_trim(group, replica, offset);
            }
            Order::CheckRetention { .. } => self.check_retention(order),
            Order::CheckLocalRetention { .. } => self.check_local_retention(order),
            Order::CollectSnapshots { group, stored } => self.collect_snapshots(group, stored),
            Order::HoldSnapshot(holding) => self.hold_snapshot(*holding),
            Order::AskWhole {
                group,
                term,
                index,
                newcomers,
            } => self.ask_whole((group, term), index, newcomers),
            Order::TakeSnapshot(wanted) => self.take_snapshot(*wanted),
            Order::WriteTail(wanted) => self.write_tail(*wanted),
            Order::ReadOrigin {
                group,
                replica,
                origin,
            } => self.read_origin(group, replica, origin),
            Order::ForgetProducerIds => self.producer_ids.set((0, 0)),
            Order::Peers(peers) => {
                self.network
                    .set_peers(super::boot::with_seeds(peers, &self.seeds));
            }
            Order::ConfirmRemovals(replicas) => {
                let directory = self.shard.borrow().directory();
                let command = Command::ConfirmRemovals {
                    directory,
                    replicas,
                };
                self.report(None, command);
            }
            Order::ReportReassignment(group) => {
                let command = self.shard.borrow().finished_reassignment(group);
                if let Some(command) = command {
                    self.report(Some(group), command);
                }
            }
            Order::Disconnect(node) => self.network.disconnect(node),
            Order::Halt(halt) => return Some(halt),
        }
        None
    }

    /// Tells the controller something about a group, or about this disk. A report that fails, or comes while many are
    /// under way, is ordered again while it holds.
    fn report(self: &Rc<Self>, about: Option<GroupId>, command: Command) {
        let mut reporting = self.reporting.borrow_mut();
        if reporting.len() >= REPORTS_MAX || !reporting.insert(about) {
            return;
        }
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            let request = ControllerRequest::Report(command);
            if let Err(why) = broker.controller_call(request, REPORT_TIMEOUT).await {
                tracing::debug!(target: "controller", ?why, "a report was not taken");
            }
            broker.reporting.borrow_mut().remove(&about);
        });
    }

    fn read_entries(
        self: &Rc<Self>,
        group: GroupId,
        replica: ReplicaId,
        (to, session): (ReplicaId, u64),
        from: Index,
        until: Index,
        max_bytes: u64,
    ) {
        let (broker, reader) = (self.clone(), self.reader.clone());
        tokio::task::spawn_local(async move {
            let turn = broker.catch_up.turn().await;
            let read = blocking(move || reader.entries(group, replica, from, until, max_bytes));
            let read = read.await;
            drop(turn);
            let entries = match read {
                Ok(entries) => {
                    let bytes = entries.iter().map(|entry| entry.payload.len() as u64).sum();
                    broker.catch_up.read(Instant::now(), bytes);
                    Some(entries)
                }
                // Trimmed since it was ordered: the follower needs the base, not this.
                Err(wal::ReadError::NotFound { .. }) => Some(Vec::new()),
                Err(why) => {
                    tracing::error!(target: "wal", group = group.0, %why, "cannot read for a follower");
                    broker.note_unreadable(group);
                    None
                }
            };
            let now = broker.now();
            broker
                .shard
                .borrow_mut()
                .entries_read(now, group, to, session, entries);
            broker.work.notify_one();
        });
    }

    fn locate_trim(self: &Rc<Self>, group: GroupId, replica: ReplicaId, offset: i64) {
        let (broker, reader) = (self.clone(), self.reader.clone());
        tokio::task::spawn_local(async move {
            let found = blocking(move || {
                let Some(index) = reader.index_of_offset(group, replica, offset)? else {
                    return Ok(None);
                };
                let entries = reader.entries(group, replica, index, index, 1)?;
                let facts = entries.first().and_then(|e| BatchFacts::of(&e.payload));
                Ok(facts.map(|facts| (index, facts.base_offset)))
            });
            let found = found.await.unwrap_or_else(|why| {
                tracing::error!(target: "wal", group = group.0, %why, "cannot locate the log start");
                None
            });
            broker
                .shard
                .borrow_mut()
                .trim_at(broker.now(), group, found);
            broker.work.notify_one();
        });
    }

    fn check_retention(self: &Rc<Self>, order: Order) {
        let Order::CheckRetention {
            group,
            replica,
            retention_ms,
            retention_bytes,
            high_watermark,
            log_start,
            local_start,
            stored,
        } = order
        else {
            return;
        };
        let (broker, reader) = (self.clone(), self.reader.clone());
        let keep = Keep {
            ms: retention_ms.filter(|_| self.clock_trust.judge(self.clock.jump_ms())),
            bytes: retention_bytes,
            wall_ms: self.clock.wall_ms(),
        };
        tokio::task::spawn_local(async move {
            // What only the store holds goes first.
            if log_start < local_start {
                let Ok((_, manifest)) = broker.manifest(group, stored).await else {
                    return;
                };
                let local_bytes = reader.group_bytes(group, replica);
                if let Some(offset) = keep.stored_cut(&manifest, local_bytes, local_start) {
                    return broker.advance(group, offset);
                }
            }
            let cut = blocking(move || keep.cut(&reader, group, replica, high_watermark)).await;
            match cut {
                Ok(Some(offset)) => broker.advance(group, offset.min(high_watermark)),
                Ok(None) => {}
                Err(why) => {
                    tracing::warn!(target: "wal", group = group.0, %why, "retention cannot look");
                }
            }
        });
    }

    fn advance(&self, group: GroupId, offset: i64) {
        let now = self.now();
        let mut shard = self.shard.borrow_mut();
        shard.advance_log_start(now, group, offset, now, None);
        drop(shard);
        self.work.notify_one();
    }

    fn check_local_retention(self: &Rc<Self>, order: Order) {
        let Order::CheckLocalRetention {
            group,
            replica,
            ms,
            bytes,
            stored,
        } = order
        else {
            return;
        };
        let (broker, reader) = (self.clone(), self.reader.clone());
        let keep = Keep {
            ms: ms.filter(|_| self.clock_trust.judge(self.clock.jump_ms())),
            bytes,
            wall_ms: self.clock.wall_ms(),
        };
        tokio::task::spawn_local(async move {
            // What is in a store that this broker does not see, as a folder of another machine, is not stored for it.
            if let Err(why) = broker.manifest(group, Some(stored)).await {
                let why = why.message;
                tracing::warn!(target: "snapshot", group = group.0, why, "nothing is dropped from the log here");
                return;
            }
            let below = stored.next_offset;
            let cut = blocking(move || keep.cut(&reader, group, replica, below)).await;
            match cut {
                Ok(Some(offset)) => {
                    broker.shard.borrow_mut().local_cut(group, offset);
                    broker.work.notify_one();
                }
                Ok(None) => {}
                Err(why) => {
                    tracing::warn!(target: "wal", group = group.0, %why, "local retention cannot look");
                }
            }
        });
    }
}

/// Bytes of one look for the next batch.
const LOOK_BYTES: u64 = 64 << 10;

/// What retention keeps.
struct Keep {
    /// Of at most this age.
    ms: Option<u64>,
    /// At least so many of the newest bytes, to the granularity of a segment.
    bytes: Option<u64>,
    /// Now.
    wall_ms: i64,
}

impl Keep {
    /// The log start that keeps no more than that; None when nothing can go.
    fn cut(
        &self,
        reader: &wal::Reader,
        group: GroupId,
        replica: ReplicaId,
        high_watermark: i64,
    ) -> Result<Option<i64>, wal::ReadError> {
        let mut cut = None;
        let offset = |index| first_offset(reader, group, replica, index, high_watermark);
        if let Some(keep) = self.ms {
            let keep = i64::try_from(keep).unwrap_or(i64::MAX);
            let horizon = self.wall_ms.saturating_sub(keep);
            cut = match reader.index_not_older(group, replica, horizon)? {
                Some(index) => Some(offset(index)?),
                None => Some(high_watermark),
            };
        }
        if let Some(keep) = self.bytes
            && let Some(index) = reader.index_for_bytes(group, replica, keep)
        {
            cut = cut.max(Some(offset(index)?));
        }
        Ok(cut)
    }

    /// The log start for what lies before a replica's log: the first chunk that is kept. None when all of it goes: then
    /// the log is to be looked at.
    fn stored_cut(&self, manifest: &Manifest, local_bytes: u64, local_start: i64) -> Option<i64> {
        let chunks = || manifest.chunks.iter().map(|chunk| &chunk.chunk);
        let young = self.ms.map_or(i64::MIN, |keep| {
            let keep = i64::try_from(keep).unwrap_or(i64::MAX);
            let horizon = self.wall_ms.saturating_sub(keep);
            let kept = |chunk: &&Summary| chunk.max_timestamp < 0 || chunk.max_timestamp >= horizon;
            chunks()
                .find(kept)
                .map_or(i64::MAX, |chunk| chunk.first_offset)
        });
        let large = self.bytes.map_or(i64::MIN, |keep| {
            let mut kept = local_bytes;
            let mut first = i64::MAX;
            for chunk in chunks()
                .rev()
                .filter(|chunk| chunk.first_offset < local_start)
            {
                if kept >= keep {
                    break;
                }
                // NB: of a chunk that reaches into the log a part is counted already; then more is kept.
                if chunk.next_offset <= local_start {
                    kept = kept.saturating_add(chunk.raw_bytes);
                }
                first = chunk.first_offset;
            }
            first
        });
        let cut = young.max(large);
        (cut < local_start).then_some(cut.max(manifest.log_start))
    }
}

/// The offset of the first batch at or after an index; the high watermark when there is none.
fn first_offset(
    reader: &wal::Reader,
    group: GroupId,
    replica: ReplicaId,
    index: Index,
    high_watermark: i64,
) -> Result<i64, wal::ReadError> {
    let mut next = index;
    loop {
        let entries = match reader.entries(group, replica, next, Index(u64::MAX), LOOK_BYTES) {
            Err(wal::ReadError::NotFound { .. }) => return Ok(high_watermark),
            other => other?,
        };
        let batch = entries.iter().find(|e| e.kind == EntryKind::Records);
        if let Some(facts) = batch.and_then(|e| BatchFacts::of(&e.payload)) {
            return Ok(facts.base_offset);
        }
        let Some(last) = entries.last() else {
            return Ok(high_watermark);
        };
        next = last.index.next();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::record_batch::BatchBuilder;
    use raft::types::{Base, Entry, Term};
    use wal::model::ModelDisk;
    use wal::{Log, Record};

    use super::*;

    const GROUP: GroupId = GroupId(1);
    const REPLICA: ReplicaId = ReplicaId(1);
    const NOW: i64 = 1_000_000;

    fn entry(index: u64, kind: EntryKind, payload: Bytes) -> Entry {
        Entry {
            index: Index(index),
            term: Term(1),
            kind,
            payload,
        }
    }

    /// One record of this time and size.
    fn batch(index: u64, offset: i64, time: i64, bytes: usize) -> Entry {
        let mut builder = BatchBuilder::new().base_offset(offset, 1);
        builder.value(time, &vec![7; bytes]);
        entry(index, EntryKind::Records, builder.build())
    }

    fn log(entries: Vec<Entry>) -> Log {
        let opened = Log::open(ModelDisk::new(1), wal::Config::tiny(), Default::default());
        let mut log = opened.expect("a new log").0;
        let (group, replica, base) = (GROUP, REPLICA, Base::default());
        log.write(vec![Record::Base {
            group,
            replica,
            base,
        }])
        .expect("a group");
        for entry in entries {
            let entries = vec![entry];
            log.write(vec![Record::Entries {
                group,
                replica,
                entries,
            }])
            .expect("written");
        }
        log
    }

    fn cut(log: &Log, ms: Option<u64>, bytes: Option<u64>, high_watermark: i64) -> Option<i64> {
        let keep = Keep {
            ms,
            bytes,
            wall_ms: NOW,
        };
        let cut = keep.cut(&log.reader(), GROUP, REPLICA, high_watermark);
        cut.expect("readable")
    }

    #[test]
    fn what_has_no_timestamp_is_not_deleted_by_its_age() {
        let times = [NOW - 900, NOW - 800, -1, NOW - 700, NOW - 10];
        let entries = (1..)
            .zip(times)
            .map(|(at, time)| batch(at, at as i64 - 1, time, 10));
        let log = log(entries.collect());
        assert_eq!(cut(&log, Some(850), None, 5), Some(1));
        assert_eq!(
            cut(&log, Some(100), None, 5),
            Some(2),
            "up to the one that has none"
        );
        let timed = self::log(vec![batch(1, 0, NOW - 900, 10), batch(2, 1, NOW - 800, 10)]);
        assert_eq!(cut(&timed, Some(100), None, 2), Some(2), "everything");
    }

    #[test]
    fn a_size_below_the_newest_segment_deletes_the_older_ones() {
        // Segments of 64 KiB: the first entries are in older ones.
        let entries = (1..=40).map(|at| batch(at, at as i64 - 1, NOW, 4 << 10));
        let log = log(entries.collect());
        let start = cut(&log, None, Some(1), 40).expect("something can go");
        assert!(
            (20..40).contains(&start),
            "{start}: the newest segment stays"
        );
        let most = cut(&log, None, Some(60 << 10), 40).expect("something can go");
        assert!(most < start, "at least so much is kept: {most}");
        assert!((40 - most) * (4 << 10) >= 60 << 10, "{most}");
        assert_eq!(cut(&log, None, Some(1 << 30), 40), Some(0));
    }

    #[test]
    fn a_boundary_that_is_no_batch_is_the_next_batch() {
        let noop = |index| entry(index, EntryKind::Noop, Bytes::new());
        let entries = vec![noop(1), noop(2), batch(3, 0, NOW, 10), noop(4)];
        let log = log(entries);
        let first = |index| first_offset(&log.reader(), GROUP, REPLICA, Index(index), 1);
        assert_eq!(first(1).expect("readable"), 0);
        assert_eq!(first(4).expect("readable"), 1, "the high watermark");
    }
}
