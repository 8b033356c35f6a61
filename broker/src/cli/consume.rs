//! `walser consume`: records to standard output.

use std::collections::BTreeMap;

use bytes::Bytes;
use clap::Args;
use protocol::error_code::ErrorCode;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use protocol::record_batch::{self, Record};
use protocol::wire::Str;
use serde_json::json;
use tokio::time::Instant;

use super::Target;
use super::client::Cluster;
use super::exit::{Exit, Failure, Result};
use super::output::Format;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// How long the broker may wait for records, in milliseconds.
const WAIT_MS: i32 = 500;
const FETCH_BYTES: i32 = 8 << 20;

/// Print records.
#[derive(Debug, Args)]
pub struct Consume {
    /// The topic.
    topic: String,
    /// Partitions; all when left out.
    #[arg(short, long, value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Where to begin: start, end, an offset N, +N after the start, -N before the end.
    #[arg(short, long, default_value = "start", allow_hyphen_values = true)]
    offset: String,
    /// Stop after so many records.
    #[arg(short = 'n', long)]
    num: Option<u64>,
    /// Stop at the end of each partition, as it was at the start.
    #[arg(short = 'e', long)]
    exit_at_end: bool,
    /// What is printed of a record: %k key, %v value, %t topic, %p partition, %o offset, %d time in ms, %h headers,
    /// \n, \t.
    #[arg(short = 'f', long = "record-format", default_value = "%v\\n")]
    record_format: String,
    #[command(flatten)]
    target: Target,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    At(i64),
    AfterStart(i64),
    BeforeEnd(i64),
}

/// One partition that is being read.
struct Position {
    /// Who leads it; None to ask again.
    leader: Option<i32>,
    offset: i64,
    /// First offset that is not wanted any more.
    end: Option<i64>,
}

fn begin(text: &str) -> Result<Begin> {
    let wrong = || Failure::usage(format!("{text:?} is no offset")).next("start, end, N, +N or -N");
    let number = |text: &str| {
        text.parse::<i64>()
            .ok()
            .filter(|n| *n >= 0)
            .ok_or_else(wrong)
    };
    match text.split_at_checked(1) {
        _ if text == "start" => Ok(Begin::AfterStart(0)),
        _ if text == "end" => Ok(Begin::BeforeEnd(0)),
        Some(("+", rest)) => Ok(Begin::AfterStart(number(rest)?)),
        Some(("-", rest)) => Ok(Begin::BeforeEnd(number(rest)?)),
        _ => Ok(Begin::At(number(text)?)),
    }
}

impl Consume {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        let begin = begin(&self.offset)?;
        let mut cluster = Cluster::new(&self.target);
        let topic = cluster.topic(&self.topic).await?;
        let all: Vec<i32> = topic
            .partitions
            .iter()
            .map(|row| row.partition_index)
            .collect();
        let wanted = if self.partitions.is_empty() {
            all
        } else {
            self.partitions.clone()
        };
        let mut positions = BTreeMap::new();
        for partition in wanted {
            let position = self.position(&mut cluster, partition, begin).await?;
            positions.insert(partition, position);
        }
        let mut left = self.num.unwrap_or(u64::MAX);
        loop {
            positions.retain(|_, position| position.end.is_none_or(|end| position.offset < end));
            if positions.is_empty() || left == 0 {
                return Ok(());
            }
            cluster.extend(self.target.wait());
            let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
            for (partition, position) in &mut positions {
                let leader = match position.leader {
                    Some(leader) => leader,
                    None => cluster.leader(&self.topic, *partition).await?,
                };
                position.leader = Some(leader);
                by_leader.entry(leader).or_default().push(*partition);
            }
            for (leader, partitions) in by_leader {
                self.fetch(&mut cluster, leader, &partitions, &mut positions, &mut left)
                    .await?;
            }
        }
    }

    async fn position(
        &self,
        cluster: &mut Cluster,
        partition: i32,
        begin: Begin,
    ) -> Result<Position> {
        let end = self.offset_of(cluster, partition, LATEST).await?;
        let start = self.offset_of(cluster, partition, EARLIEST).await?;
        let offset = match begin {
            Begin::At(offset) => offset,
            Begin::AfterStart(count) => start.saturating_add(count).min(end),
            Begin::BeforeEnd(count) => end.saturating_sub(count).max(start),
        };
        if offset < start || offset > end {
            let message = format!(
                "topic {} partition {partition}: offset {offset} is outside of {start} to {end}",
                self.topic
            );
            return Err(Failure::with(Exit::NotFound, message).next("use start, end, +N or -N"));
        }
        Ok(Position {
            leader: None,
            offset,
            end: self.exit_at_end.then_some(end),
        })
    }

    async fn offset_of(
        &self,
        cluster: &mut Cluster,
        partition: i32,
        timestamp: i64,
    ) -> Result<i64> {
        let what = format!("topic {} partition {partition}", self.topic);
        loop {
            let leader = cluster.leader(&self.topic, partition).await?;
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: vec![ListOffsetsTopic {
                    name: Str::from(self.topic.as_str()),
                    partitions: vec![ListOffsetsPartition {
                        partition_index: partition,
                        timestamp,
                        ..Default::default()
                    }],
                }],
                ..Default::default()
            };
            let answer = cluster.node(leader, &request).await?;
            let row = answer
                .topics
                .first()
                .and_then(|topic| topic.partitions.first());
            match row.map(|row| (row.error_code, row.offset)) {
                Some((0, offset)) => return Ok(offset),
                Some((code, _)) => cluster.pause(&what, code, None).await?,
                None => return Err(Failure::new(format!("{what}: nothing was answered"))),
            }
        }
    }

    /// One fetch from one leader.
    async fn fetch(
        &self,
        cluster: &mut Cluster,
        leader: i32,
        partitions: &[i32],
        positions: &mut BTreeMap<i32, Position>,
        left: &mut u64,
    ) -> Result<()> {
        let asked = |partition: &i32| FetchPartition {
            partition: *partition,
            fetch_offset: positions[partition].offset,
            partition_max_bytes: FETCH_BYTES,
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: WAIT_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            topics: vec![FetchTopic {
                topic: Str::from(self.topic.as_str()),
                partitions: partitions.iter().map(asked).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = match cluster.node(leader, &request).await {
            Err(lost) if lost.exit == Exit::Unreachable && Instant::now() < cluster.deadline => {
                for partition in partitions {
                    positions
                        .entry(*partition)
                        .and_modify(|position| position.leader = None);
                }
                let code = ErrorCode::NetworkException.code();
                return cluster.pause(&lost.message, code, None).await;
            }
            answer => answer?,
        };
        if answer.error_code != 0 {
            return Err(Failure::of_code(
                answer.error_code,
                None,
                &format!("node {leader}"),
            ));
        }
        for row in answer
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions)
        {
            let what = format!("topic {} partition {}", self.topic, row.partition_index);
            let Some(position) = positions.get_mut(&row.partition_index) else {
                continue;
            };
            if row.error_code != 0 {
                position.leader = None;
                cluster.pause(&what, row.error_code, None).await?;
                continue;
            }
            let bytes = row
                .records
                .map(protocol::wire::Slices::into_bytes)
                .unwrap_or_default();
            self.show(row.partition_index, bytes, position, left)?;
        }
        Ok(())
    }

    /// Prints what is wanted of the fetched batches, and moves the position behind them.
    fn show(
        &self,
        partition: i32,
        bytes: Bytes,
        position: &mut Position,
        left: &mut u64,
    ) -> Result<()> {
        let damaged = |error: record_batch::BatchError| {
            let message = format!("topic {} partition {partition}: {error}", self.topic);
            let code = ErrorCode::CorruptMessage.name();
            Failure::with(Exit::Corruption, format!("{message} ({code})"))
        };
        let mut text = Vec::new();
        for batch in record_batch::batches(bytes) {
            let batch = batch.map_err(damaged)?;
            record_batch::BatchHeader::parse(&batch).map_err(damaged)?;
            let records = record_batch::records(&batch).map_err(damaged)?;
            for record in records {
                let record = record.map_err(damaged)?;
                let unwanted = position.end.is_some_and(|end| record.offset >= end);
                if record.offset < position.offset || unwanted || *left == 0 {
                    continue;
                }
                self.write(partition, &record, &mut text);
                position.offset = record.offset + 1;
                *left -= 1;
            }
        }
        write(&text)
    }

    fn write(&self, partition: i32, record: &Record, out: &mut Vec<u8>) {
        if matches!(self.target.format, Format::Json | Format::Yaml) {
            let text = |bytes: &Option<Bytes>| {
                bytes
                    .as_ref()
                    .map(|b| String::from_utf8_lossy(b).into_owned())
            };
            let object = json!({
                "schema": 1,
                "topic": self.topic,
                "partition": partition,
                "offset": record.offset,
                "timestamp_ms": record.timestamp,
                "key": text(&record.key),
                "value": text(&record.value),
            });
            let data = self.target.format.data(&object).unwrap_or_default();
            return out.extend_from_slice(data.as_bytes());
        }
        format_record(&self.record_format, &self.topic, partition, record, out);
    }
}

fn format_record(format: &str, topic: &str, partition: i32, record: &Record, out: &mut Vec<u8>) {
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        let code = match c {
            '%' | '\\' => rest.next().map(|next| (c, next)),
            _ => None,
        };
        match code {
            Some(('%', 'k')) => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
            Some(('%', 'v' | 's')) => {
                out.extend_from_slice(record.value.as_deref().unwrap_or_default())
            }
            Some(('%', 't')) => out.extend_from_slice(topic.as_bytes()),
            Some(('%', 'p')) => out.extend_from_slice(partition.to_string().as_bytes()),
            Some(('%', 'o')) => out.extend_from_slice(record.offset.to_string().as_bytes()),
            Some(('%', 'd')) => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
            Some(('%', 'h')) => {
                for (at, header) in record.headers.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(&header.name);
                    out.push(b'=');
                    out.extend_from_slice(header.value.as_deref().unwrap_or_default());
                }
            }
            Some(('\\', 'n')) => out.push(b'\n'),
            Some(('\\', 't')) => out.push(b'\t'),
            Some((_, other)) => out.extend_from_slice(other.to_string().as_bytes()),
            None => out.extend_from_slice(c.to_string().as_bytes()),
        }
    }
}

/// Prints bytes. A reader that has seen enough ends the program.
fn write(bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(format!("cannot write records: {error}"))),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_kcat_reads_them() {
        assert_eq!(begin("start"), Ok(Begin::AfterStart(0)));
        assert_eq!(begin("end"), Ok(Begin::BeforeEnd(0)));
        assert_eq!(begin("+5"), Ok(Begin::AfterStart(5)));
        assert_eq!(begin("-5"), Ok(Begin::BeforeEnd(5)));
        assert_eq!(begin("5"), Ok(Begin::At(5)));
        for wrong in ["", "+", "--5", "middle", "5x"] {
            assert_eq!(begin(wrong).expect_err(wrong).exit, Exit::Usage);
        }
    }

    #[test]
    fn a_record_is_printed_by_its_format() {
        let record = Record {
            offset: 7,
            timestamp: 99,
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"v")),
            headers: Vec::new(),
        };
        let mut out = Vec::new();
        format_record("%t/%p@%o %d %k=%v%%\\n", "orders", 3, &record, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "orders/3@7 99 k=v%\n");
    }
}
