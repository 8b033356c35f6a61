//! The crash check's other half: every acknowledged record is fetched again and recognised by its
//! id, at the offset that was acknowledged, with a CRC that holds.

use super::client::{Client, Cluster, Topic};
use super::error_name;
use super::fetch;
use super::record::{self, Found};
use crate::error::{Error, Result};
use crate::generator::Ack;
use bytes::{Buf, Bytes};
use protocol::messages::{FetchRequest, FetchResponse};
use protocol::record_batch::BatchError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

const PARTITIONS_PER_FETCH: usize = 64;
const FETCH_BYTES: i32 = 16 << 20;
const RETRY: Duration = Duration::from_millis(50);
/// Without any progress for so long, what is not read is missing.
const STALLED: Duration = Duration::from_secs(10);

/// What came back of the acknowledged records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReadBack {
    /// Records that were acknowledged.
    pub acked: u64,
    /// Of these, found at their offset with their id.
    pub found: u64,
    /// Nothing at the acknowledged offset.
    pub missing: u64,
    /// Another record at the acknowledged offset.
    pub altered: u64,
    /// A batch whose CRC contradicts it.
    pub corrupt: u64,
    /// Two acknowledgements with one offset.
    pub doubled: u64,
}

impl ReadBack {
    /// Whether every acknowledged record is there, once and unaltered.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.found == self.acked && self.altered + self.corrupt + self.doubled == 0
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.found += other.found;
        self.missing += other.missing;
        self.altered += other.altered;
        self.corrupt += other.corrupt;
        self.doubled += other.doubled;
    }
}

/// Reads the topic from its partitions' leaders and looks for each of `acked`.
///
/// # Errors
/// When the cluster cannot be asked, or answers what is no Kafka. Records that do not come back
/// are no error: they are counted.
pub fn read_back(cluster: &Cluster, topic: &str, mut acked: Vec<Ack>) -> Result<ReadBack> {
    acked.sort_unstable_by_key(|ack| (ack.partition, ack.offset));
    let mut hunts: BTreeMap<i32, Hunt<'_>> = BTreeMap::new();
    for acks in acked.chunk_by(|a, b| a.partition == b.partition) {
        hunts.insert(acks[0].partition, Hunt::new(acks));
    }
    let mut last_progress = Instant::now();
    while hunts.values().any(|hunt| !hunt.is_done()) && last_progress.elapsed() < STALLED {
        let before: i64 = hunts.values().map(|hunt| hunt.next_offset).sum();
        let leaders = cluster.topic(topic)?;
        hunt_at_all_leaders(&leaders, &mut hunts)?;
        if hunts.values().map(|hunt| hunt.next_offset).sum::<i64>() > before {
            last_progress = Instant::now();
        } else {
            // A leader that refuses or is moving: there is no event to wait for, only asking again.
            thread::sleep(RETRY);
        }
    }
    let mut total = ReadBack::default();
    for hunt in hunts.into_values() {
        total.add(hunt.finish());
    }
    Ok(total)
}

fn hunt_at_all_leaders(topic: &Topic, hunts: &mut BTreeMap<i32, Hunt<'_>>) -> Result<()> {
    let mut by_leader: BTreeMap<&str, Vec<(i32, &mut Hunt<'_>)>> = BTreeMap::new();
    let leader_of: BTreeMap<i32, &str> = topic
        .by_leader
        .iter()
        .flat_map(|(leader, partitions)| partitions.iter().map(|p| (*p, leader.as_str())))
        .collect();
    for (partition, hunt) in hunts.iter_mut().filter(|(_, hunt)| !hunt.is_done()) {
        if let Some(leader) = leader_of.get(partition) {
            by_leader
                .entry(leader)
                .or_default()
                .push((*partition, hunt));
        }
    }
    thread::scope(|scope| {
        let hunting: Vec<_> = by_leader
            .into_iter()
            .map(|(leader, hunts)| scope.spawn(move || hunt_at_leader(leader, &topic.name, hunts)))
            .collect();
        for hunt in hunting {
            hunt.join()
                .map_err(|_| Error::Cluster("read back: panic".into()))??;
        }
        Ok(())
    })
}

/// Fetches until all is found, or until an answer shows no progress (then leaders are asked anew).
fn hunt_at_leader(leader: &str, topic: &str, mut hunts: Vec<(i32, &mut Hunt<'_>)>) -> Result<()> {
    let mut client = Client::connect(leader)?;
    loop {
        hunts.retain(|(_, hunt)| !hunt.is_done());
        let asked = hunts.len().min(PARTITIONS_PER_FETCH);
        if asked == 0 {
            return Ok(());
        }
        let partitions = hunts[..asked]
            .iter()
            .map(|(p, hunt)| (*p, hunt.next_offset));
        let answer = client.call(&request(topic, partitions), fetch::VERSION)?;
        let progress = fetched(answer, &mut hunts)?;
        if !progress {
            return Ok(());
        }
    }
}

/// Reads the first record of a partition, from its leader.
pub(crate) fn first_record(topic: &Topic, partition: i32, patience: Duration) -> Result<()> {
    let leader = topic.leader_of(partition).ok_or_else(|| {
        Error::Cluster(format!(
            "partition {partition} of {} has no leader",
            topic.name
        ))
    })?;
    let mut client = Client::connect(leader)?;
    let began = Instant::now();
    while began.elapsed() < patience {
        let wanted = [(partition, 0)].into_iter();
        let answer = client.call(&request(&topic.name, wanted), fetch::VERSION)?;
        let found = answer
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions);
        for records in found.filter_map(|data| data.records) {
            let found = record::find(&records.into_bytes()).map_err(|e| Error::Malformed {
                peer: leader.into(),
                what: e.to_string(),
            })?;
            if found.is_some_and(|found| found.id.is_some()) {
                return Ok(());
            }
        }
    }
    Err(Error::Cluster(format!(
        "{}: no record in partition {partition}",
        topic.name
    )))
}

fn request(topic: &str, partitions: impl ExactSizeIterator<Item = (i32, i64)>) -> FetchRequest {
    let each_bytes = FETCH_BYTES / partitions.len().max(1) as i32;
    fetch::request(topic, partitions, each_bytes, FETCH_BYTES)
}

fn fetched(answer: FetchResponse, hunts: &mut [(i32, &mut Hunt<'_>)]) -> Result<bool> {
    if answer.error_code != 0 {
        return Err(Error::Cluster(format!(
            "fetch: {}",
            error_name(answer.error_code)
        )));
    }
    let mut progress = false;
    for data in answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions)
    {
        let partition = data.partition_index;
        let hunt = hunts.iter_mut().find(|(asked, _)| *asked == partition);
        // A partition that answers an error is asked again, when its leader is known anew.
        if let (0, Some((_, hunt)), Some(records)) = (data.error_code, hunt, data.records) {
            progress |= hunt
                .take(records.into_bytes())
                .map_err(|e| Error::Malformed {
                    peer: format!("partition {partition}"),
                    what: e.to_string(),
                })?;
        }
    }
    Ok(progress)
}

/// The acknowledged records of one partition, in the order of their offsets.
struct Hunt<'a> {
    acks: &'a [Ack],
    next: usize,
    next_offset: i64,
    tally: ReadBack,
}

impl<'a> Hunt<'a> {
    fn new(acks: &'a [Ack]) -> Self {
        let doubled = acks
            .windows(2)
            .filter(|pair| pair[0].offset == pair[1].offset)
            .count();
        let tally = ReadBack {
            acked: acks.len() as u64,
            doubled: doubled as u64,
            ..ReadBack::default()
        };
        Self {
            acks,
            next: 0,
            next_offset: acks[0].offset,
            tally,
        }
    }

    fn is_done(&self) -> bool {
        self.next == self.acks.len()
    }

    /// Looks through what a fetch returned; says whether it held anything.
    fn take(&mut self, mut records: Bytes) -> std::result::Result<bool, BatchError> {
        let before = self.next_offset;
        while let Some(batch) = record::find(&records)? {
            records.advance(batch.bytes);
            if batch.last_offset >= self.next_offset {
                self.meet(&batch);
                self.next_offset = batch.last_offset + 1;
            }
        }
        Ok(self.next_offset > before)
    }

    fn meet(&mut self, batch: &Found) {
        while let Some(ack) = self
            .acks
            .get(self.next)
            .filter(|a| a.offset <= batch.last_offset)
        {
            self.next += 1;
            if ack.offset < batch.base_offset {
                self.tally.missing += 1;
            } else if batch.id.is_none() {
                self.tally.corrupt += 1;
            } else if batch.id == Some(ack.id) {
                self.tally.found += 1;
            } else {
                self.tally.altered += 1;
            }
        }
    }

    fn finish(mut self) -> ReadBack {
        self.tally.missing += (self.acks.len() - self.next) as u64;
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(offset: i64, id: u64) -> Vec<u8> {
        let mut batch = record::batch(32).to_vec();
        record::rename(&mut batch, 32, id);
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        batch
    }

    fn ack(offset: i64, id: u64) -> Ack {
        Ack {
            partition: 0,
            offset,
            id,
        }
    }

    fn hunt(acks: &[Ack], log: &[Vec<u8>]) -> ReadBack {
        let mut hunt = Hunt::new(acks);
        hunt.take(log.concat().into()).unwrap();
        hunt.finish()
    }

    #[test]
    fn what_was_acknowledged_is_found_among_what_was_not() {
        let log = [stored(3, 30), stored(4, 40), stored(5, 50)];
        let tally = hunt(&[ack(3, 30), ack(5, 50)], &log);
        assert!(tally.is_sound());
        assert_eq!(tally.found, 2);
    }

    #[test]
    fn a_lost_record_is_missing_whether_in_the_middle_or_at_the_end() {
        let log = [stored(3, 30), stored(5, 50)];
        let tally = hunt(&[ack(3, 30), ack(4, 40), ack(5, 50), ack(6, 60)], &log);
        assert_eq!((tally.found, tally.missing), (2, 2));
        assert!(!tally.is_sound());
    }

    #[test]
    fn another_record_at_the_offset_is_altered_and_two_acks_of_one_offset_are_doubled() {
        let tally = hunt(&[ack(3, 31)], &[stored(3, 30)]);
        assert_eq!((tally.altered, tally.is_sound()), (1, false));
        let tally = hunt(&[ack(3, 30), ack(3, 30)], &[stored(3, 30)]);
        assert_eq!((tally.doubled, tally.is_sound()), (1, false));
    }

    #[test]
    fn a_damaged_batch_is_corrupt() {
        let mut batch = stored(3, 30);
        let last = batch.len() - 5;
        batch[last] ^= 1;
        let tally = hunt(&[ack(3, 30)], &[batch]);
        assert_eq!((tally.corrupt, tally.is_sound()), (1, false));
    }
}
