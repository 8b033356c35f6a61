//! Consumers that read partitions up to an offset, each its own, all at once.

use super::POLL;
use crate::error::{Error, Result};
use crate::kafka::{Cluster, Reader};
use crate::report::{latencies, note};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// However slow the store is.
const READ_MAX: Duration = Duration::from_secs(600);

/// What came.
pub(super) struct Consumed {
    /// From the first fetch of a partition to its first batch.
    pub(super) first: Histogram<u64>,
    pub(super) batches: u64,
    pub(super) bytes: u64,
}

/// Reads all batches below these offsets, from the first on; each batch's checksum is verified.
///
/// # Errors
/// When a batch is damaged, or it takes too long.
pub(super) fn consume(
    cluster: &Cluster,
    topic: &str,
    due: &BTreeMap<i32, i64>,
) -> Result<Consumed> {
    let mut consumed = Consumed {
        first: latencies(),
        batches: 0,
        bytes: 0,
    };
    let due = due.iter().filter(|(_, until)| **until > 0);
    let each = thread::scope(|scope| {
        let one = |(partition, until): (&i32, &i64)| {
            let (partition, until) = (*partition, *until);
            scope.spawn(move || of_partition(cluster, topic, partition, until))
        };
        let threads: Vec<_> = due.map(one).collect();
        let joined = threads.into_iter().map(|thread| {
            let ended = thread.join();
            ended.map_err(|_| Error::Cluster("a consumer panicked".into()))?
        });
        joined.collect::<Result<Vec<_>>>()
    })?;
    for one in each {
        consumed.first.add(one.first).expect("the same bounds");
        consumed.batches += one.batches;
        consumed.bytes += one.bytes;
    }
    Ok(consumed)
}

/// A leader that moves, or cannot read the store just now, is asked again.
fn of_partition(cluster: &Cluster, name: &str, partition: i32, until: i64) -> Result<Consumed> {
    let began = Instant::now();
    let mut first = latencies();
    let (mut next, mut batches, mut bytes) = (0, 0, 0);
    let is_done = |_, next| next >= until;
    while next < until {
        let topic = cluster.topic(name)?;
        if let Some(leader) = topic.leader_of(partition) {
            let from = BTreeMap::from([(partition, next)]);
            let mut reader = Reader::connect(leader, name, from)?;
            while !reader.is_done(is_done) && !reader.is_refused() && began.elapsed() < READ_MAX {
                let asked = Instant::now();
                let before = batches;
                reader.read(is_done, |batch| {
                    if batch.base_offset < until {
                        batches += 1;
                        bytes += batch.bytes as u64;
                    }
                })?;
                if before == 0 && batches > 0 {
                    note(&mut first, asked.elapsed());
                }
            }
            next = reader.into_next().get(&partition).copied().unwrap_or(next);
        }
        if next < until {
            if began.elapsed() >= READ_MAX {
                let what = format!("{name}/{partition}: not read in {READ_MAX:?}");
                return Err(Error::Cluster(what));
            }
            thread::sleep(POLL);
        }
    }
    Ok(Consumed {
        first,
        batches,
        bytes,
    })
}
