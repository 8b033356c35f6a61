//! What a fetch gets from each of its partitions, within the request's limits.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::messages::fetch::{FetchPartition, FetchRequest};
use raft::types::GroupId;
use tokio_util::task::AbortOnDropHandle;

use crate::broker::{ColdRead, EpochEnd, FetchAt, Offsets, ReadPath, Rejection};
use crate::dispatch::Context;
use crate::handlers::lookup;

/// From this version on topics are named by id.
pub(super) const IDS_SINCE: i16 = 13;
/// So many partitions of a request are read from the disk or the store at a time.
const COLD_AT_ONCE: usize = 8;

/// The request, with its partitions resolved.
pub(super) struct Asked {
    /// In the request's order, topics and partitions flattened.
    parts: Vec<Part>,
    /// Fewer bytes than this wait.
    pub min_bytes: usize,
    max_bytes: u64,
}

struct Part {
    target: Result<FetchAt, Rejection>,
    last_fetched_epoch: i32,
}

/// What one partition is answered with.
pub(super) enum Outcome {
    /// Batches, perhaps none.
    Found(Offsets, Vec<Bytes>),
    /// To be read from the disk or the store.
    Cold(ColdRead),
    /// The client's log has diverged: it must go back to this end.
    Diverged(Offsets, EpochEnd),
    /// An error.
    Refused(Rejection),
}

/// The outcomes of all partitions, in the request's order.
pub(super) struct Plan {
    outcomes: Vec<Outcome>,
    bytes: usize,
}

impl Asked {
    /// Resolves names and ids.
    pub fn of(cx: &Context, request: &FetchRequest) -> Self {
        let image = cx.broker.image();
        let mut parts = Vec::new();
        for topic in &request.topics {
            let known = if cx.version >= IDS_SINCE {
                lookup::topic_of_id(&image, topic.topic_id)
            } else {
                lookup::topic_named(&image, &topic.topic)
            };
            for asked in &topic.partitions {
                let group = known.and_then(|topic| lookup::group_of(topic, asked.partition));
                let read_committed = request.isolation_level == 1;
                let target = group.map(|group| fetch_at(group, asked, read_committed));
                let target = target.map_err(lookup::rejected);
                parts.push(Part {
                    target,
                    last_fetched_epoch: asked.last_fetched_epoch,
                });
            }
        }
        let max_bytes = u64::from(request.max_bytes.max(0).unsigned_abs());
        Self {
            parts,
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
            max_bytes: max_bytes.min(u64::from(cx.config.node.fetch_max_bytes)),
        }
    }

    /// The groups of all partitions that exist.
    pub fn groups(&self) -> Vec<GroupId> {
        self.parts
            .iter()
            .filter_map(|part| Some(part.target.as_ref().ok()?.group))
            .collect()
    }
}

fn fetch_at(group: GroupId, asked: &FetchPartition, read_committed: bool) -> FetchAt {
    FetchAt {
        group,
        offset: asked.fetch_offset,
        max_bytes: u64::from(asked.partition_max_bytes.max(0).unsigned_abs()),
        current_leader_epoch: asked.current_leader_epoch,
        read_committed,
    }
}

impl Plan {
    /// Asks every partition, in order. What does not fit any more is answered empty.
    pub fn make(cx: &Context, asked: &Asked) -> Self {
        let mut plan = Self {
            outcomes: Vec::with_capacity(asked.parts.len()),
            bytes: 0,
        };
        for part in &asked.parts {
            let outcome = plan.part(cx, part, asked.max_bytes);
            plan.outcomes.push(outcome);
        }
        plan
    }

    fn part(&mut self, cx: &Context, part: &Part, max_bytes: u64) -> Outcome {
        let at = match &part.target {
            Ok(at) => *at,
            Err(rejection) => return Outcome::Refused(rejection.clone()),
        };
        if let Some(diverged) = diverged(cx, &at, part.last_fetched_epoch) {
            return diverged;
        }
        let left = max_bytes.saturating_sub(self.bytes as u64);
        match cx.broker.read(FetchAt {
            max_bytes: at.max_bytes.min(left),
            ..at
        }) {
            Ok(ReadPath::Ready(mut fetched)) => {
                self.take(&mut fetched.batches, left);
                Outcome::Found(fetched.offsets, fetched.batches)
            }
            Ok(ReadPath::Cold(read)) => Outcome::Cold(read),
            Err(rejection) => Outcome::Refused(rejection),
        }
    }

    /// Counts batches, and drops those that the response has no room for. The first batch of all is always kept.
    fn take(&mut self, batches: &mut Vec<Bytes>, left: u64) {
        let mut room = usize::try_from(left).unwrap_or(usize::MAX);
        let mut kept = 0;
        for batch in batches.iter() {
            if batch.len() > room && self.bytes > 0 {
                break;
            }
            room = room.saturating_sub(batch.len());
            self.bytes += batch.len();
            kept += 1;
        }
        batches.truncate(kept);
    }

    /// Carries out the reads that memory could not serve, as far as there is room: a few at a time, for each may be some
    /// round trips to a store.
    pub async fn read_cold(&mut self, cx: &Context, asked: &Asked) {
        let mut under_way = VecDeque::new();
        let (mut next, mut promised) = (0, 0);
        loop {
            while next < self.outcomes.len() && under_way.len() < COLD_AT_ONCE {
                let Outcome::Cold(read) = &self.outcomes[next] else {
                    next += 1;
                    continue;
                };
                let taken = promised + self.bytes as u64;
                let left = asked.max_bytes.saturating_sub(taken);
                if left == 0 && promised > 0 {
                    break;
                }
                if left == 0 && self.bytes > 0 {
                    self.outcomes[next] = Outcome::Found(read.offsets, Vec::new());
                    next += 1;
                    continue;
                }
                let mut read = read.clone();
                read.at.max_bytes = read.at.max_bytes.min(left);
                let (broker, bytes) = (cx.broker.clone(), read.at.max_bytes);
                let reading = async move { broker.read_cold(read).await };
                let reading = AbortOnDropHandle::new(tokio::task::spawn_local(reading));
                promised += bytes;
                under_way.push_back((next, bytes, reading));
                next += 1;
            }
            // In the request's order: the first batch of all is always kept.
            let Some((at, bytes, reading)) = under_way.pop_front() else {
                return;
            };
            let read = reading.await;
            promised -= bytes;
            let left = asked.max_bytes.saturating_sub(self.bytes as u64);
            self.outcomes[at] = match read {
                Ok(Ok(mut fetched)) => {
                    self.take(&mut fetched.batches, left);
                    Outcome::Found(fetched.offsets, fetched.batches)
                }
                Ok(Err(rejection)) => Outcome::Refused(rejection),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
        }
    }

    /// Whether some partition has to be read from the disk or the store.
    pub fn needs_cold(&self) -> bool {
        self.outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Cold(_)))
    }

    /// Whether there is a reason to answer now: enough bytes, or something that the client must know.
    pub fn satisfies(&self, min_bytes: usize) -> bool {
        let urgent =
            |outcome: &Outcome| matches!(outcome, Outcome::Refused(_) | Outcome::Diverged(..));
        self.bytes >= min_bytes || self.outcomes.is_empty() || self.outcomes.iter().any(urgent)
    }

    /// The outcomes, in the request's order.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter()
    }

    /// The outcomes, in the request's order.
    pub fn into_outcomes(self) -> impl Iterator<Item = Outcome> {
        self.outcomes.into_iter()
    }
}

/// Whether the client's last record is not in this log: its epoch ended earlier here than where it wants to go on.
fn diverged(cx: &Context, at: &FetchAt, last_fetched_epoch: i32) -> Option<Outcome> {
    if last_fetched_epoch < 0 {
        return None;
    }
    let end = match cx
        .broker
        .epoch_end(at.group, at.current_leader_epoch, last_fetched_epoch)
    {
        Ok(end) => end,
        Err(rejection) => return Some(Outcome::Refused(rejection)),
    };
    if end.epoch < 0 || end.end_offset < 0 {
        let code = ErrorCode::OffsetOutOfRange;
        return Some(Outcome::Refused(lookup::rejected(code)));
    }
    if end.epoch == last_fetched_epoch && end.end_offset >= at.offset {
        return None;
    }
    Some(match cx.broker.offsets(at.group) {
        Ok(offsets) => Outcome::Diverged(offsets, end),
        Err(rejection) => Outcome::Refused(rejection),
    })
}
