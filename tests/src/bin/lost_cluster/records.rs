//! The records: what they are follows from their numbers alone.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use sha2::{Digest, Sha256};
use tests::wait::{TimedOut, wait_for};
use tests::workload::settings;

/// Bytes of a value.
const BYTES: usize = 8 << 10;
/// Without one record for this long the read is stuck.
const STUCK: Duration = Duration::from_secs(90);
const GROUP: &str = "readers";

/// Records spread over partitions of topics, one after the other.
#[derive(Clone, Debug)]
pub struct Work {
    pub topics: u32,
    pub partitions: u32,
    /// How many, and the number of the first.
    pub records: u64,
    pub first: u64,
}

impl Work {
    pub fn new(topics: u32, partitions: u32, bytes: u64) -> Self {
        let records = bytes.div_ceil(BYTES as u64);
        Self {
            topics,
            partitions,
            records,
            first: 0,
        }
    }

    pub fn topics(&self) -> Vec<String> {
        (0..self.topics)
            .map(|number| format!("topic-{number:02}"))
            .collect()
    }

    pub fn partitions_in_all(&self) -> usize {
        (self.topics * self.partitions) as usize
    }

    fn place(&self, at: usize) -> (String, i32) {
        let (topic, partition) = (at as u32 / self.partitions, at as u32 % self.partitions);
        (format!("topic-{topic:02}"), partition as i32)
    }

    fn index(&self, topic: &str, partition: i32) -> usize {
        let number: u32 = topic
            .rsplit_once('-')
            .and_then(|(_, n)| n.parse().ok())
            .expect("own topic");
        (number * self.partitions) as usize + partition as usize
    }

    fn list(&self, offset: impl Fn(usize) -> Offset) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for at in 0..self.partitions_in_all() {
            let (topic, partition) = self.place(at);
            list.add_partition_offset(&topic, partition, offset(at))
                .expect("an offset");
        }
        list
    }
}

/// Half of it compresses, half does not.
fn value(number: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (number + 1);
    let mut value = Vec::with_capacity(BYTES + 64);
    while value.len() < BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.extend_from_slice(&state.to_be_bytes());
        value.extend_from_slice(format!("record {number}, ").as_bytes());
    }
    value.truncate(BYTES);
    value
}

/// Of each partition: how many records, and a digest over all of them in their order.
#[derive(Clone, Debug)]
pub struct Digests(Vec<(i64, Sha256)>);

impl Digests {
    fn new(partitions: usize) -> Self {
        Self(vec![(0, Sha256::new()); partitions])
    }

    fn take(&mut self, at: usize, value: &[u8]) {
        let (count, digest) = &mut self.0[at];
        *count += 1;
        digest.update(value);
    }

    pub fn ends(&self) -> Vec<i64> {
        self.0.iter().map(|(count, _)| *count).collect()
    }

    pub fn records(&self) -> i64 {
        self.ends().iter().sum()
    }

    /// Continues these with more that was sent. Both are of the same partitions.
    pub fn add(&mut self, more: &Sent) {
        for (at, number) in &more.0 {
            self.take(*at, &value(*number));
        }
    }

    /// The partitions that differ.
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        let is_other = |at: &usize| {
            let ((a, x), (b, y)) = (&self.0[*at], &other.0[*at]);
            a != b || x.clone().finalize() != y.clone().finalize()
        };
        (0..self.0.len()).filter(is_other).collect()
    }
}

/// What was acknowledged, in order: partition and number.
pub struct Sent(Vec<(usize, u64)>);

impl Sent {
    pub fn digests(&self, work: &Work) -> Digests {
        let mut digests = Digests::new(work.partitions_in_all());
        digests.add(self);
        digests
    }
}

/// Sends everything, with acks=all and in order, and waits for the last acknowledgement.
///
/// # Panics
/// When something is not acknowledged: nobody disturbs it.
pub fn send(bootstrap: &str, work: &Work) -> Sent {
    let mut config = settings::producer(bootstrap);
    config
        .set("linger.ms", "5")
        .set("batch.size", "524288")
        .set("queue.buffering.max.kbytes", "65536");
    let producer: BaseProducer = config.create().expect("producer settings");
    let mut sent = Vec::new();
    let partitions = work.partitions_in_all() as u64;
    for number in work.first..work.first + work.records {
        // Runs of one partition, so that batches are not tiny.
        let at = (number / 64 % partitions) as usize;
        let (topic, partition) = work.place(at);
        let value = value(number);
        loop {
            let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(&topic).partition(partition);
            match producer.send(record.payload(&value)) {
                Ok(()) => break,
                Err((error, _)) => {
                    let code = error.rdkafka_error_code();
                    assert_eq!(code, Some(RDKafkaErrorCode::QueueFull), "{error}");
                    producer.poll(Duration::from_millis(20));
                }
            }
        }
        producer.poll(Duration::ZERO);
        sent.push((at, number));
    }
    producer
        .flush(Duration::from_secs(300))
        .expect("everything is acknowledged");
    assert_eq!(producer.in_flight_count(), 0);
    Sent(sent)
}

fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = settings::consumer(bootstrap);
    config.set("group.id", GROUP);
    config.create().expect("consumer settings")
}

/// The first record that anybody can read.
pub fn first(bootstrap: &str, work: &Work) -> Result<(), TimedOut> {
    let consumer = consumer(bootstrap);
    let all = work.list(|_| Offset::Offset(0));
    consumer.assign(&all).expect("assign");
    wait_for("a record", STUCK, Duration::ZERO, || {
        let polled = consumer.poll(Duration::from_millis(100));
        matches!(polled, Some(Ok(_))).then_some(())
    })
}

/// Reads everything from offset 0.
pub fn read(bootstrap: &str, work: &Work) -> Result<Digests, TimedOut> {
    let consumer = consumer(bootstrap);
    let end = |at: usize| {
        let (topic, partition) = work.place(at);
        wait_for("an end", STUCK, Duration::from_millis(100), || {
            let ends = consumer.fetch_watermarks(&topic, partition, Duration::from_secs(5));
            ends.ok().map(|(_, end)| end)
        })
    };
    let ends: Vec<i64> = (0..work.partitions_in_all())
        .map(end)
        .collect::<Result<_, _>>()?;
    let all = work.list(|_| Offset::Offset(0));
    consumer.assign(&all).expect("assign");
    let mut digests = Digests::new(work.partitions_in_all());
    let (mut left, mut progress): (i64, _) = (ends.iter().sum(), Instant::now());
    while left > 0 {
        if progress.elapsed() > STUCK {
            let what = format!("the last {left} records");
            return Err(TimedOut {
                what,
                tries: 1,
                waited: STUCK,
            });
        }
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) {
            let at = work.index(message.topic(), message.partition());
            // An offset that is out of its turn makes another digest.
            digests.take(at, message.payload().unwrap_or_default());
            assert_eq!(
                message.offset() + 1,
                digests.0[at].0,
                "offsets are contiguous"
            );
            (left, progress) = (left - 1, Instant::now());
        }
    }
    Ok(digests)
}

/// Commits an offset of every partition.
pub fn commit(bootstrap: &str, work: &Work, offsets: &[i64]) {
    let list = work.list(|at| Offset::Offset(offsets[at]));
    let consumer = consumer(bootstrap);
    consumer.commit(&list, CommitMode::Sync).expect("a commit");
}

/// What the group has committed.
pub fn committed(bootstrap: &str, work: &Work) -> Result<Vec<i64>, TimedOut> {
    let consumer = consumer(bootstrap);
    let all = work.list(|_| Offset::Invalid);
    let found = wait_for(
        "committed offsets",
        STUCK,
        Duration::from_millis(100),
        || {
            consumer
                .committed_offsets(all.clone(), Duration::from_secs(10))
                .ok()
        },
    )?;
    let mut offsets = vec![-1; work.partitions_in_all()];
    for one in found.elements() {
        let at = work.index(one.topic(), one.partition());
        offsets[at] = one.offset().to_raw().unwrap_or(-1);
    }
    Ok(offsets)
}
