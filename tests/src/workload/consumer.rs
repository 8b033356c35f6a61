//! Consumers that are assigned all partitions from the beginning: one kind follows the producers,
//! the other reads everything at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::recorder::Recorder;
use super::{Plan, settings, value_of};
use crate::checker::{Body, Key, Outcome, Record};
use crate::wait::{TimedOut, wait_for};

/// Records that one recorded poll holds at most.
const POLL_RECORDS_MAX: usize = 200;

/// A consumer of all partitions of the plan's topic, from offset 0.
fn assigned(bootstrap: &str, plan: &Plan) -> BaseConsumer {
    let consumer: BaseConsumer = settings::consumer(bootstrap)
        .create()
        .expect("harness: consumer settings");
    let mut all = TopicPartitionList::new();
    for partition in 0..plan.partitions as i32 {
        all.add_partition_offset(&plan.topic, partition, Offset::Offset(0))
            .expect("harness: offset 0");
    }
    consumer.assign(&all).expect("harness: assign");
    consumer
}

/// Follows the producers until it is told to stop.
pub fn follow(bootstrap: &str, plan: &Plan, recorder: &Arc<Recorder>) {
    let process = recorder.process();
    let consumer = assigned(bootstrap, plan);
    let keys = (0..plan.partitions).map(Key).collect();
    recorder.record(process, recorder.now(), Outcome::Ok, Body::Assign { keys });
    while !recorder.is_stopping(false) {
        let invoked = recorder.now();
        let reads = poll(&consumer, recorder);
        if !reads.is_empty() {
            let reads = reads.into_iter().collect();
            recorder.record(process, invoked, Outcome::Ok, Body::Poll { reads });
        }
    }
}

fn poll(consumer: &BaseConsumer, recorder: &Recorder) -> BTreeMap<Key, Vec<Record>> {
    let mut reads: BTreeMap<Key, Vec<Record>> = BTreeMap::new();
    let mut wait = Duration::from_millis(50);
    for _ in 0..POLL_RECORDS_MAX {
        match consumer.poll(wait) {
            None => break,
            Some(Err(error)) => recorder.error(error_name("poll", &error)),
            Some(Ok(message)) => {
                let (key, record) = record_of(&message);
                reads.entry(key).or_default().push(record);
            }
        }
        wait = Duration::ZERO;
    }
    reads
}

fn record_of(message: &BorrowedMessage<'_>) -> (Key, Record) {
    // A payload that nobody sent becomes a value that nobody sent: a phantom.
    let value = message.payload().and_then(value_of).unwrap_or(u64::MAX);
    (
        Key(message.partition() as u32),
        Record {
            offset: message.offset(),
            value,
        },
    )
}

fn error_name(verb: &str, error: &KafkaError) -> String {
    format!("{verb}: {:?}", error.rdkafka_error_code())
}

/// Asks each partition for its latest offset, with patience for elections, and records the
/// answers.
fn latest(
    consumer: &BaseConsumer,
    plan: &Plan,
    process: u32,
    recorder: &Recorder,
) -> Result<Vec<i64>, TimedOut> {
    let ask = |partition: u32| {
        let what = format!("latest offset of partition {partition}");
        let step = Duration::from_millis(100);
        wait_for(&what, Duration::from_secs(60), step, || {
            let invoked = recorder.now();
            let within = Duration::from_secs(2);
            match consumer.fetch_watermarks(&plan.topic, partition as i32, within) {
                Ok((_, offset)) => {
                    let body = Body::Latest {
                        key: Key(partition),
                        offset,
                    };
                    recorder.record(process, invoked, Outcome::Ok, body);
                    Some(offset)
                }
                Err(error) => {
                    recorder.error(error_name("latest", &error));
                    None
                }
            }
        })
    };
    (0..plan.partitions).map(ask).collect()
}

/// Asks one partition after the other for its latest offset, over and over, until it is told to
/// stop: what was acknowledged must lie below it, and it must never go back.
pub fn observe(bootstrap: &str, plan: &Plan, recorder: &Arc<Recorder>) {
    let process = recorder.process();
    let client: BaseConsumer = settings::consumer(bootstrap)
        .create()
        .expect("harness: consumer settings");
    for partition in (0..plan.partitions).cycle() {
        if recorder.is_stopping(false) {
            return;
        }
        let invoked = recorder.now();
        let within = Duration::from_secs(1);
        match client.fetch_watermarks(&plan.topic, partition as i32, within) {
            Ok((_, offset)) => {
                let body = Body::Latest {
                    key: Key(partition),
                    offset,
                };
                recorder.record(process, invoked, Outcome::Ok, body);
            }
            Err(error) => recorder.error(error_name("latest", &error)),
        }
        // Nothing is assigned: this only paces the questions.
        let _ = client.poll(Duration::from_millis(10));
    }
}

/// Reads every partition from the beginning to its high watermark with a fresh consumer.
pub fn read_all(bootstrap: &str, plan: &Plan, recorder: &Recorder) -> Result<u64, TimedOut> {
    let process = recorder.process();
    let invoked = recorder.now();
    let consumer = assigned(bootstrap, plan);
    let ends = latest(&consumer, plan, process, recorder)?;
    let mut found: Vec<Vec<Record>> = vec![Vec::new(); ends.len()];
    let within = Duration::from_secs(60);
    let mut progress = Instant::now();
    loop {
        let at = |records: &Vec<Record>| records.last().map_or(0, |last| last.offset + 1);
        let missing: i64 = ends
            .iter()
            .zip(&found)
            .map(|(end, records)| (end - at(records)).max(0))
            .sum();
        if missing == 0 {
            break;
        }
        if progress.elapsed() > within {
            let what = format!("the end of {} ({missing} records missing)", plan.topic);
            return Err(TimedOut {
                what,
                tries: 1,
                waited: within,
            });
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(error))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) => {}
            Some(Err(error)) => recorder.error(error_name("read", &error)),
            Some(Ok(message)) => {
                let (key, record) = record_of(&message);
                found[key.0 as usize].push(record);
                progress = Instant::now();
            }
        }
    }
    let total = found.iter().map(|records| records.len() as u64).sum();
    for (key, records) in found.into_iter().enumerate() {
        let body = Body::FullRead {
            key: Key(key as u32),
            records,
        };
        recorder.record(process, invoked, Outcome::Ok, body);
    }
    Ok(total)
}
