//! The second client: reads every partition from its beginning and digests what it finds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use sha2::{Digest, Sha256};
use tests::checker::{Body, Key, Outcome, Record};
use tests::wait::{TimedOut, wait_for};
use tests::workload::settings;

use crate::TOPIC;
use crate::load::{Hash, Load};

/// Without one record for this long the read is stuck.
const STUCK: Duration = Duration::from_secs(90);

/// What was read.
#[derive(Debug)]
pub struct Read {
    /// Digest of everything found under a key, in the order of the log.
    pub hashes: HashMap<String, Hash>,
    /// Records in all.
    pub records: u64,
    /// Bytes of values.
    pub bytes: u64,
    /// From the first poll to the last record.
    pub took: Duration,
}

/// Reads all of it.
pub fn read_all(bootstrap: &str, partitions: u32, load: &Load) -> Result<Read, TimedOut> {
    let consumer: BaseConsumer = settings::consumer(bootstrap)
        .create()
        .expect("consumer settings");
    let invoked = load.recorder.now();
    let ends: Vec<i64> = (0..partitions)
        .map(|one| end(&consumer, one))
        .collect::<Result<_, _>>()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        all.add_partition_offset(TOPIC, partition, Offset::Offset(0))
            .expect("offset 0");
    }
    consumer.assign(&all).expect("assign");
    let started = Instant::now();
    let mut found: Vec<Vec<Record>> = vec![Vec::new(); partitions as usize];
    let mut digests: HashMap<String, Sha256> = HashMap::new();
    let (mut records, mut bytes, mut progress) = (0, 0, Instant::now());
    let next = |records: &Vec<Record>| records.last().map_or(0, |last| last.offset + 1);
    while ends
        .iter()
        .zip(&found)
        .any(|(end, records)| next(records) < *end)
    {
        if progress.elapsed() > STUCK {
            let what = format!("the end of the log ({records} records read)");
            return Err(TimedOut {
                what,
                tries: 1,
                waited: STUCK,
            });
        }
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(error)) => {
                load.recorder
                    .error(format!("read: {:?}", error.rdkafka_error_code()));
            }
            Some(Ok(message)) => {
                let value = message.payload().unwrap_or_default();
                let key = String::from_utf8_lossy(message.key().unwrap_or_default());
                digests.entry(key.into_owned()).or_default().update(value);
                found[message.partition() as usize].push(record_of(&message));
                records += 1;
                bytes += value.len() as u64;
                progress = Instant::now();
            }
        }
    }
    let took = started.elapsed();
    let process = load.recorder.process() + 1; // the producer is process 0
    for (key, records) in found.into_iter().enumerate() {
        let body = Body::FullRead {
            key: Key(key as u32),
            records,
        };
        load.recorder.record(process, invoked, Outcome::Ok, body);
    }
    let hashes = digests
        .into_iter()
        .map(|(key, digest)| (key, digest.finalize().into()));
    Ok(Read {
        hashes: hashes.collect(),
        records,
        bytes,
        took,
    })
}

fn end(consumer: &BaseConsumer, partition: u32) -> Result<i64, TimedOut> {
    let what = format!("end of partition {partition}");
    wait_for(&what, STUCK, Duration::from_millis(100), || {
        let ends = consumer.fetch_watermarks(TOPIC, partition as i32, Duration::from_secs(5));
        ends.ok().map(|(_, high)| high)
    })
}

/// The record's number is in its header; without one it is a value that nobody sent.
fn record_of(message: &BorrowedMessage<'_>) -> Record {
    let header = message.headers().and_then(|headers| headers.try_get(0));
    let number = header.and_then(|header| std::str::from_utf8(header.value?).ok());
    let value = number
        .and_then(|text| text.parse().ok())
        .unwrap_or(u64::MAX);
    Record {
        offset: message.offset(),
        value,
    }
}
