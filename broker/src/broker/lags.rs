//! Lag of consumer groups: asked of the partitions' leaders when somebody wants to know. See [`crate::lag`].

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::record_batch::BatchHeader;
use raft::types::{GroupId, Index, NodeId, ReplicaId};
use tokio::task::JoinSet;
use wal::{ReadError, Reader};

use super::Broker;
use crate::driver::control::kind;
use crate::handlers::lookup;
use crate::lag::{self, Asked, Lag, Position, Time};

/// Partitions that one request asks about.
const ASKED_MAX: usize = 10_000;
/// What one request may read from the disk, in bytes.
const READ_BYTES_MAX: usize = 64 << 20;
/// What is in memory at once: a batch.
const BATCH_BYTES: u64 = 1 << 20;
/// For so long one request reads from the disk; what is not found by then is unknown, this time.
const READ_TIME_MAX: Duration = Duration::from_millis(100);

/// A record whose batch is on the disk only.
struct OnDisk {
    /// Of the request.
    at: usize,
    group: GroupId,
    replica: ReplicaId,
    until: Index,
    offset: i64,
}

impl Broker {
    /// How far these committed offsets (topic, partition, offset) are behind, in their order. Waits so long for other
    /// brokers, and only for those that lead one of these partitions.
    pub async fn lags(
        self: &Rc<Self>,
        offsets: Vec<(String, i32, i64)>,
        timed: bool,
        wait: Duration,
    ) -> Vec<Lag> {
        let groups: Vec<Option<GroupId>> = {
            let image = self.image();
            let group = |(topic, partition, _): &(String, i32, i64)| {
                lookup::group_named(&image, topic, *partition).ok()
            };
            offsets.iter().map(group).collect()
        };
        let mut by_leader = BTreeMap::<NodeId, Vec<Asked>>::new();
        for (group, (_, _, offset)) in groups.iter().zip(&offsets) {
            let Some(group) = *group else { continue };
            let Some(leader) = self.leader(group) else {
                continue;
            };
            let timed = timed && self.record_times.borrow().lacks(group, *offset);
            let asked = Asked {
                group,
                offset: *offset,
                timed,
            };
            by_leader.entry(leader.node).or_default().push(asked);
        }
        let found = self.ask_leaders(by_leader, wait).await;
        let now_ms = self.wall_ms();
        let lag = |(group, place): (Option<GroupId>, (String, i32, i64))| {
            let position = group.and_then(|group| found.get(&(group, place.2)).copied());
            Lag::new(now_ms, place, position)
        };
        groups.into_iter().zip(offsets).map(lag).collect()
    }

    async fn ask_leaders(
        self: &Rc<Self>,
        by_leader: BTreeMap<NodeId, Vec<Asked>>,
        wait: Duration,
    ) -> HashMap<(GroupId, i64), Position> {
        let mut running = JoinSet::new();
        for (leader, asked) in by_leader {
            for some in asked.chunks(ASKED_MAX) {
                let (broker, asked) = (self.clone(), some.to_vec());
                running.spawn_local(async move {
                    let positions = broker.ask_leader(leader, &asked, wait).await;
                    (asked, positions)
                });
            }
        }
        let mut found = HashMap::new();
        let deadline = tokio::time::Instant::now() + wait;
        // NB: who has not answered by then is dropped with the set: unknown.
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, running.join_next()).await {
            let (asked, positions) = done.expect("asking does not panic and is not cancelled");
            let mut times = self.record_times.borrow_mut();
            for (asked, position) in asked.iter().zip(positions) {
                if let Some(position) = position {
                    let position = times.complete(asked, position);
                    found.insert((asked.group, asked.offset), position);
                }
            }
        }
        found
    }

    /// Nothing where the leader does not answer.
    async fn ask_leader(
        &self,
        leader: NodeId,
        asked: &[Asked],
        wait: Duration,
    ) -> Vec<Option<Position>> {
        if leader == self.node {
            return self.positions(asked.to_vec()).await;
        }
        let body = lag::encode_asked(asked);
        let answer = self.network.request(leader, kind::POSITIONS, body, wait);
        match answer.await {
            Ok(body) => lag::decode_positions(&body)
                .filter(|positions| positions.len() == asked.len())
                .unwrap_or_default(),
            Err(why) => {
                tracing::debug!(target: "lag", node = leader.0, %why, "a leader did not answer");
                Vec::new()
            }
        }
    }

    /// How far partitions are that this broker leads, in the order asked.
    pub(crate) async fn positions(&self, asked: Vec<Asked>) -> Vec<Option<Position>> {
        let mut positions = Vec::with_capacity(asked.len());
        let mut on_disk = Vec::new();
        {
            let shard = self.shard.borrow();
            for (at, asked) in asked.iter().enumerate() {
                let Some(part) = shard.committed_part(asked.group) else {
                    positions.push(None);
                    continue;
                };
                let offset = asked.offset.max(part.log_start);
                let wanted = asked.timed && offset < part.high_watermark;
                let in_memory = wanted.then(|| shard.time_in_memory(asked.group, offset));
                if in_memory == Some(None) {
                    on_disk.push(OnDisk {
                        at,
                        group: asked.group,
                        replica: part.replica,
                        until: part.until,
                        offset,
                    });
                }
                positions.push(Some(Position {
                    first: offset,
                    end: part.high_watermark,
                    time: in_memory.flatten().map_or(Time::Unknown, Time::of_batch),
                }));
            }
        }
        if on_disk.is_empty() {
            return positions;
        }
        let reader = Arc::clone(&self.reader);
        let work = move || Ok(times_on_disk(&reader, &on_disk));
        let times = self.disk_reads.run(BATCH_BYTES, work).await;
        for (at, time) in times.unwrap_or_default() {
            if let Some(position) = &mut positions[at] {
                position.time = time;
            }
        }
        positions
    }
}

/// The times of as many as can be read with the means of one request.
fn times_on_disk(reader: &Reader, records: &[OnDisk]) -> Vec<(usize, Time)> {
    let began = Instant::now();
    let mut bytes = 0;
    let mut times = Vec::with_capacity(records.len());
    for record in records {
        if bytes >= READ_BYTES_MAX || began.elapsed() >= READ_TIME_MAX {
            break;
        }
        match time_on_disk(reader, record) {
            Ok(Some((time, size_bytes))) => {
                bytes += size_bytes;
                times.push((record.at, time));
            }
            // Trimmed since.
            Ok(None) => {}
            Err(why) => {
                let group = record.group.0;
                tracing::debug!(target: "lag", group, %why, "a record's time cannot be read");
            }
        }
    }
    times
}

fn time_on_disk(reader: &Reader, record: &OnDisk) -> Result<Option<(Time, usize)>, ReadError> {
    let (group, replica) = (record.group, record.replica);
    let index = reader.index_of_offset(group, replica, record.offset)?;
    let Some(index) = index.filter(|index| *index <= record.until) else {
        return Ok(None);
    };
    let entries = reader.entries(group, replica, index, index, 1)?;
    let header = entries.first().and_then(|entry| {
        let header = BatchHeader::parse(&entry.payload).ok()?;
        Some((Time::of_batch(header.max_timestamp), entry.payload.len()))
    });
    Ok(header)
}
