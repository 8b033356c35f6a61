//! `walser produce`: lines of standard input become records.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::record_batch::{BatchBuilder, Compression, NewRecord};
use protocol::wire::Str;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::Target;
use super::client::Cluster;
use super::exit::{Exit, Failure, Result};
use super::output::{Format, print};

/// A batch is sent when it has so many bytes, or when no line waits.
const BATCH_BYTES: usize = 512 << 10;

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
            "all" | "-1" => -1,
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
        };
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
}

impl Sender<'_> {
    /// Sends a batch to its partition's leader, again when the answer is that a later attempt may succeed.
    ///
    /// NB: without a producer id an attempt whose answer was lost may store the records twice.
    async fn send(&mut self, pending: Pending) -> Result<()> {
        self.cluster.extend(self.produce.target.wait());
        let topic = self.produce.topic.as_str();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        let timestamp = i64::try_from(now).unwrap_or(i64::MAX);
        let mut builder = BatchBuilder::new().compression(self.compression);
        for (key, value) in &pending.records {
            let record = NewRecord {
                timestamp,
                key: key.as_deref(),
                value: Some(value),
                headers: &[],
            };
            builder.push(record);
        }
        let batch = builder.try_build().map_err(|error| {
            Failure::usage(format!("compression {}: {error}", self.produce.compression))
        })?;
        let request = ProduceRequest {
            acks: self.acks,
            timeout_ms: self.cluster.timeout_ms,
            topic_data: vec![TopicProduceData {
                name: Str::from(topic),
                partition_data: vec![PartitionProduceData {
                    index: pending.partition,
                    records: Some(batch),
                }],
            }],
            ..Default::default()
        };
        let what = format!("topic {topic} partition {}", pending.partition);
        loop {
            let leader = match self.leaders.get(&pending.partition) {
                Some(leader) => *leader,
                None => self.cluster.leader(topic, pending.partition).await?,
            };
            self.leaders.insert(pending.partition, leader);
            let answer = self.cluster.node(leader, &request).await?;
            let row = answer
                .responses
                .first()
                .and_then(|topic| topic.partition_responses.first());
            let Some(row) = row else {
                return Err(Failure::new(format!("{what}: nothing was answered")));
            };
            if row.error_code == 0 {
                self.sent += pending.records.len() as u64;
                return Ok(());
            }
            self.leaders.remove(&pending.partition);
            let failed = self.cluster.pause(&what, row.error_code).await;
            if let Err(failure) = failed {
                return Err(self.partly(failure));
            }
        }
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
        match self.produce.target.format {
            Format::Json => print(&format!(
                "{}\n",
                json!({ "schema": 1, "topic": topic, "records": self.sent })
            )),
            Format::Text | Format::Wide => {
                eprintln!("{} records acknowledged", self.sent);
                Ok(())
            }
        }
    }
}
