//! `walser produce`: lines of standard input become records.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use protocol::error_code::ErrorCode;
use protocol::messages::init_producer_id::InitProducerIdRequest;
use protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use protocol::record_batch::{BatchBuilder, Compression, NewRecord};
use protocol::wire::Str;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::Target;
use super::client::Cluster;
use super::exit::{Exit, Failure, Result};
use super::output::print;

/// A batch is sent when it has so many bytes, or when no line waits.
const BATCH_BYTES: usize = 512 << 10;

/// Who must have a record: a synced majority.
const ALL: i16 = -1;

/// Send lines of standard input as records.
#[derive(Debug, Args)]
pub struct Produce {
    /// The topic.
    topic: String,
    /// The partition; else a hash of the key, or the partitions in turn.
    #[arg(short, long)]
    partition: Option<i32>,
    /// What separates key and value in a line; without it lines are values.
    #[arg(short = 'k', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// How the records are compressed: none, gzip, snappy, lz4, zstd.
    #[arg(short = 'z', long, default_value = "none")]
    compression: String,
    /// Who must have a record before it counts as sent: all (a synced majority) or leader.
    #[arg(long, default_value = "all")]
    acks: String,
    #[command(flatten)]
    target: Target,
}

impl Produce {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        let compression = Compression::from_name(&self.compression)
            .ok_or_else(|| Failure::usage(format!("{:?} is no compression", self.compression)))?;
        let acks = match self.acks.as_str() {
            "all" | "-1" => ALL,
            "leader" | "1" => 1,
            other => {
                return Err(Failure::usage(format!(
                    "acks {other:?} is neither all nor leader"
                )));
            }
        };
        let mut cluster = Cluster::new(&self.target);
        let count = cluster.topic(&self.topic).await?.partitions.len();
        if count == 0 {
            return Err(Failure::new(format!(
                "topic {} has no partitions",
                self.topic
            )));
        }
        let mut sender = Sender {
            cluster,
            produce: &self,
            compression,
            acks,
            sent: 0,
            leaders: HashMap::new(),
            producer: None,
            sequences: HashMap::new(),
        };
        if acks == ALL {
            sender.identify().await?;
        }
        let mut spread = Spread {
            count,
            turn: 0,
            fixed: self.partition,
        };
        let mut input = BufReader::with_capacity(1 << 20, tokio::io::stdin());
        let mut pending: Vec<Pending> = Vec::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = input.read_until(b'\n', &mut line).await;
            let read =
                read.map_err(|error| Failure::new(format!("cannot read the input: {error}")))?;
            if read > 0 {
                let (key, value) = self.split(line.strip_suffix(b"\n").unwrap_or(&line));
                put(&mut pending, spread.partition(key.as_deref()), key, value);
            }
            let bytes: usize = pending.iter().map(|batch| batch.bytes).sum();
            if read == 0 || input.buffer().is_empty() || bytes >= BATCH_BYTES {
                for batch in pending.drain(..) {
                    sender.send(batch).await?;
                }
                spread.turn += 1;
            }
            if read == 0 {
                return sender.report();
            }
        }
    }

    fn split(&self, line: &[u8]) -> (Option<Vec<u8>>, Vec<u8>) {
        let separator = self.key_separator.as_deref().unwrap_or("").as_bytes();
        let at = (!separator.is_empty()).then(|| {
            line.windows(separator.len())
                .position(|part| part == separator)
        });
        match at.flatten() {
            Some(at) => (
                Some(line[..at].to_vec()),
                line[at + separator.len()..].to_vec(),
            ),
            None => (None, line.to_vec()),
        }
    }
}

/// Which partition a record goes to.
struct Spread {
    count: usize,
    turn: usize,
    fixed: Option<i32>,
}

impl Spread {
    fn partition(&self, key: Option<&[u8]>) -> i32 {
        let at = match (self.fixed, key) {
            (Some(partition), _) => return partition,
            (None, Some(key)) => crc32fast::hash(key) as usize % self.count,
            (None, None) => self.turn % self.count,
        };
        i32::try_from(at).expect("a partition's number fits")
    }
}

/// Records that are to be sent to a partition.
struct Pending {
    partition: i32,
    records: Vec<(Option<Vec<u8>>, Vec<u8>)>,
    bytes: usize,
}

fn put(pending: &mut Vec<Pending>, partition: i32, key: Option<Vec<u8>>, value: Vec<u8>) {
    let bytes = key.as_ref().map_or(0, Vec::len) + value.len();
    match pending
        .iter_mut()
        .find(|batch| batch.partition == partition)
    {
        Some(batch) => {
            batch.records.push((key, value));
            batch.bytes += bytes;
        }
        None => pending.push(Pending {
            partition,
            records: vec![(key, value)],
            bytes,
        }),
    }
}

struct Sender<'a> {
    cluster: Cluster,
    produce: &'a Produce,
    compression: Compression,
    acks: i16,
    sent: u64,
    /// Who leads a partition, as far as known.
    leaders: HashMap<i32, i32>,
    /// This run's producer id and epoch, with acks=all: by it a batch that is sent again is stored once.
    producer: Option<(i64, i16)>,
    /// The next sequence of each partition.
    sequences: HashMap<i32, i32>,
}

impl Sender<'_> {
    /// Asks for a producer id.
    async fn identify(&mut self) -> Result<()> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: -1,
            ..Default::default()
        };
        loop {
            let answer = self.cluster.any(&request).await?;
            if answer.error_code == 0 {
                self.producer = Some((answer.producer_id, answer.producer_epoch));
                return Ok(());
            }
            self.cluster
                .pause("a producer id", answer.error_code, None)
                .await?;
        }
    }

    /// The batch of these records.
    fn batch(&self, pending: &Pending) -> Result<Bytes> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        let timestamp = i64::try_from(now).unwrap_or(i64::MAX);
        let mut builder = BatchBuilder::new().compression(self.compression);
        if let Some((id, epoch)) = self.producer {
            let sequence = self.sequences.get(&pending.partition);
            builder = builder.producer(id, epoch, sequence.copied().unwrap_or(0));
        }
        for (key, value) in &pending.records {
            let record = NewRecord {
                timestamp,
                key: key.as_deref(),
                value: Some(value),
                headers: &[],
            };
            builder.push(record);
        }
        builder.try_build().map_err(|error| {
            Failure::usage(format!("compression {}: {error}", self.produce.compression))
        })
    }

    /// Sends a batch to its partition's leader, again when a later attempt may succeed.
    ///
    /// With a producer id it is sent again after a lost answer too: the partition knows it by its sequence. Without one
    /// that could store the records twice, and is an error.
    async fn send(&mut self, pending: Pending) -> Result<()> {
        self.cluster.extend(self.produce.target.wait());
        let topic = self.produce.topic.as_str();
        let request = ProduceRequest {
            acks: self.acks,
            timeout_ms: self.cluster.timeout_ms,
            topic_data: vec![TopicProduceData {
                name: Str::from(topic),
                partition_data: vec![PartitionProduceData {
                    index: pending.partition,
                    records: Some(self.batch(&pending)?),
                }],
            }],
            ..Default::default()
        };
        let what = format!("topic {topic} partition {}", pending.partition);
        loop {
            let (code, why) = match self.attempt(&what, pending.partition, &request).await {
                Ok(row) => (row.error_code, row.error_message),
                Err(lost) if self.producer.is_some() && lost.exit == Exit::Unreachable => {
                    // Whether it was stored is not known: ask whoever leads now.
                    let code = ErrorCode::RequestTimedOut.code();
                    (code, Some(Str::from(lost.message)))
                }
                Err(failure) => return Err(self.partly(failure)),
            };
            if code == ErrorCode::None.code() {
                self.stored(&pending);
                return Ok(());
            }
            self.leaders.remove(&pending.partition);
            if let Err(failure) = self.cluster.pause(&what, code, why.as_deref()).await {
                return Err(self.partly(failure));
            }
        }
    }

    /// Sends it once: what was answered.
    async fn attempt(
        &mut self,
        what: &str,
        partition: i32,
        request: &ProduceRequest,
    ) -> Result<PartitionProduceResponse> {
        let leader = match self.leaders.get(&partition) {
            Some(leader) => *leader,
            None => self.cluster.leader(&self.produce.topic, partition).await?,
        };
        self.leaders.insert(partition, leader);
        let answer = self.cluster.node(leader, request).await?;
        let topic = answer.responses.into_iter().next();
        let row = topic.and_then(|topic| topic.partition_responses.into_iter().next());
        row.ok_or_else(|| Failure::new(format!("{what}: nothing was answered")))
    }

    fn stored(&mut self, pending: &Pending) {
        let count = pending.records.len();
        self.sent += count as u64;
        let sequence = self.sequences.entry(pending.partition).or_default();
        let next = i64::from(*sequence) + i64::try_from(count).unwrap_or(i64::MAX);
        // Sequences go from the highest on to 0.
        *sequence = i32::try_from(next & i64::from(i32::MAX)).expect("masked to 31 bits");
    }

    /// What was sent before stays sent.
    fn partly(&self, mut failure: Failure) -> Failure {
        if self.sent > 0 {
            failure.exit = Exit::Partial;
            failure.message = format!("after {} records, {}", self.sent, failure.message);
        }
        failure
    }

    fn report(&self) -> Result<()> {
        let topic = &self.produce.topic;
        let object = json!({ "schema": 1, "topic": topic, "records": self.sent });
        match self.produce.target.format.data(&object) {
            Some(data) => print(&data),
            None => {
                eprintln!("{} records acknowledged", self.sent);
                Ok(())
            }
        }
    }
}
